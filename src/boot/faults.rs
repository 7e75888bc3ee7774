//! Test switches, flipped over the local socket; compiled only with the `faults` feature.

use super::local::{LocalRequest, Router};
use super::plane::{Plane, Publisher};
use http::{Method, StatusCode};
use perseat_actors::execution::BindingFaults;
use perseat_actors::front::FrontThreads;
use perseat_actors::kit::{Arbiter, Frozen, Mailbox};
use perseat_actors::supervisor::{Fail, Supervisor};
use perseat_journal::Faults;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};

/// What the switches act on.
#[derive(Clone, Debug)]
pub(super) struct Switches {
    journal: Arc<Faults>,
    owner: Arbiter,
    supervisors: Vec<Mailbox<Supervisor>>,
    fronts: FrontThreads,
    frozen: Arc<Mutex<Option<Frozen>>>,
    publisher: Arc<Publisher>,
    bindings: Arc<BindingFaults>,
}

impl Switches {
    pub(super) fn new(journal: Arc<Faults>, plane: &Plane) -> Self {
        Self {
            journal,
            owner: plane.owner(),
            supervisors: plane.supervisors(),
            fronts: plane.front_threads(),
            frozen: Arc::default(),
            publisher: plane.publisher.clone(),
            bindings: plane.binding_faults(),
        }
    }

    /// Adds `POST /faults/{switch}?on|off`.
    pub(super) fn routes(self, router: Router) -> Router {
        router.route(Method::POST, "/faults/{switch}", move |request: LocalRequest| {
            let this = self.clone();
            async move {
                let switch = request.parameters.first().map_or("", String::as_str);
                match this.flip(switch, request.query != "off") {
                    true => (StatusCode::OK, json!({ "switch": switch })),
                    false => (
                        StatusCode::NOT_FOUND,
                        json!({ "error": "no such switch", "code": "request_malformed" }),
                    ),
                }
            }
        })
    }

    fn fail(&self, which: Fail) {
        for supervisor in &self.supervisors {
            let _ = supervisor.tell(which);
        }
    }

    fn flip(&self, switch: &str, on: bool) -> bool {
        match switch {
            "acknowledge-early" => self.journal.acknowledge_early(on),
            "freeze-writer" => self.journal.freeze_writer(on),
            "freeze-owner" => {
                let frozen = if on { self.owner.freeze().ok() } else { None };
                *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = frozen;
            }
            "fail-front" => self.fronts.fail(0),
            "fail-instances" => self.fail(Fail::Instances),
            "fail-users" => self.fail(Fail::Users),
            "drop-customer-from-key" => self.publisher.drop_customer(on),
            "reuse-last-user" => self.bindings.reuse_last_user(on),
            "fall-back-to-instance" => self.bindings.fall_back_to_instance(on),
            _ => return false,
        }
        true
    }
}
