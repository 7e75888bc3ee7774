//! Passwords: what one may be, and Argon2id of it. Takes tens of milliseconds: never on a thread that others wait for.

use argon2::{Algorithm, Argon2, Params, Version};
use perseat_domain::account::{Account, PasswordHash};
use perseat_domain::id::UserId;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// What a password may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Characters at least.
    pub min: usize,
    /// Characters at most.
    pub max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { min: 12, max: 256 }
    }
}

impl Rules {
    /// What is wrong with a password, as a sentence to whoever chose it.
    ///
    /// # Errors
    /// It is too short, too long, or the address itself.
    pub fn check(&self, password: &SecretString, address: &str) -> Result<(), String> {
        let password = password.expose_secret();
        let length = password.chars().count();
        if length < self.min {
            return Err(format!("A password has at least {} characters.", self.min));
        }
        if length > self.max {
            return Err(format!("A password has at most {} characters.", self.max));
        }
        if password.to_lowercase() == address.to_lowercase() {
            return Err("The e-mail address is no password.".to_owned());
        }
        Ok(())
    }
}

/// What a hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// Whether a hash was made at this cost.
    #[must_use]
    pub fn is_of(self, hash: &PasswordHash) -> bool {
        (self.memory, self.passes) == (hash.memory, hash.passes)
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            memory: 19 * 1_024,
            passes: 2,
        }
    }
}

/// The cost is beyond what Argon2 can do.
#[derive(Debug, thiserror::Error)]
#[error("a password could not be hashed: {0}")]
pub struct HashError(argon2::Error);

/// Hashes a password.
///
/// # Errors
/// The cost cannot be paid.
pub fn hash(password: &SecretString, salt: [u8; 16], cost: Cost) -> Result<PasswordHash, HashError> {
    let mut hash = [0; 32];
    let params = Params::new(cost.memory, cost.passes, 1, Some(hash.len())).map_err(HashError)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.expose_secret().as_bytes(), &salt, &mut hash)
        .map_err(HashError)?;
    Ok(PasswordHash {
        memory: cost.memory,
        passes: cost.passes,
        salt,
        hash,
    })
}

/// Whose password it is, of the accounts of one address. One hash is computed whether there is an account, several, or none:
/// how long it takes says nothing. `spare` is any salt.
///
/// # Errors
/// The cost cannot be paid.
pub fn opens(password: &SecretString, accounts: &[Account], cost: Cost, spare: [u8; 16]) -> Result<Vec<UserId>, HashError> {
    let mut kinds: Vec<(Cost, [u8; 16])> = Vec::new();
    for kept in accounts.iter().filter_map(|account| account.password.as_ref()) {
        let cost = Cost {
            memory: kept.memory,
            passes: kept.passes,
        };
        if !kinds.contains(&(cost, kept.salt)) {
            kinds.push((cost, kept.salt));
        }
    }
    if kinds.is_empty() {
        kinds.push((cost, spare));
    }
    let mut found = Vec::new();
    for (cost, salt) in kinds {
        let given = hash(password, salt, cost)?;
        for account in accounts {
            let is_same = |kept: &PasswordHash| kept.salt == salt && bool::from(kept.hash.ct_eq(&given.hash));
            if account.password.as_ref().is_some_and(is_same) {
                found.push(account.user);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const CHEAP: Cost = Cost { memory: 8, passes: 1 };

    fn account(number: u128, password: Option<PasswordHash>) -> Account {
        Account {
            user: UserId(Uuid::from_u128(number)),
            address: "ann@acme.example".into(),
            password,
            links: Vec::new(),
            locked_until: None,
            passwords: 0,
            has_signed_in: false,
        }
    }

    #[test]
    fn a_password_opens_the_accounts_that_have_it_and_no_other() {
        let [right, other] = ["correct horse battery", "staple"].map(|text| SecretString::from(text.to_owned()));
        let kept = |password, salt| Some(hash(password, [salt; 16], CHEAP).unwrap());
        let accounts = [
            account(1, kept(&right, 1)),
            account(2, kept(&other, 1)),
            account(3, kept(&right, 2)),
            account(4, None),
        ];
        let numbers = |password: &str| -> Vec<u128> {
            let found = opens(&SecretString::from(password.to_owned()), &accounts, CHEAP, [0; 16]).unwrap();
            found.into_iter().map(|user| user.0.as_u128()).collect()
        };
        assert_eq!(numbers("correct horse battery"), [1, 3]);
        assert_eq!(numbers("staple"), [2]);
        assert!(numbers("Correct horse battery").is_empty() && numbers("").is_empty());
        assert!(opens(&right, &[], CHEAP, [0; 16]).unwrap().is_empty());
        assert!(!format!("{:?}", accounts[0]).contains("hash:"), "a hash is not printed");
    }

    #[test]
    fn the_hash_is_argon2id_as_others_compute_it() {
        // As the reference implementation (phc-winner-argon2) gives it for these inputs.
        let kept = hash(
            &SecretString::from("password".to_owned()),
            *b"somesaltsomesalt",
            Cost { memory: 64, passes: 2 },
        )
        .unwrap();
        let hex: String = kept.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "1a98fba8e6394425c9bdc333a9c750aaf811df070f5fb4a5788e1cf4db5793a1");
    }

    #[test]
    fn what_a_password_may_be() {
        let rules = Rules { min: 4, max: 8 };
        let check = |text: &str| rules.check(&SecretString::from(text.to_owned()), "a@b.cd");
        assert!(check("äöüß").is_ok() && check("12345678").is_ok());
        assert!(check("äöü").unwrap_err().contains("at least 4"));
        assert!(check("123456789").unwrap_err().contains("at most 8"));
        assert!(check("A@b.cd").is_err());
    }
}
