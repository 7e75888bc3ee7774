//! Logs, executions, the dashboard and connections: what admins read there, and what nobody else does.

use crate::harness::daemon::Setup;
use crate::harness::within;
use crate::world::{HOST, Person, Shown, World};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

const NOTES: &str = "definitionVersion: 7
name: Notes
description: ''
endpointType: flow_specific
requiredConfigVars:
  - key: Company account
    stableKey: company
    dataType: connection
    connection: {key: oauth2, component: {key: http, isPublic: true, version: LATEST}}
    inputs:
      authorizeUrl: {type: value, value: 'https://provider.example/authorize'}
      tokenUrl: {type: value, value: 'https://provider.example/token'}
      clientId: {type: value, value: the-client}
      clientSecret: {type: value, value: the-client-secret}
  - key: Hidden account
    stableKey: hidden
    dataType: connection
    meta: {visibleToCustomerDeployer: false}
    connection: {key: oauth2, component: {key: http, isPublic: true, version: LATEST}}
    inputs:
      authorizeUrl: {type: value, value: 'https://provider.example/authorize'}
      tokenUrl: {type: value, value: 'https://provider.example/token'}
      clientId: {type: value, value: the-client}
      clientSecret: {type: value, value: the-client-secret}
  - key: Own account
    stableKey: own
    dataType: connection
    connection: {key: basic, component: {key: http, isPublic: true, version: LATEST}}
    inputs: {}
configPages:
  - {name: Company, elements: [{type: configVar, value: Company account}, {type: configVar, value: Hidden account}]}
  - {name: You, userLevelConfigured: true, elements: [{type: configVar, value: Own account}]}
flows:
  - name: Write Down
    stableKey: main
    description: ''
    endpointSecurityType: unsecured
    steps:
      - name: On Event
        stableKey: main-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
      - name: Tell
        stableKey: main-tell
        action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
        inputs:
          code:
            type: value
            value: |
              module.exports = async ({ logger }, { onEvent }) => {
                const { body, user } = onEvent.results;
                logger.info(`a line about ${body.data.text} for ${user.name}`);
                logger.warn('<b>careful</b>');
                for (let n = 0; n < (body.data.more ?? 0); n += 1) logger.info('m'.repeat(16_000));
                return { data: 'canary-of-a-result' };
              };
      - name: Fail Perhaps
        stableKey: main-fail
        action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
        inputs:
          code:
            type: value
            value: |
              module.exports = async (context, { onEvent }) => {
                if (onEvent.results.body.data.fails) throw new Error('the paper is out');
                return { data: null };
              };
";

const LOGS: &str = "/embedded/view/logs";
const EXECUTIONS: &str = "/embedded/view/executions";
const DASHBOARD: &str = "/embedded/view/dashboard";
const CONNECTIONS: &str = "/embedded/view/connections";

/// A customer with an instance that ran for two people.
pub(crate) struct Office {
    pub(crate) world: World,
    instance: String,
    /// Bob's of which the second failed, then Ada's.
    executions: Vec<String>,
}

impl Office {
    async fn open(setup: Setup) -> Self {
        Self::shown_by(HOST, setup).await
    }

    /// One whose pages may be shown by `host`.
    pub(crate) async fn shown_by(host: &str, setup: Setup) -> Self {
        let world = World::start_as(setup.set("embedded.origins", vec![host])).await;
        let notes = world.offer(NOTES).await;
        let made = world
            .person("globex", "ada", "admin")
            .activate(&notes, &[("name", "Our notes")])
            .await;
        assert_eq!(made.status, 200, "{}", made.html);
        let instance = world.instance("Our notes").await;
        let mut office = Self {
            world,
            instance,
            executions: Vec::new(),
        };
        for (user, role) in [("bob", "user"), ("ada", "admin")] {
            office.configure(user, role).await;
        }
        for (user, text, fails) in [("bob", "one", false), ("bob", "two", true), ("ada", "three", false)] {
            office.run(user, text, fails).await;
        }
        office
    }

    fn ada(&self) -> Person<'_> {
        self.world.person("globex", "ada", "admin")
    }

    fn bob(&self) -> Person<'_> {
        self.world.person("globex", "bob", "user")
    }

    async fn configure(&self, user: &str, role: &str) {
        let path = format!("/embedded/view/instance/{}/mine", self.instance);
        let fields = [("input:own:username", user), ("input:own:password", "canary-of-a-password")];
        let saved = self.world.person("globex", user, role).send(&path, &fields).await;
        assert_eq!(saved.status, 200, "{}", saved.html);
    }

    /// Runs the flow for somebody, to its end.
    async fn run(&mut self, user: &str, text: &str, fails: bool) {
        self.run_with(user, json!({ "text": text, "fails": fails })).await;
    }

    async fn run_with(&mut self, user: &str, mut body: Value) {
        let fails = body["fails"] == true;
        body["secret"] = "canary-of-a-request".into();
        let query = "{ instances { nodes { userLevelConfigs { nodes { user { name } flowConfigs { nodes { webhookUrl } } } } } } }";
        let found = self.world.api().get(query, json!({})).await;
        let configs = found["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap();
        let own = configs.iter().find(|config| config["user"]["name"] == user).unwrap();
        let url = own["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap();
        let headers = [("content-type", "application/json")];
        let accepted = self.world.daemon.post(url, &headers, body.to_string()).await.json();
        let id = accepted["executionId"].as_str().unwrap().to_owned();
        // Asked at the private socket: the API soon tells whoever asks it so often to wait.
        let target = format!("/executions/{id}");
        within("the execution's end", async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while self.world.daemon.local(Method::GET, &target, None).await.unwrap()["endedAt"].is_null() {
                look.tick().await;
            }
        })
        .await;
        let query = "query ($e: ID!) { executionResult(id: $e) { endedAt error } }";
        let ended = self.world.api().get(query, json!({ "e": id })).await;
        assert!(!ended["endedAt"].is_null(), "{ended}");
        let error = ended["error"].as_str().unwrap_or_default().to_owned();
        let is_known = error.contains("the paper is out") && error.ends_with("(script_failed)");
        assert!(if fails { is_known } else { error.is_empty() }, "{error}");
        self.executions.push(id);
    }
}

fn count(shown: &Shown, part: &str) -> usize {
    assert_eq!(shown.status, 200, "{}", shown.html);
    shown.html.matches(part).count()
}

fn lines(shown: &Shown) -> usize {
    count(shown, "<p class=\"message\">")
}

fn rows(shown: &Shown) -> usize {
    count(shown, "<li>")
}

/// Where a page goes on.
fn further(shown: &Shown) -> Option<String> {
    let links = shown.html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let link = links
        .map(|link| link.replace("&#x2f;", "/").replace("&amp;", "&"))
        .find(|link| link.contains("after="));
    link.filter(|link| link.starts_with("/embedded/view/"))
}

#[tokio::test]
async fn an_admin_reads_lines_page_by_page_and_chooses_among_them() {
    let office = Office::open(Setup::new().set("embedded.page", 4)).await;
    let ada = office.ada();
    let first = ada.get(LOGS).await;
    assert_eq!(lines(&first), 4, "{}", first.html);
    let (mut pages, mut all) = (vec![first.html.clone()], 4);
    let mut next = further(&first);
    while let Some(link) = next {
        let page = ada.get(&link).await;
        all += lines(&page);
        next = further(&page);
        pages.push(page.html);
    }
    assert_eq!(all, 9, "three executions with two lines and an end each: {pages:?}");
    let said = pages.concat();
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(place("a line about three") < place("a line about two"), "the newest first: {said}");
    assert!(place("a line about two") < place("a line about one"), "{said}");
    for part in ["Our notes", "Notes", "Write Down", "Tell", "the paper is out", "(script_failed)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        said.contains("&lt;b&gt;careful") && !said.contains("<b>careful"),
        "what flows say is text: {said}"
    );
    assert!(
        said.contains("two for •••") && said.contains("three for ada") && !said.contains("bob"),
        "an admin of the marketplace sees no other people: {said}"
    );
    assert_eq!(said.matches("User</span> ada").count(), 3, "her own are named: {said}");
    for secret in ["canary-of-a-result", "canary-of-a-request", "canary-of-a-password"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }

    let with = async |query: &str| ada.get(&format!("{LOGS}?{query}")).await;
    assert_eq!(lines(&with("severity=error").await), 1);
    assert_eq!(lines(&with("severity=warn").await), 4);
    assert_eq!(lines(&with("text=PAPER").await), 1);
    assert_eq!(lines(&with("text=bob").await), 0, "nobody is found by a name that is not shown");
    assert_eq!(lines(&with("result=failed").await), 3);
    assert_eq!(lines(&with(&format!("instance={}&text=about", office.instance)).await), 3);
    assert_eq!(lines(&with("from=2100-01-01T00:00").await), 0);
    assert_eq!(lines(&with("until=2000-01-01T00:00").await), 0);
    assert_eq!(lines(&with("from=2000-01-01T00:00&until=2100-01-01T00:00").await), 4);
    let one = with(&format!("execution={}", office.executions[0])).await;
    assert!(
        lines(&one) == 3 && one.html.contains("about one") && !one.html.contains("about two"),
        "{}",
        one.html
    );
    for wrong in ["after=nonsense", "from=yesterday"] {
        assert_eq!(with(wrong).await.status, 422, "{wrong}");
    }
    let filled = with("severity=warn&text=%22%3E%3Cscript%3E").await;
    assert!(
        filled.html.contains("value=\"warn\" selected") && !filled.html.contains("<script"),
        "{}",
        filled.html
    );
}

#[tokio::test]
async fn a_search_that_finds_little_goes_on_where_it_stopped() {
    let setup = Setup::new().set("embedded.page", 1).set("embedded.looked-at", 1);
    let office = Office::open(setup).await;
    let ada = office.ada();
    let mut page = ada.get(&format!("{LOGS}?text=about+one")).await;
    let mut empty = 0;
    while lines(&page) == 0 {
        empty += 1;
        assert!(page.html.contains("Nothing was found so far"), "{}", page.html);
        page = ada.get(&further(&page).unwrap()).await;
    }
    assert!(empty == 2 && page.html.contains("a line about one"), "{empty}: {}", page.html);
}

#[tokio::test]
async fn a_log_longer_than_a_request_may_read_hides_neither_its_execution_nor_others() {
    let mut office = Office::open(Setup::new().set("api.query-bytes", "64KiB")).await;
    let talk = json!({ "text": "four", "fails": true, "more": 8 });
    office.run_with("ada", talk).await;
    let asked = "query ($e: ID!) { executionResult(id: $e) { error stepResults { nodes { resultsUrl } } logs { nodes { message } } } }";
    let found = office.world.api().get(asked, json!({ "e": office.executions[3] })).await;
    assert_eq!(found["stepResults"]["nodes"].as_array().unwrap().len(), 3);
    let said = found["logs"]["nodes"].as_array().unwrap();
    let said: Vec<&str> = said.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let begins = |at: usize, text| said[at].starts_with(text);
    assert!(
        said.len() == 6 && begins(3, "mmm") && begins(4, "There is more of this log") && begins(5, "Ending"),
        "two lines, two of the long ones, and the end: {said:?}"
    );

    let ada = office.ada();
    let mut page = ada.get(LOGS).await;
    let mut pages = vec![page.html.clone()];
    while let Some(link) = further(&page) {
        page = ada.get(&link).await;
        pages.push(page.html.clone());
    }
    let said = pages.concat();
    for part in ["a line about four", "There is more of this log", "a line about one"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn an_admin_lists_executions_and_looks_into_one_without_what_it_carried() {
    let office = Office::open(Setup::new().set("embedded.page", 2)).await;
    let ada = office.ada();
    let first = ada.get(EXECUTIONS).await;
    assert_eq!(rows(&first), 2, "{}", first.html);
    let second = ada.get(&further(&first).unwrap()).await;
    assert_eq!(rows(&second), 1, "{}", second.html);
    let failed = ada.get(&format!("{EXECUTIONS}?result=failed")).await;
    assert!(rows(&failed) == 1 && failed.html.contains("script_failed"), "{}", failed.html);
    assert!(!failed.html.contains("bob"), "{}", failed.html);
    assert_eq!(rows(&ada.get(&format!("{EXECUTIONS}?result=parked")).await), 0);

    let href = failed.html.split("href=\"").find(|rest| rest.contains("execution&#x2f;")).unwrap();
    let detail = ada.get(&href.split('"').next().unwrap().replace("&#x2f;", "/")).await;
    for part in [
        "Failed",
        "script_failed",
        "the paper is out",
        "Fail Perhaps",
        "Tell",
        "Our notes",
        "Write Down",
    ] {
        assert!(detail.html.contains(part), "{part}: {}", detail.html);
    }
    for hidden in ["canary", "bob"] {
        assert!(!detail.html.contains(hidden), "{hidden}: {}", detail.html);
    }
    let steps = format!("/embedded/view/execution/{}?after=1", office.executions[1]);
    let rest = ada.get(&steps).await;
    assert!(
        rows(&rest) == 1 && !rest.html.contains(">Tell<"),
        "steps have pages, too: {}",
        rest.html
    );
    assert_eq!(ada.get(&format!("{EXECUTIONS}?after=nonsense")).await.status, 422);
    assert_eq!(ada.get("/embedded/view/execution/nonsense").await.status, 404);
}

#[tokio::test]
async fn a_user_reads_no_line_and_no_execution_and_nobody_reads_another_customers() {
    let office = Office::open(Setup::new()).await;
    let (bob, eve) = (office.bob(), office.world.person("initech", "eve", "admin"));
    let (own, instance) = (&office.executions[0], &office.instance);
    let paths = [
        LOGS.to_owned(),
        format!("{LOGS}?execution={own}"),
        format!("{LOGS}?instance={instance}"),
        format!("{LOGS}?after={own}.3"),
        EXECUTIONS.to_owned(),
        format!("{EXECUTIONS}?instance={instance}"),
        format!("{EXECUTIONS}?result=failed"),
        format!("/embedded/view/execution/{own}"),
        DASHBOARD.to_owned(),
    ];
    for path in &paths {
        let shown = bob.get(path).await;
        assert_eq!(shown.status, 403, "{path}: {}", shown.html);
        let sent = bob.send(path, &[]).await;
        assert!(matches!(sent.status, 404 | 405), "{path}: {}", sent.html);
        let strange = eve.get(path).await;
        assert!(matches!(strange.status, 200 | 404), "{path}: {}", strange.html);
        for (who, html) in [("bob", &shown.html), ("eve", &strange.html)] {
            for part in [
                "a line about",
                "careful",
                "Our notes",
                "Write Down",
                "canary",
                "script_failed",
                "<li>",
            ] {
                // Where something stands nowhere is a list of nothing; the dashboard has its numbers.
                let is_tile = part == "<li>" && path == DASHBOARD;
                assert!(is_tile || !html.contains(part), "{who} sees {part} at {path}: {html}");
            }
        }
    }
    assert_eq!(eve.get(&format!("/embedded/view/execution/{own}")).await.status, 404);
    assert_eq!(eve.get(&format!("{LOGS}?instance={instance}")).await.status, 404);
    let board = eve.get(DASHBOARD).await;
    assert_eq!(count(&board, "<strong>0</strong>"), 5, "{}", board.html);
}

#[tokio::test]
async fn a_dashboard_says_how_instances_executions_and_connections_are() {
    let office = Office::open(Setup::new()).await;
    let ada = office.ada();
    let board = ada.get(DASHBOARD).await;
    assert_eq!(board.status, 200, "{}", board.html);
    for (result, number) in [("succeeded", 2), ("failed", 1), ("running", 0), ("parked", 0), ("queued", 0)] {
        let mut tiles = board.html.split("<strong>");
        let tile = tiles.find(|part| part.contains(&format!("state {result}\""))).unwrap();
        assert!(tile.starts_with(&format!("{number}</strong>")), "{result}: {}", board.html);
    }
    let attention = board
        .html
        .split("Needs attention")
        .nth(1)
        .unwrap()
        .split("</section>")
        .next()
        .unwrap();
    assert!(
        attention.contains("Notes: Company account") && attention.contains("Connection pending"),
        "{attention}"
    );
    for fine in ["Own account", "Hidden account"] {
        assert!(!attention.contains(fine), "{fine}: {attention}");
    }
    assert_eq!(ada.get(&board.target("href", "/configure")).await.status, 200);
    let failed = board.target("href", "Z").replace("result=succeeded", "result=failed");
    assert!(failed.contains("from="), "{failed}");
    assert_eq!(rows(&ada.get(&failed).await), 1);
    let own = board.target("href", &format!("executions?instance={}", uuid_of(&office.instance)));
    assert_eq!(rows(&ada.get(&own).await), 3);

    let off = "mutation ($i: ID!) { updateInstance(input: {id: $i, enabled: false}) { instance { id } errors { messages } } }";
    office.world.api().get(off, json!({ "i": office.instance })).await;
    let board = ada.get(DASHBOARD).await;
    assert!(board.html.contains("<span class=\"state paused\">"), "{}", board.html);
}

/// The plain form of a global id.
fn uuid_of(global: &str) -> String {
    global.parse::<perseat_domain::id::InstanceId>().unwrap().to_string()
}

#[tokio::test]
async fn admins_see_the_connections_of_their_company_and_users_their_own() {
    let office = Office::open(Setup::new()).await;
    let (ada, bob) = (office.ada().get(CONNECTIONS).await, office.bob().get(CONNECTIONS).await);
    let company = ada
        .html
        .split("Notes: Company account")
        .nth(1)
        .unwrap()
        .split("</section>")
        .next()
        .unwrap();
    assert!(
        company.contains("data-status=\"PENDING\"") && company.contains("data-connect") && company.contains("Of your whole company"),
        "{company}"
    );
    let own = ada
        .html
        .split("Notes: Own account")
        .nth(1)
        .unwrap()
        .split("</section>")
        .next()
        .unwrap();
    assert!(own.contains("data-status=\"ACTIVE\"") && own.contains("Your own"), "{own}");
    assert_eq!(count(&ada, "<section"), 2, "{}", ada.html);

    assert_eq!(count(&bob, "<section"), 1, "{}", bob.html);
    assert!(
        bob.html.contains("Notes: Own account") && !bob.html.contains("Company account"),
        "{}",
        bob.html
    );
    assert_eq!(office.bob().get(&bob.target("href", "/mine")).await.status, 200);
    for page in [&ada, &bob] {
        for hidden in ["canary", "the-client-secret", "Hidden account"] {
            assert!(!page.html.contains(hidden), "{hidden}: {}", page.html);
        }
    }
    let other = office.world.person("globex", "carl", "user").get(CONNECTIONS).await;
    assert!(
        count(&other, "<section") == 1 && other.html.contains("data-status=\"PENDING\""),
        "what he has not configured: {}",
        other.html
    );
    let strange = office.world.person("initech", "eve", "admin").get(CONNECTIONS).await;
    assert!(strange.html.contains("No connections exist yet"), "{}", strange.html);
}

#[tokio::test]
async fn a_page_reads_no_more_than_a_request_of_the_api_may() {
    let setup = Setup::new().set("api.query-rows", 5_000).set("oauth.uses-looked-at", 10_000);
    let office = Office::open(setup).await;
    let refused = office.ada().get(CONNECTIONS).await;
    assert!(
        refused.status == 503 && refused.html.contains("too much at once"),
        "{}: {}",
        refused.status,
        refused.html
    );
    assert_eq!(office.ada().get(LOGS).await.status, 200);
}
