//! What a step came to, as it is kept.

use super::memory::UNCLAIMED;
use super::run::Running;
use perseat_domain::entry::{StepRecord, StepStatus};
use perseat_domain::execution::{Node, NodeIndex};
use perseat_domain::identity::Identity;
use perseat_domain::time::Timestamp;
use perseat_flow::component::{StepError, StepLog, StepReport, StepResult};
use perseat_flow::expression::Results;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A step's report and when it began.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) report: StepReport,
    pub(super) started_at: Timestamp,
}

impl Running {
    /// Keeps what a try said that is not the last: the step tells of that one alone.
    pub(super) async fn tried(&mut self, node: NodeIndex, done: Done, delay: Duration) {
        let plan = self.plan.clone();
        let name = &plan.node(node).step.name;
        let mut lines = done.report.logs;
        if let Err(error) = done.report.result {
            lines.push(StepLog {
                at: self.env.clock.now(),
                level: "warn",
                message: format!("failed, and is tried again in {} s: {}", delay.as_secs(), error.message),
            });
        }
        self.recorder.logs(name, lines).await;
    }

    pub(super) async fn write_step(
        &mut self,
        identity: &Identity,
        node: NodeIndex,
        (status, branch, tries): (StepStatus, Option<String>, u8),
        done: Done,
    ) {
        let plan = self.plan.clone();
        let node = plan.node(node);
        let Done { report, started_at } = done;
        self.recorder.logs(&node.step.name, report.logs).await;
        let output = match report.result {
            Ok(StepResult::Data(output)) => output,
            Ok(StepResult::Branch(name)) => Arc::new(Results::of_value(json!({ "branch": name }))),
            Ok(StepResult::Stop(response)) => {
                self.stopped = Some(response);
                Arc::new(Results::of_value(Value::Null))
            }
            Err(error) => Arc::new(self.failed_output(node, status, &error).await),
        };
        let (sealed, masks) = self.recorder.seal_output(&node.path, output.json().clone()).await;
        if branch.is_none() && status != StepStatus::Failed {
            self.last = Some(output.clone());
        }
        let record = StepRecord {
            path: node.path.clone(),
            name: node.step.name.clone(),
            status,
            started_at,
            ended_at: self.env.clock.now(),
            output: sealed,
            masks,
            credentials: report.credentials,
            tries,
        };
        self.recorder.step(record, branch);
        if output.json().len() > UNCLAIMED {
            self.held.extend(self.env.memory.try_claim(identity, output.json().len()));
        }
        self.view.scope.finish(node.step.reference.clone(), output);
    }

    async fn failed_output(&mut self, node: &Node, status: StepStatus, error: &StepError) -> Results {
        let message = self.recorder.message(&error.message).await;
        if status == StepStatus::Failed {
            self.failure = Some(format!("step \"{}\" failed: {message}", node.step.name));
        }
        let mut shown = json!({ "message": message, "code": error.code });
        if let (Some(shown), Some(Value::Object(detail))) = (shown.as_object_mut(), error.detail.as_deref()) {
            shown.extend(detail.clone());
        }
        Results::of_value(json!({ "error": shown }))
    }
}
