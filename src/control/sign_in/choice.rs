//! One address, several users: which of them goes on.

use super::page::Page;
use super::request::{Asked, one, pairs};
use super::trouble::Trouble;
use super::{Asking, SignIn, lock};
use crate::boot::http::Answer;
use crate::control::limits::client_key;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use perseat_domain::account::Proven;
use perseat_domain::id::UserId;
use perseat_domain::model::{Customer, Membership, User};
use perseat_store::StoreError;
use perseat_store::catalog::Lookup as _;

/// Users who have all proved to be this person.
pub(super) struct Choice {
    pub(super) asked: Asked,
    pub(super) users: Vec<Proven>,
}

/// 256 random bits that a URL can hold as they are.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn form_of(ticket: &str) -> String {
    format!("choice {ticket}")
}

impl SignIn {
    /// Shows the users.
    pub(super) fn ask_which(&self, asking: &Asking, choice: Choice) -> Result<Answer, Trouble> {
        let (ticket, now) = (secret(), self.desk.uptime());
        let names = self.names(&choice.users)?;
        let (cookie, is_new) = self.cookie(asking);
        let seal = self.memory.seals.seal(&form_of(&ticket), &cookie, now);
        let to = choice.asked.redirect_uri.clone();
        let (whose, until) = (client_key(asking.client), now + self.options().form_lifetime);
        lock(&self.memory.choices).put(&ticket, whose, choice, until, now);
        let page = Page::Choose {
            seal: &seal,
            ticket: &ticket,
            users: &names,
        };
        let cookie = is_new.then_some(cookie.as_ref());
        Ok(self.memory.pages.show_form(StatusCode::OK, &page, cookie, Some(&to)))
    }

    /// Each user with the name of whom they belong to.
    fn names(&self, users: &[Proven]) -> Result<Vec<(String, String)>, StoreError> {
        let view = self.desk.catalog().view()?;
        let mut names = Vec::new();
        for proven in users {
            let Some(user) = view.get::<User>(proven.user)? else { continue };
            let of = match user.membership {
                Membership::Organization => view.organization()?.map(|organization| organization.name),
                Membership::Customer(customer) => view.get::<Customer>(customer)?.map(|customer| customer.name),
            };
            names.push((user.id.global(), format!("{} – {}", of.unwrap_or_default(), user.name)));
        }
        Ok(names)
    }

    /// Takes the choice.
    pub(super) fn choose(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let fields = pairs(&asking.body);
        let (Ok(Some(ticket)), Ok(Some(user))) = (one(&fields, "ticket"), one(&fields, "user")) else {
            return Err(Trouble::Incomplete);
        };
        self.check_form(asking, &form_of(ticket), &fields)?;
        let choice = lock(&self.memory.choices).take(ticket, self.desk.uptime());
        let choice = choice.ok_or(Trouble::StrangeForm)?;
        let user = user.parse::<UserId>().ok();
        let chosen = choice.users.into_iter().find(|proven| Some(proven.user) == user);
        self.send_back(asking, choice.asked, chosen.ok_or(Trouble::NotOffered)?)
    }
}
