//! What somebody sees: every read of the API goes through a [`Reader`], which knows who asks.
//!
//! What is not visible is absent from lists and look-ups alike; nobody can tell it from what does not exist.

mod condition;
mod configs;
mod executions;
mod instances;
mod integrations;
mod media;
mod order;
mod people;
mod presentation;
mod sharing;
mod times;
mod versions;

pub use condition::{Candidate, Condition};
pub use configs::{ConfigState, Configurable, ConfiguredInstance, UserConfigView};
pub use executions::{Sight, VisibleExecution, VisibleLog, VisibleSummary};
pub use instances::{InstanceFilter, needs_deploy};
pub use integrations::{IntegrationFilter, VersionView};
pub use order::{CustomerField, InstanceField, IntegrationField, Order, UserConfigField, UserField};
pub use people::{CustomerFilter, UserFilter, UsersOf};
pub use presentation::{Presentation, Presented};
pub use sharing::{SharedView, grant_id, shared_grant_of};
pub use times::Times;

use crate::access::Operation;
use crate::actor::Actor;
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::id::{CustomerId, FlowNumber, InstanceId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::model::{InstanceState, Organization};
use perseat_store::catalog::{Allowance, AuditEntry, Catalog, Lookup, Record, RecordId, Stamp, View};
use perseat_store::error::StoreError;
use std::fmt;
use std::ops::Deref;

/// How much one read may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Records in one page.
    pub page: usize,
    /// Records that are looked at for one page; then it ends early, with a cursor.
    pub scan: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { page: 100, scan: 10_000 }
    }
}

impl ReadLimits {
    /// How many items a page has: at least one, so that every page leads on.
    #[must_use]
    pub fn page_of(&self, request: &PageRequest) -> usize {
        request.first.unwrap_or(self.page).min(self.page).max(1)
    }
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Behind this cursor; from the start if it is `None` or empty.
    pub after: Option<String>,
    /// So many, and never more than the limit.
    pub first: Option<usize>,
}

/// Part of a list, each item with its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<(String, T)>,
    /// Whether there may be more behind `end`.
    pub has_next: bool,
    /// Where the next part begins; there is one even where nothing on the way matched.
    pub end: Option<String>,
}

impl<T> Listed<T> {
    /// The same with other items.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Listed<U> {
        Listed {
            items: self.items.into_iter().map(|(cursor, item)| (cursor, change(item))).collect(),
            has_next: self.has_next,
            end: self.end,
        }
    }

    /// A whole list that is short, cut into pages here.
    ///
    /// # Errors
    /// A wrong cursor.
    pub fn of_all(all: Vec<T>, request: &PageRequest, limits: ReadLimits) -> Result<Self, Fault> {
        let after = request.after.as_deref().filter(|cursor| !cursor.is_empty());
        let after = after.map_or(Ok(0), str::parse::<usize>).map_err(|_| unknown_cursor())?;
        let first = limits.page_of(request);
        let has_next = all.len() > after.saturating_add(first);
        let items = all.into_iter().enumerate().skip(after).take(first);
        let items: Vec<(String, T)> = items.map(|(place, item)| ((place + 1).to_string(), item)).collect();
        Ok(Self {
            end: items.last().map(|(cursor, _)| cursor.clone()),
            items,
            has_next,
        })
    }

    fn none() -> Self {
        Self {
            items: Vec::new(),
            has_next: false,
            end: None,
        }
    }
}

/// See the module.
pub struct Reader<'r> {
    view: View<'r>,
    actor: &'r Actor,
    limits: ReadLimits,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl<'r> Reader<'r> {
    /// Reads one moment of the catalog for `actor`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn new(catalog: &'r Catalog, actor: &'r Actor, limits: ReadLimits) -> Result<Self, StoreError> {
        Ok(Self {
            view: catalog.view()?,
            actor,
            limits,
        })
    }

    /// The same within what a request may read in all: past it every read is refused by [`Fault::Spent`].
    #[must_use]
    pub fn within(self, allowance: &'r dyn Allowance) -> Self {
        Self {
            view: self.view.within(allowance),
            ..self
        }
    }

    pub(crate) fn view(&self) -> &View<'r> {
        &self.view
    }

    /// Who asks.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        self.actor
    }

    /// When a record was made and changed. Only for records that were read here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn stamp<R: Record>(&self, id: R::Id) -> Result<Stamp, Fault> {
        self.view.stamp::<R>(id)?.ok_or(Fault::Absent(R::TYPE.name()))
    }

    /// The organization, for those who may see it whole.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn organization(&self) -> Result<Organization, Fault> {
        self.actor.check(Operation::ViewOrganization)?;
        self.view.organization()?.ok_or(Fault::Absent("organization"))
    }

    /// The organization with its signing keys, for those who manage these.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn organization_with_keys(&self) -> Result<Organization, Fault> {
        self.actor.check(Operation::ManageSigningKeys)?;
        self.view.organization()?.ok_or(Fault::Absent("organization"))
    }

    /// Whether user level configuration is switched on.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn is_ulc_enabled(&self) -> Result<bool, Fault> {
        Ok(self.view.organization()?.is_some_and(|organization| organization.ulc_enabled))
    }

    /// Whether executions of this customer are visible.
    #[must_use]
    pub fn sees_logs_of(&self, customer: CustomerId) -> bool {
        self.actor.may_for(Operation::ViewLogs, customer)
    }

    /// On whose behalf a flow of an instance runs when whoever asks tries it: their own configuration is used where users
    /// have one each.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn trial(&self, id: InstanceId, flow: FlowNumber) -> Result<Identity, Fault> {
        let instance = self.instance(id)?;
        self.actor.check(Operation::TestInstances)?;
        let running = instance.deployed.as_ref().filter(|_| instance.state == InstanceState::Enabled);
        let running = running.ok_or_else(|| Fault::wrong("This instance is not deployed, or not enabled."))?;
        let version = self.version_of(instance.integration, running.version)?;
        let definition = &version.version.definition;
        let is_runnable = definition.flow(flow).is_some_and(|flow| flow.missing.is_empty());
        if !is_runnable || !(running.flows.is_empty() || running.flows.contains(&flow)) {
            return Err(Fault::wrong("This flow does not run in this instance."));
        }
        let user = match definition.is_user_level() {
            false => None,
            true => {
                let own = self.own_config(id)?;
                let own = own.ok_or_else(|| Fault::wrong("This flow runs as a user: configure the instance for yourself first."))?;
                Some(BoundUser {
                    user: own.user.id,
                    config: own.config.id,
                })
            }
        };
        Ok(Identity {
            customer: instance.customer,
            instance: id,
            flow,
            user,
        })
    }

    /// The audit behind a revision.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn audit(&self, request: &PageRequest) -> Result<Listed<AuditEntry>, Fault> {
        self.actor.check(Operation::ViewAudit)?;
        let after = request.after.as_deref().filter(|cursor| !cursor.is_empty());
        let after = after.map_or(Ok(0), str::parse).map_err(|_| unknown_cursor())?;
        let first = self.first(request);
        let mut entries = self.view.audit_after(after, first + 1)?;
        let has_next = entries.len() > first;
        entries.truncate(first);
        let items: Vec<_> = entries.into_iter().map(|entry| (entry.revision.to_string(), entry)).collect();
        Ok(Listed {
            end: items.last().map(|(cursor, _)| cursor.clone()),
            items,
            has_next,
        })
    }

    fn first(&self, request: &PageRequest) -> usize {
        self.limits.page_of(request)
    }

    /// The organization, for its own people, whatever their role.
    ///
    /// # Errors
    /// It is absent for a customer's people.
    pub fn own_organization(&self) -> Result<Organization, Fault> {
        let found = match self.actor.customer() {
            None => self.view.organization()?,
            Some(_) => None,
        };
        found.ok_or(Fault::Absent("organization"))
    }

    /// What the organization alone sets is its own.
    fn sees_variable(&self, variable: &ConfigVar) -> bool {
        self.actor.customer().is_none() || !variable.org_only
    }

    /// The variables of a definition that are visible, of both levels.
    #[must_use]
    pub fn visible_variables(&self, definition: &Definition) -> Vec<VisibleVariable> {
        let visible = definition.config_vars.iter().filter(|variable| self.sees_variable(variable));
        visible.cloned().map(VisibleVariable).collect()
    }

    /// Those of one level.
    #[must_use]
    pub fn visible_variables_of(&self, definition: &Definition, user_level: bool) -> Vec<VisibleVariable> {
        let mut variables = self.visible_variables(definition);
        variables.retain(|variable| variable.user_level == user_level);
        variables
    }
}

/// A variable that whoever asks may see. Only a [`Reader`] makes one, so that nobody can forget to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct VisibleVariable(ConfigVar);

impl Deref for VisibleVariable {
    type Target = ConfigVar;

    fn deref(&self) -> &ConfigVar {
        &self.0
    }
}

fn cursor_of(id: impl RecordId) -> String {
    URL_SAFE_NO_PAD.encode(id.to_key())
}

fn id_of<I: RecordId>(cursor: &str) -> Result<I, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| unknown_cursor())?;
    I::from_key(&bytes).ok_or_else(unknown_cursor)
}

/// What is said of a cursor that is none of the list it is used with.
#[must_use]
pub fn unknown_cursor() -> Fault {
    Fault::field("after", "This cursor is none of this list.")
}

/// Whether `text` contains `part`, whatever their case; everything contains no part.
fn contains(text: &str, part: Option<&String>) -> bool {
    part.is_none_or(|part| text.to_lowercase().contains(&part.to_lowercase()))
}

/// Whether `text` begins with `start`, whatever their case.
fn starts(text: &str, start: Option<&String>) -> bool {
    start.is_none_or(|start| text.to_lowercase().starts_with(&start.to_lowercase()))
}

fn is_equal(value: Option<&String>, wanted: Option<&String>) -> bool {
    wanted.is_none() || value == wanted
}
