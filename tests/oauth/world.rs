//! Users with accounts at a provider, and an integration that works there with them.

use std::fmt::Write as _;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{flow, people, post};
use crate::harness::oauth::{Manner, Oauth, first_tokens};

pub(crate) const SECRET: &str = "the-client-secret";

/// What differs between worlds.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) manner: Manner,
    /// Whether the connection is each user's own; else the instance's, which is the account `company`.
    pub(crate) is_user_level: bool,
    /// Whether the organization alone sets it.
    pub(crate) is_org_only: bool,
    /// `oauth2` or `oauth2ClientCredentials`.
    pub(crate) kind: &'a str,
    /// Further inputs of the connection; `PROVIDER` in them is its address.
    pub(crate) inputs: &'a [(&'a str, &'a str)],
    /// The users with a configuration and a supplied token.
    pub(crate) users: &'a [&'a str],
    /// Whether they have tokens already.
    pub(crate) have_tokens: bool,
    /// The addresses after consent that the definition asks for.
    pub(crate) meta: Option<&'a str>,
    /// Further keys of the daemon's configuration.
    pub(crate) keys: &'a [(&'a str, &'a str)],
    /// Keys with values of any form.
    pub(crate) more_keys: Vec<(&'static str, toml::Value)>,
    /// Those of the users who are not embedded users, and their roles.
    pub(crate) roles: &'a [(&'a str, &'a str)],
    /// Further manifests.
    pub(crate) more: &'a str,
    /// Where the flow posts to.
    pub(crate) target: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            manner: Manner::default(),
            is_user_level: true,
            is_org_only: false,
            kind: "oauth2",
            inputs: &[],
            users: &["ann", "bob"],
            have_tokens: true,
            meta: None,
            keys: &[],
            more_keys: Vec::new(),
            roles: &[],
            more: "",
            target: "{{#Provider}}/work",
        }
    }
}

pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) provider: Oauth,
}

impl World {
    pub(crate) async fn start(plan: &Plan<'_>) -> Self {
        let provider = Oauth::start(plan.manner.clone()).await;
        let daemon = Daemon::start(Self::setup(&provider, plan));
        let world = Self { daemon, provider };
        world.daemon.apply(&world.manifests(plan)).await;
        world
    }

    /// What the daemon is started with.
    pub(crate) fn setup(provider: &Oauth, plan: &Plan<'_>) -> Setup {
        let mut setup = Setup::new()
            .allow(&[provider.address()])
            .set("oauth.back-off", "100ms")
            .set("oauth.back-off-max", "200ms")
            // Nobody gives up before the provider answers, on a slow machine either.
            .set("oauth.timeout", "60s");
        for (key, value) in plan.keys {
            let value = match value.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) if *key == "oauth.redirects" => vec![*value].into(),
                Err(_) => toml::Value::from(*value),
            };
            setup = setup.set(key, value);
        }
        for (key, value) in &plan.more_keys {
            setup = setup.set(key, value.clone());
        }
        setup
    }

    pub(crate) fn manifests(&self, plan: &Plan<'_>) -> String {
        manifests(&self.provider, plan)
    }

    /// The user's trigger URL.
    pub(crate) async fn hook(&self, user: &str) -> String {
        let endpoints = self.daemon.endpoints(&format!("user={user}")).await;
        endpoints.into_iter().map(|endpoint| endpoint.url).next().unwrap()
    }

    /// The address as it is after a restart: the API's port is another one then.
    pub(crate) fn daemon_url(&self, url: &str) -> String {
        let path = url.find("/oauth2/").map_or(url, |at| &url[at..]);
        format!("http://{}{path}", self.daemon.address("api"))
    }

    /// Sends so many events at once; all must be accepted. Their executions.
    pub(crate) async fn send(&self, user: &str, count: usize) -> Vec<String> {
        let url = self.hook(user).await;
        let posts = (0..count).map(|number| {
            let body = serde_json::json!({ "number": number }).to_string();
            let url = url.clone();
            async move {
                let answer = self.daemon.post(&url, &[("content-type", "application/json")], body).await;
                assert_eq!(answer.status, 200, "{:?}", answer.body);
                answer.json()["executionId"].as_str().unwrap().to_owned()
            }
        });
        futures_util::future::join_all(posts).await
    }

    /// Sends an event of the user to a daemon that may be gone before it answers.
    pub(crate) async fn send_last(&self, user: &str) {
        let url: Url = self.hook(user).await.parse().unwrap();
        let mut stream = tokio::net::TcpStream::connect(self.daemon.address("hooks")).await.unwrap();
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
            url.path(),
            url.authority()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }

    /// All executions, in the order of their events, once there are so many.
    pub(crate) async fn executions(&self, count: usize) -> Vec<String> {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        let listed = async {
            loop {
                look.tick().await;
                let list = self.daemon.local(http::Method::GET, "/executions?limit=100", None).await.unwrap();
                let newest_first = list["executions"].as_array().unwrap().iter();
                let ids: Vec<String> = newest_first.rev().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
                assert!(ids.len() <= count, "{list}");
                if ids.len() == count {
                    return ids;
                }
            }
        };
        crate::harness::within(&format!("{count} executions"), listed).await
    }

    /// The execution, once it has ended.
    pub(crate) async fn ended(&self, execution: &str) -> Value {
        let is_live = |status: &str| matches!(status, "queued" | "running" | "parked");
        self.shown(execution, &format!("the end of {execution}"), |status| !is_live(status))
            .await
    }

    /// The execution, once it stands so.
    pub(crate) async fn stands(&self, execution: &str, status: &str) -> Value {
        self.shown(execution, &format!("{execution} is {status}"), |shown| shown == status)
            .await
    }

    async fn shown(&self, execution: &str, what: &str, is_meant: impl Fn(&str) -> bool) -> Value {
        let target = format!("/executions/{execution}");
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        let ended = async {
            loop {
                look.tick().await;
                if let Ok(shown) = self.daemon.local(http::Method::GET, &target, None).await
                    && shown["status"].as_str().is_some_and(&is_meant)
                {
                    return shown;
                }
            }
        };
        crate::harness::within(what, ended).await
    }
}

pub(crate) fn manifests(provider: &Oauth, plan: &Plan<'_>) -> String {
    let mut inputs = vec![
        ("tokenUrl", provider.url("/token")),
        ("clientId", "the-client".to_owned()),
        ("clientSecret", SECRET.to_owned()),
        ("scopes", "work".to_owned()),
    ];
    if plan.kind == "oauth2" {
        inputs.push(("authorizeUrl", provider.url("/authorize")));
        inputs.push(("revokeUrl", provider.url("/revoke")));
    }
    inputs.extend(
        plan.inputs
            .iter()
            .map(|(name, value)| (*name, value.replace("PROVIDER", &provider.url("")))),
    );
    let mut definition = format!(
        "definitionVersion: 7\nname: Work\nendpointType: flow_specific\nrequiredConfigVars:\n\
         \x20 - {{key: Provider, stableKey: provider, dataType: string}}\n\
         \x20 - key: Account\n    stableKey: account\n    dataType: connection\n    orgOnly: {}\n    connection: {{key: {}, component: {{key: http, isPublic: true, version: LATEST}}}}\n    inputs:\n",
        plan.is_org_only, plan.kind
    );
    for (name, value) in inputs {
        writeln!(definition, "      {name}: {{type: value, value: {value:?}}}").unwrap();
    }
    if let Some(redirect) = plan.meta {
        writeln!(
            definition,
            "    meta: {{oAuthSuccessRedirectUri: {redirect:?}, oAuthFailureRedirectUri: {redirect:?}}}"
        )
        .unwrap();
    }
    let (level, other) = if plan.is_user_level {
        (true, "")
    } else {
        (false, "  - {name: Own, userLevelConfigured: true, elements: []}\n")
    };
    write!(
        definition,
        "configPages:\n  - {{name: Company, elements: [{{type: configVar, value: Provider}}]}}\n  - {{name: Account, userLevelConfigured: {level}, elements: [{{type: configVar, value: Account}}]}}\n{other}flows:\n{}",
        flow("Work", "", &[post("Post", "/work", "onEvent.results.body.data").replace("{{#Provider}}/work", plan.target)])
    )
    .unwrap();
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    let mut people = people(&[("globex", plan.users)]);
    for (user, role) in plan.roles {
        let embedded = format!("externalId: {user}\nrole: marketplace_user");
        assert!(people.contains(&embedded));
        people = people.replace(&embedded, &format!("externalId: {user}\nrole: {role}"));
    }
    let mut yaml = people + plan.more + &format!("kind: Integration\ndefinition: |\n{indented}---\n");
    yaml += &format!(
        "kind: Instance\nname: Work\ncustomer: globex\nintegration: Work\nconfigVars:\n  Provider: \"{}\"\n",
        provider.url("")
    );
    if !plan.is_user_level {
        yaml += &account(provider, plan, "company");
    }
    yaml += "---\n";
    for user in plan.users {
        let vars = if plan.is_user_level {
            account(provider, plan, user)
        } else {
            "  {}\n".to_owned()
        };
        write!(
            yaml,
            "kind: UserLevelConfig\ncustomer: globex\ninstance: Work\nuser: {user}\nconfigVars:\n{vars}---\n"
        )
        .unwrap();
    }
    yaml
}

fn account(provider: &Oauth, plan: &Plan<'_>, user: &str) -> String {
    if !plan.have_tokens || plan.kind != "oauth2" {
        return "  Account: {fields: {}}\n".to_owned();
    }
    provider.allow(user);
    format!("  Account:\n    token: {}\n", first_tokens(user))
}
