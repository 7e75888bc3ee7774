//! Forgotten passwords: a letter to whoever asks, if they are somebody, and the same answer for everybody.

use super::page::Page;
use super::request::{one, pairs};
use super::trouble::Trouble;
use super::{Asking, SignIn};
use crate::boot::http::Answer;
use crate::control::limits::account_key;
use http::StatusCode;
use perseat_admin::actor::Actor;
use perseat_admin::fault::Fault;
use perseat_admin::identity::accounts;
use perseat_admin::identity::letters::Room;

/// What the seal of the form is for.
const FORM: &str = "forgot";

impl SignIn {
    /// The page for whoever forgot their password.
    pub(super) fn show_forgot(&self, asking: &Asking) -> Result<Answer, Trouble> {
        self.letters()?;
        let (cookie, is_new) = self.cookie(asking);
        let seal = self.memory.seals.seal(FORM, &cookie, self.desk.uptime());
        let page = Page::Forgot { seal: &seal };
        Ok(self.memory.pages.show(StatusCode::OK, &page, is_new.then_some(cookie.as_ref())))
    }

    fn letters(&self) -> Result<Room, Trouble> {
        self.desk.letters().ok_or(Trouble::Nothing)
    }

    /// Takes an address. The answer is the same, and as fast, whether there is an account, whether its letters are used up or not.
    pub(super) fn forgot(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let room = self.letters()?;
        let fields = pairs(&asking.body);
        self.check_form(asking, FORM, &fields)?;
        let address = one(&fields, "address").ok().flatten().unwrap_or_default().trim().to_owned();
        self.take_attempt(asking, Some(&address))?;
        self.request_reset(asking, address, room);
        let page = Page::Message {
            title: "Look into your mail",
            text: "If this address belongs to somebody here, a letter with a link is on its way to it. The link sets another password, once.",
            link: None,
        };
        Ok(self.memory.pages.show(StatusCode::OK, &page, None))
    }

    /// Writes a letter to whoever has this address. Beside the answer, which would be later where there is somebody.
    fn request_reset(&self, asking: &Asking, address: String, room: Room) {
        let (this, client) = (self.clone(), asking.client);
        self.runtime.spawn_blocking(move || match this.reset_requested(&address, room) {
            Ok(true) => this.desk.wake_mail(),
            Ok(false) => tracing::info!(%client, "a letter was not written: sign-in.resets were asked for this address"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a letter could not be written"),
        });
    }

    /// Whether the address has a letter left. Those of strangers are not counted: so many would leave no room for anybody else's.
    fn reset_requested(&self, address: &str, room: Room) -> Result<bool, Fault> {
        let most = self.options().accounts;
        if accounts::of_address(self.desk.catalog(), address, most)?.is_empty() {
            return Ok(true);
        }
        if !self.memory.resets.take(&account_key(address), self.desk.uptime()) {
            return Ok(false);
        }
        let by = Actor::local("local:sign-in");
        self.desk
            .change(&by, "requestReset", |edit| edit.request_reset(address, most, room))?;
        Ok(true)
    }
}
