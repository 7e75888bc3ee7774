//! Performs one step with today's credentials: waits for them, parks without them, repeats what was refused.

use super::binding::{Binding, masker};
use super::bound::Bound;
use super::parking::Parking;
use super::run::{Running, Start};
use super::steps::Done;
use super::today::Configuration;
use perseat_domain::entry::Parked;
use perseat_domain::execution::{Event, Node, NodeIndex, Outcome};
use perseat_domain::grant::Obstacle;
use perseat_flow::component::{IdempotencyKey, StepCall, StepReport, StepResult, lacking};
use perseat_flow::http::not_ready;
use std::sync::Arc;
use std::time::Duration;

/// How often the refusal of one credential is told. No key: each time the configuration was read anew meanwhile, by a change of it or
/// a rotation of its key.
const REFUSALS_TOLD: u32 = 16;

/// What the machine is told, and the step if it ended; or that it did not begin because a credential is missing, which is
/// durable.
pub(super) type Performed = Result<(Event, Option<Done>), Parking>;

fn outcome(report: &StepReport) -> Outcome {
    match &report.result {
        Ok(StepResult::Data(_)) => Outcome::Done,
        Ok(StepResult::Branch(name)) => Outcome::Branch(name.clone()),
        Ok(StepResult::Stop(_)) => Outcome::Stopped,
        Err(error) => Outcome::Failed {
            code: error.code,
            is_retryable: error.is_retryable,
        },
    }
}

impl Running {
    /// Sees to it that the next step uses today's credentials.
    async fn take_up(&mut self, start: &mut Start, deadline: Duration) -> Result<(), Event> {
        let today = match start.today.get() {
            Some(today) => today,
            None => {
                let left = deadline.saturating_sub(self.env.clock.uptime());
                tokio::select! {
                    biased;
                    () = start.cancel.cancelled() => return Err(Event::CancelRequested),
                    () = self.env.clock.sleep(left) => return Err(Event::DeadlinePassed),
                    today = start.today.read() => today,
                }
            }
        };
        self.adopt(start, today)
    }

    /// Goes on with this configuration.
    fn adopt(&mut self, start: &Start, today: Configuration) -> Result<(), Event> {
        let today = today.map_err(Event::ConfigurationGone)?;
        if !Arc::ptr_eq(&today, &self.binding) {
            let bound = self.bound.get_or_insert_with(|| Bound::of(&self.binding));
            let settings = bound.open(start.execution, &today).map_err(Event::ConfigurationGone)?;
            self.recorder.mask_also(&masker(settings.values()));
            self.view.scope.configure(settings);
            self.binding = today;
        }
        Ok(())
    }

    /// Performs a step, unless a credential for it is missing. An HTTP step whose credential is refused did nothing: it is
    /// performed once more with another one, and the same idempotency key.
    pub(super) async fn perform(&mut self, start: &mut Start, node: NodeIndex, deadline: Duration) -> Performed {
        if let Err(event) = self.take_up(start, deadline).await {
            return Ok((event, None));
        }
        let started_at = self.env.clock.now();
        let mut may_repeat = true;
        loop {
            match lacking(&self.plan.node(node).step, &self.view.scope) {
                Some(connection) if connection.obstacle == Some(Obstacle::Moved) => {
                    let report = StepReport::failed(not_ready(connection, Obstacle::Moved));
                    return Ok((Event::StepEnded(outcome(&report)), Some(Done { report, started_at })));
                }
                Some(connection) => {
                    let connection = connection.variable.clone();
                    return self.park(start, connection).await;
                }
                None => {}
            }
            let report = match self.try_once(start, node, deadline).await {
                Ok(report) => report,
                Err(event) => return Ok((event, None)),
            };
            self.cpu += report.cpu;
            if let Some((connection, version)) = report.refused.clone()
                && std::mem::take(&mut may_repeat)
            {
                match self.is_renewed(start, &connection, version, deadline).await {
                    Ok(true) => {
                        self.recorder.logs(&self.plan.node(node).step.name, report.logs).await;
                        continue;
                    }
                    Ok(false) => {}
                    Err(event) => return Ok((event, None)),
                }
            }
            return Ok((Event::StepEnded(outcome(&report)), Some(Done { report, started_at })));
        }
    }

    /// Makes durable that it waits for this connection.
    async fn park(&mut self, start: &Start, connection: String) -> Performed {
        if start.cancel.is_cancelled() {
            return Ok((Event::CancelRequested, None));
        }
        let at = self.env.clock.now();
        let since = self.past.progress.parked_since.unwrap_or(at);
        let again = self.binding.lack_of(&connection, &self.env).and_then(|lack| lack.again);
        let execution = start.execution;
        tracing::debug!(%execution, %connection, "an execution is parked until its connection can be used");
        let parked = Parked {
            execution,
            at,
            since,
            connection: connection.clone(),
        };
        self.recorder.park(parked).await;
        Err(Parking { connection, since, again })
    }

    /// A third party refused the credential of this connection and version: whether there is another one by now, or none. What
    /// is read anew meanwhile for another reason may have the same one still; then the refusal may not have been heard.
    async fn is_renewed(&mut self, start: &mut Start, connection: &str, version: u64, deadline: Duration) -> Result<bool, Event> {
        if self.binding.grant_version(connection) != Some(version) {
            return Ok(false);
        }
        // Where there is another one today, it is that.
        if let Some(Ok(today)) = start.today.get()
            && self.is_fresh(&today, connection, version)
        {
            return Ok(false);
        }
        for _ in 0..REFUSALS_TOLD {
            if !start.refuse.tell(connection, version) {
                return Ok(false);
            }
            let left = deadline.saturating_sub(self.env.clock.uptime());
            let another = tokio::select! {
                biased;
                () = start.cancel.cancelled() => return Err(Event::CancelRequested),
                () = self.env.clock.sleep(left) => return Err(Event::DeadlinePassed),
                another = start.today.after(&self.binding) => another,
            };
            self.adopt(start, another)?;
            if self.is_fresh(&self.binding, connection, version) {
                return Ok(false);
            }
            let is_another = self.binding.grant_version(connection) != Some(version);
            if is_another || self.binding.lack_of(connection, &self.env).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether today's credential is this one still, given so lately that nobody's refusal of it counts.
    fn is_fresh(&self, today: &Binding, connection: &str, version: u64) -> bool {
        let until = today.fresh_until(connection, &self.env);
        today.grant_version(connection) == Some(version) && until.is_some_and(|until| self.env.clock.now() < until)
    }

    async fn try_once(&mut self, start: &mut Start, node: NodeIndex, deadline: Duration) -> Result<StepReport, Event> {
        let node: &Node = self.plan.node(node);
        let key = IdempotencyKey {
            execution: start.execution,
            path: node.path.clone(),
        };
        let left = deadline.saturating_sub(self.env.clock.uptime());
        let call = StepCall {
            step: &node.step,
            scope: &self.view.scope,
            identity: &start.identity,
            context: &self.view.context,
            key: &key,
            deadline: tokio::time::Instant::now() + left.min(self.env.limits.step_timeout),
            meter: self.recorder.meter(),
            debug: self.view.is_debug,
        };
        tokio::select! {
            biased;
            () = start.cancel.cancelled() => Err(Event::CancelRequested),
            () = self.env.clock.sleep(left) => Err(Event::DeadlinePassed),
            code = start.today.gone() => Err(Event::ConfigurationGone(code)),
            report = self.env.performer.perform(call) => Ok(report),
        }
    }
}
