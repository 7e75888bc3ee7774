//! Promises that are rejected and that nothing handles: what a script began and did not wait for has failed.

use rquickjs::runtime::RejectionTracker;
use rquickjs::{Ctx, Exception, Persistent, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// Of so many at a time it is known what they are; more are counted. No key: one says as much as all of them.
const MOST: usize = 16;

struct Rejection {
    promise: Persistent<Value<'static>>,
    reason: Persistent<Value<'static>>,
}

#[derive(Default)]
struct Known {
    rejections: Vec<Rejection>,
    /// How many there are besides.
    more: usize,
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Rejections(Rc<RefCell<Known>>);

impl Rejections {
    /// Hears of each rejection that nothing handles, and where something does so later.
    pub(super) fn tracker(&self) -> RejectionTracker {
        let rejections = self.clone();
        Box::new(move |ctx, promise, reason, is_handled| rejections.heard(&ctx, promise, reason, is_handled))
    }

    fn heard<'js>(&self, ctx: &Ctx<'js>, promise: Value<'js>, reason: Value<'js>, is_handled: bool) {
        let Known { rejections, more } = &mut *self.0.borrow_mut();
        if is_handled {
            let is_it = |known: &Rejection| known.promise.clone().restore(ctx).is_ok_and(|known| known == promise);
            match rejections.iter().position(is_it) {
                Some(place) => drop(rejections.remove(place)),
                None => *more = more.saturating_sub(1),
            }
        } else if rejections.len() < MOST {
            rejections.push(Rejection {
                promise: Persistent::save(ctx, promise),
                reason: Persistent::save(ctx, reason),
            });
        } else {
            *more += 1;
        }
    }

    /// Takes out those that nothing has handled: how many there are, and the reasons that are known.
    pub(super) fn take(&self) -> (usize, Vec<Persistent<Value<'static>>>) {
        let Known { rejections, more } = std::mem::take(&mut *self.0.borrow_mut());
        (
            rejections.len() + more,
            rejections.into_iter().map(|rejection| rejection.reason).collect(),
        )
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
