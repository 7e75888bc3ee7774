//! An open change of the catalog: records written with everything that has to be published for them.
//!
//! `apply` and the commands of the API write through the same [`Edit`], so that no way of changing something can forget the
//! routing snapshot, the actors that hold the old form, or the audit.

mod adopt;
mod instance;
mod integration;
mod keys;
mod moves;
mod owed;
mod records;
mod registrations;
mod secrets;
mod sharing;
mod values;

pub use instance::{Deploy, InstanceDraft, UserConfigDraft};
pub use integration::{Saved, VersionDraft};
pub(crate) use records::every;
pub(crate) use registrations::RegistrationDraft;
pub(crate) use sharing::{SharedDraft, Unshared};
pub(crate) use values::{check_choice, is_lacking, missing};

use crate::actor::Actor;
use crate::fault::Fault;
use crate::grants::Givers;
use perseat_domain::grant::Holder;
use perseat_domain::id::{InstanceId, UserConfigId};
use perseat_domain::route::RouteChange;
use perseat_domain::time::Timestamp;
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Components, Limits};
use perseat_store::catalog::{Catalog, Change, Lookup, Mutation, Record, RecordType};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::Keyring;
use perseat_store::media::MediaFiles;
use std::collections::BTreeSet;
use std::fmt;
use uuid::Uuid;

/// What has to be published once a change is durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// For the routing snapshot.
    pub routes: Vec<RouteChange>,
    /// Instances whose actors must read their configuration again.
    pub instances: BTreeSet<InstanceId>,
    /// Users, of other instances, whose actors must.
    pub users: BTreeSet<(InstanceId, UserConfigId)>,
    /// Whose shared connections must be read again.
    pub holders: BTreeSet<Holder>,
    /// Whether every actor must read again what it has: something changed that all of them may use.
    pub is_everywhere: bool,
}

/// A change that was made.
#[derive(Debug)]
pub struct Changed<T> {
    /// What the work returned.
    pub value: T,
    /// What to publish.
    pub effects: Effects,
    /// The catalog's revision afterwards.
    pub revision: u64,
}

/// What integration definitions are read with.
#[derive(Clone, Copy)]
pub struct Definitions<'d> {
    /// What flows can be made of.
    pub components: &'d dyn Components,
    /// How much is read.
    pub limits: Limits,
}

impl Definitions<'static> {
    /// With the components of this build.
    #[must_use]
    pub const fn built_in(limits: Limits) -> Self {
        Self {
            components: &BuiltIn,
            limits,
        }
    }
}

impl fmt::Debug for Definitions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definitions").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Who changes what, and where time and randomness come from.
pub struct Desk<'d> {
    /// The catalog and its keys.
    pub custody: &'d Custody,
    /// For integrations.
    pub definitions: Definitions<'d>,
    /// Who.
    pub actor: &'d Actor,
    /// Now.
    pub at: Timestamp,
    /// 128 random bits each.
    pub random: &'d mut dyn FnMut() -> u128,
}

impl fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl Desk<'_> {
    /// Makes one change: all of `work` or, where it fails, nothing.
    ///
    /// # Errors
    /// What `work` returns, or if the store fails.
    pub fn change<T, E: From<StoreError>>(
        &mut self,
        action: &str,
        work: impl FnOnce(&mut Edit<'_, '_>) -> Result<T, E>,
    ) -> Result<Changed<T>, E> {
        let by = self.actor.who.to_string();
        let change = Change {
            by: &by,
            at: self.at,
            action,
        };
        let mutated = self.custody.mutate(change, |mutation| {
            let mut edit = Edit {
                mutation,
                before: self.custody.catalog(),
                keyring: self.custody.keyring(),
                media: self.custody.media(),
                definitions: self.definitions,
                actor: self.actor,
                at: self.at,
                random: &mut *self.random,
                is_rehearsal: false,
                effects: Effects::default(),
                givers: Givers::new(),
            };
            let value = work(&mut edit)?;
            Ok::<_, E>((value, edit.effects))
        })?;
        let (value, effects) = mutated.value;
        Ok(Changed {
            value,
            effects,
            revision: mutated.revision,
        })
    }
}

/// See the module.
pub struct Edit<'e, 'm> {
    pub(crate) mutation: &'e mut Mutation<'m>,
    /// As everything was before: what an open mutation writes is not read there.
    pub(crate) before: &'e Catalog,
    pub(crate) keyring: &'e Keyring,
    pub(crate) media: Option<&'e MediaFiles>,
    pub(crate) definitions: Definitions<'e>,
    pub(crate) actor: &'e Actor,
    pub(crate) at: Timestamp,
    random: &'e mut dyn FnMut() -> u128,
    /// Whether everything is going to be rolled back: then nothing is sealed.
    pub(crate) is_rehearsal: bool,
    pub(crate) effects: Effects,
    /// Where it was found whose the tokens are that are given up.
    givers: Givers,
}

impl fmt::Debug for Edit<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("actor", &self.actor)
            .field("effects", &self.effects)
            .finish_non_exhaustive()
    }
}

impl Edit<'_, '_> {
    /// Who changes something.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        self.actor
    }

    /// A new id.
    pub(crate) fn random_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes((self.random)().to_be_bytes()).into_uuid()
    }

    /// A new id with room for a number in its last bits.
    pub(crate) fn random_base(&mut self) -> Uuid {
        perseat_domain::id::endpoint_base((self.random)())
    }

    /// Refuses if somebody changed the record since `expected`.
    pub(crate) fn check_revision<R: Record>(&self, id: R::Id, expected: Option<u64>) -> Result<(), Fault> {
        let Some(expected) = expected else { return Ok(()) };
        match self.mutation.stamp::<R>(id)? {
            Some(stamp) if stamp.revision == expected => Ok(()),
            _ => Err(Fault::Stale),
        }
    }

    /// The record with this id, or [`Fault::Absent`].
    pub(crate) fn existing<R: Record>(&self, id: R::Id) -> Result<R, Fault> {
        self.mutation.get::<R>(id)?.ok_or_else(|| absent(R::TYPE))
    }
}

/// There is none of this type.
pub(crate) fn absent(kind: RecordType) -> Fault {
    Fault::Absent(kind.name())
}
