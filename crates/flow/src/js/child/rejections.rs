//! Promises that are rejected and that nothing handles: what a script began and did not wait for has failed.

use rquickjs::runtime::RejectionTracker;
use rquickjs::{Ctx, Exception, Persistent, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// So many at a time are known. No key: one says as much as all of them.
const MOST: usize = 16;

struct Rejection {
    promise: Persistent<Value<'static>>,
    reason: Persistent<Value<'static>>,
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Rejections(Rc<RefCell<Vec<Rejection>>>);

impl Rejections {
    /// Hears of each rejection that nothing handles, and where something does so later.
    pub(super) fn tracker(&self) -> RejectionTracker {
        let rejections = self.clone();
        Box::new(move |ctx, promise, reason, is_handled| rejections.heard(&ctx, promise, reason, is_handled))
    }

    fn heard<'js>(&self, ctx: &Ctx<'js>, promise: Value<'js>, reason: Value<'js>, is_handled: bool) {
        let mut all = self.0.borrow_mut();
        if is_handled {
            let is_other = |known: &Rejection| known.promise.clone().restore(ctx).map_or(true, |known| known != promise);
            all.retain(is_other);
        } else if all.len() < MOST {
            all.push(Rejection {
                promise: Persistent::save(ctx, promise),
                reason: Persistent::save(ctx, reason),
            });
        }
    }

    /// Takes out the reasons of those that nothing has handled.
    pub(super) fn take(&self) -> Vec<Persistent<Value<'static>>> {
        let all = std::mem::take(&mut *self.0.borrow_mut());
        all.into_iter().map(|rejection| rejection.reason).collect()
    }
}

/// A reason in words.
pub(super) fn text(reason: &Value<'_>) -> String {
    let error = reason.clone().into_object().and_then(Exception::from_object);
    match (error, reason.as_string()) {
        (Some(error), _) => error.message().unwrap_or_else(|| "Error".to_owned()),
        (None, Some(text)) => text.to_string().unwrap_or_default(),
        (None, None) => reason.type_name().to_owned(),
    }
}
