//! Compiled flows, shared by all instances that run one version.
//!
//! Ten thousand instances run one plan, so that what a start reads of it is in the processor's cache whoever's turn it is.

use perseat_domain::execution::Plan;
use perseat_domain::id::{FlowNumber, IdMap, IntegrationId};
use perseat_domain::model::IntegrationVersion;
use perseat_flow::component::nature_of;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The flows of one version.
pub(super) type FlowPlans = IdMap<FlowNumber, Arc<Plan>>;

/// The plans of the versions that somebody holds.
#[derive(Debug, Default)]
pub struct Plans(Mutex<IdMap<(IntegrationId, u32), Compiled>>);

#[derive(Debug)]
struct Compiled {
    /// A draft is replaced under its number: what counts is which one it is, and a weak pointer keeps its address.
    version: Weak<IntegrationVersion>,
    plans: Arc<FlowPlans>,
}

impl Plans {
    /// The plans of a version, compiled where nobody asked for them before.
    pub(super) fn of(&self, version: &Arc<IntegrationVersion>) -> Arc<FlowPlans> {
        let id = (version.integration, version.version);
        // Nothing panics while it holds the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&id)
            && std::ptr::eq(found.version.as_ptr(), Arc::as_ptr(version))
        {
            return Arc::clone(&found.plans);
        }
        known.retain(|_, compiled| compiled.version.strong_count() > 0);
        let flows = version.definition.flows.iter();
        let plans = flows.map(|flow| (flow.number, Arc::new(Plan::compile(flow, &nature_of)))).collect();
        let compiled = Compiled {
            version: Arc::downgrade(version),
            plans: Arc::new(plans),
        };
        let plans = Arc::clone(&compiled.plans);
        known.insert(id, compiled);
        plans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::definition::{ActionRef, Definition, EndpointSecurity, EndpointType, Flow, RoutingFields, Step, StepErrorPolicy};
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn version(flow: u16) -> Arc<IntegrationVersion> {
        let trigger = Step {
            name: "Trigger".into(),
            reference: "trigger".into(),
            action: ActionRef {
                component: "webhook-triggers".into(),
                action: "webhook".into(),
            },
            inputs: BTreeMap::new(),
            on_error: StepErrorPolicy::Fail,
            branches: Vec::new(),
            body: Vec::new(),
        };
        let flow = Flow {
            number: FlowNumber(flow),
            name: "import".into(),
            stable_key: "import".into(),
            description: String::new(),
            is_synchronous: false,
            security: EndpointSecurity::Unsecured,
            organization_api_keys: Vec::new(),
            trigger,
            steps: Vec::new(),
            missing: Vec::new(),
        };
        Arc::new(IntegrationVersion {
            integration: IntegrationId(Uuid::from_u128(1)),
            version: 1,
            yaml: String::new(),
            definition: Definition {
                name: "sync".into(),
                description: String::new(),
                endpoint_type: EndpointType::FlowSpecific,
                routing: RoutingFields::default(),
                config_vars: Vec::new(),
                pages: Vec::new(),
                flows: vec![flow],
                warnings: Vec::new(),
            },
            organization_keys: BTreeMap::new(),
            connection_secrets: BTreeMap::new(),
            is_draft: true,
            release: None,
        })
    }

    #[test]
    fn one_version_has_one_plan_and_a_draft_that_takes_its_place_another() {
        let plans = Plans::default();
        let (before, after) = (version(1), version(2));
        let first = plans.of(&before);
        assert!(Arc::ptr_eq(&first, &plans.of(&before)));
        let replaced = plans.of(&after);
        assert!(replaced.contains_key(&FlowNumber(2)) && !replaced.contains_key(&FlowNumber(1)));
        // Whoever still runs the one before gets its own, never what took its place.
        assert!(plans.of(&before).contains_key(&FlowNumber(1)));
    }

    #[test]
    fn what_nobody_runs_any_more_is_let_go() {
        let plans = Plans::default();
        let kept = Arc::downgrade(&plans.of(&version(1)));
        let mut other = version(1);
        Arc::get_mut(&mut other).unwrap().version = 2;
        plans.of(&other);
        assert!(kept.upgrade().is_none());
    }
}
