//! A backup may hold refresh tokens that were spent after it: they are not spent again, and somebody is told.

use std::path::Path;
use std::process::Command;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::harness::oauth::{Call, Manner};
use crate::world::{Plan, World};

/// A command line that must succeed; what it said.
fn perseat(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let output = command.args(arguments).arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// The refresh tokens that were spent, in order.
fn spent(world: &World) -> Vec<String> {
    let calls = world.provider.calls("/token").into_iter();
    calls.filter_map(|call: Call| call.form.get("refresh_token").cloned()).collect()
}

async fn standing(world: &World) -> (String, Option<String>) {
    let shown = account(&Api::program(&world.daemon, "owner").await, "ann").await;
    let reason = shown["grant"]["reason"].as_str().map(str::to_owned);
    (shown["grant"]["status"].as_str().unwrap().to_owned(), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_grant_whose_token_may_have_been_spent_is_uncertain_and_nothing_is_spent_twice() {
    for (rotates, inputs) in [(true, &[][..]), (false, &[("refreshReuse", "always")][..])] {
        let plan = Plan {
            manner: Manner {
                rotates,
                lifetime: None,
                ..Manner::default()
            },
            inputs,
            users: &["ann"],
            keys: &[("oauth.fresh", "1ms")],
            ..Plan::default()
        };
        let mut world = World::start(&plan).await;
        let first = world.send("ann", 1).await;
        world.ended(&first[0]).await;
        let (data, folder) = (world.daemon.data(), tempfile::tempdir().unwrap());
        let [backup, keyring] = ["backup", "keyring"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
        perseat(&data, &["backup", &backup]);
        perseat(&data, &["keyring", "export", &keyring]);
        // What the backup holds is spent after it.
        world.provider.end_access("ann");
        let second = world.send("ann", 1).await;
        assert_eq!(world.ended(&second[0]).await["status"], "succeeded");
        let before = spent(&world);
        let newest = if rotates { "refresh-ann-2" } else { "refresh-ann-1" };
        assert_eq!(before, ["refresh-ann-1", newest]);
        world.daemon.kill();

        let (key, mut said) = (data.join("master-key"), String::new());
        let setup = World::setup(&world.provider, &plan);
        let restored = Daemon::launch_on(setup, |data| {
            std::fs::create_dir(data).unwrap();
            std::fs::copy(&key, data.join("master-key")).unwrap();
            said = perseat(data, &["restore", &backup, "--keyring", &keyring, "--resume"]);
        });
        restored.until_ready();
        world.daemon = restored;
        let executions = world.send("ann", 2).await;
        if rotates {
            assert!(said.contains("1 of these may have been exchanged"), "{said}");
            assert_eq!(
                standing(&world).await,
                ("UNCERTAIN".to_owned(), Some("renewal_interrupted".to_owned()))
            );
            for execution in &executions {
                world.stands(execution, "parked").await;
            }
            assert_eq!(spent(&world), before, "nothing is spent again");
            assert!(!world.provider.chain("ann").was_reused);
            connect(&world, "ann").await;
        } else {
            assert!(!said.contains("may have been exchanged"), "{said}");
        }
        for execution in &executions {
            assert_eq!(world.ended(execution).await["status"], "succeeded");
        }
        assert_eq!(standing(&world).await.0, "ACTIVE");
        let chain = world.provider.chain("ann");
        assert!(!chain.was_reused && !chain.is_revoked, "{chain:?}");
    }
}
