//! What the local socket's routes read: executions, the catalog as manifests, trigger URLs.

use super::administration::{blocking, refusal};
use super::http::{json as json_answer, text};
use super::local::{LocalAnswer, LocalRequest, Router};
use super::plane::Plane;
use crate::config::Config;
use crate::indexer::JournalEntries;
use http::{Method, StatusCode};
use perseat_admin::endpoints::{self, EndpointFilter};
use perseat_admin::export::{ExportLimits, export};
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, RegistrationId, UserId};
use perseat_domain::identity::Identity;
use perseat_domain::model::{Customer, Instance, Membership, User};
use perseat_domain::usage::Day;
use perseat_store::StoreError;
use perseat_store::catalog::{Catalog, Lookup};
use perseat_store::custody::Custody;
use perseat_store::executions::{Dimension, ExecutionReader, Names, UsageError, UsageQuery, UsageReport};
use perseat_store::index::{Filter, Status};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the routes work on.
#[derive(Clone)]
pub(super) struct Reading {
    custody: Custody,
    executions: ExecutionReader,
    public_url: Arc<str>,
    /// Entries of a list, unless the request asks for fewer.
    page: usize,
    export: ExportLimits,
}

impl Reading {
    pub(super) fn of(plane: &Plane, config: &Config) -> Self {
        let names = Arc::new(CatalogNames(plane.custody.catalog().clone()));
        let entries = Arc::new(JournalEntries(plane.journal.clone()));
        let keyring = plane.custody.keyring().clone();
        let limits = config.view_limits();
        Self {
            page: limits.page,
            export: config.export_limits(),
            executions: ExecutionReader::new(plane.index.clone(), entries, keyring, names, limits),
            custody: plane.custody.clone(),
            public_url: plane.public_url.clone(),
        }
    }

    /// What reads executions.
    pub(super) fn executions(&self) -> ExecutionReader {
        self.executions.clone()
    }

    /// Adds the routes.
    pub(super) fn routes(&self, router: Router) -> Router {
        let add = |router: Router, path, answer: fn(&Self, &LocalRequest) -> Result<LocalAnswer, Failure>| {
            let this = self.clone();
            router.route(Method::GET, path, move |request: LocalRequest| {
                let this = this.clone();
                async move { blocking(move || answer(&this, &request).unwrap_or_else(Failure::answer)).await }
            })
        };
        let router = add(router, "/export", Self::export);
        let router = add(router, "/endpoints", Self::endpoints);
        let router = add(router, "/executions", Self::list);
        let router = add(router, "/usage", Self::usage);
        let this = self.clone();
        let router = router.route_raw(Method::GET, "/usage.csv", move |request: LocalRequest| {
            let this = this.clone();
            async move {
                match blocking(move || this.usage_table(&request).unwrap_or_else(Failure::answer)).await {
                    (status, Value::String(table)) => text(status, "text/csv; charset=utf-8", table),
                    (status, refusal) => json_answer(status, &refusal),
                }
            }
        });
        add(router, "/executions/{id}", Self::show)
    }

    fn export(&self, _: &LocalRequest) -> Result<LocalAnswer, Failure> {
        let exported = export(&self.custody, self.export).map_err(Failure::inside)?;
        Ok((StatusCode::OK, json!({ "yaml": exported.yaml, "variables": exported.variables })))
    }

    fn endpoints(&self, request: &LocalRequest) -> Result<LocalAnswer, Failure> {
        let mut query = Query::of(request);
        let limit = query.limit(self.page)?;
        let filter = EndpointFilter {
            customer: query.take("customer"),
            instance: query.take("instance"),
            user: query.take("user"),
        };
        query.end()?;
        let list = endpoints::list(&self.custody, &self.public_url, &filter, limit).map_err(Failure::inside)?;
        Ok((StatusCode::OK, json!(list)))
    }

    fn list(&self, request: &LocalRequest) -> Result<LocalAnswer, Failure> {
        let mut query = Query::of(request);
        let limit = query.limit(self.page)?;
        let before = query.take("before").map(|id| execution_id(&id)).transpose()?;
        let filter = self.filter(&mut query)?;
        query.end()?;
        let list = self.executions.list(&filter, before, limit).map_err(Failure::inside)?;
        Ok((StatusCode::OK, json!(list)))
    }

    fn show(&self, request: &LocalRequest) -> Result<LocalAnswer, Failure> {
        let id = execution_id(request.parameters.first().map_or("", String::as_str))?;
        let view = self.executions.show(id).map_err(Failure::inside)?;
        let view = view.ok_or_else(|| Failure::absent("execution_not_found", "there is no such execution, or it is no longer kept"))?;
        Ok((StatusCode::OK, json!(view)))
    }

    fn usage(&self, request: &LocalRequest) -> Result<LocalAnswer, Failure> {
        let (report, _) = self.used(request)?;
        Ok((StatusCode::OK, json!(report)))
    }

    fn usage_table(&self, request: &LocalRequest) -> Result<LocalAnswer, Failure> {
        let (report, by) = self.used(request)?;
        Ok((StatusCode::OK, report.csv(&by).into()))
    }

    fn used(&self, request: &LocalRequest) -> Result<(UsageReport, BTreeSet<Dimension>), Failure> {
        let mut query = Query::of(request);
        let mut day = |name| query.take(name).map(|day| day.parse::<Day>()).transpose();
        let days = day("from").and_then(|from| Ok((from, day("to")?)));
        let (from, to) = days.map_err(|error| Failure::wrong(&error.to_string()))?;
        let by = query.take("by").unwrap_or_else(|| "customer,user".into());
        let by: Result<BTreeSet<_>, _> = by.split(',').map(|word| word.trim().parse::<Dimension>()).collect();
        let by = by.map_err(|error| Failure::wrong(&error.to_string()))?;
        let customer = query.take("customer").map(|name| self.customer(&name)).transpose()?;
        query.end()?;
        let asked = UsageQuery {
            from,
            to,
            customer: customer.map(|customer| customer.id),
            by,
        };
        match self.executions.usage(&asked, || true) {
            Ok(report) => Ok((report, asked.by)),
            Err(error @ UsageError::TooLong(_)) => Err(Failure(refusal(StatusCode::BAD_REQUEST, "report_too_long", &error.to_string()))),
            Err(error) => Err(Failure::inside(error)),
        }
    }

    /// By external id or name.
    fn customer(&self, name: &str) -> Result<Customer, Failure> {
        let catalog = self.custody.catalog();
        let customer = match catalog.customer_by_external_id(name).map_err(Failure::inside)? {
            Some(customer) => Some(customer),
            None => catalog.customer_by_name(name).map_err(Failure::inside)?,
        };
        customer.ok_or_else(|| Failure::absent("customer_not_found", &format!("there is no customer `{name}`")))
    }

    /// Names in the query are external ids or names; a user and an instance belong to a customer.
    fn filter(&self, query: &mut Query) -> Result<Filter, Failure> {
        let catalog = self.custody.catalog();
        let mut filter = Filter::default();
        if let Some(words) = query.take("status") {
            let status = |word: &str| serde_json::from_value::<Status>(word.trim().into());
            let found = words.split(',').map(status).collect::<Result<_, _>>();
            filter.status = found.map_err(|_| {
                Failure::wrong("status is queued, running, parked, succeeded, failed, cancelled or quarantined; commas join several")
            })?;
        }
        let (customer, instance, user) = (query.take("customer"), query.take("instance"), query.take("user"));
        let Some(name) = customer else {
            if instance.is_some() || user.is_some() {
                return Err(Failure::wrong(
                    "name the customer too: instances and users are named within their customer",
                ));
            }
            return Ok(filter);
        };
        let customer = self.customer(&name)?;
        filter.customer = Some(customer.id);
        if let Some(name) = instance {
            let found = catalog.instance_by_name(customer.id, &name).map_err(Failure::inside)?;
            let absent = || Failure::absent("instance_not_found", &format!("{} has no instance `{name}`", customer.name));
            filter.instance = Some(found.ok_or_else(absent)?.id);
        }
        if let Some(name) = user {
            let membership = Membership::Customer(customer.id);
            let found = match catalog.user_by_external_id(membership, &name).map_err(Failure::inside)? {
                Some(user) => Some(user),
                None => catalog.user_by_email(membership, &name).map_err(Failure::inside)?,
            };
            let absent = || Failure::absent("user_not_found", &format!("{} has no user `{name}`", customer.name));
            filter.user = Some(found.ok_or_else(absent)?.id);
        }
        Ok(filter)
    }
}

/// Why there is no answer.
struct Failure(LocalAnswer);

impl Failure {
    fn answer(self) -> LocalAnswer {
        self.0
    }

    fn wrong(sentence: &str) -> Self {
        Self(refusal(StatusCode::BAD_REQUEST, "request_malformed", sentence))
    }

    fn absent(code: &str, sentence: &str) -> Self {
        Self(refusal(StatusCode::NOT_FOUND, code, sentence))
    }

    fn inside(error: impl std::error::Error + 'static) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "a local request failed");
        Self(refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()))
    }
}

fn execution_id(text: &str) -> Result<ExecutionId, Failure> {
    text.parse().map_err(|_| Failure::wrong(&format!("`{text}` is no execution id")))
}

/// The parameters of a query; one that nobody takes is an error.
struct Query(BTreeMap<String, String>);

impl Query {
    fn of(request: &LocalRequest) -> Self {
        Self(url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn limit(&mut self, most: usize) -> Result<usize, Failure> {
        let limit = self.take("limit").map_or(Ok(most), |limit| limit.parse());
        limit
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| Failure::wrong(&format!("limit is 1 to {most}")))
    }

    fn end(self) -> Result<(), Failure> {
        match self.0.into_keys().next() {
            Some(name) => Err(Failure::wrong(&format!("there is no parameter `{name}`"))),
            None => Ok(()),
        }
    }
}

/// Names as they stand in the catalog today.
struct CatalogNames(Arc<Catalog>);

impl CatalogNames {
    /// A name that cannot be read is left out of what is shown, and the reason logged.
    fn readable<T>(&self, found: Result<Option<T>, StoreError>) -> Option<T> {
        found.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a name could not be read");
            None
        })
    }
}

impl Names for CatalogNames {
    fn customer(&self, id: CustomerId) -> Option<String> {
        self.readable(self.0.get::<Customer>(id))
            .map(|customer| customer.external_id.unwrap_or(customer.name))
    }

    fn instance(&self, id: InstanceId) -> Option<String> {
        self.readable(self.0.get::<Instance>(id)).map(|instance| instance.name)
    }

    fn flow(&self, identity: &Identity, version: u32) -> Option<String> {
        let instance = self.readable(self.0.get::<Instance>(identity.instance))?;
        let number = if version == 0 {
            instance.deployed.as_ref().unwrap_or(&instance.config).version
        } else {
            version
        };
        let version = self.readable(self.0.integration_version(instance.integration, number))?;
        version.definition.flow(identity.flow).map(|flow| flow.name.clone())
    }

    fn user(&self, id: UserId) -> Option<String> {
        self.readable(self.0.get::<User>(id)).map(|user| user.name)
    }

    fn registration(&self, instance: InstanceId, id: RegistrationId) -> Option<String> {
        let instance = self.readable(self.0.get::<Instance>(instance))?;
        let mut registrations = instance.registrations.into_iter();
        registrations.find(|known| known.id == id).map(|known| known.name)
    }
}
