//! `apply`: makes the catalog what the manifests say, in one mutation, and says what that took.
//!
//! Idempotent: what is already so is left alone, and nothing is written if nothing changes. All or nothing: every
//! problem of every manifest is reported and then nothing is applied. Records are matched by name or external id.

mod instance;
mod integration;
mod prune;
mod records;
mod sharing;

#[cfg(test)]
mod tests;

use crate::actor::Actor;
use crate::edit::{Definitions, Desk, Edit, Effects};
use crate::fault::Fault;
use crate::manifest::{Located, Manifest};
use perseat_domain::id::{
    CustomerId, InstanceId, IntegrationId, OrganizationId, RegistrationId, SharedConnectionId, SharedValueId, UserConfigId, UserId,
};
use perseat_domain::time::Timestamp;
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What happens to one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It was there and differs.
    Changed,
    /// It is as the manifest says.
    Unchanged,
    /// It was in no manifest and is gone.
    Pruned,
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLine {
    /// What happens.
    pub action: Action,
    /// To which kind of record.
    pub kind: String,
    /// Which one, as a person would name it.
    pub name: String,
}

/// What an apply came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Every manifest, in the order of application, then what was pruned.
    pub lines: Vec<PlanLine>,
    /// What is not wrong and yet worth knowing.
    pub warnings: Vec<String>,
    /// The catalog's revision afterwards.
    pub revision: u64,
    /// Whether the plan was carried out.
    pub is_applied: bool,
}

impl Plan {
    /// How many lines say so.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.lines.iter().filter(|line| line.action == action).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines.iter().filter(|line| line.action != Action::Unchanged) {
            let word = format!("{:?}", line.action).to_lowercase();
            writeln!(f, "{word:<8} {:<16} {}", line.kind, line.name)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let [created, changed, unchanged, pruned] =
            [Action::Created, Action::Changed, Action::Unchanged, Action::Pruned].map(|action| self.count(action));
        write!(f, "{created} created, {changed} changed, {unchanged} unchanged, {pruned} pruned")
    }
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The manifests are wrong: every problem, with its place.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not an error: a dry run, rolled back.
    #[error("dry run")]
    DryRun(Box<Plan>),
}

/// How to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyOptions {
    /// Delete what no manifest names.
    pub prune: bool,
    /// Plan only.
    pub dry_run: bool,
}

/// Who applies and where time and randomness come from.
pub struct Applier<'a> {
    /// A stable name (`local:<uid>`).
    pub by: &'a str,
    /// Now.
    pub at: Timestamp,
    /// 128 random bits each.
    pub random: &'a mut dyn FnMut() -> u128,
}

impl fmt::Debug for Applier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applier").field("by", &self.by).finish_non_exhaustive()
    }
}

/// What an apply came to, and what to publish.
#[derive(Debug)]
pub struct Applied {
    /// The plan, carried out.
    pub plan: Plan,
    /// What to publish.
    pub effects: Effects,
}

/// Applies manifests.
///
/// # Errors
/// [`ApplyError::Problems`] with every problem found; then nothing was applied.
pub fn apply(
    custody: &Custody,
    definitions: Definitions<'_>,
    manifests: &[Located],
    options: ApplyOptions,
    applier: &mut Applier<'_>,
) -> Result<Applied, ApplyError> {
    let mut ordered: Vec<&Located> = manifests.iter().collect();
    ordered.sort_by_key(|located| located.manifest.order());
    let mut desk = Desk {
        custody,
        definitions,
        actor: &Actor::local(applier.by),
        at: applier.at,
        random: &mut *applier.random,
    };
    let changed = desk.change("apply", |edit| {
        edit.is_rehearsal = options.dry_run;
        let mut session = Session::new(edit, options);
        for located in &ordered {
            session.take(located)?;
        }
        if options.prune {
            session.prune().map_err(|fault| match fault {
                Fault::Store(error) => ApplyError::Store(error),
                fault => ApplyError::Problems(vec![fault.to_string()]),
            })?;
        }
        // What was refused is said alone.
        if session.problems.is_empty() {
            for located in &ordered {
                session.look_over(located)?;
            }
        }
        session.finish()
    });
    match changed {
        Ok(changed) => {
            let mut plan = changed.value;
            plan.revision = changed.revision;
            plan.is_applied = true;
            let effects = changed.effects;
            Ok(Applied { plan, effects })
        }
        Err(ApplyError::DryRun(plan)) => Ok(Applied {
            plan: *plan,
            effects: Effects::default(),
        }),
        Err(error) => Err(error),
    }
}

/// Records that a manifest names, each with the manifest's place: what pruning leaves.
#[derive(Debug, Default)]
struct Named {
    organization: BTreeMap<OrganizationId, String>,
    customers: BTreeMap<CustomerId, String>,
    users: BTreeMap<UserId, String>,
    integrations: BTreeMap<IntegrationId, String>,
    instances: BTreeMap<InstanceId, String>,
    registrations: BTreeMap<RegistrationId, String>,
    configs: BTreeMap<UserConfigId, String>,
    shared: BTreeMap<SharedConnectionId, String>,
    shared_values: BTreeMap<SharedValueId, String>,
}

/// Notes that the manifest at `place` names a record. A second manifest for it is refused: the two could not both be so.
fn name_once<I: Ord>(named: &mut BTreeMap<I, String>, id: I, place: &str) -> Result<(), Fault> {
    match named.insert(id, place.to_owned()) {
        None => Ok(()),
        Some(first) => Err(Fault::wrong(format!("this record has a manifest already, at {first}; leave one"))),
    }
}

/// One apply in progress.
struct Session<'s, 'e, 'm> {
    edit: &'s mut Edit<'e, 'm>,
    options: ApplyOptions,
    plan: Plan,
    named: Named,
    /// Where the manifest stands that is being applied.
    place: String,
    problems: Vec<String>,
}

impl<'s, 'e, 'm> Session<'s, 'e, 'm> {
    fn new(edit: &'s mut Edit<'e, 'm>, options: ApplyOptions) -> Self {
        Self {
            edit,
            options,
            plan: Plan::default(),
            named: Named::default(),
            place: String::new(),
            problems: Vec::new(),
        }
    }

    fn take(&mut self, located: &Located) -> Result<(), ApplyError> {
        self.place = format!("{}:{}", located.file.display(), located.line);
        let taken = match &located.manifest {
            Manifest::Organization(manifest) => self.organization(manifest),
            Manifest::OrganizationUser(manifest) => self.organization_user(manifest),
            Manifest::Customer(manifest) => self.customer(manifest),
            Manifest::CustomerUser(manifest) => self.customer_user(manifest),
            Manifest::SharedConnection(manifest) => self.shared_connection(manifest),
            Manifest::SharedConnectionValue(manifest) => self.shared_value(manifest),
            Manifest::Integration(manifest) => self.integration(manifest),
            Manifest::Instance(manifest) => self.instance(manifest),
            Manifest::AppRegistration(manifest) => self.registration(manifest),
            Manifest::UserLevelConfig(manifest) => self.user_config(manifest),
        };
        self.judge(taken)
    }

    /// What can only be said of a manifest when all are taken.
    fn look_over(&mut self, located: &Located) -> Result<(), ApplyError> {
        let Manifest::Instance(manifest) = &located.manifest else {
            return Ok(());
        };
        self.place = format!("{}:{}", located.file.display(), located.line);
        let checked = self.check_choices(manifest);
        self.judge(checked)
    }

    fn judge(&mut self, taken: Result<(), Fault>) -> Result<(), ApplyError> {
        match taken {
            Ok(()) => Ok(()),
            Err(Fault::Store(error)) => Err(error.into()),
            Err(fault) => {
                for line in fault.to_string().lines() {
                    self.problems.push(format!("{}: {line}", self.place));
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Plan, ApplyError> {
        if !self.problems.is_empty() {
            return Err(ApplyError::Problems(self.problems));
        }
        if self.options.dry_run {
            return Err(ApplyError::DryRun(Box::new(self.plan)));
        }
        Ok(self.plan)
    }

    fn note(&mut self, action: Action, kind: &str, name: impl Into<String>) {
        self.plan.lines.push(PlanLine {
            action,
            kind: kind.to_owned(),
            name: name.into(),
        });
    }
}

/// The action that a written record stands for.
fn action(is_new: bool, changed: bool) -> Action {
    match (is_new, changed) {
        (true, _) => Action::Created,
        (false, true) => Action::Changed,
        (false, false) => Action::Unchanged,
    }
}
