//! Links by which people set a password.

use super::page::Page;
use super::request::{one, pairs};
use super::trouble::Trouble;
use super::{Asking, SignIn};
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::actor::Actor;
use perseat_admin::command::UpdateUser;
use perseat_admin::fault::Fault;
use perseat_admin::identity::accounts::Holder;
use perseat_admin::identity::{accounts, passwords};
use perseat_domain::account::Purpose;
use secrecy::{ExposeSecret as _, SecretString};

/// What is asked for again, and why.
#[derive(Default)]
struct Again<'a> {
    phone: Option<&'a str>,
    complaint: Option<&'a str>,
}

impl SignIn {
    /// The page behind a link.
    pub(super) fn show_password(&self, asking: &Asking) -> Result<Answer, Trouble> {
        self.take_attempt(asking, None)?;
        let query = pairs(asking.query.as_bytes());
        let secret = SecretString::from(one(&query, "token").ok().flatten().unwrap_or_default().to_owned());
        let holder = self.holder(&secret)?;
        Ok(self.ask_password(asking, &secret, &holder, &Again::default()))
    }

    fn holder(&self, secret: &SecretString) -> Result<Holder, Trouble> {
        accounts::holder(self.desk.catalog(), secret, self.desk.now())?.ok_or(Trouble::DeadLink)
    }

    fn ask_password(&self, asking: &Asking, secret: &SecretString, holder: &Holder, again: &Again<'_>) -> Answer {
        let status = if again.complaint.is_some() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        };
        let (cookie, is_new) = self.cookie(asking);
        let seal = self.memory.seals.seal("password", &cookie, self.desk.uptime());
        let is_new_here = holder.purpose == Purpose::Invitation;
        let page = Page::Password {
            seal: &seal,
            secret: secret.expose_secret(),
            name: &holder.user.name,
            address: &holder.account.address,
            least: self.options().password.min,
            phone: is_new_here.then_some(again.phone.unwrap_or(&holder.user.profile.phone)),
            complaint: again.complaint,
        };
        self.memory.pages.show(status, &page, is_new.then_some(cookie.as_ref()))
    }

    /// Takes the password, and the telephone number where one was asked for.
    pub(super) fn set_password(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let fields = pairs(&asking.body);
        self.check_form(asking, "password", &fields)?;
        self.take_attempt(asking, None)?;
        let field = |name: &str| SecretString::from(one(&fields, name).ok().flatten().unwrap_or_default().to_owned());
        let (secret, password, again) = (field("token"), field("password"), field("again"));
        let holder = self.holder(&secret)?;
        let is_given = holder.purpose == Purpose::Invitation && fields.iter().any(|(name, _)| name == "phone");
        let phone = is_given.then(|| one(&fields, "phone").ok().flatten().unwrap_or_default().trim());
        let complain = |complaint: &str| {
            let complaint = Some(complaint);
            self.ask_password(asking, &secret, &holder, &Again { phone, complaint })
        };
        if password.expose_secret() != again.expose_secret() {
            return Ok(complain("The two passwords differ."));
        }
        let (user, account) = (&holder.user, &holder.account);
        if let Err(complaint) = self.options().password.check(&password, &account.address) {
            return Ok(complain(&complaint));
        }
        let others = accounts::of_address(self.desk.catalog(), &account.address, self.options().accounts)?;
        let is_only = others.len() == 1;
        let hash = passwords::hash(&password, accounts::salt(others, rand::random()), self.options().cost)?;
        let profile = UpdateUser {
            phone: phone.map(str::to_owned),
            ..UpdateUser::default()
        };
        let set = self.desk.change(&Actor::person(user), "setPassword", |edit| {
            edit.set_password(&secret, hash.clone())?;
            if profile.phone.is_some() {
                edit.update_user(user.id, &profile)?;
            }
            Ok(())
        });
        match set {
            Ok(()) => {}
            Err(fault @ Fault::Wrong(_)) => return Ok(complain(&format!("Telephone number: {fault}"))),
            Err(fault) => return Err(fault.into()),
        }
        if is_only {
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
