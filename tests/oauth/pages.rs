//! The pages that host products embed, as an admin and a user come to them: every page is looked at, and every form gets secrets,
//! wrong ones and right ones.

use std::collections::BTreeSet;
use std::time::SystemTime;

use http::Method;
use perseat_admin::identity::embedded::Claims;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::planting::Seen;

/// What an embedded application signs with is shown once.
const MAKE_KEY: &str = "mutation { createOrganizationSigningKey(input: {}) { result { privateKey } errors { messages } } }";
/// Where a host product's pages begin.
const STARTS: [&str; 5] = ["marketplace", "connections", "dashboard", "logs", "executions"];
/// More pages than there are to be walked through.
const MANY: usize = 500;

/// The host product: it signs for whoever uses it.
pub(crate) struct Host {
    key: String,
    organization: String,
}

impl Host {
    pub(crate) async fn open(seen: &mut Seen, owner: &Api<'_>) -> Self {
        let made = owner.ask(MAKE_KEY, json!({})).await;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
        let key = text(&made["data"]["createOrganizationSigningKey"]["result"]["privateKey"]);
        seen.handed("private key", key.lines().nth(3).unwrap(), &made.to_string());
        let organization = text(&owner.get("{ organization { id } }", json!({})).await["id"]);
        Self { key, organization }
    }

    /// The token of somebody of the customer.
    pub(crate) fn token(&self, seen: &mut Seen, name: &str, role: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let claims = Claims {
            sub: name.into(),
            organization: self.organization.clone(),
            customer: "globex".into(),
            iat: now - 5,
            exp: now + 600,
            external_id: Some(name.into()),
            role: Some(role.into()),
            ..Claims::default()
        };
        let token = claims.sign(self.key.as_bytes()).unwrap();
        seen.known(&format!("token of {name}"), token.rsplit('.').next().unwrap());
        token
    }
}

/// Whoever holds a token.
#[derive(Clone, Copy)]
pub(crate) struct Visitor<'v> {
    pub(crate) daemon: &'v Daemon,
    pub(crate) token: &'v str,
}

impl Visitor<'_> {
    /// A page, or what it answers to a form.
    pub(crate) async fn ask(&self, seen: &Seen, path: &str, form: Option<&[(String, String)]>) -> (u16, String) {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form.unwrap_or_default())
            .finish();
        let url = format!("http://{}{path}", self.daemon.address("api"));
        let answer = self.daemon.send(method, &url, &headers, body).await;
        let html = String::from_utf8(answer.body.to_vec()).unwrap();
        seen.answer(path, format!("{:?}{html}", answer.headers));
        (answer.status, html)
    }

    /// Looks at every page that one comes to; their paths.
    pub(crate) async fn walk(&self, seen: &Seen) -> BTreeSet<String> {
        let mut left: Vec<String> = STARTS.map(|start| format!("/embedded/view/{start}")).into();
        let mut walked = BTreeSet::new();
        while let Some(path) = left.pop() {
            if !walked.insert(path.clone()) {
                continue;
            }
            assert!(walked.len() < MANY, "there is no end of pages: {walked:?}");
            let html = self.ask(seen, &path, None).await.1.replace("&#x2f;", "/").replace("&amp;", "&");
            let links = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            left.extend(links.filter(|link| link.starts_with("/embedded/view/")).map(str::to_owned));
        }
        walked
    }

    /// Sends the form of a page with more in it; the answer.
    async fn fill(&self, seen: &Seen, path: &str, more: &[(&str, &str)]) -> (u16, String) {
        let (status, html) = self.ask(seen, path, None).await;
        assert_eq!(status, 200, "{path}: {html}");
        let mut form = filled(&html);
        form.retain(|(name, _)| more.iter().all(|(given, _)| given != name));
        form.extend(more.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        self.ask(seen, path, Some(&form)).await
    }
}

/// What the form of a page holds, as a browser sends it.
fn filled(html: &str) -> Vec<(String, String)> {
    let inputs = html.split("<input ").skip(1).map(|rest| rest.split('>').next().unwrap());
    let attribute = |input: &str, name: &str| {
        let rest = input.split(&format!("{name}=\"")).nth(1)?;
        Some(rest.split('"').next().unwrap().replace("&#x2f;", "/").replace("&amp;", "&"))
    };
    let pair = |input: &str| Some((attribute(input, "name")?, attribute(input, "value")?));
    inputs.filter_map(pair).collect()
}

/// An admin configures the instance, and a user their own part of it: each is wrong first.
pub(crate) async fn configure(seen: &mut Seen, admin: Visitor<'_>, user: Visitor<'_>, instance: &str) {
    let whole = format!("/embedded/view/instance/{instance}/configure");
    let page = admin.ask(seen, &whole, None).await.1;
    let key = page.split("name=\"key-of:").nth(1).unwrap().split('"').next().unwrap();
    let key_field = format!("key-of:{key}");
    let (key, password, private) = (
        seen.secret("key of a customer on a page that is wrong"),
        seen.secret("password on a page that is wrong"),
        seen.secret("private key on a page that is none"),
    );
    let wrong = [
        (key_field.as_str(), key.as_str()),
        ("input:basic:username", "us"),
        ("input:basic:password", &password),
        ("input:certified:certificate", "none"),
        ("input:certified:privateKey", &private),
    ];
    let (_, refused) = admin.fill(seen, &whole, &wrong).await;
    assert!(refused.contains("is no certificate in PEM"), "{refused}");
    let (password, token) = (
        seen.secret("password of an instance, typed on a page"),
        seen.secret("token of an instance, typed on a page"),
    );
    let right = [
        ("input:basic:username", "us"),
        ("input:basic:password", password.as_str()),
        ("input:bearer:token", &token),
    ];
    let (status, saved) = admin.fill(seen, &whole, &right).await;
    assert!(status == 200 && saved.contains("INSTANCE_DEPLOYED"), "{status}: {saved}");

    let own = format!("/embedded/view/instance/{instance}/mine");
    let (password, token) = (
        seen.secret("password of a user on a page that is too old"),
        seen.secret("token of a user on a page that is too old"),
    );
    let old = [
        ("revision", "0"),
        ("input:typed:username", "us"),
        ("input:typed:password", password.as_str()),
        ("input:own:token", &token),
    ];
    let (_, refused) = user.fill(seen, &own, &old).await;
    assert!(!refused.contains("USER_CONFIGURATION_DEPLOYED"), "{refused}");
    let (password, token) = (
        seen.secret("password of a user, typed on a page"),
        seen.secret("token of a user, typed on a page"),
    );
    let right = [
        ("input:typed:username", "us"),
        ("input:typed:password", password.as_str()),
        ("input:own:token", &token),
    ];
    let (status, saved) = user.fill(seen, &own, &right).await;
    assert!(status == 200 && saved.contains("USER_CONFIGURATION_DEPLOYED"), "{status}: {saved}");
}

/// Gives a connection up on its page.
pub(crate) async fn disconnect(seen: &Seen, who: Visitor<'_>, instance: &str, connection: &str) {
    let path = format!("/embedded/view/instance/{instance}/{connection}");
    let (status, question) = who.ask(seen, &path, None).await;
    assert!(status == 200 && question.contains("Are you sure?"), "{path}: {question}");
    let (status, done) = who.ask(seen, &path, Some(&[])).await;
    assert!(status == 200 && done.contains("Disconnected"), "{path}: {done}");
}

/// Holds that a walk came to pages of every kind.
#[track_caller]
pub(crate) fn saw(walked: &BTreeSet<String>, kinds: &[&str]) {
    for kind in kinds {
        assert!(walked.iter().any(|path| path.contains(kind)), "no page like {kind}: {walked:?}");
    }
}
