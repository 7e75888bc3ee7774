//! Links by which people set a password, and the request for one.

use super::page::Page;
use super::request::{one, pairs};
use super::trouble::Trouble;
use super::{Asking, SignIn};
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::actor::Actor;
use perseat_admin::identity::{accounts, passwords};
use perseat_domain::account::Account;
use perseat_domain::model::User;
use secrecy::{ExposeSecret as _, SecretString};

impl SignIn {
    /// The page behind a link.
    pub(super) fn show_password(&self, asking: &Asking) -> Result<Answer, Trouble> {
        self.take_attempt(asking, None)?;
        let query = pairs(asking.query.as_bytes());
        let secret = SecretString::from(one(&query, "token").ok().flatten().unwrap_or_default().to_owned());
        let (user, account) = self.holder(&secret)?;
        Ok(self.ask_password(asking, &secret, &user, &account, None))
    }

    fn holder(&self, secret: &SecretString) -> Result<(User, Account), Trouble> {
        accounts::holder(self.desk.catalog(), secret, self.desk.now())?.ok_or(Trouble::DeadLink)
    }

    fn ask_password(&self, asking: &Asking, secret: &SecretString, user: &User, account: &Account, complaint: Option<&str>) -> Answer {
        let status = if complaint.is_some() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        };
        let (cookie, is_new) = self.cookie(asking);
        let seal = self.memory.seals.seal("password", &cookie, self.desk.uptime());
        let page = Page::Password {
            seal: &seal,
            secret: secret.expose_secret(),
            name: &user.name,
            address: &account.address,
            least: self.options().password.min,
            complaint,
        };
        self.memory.pages.show(status, &page, is_new.then_some(cookie.as_ref()))
    }

    /// Takes the password.
    pub(super) fn set_password(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let fields = pairs(&asking.body);
        self.check_form(asking, "password", &fields)?;
        self.take_attempt(asking, None)?;
        let field = |name: &str| SecretString::from(one(&fields, name).ok().flatten().unwrap_or_default().to_owned());
        let (secret, password, again) = (field("token"), field("password"), field("again"));
        let (user, account) = self.holder(&secret)?;
        let complaint = if password.expose_secret() == again.expose_secret() {
            self.options().password.check(&password, &account.address).err()
        } else {
            Some("The two passwords differ.".to_owned())
        };
        if let Some(complaint) = complaint {
            return Ok(self.ask_password(asking, &secret, &user, &account, Some(&complaint)));
        }
        let salt = accounts::salt(self.desk.catalog(), &account.address, rand::random())?;
        let hash = passwords::hash(&password, salt, self.options().cost)?;
        let by = Actor::person(&user);
        self.desk
            .change(&by, "setPassword", |edit| edit.set_password(&secret, hash.clone()))?;
        if accounts::of_address(self.desk.catalog(), &account.address)?.len() == 1 {
            super::lock(&self.memory.failures).forget(&account.address);
        }
        tracing::info!(user = %user.id, client = %asking.client, "a password was set");
        let page = Page::Message {
            title: "Your password is set",
            text: "Sign in with it where you came from, for example by `prism login`.",
            link: None,
        };
        Ok(self.memory.pages.show(StatusCode::OK, &page, None))
    }
}
