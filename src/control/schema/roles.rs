//! Roles as clients name them.

use async_graphql::{ID, SimpleObject};
use perseat_admin::access::{ROLES, Side};
use perseat_admin::fault::Fault;
use perseat_domain::id::{join_global, split_global};
use perseat_domain::model::Role as Word;
use uuid::Uuid;

/// What somebody may do.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Role {
    id: ID,
    name: String,
    description: String,
    /// Its place among the roles of its side, from the most powerful.
    level: usize,
}

/// Roles are part of the program: their ids never change.
const BASE: u128 = 0x5045_5253_4541_8000_8000_524f_4c45_0000;

fn words(side: Side, role: Word) -> (&'static str, &'static str) {
    match (side, role) {
        (Side::Organization, Word::Owner) => ("Owner", "Manages everything, the organization included."),
        (Side::Organization, Word::Admin) => ("Admin", "Manages everything but the organization itself."),
        (Side::Organization, Word::Integrator) => ("Integrator", "Manages integrations, customers and instances."),
        (Side::Organization, Word::Guest) => ("Guest", "Views everything."),
        (_, Word::ThirdParty) => ("Third-Party", "Sees what was granted."),
        (_, Word::Admin) => ("Admin", "Manages their customer's users and instances."),
        (_, Word::Member) => ("Member", "Views their customer's users and instances."),
        (_, Word::MarketplaceAdmin) => ("Marketplace Admin", "Configures instances from within the host product."),
        (_, Word::MarketplaceUser) => ("Marketplace User", "Configures their own part of an instance."),
        (Side::Customer, Word::Owner | Word::Integrator | Word::Guest) => ("None", ""),
    }
}

impl Role {
    pub(super) fn of(side: Side, role: Word) -> Self {
        let place = ROLES.iter().position(|known| *known == (side, role)).unwrap_or(ROLES.len());
        let (name, description) = words(side, role);
        let first = ROLES.iter().position(|known| known.0 == side).unwrap_or(0);
        Self {
            id: join_global("Role", Uuid::from_u128(BASE + place as u128)).into(),
            name: name.to_owned(),
            description: description.to_owned(),
            level: place.saturating_sub(first) + 1,
        }
    }

    /// The roles of a side, the most powerful first.
    pub(super) fn all(side: Side) -> Vec<Self> {
        let roles = ROLES.iter().filter(|known| known.0 == side);
        roles.map(|(side, role)| Self::of(*side, *role)).collect()
    }

    /// The role that a client names, which must be one of the side's.
    pub(super) fn parse(text: &ID, side: Side) -> Result<Word, Fault> {
        let wrong = || Fault::field("role", "There is no such role here.");
        let place = match split_global(text) {
            Some((kind, uuid)) if kind == "Role" => uuid.as_u128().checked_sub(BASE),
            _ => None,
        };
        let known = place.and_then(|place| ROLES.get(usize::try_from(place).ok()?)).ok_or_else(wrong)?;
        if known.0 == side { Ok(known.1) } else { Err(wrong()) }
    }
}
