//! Secrets by every way that they come in, everything done with them, and a search for them wherever anything is left.
//!
//! What is a secret stands nowhere: in no byte of the data directory, of a backup or of an export, in no line of the log or of
//! a crash, in no metric, and in no answer of the API, of a trigger or of a page. What is handed out (a link, a bearer, a
//! private key) stands in the answer that hands it out, once, and nowhere else. What a customer's payload holds is sealed in
//! the data directory and told to no log and no metric; whoever may see an execution is shown it, with the secrets of its
//! connections blanked that a step holds, too. What a synchronous flow answers its caller is the flow's own word: it is not blanked, and not looked at.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use crate::consent::{account, back, begin};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::oauth::{Manner, Oauth};
use crate::harness::post_office::{PASSWORD, PostOffice, link};
use crate::harness::provider::{Manner as Echo, Provider};
use crate::holdings::{register, rotate, shared, used};
use crate::leavings::{forgotten, given_up, told_by_mail};
use crate::owed::waiting;
use crate::pages::{Host, Visitor, configure, saw};
use crate::planting::{CALLED, GRANTS, Seen, manifests};
use crate::search::Canaries;
use crate::world::World;

const INVITE: &str = "mutation ($i: ID) { inviteUser(input: {id: $i, showLink: true}) { invitationUrl errors { messages } } }";
const UPDATE: &str = "mutation ($i: ID, $v: [InputInstanceConfigVariable]) { updateInstanceConfigVariables(input: {id: $i, configVariables: $v}) { errors { messages } } }";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// All that the owner may read, and where secrets are.
const QUESTIONS: [&str; 7] = [
    "{ integrations { nodes { name description definition versionNumber flows { nodes { name } } } } }",
    "{ instances { nodes { name configVariables { nodes { value status authorizeUrl refreshAt inputs { nodes { name value } }
        grant { status reason timeline { what } } requiredConfigVariable { key } } } flowConfigs { nodes { webhookUrl apiKeys flow { name } } }
        userLevelConfigs { nodes { user { name } configVariables { nodes { value inputs { nodes { name value } } grant { status reason timeline { what } account { id name baseUrl countedAs } } } } } } } } }",
    "{ executionResults { nodes { id error logs { nodes { message } } stepResults { nodes { displayStepName resultsUrl } } } } }",
    "{ instances { nodes { appRegistrations { id connection name clientId scopes emailDomains labels } } } scopedConfigVariables { nodes { key description variableScope status
        authorizeUrl grant { status reason timeline { what } } } } }",
    "{ users { nodes { name email } } }",
    "{ audit { nodes { by } } }",
    "{ organization { name signingKeys { nodes { id publicKey } } } }",
];

/// What flows hold besides what the instance and the user give: without it they have nothing to let slip.
const HELD: [&str; 5] = [
    "password of an instance",
    "line 1 of the private key",
    "token of a shared connection",
    "password of a customer's shared connection, given",
    "key of a user's shared connection, given",
];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn parameter(url: &str, name: &str) -> String {
    let url: url::Url = url.parse().unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
}

/// A file that nobody else may read.
fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// The trigger of ann's flow.
async fn hook(daemon: &Daemon, flow: &str) -> String {
    let endpoints = daemon.endpoints("user=ann").await;
    let found = endpoints.into_iter().find(|endpoint| endpoint.flow.as_deref() == Some(flow));
    found.unwrap_or_else(|| panic!("no trigger of {flow}")).url
}

/// Somebody sets a password, is wrong about it once, and signs in; what they got.
async fn sign_in(seen: &mut Seen, daemon: &Daemon, address: &str, link: &str, passwords: &[(&str, &str)]) {
    let mut browser = Browser::new(&[]);
    let &[(name, password), (wrong_name, wrong)] = passwords else {
        panic!("two passwords")
    };
    let page = browser.open(link).await;
    seen.answer("form", page.html.replace(&parameter(link, "token"), ""));
    seen.known(name, password);
    let done = browser
        .submit(&page, "/auth/password", &[("password", password), ("again", password)])
        .await;
    assert_eq!(done.status, 200, "{}", done.html);
    seen.page("password", &done);
    seen.known(wrong_name, wrong);
    let url = format!("http://{}/authorize", daemon.address("api"));
    let mut url: url::Url = url.parse().unwrap();
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", "perseat-cli"),
        ("redirect_uri", "http://localhost:59400/"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("scope", "openid profile email offline_access"),
        ("state", "st-1"),
    ]);
    let page = browser.open(url.as_str()).await;
    let refused = browser
        .submit(&page, "/authorize", &[("address", address), ("password", wrong)])
        .await;
    assert_eq!(refused.status, 403, "{}", refused.html);
    seen.page("refused", &refused);
    let page = browser.open(url.as_str()).await;
    let signed = browser
        .submit(&page, "/authorize", &[("address", address), ("password", password)])
        .await;
    let code = signed.parameter("code").unwrap();
    seen.handed(&format!("code of {address}"), &code, signed.location().as_str());
    let url = format!("http://{}/oauth/token", daemon.address("api"));
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "perseat-cli"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "http://localhost:59400/"),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let tokens = daemon.send(Method::POST, &url, &headers, form).await.json();
    let (access, refresh) = (text(&tokens["access_token"]), text(&tokens["refresh_token"]));
    seen.handed(
        &format!("refresh token of {address}"),
        &refresh,
        &tokens.to_string().replace(&access, ""),
    );
    // A token is three parts; the last is what proves it.
    seen.known(&format!("access token of {address}"), access.rsplit('.').next().unwrap());
    let who = Api::holder_of(daemon, &access);
    seen.ask(&who, "{ authenticatedUser { email } }", json!({})).await;
}

/// Ann consents in a browser; everything that goes to and fro is a secret.
async fn consent(seen: &mut Seen, world: &World, owner: &Api<'_>) {
    let link = text(&account(owner, "ann").await["authorizeUrl"]);
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let cookie = browser.cookie.clone().unwrap();
    seen.known("cookie of a consent", cookie.split_once('=').unwrap().1);
    seen.known("state of a consent", &asked["state"]);
    let code = world.provider.consent("ann", asked.clone());
    seen.known("code of a consent", &code);
    let mut stranger = Browser::new(&[]);
    let way = back(&asked, &[("code", &code)]);
    seen.page("a stranger", &stranger.open(&way).await);
    // The state is good once: another one for the real browser.
    let asked = begin(&mut browser, &link).await;
    seen.known("second state of a consent", &asked["state"]);
    let code = world.provider.consent("ann", asked.clone());
    seen.known("second code of a consent", &code);
    let denied = begin(&mut browser, &link).await;
    let description = seen.secret("word of a provider that denies");
    let way = back(&denied, &[("error", "access_denied"), ("error_description", &description)]);
    seen.page("denied", &browser.open(&way).await);
    let done = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(done.status, 200, "{}", done.html);
    seen.page("consent", &done);
    let call = world
        .provider
        .calls("/token")
        .into_iter()
        .find(|call| call.form.contains_key("code_verifier"));
    seen.known("verifier of a consent", &call.unwrap().form["code_verifier"]);
}

/// An admin and a user, by their tokens.
fn visitors<'v>(daemon: &'v Daemon, tokens: &'v [String; 2]) -> [Visitor<'v>; 2] {
    tokens.each_ref().map(|token| Visitor { daemon, token })
}

/// Somebody comes with a token, and with one that is believed nowhere.
async fn forged(seen: &mut Seen, daemon: &Daemon, token: &str) {
    let forged = format!("{}{}", &token[..token.len() - 40], "canaryofaforgedtokenthatisbelievednowher");
    seen.known("forged token", "canaryofaforgedtokenthatisbelievednowher");
    for token in [token, &forged] {
        let who = Api::holder_of(daemon, token);
        for question in QUESTIONS {
            seen.ask(&who, question, json!({})).await;
        }
        let visitor = Visitor { daemon, token };
        visitor.ask(seen, "/embedded/authenticate", Some(&[])).await;
        visitor.ask(seen, "/embedded/view/marketplace", None).await;
    }
}

/// Asks for everything there is, and where results are.
async fn read(seen: &Seen, daemon: &Daemon, owner: &Api<'_>) {
    for question in QUESTIONS {
        let answer = seen.ask(owner, question, json!({})).await;
        assert!(answer["errors"].is_null(), "{question}: {answer}");
        for node in answer["data"]["executionResults"]["nodes"].as_array().into_iter().flatten() {
            for step in node["stepResults"]["nodes"].as_array().unwrap() {
                if let Some(url) = step["resultsUrl"].as_str() {
                    let answer = daemon.send(Method::GET, url, &[("authorization", owner.bearer())], "").await;
                    assert_eq!(answer.status, 200, "{url}");
                    seen.answer(url, answer.body.to_vec());
                }
            }
        }
    }
    let list = daemon.local(Method::GET, "/executions?limit=100", None).await.unwrap();
    for execution in list["executions"].as_array().unwrap() {
        let target = format!("/executions/{}", text(&execution["id"]));
        seen.answer(&target, daemon.local(Method::GET, &target, None).await.unwrap().to_string());
    }
    for target in ["/executions?limit=100", "/audit?after=0", "/endpoints", "/export"] {
        seen.answer(target, daemon.local(Method::GET, target, None).await.unwrap().to_string());
    }
    used(seen, daemon, owner).await;
    for page in ["/metrics", "/readyz", "/livez"] {
        seen.answer(page, daemon.admin(page).await.body.to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_left_anywhere_whichever_way_it_came_in() {
    let mut seen = Seen::default();
    let folder = tempfile::tempdir().unwrap();
    let (provider, echo, told) = (
        Oauth::start(Manner::default()).await,
        Provider::start().await,
        Provider::start().await,
    );
    echo.set_at("/refused", Echo::Refuse(http::StatusCode::BAD_REQUEST));
    let office = PostOffice::open("starttls", &["perseat", PASSWORD]);
    seen.known("password of the mail server", PASSWORD);
    let signs = seen.secret("webhook secret");
    let setup = Setup::new()
        .allow(&[provider.address(), echo.address(), told.address(), "127.0.0.1:9".parse().unwrap()])
        .set("log.level", "trace")
        .set("sign-in.hash-memory", "64KiB")
        .set("mail.user", "perseat")
        .set("mail.password", office.password(PASSWORD))
        .set("notices.look", "20ms")
        .set("notices.webhook", told.url("/notices"))
        .set("notices.webhook-secret", file(folder.path(), "signs", &signs))
        .set("oauth.back-off", "100ms")
        .set("oauth.fresh", "1ms")
        .set("keyring.rotation-settle", "1ms")
        .set("keyring.rotation-look", "20ms");
    let mut world = World {
        daemon: Daemon::start(office.setup(setup)),
        provider,
    };
    let yaml = manifests(&mut seen, &world.provider, &echo);
    seen.known("key of the customer", "canary-key-of-the-customer");
    seen.answer("apply", world.daemon.apply(&yaml).await.to_string());
    let owner = Api::program(&world.daemon, "owner").await;
    seen.known("bearer of a program", owner.bearer().trim_start_matches("Bearer "));
    let bearer = owner.bearer().trim_start_matches("Bearer ").to_owned();

    // By the API.
    let ids = "{ instances { nodes { id userLevelConfigs { nodes { id user { externalId } } } } } }";
    let ids = owner.get(ids, json!({})).await;
    let instance = ids["nodes"][0]["id"].clone();
    let configs = ids["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap().clone();
    let config = configs.iter().find(|config| config["user"]["externalId"] == "ann").unwrap();
    let (late, typed) = (seen.secret("token by the API"), seen.secret("password by the API"));
    let input = |name: &str, value: &str| json!({ "name": name, "type": "value", "value": value });
    let values = json!([{ "key": "Late", "values": json!([input("token", &late)]).to_string() }]);
    seen.ask(&owner, UPDATE, json!({ "i": instance, "v": values })).await;
    let values = json!([{ "key": "Typed", "values": json!([input("username", "us"), input("password", &typed)]).to_string() }]);
    let update = "mutation ($i: ID, $v: [InputInstanceConfigVariable]) { updateUserLevelConfig(input: {id: $i, partial: true, configVariables: $v}) { userLevelConfig { id } errors { messages } } }";
    seen.ask(&owner, update, json!({ "i": config["id"], "v": values })).await;
    let deploy = "mutation ($i: ID!) { deployInstance(input: {id: $i}) { instance { name } errors { messages } } }";
    seen.ask(&owner, deploy, json!({ "i": instance })).await;
    let wrong = json!([{ "key": "Late", "values": seen.secret("values that are no JSON") }]);
    seen.ask(&owner, UPDATE, json!({ "i": instance, "v": wrong })).await;
    register(&mut seen, &owner, &instance).await;
    let again = shared(&mut seen, &world.provider, "given");
    seen.answer("apply again", world.daemon.apply(&again).await.to_string());

    // By people.
    let made = world.daemon.local(
        Method::POST,
        "/users/owner",
        Some(json!({ "email": "olga@acme.example", "organization": "Acme" })),
    );
    let made = made.await.unwrap();
    let first = text(&made["url"]);
    seen.handed("link of an owner", &parameter(&first, "token"), &made.to_string());
    let passwords = [
        ("password of an owner", "canary password of olga"),
        ("wrong password", "canary password that is wrong"),
    ];
    sign_in(&mut seen, &world.daemon, "olga@acme.example", &first, &passwords).await;
    let roles = owner.get("{ organizationRoles { id name } }", json!({})).await;
    let guest = roles.as_array().unwrap().iter().find(|role| role["name"] == "Guest").unwrap();
    let create = "mutation ($r: ID!) { createOrganizationUser(input: {email: \"gast@acme.example\", role: $r}) { user { id } invitationUrl errors { messages } } }";
    let guest = seen.ask(&owner, create, json!({ "r": guest["id"] })).await;
    let letter = office.next();
    let invited = link(&letter);
    seen.known("link of an invitation", &parameter(&invited, "token"));
    let user = &guest["data"]["createOrganizationUser"]["user"]["id"];
    let again = owner.ask(INVITE, json!({ "i": user })).await;
    let second = text(&again["data"]["inviteUser"]["invitationUrl"]);
    seen.handed("second link", &parameter(&second, "token"), &again.to_string());
    let passwords = [
        ("password of a guest", "canary password of a guest"),
        ("second wrong password", "canary password, wrong again"),
    ];
    sign_in(&mut seen, &world.daemon, "gast@acme.example", &invited, &passwords).await;
    let mail = "mutation ($i: ID) { inviteUser(input: {id: $i}) { errors { messages } } }";
    seen.ask(&owner, mail, json!({ "i": user })).await;
    seen.known("link of a new password", &parameter(&link(&office.next()), "token"));
    forgotten(&mut seen, &world, &office, "olga@acme.example").await;
    consent(&mut seen, &world, &owner).await;
    seen.ask(&owner, QUESTIONS[1], json!({})).await;
    let host = Host::open(&mut seen, &owner).await;
    let bearers = [host.token(&mut seen, "ada", "admin"), host.token(&mut seen, "ann", "user")];
    forged(&mut seen, &world.daemon, &bearers[1]).await;
    let instance = text(&instance);
    let [admin, user] = visitors(&world.daemon, &bearers);
    configure(&mut seen, admin, user, &instance).await;

    // By events, and through whatever flows do.
    let event = json!({ "text": seen.payload("body") }).to_string();
    // A secret that comes as payload is blanked where a step of the execution holds it, too.
    let telling = json!({ "text": "known", "known": late }).to_string();
    let (note, query) = (seen.payload("header"), seen.payload("query"));
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let mut credentials = Vec::new();
    for name in ["authorization", "cookie", "proxy-authorization"] {
        credentials.push((name, seen.secret(name)));
    }
    let flows = [
        "Call",
        "Work",
        "Leak",
        "Answer",
        "Give",
        "Refused",
        "Queried",
        "Named",
        "Alone",
        "Certified",
        "Log",
        "Keyed",
        "Ours",
        "Keyed",
    ];
    let wrong = seen.known("wrong key", "canary-key-that-is-wrong");
    for (at, flow) in flows.into_iter().enumerate() {
        let url = format!("{}?q={query}", hook(&world.daemon, flow).await);
        let mut headers: Vec<(&str, &str)> = credentials.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend([("content-type", "application/json"), ("x-note", note.as_str())]);
        let key = match flow {
            "Keyed" if at + 1 < flows.len() => "canary-key-of-the-customer",
            "Ours" => "canary-key-of-the-organization",
            _ => wrong.as_str(),
        };
        headers.push(("api-key", key));
        let sent = if flow == "Call" { &telling } else { &event };
        let answer = world.daemon.post(&url, &headers, sent.clone()).await;
        let fails = ["Answer", "Refused", "Queried", "Named", "Alone", "Certified"].contains(&flow);
        let expected: &[u16] = match flow {
            "Keyed" if at + 1 == flows.len() => &[401],
            _ if fails => &[400, 500, 502, 503, 504],
            _ => &[200],
        };
        assert!(expected.contains(&answer.status), "{flow}: {} {:?}", answer.status, answer.body);
        seen.answer(flow, format!("{:?}", answer.headers));
        if flow == "Give" {
            // What a flow tells its caller is its own word.
            let given = seen.secrets.finder().find(&answer.body);
            for held in HELD {
                assert!(given.iter().any(|name| name.starts_with(held)), "{held}: {given:?}");
            }
        } else {
            seen.answer(flow, answer.body.to_vec());
        }
        if let Some(execution) = answer.json()["executionId"].as_str() {
            let ended = world.ended(execution).await;
            let status = if fails || flow == "Leak" { "failed" } else { "succeeded" };
            assert_eq!(ended["status"], status, "{flow}: {ended}");
        }
    }
    assert_eq!(echo.records_at("/call/").len(), CALLED.len());
    let work = world.provider.calls("/work");
    assert!(work.len() == GRANTS.len() && work.iter().all(|call| call.status == 200), "{work:?}");

    rotate(&seen, &world.daemon, &owner).await;

    // Renewed, refused in words that repeat what was sent, taken back, and told of.
    world.provider.end_access("ann");
    world.provider.end_access("company");
    world.provider.end_access("globex");
    let url = hook(&world.daemon, "Work").await;
    let headers = [("content-type", "application/json")];
    let renewed = world.daemon.post(&url, &headers, event.clone()).await.json();
    assert_eq!(world.ended(&text(&renewed["executionId"])).await["status"], "succeeded");
    world.provider.change(|manner| manner.repeats = true);
    world.provider.revoke("ann");
    world.provider.end_access("ann");
    let parked = world.daemon.post(&url, &headers, event.clone()).await.json();
    world.stands(&text(&parked["executionId"]), "parked").await;
    let notice = told.until(1).await.remove(0).json();
    seen.known("link of a notice", &parameter(&text(&notice["reconnectUrl"]), "token"));
    let tokens = world.provider.calls("/token");
    let machine = world
        .provider
        .calls("/work")
        .into_iter()
        .find(|call| call.token.starts_with("own-"));
    seen.known("token of a machine", &machine.unwrap().token);
    for user in ["ann", "company", "globex"] {
        assert!(world.provider.chain(user).newest >= 2, "{user}");
        for number in 1..=world.provider.chain(user).newest {
            for kind in ["access", "refresh"] {
                seen.known(&format!("{kind} token {number} of {user}"), &format!("{kind}-{user}-{number}"));
            }
        }
    }
    assert!(tokens.iter().any(|call| call.status == 400), "{tokens:?}");
    let mut clients = tokens.iter().filter_map(|call| call.form.get("client_secret"));
    assert!(clients.any(|secret| secret.starts_with("secret-of-")), "{tokens:?}");
    told_by_mail(&mut seen, &world, &office, &owner).await;
    let [admin, user] = visitors(&world.daemon, &bearers);
    given_up(&seen, &world, admin, user, &instance).await;
    let walked = admin.walk(&seen).await;
    saw(
        &walked,
        &[
            "/configure",
            "/mine",
            "/remove",
            "/execution/",
            "/logs",
            "/dashboard",
            "/connections",
        ],
    );
    saw(&user.walk(&seen).await, &["/mine", "/connections"]);
    read(&seen, &world.daemon, &owner).await;
    drop(owner);

    // Actors that fail, and a process that dies at once.
    world.daemon.switch("fail-users", true).await;
    world.daemon.switch("fail-instances", true).await;
    let answer = world.daemon.post(&hook(&world.daemon, "Log").await, &headers, event.clone()).await;
    seen.answer("after failures", answer.body.to_vec());
    let lost = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = hook(&world.daemon, "Leak").await;
    world.daemon.arm("frame-written", 1).await;
    let lost = tokio::spawn(lost.post(world.daemon.hook(&url)).body(event).send());
    world.daemon.until_killed("frame-written").await;
    assert!(lost.await.unwrap().is_err(), "nobody answers any more");
    let mut logs = world.daemon.log();
    world.daemon.restart();
    let owner = Api::holder_of(&world.daemon, &bearer);
    read(&seen, &world.daemon, &owner).await;
    drop(owner);
    for visitor in visitors(&world.daemon, &bearers) {
        visitor.walk(&seen).await;
    }

    let data = world.daemon.data();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let backup = out.join("backup").display().to_string();
    for arguments in [
        &["backup", backup.as_str(), "--history"][..],
        &["export"],
        &["journal", "inspect", "--entries", "--frames"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
        let output = command.args(arguments).arg("--data").arg(&data).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        seen.answer(&arguments.join(" "), [output.stdout, output.stderr].concat());
    }
    world.daemon.terminate();
    logs += &world.daemon.log();

    // The key that wraps all others is in its own file alone.
    let master = std::fs::read_to_string(data.join("master-key")).unwrap();
    seen.known("master key", master.trim());
    let master = folder.path().join("master-key");
    std::fs::rename(data.join("master-key"), &master).unwrap();
    let [catalog, keyring] = ["catalog.redb", "keyring"].map(|name| data.join(name));
    assert_eq!(waiting(&catalog, &keyring, &master), [true], "a token still waits for its provider");

    let (secrets, shown) = (seen.secrets.finder(), seen.shown.finder());
    let mut found = Vec::new();
    let mut bytes = 0;
    for place in [&data, &out] {
        bytes += secrets.find_below(place, &mut found);
        shown.find_below(place, &mut found);
    }
    found.extend(secrets.find(logs.as_bytes()).into_iter().map(|name| format!("{name} in the log")));
    found.extend(shown.find(logs.as_bytes()).into_iter().map(|name| format!("{name} in the log")));
    let answers = seen.answers.into_inner().unwrap();
    let mut told = BTreeSet::new();
    let mut answered = 0;
    for (from, answer) in &answers {
        answered += answer.len();
        found.extend(
            secrets
                .find(answer)
                .into_iter()
                .map(|name| format!("{name} in the answer of {from}")),
        );
        let payload = shown.find(answer);
        if from == "/metrics" {
            found.extend(payload.iter().map(|name| format!("{name} in the metrics")));
        }
        told.extend(payload);
    }
    println!(
        "{} secrets and {} payloads looked for in {bytes} bytes of files, {} of logs and {answered} of {} answers",
        seen.secrets.len(),
        seen.shown.len(),
        logs.len(),
        answers.len()
    );
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(told.len(), seen.shown.len(), "payloads are shown to whoever may see them: {told:?}");
    assert!(seen.secrets.len() >= 50, "{}", seen.secrets.len());
    // The search finds what is there: the names of those who are shown.
    let mut names = Canaries::default();
    names.add("name", "ann of globex");
    let mut named = Vec::new();
    names.finder().find_below(&data, &mut named);
    assert!(named.iter().any(|file| file.ends_with("catalog.redb")), "{named:?}");
}
