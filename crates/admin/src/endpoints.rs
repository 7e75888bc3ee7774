//! Every trigger URL: who it is for, and what a request must say besides.
//!
//! The ids in URLs are made by Perseat, so whoever sets it up by manifests learns them here.

use perseat_domain::definition::{Definition, EndpointType};
use perseat_domain::id::{EndpointId, FlowNumber, InstanceId, IntegrationId};
use perseat_domain::model::{Customer, Instance, InstanceState, Integration, User, UserConfig};
use perseat_store::catalog::{Lookup, View};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Which URLs are listed; everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointFilter {
    /// Of the customer with this external id or name.
    pub customer: Option<String>,
    /// Of instances with this name.
    pub instance: Option<String>,
    /// Of the user with this external id or e-mail address.
    pub user: Option<String>,
}

/// One URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Which kind.
    pub endpoint_type: EndpointType,
    /// The integration's name.
    pub integration: String,
    /// The customer's external id or name; `None` where the request names it.
    pub customer: Option<String>,
    /// The instance's name; `None` where the request's customer decides.
    pub instance: Option<String>,
    /// The user's external id or e-mail address; `None` where the request names it, or where there is none.
    pub user: Option<String>,
    /// The flow's name; `None` where the request names it.
    pub flow: Option<String>,
    /// Whether the request has to name a user.
    pub names_user: bool,
    /// The URL.
    pub url: String,
}

/// A list of URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// The URLs.
    pub endpoints: Vec<Endpoint>,
    /// Whether there are more than the limit.
    pub is_cut: bool,
}

/// Lists at most `limit` URLs below `public_url`. Instances that were never deployed have none yet.
///
/// # Errors
/// If the catalog cannot be read.
pub fn list(custody: &Custody, public_url: &str, filter: &EndpointFilter, limit: usize) -> Result<Endpoints, StoreError> {
    let view = custody.catalog().view()?;
    let mut lister = Lister {
        view: &view,
        public_url,
        filter,
        limit,
        shared: HashSet::new(),
        list: Endpoints::default(),
    };
    let mut after = None;
    while !lister.list.is_cut {
        let page = view.page::<Instance>(after, PAGE)?;
        for instance in &page.items {
            lister.instance(instance)?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let place = |endpoint: &Endpoint| {
        let Endpoint {
            customer,
            instance,
            user,
            flow,
            ..
        } = endpoint.clone();
        (customer, instance, user, flow)
    };
    lister.list.endpoints.sort_by_cached_key(place);
    Ok(lister.list)
}

/// Rows read at once.
const PAGE: usize = 256;

struct Lister<'a> {
    view: &'a View<'a>,
    public_url: &'a str,
    filter: &'a EndpointFilter,
    limit: usize,
    /// Shared URLs that are listed, so that each is listed once.
    shared: HashSet<IntegrationId>,
    list: Endpoints,
}

impl Lister<'_> {
    fn add(&mut self, id: &EndpointId, endpoint: Endpoint) {
        if self.list.endpoints.len() == self.limit {
            self.list.is_cut = true;
            return;
        }
        let url = format!("{}/trigger/{}", self.public_url, id.global());
        self.list.endpoints.push(Endpoint { url, ..endpoint });
    }

    fn instance(&mut self, instance: &Instance) -> Result<(), StoreError> {
        let Some(config) = instance.deployed.as_ref().filter(|_| instance.state != InstanceState::NotDeployed) else {
            return Ok(());
        };
        if self.filter.instance.as_ref().is_some_and(|name| *name != instance.name) {
            return Ok(());
        }
        let customer = self.view.require::<Customer>(instance.customer)?;
        let is_wanted = |name: &String| *name == customer.name || customer.external_id.as_ref() == Some(name);
        if self.filter.customer.as_ref().is_some_and(|name| !is_wanted(name)) {
            return Ok(());
        }
        let Some(version) = self.view.integration_version(instance.integration, config.version)? else {
            return Ok(());
        };
        let definition = &version.definition;
        let base = Endpoint {
            endpoint_type: definition.endpoint_type,
            integration: self.view.require::<Integration>(instance.integration)?.name,
            customer: Some(customer.external_id.unwrap_or(customer.name)),
            instance: Some(instance.name.clone()),
            user: None,
            flow: None,
            names_user: definition.is_user_level(),
            url: String::new(),
        };
        match definition.endpoint_type {
            EndpointType::FlowSpecific if definition.is_user_level() => {}
            EndpointType::FlowSpecific => {
                for (number, name) in flows(definition, &config.flows) {
                    let flow = Some(name.to_owned());
                    self.add(&EndpointId::InstanceFlow(instance.id, number), Endpoint { flow, ..base.clone() });
                }
            }
            EndpointType::InstanceSpecific => self.add(&EndpointId::Instance(instance.id), base.clone()),
            EndpointType::SharedInstance => {
                if self.shared.insert(instance.integration) {
                    let shared = Endpoint {
                        customer: None,
                        instance: None,
                        ..base.clone()
                    };
                    self.add(&EndpointId::Integration(instance.integration), shared);
                }
            }
        }
        if definition.is_user_level() {
            self.users(instance.id, definition, &config.flows, &base)?;
        }
        Ok(())
    }

    /// The URLs of users: of flow-specific endpoints, and of users whom a request cannot name.
    fn users(&mut self, instance: InstanceId, definition: &Definition, chosen: &[FlowNumber], base: &Endpoint) -> Result<(), StoreError> {
        let mut after = None;
        while !self.list.is_cut {
            let page = self.view.user_configs_of_instance(instance, after, PAGE)?;
            for config in page.items.iter().filter(|config| config.removed_at.is_none()) {
                let user = self.view.require::<User>(config.user)?;
                if definition.endpoint_type == EndpointType::FlowSpecific || user.external_id.is_none() {
                    self.user(config, &user, definition, chosen, base);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn user(&mut self, config: &UserConfig, user: &User, definition: &Definition, chosen: &[FlowNumber], base: &Endpoint) {
        let is_wanted = |name: &String| user.external_id.as_ref() == Some(name) || user.email.as_ref() == Some(name);
        if self.filter.user.as_ref().is_some_and(|name| !is_wanted(name)) {
            return;
        }
        let name = user.external_id.as_ref().or(user.email.as_ref()).unwrap_or(&user.name);
        for (number, flow) in flows(definition, chosen) {
            let endpoint = Endpoint {
                user: Some(name.clone()),
                flow: Some(flow.to_owned()),
                names_user: false,
                ..base.clone()
            };
            self.add(&EndpointId::UserFlow(config.id, number), endpoint);
        }
    }
}

/// The flows that are switched on.
fn flows<'d>(definition: &'d Definition, chosen: &'d [FlowNumber]) -> impl Iterator<Item = (FlowNumber, &'d str)> {
    let is_on = move |number: FlowNumber| chosen.is_empty() || chosen.contains(&number);
    let flows = definition
        .flows
        .iter()
        .filter(move |flow| is_on(flow.number) && flow.missing.is_empty());
    flows.map(|flow| (flow.number, flow.name.as_str()))
}
