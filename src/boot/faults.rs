//! Test switches, flipped over the local socket or set before the start; compiled only with the `faults` feature.

use super::administration::refusal;
use super::local::{LocalRequest, Router};
use super::plane::{Plane, Publisher};
use super::stores::Faults;
use http::{Method, StatusCode};
use perseat_actors::execution::{BindingFaults, Reading};
use perseat_actors::front::FrontThreads;
use perseat_actors::kit::{Arbiter, Frozen, Mailbox};
use perseat_actors::supervisor::{Fail, Supervisor};
use perseat_journal::Faults as JournalFaults;
use perseat_journal::kill_point::KillPoint;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Switches that are on from the start, separated by commas: `acknowledge-early,freeze-writer,kill:entry-replayed:3`.
const FROM_THE_START: &str = "FAULTS";

/// Flips the switches that the environment names, before anything is opened.
pub(super) fn set_from_the_start(faults: &Faults) -> anyhow::Result<()> {
    let Ok(switches) = std::env::var(FROM_THE_START) else {
        return Ok(());
    };
    for switch in switches.split(',') {
        let flipped = match switch {
            "fill-state" => {
                faults.databases.fill("state.redb", None);
                true
            }
            _ => flip(&faults.journal, switch, true) || mutate(switch, true) || arm(switch).map_err(anyhow::Error::msg)?,
        };
        anyhow::ensure!(flipped, "{FROM_THE_START}: {switch:?} is no switch that can be on from the start");
    }
    Ok(())
}

/// The switches of the journal's writer.
fn flip(journal: &JournalFaults, switch: &str, on: bool) -> bool {
    match switch {
        "acknowledge-early" => journal.acknowledge_early(on),
        "freeze-writer" => journal.freeze_writer(on),
        _ => return false,
    }
    true
}

/// The seeded mutants of the access rules: `mutant:access-manage-customers` drops a check.
fn mutate(switch: &str, on: bool) -> bool {
    let check = switch.strip_prefix("mutant:access-");
    check.is_some_and(|check| perseat_admin::mutants::flip(check, on))
}

/// Arms a kill point, if `text` has its form.
fn arm(text: &str) -> Result<bool, String> {
    if text.contains(':') {
        text.parse::<KillPoint>()?.arm();
        return Ok(true);
    }
    Ok(false)
}

/// What the switches act on.
#[derive(Clone, Debug)]
pub(super) struct Switches {
    faults: Faults,
    ballast: PathBuf,
    owner: Arbiter,
    supervisors: Vec<Mailbox<Supervisor>>,
    fronts: FrontThreads,
    frozen: Arc<Mutex<Option<Frozen>>>,
    publisher: Arc<Publisher>,
    bindings: Arc<BindingFaults>,
}

impl Switches {
    pub(super) fn new(faults: Faults, plane: &Plane, data: &Path) -> Self {
        Self {
            faults,
            ballast: data.join("ballast"),
            owner: plane.owner(),
            supervisors: plane.supervisors(),
            fronts: plane.front_threads(),
            frozen: Arc::default(),
            publisher: plane.publisher.clone(),
            bindings: plane.binding_faults(),
        }
    }

    /// Adds `POST /faults/{switch}?on|off`; a disk that is full `until-ballast` has room once the ballast file is gone, and a
    /// kill point has no state and no query.
    pub(super) fn routes(self, router: Router) -> Router {
        router.route(Method::POST, "/faults/{switch}", move |request: LocalRequest| {
            let this = self.clone();
            async move {
                let switch = request.parameters.first().map_or("", String::as_str);
                match this.flip(switch, &request.query) {
                    Ok(true) => (StatusCode::OK, json!({ "switch": switch })),
                    Ok(false) => refusal(StatusCode::NOT_FOUND, "request_malformed", "no such switch"),
                    Err(error) => refusal(StatusCode::BAD_REQUEST, "request_malformed", &error),
                }
            }
        })
    }

    fn fail(&self, which: Fail) {
        for supervisor in &self.supervisors {
            let _ = supervisor.tell(which);
        }
    }

    fn flip(&self, switch: &str, to: &str) -> Result<bool, String> {
        let on = to != "off";
        match switch {
            "fill-journal" => self.faults.journal.fill_disk(on),
            "fill-state" => self.fill("state.redb", to),
            "fill-catalog" => self.fill("catalog.redb", to),
            "fill-new-catalog" => self.fill("catalog.redb.new", to),
            "break-catalog" if on => self.faults.databases.break_down("catalog.redb"),
            "exhaust-catalog" if on => self.faults.databases.exhaust("catalog.redb"),
            "break-catalog" | "exhaust-catalog" => self.faults.databases.heal("catalog.redb"),
            "deny-catalog-commit" if on => self.faults.databases.deny_commit("catalog.redb", false),
            "deny-catalog-commit-and-break" if on => self.faults.databases.deny_commit("catalog.redb", true),
            "deny-catalog-commit" | "deny-catalog-commit-and-break" => self.faults.databases.heal("catalog.redb"),
            "freeze-owner" => {
                let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
                match on {
                    true if frozen.is_none() => *frozen = self.owner.freeze().ok(),
                    true => {}
                    false => *frozen = None,
                }
            }
            "fail-front" => self.fronts.fail(0),
            "fail-instances" => self.fail(Fail::Instances),
            "fail-users" => self.fail(Fail::Users),
            "fail-supervisor" => self.fail(Fail::Supervisor),
            "drop-customer-from-key" => self.publisher.drop_customer(on),
            "reuse-last-user" => self.bindings.reuse_last_user(on),
            "fail-config-readings" => self.bindings.fail(Reading::Configuration, on),
            "fail-entry-readings" => self.bindings.fail(Reading::Entries, on),
            "fail-bound-readings" => self.bindings.fail(Reading::Bound, on),
            "fall-back-to-instance" => self.bindings.fall_back_to_instance(on),
            "lend-anybodys" => self.bindings.lend_anybodys(on),
            _ => return Ok(flip(&self.faults.journal, switch, on) || mutate(switch, on) || arm(switch)?),
        }
        Ok(true)
    }

    fn fill(&self, file: &str, to: &str) {
        match to {
            "off" => self.faults.databases.heal(file),
            "until-ballast" => self.faults.databases.fill(file, Some(self.ballast.clone())),
            _ => self.faults.databases.fill(file, None),
        }
    }
}
