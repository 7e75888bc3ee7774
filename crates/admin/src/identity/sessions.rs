//! Sessions of people who signed in: a short-lived access token, a refresh token, and what ends them.
//!
//! A refresh token is random and kept as a digest. An access token is a JWT in form, because clients read its end; what proves
//! it is a seal under its user's own key, bound to its session. So nothing that is kept lets anybody make one, it ends with its
//! session at once, and a deleted user's tokens die with their key.

use super::IdentityError;
use super::accounts::person;
use crate::actor::Actor;
use crate::edit::Edit;
use crate::fault::Fault;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::account::{Client, Proven, Purpose, Session};
use perseat_domain::id::{SessionId, UserId};
use perseat_domain::model::Sealed;
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Accounts as _, Catalog, Lookup as _};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::Owner;
use perseat_store::seal::{RecordKind, key_digest};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// What every refresh token begins with.
pub const REFRESH_PREFIX: &str = "prt_";
/// What every access token begins with: the header of a JWT whose signature is a seal, and a dot.
pub const ACCESS_PREFIX: &str = "eyJhbGciOiJwZXJzZWF0LXNlYWwtMSIsInR5cCI6IkpXVCJ9.";
/// Replaced refresh tokens that are remembered; an older one is refused without ending the session. No key of the configuration:
/// they are part of the session's record, and a thief who comes later than sixteen renewals has a token that works no more.
const MAX_SPENT: usize = 16;
/// The longest access token. No key of the configuration: they are made here, and none is nearly as long.
const MAX_TOKEN: usize = 2_048;

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it: the address of the API.
    pub iss: String,
    /// For whom: the same.
    pub aud: String,
    /// The user's global id.
    pub sub: String,
    /// The session's id.
    pub sid: String,
    /// When it was made, in seconds.
    pub iat: u64,
    /// When it ends, in seconds.
    pub exp: u64,
}

/// What a refresh token turned out to be.
#[derive(Debug)]
pub enum Presented {
    /// The token of this session.
    Current(Session, Actor),
    /// One that was replaced: somebody else has it, too.
    Spent(Session),
    /// None, or its session is over.
    Unknown,
}

impl Edit<'_, '_> {
    /// Begins a session. Beyond `most` of the user's the oldest one ends. The account is the user's from then on: invitations to it end.
    ///
    /// # Errors
    /// [`Fault::Stale`] where another password was set since they showed who they are.
    pub fn begin_session(
        &mut self,
        proven: Proven,
        client: Client,
        lifetime: Duration,
        most: usize,
    ) -> Result<(Session, SecretString), Fault> {
        let account = self.mutation.account_of(proven.user)?;
        let Some(mut account) = account.filter(|account| Proven::from(account) == proven) else {
            return Err(Fault::Stale);
        };
        account.has_signed_in = true;
        // Whoever passed on an invitation knows it, too.
        account.links.retain(|link| link.purpose != Purpose::Invitation);
        self.mutation.put(&account)?;
        let mut sessions = self.mutation.sessions_of(proven.user, None, usize::MAX - 1)?.items;
        sessions.sort_by_key(|session| session.began_at);
        let surplus = (sessions.len() + 1).saturating_sub(most.max(1));
        for session in sessions.iter().take(surplus) {
            self.mutation.end_session(session.id)?;
        }
        let id = SessionId(self.random_id());
        let token = self.refresh_token(id);
        let session = Session {
            id,
            user: proven.user,
            client,
            digest: key_digest(token.expose_secret()),
            spent: Vec::new(),
            began_at: self.at,
            expires_at: self.at.after(lifetime),
        };
        self.mutation.put(&session)?;
        Ok((session, token))
    }

    /// Replaces the refresh token of a session; the old one is spent.
    ///
    /// # Errors
    /// [`Fault::Stale`] where somebody was faster.
    pub fn rotate_session(&mut self, session: &Session) -> Result<SecretString, Fault> {
        let now = self.mutation.get::<Session>(session.id)?;
        let Some(now) = now.filter(|now| now.digest == session.digest) else {
            return Err(Fault::Stale);
        };
        let token = self.refresh_token(session.id);
        let mut spent = now.spent;
        spent.push(now.digest);
        let surplus = spent.len().saturating_sub(MAX_SPENT);
        spent.drain(..surplus);
        self.mutation.put(&Session {
            digest: key_digest(token.expose_secret()),
            spent,
            ..now
        })?;
        Ok(token)
    }

    /// Ends a session with all its tokens.
    ///
    /// # Errors
    /// If the store fails.
    pub fn end_session(&mut self, id: SessionId) -> Result<bool, Fault> {
        Ok(self.mutation.end_session(id)?)
    }

    fn refresh_token(&mut self, id: SessionId) -> SecretString {
        let secret = [id.0, self.random_id(), self.random_id(), self.random_id()]
            .map(Uuid::into_bytes)
            .concat();
        SecretString::from(format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)))
    }
}

/// What a refresh token is.
///
/// # Errors
/// If the catalog cannot be read.
pub fn presented(catalog: &Catalog, token: &SecretString, now: Timestamp) -> Result<Presented, IdentityError> {
    let text = token.expose_secret();
    let bytes = text.strip_prefix(REFRESH_PREFIX).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let id = bytes.and_then(|bytes| Uuid::from_slice(bytes.get(..16)?).ok()).map(SessionId);
    let Some(id) = id else { return Ok(Presented::Unknown) };
    let session = catalog.get::<Session>(id)?.filter(|session| now < session.expires_at);
    let Some(session) = session else {
        return Ok(Presented::Unknown);
    };
    let digest = key_digest(text);
    if bool::from(session.digest.0.ct_eq(&digest.0)) {
        return Ok(match person(catalog, session.user) {
            Ok((_, actor)) => Presented::Current(session, actor),
            Err(IdentityError::Store(error)) => return Err(error.into()),
            Err(_) => Presented::Unknown,
        });
    }
    let is_spent = session.spent.iter().any(|spent| bool::from(spent.0.ct_eq(&digest.0)));
    Ok(if is_spent { Presented::Spent(session) } else { Presented::Unknown })
}

/// Makes an access token of a session.
///
/// # Errors
/// If the user's key cannot be read.
pub fn access_token(
    custody: &Custody,
    session: &Session,
    issuer: &str,
    now: Timestamp,
    lifetime: Duration,
) -> Result<SecretString, StoreError> {
    let second = now.0 / 1_000;
    let claims = Claims {
        iss: issuer.to_owned(),
        aud: issuer.to_owned(),
        sub: session.user.global(),
        sid: session.id.global(),
        iat: second,
        exp: (second + lifetime.as_secs()).min(session.expires_at.0 / 1_000),
    };
    let payload = serde_json::to_vec(&claims).unwrap_or_default();
    let signed = format!("{ACCESS_PREFIX}{}", URL_SAFE_NO_PAD.encode(payload));
    let key = custody.keyring().data_key(Owner::User(session.user))?;
    let seal = key.seal(RecordKind::AccessToken, session.id.0.as_bytes(), fingerprint(&signed).as_ref());
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&seal.0))))
}

fn fingerprint(signed: &str) -> aws_lc_rs::digest::Digest {
    digest(&SHA256, signed.as_bytes())
}

/// The session of an access token that works.
///
/// # Errors
/// It is none, has expired, or its session is over.
pub fn session(custody: &Custody, token: &str, now: Timestamp) -> Result<Session, IdentityError> {
    const ENDED: IdentityError = IdentityError::Refused("The session has ended, or the token has expired: sign in again.");
    let claims = believed(custody, token)?.ok_or(IdentityError::Refused("The token is not one of this server's."))?;
    if claims.exp <= now.0 / 1_000 {
        return Err(ENDED);
    }
    let id: SessionId = claims.sid.parse().map_err(|_| ENDED)?;
    let session = custody.catalog().get::<Session>(id)?;
    let is_of = |session: &Session| claims.sub.parse() == Ok(session.user) && now < session.expires_at;
    session.filter(is_of).ok_or(ENDED)
}

/// The claims, if the seal is that of their user's key and session.
fn believed(custody: &Custody, token: &str) -> Result<Option<Claims>, StoreError> {
    if token.len() > MAX_TOKEN {
        return Ok(None);
    }
    let read = || {
        let (signed, seal) = token.rsplit_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(signed.strip_prefix(ACCESS_PREFIX)?).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        let (user, session): (UserId, SessionId) = (claims.sub.parse().ok()?, claims.sid.parse().ok()?);
        let seal = Sealed(URL_SAFE_NO_PAD.decode(seal).ok()?);
        Some((signed.to_owned(), claims, user, session, seal))
    };
    let Some((signed, claims, user, session, seal)) = read() else {
        return Ok(None);
    };
    let key = match custody.keyring().data_key(Owner::User(user)) {
        Ok(key) => key,
        Err(StoreError::NoKey { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let opened = key.unseal(RecordKind::AccessToken, session.0.as_bytes(), &seal);
    let is_right = opened.is_ok_and(|opened| bool::from(opened.ct_eq(fingerprint(&signed).as_ref())));
    Ok(is_right.then_some(claims))
}

/// Who shows this access token.
///
/// # Errors
/// It does not work, or its user may not sign in any more.
pub fn recognise(custody: &Custody, token: &str, now: Timestamp) -> Result<Actor, IdentityError> {
    let session = session(custody, token, now)?;
    Ok(person(custody.catalog(), session.user)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{Definitions, Desk};
    use crate::identity::accounts::{NewOwner, holder};
    use crate::identity::passwords;
    use perseat_domain::account::Account;
    use perseat_domain::model::User;
    use perseat_flow::definition::Limits;
    use perseat_store::catalog::Options;
    use perseat_store::keyring::{self, Keyring, MasterKey};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    struct Bench {
        _folder: tempfile::TempDir,
        custody: Custody,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let catalog = Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap();
            let ring = folder.path().join("keyring");
            let keyring = Keyring::open(&ring, MasterKey::new(&[1; 32]), &keyring::Options::default()).unwrap();
            let custody = Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap();
            Self { _folder: folder, custody }
        }

        fn at<T>(&self, at: Timestamp, work: impl FnOnce(&mut Edit<'_, '_>) -> Result<T, Fault>) -> Result<T, Fault> {
            let mut random = || Uuid::new_v4().as_u128();
            let mut desk = Desk {
                custody: &self.custody,
                definitions: Definitions::built_in(Limits::default()),
                actor: &Actor::local("test"),
                at,
                random: &mut random,
            };
            desk.change("test", work).map(|changed| changed.value)
        }

        fn begins(&self, user: &User, client: Client, at: Timestamp, lifetime: Duration, most: usize) -> (Session, SecretString) {
            let account = self.custody.catalog().account_of(user.id).unwrap().unwrap();
            self.at(at, |edit| edit.begin_session(Proven::from(&account), client, lifetime, most))
                .unwrap()
        }

        fn owner(&self, email: &str) -> (User, SecretString) {
            let new = NewOwner {
                email: email.to_owned(),
                name: None,
                organization: "Acme".into(),
            };
            self.at(NOW, |edit| edit.create_owner(&new, HOUR)).unwrap()
        }
    }

    #[test]
    fn an_access_token_works_as_long_as_its_session_its_user_and_its_time() {
        let bench = Bench::new();
        let ((ann, _), (bob, _)) = (bench.owner("ann@acme.example"), bench.owner("bob@acme.example"));
        let begin = |user: &User| bench.begins(user, Client::CommandLine, NOW, HOUR * 2, 8);
        let ((session, _), (other, _)) = (begin(&ann), begin(&bob));
        let token = access_token(&bench.custody, &session, "https://perseat.example", NOW, HOUR).unwrap();
        let token = token.expose_secret();
        let works = |token: &str, at: Timestamp| recognise(&bench.custody, token, at).is_ok();
        assert!(works(token, NOW) && works(token, NOW.after(HOUR - Duration::from_secs(1))));
        assert!(!works(token, NOW.after(HOUR)));
        for place in [3, ACCESS_PREFIX.len() + 9, token.len() - 9] {
            let mut changed = token.as_bytes().to_vec();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert!(!works(std::str::from_utf8(&changed).unwrap(), NOW), "changed at {place}");
        }
        let swapped = access_token(&bench.custody, &other, "https://perseat.example", NOW, HOUR).unwrap();
        let (body, seal) = (
            token.rsplit_once('.').unwrap().0,
            swapped.expose_secret().rsplit_once('.').unwrap().1,
        );
        assert!(!works(&format!("{body}.{seal}"), NOW), "another session's seal");
        bench.at(NOW, |edit| edit.end_session(session.id)).unwrap();
        assert!(!works(token, NOW) && works(swapped.expose_secret(), NOW));
        bench.at(NOW, |edit| edit.delete_user(&bob)).unwrap();
        assert!(!works(swapped.expose_secret(), NOW));
    }

    #[test]
    fn a_replaced_refresh_token_is_known_as_spent_and_a_strange_one_is_not() {
        let bench = Bench::new();
        let (ann, _) = bench.owner("ann@acme.example");
        let (_, first) = bench.begins(&ann, Client::Application, NOW, HOUR, 8);
        let now = |token: &SecretString, at| presented(bench.custody.catalog(), token, at).unwrap();
        let Presented::Current(session, ..) = now(&first, NOW) else {
            panic!("the token works")
        };
        let second = bench.at(NOW, |edit| edit.rotate_session(&session)).unwrap();
        assert!(matches!(now(&second, NOW), Presented::Current(..)));
        assert!(matches!(now(&first, NOW), Presented::Spent(_)));
        assert!(matches!(bench.at(NOW, |edit| edit.rotate_session(&session)), Err(Fault::Stale)));
        assert!(matches!(now(&second, NOW.after(HOUR)), Presented::Unknown), "it ends by itself");
        let strange = SecretString::from(format!("{}AAAA", &second.expose_secret()[..30]));
        assert!(matches!(now(&strange, NOW), Presented::Unknown));
    }

    #[test]
    fn beyond_the_limit_the_oldest_session_ends() {
        let bench = Bench::new();
        let (ann, _) = bench.owner("ann@acme.example");
        let begun: Vec<Session> = (0..3)
            .map(|n| {
                let at = NOW.after(Duration::from_secs(n));
                bench.begins(&ann, Client::CommandLine, at, HOUR, 2).0
            })
            .collect();
        let left = bench.custody.catalog().sessions_of(ann.id, None, 9).unwrap().items;
        assert_eq!(left.len(), 2);
        assert!(!left.contains(&begun[0]));
    }

    #[test]
    fn a_link_works_once_within_its_time_and_setting_a_password_ends_what_was_before() {
        let bench = Bench::new();
        let (ann, invitation) = bench.owner("Ann@acme.example");
        bench.begins(&ann, Client::CommandLine, NOW, HOUR, 8);
        let (_, link) = bench.owner("ann@acme.example");
        let (_, newer) = bench.owner("ann@acme.example");
        let found = |link: &SecretString, at| holder(bench.custody.catalog(), link, at).unwrap().map(|holder| holder.user.id);
        assert_eq!(found(&invitation, NOW), None, "it ended when she signed in");
        assert_eq!(found(&link, NOW), Some(ann.id));
        assert_eq!(found(&link, NOW.after(HOUR)), None, "it ends by itself");
        let set = |link: &SecretString, at: Timestamp| {
            let cheap = passwords::Cost { memory: 8, passes: 1 };
            let password = passwords::hash(&SecretString::from("a long password".to_owned()), [1; 16], cheap).unwrap();
            bench.at(at, |edit| edit.set_password(link, password))
        };
        assert!(matches!(set(&link, NOW.after(HOUR)), Err(Fault::Absent("link"))));
        set(&link, NOW).unwrap();
        assert!(matches!(set(&link, NOW), Err(Fault::Absent("link"))), "once");
        assert!(matches!(set(&newer, NOW), Err(Fault::Absent("link"))), "the others ended with it");
        let catalog = bench.custody.catalog();
        assert!(catalog.sessions_of(ann.id, None, 9).unwrap().items.is_empty());
        let account = catalog.account_of(ann.id).unwrap().unwrap();
        assert!(account.password.is_some() && !account.is_locked(NOW));
        assert_eq!(Account::id_of(ann.id).0, ann.id.0);
    }
}
