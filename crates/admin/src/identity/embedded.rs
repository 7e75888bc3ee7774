//! Embedded users: their host product signs a token for each, and that token is their bearer.
//!
//! Reading the token is pure; time is an argument. Whoever is new is written down by the first token that names them.

use super::IdentityError;
use crate::actor::Actor;
use crate::edit::{Changed, Definitions, Desk, Edit};
use crate::fault::Fault;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use perseat_domain::id::{CustomerId, OrganizationId, UserId};
use perseat_domain::model::{Customer, Membership, Organization, Role, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Lookup};
use perseat_store::custody::Custody;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;

/// The furthest end of a token.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// The longest token that is read. No key of the configuration: the claims below fit many times, and it is what anybody may have
/// this server hash before they are known.
const MAX_TOKEN: usize = 16_384;
/// The longest value of a claim, in bytes. No key of the configuration: claims become names and external ids, whose limit it is.
const MAX_CLAIM: usize = 256;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who, in the host product's words.
    pub sub: String,
    /// The organization's global id.
    pub organization: String,
    /// The customer's external id.
    pub customer: String,
    /// When it was made, in seconds.
    pub iat: u64,
    /// When it ends, in seconds.
    pub exp: u64,
    /// When it begins, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The user's external id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of a customer that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_name: Option<String>,
    /// `admin` or `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl Claims {
    /// The token that says so, as the host product makes it.
    ///
    /// # Errors
    /// The key is no private RSA key in PEM.
    pub fn sign(&self, private_key: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
        let key = EncodingKey::from_rsa_pem(private_key)?;
        encode(&Header::new(Algorithm::RS256), self, &key)
    }
}

/// A token that was read and believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    claims: Claims,
    role: Role,
}

/// Reads a token: signed by a registered key, for this organization, and of this time.
///
/// # Errors
/// Anything else.
pub fn verify(token: &str, organization: &Organization, now: Timestamp) -> Result<Verified, IdentityError> {
    let refused = IdentityError::Refused;
    if token.len() > MAX_TOKEN {
        return Err(refused("The token is too long."));
    }
    let claims = signed_claims(token, organization).ok_or(refused("The token is not signed by a registered key."))?;
    if claims.organization.parse::<OrganizationId>().ok() != Some(organization.id) {
        return Err(refused("The token is for another organization."));
    }
    let second = |at: Timestamp| at.0 / 1_000;
    if second(now) >= claims.exp.saturating_add(LEEWAY.as_secs()) {
        return Err(refused("The token has expired."));
    }
    if claims.exp > second(now.after(MAX_LIFETIME + LEEWAY)) {
        return Err(refused("The token ends more than 24 hours from now."));
    }
    if claims.iat.max(claims.nbf.unwrap_or(0)) > second(now.after(LEEWAY)) {
        return Err(refused("The token begins later than now."));
    }
    let texts = [
        Some(&claims.sub),
        Some(&claims.customer),
        claims.external_id.as_ref(),
        claims.name.as_ref(),
        claims.customer_name.as_ref(),
    ];
    if texts
        .into_iter()
        .flatten()
        .any(|text| text.trim().is_empty() || text.len() > MAX_CLAIM || text.chars().any(char::is_control))
    {
        return Err(refused("A claim of the token is empty or too long."));
    }
    let role = match claims.role.as_deref() {
        None | Some("admin") => Role::MarketplaceAdmin,
        Some("user") => Role::MarketplaceUser,
        Some(_) => return Err(refused("The token's role is neither `admin` nor `user`.")),
    };
    Ok(Verified { claims, role })
}

/// The claims, if one of the organization's keys signed them with RS256.
fn signed_claims(token: &str, organization: &Organization) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::RS256);
    // Time is judged here, by the time that was passed in.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims = HashSet::new();
    let keys = organization.signing_keys.iter();
    let mut keys = keys.filter_map(|key| DecodingKey::from_rsa_pem(key.public_key.as_bytes()).ok());
    keys.find_map(|key| decode::<Claims>(token, &key, &validation).ok())
        .map(|data| data.claims)
}

/// What a token that is believed means.
#[derive(Debug)]
pub enum Sight {
    /// Somebody who is known just as the token says.
    Known(Actor),
    /// Somebody who has to be written down first; see [`write_down`].
    New(Verified),
}

/// Reads a token and looks for whom it names. Changes nothing.
///
/// # Errors
/// It is not believed.
pub fn recognise(catalog: &Catalog, token: &str, now: Timestamp) -> Result<Sight, IdentityError> {
    let organization = catalog.organization()?;
    let organization = organization.ok_or(IdentityError::Refused("There is no organization yet."))?;
    let verified = verify(token, &organization, now)?;
    Ok(match known(catalog, &verified)? {
        Some(actor) => Sight::Known(actor),
        None => Sight::New(verified),
    })
}

/// Writes down whoever is new, or whom the token says to have changed.
///
/// # Errors
/// The token contradicts what is known.
pub fn write_down(
    custody: &Custody,
    definitions: Definitions<'_>,
    verified: &Verified,
    now: Timestamp,
    random: &mut dyn FnMut() -> u128,
) -> Result<Changed<Actor>, IdentityError> {
    let mut desk = Desk {
        custody,
        definitions,
        actor: &Actor::local("embedded"),
        at: now,
        random,
    };
    desk.change("authenticateEmbeddedUser", |edit| edit.see(verified))
}

/// Whoever is known just as the token says, without a change.
fn known(catalog: &Catalog, verified: &Verified) -> Result<Option<Actor>, IdentityError> {
    let Some(customer) = catalog.customer_by_external_id(&verified.claims.customer)? else {
        return Ok(None);
    };
    let user = catalog.user_by_subject(Membership::Customer(customer.id), &verified.claims.sub)?;
    Ok(user.filter(|user| verified.fits(user)).map(|user| Actor::person(&user)))
}

impl Verified {
    /// Whether the user is as the token says, or as a newer one said.
    fn fits(&self, user: &User) -> bool {
        let claims = &self.claims;
        let is_older = user.subject_seen_at.is_some_and(|seen| seen.0 > claims.iat.saturating_mul(1_000));
        let same_name = claims.name.as_ref().is_none_or(|name| *name == user.name);
        let same_id = claims.external_id.is_none() || claims.external_id == user.external_id;
        is_older || (same_name && same_id && user.role == self.role)
    }
}

impl From<Fault> for IdentityError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => Self::Store(error),
            _ => Self::Conflict("The token's customer or user contradicts one that is known."),
        }
    }
}

impl Edit<'_, '_> {
    /// Writes down what the token says.
    fn see(&mut self, verified: &Verified) -> Result<Actor, IdentityError> {
        let claims = &verified.claims;
        let customer = match self.mutation.customer_by_external_id(&claims.customer)? {
            Some(customer) => customer,
            None => self.first_seen_customer(claims)?,
        };
        let membership = Membership::Customer(customer.id);
        let by_subject = self.mutation.user_by_subject(membership, &claims.sub)?;
        let before = match (by_subject, &claims.external_id) {
            (Some(user), _) => Some(user),
            (None, None) => None,
            (None, Some(external_id)) => self.awaited(membership, external_id)?,
        };
        if let Some(user) = before.as_ref().filter(|user| user.subject.is_some() && verified.fits(user)) {
            return Ok(Actor::person(user));
        }
        let id = match &before {
            Some(user) => user.id,
            None => UserId(self.random_id()),
        };
        let record = User {
            id,
            membership,
            email: before.as_ref().and_then(|user| user.email.clone()),
            name: claims
                .name
                .clone()
                .or_else(|| before.as_ref().map(|user| user.name.clone()))
                .unwrap_or_else(|| claims.sub.clone()),
            external_id: claims
                .external_id
                .clone()
                .or_else(|| before.as_ref().and_then(|user| user.external_id.clone())),
            subject: Some(claims.sub.clone()),
            subject_seen_at: Some(Timestamp(claims.iat.saturating_mul(1_000))),
            role: verified.role,
            labels: before.as_ref().map(|user| user.labels.clone()).unwrap_or_default(),
            profile: before.map(|user| user.profile).unwrap_or_default(),
        };
        self.put_user(&record)?;
        Ok(Actor::person(&record))
    }

    fn first_seen_customer(&mut self, claims: &Claims) -> Result<Customer, IdentityError> {
        let name = claims.customer_name.clone().ok_or(IdentityError::Refused(
            "The token's customer is not known, and it says no name for it.",
        ))?;
        let record = Customer {
            id: CustomerId(self.random_id()),
            name,
            external_id: Some(claims.customer.clone()),
            description: String::new(),
            labels: Vec::new(),
        };
        self.put_customer(&record)?;
        Ok(record)
    }

    /// A user who was set up with this external id and has never been seen. One who signs in otherwise is somebody else.
    fn awaited(&self, membership: Membership, external_id: &str) -> Result<Option<User>, IdentityError> {
        let Some(user) = self.mutation.user_by_external_id(membership, external_id)? else {
            return Ok(None);
        };
        if user.subject.is_some() || !user.role.is_embedded() {
            return Err(IdentityError::Conflict("The token's external id belongs to another user."));
        }
        Ok(Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::SigningPair;
    use aws_lc_rs::rsa::KeySize;
    use perseat_domain::model::SigningKey;
    use perseat_flow::definition::Limits;
    use perseat_store::catalog::Options;
    use perseat_store::keyring::{self, Keyring, MasterKey};
    use std::sync::{Arc, LazyLock};
    use uuid::Uuid;

    static PAIRS: LazyLock<[SigningPair; 2]> = LazyLock::new(|| [(); 2].map(|()| SigningPair::of_size(KeySize::Rsa2048).unwrap()));
    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const SECOND: u64 = NOW.0 / 1_000;

    fn organization() -> Organization {
        let key = |pair: &SigningPair| SigningKey {
            id: Uuid::from_u128(9),
            public_key: pair.public_key.clone(),
            private_key_preview: pair.preview(),
            issued_at: NOW,
            imported: false,
        };
        Organization {
            id: OrganizationId(Uuid::from_u128(1)),
            name: "Acme".into(),
            ulc_enabled: true,
            signing_keys: vec![key(&PAIRS[0])],
        }
    }

    fn claims() -> Claims {
        Claims {
            sub: "jane".into(),
            organization: organization().id.global(),
            customer: "globex".into(),
            iat: SECOND,
            exp: SECOND + 600,
            ..Claims::default()
        }
    }

    fn sign(claims: &Claims) -> String {
        claims.sign(PAIRS[0].private_key.as_bytes()).unwrap()
    }

    fn role(change: impl FnOnce(&mut Claims)) -> Option<Role> {
        let mut claims = claims();
        change(&mut claims);
        verify(&sign(&claims), &organization(), NOW).ok().map(|verified| verified.role)
    }

    #[test]
    fn a_token_is_believed_only_as_it_should_be() {
        assert_eq!(role(|_| ()), Some(Role::MarketplaceAdmin), "no role is admin");
        assert_eq!(role(|claims| claims.role = Some("user".into())), Some(Role::MarketplaceUser));
        assert_eq!(role(|claims| claims.role = Some("owner".into())), None);
        assert_eq!(
            role(|claims| claims.organization = OrganizationId(Uuid::from_u128(2)).global()),
            None
        );
        assert_eq!(
            role(|claims| claims.exp = SECOND - 59),
            Some(Role::MarketplaceAdmin),
            "clocks may differ by a minute"
        );
        assert_eq!(role(|claims| claims.exp = SECOND - 60), None);
        assert_eq!(role(|claims| claims.exp = SECOND + 24 * 3_600 + 61), None);
        assert_eq!(role(|claims| claims.iat = SECOND + 61), None);
        assert_eq!(role(|claims| claims.nbf = Some(SECOND + 61)), None);
        assert_eq!(role(|claims| claims.sub = " ".into()), None);
        assert_eq!(role(|claims| claims.customer = "c".repeat(MAX_CLAIM + 1)), None);
    }

    #[test]
    fn only_rs256_by_a_registered_key_is_believed() {
        let other = claims().sign(PAIRS[1].private_key.as_bytes()).unwrap();
        assert!(verify(&other, &organization(), NOW).is_err());
        let symmetric = EncodingKey::from_secret(PAIRS[0].public_key.as_bytes());
        let confused = encode(&Header::new(Algorithm::HS256), &claims(), &symmetric).unwrap();
        assert!(
            verify(&confused, &organization(), NOW).is_err(),
            "the public key is no shared secret"
        );
        let strong = EncodingKey::from_rsa_pem(PAIRS[0].private_key.as_bytes()).unwrap();
        let strong = encode(&Header::new(Algorithm::RS512), &claims(), &strong).unwrap();
        assert!(verify(&strong, &organization(), NOW).is_err());
        let good = sign(&claims());
        let (rest, signature) = good.rsplit_once('.').unwrap();
        assert!(verify(&format!("{rest}."), &organization(), NOW).is_err());
        assert!(verify(&format!("{rest}.{}", &signature[1..]), &organization(), NOW).is_err());
        let payload = rest.split('.').nth(1).unwrap();
        assert!(verify(&format!("eyJhbGciOiJub25lIn0.{payload}."), &organization(), NOW).is_err());
        for nonsense in ["", "a.b.c", "pst_x", &"x".repeat(MAX_TOKEN + 1)] {
            assert!(verify(nonsense, &organization(), NOW).is_err());
        }
        let mut without = organization();
        without.signing_keys.clear();
        assert!(verify(&good, &without, NOW).is_err());
    }

    struct Bench {
        _folder: tempfile::TempDir,
        custody: Custody,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let catalog = Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap();
            let keyring = Keyring::open(
                &folder.path().join("keyring"),
                MasterKey::new(&[1; 32]),
                &keyring::Options::default(),
            )
            .unwrap();
            let custody = Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap();
            let this = Self { _folder: folder, custody };
            let mut random = || Uuid::new_v4().as_u128();
            let mut desk = Desk {
                custody: &this.custody,
                definitions: Definitions::built_in(Limits::default()),
                actor: &Actor::local("test"),
                at: NOW,
                random: &mut random,
            };
            desk.change("test", |edit| edit.put_organization(&organization())).unwrap();
            this
        }

        /// The role of whoever shows the token, and whether something was written.
        fn show(&self, change: impl FnOnce(&mut Claims)) -> Result<(Actor, bool), IdentityError> {
            let mut claims = claims();
            change(&mut claims);
            match recognise(self.custody.catalog(), &sign(&claims), NOW)? {
                Sight::Known(actor) => Ok((actor, false)),
                Sight::New(verified) => {
                    let mut random = || Uuid::new_v4().as_u128();
                    write_down(&self.custody, Definitions::built_in(Limits::default()), &verified, NOW, &mut random)
                        .map(|changed| (changed.value, true))
                }
            }
        }
    }

    #[test]
    fn whoever_is_new_is_written_down_once_and_the_newest_token_decides() {
        let bench = Bench::new();
        assert!(bench.show(|_| ()).is_err(), "an unknown customer needs a name");
        let named = |claims: &mut Claims| claims.customer_name = Some("Globex".into());
        let (first, written) = bench.show(named).unwrap();
        assert!(written && first.role == Role::MarketplaceAdmin);
        let (again, written) = bench.show(|_| ()).unwrap();
        assert_eq!((again.who, written), (first.who.clone(), false));
        let (user, written) = bench
            .show(|claims| (claims.role, claims.iat) = (Some("user".into()), SECOND + 1))
            .unwrap();
        assert!(written && user.role == Role::MarketplaceUser && user.who == first.who);
        let (old, written) = bench.show(|_| ()).unwrap();
        assert_eq!(
            (old.role, written),
            (Role::MarketplaceUser, false),
            "an older token changes nothing"
        );
        let elsewhere = |claims: &mut Claims| (claims.customer, claims.customer_name) = ("initech".into(), Some("Initech".into()));
        let (other, _) = bench.show(elsewhere).unwrap();
        assert_ne!(other.who, first.who, "the same subject of another customer is another user");
    }

    #[test]
    fn an_external_id_belongs_to_one_subject() {
        let bench = Bench::new();
        let jane = |claims: &mut Claims| (claims.customer_name, claims.external_id) = (Some("Globex".into()), Some("u-1".into()));
        bench.show(jane).unwrap();
        let bob = |claims: &mut Claims| (claims.sub, claims.external_id) = ("bob".into(), Some("u-1".into()));
        assert!(matches!(bench.show(bob), Err(IdentityError::Conflict(_))));
        let bob = |claims: &mut Claims| claims.sub = "bob".into();
        assert!(bench.show(bob).is_ok(), "without an external id bob works by URL only");
    }
}
