//! Relay connections, and the orders that clients name.

use super::answer::{desk, error, page, spend};
use super::components::{Action, Component};
use super::configs::{UserLevelConfig, UserLevelConfigVariable, UserLevelFlowConfig};
use super::executions::{ExecutionSection, InstanceExecutionResult, InstanceStepResult, Log};
use super::instances::{Instance, InstanceConfigVariable, InstanceFlowConfig};
use super::integrations::{Expression, Integration, IntegrationFlow, RequiredConfigVariable};
use super::organization::{AuditEntry, OrganizationSigningKey, Tenant};
use super::people::{Customer, User};
use super::sharing::{CustomerConfigVariable, ScopedConfigVariable};
use async_graphql::{Context, Enum, InputObject, OutputType, Result, SimpleObject};
use perseat_admin::query::{CustomerField, InstanceField, IntegrationField, Listed, Order, UserConfigField, UserField};

/// Where a page stands in its list.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct PageInfo {
    has_next_page: bool,
    has_previous_page: bool,
    start_cursor: Option<String>,
    end_cursor: Option<String>,
}

macro_rules! connections {
    ($($connection:literal $edge:literal $type:ty;)*) => {
        /// An item with its place.
        #[derive(Clone, Debug, SimpleObject)]
        $(#[graphql(concrete(name = $edge, params($type)))])*
        pub(super) struct Edge<T: OutputType> {
            node: T,
            cursor: String,
        }

        /// Part of a list.
        #[derive(Clone, Debug, SimpleObject)]
        $(#[graphql(concrete(name = $connection, params($type)))])*
        pub(super) struct Connection<T: OutputType>
        where
            Edge<T>: OutputType,
        {
            nodes: Vec<T>,
            edges: Vec<Edge<T>>,
            page_info: PageInfo,
            /// How many there are in all; unknown while there are more pages.
            total_count: Option<usize>,
        }
    };
}

connections! {
    "CustomerConnection" "CustomerEdge" Customer;
    "UserConnection" "UserEdge" User;
    "OrganizationSigningKeyConnection" "OrganizationSigningKeyEdge" OrganizationSigningKey;
    "ScopedConfigVariableConnection" "ScopedConfigVariableEdge" ScopedConfigVariable;
    "CustomerConfigVariableConnection" "CustomerConfigVariableEdge" CustomerConfigVariable;
    "TenantConnection" "TenantEdge" Tenant;
    "AuditEntryConnection" "AuditEntryEdge" AuditEntry;
    "IntegrationConnection" "IntegrationEdge" Integration;
    "IntegrationFlowConnection" "IntegrationFlowEdge" IntegrationFlow;
    "RequiredConfigVariableConnection" "RequiredConfigVariableEdge" RequiredConfigVariable;
    "ExpressionConnection" "ExpressionEdge" Expression;
    "InstanceConnection" "InstanceEdge" Instance;
    "InstanceFlowConfigConnection" "InstanceFlowConfigEdge" InstanceFlowConfig;
    "InstanceConfigVariableConnection" "InstanceConfigVariableEdge" InstanceConfigVariable;
    "UserLevelConfigConnection" "UserLevelConfigEdge" UserLevelConfig;
    "UserLevelFlowConfigConnection" "UserLevelFlowConfigEdge" UserLevelFlowConfig;
    "UserLevelConfigVariableConnection" "UserLevelConfigVariableEdge" UserLevelConfigVariable;
    "InstanceExecutionResultConnection" "InstanceExecutionResultEdge" InstanceExecutionResult;
    "InstanceStepResultConnection" "InstanceStepResultEdge" InstanceStepResult;
    "LogConnection" "LogEdge" Log;
    "ExecutionSectionConnection" "ExecutionSectionEdge" ExecutionSection;
    "ComponentConnection" "ComponentEdge" Component;
    "ActionConnection" "ActionEdge" Action;
}

impl<T: OutputType + Clone> Connection<T>
where
    Edge<T>: OutputType,
{
    /// A page that was read behind `after`.
    pub(super) fn of(listed: Listed<T>, after: Option<&str>) -> Self {
        let has_previous_page = after.is_some_and(|after| !after.is_empty());
        let edges: Vec<Edge<T>> = listed.items.into_iter().map(|(cursor, node)| Edge { node, cursor }).collect();
        Self {
            nodes: edges.iter().map(|edge| edge.node.clone()).collect(),
            total_count: (!listed.has_next && !has_previous_page).then_some(edges.len()),
            page_info: PageInfo {
                has_next_page: listed.has_next,
                has_previous_page,
                start_cursor: edges.first().map(|edge| edge.cursor.clone()),
                end_cursor: listed.end,
            },
            edges,
        }
    }

    /// A list that is short, cut into pages here.
    pub(super) fn cut(ctx: &Context<'_>, all: Vec<T>, after: Option<String>, first: Option<i32>) -> Result<Self> {
        let request = page(after, first);
        let listed = Listed::of_all(all, &request, desk(ctx)?.options().read).map_err(error)?;
        spend(ctx, listed.items.len())?;
        Ok(Self::of(listed, request.after.as_deref()))
    }

    /// Says how many there are in all, where that is known.
    pub(super) fn count(&mut self, total: usize) {
        self.total_count = Some(total);
    }

    /// What one record holds, as one page.
    pub(super) fn part(ctx: &Context<'_>, all: Vec<T>) -> Result<Self> {
        spend(ctx, all.len())?;
        Ok(Self::whole(all))
    }

    /// A list that is short enough to be one page.
    pub(super) fn whole(all: Vec<T>) -> Self {
        let items: Vec<(String, T)> = all
            .into_iter()
            .enumerate()
            .map(|(place, item)| ((place + 1).to_string(), item))
            .collect();
        let end = items.last().map(|(cursor, _)| cursor.clone());
        let has_next = false;
        Self::of(Listed { items, has_next, end }, None)
    }
}

/// Which way a list is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum OrderDirection {
    Asc,
    Desc,
}

/// What a client asks for by `sortBy`, or by the older `orderBy`.
pub(super) fn terms<O: Into<T>, T>(sort_by: Option<Vec<Option<O>>>, order_by: Option<O>) -> Vec<T> {
    let named = sort_by.into_iter().flatten().flatten().chain(order_by);
    named.map(Into::into).collect()
}

macro_rules! orders {
    ($($order:ident $field:ident { $($value:ident),* })*) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
        pub(super) enum $field {
            $($value,)*
        }

        #[derive(Clone, Copy, Debug, InputObject)]
        pub(super) struct $order {
            pub(super) field: $field,
            pub(super) direction: OrderDirection,
        }
    )*};
}

/// Orders that the rules below know.
macro_rules! known_orders {
    ($($order:ident $field:ident => $known:ident { $($value:ident),* })*) => {
        orders! { $($order $field { $($value),* })* }
        $(
            impl From<$order> for Order<$known> {
                fn from(order: $order) -> Self {
                    Self {
                        field: match order.field {
                            $($field::$value => $known::$value,)*
                        },
                        descending: order.direction == OrderDirection::Desc,
                    }
                }
            }
        )*
    };
}

known_orders! {
    CustomerOrder CustomerOrderField => CustomerField { CreatedAt, Description, Name, UpdatedAt }
    UserOrder UserOrderField => UserField { CreatedAt, Customer, Email, Name, Role, UpdatedAt }
    InstanceOrder InstanceOrderField => InstanceField { CreatedAt, Customer, Description, Enabled, Integration, Name, UpdatedAt, Version }
    IntegrationOrder IntegrationOrderField => IntegrationField { Category, CreatedAt, Customer, Description, Name, UpdatedAt, VersionNumber }
    UserLevelConfigOrder UserLevelConfigOrderField => UserConfigField { CreatedAt, Email, ExternalId, Name, UpdatedAt }
}

orders! {
    VersionOrder VersionOrderField { VersionNumber }
    LogOrder LogOrderField { Timestamp }
    InstanceStepResultOrder InstanceStepResultOrderField { EndedAt, StartedAt }
    InstanceExecutionResultOrder InstanceExecutionResultOrderField { EndedAt, StartedAt }
    ExecutionSectionOrder ExecutionSectionOrderField { StartedAt }
    ComponentOrder ComponentOrderField { Category, Label, VersionNumber }
    OrganizationSigningKeyOrder OrganizationSigningKeyOrderField { CreatedAt, UpdatedAt }
}
