//! A backup may hold refresh tokens that were spent after it: they are not spent again, and somebody is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::harness::oauth::{Call, Manner};
use crate::harness::provider::Provider;
use crate::world::{Plan, World};

/// A command line that must succeed; what it said.
fn perseat(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let output = command.args(arguments).arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// What a daemon is made again from.
struct Copies {
    folder: tempfile::TempDir,
    master_key: PathBuf,
}

impl Copies {
    fn of(data: &Path) -> Self {
        let copies = Self {
            folder: tempfile::tempdir().unwrap(),
            master_key: data.join("master-key"),
        };
        perseat(data, &["backup", &copies.path("backup")]);
        perseat(data, &["keyring", "export", &copies.path("keyring")]);
        copies
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Launches another daemon on what was restored, in place of the world's; what the restore said.
    fn restore(&self, world: &mut World, plan: &Plan<'_>, options: &[&str]) -> String {
        let (backup, keyring, mut said) = (self.path("backup"), self.path("keyring"), String::new());
        let setup = World::setup(&world.provider, plan);
        world.daemon = Daemon::launch_on(setup, |data| {
            std::fs::create_dir(data).unwrap();
            std::fs::copy(&self.master_key, data.join("master-key")).unwrap();
            said = perseat(data, &[&["restore", &backup, "--keyring", &keyring], options].concat());
        });
        said
    }
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
        let copies = Copies::of(&world.daemon.data());
        // What the backup holds is spent after it.
        world.provider.end_access("ann");
        let second = world.send("ann", 1).await;
        assert_eq!(world.ended(&second[0]).await["status"], "succeeded");
        let before = spent(&world);
        let newest = if rotates { "refresh-ann-2" } else { "refresh-ann-1" };
        assert_eq!(before, ["refresh-ann-1", newest]);
        world.daemon.kill();
        let said = copies.restore(&mut world, &plan, &["--resume"]);
        world.daemon.until_ready();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_daemon_tells_nobody_before_it_is_resumed() {
    let organization = Provider::start().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "secret of the webhook").unwrap();
    let plan = Plan {
        manner: Manner {
            lifetime: None,
            ..Manner::default()
        },
        users: &["ann"],
        keys: &[("notices.look", "20ms")],
        more_keys: vec![
            ("notices.webhook", organization.url("/notices").into()),
            ("notices.webhook-secret", secret.path().display().to_string().into()),
        ],
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let sent = world.send("ann", 1).await;
    world.ended(&sent[0]).await;
    let copies = Copies::of(&world.daemon.data());
    world.daemon.kill();
    copies.restore(&mut world, &plan, &[]);
    world.daemon.until_ready();
    // Rounds later.
    for _ in 0..50 {
        assert_eq!(standing(&world).await.0, "UNCERTAIN");
    }
    assert!(organization.records().is_empty(), "nothing runs before `resume`");
    perseat(&world.daemon.data(), &["resume"]);
    organization.until(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_before_a_resume_asks_no_provider_for_a_token() {
    let plan = Plan {
        manner: Manner {
            holds: true,
            ..Manner::default()
        },
        more_keys: vec![("execution.slots", 1.into())],
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    world.send("bob", 1).await;
    world.provider.until("/work", 1).await;
    let queued = world.send("ann", 1).await.remove(0);
    world.stands(&queued, "queued").await;
    let copies = Copies::of(&world.daemon.data());
    world.daemon.kill();
    world.provider.change(|manner| manner.holds = false);
    copies.restore(&mut world, &plan, &[]);
    world.daemon.until_ready();
    let cancel = format!("/executions/{queued}/cancel");
    world.daemon.local(http::Method::POST, &cancel, None).await.unwrap();
    assert_eq!(world.ended(&queued).await["status"], "cancelled");
    assert_eq!(spent(&world), ["refresh-bob-1"], "nobody is asked before `resume`");
    perseat(&world.daemon.data(), &["resume"]);
    let sent = world.send("ann", 1).await;
    assert_eq!(world.ended(&sent[0]).await["status"], "succeeded");
    assert_eq!(spent(&world), ["refresh-bob-1", "refresh-ann-1"]);
    assert_eq!(standing(&world).await.0, "ACTIVE");
}
