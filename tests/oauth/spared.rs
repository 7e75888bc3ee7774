//! A token is not given back where its provider would end another grant with it: one of the same person, by whichever connection, at a
//! provider that takes back all that somebody allowed a client.

use std::collections::BTreeSet;

use perseat_domain::id::UserConfigId;
use serde_json::{Value, json};

use crate::consent::{back, begin, connect};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::oauth::Manner;
use crate::owed::{config_of, delete, given, plan, waiting};
use crate::world::{Plan, World};

const CONFIGS: &str = "{ instances { nodes { name userLevelConfigs { nodes { id user { externalId } configVariables { nodes { authorizeUrl \
     requiredConfigVariable { key } grant { timeline { what reason } } } } } } } } }";
const SPARED: &str = "another grant of whoever allowed it would end with it";

/// People with configurations of two instances of one integration.
struct Two(World);

impl Two {
    async fn start() -> Self {
        let world = World::start(&Plan {
            manner: Manner {
                together: true,
                ..Manner::default()
            },
            ..plan(&["ann", "bob"])
        })
        .await;
        let two = Self(world);
        two.add_other().await;
        two
    }

    /// Ann configures the second instance, for the first time or again.
    async fn add_other(&self) {
        let yaml = format!(
            "kind: Instance\nname: Other\ncustomer: globex\nintegration: Work\nconfigVars:\n  Provider: \"{}\"\n---\n\
             kind: UserLevelConfig\ncustomer: globex\ninstance: Other\nuser: ann\nconfigVars:\n  Account: {{fields: {{}}}}\n---\n",
            self.0.provider.url("")
        );
        self.0.daemon.apply(&yaml).await;
    }

    async fn config(&self, instance: &str, user: &str) -> Value {
        let api = Api::program(&self.0.daemon, "owner").await;
        let found = api.get(CONFIGS, json!({})).await;
        let instances = found["nodes"].as_array().unwrap();
        let instance = instances.iter().find(|one| one["name"] == instance).unwrap();
        let mut configs = instance["userLevelConfigs"]["nodes"].as_array().unwrap().iter();
        configs.find(|config| config["user"]["externalId"] == user).unwrap().clone()
    }

    /// Consents with an account of the person whose name it begins with.
    async fn connect(&self, instance: &str, account: &str) {
        let user = account.split('.').next().unwrap();
        let config = self.config(instance, user).await;
        let mut variables = config["configVariables"]["nodes"].as_array().unwrap().iter();
        let variable = variables.find(|it| it["requiredConfigVariable"]["key"] == "Account").unwrap();
        let mut browser = Browser::new(&[]);
        let asked = begin(&mut browser, variable["authorizeUrl"].as_str().unwrap()).await;
        let code = self.0.provider.consent(account, asked.clone());
        let done = browser.open(&back(&asked, &[("code", &code)])).await;
        assert_eq!(done.status, 200, "{}", done.html);
    }

    async fn remove(&self, instance: &str, user: &str) {
        let id = self.config(instance, user).await["id"].clone();
        delete(&Api::program(&self.0.daemon, "owner").await, "UserLevelConfig", &id).await;
    }

    /// What ann has in the second instance reaches the provider, which takes its token.
    async fn reaches(&self) {
        let endpoints = self.0.daemon.endpoints("instance=Other&user=ann").await;
        let answer = self
            .0
            .daemon
            .post(&endpoints[0].url, &[("content-type", "application/json")], "{}")
            .await;
        let execution = answer.json()["executionId"].as_str().unwrap().to_owned();
        assert_eq!(self.0.ended(&execution).await["status"], "succeeded");
        assert_eq!(self.0.provider.calls("/work").last().unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_given_back_where_that_would_end_another_grant_of_its_person() {
    let two = Two::start().await;
    for (instance, account) in [("Work", "ann.work"), ("Other", "ann.other"), ("Work", "bob.work")] {
        two.connect(instance, account).await;
    }
    two.remove("Work", "ann").await;
    let line = two.0.daemon.log_line(&[SPARED]);
    assert!(!line.contains("refresh-"), "{line}");
    two.reaches().await;
    two.remove("Work", "bob").await;
    let calls = two.0.provider.until("/revoke", 1).await;
    assert_eq!(given(&calls), BTreeSet::from(["refresh-bob.work-1"]), "nobody but ann has more");
    two.reaches().await;

    // The last one is given back, unless it is made anew before its provider takes it.
    two.0.provider.change(|manner| manner.revokes = Some((503, None)));
    two.remove("Other", "ann").await;
    two.0.provider.until_like("/revoke", 1, |call| call.status == 503).await;
    two.add_other().await;
    two.connect("Other", "ann.again").await;
    two.0.provider.change(|manner| manner.revokes = None);
    let anew: UserConfigId = two.config("Other", "ann").await["id"].as_str().unwrap().parse().unwrap();
    two.0.daemon.log_line(&[SPARED, &format!("{anew:?}")]);
    two.reaches().await;
    two.remove("Other", "ann").await;
    let taken = two.0.provider.until_like("/revoke", 2, |call| call.status == 200).await;
    assert_eq!(given(&taken), BTreeSet::from(["refresh-bob.work-1", "refresh-ann.again-1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instances_token_is_given_back_with_the_last_instance_that_has_its_client() {
    let two = Two::start().await;
    for (instance, account) in [("Work", "ann.work"), ("Other", "ann.other")] {
        two.connect(instance, account).await;
    }
    let api = Api::program(&two.0.daemon, "owner").await;
    let found = api.get("{ instances { nodes { id name } } }", json!({})).await;
    let id = |name: &str| found["nodes"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["id"].clone();
    delete(&api, "Instance", &id("Work")).await;
    two.0.daemon.log_line(&[SPARED]);
    two.reaches().await;
    delete(&api, "Instance", &id("Other")).await;
    let calls = two.0.provider.until("/revoke", 1).await;
    assert_eq!((given(&calls), calls.len()), (BTreeSet::from(["refresh-ann.other-1"]), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_too_old_while_nothing_ran_is_not_tried_again() {
    let mut world = World::start(&plan(&["ann"])).await;
    connect(&world, "ann").await;
    world.provider.change(|manner| manner.revokes = Some((503, None)));
    let api = Api::program(&world.daemon, "owner").await;
    let config = config_of(&api, "ann").await;
    delete(&api, "UserLevelConfig", &config).await;
    drop(api);
    world.provider.until("/revoke", 1).await;
    world.daemon.kill();
    let tried = world.provider.calls("/revoke").len();
    world.provider.change(|manner| manner.revokes = None);
    world.daemon.relaunch_with("--set=owed.age=1ms");
    world.daemon.until_ready();
    world
        .daemon
        .until_said("a token that was given up is too old to be given back, and may still be valid");
    world.daemon.terminate();
    let data = world.daemon.data();
    assert!(waiting(&data.join("catalog.redb"), &data.join("keyring"), &data.join("master-key")).is_empty());
    assert_eq!(world.provider.calls("/revoke").len(), tried);
}
