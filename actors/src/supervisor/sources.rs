//! Hands questions for data sources on to the instances that they are about.

use super::actor::Supervisor;
use crate::source::{Offer, Unanswered};
use actix::{Context, Handler};
use perseat_domain::code::ErrorCode;

impl Handler<Offer> for Supervisor {
    type Result = ();

    /// One that cannot be handed on is dropped, which its asker hears.
    fn handle(&mut self, offer: Offer, _: &mut Context<Self>) {
        if self.is_held() {
            return offer.reply.send(Err(Unanswered(ErrorCode::Paused)));
        }
        if self.is_draining() {
            return offer.reply.send(Err(Unanswered(ErrorCode::NotReady)));
        }
        let instance = offer.question.user.instance;
        let refused = match self.instance(instance) {
            Ok(actor) => actor.tell(offer).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refused {
            tracing::warn!(%instance, "a data source cannot be run now: {why}");
        }
    }
}
