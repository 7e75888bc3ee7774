//! What the control plane works with: the catalog, what publishes its changes, what is known of executions.

use super::SignInOptions;
use super::limits::{ControlOptions, Rates, account_key};
use super::media::Permit;
use super::signed::Signer;
use crate::boot::http::Peer;
use crate::boot::plane::{Plane, Published, Publisher, random};
use crate::mail::MailOptions;
use crate::oauth::Door;
use arc_swap::ArcSwap;
use http::HeaderMap;
use http::request::Parts;
use perseat_actors::front::{FrontShared, Proxies, Trial};
use perseat_actors::kit::Clock;
use perseat_actors::source::Sources;
use perseat_admin::actor::Actor;
use perseat_admin::edit::{self, Changed, Definitions, Edit};
use perseat_admin::fault::Fault;
use perseat_admin::identity::IdentityError;
use perseat_admin::identity::embedded::{self, Verified};
use perseat_admin::identity::letters::{Delivery, Room};
use perseat_admin::media;
use perseat_admin::query::Reader;
use perseat_domain::code::ErrorCode;
use perseat_domain::id::{ExecutionId, MediaId};
use perseat_domain::model::Media;
use perseat_domain::time::Timestamp;
use perseat_store::StoreError;
use perseat_store::catalog::{Allowance, Catalog, Lookup as _};
use perseat_store::custody::Custody;
use perseat_store::executions::ExecutionReader;
use perseat_store::media::MediaError;
use perseat_store::pressure::Ballast;
use secrecy::SecretString;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::sync::Notify;
use zeroize::Zeroizing;

/// See the module.
#[derive(Debug)]
pub(crate) struct Desk {
    custody: Custody,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    ballast: Arc<Ballast>,
    executions: ExecutionReader,
    front: Arc<FrontShared>,
    signer: Signer,
    hooks_url: Arc<str>,
    api_url: String,
    options: ControlOptions,
    sign_in: SignInOptions,
    proxies: Arc<ArcSwap<Proxies>>,
    oauth: Arc<Door>,
    sources: Sources,
    mail: Option<Mail>,
}

/// Where letters go: how many may wait, how many go to one address, and whom to tell of one.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    room: Room,
    invitations: Arc<Rates>,
    pub(crate) wake: Arc<Notify>,
}

impl Mail {
    /// `remembered` is for how many addresses it is known what they got.
    pub(crate) fn new(options: &MailOptions, remembered: usize) -> Self {
        let (most, window) = (f64::from(options.invitations), options.invitations_window);
        Self {
            room: options.room,
            invitations: Arc::new(Rates::new(most / window.as_secs_f64().max(1.0), most, remembered)),
            wake: Arc::default(),
        }
    }
}

/// 256 bits that live as long as the process.
pub(super) fn secret() -> Vec<u8> {
    [random().to_le_bytes(), random().to_le_bytes()].concat()
}

impl Desk {
    /// `api_url` is how clients reach the API.
    pub(crate) fn new(
        plane: &Plane,
        executions: ExecutionReader,
        api_url: String,
        options: ControlOptions,
        sign_in: SignInOptions,
        oauth: Door,
        mail: Option<Mail>,
    ) -> Self {
        Self {
            custody: plane.custody.clone(),
            publisher: plane.publisher.clone(),
            clock: plane.clock.clone(),
            ballast: plane.ballast.clone(),
            executions,
            front: plane.front.clone(),
            signer: Signer::new(&secret(), options.url_lifetime),
            hooks_url: plane.public_url.clone(),
            api_url,
            options,
            sign_in,
            proxies: plane.proxies.clone(),
            oauth: Arc::new(oauth),
            sources: plane.sources(),
            mail,
        }
    }

    pub(crate) fn options(&self) -> &ControlOptions {
        &self.options
    }

    pub(crate) fn sign_in(&self) -> &SignInOptions {
        &self.sign_in
    }

    /// Who calls, as far as proxies can be trusted to say.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.load().client(peer, headers)
    }

    /// Whose request it is.
    pub(super) fn client_of(&self, head: &Parts) -> IpAddr {
        let peer = head.extensions.get::<Peer>();
        self.client(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0), &head.headers)
    }

    /// How invitations reach people.
    pub(super) fn delivery(&self) -> Delivery {
        let lifetime = self.sign_in.invitation_lifetime;
        self.letters()
            .map_or_else(|| self.shown(), |room| Delivery::Mail { room, lifetime })
    }

    /// A link for whoever invites to pass on.
    pub(super) fn shown(&self) -> Delivery {
        Delivery::Shown {
            lifetime: self.sign_in.invitation_lifetime,
        }
    }

    /// How many letters may wait; `None` where none is ever sent.
    pub(super) fn letters(&self) -> Option<Room> {
        self.mail.as_ref().map(|mail| mail.room)
    }

    /// Takes one of the invitations that an address gets by mail, false if it has had them: nobody fills a stranger's letter box
    /// through this server.
    pub(super) fn take_invitation(&self, address: &str) -> bool {
        let rates = self.mail.as_ref().map(|mail| &mail.invitations);
        rates.is_none_or(|rates| rates.take(&account_key(address), self.uptime()))
    }

    /// Says that a letter may wait.
    pub(super) fn wake_mail(&self) {
        if let Some(mail) = &self.mail {
            mail.wake.notify_one();
        }
    }

    /// Where the holder of a link sets their password.
    pub(crate) fn password_url(&self, secret: &SecretString) -> String {
        crate::boot::people::password_url(&self.api_url, secret)
    }

    pub(crate) fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Where consents begin and end.
    pub(crate) fn oauth(&self) -> &Arc<Door> {
        &self.oauth
    }

    /// Where data sources are asked.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// For what takes time into account where the desk is not at hand.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Waits.
    pub(crate) async fn sleep(&self, time: std::time::Duration) {
        self.clock.sleep(time).await;
    }

    /// Time since the start, for rates.
    pub(super) fn uptime(&self) -> std::time::Duration {
        self.clock.uptime()
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        self.custody.catalog()
    }

    pub(crate) fn executions(&self) -> &ExecutionReader {
        &self.executions
    }

    /// Runs a flow to try it; durable once this returns.
    pub(super) async fn try_out(&self, trial: &Trial) -> Result<ExecutionId, ErrorCode> {
        self.front.try_out(trial).await
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The URL of an endpoint.
    pub(super) fn hook_url(&self, endpoint: perseat_domain::id::EndpointId) -> String {
        format!("{}/trigger/{}", self.hooks_url, endpoint.global())
    }

    /// The URL of a path of the API, which begins with a slash.
    pub(crate) fn api_url(&self, path: &str) -> String {
        format!("{}{path}", self.api_url)
    }

    /// Where a picture that a record names can be read for a short time: a path of the API.
    pub(crate) fn picture_path(&self, id: MediaId) -> String {
        super::media::signed_path(self, id)
    }

    /// What integration definitions are read with.
    pub(super) fn definitions(&self) -> Definitions<'static> {
        Definitions::built_in(self.options.definitions)
    }

    /// Reads one moment of the catalog for `actor`.
    pub(crate) fn read<T>(&self, actor: &Actor, work: impl FnOnce(&Reader<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        work(&Reader::new(self.catalog(), actor, self.options.read)?)
    }

    /// The same within what a request may read in all.
    pub(crate) fn read_within<T>(
        &self,
        actor: &Actor,
        allowance: &dyn Allowance,
        work: impl FnOnce(&Reader<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        work(&Reader::new(self.catalog(), actor, self.options.read)?.within(allowance))
    }

    /// Makes one change and publishes it before it returns.
    pub(crate) fn change<T>(&self, actor: &Actor, action: &str, work: impl Fn(&mut Edit<'_, '_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.publisher.publish(|| {
            let once = || {
                let mut random = random;
                let mut desk = edit::Desk {
                    custody: &self.custody,
                    definitions: self.definitions(),
                    actor,
                    at: self.now(),
                    random: &mut random,
                };
                desk.change(action, &work)
            };
            let changed = match once() {
                // Room that is kept back for this moment, so that a deletion can commit on a full disk.
                Err(Fault::Store(StoreError::Full(_))) if self.ballast.release() => {
                    tracing::warn!("the disk is full: the ballast file was given up for this mutation; make room");
                    once()?
                }
                changed => changed?,
            };
            Ok(split(changed))
        })
    }

    /// Keeps an upload until a change takes it up.
    pub(super) fn keep(&self, permit: &Permit, content: &[u8]) -> Result<(), MediaError> {
        let media = self.custody.media().ok_or(StoreError::NotFound {
            record: "folder of uploaded files",
            id: String::new(),
        })?;
        let key = self.custody.keyring().data_key(media::key_of(permit.media.owner))?;
        let record = Media {
            bytes: content.len() as u64,
            ..permit.media.clone()
        };
        let is_named = |id: MediaId| Ok(self.catalog().get::<Media>(id)?.is_some());
        media.write(&record, permit.customer, &key, content, &is_named)
    }

    /// The content of a file that a record names.
    pub(super) fn content(&self, record: &Media) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(media) = self.custody.media() else { return Ok(None) };
        let key = self.custody.keyring().data_key(media::key_of(record.owner))?;
        media.content(record.id, &key)
    }

    /// Writes down an embedded user who is new or has changed.
    pub(super) fn write_down(&self, verified: &Verified) -> Result<Actor, IdentityError> {
        self.publisher.publish(|| {
            let mut random = random;
            let changed = embedded::write_down(&self.custody, self.definitions(), verified, self.now(), &mut random)?;
            Ok(split(changed))
        })
    }
}

fn split<T>(changed: Changed<T>) -> (T, Published) {
    let published = Published {
        effects: changed.effects,
        revision: changed.revision,
    };
    (changed.value, published)
}
