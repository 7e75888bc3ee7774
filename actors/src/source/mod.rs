//! Data sources: what a configuration variable can be, asked with the configuration and the credentials of one user.
//!
//! ```text
//! page ─► supervisor ─► instance ─► user ─► script (code process) ─► provider
//!   ▲                                 │
//!   └──────────── Offered ◄───────────┘
//! ```
//!
//! The actor that runs a user's executions runs the data sources of that user's page, too: it alone holds the unsealed
//! connections, and renews them. Without a user it is the actor of the instance itself. Nothing of a run is stored.

use crate::execution::{Binding, ExecutionEnv, masked};
use crate::kit::{AskError, Mailbox, Reply};
use crate::supervisor::Supervisor;
use actix::Message;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{ActionRef, ConfigVar, DataType};
use perseat_domain::id::{ExecutionId, partition_of};
use perseat_domain::owner::UserKey;
use perseat_flow::component::{IdempotencyKey, SourceCall};
use perseat_flow::expression::{Results, Scope, Setting};
use perseat_flow::js::UserKey as ScriptOwner;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a failure's message in the log. No key: it is for whoever reads the log.
const LONGEST: usize = 1000;

/// What is asked, and for whom.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose configuration and credentials it sees: a user's, or the instance's own.
    pub user: UserKey,
    /// The stable key of the variable that it fills.
    pub variable: String,
    /// The data source.
    pub source: ActionRef,
    /// Plain values of the same level that are typed in and not saved yet, by stable key.
    pub typed: BTreeMap<String, String>,
    /// Names the run in the log and to third parties.
    pub reference: ExecutionId,
    /// How long it may take.
    pub time: Duration,
    /// The largest result, as JSON.
    pub max_result: usize,
}

/// Why there is no answer. Why in full is in the log, under the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered(pub ErrorCode);

/// What a run gave.
pub type Offered = Result<Value, Unanswered>;

/// Sent by the control plane through supervisor and instance to the user: run this data source · the result, or why there is none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Offer {
    /// What is asked.
    pub question: Arc<Question>,
    /// The way back. Dropped where the user cannot be asked just now.
    pub reply: Reply<Offered>,
}

/// Where data sources are asked. Clones are the same.
#[derive(Clone, Debug)]
pub struct Sources {
    supervisors: Arc<[Mailbox<Supervisor>]>,
}

impl Sources {
    /// The owners' supervisors, in the order of the owners.
    #[must_use]
    pub fn new(supervisors: Vec<Mailbox<Supervisor>>) -> Self {
        Self {
            supervisors: supervisors.into(),
        }
    }

    /// Runs a data source and waits for what it gives, at most for the time of the question.
    pub async fn ask(&self, question: Question) -> Offered {
        let (user, reference, time) = (question.user, question.reference, question.time);
        let place = usize::from(partition_of(user.instance)) % self.supervisors.len().max(1);
        let Some(supervisor) = self.supervisors.get(place) else {
            return Err(Unanswered(ErrorCode::NotReady));
        };
        let question = Arc::new(question);
        let answer = supervisor.ask(time, |reply| Offer { question, reply }).await;
        answer.unwrap_or_else(|error| {
            tracing::warn!(%reference, instance = %user.instance, %error, "a data source was not run to its end");
            Err(Unanswered(match error {
                AskError::TimedOut => ErrorCode::StepTimeout,
                AskError::Refused(_) | AskError::Dropped => ErrorCode::NotReady,
            }))
        })
    }
}

/// Runs a data source with this configuration.
pub(crate) async fn run(env: Arc<ExecutionEnv>, binding: Arc<Binding>, question: Arc<Question>) -> Offered {
    let reference = question.reference;
    let failed = async |code: ErrorCode, message: String| {
        let said = masked(&binding.masker, message, LONGEST, env.limits.offload_bytes).await;
        tracing::warn!(%reference, instance = %question.user.instance, variable = %question.variable, %code, "a data source failed: {said}");
        Err(Unanswered(code))
    };
    let definition = &binding.instance.bundle().version.definition;
    let is_level = |variable: &&ConfigVar| variable.user_level == question.user.config.is_some();
    let Some(variable) = definition
        .config_vars
        .iter()
        .filter(is_level)
        .find(|variable| variable.stable_key == question.variable)
    else {
        return failed(ErrorCode::NotReady, "the version that runs has no such variable".into()).await;
    };
    let fields = definition
        .config_vars
        .iter()
        .filter(is_level)
        .filter(|other| other.data_type != DataType::Connection);
    let typed = fields.filter_map(|field| {
        let text = question.typed.get(&field.stable_key)?;
        Some((field.key.clone(), Setting::plain(field, text)))
    });
    let settings = binding.settings().with(typed);
    let scope = Scope::new("", Arc::new(Results::of_value(Value::Null)), settings, env.limits.values);
    let context = Arc::new(binding.names());
    let key = IdempotencyKey {
        execution: reference,
        path: "source".to_owned(),
    };
    let call = SourceCall {
        source: &question.source,
        inputs: &variable.inputs,
        scope: &scope,
        owner: ScriptOwner {
            customer: binding.instance.bundle().customer.id,
            user: binding.user.as_ref().map(|user| user.user().id),
        },
        context: &context,
        key: &key,
        deadline: tokio::time::Instant::now() + question.time,
        max_result: question.max_result,
    };
    let offered = env.performer.offer(call).await;
    match offered {
        Ok(value) => Ok(value),
        Err(error) => failed(error.code, error.message).await,
    }
}
