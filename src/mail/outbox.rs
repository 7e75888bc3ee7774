//! Sends what waits, in the order in which it is due.

use super::letter::words;
use super::post::{MailOptions, Meaning, Post};
use crate::control::Desk;
use perseat_admin::actor::Actor;
use perseat_admin::edit::Edit;
use perseat_admin::fault::Fault;
use perseat_domain::account::{Letter, Purpose};
use perseat_domain::time::Timestamp;
use perseat_store::StoreError;
use perseat_store::catalog::{Catalog, Lookup as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Letters that are read at once.
const PAGE: usize = 256;
/// Letters that are sent before it is looked again which are due.
const BATCH: usize = 64;
/// The longest wait: what is due is looked for as often.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    desk: Arc<Desk>,
    post: Post,
    options: MailOptions,
    wake: Arc<Notify>,
}

impl Outbox {
    /// `wake` is told of every letter that is written.
    pub(crate) fn new(desk: Arc<Desk>, post: Post, options: MailOptions, wake: Arc<Notify>) -> Self {
        Self { desk, post, options, wake }
    }

    /// Sends until `stop`. A letter that is being sent then is sent again after the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        loop {
            let wait = tokio::select! {
                wait = this.send_due() => wait,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = this.desk.sleep(wait) => {}
                () = this.wake.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Sends everything that is due; gives how long until something else is.
    async fn send_due(self: &Arc<Self>) -> Duration {
        loop {
            let this = self.clone();
            let waiting = blocking(move || Ok(waiting(this.desk.catalog(), this.desk.now())?)).await;
            let (due, wait) = match waiting {
                Ok(waiting) => waiting,
                Err(fault) => {
                    tracing::error!(error = &fault as &dyn std::error::Error, "the letters that wait could not be read");
                    return self.options.back_off;
                }
            };
            if due.is_empty() {
                return wait;
            }
            for letter in due {
                match self.deliver(&letter).await {
                    Ok(Some(Meaning::Away)) => return self.options.back_off,
                    Ok(_) => {}
                    Err(fault) => {
                        tracing::error!(error = &fault as &dyn std::error::Error, "a letter could not be dealt with");
                        return self.options.back_off;
                    }
                }
            }
        }
    }

    /// Sends one letter, and writes down what came of it: why it was not sent, if it was not.
    async fn deliver(self: &Arc<Self>, letter: &Letter) -> Result<Option<Meaning>, Fault> {
        let (id, lifetime) = (letter.id, self.lifetime(letter.purpose));
        let this = self.clone();
        let addressed = blocking(move || this.change("addressLetter", |edit| edit.address_letter(id, lifetime))).await?;
        let Some(addressed) = addressed else {
            return Ok(None);
        };
        let user = &addressed.user;
        let url = self.desk.password_url(&addressed.secret);
        let words = words(letter.purpose, &addressed, &url, lifetime);
        let sent = self
            .post
            .send(&user.name, user.email.as_deref().unwrap_or_default(), words, self.desk.now())
            .await;
        let this = self.clone();
        let Err(error) = sent else {
            metrics::counter!("perseat_mail_letters_total", "outcome" => "sent").increment(1);
            tracing::info!(user = %user.id, letter = ?letter.purpose, "a letter was sent");
            blocking(move || this.change("sendLetter", |edit| edit.finish_letter(id))).await?;
            return Ok(None);
        };
        let meaning = error.meaning();
        let due_at = again(&self.options, letter, meaning, self.desk.now());
        let outcome = if due_at.is_some() { "put-off" } else { "given-up" };
        metrics::counter!("perseat_mail_letters_total", "outcome" => outcome).increment(1);
        // The server's words may repeat the address: no secret, and what an operator looks for.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            user = %user.id,
            attempts = letter.attempts + 1,
            outcome,
            "a letter was not sent"
        );
        let action = if due_at.is_some() { "putOffLetter" } else { "giveUpLetter" };
        blocking(move || this.change(action, |edit| edit.put_off_letter(id, due_at))).await?;
        Ok(Some(meaning))
    }

    fn lifetime(&self, purpose: Purpose) -> Duration {
        let sign_in = self.desk.sign_in();
        match purpose {
            Purpose::Invitation => sign_in.invitation_lifetime,
            Purpose::Reset => sign_in.reset_lifetime,
        }
    }

    fn change<T>(&self, action: &str, work: impl Fn(&mut Edit<'_, '_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.desk.change(&Actor::local("local:mail"), action, work)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Fault::wrong(error.to_string())),
    }
}

/// When a letter is tried again that was not sent at `now`; `None`: never.
fn again(options: &MailOptions, letter: &Letter, meaning: Meaning, now: Timestamp) -> Option<Timestamp> {
    let doubled = 2_u32.saturating_pow(letter.attempts);
    let wait = options.back_off.saturating_mul(doubled).min(options.back_off_max);
    let due_at = now.after(wait);
    (meaning != Meaning::Never && due_at <= letter.written_at.after(options.keep_trying)).then_some(due_at)
}

/// Letters that are due, the longest due first, and how long until the next one is.
fn waiting(catalog: &Catalog, now: Timestamp) -> Result<(Vec<Letter>, Duration), StoreError> {
    let view = catalog.view()?;
    let (mut due, mut next, mut after) = (Vec::new(), None, None);
    loop {
        let page = view.page::<Letter>(after, PAGE)?;
        for letter in page.items {
            if letter.due_at <= now {
                due.push(letter);
            } else {
                next = Some(next.map_or(letter.due_at, |next: Timestamp| next.min(letter.due_at)));
            }
        }
        due.sort_by_key(|letter: &Letter| letter.due_at);
        due.truncate(BATCH);
        after = page.next;
        if after.is_none() {
            let wait = next.map_or(LONGEST, |next| Duration::from_millis(next.0.saturating_sub(now.0)));
            return Ok((due, wait.min(LONGEST)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::{LetterId, UserId};
    use uuid::Uuid;

    fn letter(attempts: u32) -> Letter {
        Letter {
            id: LetterId(Uuid::from_u128(1)),
            user: UserId(Uuid::from_u128(2)),
            purpose: Purpose::Invitation,
            written_at: Timestamp(1_000),
            attempts,
            due_at: Timestamp(1_000),
            link: None,
        }
    }

    #[test]
    fn waits_double_up_to_their_limit_and_end_with_the_letters_time() {
        let options = MailOptions {
            back_off: Duration::from_secs(10),
            back_off_max: Duration::from_secs(60),
            keep_trying: Duration::from_secs(3_600),
            ..MailOptions::default()
        };
        let now = Timestamp(1_000);
        let waits = [0, 1, 2, 3, 40].map(|attempts| {
            let at = again(&options, &letter(attempts), Meaning::Later, now).unwrap();
            (at.0 - now.0) / 1_000
        });
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        let at = |second: u64, meaning| again(&options, &letter(9), meaning, Timestamp(1_000 + second * 1_000));
        assert!(at(3_540, Meaning::Away).is_some() && at(3_541, Meaning::Away).is_none());
        assert!(at(0, Meaning::Never).is_none());
    }
}
