//! Tells people that a connection has to be connected again: once, by mail or by a webhook of the organization's, and after a while
//! the admins of their customer.
//!
//! A notice begins in the transaction that ends its grant and goes in the one that writes a new consent. That one is about to be sent is
//! written down first: where that fails nobody is told. What was sent is written down before the next is looked at: a crash between the
//! two sends one twice, under the same id, and never none.

mod letter;
mod webhook;

use crate::boot::secret_file;
use crate::config::Config;
use crate::control::Desk;
use crate::mail::{Meaning, Post};
use crate::oauth::{Ticket, reconnect_url, secret};
use anyhow::Context as _;
use perseat_admin::notices::{Reach, Subject, subject};
use perseat_domain::grant::{Notice, NoticeLink, Pace, Step};
use perseat_flow::outbound::OutboundClient;
use perseat_store::catalog::GrantId;
use perseat_store::error::StoreError;
use perseat_store::seal::key_digest;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;
use webhook::Webhook;

/// Notices that are read at once.
const PAGE: usize = 256;

/// How notices are sent; the keys of `[notices]`.
#[derive(Clone, Debug)]
pub(crate) struct NoticeOptions {
    pub(crate) webhook: Option<Url>,
    pub(crate) webhook_secret: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) look: Duration,
    pub(crate) batch: usize,
    pub(crate) admins: usize,
    pub(crate) looked_through: usize,
    pub(crate) link_lifetime: Duration,
    pub(crate) pace: Pace,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Notices {
    desk: Arc<Desk>,
    post: Option<Post>,
    webhook: Option<Webhook>,
    options: NoticeOptions,
}

/// How telling somebody went.
enum Told {
    Sent,
    /// It is tried again later.
    NotNow,
    /// The same, for the mail server takes nobody's.
    MailAway,
    /// It will never be taken.
    Never,
    /// Somebody consented meanwhile.
    Overtaken,
}

impl Notices {
    /// Gets ready; reads the secret of the webhook and calls nobody.
    ///
    /// # Errors
    /// A secret that cannot be read, or an address that no rule can have.
    pub(crate) fn open(config: &Config, desk: Arc<Desk>, post: Option<Post>, control: &Runtime) -> anyhow::Result<Self> {
        let options = config.notice_options();
        let webhook = match (&options.webhook, &options.webhook_secret) {
            (Some(url), Some(path)) => {
                let secret = secret_file::read("notices.webhook-secret", path)?;
                // Its connections live where its calls are made.
                let _inside = control.enter();
                let client = OutboundClient::new(config.notice_policy()?, config.outbound_options()).context("notices.webhook")?;
                Some(Webhook::new(client, url.clone(), &secret, options.timeout))
            }
            _ => None,
        };
        Ok(Self {
            desk,
            post,
            webhook,
            options,
        })
    }

    /// Sends until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        loop {
            let sent = tokio::select! {
                sent = this.send_due() => sent,
                () = stop.cancelled() => return,
            };
            if let Err(error) = sent {
                tracing::error!(error = &error as &dyn std::error::Error, "a notice could not be dealt with");
            }
            tokio::select! {
                () = this.desk.sleep(this.options.look) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Once the mail server is away, no more of those that are due wait for it.
    async fn send_due(self: &Arc<Self>) -> Result<(), StoreError> {
        let (this, mut is_mail_away) = (self.clone(), false);
        for (id, notice) in blocking(move || this.due()).await? {
            is_mail_away |= self.deliver(&id, notice, is_mail_away).await?;
        }
        Ok(())
    }

    /// Those that are due, the longest due first.
    fn due(&self) -> Result<Vec<(GrantId, Notice)>, StoreError> {
        let (now, mut due, mut after) = (self.desk.now(), Vec::new(), None);
        loop {
            let page = self.desk.catalog().notices(after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(id, _)| id.clone());
            due.extend(page.into_iter().filter(|(_, notice)| notice.is_due(now)));
            due.sort_by_key(|(_, notice): &(GrantId, Notice)| notice.due_at);
            due.truncate(self.options.batch);
            if is_last {
                return Ok(due);
            }
        }
    }

    /// Tells everybody of one step, and writes down what came of it. Gives whether the mail server was found away.
    async fn deliver(self: &Arc<Self>, id: &GrantId, mut notice: Notice, is_mail_away: bool) -> Result<bool, StoreError> {
        let reach = Reach {
            admins: self.options.admins,
            looked_through: self.options.looked_through,
            embedded: self.webhook.is_none(),
        };
        let (this, about, step) = (self.clone(), id.clone(), notice.step);
        let found = blocking(move || subject(&this.desk.catalog().view()?, &about, step, &reach)).await?;
        // What is not over any more takes its notice along, in its own transaction.
        let Some(subject) = found else { return Ok(false) };
        let before = notice.clone();
        let told = if self.post.is_some() && !subject.people.is_empty() {
            if is_mail_away {
                count("mail", "put-off");
                Told::MailAway
            } else {
                self.write(id, &mut notice, &subject).await?
            }
        } else if self.webhook.is_some() {
            self.call(id, &mut notice, &subject).await?
        } else {
            metrics::counter!("perseat_notices_total", "channel" => "nobody", "outcome" => "given-up").increment(1);
            tracing::warn!(holder = ?id.holder, connection = %id.variable, "nobody can be told that a connection has to be connected again");
            Told::Never
        };
        let is_mail_away = matches!(told, Told::MailAway);
        // Written down person by person, and with the link.
        let now_there = self
            .read(id)
            .await?
            .filter(|there| there.generation == before.generation && there.step == before.step);
        let Some(before) = now_there.filter(|_| !matches!(told, Told::Overtaken)) else {
            return Ok(is_mail_away);
        };
        notice = before.clone();
        let now = self.desk.now();
        match told {
            Told::Sent => notice.done(true, now, &self.options.pace),
            Told::Never => notice.done(!before.told.is_empty(), now, &self.options.pace),
            Told::NotNow | Told::MailAway => {
                notice.put_off(now, &self.options.pace);
            }
            Told::Overtaken => {}
        }
        self.keep(id, &before, &notice).await?;
        Ok(is_mail_away)
    }

    /// Writes to each of them who has not been written to.
    async fn write(self: &Arc<Self>, id: &GrantId, notice: &mut Notice, subject: &Subject) -> Result<Told, StoreError> {
        let Some(post) = &self.post else { return Ok(Told::Never) };
        let mut refused = false;
        for person in &subject.people {
            if notice.told.contains(&person.id) {
                continue;
            }
            let Some(url) = self.claim(id, notice, subject).await? else {
                return Ok(Told::Overtaken);
            };
            let words = letter::words(
                notice_id(id, notice),
                notice.step,
                subject,
                person,
                url.as_deref(),
                self.options.link_lifetime,
            );
            let address = person.email.as_deref().unwrap_or_default();
            let sent = post.send(&person.name, address, words, self.desk.now()).await;
            let outcome = match &sent {
                Ok(()) => "sent",
                Err(error) if error.meaning() == Meaning::Never => "given-up",
                Err(_) => "put-off",
            };
            count("mail", outcome);
            if let Err(error) = sent {
                tracing::warn!(error = &error as &dyn std::error::Error, user = %person.id, outcome, "a notice was not sent");
                match error.meaning() {
                    Meaning::Away => return Ok(Told::MailAway),
                    Meaning::Later => return Ok(Told::NotNow),
                    Meaning::Never => refused = true,
                }
                continue;
            }
            tracing::info!(user = %person.id, holder = ?id.holder, connection = %id.variable, step = ?notice.step, "a notice was sent");
            let before = notice.clone();
            notice.told.push(person.id);
            if !self.keep(id, &before, notice).await? {
                return Ok(Told::Overtaken);
            }
        }
        Ok(if refused && notice.told.is_empty() {
            Told::Never
        } else {
            Told::Sent
        })
    }

    /// Posts it to the organization's webhook.
    async fn call(self: &Arc<Self>, id: &GrantId, notice: &mut Notice, subject: &Subject) -> Result<Told, StoreError> {
        let Some(webhook) = &self.webhook else { return Ok(Told::Never) };
        let Some(url) = self.claim(id, notice, subject).await? else {
            return Ok(Told::Overtaken);
        };
        let body = webhook::body(notice_id(id, notice), notice, subject, url.as_deref());
        match webhook.post(notice_id(id, notice), &body, self.desk.now()).await {
            Ok(()) => {
                count("webhook", "sent");
                tracing::info!(holder = ?id.holder, connection = %id.variable, step = ?notice.step, "a notice was posted");
                Ok(Told::Sent)
            }
            Err(error) => {
                count("webhook", "put-off");
                tracing::warn!(%error, holder = ?id.holder, connection = %id.variable, "a notice was not posted");
                Ok(Told::NotNow)
            }
        }
    }

    /// Writes down that it is about to be sent, with the digest of the link for whoever may consent: who cannot write sends nothing. The link
    /// is made anew with each attempt, so that none is kept, and for each person.
    /// `None` where somebody consented meanwhile; no link where nobody of this step may consent.
    async fn claim(self: &Arc<Self>, id: &GrantId, notice: &mut Notice, subject: &Subject) -> Result<Option<Option<String>>, StoreError> {
        let (before, now) = (notice.clone(), self.desk.now());
        notice.claim(now, &self.options.pace);
        // An admin who consented for a user would connect their own account.
        let made = (notice.step == Step::Holder).then(secret);
        if let Some(made) = &made {
            notice.give(NoticeLink {
                digest: key_digest(made),
                until: now.after(self.options.link_lifetime),
            });
        }
        if !self.keep(id, &before, notice).await? {
            return Ok(None);
        }
        let ticket = Ticket {
            id: id.clone(),
            by: subject.user.as_ref().map_or_else(|| "admin".to_owned(), |user| user.id.to_string()),
        };
        Ok(Some(made.map(|made| reconnect_url(&self.desk, &ticket, &made))))
    }

    /// Writes it down, unless it is another one by now.
    async fn keep(self: &Arc<Self>, id: &GrantId, before: &Notice, notice: &Notice) -> Result<bool, StoreError> {
        let (this, id, before, notice) = (self.clone(), id.clone(), before.clone(), notice.clone());
        blocking(move || this.desk.catalog().store_notice(&id, &before, &notice)).await
    }

    async fn read(self: &Arc<Self>, id: &GrantId) -> Result<Option<Notice>, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        blocking(move || this.desk.catalog().notice_of(&id)).await
    }
}

fn count(channel: &'static str, outcome: &'static str) {
    metrics::counter!("perseat_notices_total", "channel" => channel, "outcome" => outcome).increment(1);
}

/// Names a step of a notice, the same whenever it is sent.
fn notice_id(id: &GrantId, notice: &Notice) -> Uuid {
    let holder = id.holder.uuid();
    let named = format!("{holder}/{}/{}/{:?}", id.variable, notice.generation, notice.step);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&key_digest(&named).0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Io(std::io::Error::other(error))),
    }
}
