//! Worlds of customers whose integrations share a connection, and what is done in them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use perseat_domain::id::{InstanceId, partition_of};
use serde_json::{Value, json};

use crate::consent::{back, begin};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{flow, people, post};
use crate::harness::oauth::{Manner, Oauth, first_tokens};
use crate::world::{SECRET, World};

/// Customers and their users.
pub(crate) const PEOPLE: [(&str, &[&str]); 2] = [("globex", &["ann", "bob"]), ("initech", &["carl", "dora"])];
/// The owners' arbiters of these worlds.
pub(crate) const OWNERS: usize = 2;

/// What differs between worlds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `organization`, `customer`, `customerByOrganization` or `user`.
    pub(crate) sharing: &'static str,
    pub(crate) manner: Manner,
    /// Further inputs of the connection.
    pub(crate) inputs: &'static [(&'static str, &'static str)],
    /// Whoever has tokens already: of those who share it.
    pub(crate) with_tokens: &'static [&'static str],
    /// Integrations, each with an instance of either customer.
    pub(crate) integrations: usize,
    /// Further keys of the daemon's configuration.
    pub(crate) keys: &'static [(&'static str, &'static str)],
    /// Keys with values of any form.
    pub(crate) more_keys: Vec<(&'static str, toml::Value)>,
    /// Further manifests; each ends with a line of dashes.
    pub(crate) more: &'static str,
}

impl Plan {
    pub(crate) fn of(sharing: &'static str) -> Self {
        Self {
            sharing,
            manner: Manner::default(),
            inputs: &[],
            with_tokens: match sharing {
                "organization" => &["company"],
                "user" => &["ann", "bob", "carl", "dora"],
                _ => &["globex", "initech"],
            },
            integrations: 3,
            keys: &[],
            more_keys: Vec::new(),
            more: "",
        }
    }
}

pub(crate) fn integration(name: &str, is_user_level: bool) -> String {
    let (company, own) = match is_user_level {
        true => ("", ", {type: configVar, value: Account}"),
        false => (", {type: configVar, value: Account}", ""),
    };
    let definition = format!(
        "definitionVersion: 7\nname: {name}\nendpointType: flow_specific\nrequiredConfigVars:\n\
         \x20 - {{key: Provider, stableKey: provider, dataType: string}}\n\
         \x20 - {{key: Folder, stableKey: folder, dataType: string}}\n\
         \x20 - {{key: Account, stableKey: account, dataType: connection, useScopedConfigVar: crm}}\n\
         configPages:\n\
         \x20 - {{name: Company, elements: [{{type: configVar, value: Provider}}{company}]}}\n\
         \x20 - {{name: Own, userLevelConfigured: true, elements: [{{type: configVar, value: Folder}}{own}]}}\n\
         flows:\n{}",
        flow("Work", "", &[post("Post", "/work", "onEvent.results.body.data")])
    );
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    format!("kind: Integration\ndefinition: |\n{indented}---\n")
}

pub(crate) fn manifests(plan: &Plan, provider: &Oauth) -> String {
    let mut inputs = vec![
        ("tokenUrl", provider.url("/token")),
        ("authorizeUrl", provider.url("/authorize")),
        ("revokeUrl", provider.url("/revoke")),
        ("clientId", "the-client".to_owned()),
        ("clientSecret", SECRET.to_owned()),
        ("scopes", "work".to_owned()),
    ];
    inputs.extend(plan.inputs.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut yaml = people(&PEOPLE);
    write!(
        yaml,
        "kind: SharedConnection\nname: CRM\nstableKey: crm\ndescription: Where customers are kept\nsharing: {}\ncomponent: http\nconnection: oauth2\nfields:\n",
        plan.sharing
    )
    .unwrap();
    for (name, value) in inputs {
        writeln!(yaml, "  {name}: {value:?}").unwrap();
    }
    for account in plan.with_tokens {
        provider.allow(account);
        let token = first_tokens(account);
        if plan.sharing == "organization" {
            writeln!(yaml, "token: {token}").unwrap();
            continue;
        }
        let (customer, _) = PEOPLE
            .iter()
            .find(|(name, users)| name == account || users.contains(account))
            .unwrap();
        let user = match plan.sharing {
            "user" => format!("user: {account}\n"),
            _ => String::new(),
        };
        write!(
            yaml,
            "---\nkind: SharedConnectionValue\nconnection: crm\ncustomer: {customer}\n{user}token: {token}\n"
        )
        .unwrap();
    }
    yaml += "---\n";
    yaml += plan.more;
    for number in 1..=plan.integrations {
        let name = format!("Work {number}");
        yaml += &integration(&name, plan.sharing == "user");
        for (customer, users) in PEOPLE {
            let url = provider.url("");
            write!(
                yaml,
                "kind: Instance\nname: {name}\ncustomer: {customer}\nintegration: {name}\nconfigVars:\n  Provider: \"{url}\"\n---\n"
            )
            .unwrap();
            for user in users {
                write!(
                    yaml,
                    "kind: UserLevelConfig\ncustomer: {customer}\ninstance: {name}\nuser: {user}\nconfigVars: {{Folder: /{user}}}\n---\n"
                )
                .unwrap();
            }
        }
    }
    yaml
}

pub(crate) async fn start(plan: &Plan) -> World {
    let provider = Oauth::start(plan.manner.clone()).await;
    let mut setup = Setup::new()
        .allow(&[provider.address()])
        .set("execution.owner-arbiters", OWNERS as i64)
        .set("oauth.back-off", "100ms")
        .set("oauth.back-off-max", "200ms")
        // Nobody gives up before the provider answers, on a slow machine either.
        .set("oauth.timeout", "60s");
    for (key, value) in plan.keys {
        setup = setup.set(key, *value);
    }
    for (key, value) in &plan.more_keys {
        setup = setup.set(key, value.clone());
    }
    let world = World {
        daemon: Daemon::start(setup),
        provider,
    };
    // Ids are drawn, and with them on which arbiter an instance lives: there are as many as it takes for either to have one.
    let mut plan = plan.clone();
    loop {
        world.daemon.apply(&manifests(&plan, &world.provider)).await;
        let api = Api::program(&world.daemon, "owner").await;
        let instances = api.get("{ instances { nodes { id customer { externalId } } } }", json!({})).await;
        let owners: BTreeSet<(String, usize)> = instances["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|instance| {
                let id: InstanceId = instance["id"].as_str().unwrap().parse().unwrap();
                let customer = instance["customer"]["externalId"].as_str().unwrap().to_owned();
                (customer, usize::from(partition_of(id)) % OWNERS)
            })
            .collect();
        if owners.len() == PEOPLE.len() * OWNERS {
            return world;
        }
        plan.integrations += 1;
    }
}

/// Sends so many events of a user to each instance in turn, all at once. Their executions, in the order of sending.
pub(crate) async fn send(world: &World, user: &str, count: usize) -> Vec<String> {
    let urls: Vec<String> = world
        .daemon
        .endpoints(&format!("user={user}"))
        .await
        .into_iter()
        .map(|endpoint| endpoint.url)
        .collect();
    let posts = urls.iter().cycle().take(count).map(|url| async move {
        let answer = world.daemon.post(url, &[("content-type", "application/json")], "{}").await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()["executionId"].as_str().unwrap().to_owned()
    });
    futures_util::future::join_all(posts).await
}

/// One to each instance.
pub(crate) async fn one_each(world: &World, user: &str) -> Vec<String> {
    let count = world.daemon.endpoints(&format!("user={user}")).await.len();
    send(world, user, count).await
}

pub(crate) fn spent(world: &World) -> Vec<String> {
    let calls = world.provider.calls("/token");
    let mut spent: Vec<String> = calls.iter().filter_map(|call| call.form.get("refresh_token").cloned()).collect();
    spent.sort();
    spent
}

/// The tokens that the third party was called with and took.
pub(crate) fn taken(world: &World) -> BTreeSet<String> {
    let calls = world.provider.calls("/work").into_iter().filter(|call| call.status == 200);
    calls.map(|call| call.token).collect()
}

pub(crate) async fn all_succeed(world: &World, executions: &[String]) {
    for execution in executions {
        let ended = world.ended(execution).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
}

/// Consents as `account` where this link leads.
pub(crate) async fn consent(world: &World, link: &str, account: &str) -> String {
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, link).await;
    let code = world.provider.consent(account, asked.clone());
    let done = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(done.status, 200, "{}", done.html);
    done.html
}

pub(crate) const CONFIGS: &str = "{ instances { nodes { id name customer { externalId } configVariables { nodes { id status authorizeUrl grant { status reason } \
     requiredConfigVariable { key } } } userLevelConfigs { nodes { user { externalId } configVariables { nodes { id status authorizeUrl \
     grant { status reason uses { parked } } requiredConfigVariable { key } } } } } } } }";

pub(crate) fn account_of(variables: &Value) -> Option<Value> {
    let all = variables["nodes"].as_array().unwrap();
    all.iter().find(|one| one["requiredConfigVariable"]["key"] == "Account").cloned()
}

/// The `Account` of a user in each of their instances.
pub(crate) async fn own_accounts(api: &Api<'_>, user: &str) -> Vec<Value> {
    let instances = api.get(CONFIGS, json!({})).await;
    let instances = instances["nodes"].as_array().unwrap().clone();
    let configs = instances
        .iter()
        .flat_map(|instance| instance["userLevelConfigs"]["nodes"].as_array().unwrap().clone());
    let of_user = configs.filter(|config| config["user"]["externalId"] == user);
    of_user.filter_map(|config| account_of(&config["configVariables"])).collect()
}
