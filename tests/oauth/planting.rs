//! Secrets in every place of a definition, an instance and a user's configuration, and flows that do everything with them.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::browser::Shown;
use crate::harness::manifests::{code, flow, people, step};
use crate::harness::oauth::Oauth;
use crate::harness::provider::Provider;
use crate::holdings::{SHARED, certificate, registration, shared};
use crate::search::Canaries;
use crate::world::SECRET;

/// Logs and returns whatever it finds in its connections, in every form.
const LEAK: &str = r#"module.exports = async ({ logger, configVars }) => {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const base64 = (text) => {
    const bits = [...text].map((c) => c.charCodeAt(0).toString(2).padStart(8, '0')).join('');
    return (bits.match(/.{1,6}/g) || []).map((six) => letters[parseInt(six.padEnd(6, '0'), 2)]).join('');
  };
  const all = Object.values(configVars).filter((one) => one && one.fields)
    .flatMap((one) => [...Object.values(one.fields), ...Object.values(one.token || {})]).filter((one) => typeof one === 'string');
  const forms = all.flatMap((one) => [one, JSON.stringify({ one }), encodeURIComponent(one), base64(one), base64('a' + one)]);
  forms.forEach((form) => { logger.warn(form); console.log(form); });
  return { data: { forms, count: all.length } };
};"#;
const THROW: &str = r"module.exports = async ({ configVars }) => {
  throw new Error(Object.values(configVars).flatMap((one) => one && one.fields ? Object.values(one.fields) : []).join(' and '));
};";

/// Everything that anybody was answered, and what it is looked through for.
#[derive(Default)]
pub(crate) struct Seen {
    /// Nowhere.
    pub(crate) secrets: Canaries,
    /// In answers.
    pub(crate) shown: Canaries,
    pub(crate) answers: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Seen {
    /// A secret of ours.
    pub(crate) fn secret(&mut self, name: &str) -> String {
        let text = Canaries::text(name);
        self.secrets.add(name, &text);
        text
    }

    /// A secret of this form.
    pub(crate) fn known(&mut self, name: &str, text: &str) -> String {
        self.secrets.add(name, text);
        text.to_owned()
    }

    /// Something of a customer's that is shown.
    pub(crate) fn payload(&mut self, name: &str) -> String {
        let text = Canaries::text(name);
        self.shown.add(name, &text);
        text
    }

    pub(crate) fn answer(&self, from: &str, bytes: impl Into<Vec<u8>>) {
        self.answers.lock().unwrap().push((from.to_owned(), bytes.into()));
    }

    /// An answer that hands out a secret, once.
    pub(crate) fn handed(&mut self, name: &str, secret: &str, answer: &str) {
        assert!(answer.contains(secret), "{name}: {answer}");
        self.answer(name, answer.replacen(secret, "", 1));
        self.secrets.add(name, secret);
    }

    pub(crate) async fn ask(&self, api: &Api<'_>, query: &str, variables: Value) -> Value {
        let answer = api.ask(query, variables).await;
        self.answer(query, answer.to_string());
        answer
    }

    /// A page.
    pub(crate) fn page(&self, from: &str, shown: &Shown) {
        self.answer(from, format!("{:?}{}", shown.headers, shown.html));
    }
}

/// A variable of the definition that is a connection.
fn connection(key: &str, kind: &str, inputs: &[(&str, &str)]) -> String {
    let inputs: Vec<String> = inputs
        .iter()
        .map(|(name, value)| format!("{name}: {{type: value, value: {}}}", Value::from(*value)))
        .collect();
    format!(
        "  - {{key: {key}, stableKey: {}, dataType: connection, connection: {{key: {kind}, component: {{key: http, isPublic: true, version: LATEST}}}}, inputs: {{{}}}}}\n",
        key.to_lowercase(),
        inputs.join(", ")
    )
}

/// Posts with a connection; the request and its answer are logged, too.
fn call(to: &str, path: &str, connection: &str) -> String {
    let inputs = format!(
        "          url: {{type: template, value: \"{{{{#{to}}}}}{path}\"}}\n          connection: {{type: configVar, value: {connection}}}\n          debugRequest: {{type: value, value: \"true\"}}\n          data: {{type: reference, value: onEvent.results.body.data}}\n"
    );
    step(&format!("To {connection}"), "http", "httpPost", &inputs)
}

/// The connections that the pretend provider is called with.
pub(crate) const CALLED: [&str; 13] = [
    "Basic",
    "Key",
    "Query",
    "Bearer",
    "Defined",
    "Preset",
    "Late",
    "Own",
    "Typed",
    "Kept",
    "Everyones",
    "Firms",
    "Persons",
];
/// Those that a third party gave.
pub(crate) const GRANTS: [&str; 4] = ["Account", "Company", "Machine", "Common"];

/// The integration and its instance, with a secret wherever one may stand.
pub(crate) fn manifests(seen: &mut Seen, provider: &Oauth, echo: &Provider) -> String {
    let (authorize, token, revoke) = (provider.url("/authorize"), provider.url("/token"), provider.url("/revoke"));
    let oauth = |seen: &mut Seen, of: &str, client: &str| {
        let header = json!({ "x-proof": seen.secret(&format!("token header of {of}")) }).to_string();
        let parameter = seen.secret(&format!("token parameter of {of}"));
        let pairs = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("proof", &parameter)
            .finish();
        vec![("headers", header), ("tokenParams", pairs), ("clientSecret", client.to_owned())]
    };
    let mut account = oauth(seen, "a user's", SECRET);
    let mut company = oauth(seen, "an instance's", SECRET);
    seen.known("client secret", SECRET);
    let secret = seen.secret("client secret of a machine");
    let mut machine = oauth(seen, "a machine's", &secret);
    for inputs in [&mut account, &mut company, &mut machine] {
        let all = [
            ("tokenUrl", token.clone()),
            ("clientId", "the-client".into()),
            ("scopes", "work".into()),
        ];
        inputs.extend(all);
    }
    // Where ann works, and under which name, is sealed with the grant.
    let listed = json!([{ "id": seen.payload("provider account"), "name": seen.payload("name of a provider account") }]);
    provider.change(|manner| {
        manner.accounts.insert("ann".to_owned(), (200, listed.to_string()));
    });
    account.push(("accountsUrl", provider.url("/userinfo")));
    machine.push(("clientAuthentication", "basic".into()));
    for inputs in [&mut account, &mut company] {
        inputs.extend([("authorizeUrl", authorize.clone()), ("revokeUrl", revoke.clone())]);
    }
    let inputs = |inputs: &[(&'static str, String)], key: &str, kind: &str| {
        let inputs: Vec<(&str, &str)> = inputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        connection(key, kind, &inputs)
    };
    let variables = [
        connection("Basic", "basic", &[]),
        connection("Key", "apiKey", &[("headerName", "x-key")]),
        connection("Query", "apiKey", &[("queryParam", "key")]),
        connection("Bearer", "bearer", &[]),
        connection("Late", "bearer", &[]),
        connection(
            "Defined",
            "basic",
            &[("username", "us"), ("password", seen.secret("password of a definition").as_str())],
        ),
        connection("Preset", "apiKey", &[("apiKey", seen.secret("key of a definition").as_str())]),
        connection("Kept", "bearer", &[("token", "removed")]),
        connection("Own", "bearer", &[]),
        connection("Typed", "basic", &[]),
        inputs(&account, "Account", "oauth2"),
        inputs(&company, "Company", "oauth2"),
        inputs(&machine, "Machine", "oauth2ClientCredentials"),
        connection("Certified", "mutualTls", &[]),
        SHARED
            .map(|(key, _)| {
                let stable = key.to_lowercase();
                format!("  - {{key: {key}, stableKey: {stable}, dataType: connection, useScopedConfigVar: {stable}}}\n")
            })
            .concat(),
    ];
    let element = |key: &&str| format!("{{type: configVar, value: {key}}}");
    let page: Vec<String> = [
        "Provider",
        "Grants",
        "Nobody",
        "Secure",
        "Basic",
        "Key",
        "Query",
        "Bearer",
        "Late",
        "Defined",
        "Preset",
        "Kept",
        "Company",
        "Machine",
        "Certified",
        "Everyones",
        "Firms",
        "Common",
    ]
    .iter()
    .map(element)
    .collect();
    let own: Vec<String> = ["Own", "Typed", "Account", "Persons"].iter().map(element).collect();
    let message =
        "          level: {type: value, value: info}\n          message: {type: reference, value: onEvent.results.body.data.text}\n";
    let ours = seen.known("key of the organization", "canary-key-of-the-organization");
    let flows = [
        flow(
            "Call",
            "",
            &[CALLED.map(|name| call("Provider", &format!("/call/{name}"), name)).concat()],
        ),
        flow("Work", "", &[GRANTS.map(|name| call("Grants", "/work", name)).concat()]),
        flow("Leak", "", &[code("Tell", LEAK), code("Throw", THROW)]),
        flow("Answer", "    isSynchronous: true\n", &[code("Throw", THROW)]),
        flow("Give", "    isSynchronous: true\n", &[code("Tell", LEAK)]),
        flow("Refused", "    isSynchronous: true\n", &[call("Provider", "/refused", "Bearer")]),
        flow("Queried", "    isSynchronous: true\n", &[call("Provider", "/refused", "Query")]),
        flow("Named", "    isSynchronous: true\n", &[call("Provider", "/refused", "Basic")]),
        flow("Alone", "    isSynchronous: true\n", &[call("Nobody", "/gone", "Query")]),
        flow("Certified", "    isSynchronous: true\n", &[call("Secure", "/gone", "Certified")]),
        flow("Log", "", &[step("Log", "log", "writeLog", message)]),
        flow(
            "Keyed",
            "    endpointSecurityType: customer_required\n",
            &[step("Log", "log", "writeLog", message)],
        ),
        flow(
            "Ours",
            &format!("    endpointSecurityType: organization\n    organizationApiKeys: [{ours}]\n"),
            &[step("Log", "log", "writeLog", message)],
        ),
    ];
    let definition = format!(
        "definitionVersion: 7\nname: Vault\nendpointType: flow_specific\nrequiredConfigVars:\n{}{}configPages:\n  - {{name: Company, elements: [{}]}}\n  - {{name: Own, userLevelConfigured: true, elements: [{}]}}\nflows:\n{}",
        ["Provider", "Grants", "Nobody", "Secure"]
            .map(|key| format!("  - {{key: {key}, stableKey: {}, dataType: string}}\n", key.to_lowercase()))
            .concat(),
        variables.concat(),
        page.join(", "),
        own.join(", "),
        flows.concat()
    );
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    provider.allow("company");
    let (certified, registered) = (certificate(seen, "an instance"), registration(seen));
    let shared = shared(seen, provider, "replaced");
    let mut secret = |name: &str| Value::from(seen.secret(name)).to_string();
    format!(
        "{people}{shared}kind: Integration\nconnectionSecrets: {{Kept: {{token: {kept}}}}}\ndefinition: |\n{indented}---\n\
         kind: Instance\nname: Vault\ncustomer: globex\nintegration: Vault\napiKeys: {{Keyed: [canary-key-of-the-customer]}}\nconfigVars:\n\
         \x20 Provider: \"{echo}\"\n  Grants: \"{grants}\"\n  Nobody: \"http://127.0.0.1:9\"\n  Secure: \"{secure}\"\n\
         \x20 Basic: {{fields: {{username: us, password: {basic}}}}}\n  Key: {{fields: {{apiKey: {key}}}}}\n  Query: {{fields: {{apiKey: {query}}}}}\n\
         \x20 Bearer: {{fields: {{token: {bearer}}}}}\n  Late: {{fields: {{token: {early}}}}}\n  Defined: {{fields: {{}}}}\n  Preset: {{fields: {{}}}}\n\
         \x20 Certified: {{fields: {certified}}}\n  Kept: {{fields: {{}}}}\n  Machine: {{fields: {{}}}}\n  Company: {{token: {{access_token: access-company-1, refresh_token: refresh-company-1, expires_in: \"3600\"}}}}\n---\n{registered}\
         kind: UserLevelConfig\ncustomer: globex\ninstance: Vault\nuser: ann\nconfigVars:\n\
         \x20 Own: {{fields: {{token: {own}}}}}\n  Typed: {{fields: {{username: us, password: {typed}}}}}\n  Account: {{fields: {{registration: Europe}}}}\n---\n\
         kind: UserLevelConfig\ncustomer: globex\ninstance: Vault\nuser: lea\nconfigVars:\n\
         \x20 Own: {{fields: {{token: {members}}}}}\n  Typed: {{fields: {{username: us, password: {membered}}}}}\n  Account: {{fields: {{}}}}\n",
        people = people(&[("globex", &["ann", "lea"])]).replace("externalId: lea\nrole: marketplace_user", "externalId: lea\nrole: member"),
        kept = secret("token beside a definition"),
        echo = echo.url(""),
        secure = echo.url("").replace("http:", "https:"),
        grants = provider.url(""),
        basic = secret("password of an instance"),
        key = secret("key of an instance"),
        query = secret("key in an address"),
        bearer = secret("token of an instance"),
        early = secret("token that is replaced"),
        own = secret("token of a user"),
        typed = secret("password that is replaced"),
        members = secret("token of a member"),
        membered = secret("password of a member"),
    )
}
