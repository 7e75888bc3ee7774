//! Lists of integrations, and looking one up.

use super::answer::{error, id, page, read};
use super::connection::{Connection as Page, IntegrationOrder, terms};
use super::cost;
use super::integrations::Integration;
use super::scalars::{DateTime, JsonString, times};
use async_graphql::{Context, ID, Object, Result};
use perseat_admin::fault::Fault;
use perseat_admin::query::{Condition, IntegrationFilter};
use perseat_domain::id::CustomerId;
use perseat_domain::model::Marketplace;

/// Reading integrations.
#[derive(Debug, Default)]
pub(super) struct IntegrationQuery;

#[Object]
impl IntegrationQuery {
    /// A version, or the newest.
    async fn integration(&self, ctx: &Context<'_>, id: ID) -> Result<Integration> {
        read(ctx, |reader| reader.integration(self::id(&id, "integration")?)).map(Integration)
    }

    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn integrations(
        &self,
        ctx: &Context<'_>,
        all_versions: Option<bool>,
        name: Option<String>,
        #[graphql(name = "name_Icontains")] name_contains: Option<String>,
        #[graphql(name = "description_Icontains")] description_contains: Option<String>,
        #[graphql(name = "labels_Icontains")] label_contains: Option<String>,
        customer: Option<ID>,
        #[graphql(name = "customer_Isnull")] customer_is_null: Option<bool>,
        #[graphql(name = "createdAt_Gte")] created_from: Option<DateTime>,
        #[graphql(name = "createdAt_Lte")] created_to: Option<DateTime>,
        #[graphql(name = "updatedAt_Gte")] changed_from: Option<DateTime>,
        #[graphql(name = "updatedAt_Lte")] changed_to: Option<DateTime>,
        sort_by: Option<Vec<Option<IntegrationOrder>>>,
        order_by: Option<IntegrationOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Page<Integration>> {
        let customer = match &customer {
            None => None,
            Some(id) => match id.parse::<CustomerId>() {
                Ok(id) => Some(id),
                Err(_) => return Ok(Page::whole(Vec::new())),
            },
        };
        let filter = IntegrationFilter {
            name,
            name_contains,
            description_contains,
            label_contains,
            customer,
            for_all: customer_is_null,
            all_versions: all_versions.unwrap_or(false),
            times: times(created_from, created_to, changed_from, changed_to),
            order: terms(sort_by, order_by),
            ..IntegrationFilter::default()
        };
        list(ctx, &filter, after, first)
    }

    /// What customers see in the marketplace. `filterQuery` is a condition, `["and", ["equal", "category", "CRM"], …]`; with
    /// `includeActiveIntegrations` what your customer has switched on is listed, whatever the condition and though it is not in
    /// the marketplace any more.
    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn marketplace_integrations(
        &self,
        ctx: &Context<'_>,
        include_active_integrations: Option<bool>,
        filter_query: Option<JsonString>,
        name: Option<String>,
        #[graphql(name = "name_Icontains")] name_contains: Option<String>,
        #[graphql(name = "description_Icontains")] description_contains: Option<String>,
        #[graphql(name = "labels_Icontains")] label_contains: Option<String>,
        #[graphql(name = "createdAt_Gte")] created_from: Option<DateTime>,
        #[graphql(name = "createdAt_Lte")] created_to: Option<DateTime>,
        #[graphql(name = "updatedAt_Gte")] changed_from: Option<DateTime>,
        #[graphql(name = "updatedAt_Lte")] changed_to: Option<DateTime>,
        sort_by: Option<Vec<Option<IntegrationOrder>>>,
        order_by: Option<IntegrationOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Page<Integration>> {
        let filter = IntegrationFilter {
            name,
            name_contains,
            description_contains,
            label_contains,
            marketplace: true,
            condition: filter_query.as_ref().map(condition).transpose().map_err(error)?,
            with_active: include_active_integrations.unwrap_or(false),
            times: times(created_from, created_to, changed_from, changed_to),
            order: terms(sort_by, order_by),
            ..IntegrationFilter::default()
        };
        list(ctx, &filter, after, first)
    }

    async fn marketplace_integration(&self, ctx: &Context<'_>, id: ID) -> Result<Integration> {
        let found = read(ctx, |reader| reader.integration(self::id(&id, "integration")?))?;
        if found.integration.settings.marketplace == Marketplace::Hidden {
            return Err(error(Fault::Absent("integration")));
        }
        Ok(Integration(found))
    }
}

fn condition(text: &JsonString) -> Result<Condition, Fault> {
    let query = serde_json::from_str(&text.0).ok();
    let wrong = || Fault::field("filterQuery", "This is no condition such as [\"equal\", \"category\", \"CRM\"].");
    query.as_ref().and_then(Condition::read).ok_or_else(wrong)
}

fn list(ctx: &Context<'_>, filter: &IntegrationFilter, after: Option<String>, first: Option<i32>) -> Result<Page<Integration>> {
    let request = page(after, first);
    let listed = read(ctx, |reader| reader.integrations(filter, &request))?;
    Ok(Page::of(listed.map(Integration), request.after.as_deref()))
}
