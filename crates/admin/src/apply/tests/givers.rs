//! To whom a token was given that an older version of an integration had.

use super::*;
use crate::grants::Givers;
use perseat_domain::model::{IntegrationVersion, Sealed, User};
use perseat_store::catalog::{Allowance, Spent};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the records that are read.
#[derive(Default)]
struct Count(AtomicUsize);

impl Allowance for Count {
    fn take(&self, records: usize) -> Result<(), Spent> {
        self.0.fetch_add(records, Ordering::Relaxed);
        Ok(())
    }

    fn take_bytes(&self, _: usize) -> Result<(), Spent> {
        Ok(())
    }
}

/// The definition with a connection of users by OAuth 2.0, as this client.
fn as_client(name: &str) -> String {
    let inputs = [
        ("authorizeUrl", "https://one.example/authorize"),
        ("tokenUrl", "https://one.example/token"),
        ("clientId", name),
    ];
    let inputs = inputs
        .map(|(input, value)| format!("{input}: {{type: value, value: '{value}'}}"))
        .join(", ");
    INTEGRATION
        .replace("key: bearer", "key: oauth2")
        .replace("inputs: {}\n  configPages", &format!("inputs: {{{inputs}}}\n  configPages"))
}

#[test]
fn whose_a_token_is_is_looked_for_once_in_a_change_whatever_cannot_be_read() {
    let mut bench = Bench::new();
    let user = |name: &str| {
        JANE.replace("  Account: {fields: {token: jane-token-0001}}\n", "")
            .replace("jane", name)
    };
    let (jane, bob) = (user("jane"), user("bob"));
    bench
        .apply(&[PEOPLE, &as_client("first"), INSTANCE, &jane, &bob], ApplyOptions::default())
        .unwrap();
    let catalog = Arc::clone(bench.custody.catalog());
    let keyring = Arc::clone(bench.custody.keyring());
    let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
    let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
    let [of_jane, of_bob] = ["jane", "bob"].map(|name| {
        let user: User = catalog
            .user_by_external_id(Membership::Customer(customer.id), name)
            .unwrap()
            .unwrap();
        let config = catalog.user_config_of(instance.id, user.id).unwrap().unwrap();
        GrantId {
            holder: Holder::UserConfig(config.id),
            variable: "account".to_owned(),
        }
    });
    let first = Connection::find(catalog.as_ref(), &keyring, &of_jane)
        .unwrap()
        .unwrap()
        .registration();
    for client in ["second", "third"] {
        bench.apply(&[&as_client(client), INSTANCE], ApplyOptions::default()).unwrap();
    }
    // The newest does not open.
    let definition = as_client("fourth");
    bench.import(definition.split_once("|\n").unwrap().1);
    bench.change(|edit| {
        let id = (instance.integration, 4);
        let version: IntegrationVersion = edit.mutation.require(id)?;
        let connection_secrets = [("account".to_owned(), Sealed(vec![7; 40]))].into();
        edit.mutation.put(&IntegrationVersion {
            connection_secrets,
            ..version
        })?;
        Ok(())
    });

    let stored = StoredGrant {
        registration: Some(first),
        ..StoredGrant::default()
    };
    let mut known = Givers::new();
    let [look_ups, later] = [of_jane, of_bob].map(|id| {
        let count = Count::default();
        let view = catalog.view().unwrap().within(&count);
        let found = Connection::given_to(&view, &keyring, &id, &stored, &mut known).unwrap();
        assert_eq!(found.unwrap().registration(), first);
        count.0.load(Ordering::Relaxed)
    });
    // Versions 3, 4, 2 and 1, then 3 and 1.
    assert_eq!(look_ups - later, 2);
}
