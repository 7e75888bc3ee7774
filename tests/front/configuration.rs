//! Which configuration an execution sees: that of its first start, whatever happens after; and today's credential at
//! every step. What is removed under it ends it.

use crate::daemon::Daemon;
use crate::executions::{ONE_SLOT, OPEN, Running, assert_ended, base, instance_of, start};
use crate::http::request;
use crate::provider::Provider;
use crate::set_up::{
    BEARER, Integration, code, customer, instance, instance_with, integration, organization, reference, step, token_of, user, user_config,
    user_config_with, value,
};
use perseat_domain::model::{ConfigValue, Instance, UserConfig};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Change, Lookup, Options};
use serde_json::json;

/// Posts the user's folder to the provider with the account's token.
fn tell(name: &str, path: &str) -> String {
    tell_of("Folder", name, path)
}

/// The same with another variable.
fn tell_of(what: &str, name: &str, path: &str) -> String {
    let url = json!({ "type": "template", "value": format!("{{{{#Provider}}}}{path}") }).to_string();
    let variable = |name: &str| json!({ "type": "configVar", "value": name }).to_string();
    let inputs = [("url", url), ("connection", variable("Account")), ("data", variable(what))];
    step(name, "http", "httpPost", &inputs, "")
}

/// What the steps of one run told the provider: a variable and the token.
fn told(provider: &Provider, path: &str) -> Vec<(String, String)> {
    let seen = provider.seen(path).into_iter();
    seen.map(|seen| (String::from_utf8_lossy(&seen.body).trim_matches('"').to_owned(), seen.token))
        .collect()
}

/// Where the set-up of a test stands: the version's last step, and what instance and user have.
struct State<'a> {
    last: &'a str,
    provider: String,
    folder: &'a str,
    token: &'a str,
}

impl State<'_> {
    fn flows(&self) -> Integration {
        let steps = [tell("One", "/echo/one"), tell("Two", "/hang/two"), tell("Three", self.last)];
        integration("Attempts", "flow_specific").flow("Attempt", false, OPEN, &steps)
    }

    fn manifests(&self) -> String {
        let config = user_config_with("globex", "Attempts", "jane", self.token, "").replace("/globex/jane", self.folder);
        organization(true)
            + &customer("globex")
            + &user("globex", "jane")
            + &self.flows().manifest()
            + &instance_with("globex", "Attempts", "", &format!("Provider: \"{}\"", self.provider))
            + &config
    }

    fn start(&self, provider: Provider) -> Running {
        let daemon = Daemon::start(&format!("outbound.allow = [\"{}\"]\n", provider.address));
        daemon.set_up(&self.manifests());
        let urls = daemon.endpoints();
        Running { provider, daemon, urls }
    }
}

const EARLIER: &str = "a-token-from-before";
const LATER: &str = "a-token-that-came-later";
const LATEST: &str = "a-token-that-came-last";

#[test]
fn an_attempt_keeps_the_version_and_the_values_of_its_start_over_restarts_and_uses_todays_credential() {
    let provider = Provider::start();
    let here = format!("http://{}", provider.address);
    let state = |last, provider: &str, folder, token| State {
        last,
        provider: provider.to_owned(),
        folder,
        token,
    };
    let Running { provider, daemon, urls } = state("/echo/first", &here, "/before", EARLIER).start(provider);
    let url = urls.path("Attempts", "globex", "jane", "Attempt");
    let id = daemon.call(&request("POST", &url)).execution();
    provider.wait_for("/hang/two", 1);
    // Nobody listens at the new address of the instance's provider.
    daemon.set_up(&state("/echo/second", "http://127.0.0.1:9", "/after", LATER).manifests());
    let daemon = daemon.kill_and_restart();
    provider.wait_for("/hang/two", 2);
    daemon.set_up(&state("/echo/third", "http://127.0.0.1:9", "/last", LATEST).manifests());
    let daemon = daemon.kill_and_restart();
    provider.wait_for("/hang/two", 3);
    provider.release();
    assert_eq!(daemon.ended(&id)["status"], "succeeded", "{}", daemon.execution(&id));
    let with = |token: &str| ("/before".to_owned(), token.to_owned());
    assert_eq!(told(&provider, "/echo/one"), [with(EARLIER)]);
    assert_eq!(told(&provider, "/hang/two"), [with(EARLIER), with(LATER), with(LATEST)]);
    assert_eq!(
        told(&provider, "/echo/first"),
        [with(LATEST)],
        "the last step of the version it started with"
    );
    assert!(provider.seen("/echo/second").is_empty() && provider.seen("/echo/third").is_empty());
    let execution = daemon.execution(&id).to_string();
    for token in [EARLIER, LATER, LATEST] {
        assert!(!execution.contains(token), "{execution}");
    }

    daemon.set_up(&state("/echo/third", &here, "/last", LATEST).manifests());
    let id = daemon.call(&request("POST", &url)).execution();
    assert_eq!(daemon.ended(&id)["status"], "succeeded");
    let last = ("/last".to_owned(), LATEST.to_owned());
    assert_eq!(told(&provider, "/echo/third"), [last], "a new execution sees what is so today");
}

#[test]
fn an_attempt_keeps_its_text_of_a_variable_that_became_a_connection_meanwhile() {
    let attempts = |own: Integration, steps: &[String], provider: &Provider, config: &str| {
        organization(true)
            + &customer("globex")
            + &user("globex", "jane")
            + &own.flow("Attempt", false, OPEN, steps).manifest()
            + &instance_with("globex", "Attempts", "", &format!("Provider: \"http://{}\"", provider.address))
            + config
    };
    let steps = [tell("One", "/hang/one"), tell_of("Team", "Two", "/echo/two")];
    for restarts in [false, true] {
        let provider = Provider::start();
        let daemon = Daemon::start(&format!("outbound.allow = [\"{}\"]\n", provider.address));
        let own = integration("Attempts", "flow_specific");
        let config = user_config_with("globex", "Attempts", "jane", EARLIER, ", Team: blue");
        daemon.set_up(&attempts(own.variable("Team"), &steps, &provider, &config));
        let id = daemon
            .call(&request("POST", &daemon.endpoints().path("Attempts", "globex", "jane", "Attempt")))
            .execution();
        provider.wait_for("/hang/one", 1);
        let own = integration("Attempts", "flow_specific");
        let config = user_config_with(
            "globex",
            "Attempts",
            "jane",
            LATER,
            ", Team: {fields: {token: a-token-of-the-team}}",
        );
        daemon.set_up(&attempts(own.variable_of("Team", BEARER), &steps[..1], &provider, &config));
        let daemon = match restarts {
            true => daemon.kill_and_restart(),
            false => daemon,
        };
        provider.wait_for("/hang/one", 1 + usize::from(restarts));
        provider.release();
        assert_eq!(daemon.ended(&id)["status"], "succeeded", "{}", daemon.execution(&id));
        assert_eq!(told(&provider, "/echo/two"), [("blue".to_owned(), LATER.to_owned())]);
    }
}

#[test]
fn what_was_a_secret_when_a_step_ran_is_masked_after_a_restart_too() {
    const CANARY: &str = "canary-0815-4711";
    let provider = Provider::start();
    let give = "module.exports = async ({ configVars }) => ({ data: { token: configVars['Account'].fields.token } });";
    let repeat =
        "module.exports = async ({ logger }, { give }) => { logger.warn(`before ${give.results.token}`); return { data: give.results }; };";
    let steps = [code("Give", give), tell("Two", "/hang/two"), code("Repeat", repeat)];
    let manifests = |token: &str| {
        organization(true)
            + &customer("globex")
            + &user("globex", "jane")
            + &integration("Attempts", "flow_specific")
                .flow("Attempt", false, OPEN, &steps)
                .manifest()
            + &instance_with("globex", "Attempts", "", &format!("Provider: \"http://{}\"", provider.address))
            + &user_config_with("globex", "Attempts", "jane", token, "")
    };
    let daemon = Daemon::start(&format!("outbound.allow = [\"{}\"]\n", provider.address));
    daemon.set_up(&manifests(&format!("'a \"{CANARY}\"'")));
    let url = daemon.endpoints().path("Attempts", "globex", "jane", "Attempt");
    let id = daemon.call(&request("POST", &url)).execution();
    provider.wait_for("/hang/two", 1);
    daemon.set_up(&manifests(LATER));
    let daemon = daemon.kill_and_restart();
    provider.wait_for("/hang/two", 2);
    provider.release();
    let ended = daemon.ended(&id);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let shown = daemon.execution(&id).to_string();
    assert!(shown.contains("before ***") && !shown.contains(CANARY), "{shown}");
}

#[test]
fn a_running_executions_next_step_uses_the_credential_of_that_moment_and_the_values_of_its_start() {
    let provider = Provider::start();
    let state = |folder, token| State {
        last: "/echo/three",
        provider: format!("http://{}", provider.address),
        folder,
        token,
    };
    let (before, after) = (state("/before", EARLIER), state("/after", LATER));
    let Running { provider, daemon, urls } = before.start(provider);
    let url = urls.path("Attempts", "globex", "jane", "Attempt");
    let id = daemon.call(&request("POST", &url)).execution();
    provider.wait_for("/hang/two", 1);
    daemon.set_up(&after.manifests());
    provider.release();
    assert_eq!(daemon.ended(&id)["status"], "succeeded", "{}", daemon.execution(&id));
    assert_eq!(told(&provider, "/hang/two"), [("/before".to_owned(), EARLIER.to_owned())]);
    assert_eq!(told(&provider, "/echo/three"), [("/before".to_owned(), LATER.to_owned())]);
    assert!(!daemon.execution(&id).to_string().contains(LATER), "the new token is masked, too");
}

#[test]
fn a_queued_execution_uses_the_configuration_and_the_credential_of_its_start() {
    let run = start(ONE_SLOT);
    run.accept("initech", "jane", "Hang");
    run.provider.wait_for("/hang", 1);
    let queued = run.accept("globex", "jane", "Call");
    assert_eq!(run.daemon.execution(&queued)["status"], "queued");
    let others = user_config("globex", "Runs", "bob") + &user_config("initech", "Runs", "jane");
    let renewed = user_config_with("globex", "Runs", "jane", "a-token-that-came-later", "");
    run.daemon.set_up(&(base(&run.provider) + &others + &renewed));
    run.provider.release();
    assert_ended("the queued one", &run.end(&queued), "succeeded", None);
    assert_eq!(run.provider.seen("/echo/call")[0].token, "a-token-that-came-later");
}

#[test]
fn what_waits_ends_when_its_user_or_instance_is_removed() {
    let run = start(ONE_SLOT);
    run.accept("globex", "jane", "Hang");
    run.provider.wait_for("/hang", 1);
    let bobs = run.accept("globex", "bob", "Call");
    let initechs = run.accept("initech", "jane", "Call");
    let janes = run.accept("globex", "jane", "Call");
    let rest = base(&run.provider).replace(&instance_of(&run.provider, "initech"), "") + &user_config("globex", "Runs", "jane");
    run.daemon.set_up(&rest);
    run.provider.release();
    assert_ended("Bob's", &run.end(&bobs), "failed", Some("user_removed"));
    assert_ended("Initech's", &run.end(&initechs), "failed", Some("instance_removed"));
    assert_ended("Jane's", &run.end(&janes), "succeeded", None);
    let tokens: Vec<String> = run.provider.seen("/echo/call").iter().map(|seen| seen.token.clone()).collect();
    assert_eq!(tokens, [token_of("globex", "jane")], "only Jane's reached the provider");
}

#[test]
fn what_runs_ends_when_its_user_or_instance_is_removed() {
    let run = start("");
    let bobs = run.accept("globex", "bob", "Hang");
    let initechs = run.accept("initech", "jane", "Hang");
    let janes = run.accept("globex", "jane", "Hang");
    run.provider.wait_for("/hang", 3);
    let rest = base(&run.provider).replace(&instance_of(&run.provider, "initech"), "") + &user_config("globex", "Runs", "jane");
    run.daemon.set_up(&rest);
    assert_ended("Bob's", &run.end(&bobs), "failed", Some("user_removed"));
    assert_ended("Initech's", &run.end(&initechs), "failed", Some("instance_removed"));
    assert_eq!(run.daemon.execution(&janes)["status"], "running");
    run.provider.release();
    assert_ended("Jane's", &run.end(&janes), "succeeded", None);
    assert_eq!(run.provider.seen("/echo/after-hang").len(), 1, "only Jane's went on");
}

#[test]
fn what_waits_ends_when_its_customer_is_deleted_with_or_without_a_crash() {
    for crashes in [false, true] {
        let run = start(ONE_SLOT);
        let janes = run.accept("globex", "jane", "Hang");
        run.provider.wait_for("/hang", 1);
        let waiting = [(); 3].map(|()| run.accept("initech", "jane", "Call"));
        let rest = base(&run.provider)
            .replace(&instance_of(&run.provider, "initech"), "")
            .replace(&user("initech", "jane"), "")
            .replace(&customer("initech"), "");
        run.daemon
            .set_up(&(rest + &user_config("globex", "Runs", "jane") + &user_config("globex", "Runs", "bob")));
        let run = if crashes {
            let Running { provider, daemon, urls } = run;
            let daemon = daemon.kill_and_restart();
            Running { provider, daemon, urls }
        } else {
            run
        };
        run.provider.release();
        for id in &waiting {
            assert_ended("Initech's", &run.end(id), "failed", Some("instance_removed"));
            let shown = run.daemon.execution(id);
            assert_eq!(shown["steps"], json!([]), "{shown}");
        }
        assert_ended("Jane's", &run.end(&janes), "succeeded", None);
        assert_eq!(run.provider.seen("/echo/call").len(), 0, "nothing of a deleted customer's was sent");
        assert_eq!(run.ask("globex", "bob", "Call").status, 200, "the slots are free");
    }
}

#[test]
fn what_nobody_asks_for_any_more_is_deleted() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let run = start("");
    let Running { mut daemon, .. } = run;
    daemon.kill();
    let path = daemon.data().join("catalog.redb");
    let catalog = || Catalog::open(&path, Options::default()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    let ago = |millis| Change {
        by: "local:0",
        at: Timestamp(now - millis),
        action: "test",
    };
    let store = catalog();
    let mut configs = store.page::<UserConfig>(None, 10).unwrap().items;
    let (long, shortly, changed) = (configs.remove(0), configs.remove(0), configs.remove(0));
    let remove = |config: &UserConfig, days| {
        store
            .mutate(ago(0), |tx| tx.remove_user_config(config.id, Timestamp(now - days * DAY)))
            .unwrap();
    };
    remove(&long, 91);
    remove(&shortly, 89);
    let save = |change: Change<'_>, revision: u64| {
        let values = [("folder".to_owned(), ConfigValue::Plain(format!("/{revision}")))].into();
        let config = UserConfig {
            values,
            config_revision: revision,
            ..changed.clone()
        };
        store.mutate(change, |tx| tx.put(&config)).unwrap();
    };
    save(ago(DAY), changed.config_revision + 1);
    save(ago(0), changed.config_revision + 2);
    drop(store);
    daemon.restart();
    daemon.terminate();
    let store = catalog();
    assert_eq!(store.get::<UserConfig>(long.id).unwrap(), None);
    assert!(store.get::<UserConfig>(shortly.id).unwrap().is_some(), "its URL still answers 410");
    let values = store.values_in::<UserConfig>(changed.id, changed.config_revision).unwrap().unwrap();
    assert_eq!(
        values["folder"],
        format!("/{}", changed.config_revision + 1),
        "values of a day ago are gone, those of a moment ago are not"
    );
}

#[test]
fn an_edit_of_an_instance_applies_once_it_is_deployed() {
    let run = start("");
    let Running {
        provider,
        mut daemon,
        urls,
    } = run;
    let url = urls.path("Runs", "globex", "jane", "Call");
    let change = Change {
        by: "local:0",
        at: Timestamp(1),
        action: "test",
    };
    // A manifest deploys what it changes; an edit that waits for its deploy is written as the catalog has it.
    let edit = |daemon: &mut Daemon, work: &dyn Fn(&mut Instance)| {
        daemon.kill();
        let catalog = Catalog::open(&daemon.data().join("catalog.redb"), Options::default()).unwrap();
        for mut instance in catalog.page::<Instance>(None, 10).unwrap().items {
            work(&mut instance);
            catalog.mutate(change, |tx| tx.put(&instance)).unwrap();
        }
        drop(catalog);
        daemon.restart();
    };
    edit(&mut daemon, &|instance| {
        let nowhere = ConfigValue::Plain("http://127.0.0.1:9".into());
        instance.config.values.insert("provider".into(), nowhere);
    });
    let saved = daemon.call(&request("POST", &url)).execution();
    assert_eq!(daemon.ended(&saved)["status"], "succeeded", "saved, not deployed");
    assert_eq!(provider.seen("/echo/call").len(), 1);
    edit(&mut daemon, &|instance| {
        instance.deployed = Some(instance.config.clone());
        instance.config_revision += 1;
    });
    let deployed = daemon.call(&request("POST", &url)).execution();
    assert_eq!(daemon.ended(&deployed)["status"], "failed", "deployed");
    assert_eq!(provider.seen("/echo/call").len(), 1);
}

#[test]
fn what_nobody_set_and_need_not_be_set_is_nothing_and_a_connection_is_never_nothing() {
    let answer = |name: &str, text: &str| {
        let action = json!({ "key": "stopExecution", "component": { "key": "stop-execution", "isPublic": true, "version": "LATEST" } });
        let inputs =
            json!({ "contentType": { "type": "value", "value": "text/plain" }, "jsonBody": { "type": "template", "value": text } });
        json!([{ "name": name, "stableKey": name, "action": action, "inputs": inputs }])
    };
    let branches = json!([{ "name": "Notify", "steps": answer("Yes", "told {{#Note}}") }, { "name": "Else", "steps": answer("No", "not told {{#Note}}") }]);
    let condition =
        r#"{type: complex, value: [{name: Notify, type: complex, value: [isTrue, {type: configVar, value: Notify}]}]}"#.to_owned();
    let choose = step(
        "Choose",
        "branch",
        "branchOnExpression",
        &[("conditions", condition)],
        &format!("branches: {branches}"),
    );
    let inputs = [
        ("url", value("http://127.0.0.1:9/")),
        ("connection", r#"{type: configVar, value: Spare}"#.to_owned()),
    ];
    let flows = integration("Optional", "flow_specific")
        .variable_of("Notify", "dataType: boolean")
        .variable_of("Note", "dataType: string, x-perseat: {required: false}")
        .variable_of("Spare", &format!("{BEARER}, x-perseat: {{required: false}}"))
        .flow("Choose", true, OPEN, &[choose])
        .flow("Call", false, OPEN, &[step("Send", "http", "httpGet", &inputs, "")]);
    let set = ", Notify: \"true\", Note: hello, Spare: {fields: {token: a-spare-token-4711}}";
    let daemon = Daemon::start("");
    daemon.set_up(
        &(organization(true)
            + &customer("globex")
            + &user("globex", "jane")
            + &user("globex", "bob")
            + &flows.manifest()
            + &instance("globex", "Optional", "")
            + &user_config("globex", "Optional", "jane")
            + &user_config_with("globex", "Optional", "bob", "a-token-4711", set)),
    );
    let urls = daemon.endpoints();
    for (user, said, code) in [
        ("jane", "not told ", "expression_invalid"),
        ("bob", "told hello", "outbound_refused"),
    ] {
        let call = |flow: &str| daemon.call(&request("POST", &urls.path("Optional", "globex", user, flow)));
        let answer = call("Choose");
        assert_eq!((answer.status, answer.text().as_str()), (200, said), "{user}");
        let ended = daemon.ended(&call("Call").execution());
        assert_eq!((&ended["status"], &ended["code"]), (&json!("failed"), &json!(code)), "{user}");
    }
}

#[test]
fn a_flow_is_told_the_keys_that_senders_to_its_instance_may_show_and_nobody_else_is() {
    let provider = Provider::start();
    let tell_keys = |path: &str| {
        let url = json!({ "type": "template", "value": format!("{{{{#Provider}}}}{path}") }).to_string();
        let inputs = [
            ("url", url),
            ("connection", r#"{type: configVar, value: Account}"#.to_owned()),
            ("data", reference("onEvent.results.webhookApiKeys")),
        ];
        step("Tell", "http", "httpPost", &inputs, "")
    };
    let ours = "endpointSecurityType: organization\n    organizationApiKeys: [a-key-of-northwind]";
    let flows = integration("Keys", "flow_specific")
        .flow("Open", false, OPEN, &[tell_keys("/echo/keys")])
        .flow(
            "Theirs",
            false,
            "endpointSecurityType: customer_required",
            &[tell_keys("/echo/theirs")],
        )
        .flow("Ours", false, ours, &[tell_keys("/echo/ours")]);
    let keys = "apiKeys: {Theirs: [a-key-of-globex, another-key-of-globex]}";
    let daemon = Daemon::start(&format!("outbound.allow = [\"{}\"]\n", provider.address));
    daemon.set_up(
        &(organization(true)
            + &customer("globex")
            + &user("globex", "jane")
            + &flows.manifest()
            + &instance_with("globex", "Keys", keys, &format!("Provider: \"http://{}\"", provider.address))
            + &user_config("globex", "Keys", "jane")),
    );
    let url = daemon.endpoints().path("Keys", "globex", "jane", "Open");
    let id = daemon.call(&request("POST", &url)).execution();
    assert_eq!(daemon.ended(&id)["status"], "succeeded");
    let seen = provider.seen("/echo/keys");
    let told: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    let expected = json!({ "Theirs": ["a-key-of-globex", "another-key-of-globex"], "Ours": ["a-key-of-northwind"] });
    assert_eq!(told, expected);
    let exported = daemon.local(&request("GET", "/export")).text();
    for shown in [daemon.ended(&id).to_string(), exported, daemon.log()] {
        assert!(!shown.contains("key-of-"), "{shown}");
    }
    let daemon = daemon.kill_and_restart();
    let id = daemon.call(&request("POST", &url)).execution();
    assert_eq!(daemon.ended(&id)["status"], "succeeded");
    assert_eq!(provider.seen("/echo/keys")[1].body, seen[0].body, "after a restart");
}

#[test]
fn a_configuration_that_cannot_be_read_for_a_while_ends_nothing() {
    let run = start("");
    let hanging = run.accept("globex", "jane", "Hang");
    run.provider.wait_for("/hang", 1);
    run.daemon.switch("fail-config-readings");
    // Jane's instance is read by now, and bob's own configuration is not.
    let of_user = run.accept("globex", "bob", "Call");
    run.daemon.log_line(&["cannot read a user's configuration"]);
    run.daemon.add(&user_config_with("globex", "Runs", "bob", "another-token", ""));
    assert_eq!(
        run.ask("globex", "jane", "Call").status,
        200,
        "what changed for bob is not read for jane"
    );
    run.daemon.add(&customer("globex").replace(" inc", " limited"));
    run.daemon.log_line(&["cannot read an instance's configuration"]);
    let of_instance = run.accept("globex", "jane", "Call");
    run.provider.release();
    run.daemon.switch_off("fail-config-readings");
    for (what, execution) in [("running", hanging), ("of a user", of_user), ("of an instance", of_instance)] {
        assert_ended(what, &run.end(&execution), "succeeded", None);
    }
}

#[test]
fn what_an_execution_is_taken_up_with_and_cannot_be_read_for_a_while_ends_nothing() {
    let run = start("execution.payload-cache = \"1B\"\n");
    assert_eq!(run.ask("globex", "jane", "Call").status, 200, "all configurations are read");
    let hanging = run.accept("globex", "jane", "Hang");
    run.provider.wait_for("/hang", 1);
    run.daemon.switch("fail-entry-readings");
    let waiting = run.accept("globex", "jane", "Call");
    run.daemon.log_line(&["an execution cannot be taken up now", "fails on purpose"]);
    run.daemon.switch_off("fail-entry-readings");
    assert_ended("its entries", &run.end(&waiting), "succeeded", None);

    // What was bound at the first start is asked for where something else holds by now, and the actor has died.
    run.daemon.add(&user_config_with("globex", "Runs", "jane", "another-token", ""));
    assert_eq!(run.ask("globex", "jane", "Call").status, 200, "it is read");
    run.daemon.switch("fail-bound-readings");
    run.daemon.switch("fail-users");
    run.daemon.log_line(&["an execution cannot be taken up now", "was started with"]);
    run.daemon.switch_off("fail-bound-readings");
    run.provider.release();
    assert_ended("what it bound", &run.end(&hanging), "succeeded", None);
}
