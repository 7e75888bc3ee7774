//! What a restore changes in the catalog, in one mutation: who was deleted since goes, and nothing by which somebody could
//! sign in since may work again.
//!
//! A backup does not know what ended after it: who signed out, which link was used, which token was revoked. So every session and
//! every link ends, and with them the bearer tokens that worked, but for those that the operator names. One-time codes and
//! signed URLs are in no backup: they live in the memory of one process.

use std::path::Path;

use anyhow::bail;
use perseat_domain::account::{Account, Letter, Session};
use perseat_domain::grant::Rules;
use perseat_domain::id::TokenId;
use perseat_domain::model::{ApiToken, Customer, Media, Membership, Organization, Role, SigningKey, TokenHolder, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Change, Lookup, Mutation};
use perseat_store::error::StoreError;
use perseat_store::keyring::{Inspected, Owner, SlotFault};
use perseat_store::media::MediaFiles;

use super::doubt::{doubt, doubtful};

/// Records that are looked at together.
const PAGE: usize = 256;

/// Which bearer tokens go on working after a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    Nothing,
    /// Those of these ids.
    Tokens(Vec<TokenId>),
    /// All that worked at the time of the backup.
    All,
}

/// A bearer token that worked at the time of the backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Its record.
    pub token: ApiToken,
    /// Whose it is, for people.
    pub holder: String,
    /// Whether it goes on working.
    pub is_kept: bool,
}

/// What was changed.
#[derive(Debug, Default)]
pub struct Settled {
    /// Customers and users that were taken out, because the keyring has no key of theirs: they were deleted since.
    pub forgotten: Vec<String>,
    /// Sessions that were ended.
    pub sessions: u64,
    /// Links to set a password that were ended.
    pub links: u64,
    /// Letters that waited to be sent, and were taken out: their links would be new ones.
    pub letters: u64,
    /// Bearer tokens that worked.
    pub bearers: Vec<Bearer>,
    /// Keys that sign embedded users' tokens: they are believed as at the time of the backup.
    pub signing_keys: Vec<SigningKey>,
    /// Grants whose refresh token may have been spent since: somebody has to consent again.
    pub uncertain: u64,
    /// Records of uploaded files that were deleted while the backup was taken.
    pub files: u64,
}

/// By whom and when, as the audit names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'b> {
    pub(super) who: &'b str,
    pub(super) at: Timestamp,
    /// How what happened to a grant is written down.
    pub(super) rules: Rules,
}

/// Settles the catalog of a directory with this keyring and these uploaded files.
///
/// # Errors
/// If the catalog cannot be read or written, or a token that is to be kept did not work.
pub(super) fn settle(
    catalog: &Catalog,
    gone: &Gone,
    keyring: &Inspected,
    media: &Path,
    keep: &Keep,
    by: By<'_>,
) -> anyhow::Result<Settled> {
    let bearers = bearers(catalog, gone, keep, by.at)?;
    let doubtful = doubtful(catalog, by.at, &by.rules)?;
    let organization = catalog.organization()?;
    let mut settled = Settled {
        forgotten: gone.names(),
        signing_keys: organization
            .map(|organization: Organization| organization.signing_keys)
            .unwrap_or_default(),
        ..Settled::default()
    };
    let change = Change {
        by: by.who,
        at: by.at,
        action: "restore",
    };
    catalog.mutate(change, |mutation| {
        mutation.settle_gone(&gone.users, by.at)?;
        for customer in &gone.customers {
            mutation.delete_customer(customer.id)?;
        }
        mutation.forget_owed(|owner| keyring.contains(owner))?;
        settled.uncertain = doubt(mutation, &doubtful)?;
        settled.sessions = end_sessions(mutation)?;
        settled.links = end_links(mutation)? + mutation.end_notice_links()?;
        settled.letters = end_letters(mutation)?;
        for bearer in bearers.iter().filter(|bearer| !bearer.is_kept) {
            mutation.put(&ApiToken {
                revoked_at: Some(by.at),
                ..bearer.token.clone()
            })?;
        }
        settled.files = forget_files(mutation, media)?;
        Ok::<_, StoreError>(())
    })?;
    settled.bearers = bearers;
    Ok(settled)
}

/// Those whose keys are gone: they were deleted after the backup, and what is left of them cannot be read.
pub(super) struct Gone {
    customers: Vec<Customer>,
    users: perseat_store::catalog::Gone,
}

impl Gone {
    /// `users` are those whose rows did not open. Nobody is taken for deleted whose key is damaged, unless that is asked for.
    pub(super) fn since(
        catalog: &Catalog,
        keyring: &Inspected,
        users: perseat_store::catalog::Gone,
        without_damaged: bool,
    ) -> anyhow::Result<Self> {
        let mut customers = Vec::new();
        let view = catalog.view()?;
        view.for_each(|customer: Customer| {
            if !keyring.contains(Owner::Customer(customer.id)) {
                customers.push(customer);
            }
            Ok::<_, StoreError>(())
        })?;
        let is_damaged = |owner: &Owner| {
            let names = |fault: &SlotFault| matches!(fault, SlotFault::Damaged(found) if *found == Some(*owner));
            keyring.faults.iter().any(|(_, fault)| names(fault))
        };
        let of_customers = customers.iter().map(|customer| Owner::Customer(customer.id)).filter(is_damaged);
        let damaged: Vec<Owner> = of_customers.chain(users.damaged.iter().map(|user| Owner::User(*user))).collect();
        if let Some(owner) = damaged.first().filter(|_| !without_damaged) {
            bail!(
                "this keyring is damaged: {} keys of customers and users of the backup do not read, that of {owner} first. Give another \
                 copy of it, or --without-damaged-keys to restore without what is theirs",
                damaged.len()
            );
        }
        Ok(Self { customers, users })
    }

    fn has(&self, membership: Membership) -> bool {
        matches!(membership, Membership::Customer(id) if self.customers.iter().any(|customer| customer.id == id))
    }

    /// Of users only their ids are left; those of a customer who is gone go without saying.
    fn names(&self) -> Vec<String> {
        let customers = self
            .customers
            .iter()
            .map(|customer| format!("customer {} ({})", customer.name, customer.id));
        let users = self.users.users.iter().filter(|(_, membership)| !self.has(**membership));
        customers.chain(users.map(|(user, _)| format!("user {user}"))).collect()
    }
}

/// The tokens that work, but for those of whoever is gone.
fn bearers(catalog: &Catalog, gone: &Gone, keep: &Keep, at: Timestamp) -> anyhow::Result<Vec<Bearer>> {
    let view = catalog.view()?;
    let mut found = Vec::new();
    view.for_each(|token: ApiToken| {
        if token.revoked_at.is_some() || token.expires_at.is_some_and(|end| end <= at) {
            return Ok(());
        }
        let (membership, name) = match token.holder {
            TokenHolder::Program { membership, role } => (membership, word(role)),
            TokenHolder::User(id) => match view.get::<User>(id)? {
                Some(user) => (user.membership, user.name),
                None => return Ok(()),
            },
        };
        if gone.has(membership) {
            return Ok(());
        }
        let holder = match membership {
            Membership::Organization => name,
            Membership::Customer(id) => {
                let customer = view.get::<Customer>(id)?.map(|customer| customer.name);
                format!("{name} of {}", customer.unwrap_or_default())
            }
        };
        let is_kept = match keep {
            Keep::Nothing => false,
            Keep::Tokens(ids) => ids.contains(&token.id),
            Keep::All => true,
        };
        found.push(Bearer { token, holder, is_kept });
        Ok::<_, StoreError>(())
    })?;
    if let Keep::Tokens(ids) = keep
        && let Some(id) = ids.iter().find(|id| !found.iter().any(|bearer| bearer.token.id == **id))
    {
        bail!("there is no bearer token {} that worked at the time of the backup", id.global());
    }
    found.sort_by_key(|bearer| bearer.token.issued_at);
    Ok(found)
}

/// A role as it is written.
fn word(role: Role) -> String {
    let written = serde_json::to_value(role).ok();
    written.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn end_sessions(mutation: &mut Mutation<'_>) -> Result<u64, StoreError> {
    let mut count = 0;
    loop {
        let sessions = mutation.page::<Session>(None, PAGE)?.items;
        if sessions.is_empty() {
            return Ok(count);
        }
        for session in sessions {
            count += u64::from(mutation.end_session(session.id)?);
        }
    }
}

fn end_letters(mutation: &mut Mutation<'_>) -> Result<u64, StoreError> {
    let mut count = 0;
    loop {
        let letters = mutation.page::<Letter>(None, PAGE)?.items;
        if letters.is_empty() {
            return Ok(count);
        }
        for letter in letters {
            count += u64::from(mutation.delete_letter(letter.id)?);
        }
    }
}

fn end_links(mutation: &mut Mutation<'_>) -> Result<u64, StoreError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = mutation.page::<Account>(after, PAGE)?;
        for account in page.items.into_iter().filter(|account| !account.links.is_empty()) {
            count += account.links.len() as u64;
            mutation.put(&Account {
                links: Vec::new(),
                ..account
            })?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

/// Takes out the records of files that were deleted between the copy of the catalog and that of the files.
fn forget_files(mutation: &mut Mutation<'_>, media: &Path) -> Result<u64, StoreError> {
    let files = MediaFiles::look(media);
    let (mut count, mut after) = (0, None);
    loop {
        let page = mutation.page::<Media>(after, PAGE)?;
        for record in page.items.into_iter().filter(|record| !files.is_there(record.id)) {
            mutation.delete_media(record.id)?;
            count += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}
