//! The keys of the keyring and of tokens that are given back; as [`super::settings`].

use std::time::Duration;

use super::declare::{Key, Preset, Section, path, settings};
use super::source::Reader;
use super::value::{Count, Value};

settings! {
    /// What data is sealed with, and what is given back.
    KeyringSettings;

    /// Data keys.
    keyring "keyring": Keyring {
        /// Unwrapped keys kept in memory, about 1 KiB each; beyond it the least recently used is zeroed, and so is one that
        /// nobody asked for during `supervision.passivate-after`.
        cache_entries: Count = 32_768;
        /// Older versions of one customer's key that may wait for the journal to drop what they sealed; with so many it is not
        /// rotated again.
        versions: Count = 8;
        /// Users' keys, or records, that the rotation of a customer's key writes anew at a time.
        rotation_batch: Count = 256;
        /// For how long what was sealed by the version before may still be on its way to the disk after a customer's key was rotated.
        rotation_settle: Duration = "60s";
        /// How often it is looked whether an older version of a customer's key can be destroyed.
        rotation_look: Duration = "60s";
    }

    /// Tokens that were given up, and that their providers are told of (`revokeUrl`).
    owed "owed": Owed {
        /// Those that wait at most. Beyond it they are forgotten, though they may still be valid at their providers.
        tokens: Count = 10_000;
        /// How often it is looked whether there is one to tell of.
        look: Duration = "1s";
        /// Told at once.
        calls: Count = 8;
        /// The same at one host.
        calls_per_host: Count = 2;
        /// How often a provider is told of one that it does not take; `oauth.back-off` holds between.
        attempts: Count = 300;
        /// How long one is kept that a provider does not take. Then it is forgotten, too.
        age: Duration = "1d";
    }
}
