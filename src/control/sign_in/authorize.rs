//! `/authorize`: from a request and a password to a code.

use super::choice::Choice;
use super::grant::Grant;
use super::page::Page;
use super::request::{Asked, one, pairs};
use super::trouble::Trouble;
use super::{Asking, Provider, SignIn, form, lock};
use crate::boot::http::Answer;
use crate::control::limits::{account_key, client_key};
use http::StatusCode;
use perseat_admin::actor::Actor;
use perseat_admin::edit::Edit;
use perseat_admin::identity::{accounts, passwords};
use perseat_domain::account::{Account, Proven};
use secrecy::SecretString;
use std::borrow::Cow;

/// Said whether the address, the password or the time is wrong: nobody learns which accounts exist.
const COMPLAINT: &str = "The address or the password is wrong, or too many were tried: wait some minutes before you try again.";

impl SignIn {
    /// Who asks, from the query.
    pub(super) fn show_authorize(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let asked = self.asked(&pairs(asking.query.as_bytes()))?;
        Ok(self.ask(asking, &asked, StatusCode::OK, "", None))
    }

    /// The request, read.
    pub(super) fn asked(&self, pairs: &[(String, String)]) -> Result<Asked, Trouble> {
        Asked::read(pairs, &self.options().redirect_uris).map_err(Trouble::Request)
    }

    /// Shows the form.
    fn ask(&self, asking: &Asking, asked: &Asked, status: StatusCode, address: &str, complaint: Option<&str>) -> Answer {
        let (cookie, is_new) = self.cookie(asking);
        let seal = self.memory.seals.seal("authorize", &cookie, self.desk.uptime());
        let page = Page::Authorize {
            fields: &asked.fields(),
            seal: &seal,
            address,
            complaint,
            can_reset: self.desk.letters().is_some(),
            single_sign_on: self.memory.provider.as_ref().map(Provider::name),
        };
        let cookie = is_new.then_some(cookie.as_ref());
        self.memory.pages.show_form(status, &page, cookie, Some(&asked.redirect_uri))
    }

    /// The browser's cookie, and whether it has to be set first.
    pub(super) fn cookie<'a>(&self, asking: &'a Asking) -> (Cow<'a, str>, bool) {
        match form::cookie(&asking.headers) {
            Some(cookie) => (Cow::Borrowed(cookie), false),
            None => (Cow::Owned(form::new_cookie(rand::random())), true),
        }
    }

    /// Refuses a form that was not shown here, to this browser, lately.
    pub(super) fn check_form(&self, asking: &Asking, what: &str, fields: &[(String, String)]) -> Result<(), Trouble> {
        let seal = one(fields, "seal").ok().flatten();
        let cookie = form::cookie(&asking.headers);
        let is_own =
            form::is_from_here(&asking.headers, &self.desk.api_url("")) && self.memory.seals.check(what, cookie, seal, self.desk.uptime());
        if is_own { Ok(()) } else { Err(Trouble::StrangeForm) }
    }

    /// Takes one attempt of the client, and one for the address that was typed.
    pub(super) fn take_attempt(&self, asking: &Asking, address: Option<&str>) -> Result<(), Trouble> {
        let (now, client) = (self.desk.uptime(), asking.client);
        let has_left = self.memory.by_client.take(&client_key(client), now)
            && address.is_none_or(|address| self.memory.by_account.take(&account_key(address), now));
        if has_left {
            return Ok(());
        }
        tracing::info!(%client, "a sign-in was refused: too many attempts");
        Err(Trouble::TooMany)
    }

    /// The form of `/authorize`.
    pub(super) fn authorize(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let fields = pairs(&asking.body);
        let asked = self.asked(&fields)?;
        self.check_form(asking, "authorize", &fields)?;
        let (Ok(address), Ok(password)) = (one(&fields, "address"), one(&fields, "password")) else {
            return Err(Trouble::Incomplete);
        };
        let address = address.unwrap_or_default().trim();
        self.take_attempt(asking, Some(address))?;
        let password = SecretString::from(password.unwrap_or_default().to_owned());
        let users = self.check(address, &password)?;
        if users.is_empty() {
            tracing::info!(client = %asking.client, "a sign-in was refused");
            return Ok(self.ask(asking, &asked, StatusCode::FORBIDDEN, address, Some(COMPLAINT)));
        }
        self.signed_in(asking, asked, &users)
    }

    /// Whose password it is, of those who may sign in now.
    fn check(&self, address: &str, password: &SecretString) -> Result<Vec<Proven>, Trouble> {
        let known = accounts::of_address(self.desk.catalog(), address, self.options().accounts)?;
        // Computed whatever is already known, so that the time says nothing.
        let opened = passwords::opens(password, &known, self.options().cost, rand::random())?;
        let (now, uptime) = (self.desk.now(), self.desk.uptime());
        let is_free = |account: &&Account| !account.is_locked(now) && accounts::person(self.desk.catalog(), account.user).is_ok();
        // Whoever has one account of an address must not be let guess at the others for ever.
        let mut with_password = known.iter().filter(|account| account.password.is_some());
        let opens_all = with_password.all(|account| opened.contains(&account.user));
        let users = known.iter().filter(|account| opened.contains(&account.user));
        let users: Vec<&Account> = users.filter(is_free).collect();
        let mut failures = lock(&self.memory.failures);
        if failures.is_locked(address, uptime) {
            return Ok(Vec::new());
        }
        if !users.is_empty() {
            if opens_all {
                failures.forget(address);
            }
            drop(failures);
            self.hash_anew(&users, password);
        } else if failures.note(address, uptime) {
            drop(failures);
            self.lock_out(address.to_owned(), &known);
        }
        Ok(users.into_iter().map(Proven::from).collect())
    }

    /// Keeps the password of whoever just proved to know it at today's cost. What fails is logged: they are signed in all the same.
    fn hash_anew(&self, users: &[&Account], password: &SecretString) {
        let cost = self.options().cost;
        for account in users {
            let Some(before) = account.password.as_ref().filter(|hash| !cost.is_of(hash)) else {
                continue;
            };
            // The same salt: one hash goes on to answer for all accounts of the address.
            let kept = passwords::hash(password, before.salt, cost)
                .map_err(Trouble::from)
                .and_then(|after| {
                    let by = Actor::local("local:sign-in");
                    let keep = |edit: &mut Edit<'_, '_>| edit.keep_password(account.user, before, after.clone());
                    Ok(self.desk.change(&by, "hashPassword", keep)?)
                });
            if let Err(error) = kept {
                tracing::error!(error = &error as &dyn std::error::Error, user = %account.user, "a password kept its old hash");
            }
        }
    }

    /// Locks the accounts of an address, if there are any. Beside the answer, which would be later where there are some.
    fn lock_out(&self, address: String, known: &[Account]) {
        let until = self.desk.now().after(self.options().lock);
        tracing::warn!(accounts = known.len(), "an address was locked: too many wrong passwords");
        let (desk, most) = (self.desk.clone(), self.options().accounts);
        self.runtime.spawn_blocking(move || {
            let by = Actor::local("local:sign-in");
            if let Err(error) = desk.change(&by, "lockAccount", |edit| edit.lock_accounts(&address, most, until)) {
                tracing::error!(error = &error as &dyn std::error::Error, "an account could not be locked");
            }
        });
    }

    /// Somebody proved who they are: one user goes on, several are asked which.
    pub(super) fn signed_in(&self, asking: &Asking, asked: Asked, users: &[Proven]) -> Result<Answer, Trouble> {
        match users {
            [proven] => self.send_back(asking, asked, *proven),
            users => self.ask_which(
                asking,
                Choice {
                    asked,
                    users: users.to_vec(),
                },
            ),
        }
    }

    /// Sends the browser back to the program with a code for this user.
    pub(super) fn send_back(&self, asking: &Asking, asked: Asked, proven: Proven) -> Result<Answer, Trouble> {
        let code = super::choice::secret();
        let to = asked.answer(&code);
        let grant = Grant {
            proven,
            client: asked.client,
            redirect_uri: asked.redirect_uri,
            challenge: asked.challenge,
        };
        lock(&self.memory.codes).issue(&code, grant, self.desk.uptime());
        tracing::info!(user = %proven.user, client = %asking.client, "signed in");
        Ok(self.memory.pages.go(&to))
    }
}
