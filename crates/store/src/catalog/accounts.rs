//! Accounts, sessions and letters: found by address and user, ended with their user.

use super::record::{Owned, Record};
use super::{Lookup, Mutation, Page, lookup};
use crate::error::StoreError;
use perseat_domain::account::{Account, Letter, Session};
use perseat_domain::id::{LetterId, SessionId, UserId};
use perseat_domain::time::Timestamp;
use redb::ReadableTableMetadata;
use uuid::Uuid;

/// Rows that are read at once.
const PAGE: usize = 256;

/// E-mail addresses are compared without case.
pub(super) fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// Under what the accounts of an address are listed: the beginning of the SHA-256 of the address in lower case.
pub(super) fn address_owner(address: &str) -> Uuid {
    let digest = crate::seal::key_digest(&email_key(address)).0;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// Reads of what people sign in by.
///
/// # Errors
/// All fail with [`StoreError`] if the disk fails or what it holds is corrupt; absence is `None`.
#[expect(clippy::missing_errors_doc, reason = "said once above for all")]
pub trait Accounts: Lookup {
    /// The account of a user.
    fn account_of(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        self.get(Account::id_of(user))
    }

    /// At most `limit` accounts of an e-mail address, whatever its case.
    fn accounts_of_address(&self, address: &str, limit: usize) -> Result<Vec<Account>, StoreError> {
        let address = email_key(address);
        let owner = address_owner(&address);
        let found = self.moment(|at| lookup::list::<Account>(at, Owned::AccountsOfAddress, owner, None, limit))?;
        // Another address may share the beginning of the digest.
        Ok(found.items.into_iter().filter(|account| account.address == address).collect())
    }

    /// The sessions of a user.
    fn sessions_of(&self, user: UserId, after: Option<SessionId>, limit: usize) -> Result<Page<Session, SessionId>, StoreError> {
        self.moment(|at| lookup::list(at, Owned::SessionsOfUser, user.0, after, limit))
    }

    /// The letters to a user.
    fn letters_to(&self, user: UserId, after: Option<LetterId>, limit: usize) -> Result<Page<Letter, LetterId>, StoreError> {
        self.moment(|at| lookup::list(at, Owned::LettersOfUser, user.0, after, limit))
    }
}

impl<L: Lookup> Accounts for L {}

impl Mutation<'_> {
    /// Deletes the account of a user with their sessions and letters. Tells whether there was one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_account(&mut self, user: UserId) -> Result<bool, StoreError> {
        self.end_sessions(user)?;
        loop {
            let letters = self.letters_to(user, None, PAGE)?.items;
            if letters.is_empty() {
                break;
            }
            letters.iter().try_for_each(|letter| self.delete_letter(letter.id).map(|_| ()))?;
        }
        self.delete::<Account>(Account::id_of(user))
    }

    /// How many records of a type there are.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn count<R: Record>(&self) -> Result<u64, StoreError> {
        Ok(self.records[R::TYPE as usize].len()?)
    }

    /// Ends every session of a user; gives how many.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn end_sessions(&mut self, user: UserId) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let sessions = self.sessions_of(user, None, PAGE)?.items;
            if sessions.is_empty() {
                return Ok(count);
            }
            for session in &sessions {
                count += usize::from(self.end_session(session.id)?);
            }
        }
    }

    /// Ends a session. Tells whether there was one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn end_session(&mut self, id: SessionId) -> Result<bool, StoreError> {
        self.delete::<Session>(id)
    }

    /// Deletes a letter that went out, or never will. Tells whether there was one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_letter(&mut self, id: LetterId) -> Result<bool, StoreError> {
        self.delete::<Letter>(id)
    }

    /// Ends at most `limit` sessions that are over by `now`, looking from `after` on; gives where to go on, `None` at the end.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn purge_sessions(&mut self, now: Timestamp, after: Option<SessionId>, limit: usize) -> Result<Option<SessionId>, StoreError> {
        let page = self.page::<Session>(after, limit)?;
        for session in page.items.iter().filter(|session| session.expires_at <= now) {
            self.end_session(session.record_id())?;
        }
        Ok(page.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::{Stamp, decode, encode};
    use crate::catalog::{Catalog, Change, Options};
    use perseat_domain::account::{Client, Purpose};
    use perseat_domain::model::{KeyDigest, Membership, Profile, Role, User};

    const NOW: Change<'static> = Change {
        by: "local:0",
        at: Timestamp(1_000),
        action: "test",
    };

    fn user(number: u128) -> User {
        User {
            id: UserId(Uuid::from_u128(number)),
            membership: Membership::Organization,
            email: Some(format!("Ann{number}@acme.example")),
            name: "Ann".into(),
            external_id: None,
            subject: None,
            subject_seen_at: None,
            labels: Vec::new(),
            role: Role::Owner,
            profile: Profile::default(),
        }
    }

    fn account(user: &User, address: &str) -> Account {
        Account {
            user: user.id,
            address: address.to_owned(),
            password: None,
            links: Vec::new(),
            locked_until: None,
            passwords: 0,
            has_signed_in: false,
        }
    }

    #[test]
    fn an_account_of_an_older_version_is_read_and_one_of_a_newer_version_is_refused() {
        let stamp = Stamp {
            created_at: Timestamp(1),
            changed_at: Timestamp(1),
            revision: 1,
        };
        let ann = account(&user(1), "ann@acme.example");
        let stored = encode(&ann, stamp).unwrap();
        let before = &stored[..stored.len() - 2];
        assert_eq!(decode::<Account>(before).unwrap(), ann);
        assert!(
            decode::<Account>(&before[..before.len() - 1]).is_err(),
            "what was always there has to be"
        );
        let damaged = [before, &[0, 7]].concat();
        assert!(matches!(decode::<Account>(&damaged), Err(StoreError::Corrupt { .. })));
        let after = [stored.as_slice(), &[0]].concat();
        assert!(matches!(
            decode::<Account>(&after),
            Err(StoreError::UnknownFields { what: "account" })
        ));
    }

    fn session(number: u128, user: &User, expires_at: u64) -> Session {
        Session {
            id: SessionId(Uuid::from_u128(number)),
            user: user.id,
            client: Client::CommandLine,
            digest: KeyDigest([1; 32]),
            spent: Vec::new(),
            began_at: Timestamp(0),
            expires_at: Timestamp(expires_at),
        }
    }

    #[test]
    fn accounts_are_found_by_address_and_go_with_their_user() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap();
        let (one, other) = (user(1), user(2));
        let written = catalog.mutate::<_, StoreError>(NOW, |tx| {
            for user in [&one, &other] {
                tx.put(user)?;
                tx.put(&account(user, "ann@acme.example"))?;
            }
            tx.put(&session(7, &one, 2_000))?;
            tx.put(&session(8, &other, 500))?;
            tx.put(&Letter {
                id: LetterId(Uuid::from_u128(9)),
                user: one.id,
                purpose: Purpose::Invitation,
                written_at: NOW.at,
                attempts: 0,
                due_at: NOW.at,
                link: None,
            })
        });
        assert!(written.unwrap().changed);
        assert_eq!(catalog.accounts_of_address("ANN@acme.example", 9).unwrap().len(), 2);
        assert_eq!(catalog.accounts_of_address("bob@acme.example", 9).unwrap(), []);
        let moved = account(&other, "bob@acme.example");
        catalog.mutate::<_, StoreError>(NOW, |tx| tx.put(&moved)).unwrap();
        assert_eq!(catalog.accounts_of_address("bob@acme.example", 9).unwrap(), [moved]);
        let purged = catalog.mutate::<_, StoreError>(NOW, |tx| tx.purge_sessions(NOW.at, None, 10));
        assert_eq!(purged.unwrap().value, None);
        assert!(catalog.sessions_of(other.id, None, 9).unwrap().items.is_empty());
        assert_eq!(catalog.sessions_of(one.id, None, 9).unwrap().items.len(), 1);
        catalog.mutate::<_, StoreError>(NOW, |tx| tx.delete_user(one.id, NOW.at)).unwrap();
        assert_eq!(catalog.account_of(one.id).unwrap(), None);
        assert!(catalog.sessions_of(one.id, None, 9).unwrap().items.is_empty());
        assert!(catalog.page::<Letter>(None, 9).unwrap().items.is_empty());
        assert!(catalog.verify_audit_chain().unwrap() > 2);
    }
}
