//! A daemon, an organization that signs its users' tokens, and integrations in its marketplace.

use crate::harness::api::Api;
use crate::harness::daemon::{Answer, Daemon, Setup};
use crate::harness::manifests::{code, flow, post};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use perseat_admin::identity::embedded::Claims;
use perseat_admin::identity::keys::SigningPair;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::SystemTime;

/// Where the host product's pages come from.
pub(crate) const HOST: &str = "https://app.example";

/// One pair for all tests of this program: it takes a second to make.
static PAIR: LazyLock<SigningPair> = LazyLock::new(|| SigningPair::generate().unwrap());

const FLOWS: &str = "flows:
  - name: Main
    stableKey: main
    description: ''
    endpointSecurityType: unsecured
    steps:
      - name: Trigger
        stableKey: main-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
";

/// An integration whose users bring their own account, with a variable of every kind.
pub(crate) fn files() -> String {
    format!(
        "definitionVersion: 7
name: Files
description: Keeps files in step
category: Storage
endpointType: flow_specific
requiredConfigVars:
  - {{key: Address, stableKey: address, dataType: string, orgOnly: false, description: Where your files are}}
  - {{key: Tenant, stableKey: tenant, dataType: string, orgOnly: false, defaultValue: none, meta: {{visibleToCustomerDeployer: false}}}}
  - {{key: Ours, stableKey: ours, dataType: string, orgOnly: true, defaultValue: canary-of-the-organization}}
  - {{key: Folder, stableKey: folder, dataType: string, orgOnly: false}}
  - {{key: Limit, stableKey: limit, dataType: number, orgOnly: false, defaultValue: '10'}}
  - {{key: Notify, stableKey: notify, dataType: boolean, orgOnly: false, defaultValue: 'true'}}
  - {{key: Region, stableKey: region, dataType: picklist, pickList: [eu, us], orgOnly: false}}
  - {{key: Every, stableKey: every, dataType: schedule, orgOnly: false, defaultValue: '0 * * * *'}}
  - {{key: Since, stableKey: since, dataType: date, orgOnly: false, x-perseat: {{required: false}}}}
  - {{key: When, stableKey: when, dataType: timestamp, orgOnly: false, x-perseat: {{required: false}}}}
  - {{key: Rules, stableKey: rules, dataType: code, codeLanguage: json, orgOnly: false, defaultValue: '{{}}'}}
  - {{key: Tags, stableKey: tags, dataType: string, collectionType: valuelist, orgOnly: false, defaultValue: '[]'}}
  - {{key: Sizes, stableKey: sizes, dataType: number, collectionType: valuelist, orgOnly: false, defaultValue: '[]'}}
  - {{key: Most, stableKey: most, dataType: number, orgOnly: false, x-perseat: {{required: false}}}}
  - {{key: Headers, stableKey: headers, dataType: string, collectionType: keyvaluelist, orgOnly: false, defaultValue: '[]'}}
  - {{key: Account, stableKey: account, dataType: connection, connection: {{key: basic, component: {{key: http, isPublic: true, version: LATEST}}}}, inputs: {{}}}}
configPages:
  - name: Company
    userLevelConfigured: false
    elements: [{{type: configVar, value: Address}}, {{type: configVar, value: Tenant}}, {{type: configVar, value: Ours}}]
  - name: You
    tagline: What is yours alone
    userLevelConfigured: true
    elements:
      - {{type: htmlElement, value: '<p>Read <b>this</b></p><script>window.broken = 1</script>'}}
      - {{type: configVar, value: Folder}}
      - {{type: configVar, value: Limit}}
      - {{type: configVar, value: Notify}}
      - {{type: configVar, value: Region}}
      - {{type: configVar, value: Every}}
      - {{type: configVar, value: Since}}
      - {{type: configVar, value: When}}
      - {{type: configVar, value: Rules}}
      - {{type: configVar, value: Tags}}
      - {{type: configVar, value: Sizes}}
      - {{type: configVar, value: Most}}
      - {{type: configVar, value: Headers}}
  - name: Account
    userLevelConfigured: true
    elements: [{{type: configVar, value: Account}}]
{FLOWS}"
    )
}

/// An integration that a customer has as a whole.
pub(crate) fn plain() -> String {
    format!(
        "definitionVersion: 7
name: Reports
description: One for everybody
endpointType: flow_specific
requiredConfigVars:
  - {{key: Title, stableKey: title, dataType: string, orgOnly: false}}
configPages:
  - {{name: Company, elements: [{{type: configVar, value: Title}}]}}
{FLOWS}"
    )
}

/// A variable that is an account at `provider`.
pub(crate) fn account(key: &str, stable_key: &str, provider: &str) -> String {
    format!(
        "  - key: {key}
    stableKey: {stable_key}
    dataType: connection
    connection: {{key: oauth2, component: {{key: http, isPublic: true, version: LATEST}}}}
    inputs:
      authorizeUrl: {{type: value, value: '{provider}/auth?prompt=consent'}}
      tokenUrl: {{type: value, value: '{provider}/token'}}
      revokeUrl: {{type: value, value: '{provider}/token/revocation'}}
      scopes: {{type: value, value: openid offline_access}}
      clientId: {{type: value, value: perseat}}
      clientSecret: {{type: value, value: canary-of-the-client}}
      accountsUrl: {{type: value, value: '{provider}/accounts'}}
"
    )
}

/// An integration whose users connect accounts at `provider`, to which it says as whom it runs.
pub(crate) fn by_account(name: &str, endpoint_type: &str, provider: &str) -> String {
    let script = "module.exports = async ({ configVars, logger }, { onEvent: { results } }) => {
  logger.info(`number ${results.body.data.number}`);
  return { data: {
    number: results.body.data.number, who: results.user.externalId, place: configVars.Account.account.id, folder: configVars.Folder, channel: configVars.Channel,
  } };
};";
    let steps = code("Make", script) + &post("Send", "/files", "make.results");
    let flow = flow("Send", "", &[steps]);
    let account = account("Account", "account", provider);
    format!(
        "definitionVersion: 7
name: {name}
description: By consent
endpointType: {endpoint_type}
requiredConfigVars:
  - {{key: Channel, stableKey: channel, dataType: string, orgOnly: false}}
  - {{key: Provider, stableKey: provider, dataType: string, orgOnly: true, defaultValue: '{provider}'}}
  - {{key: Folder, stableKey: folder, dataType: string, orgOnly: false}}
  - {{key: Every, stableKey: every, dataType: schedule, orgOnly: false, x-perseat: {{required: false}}}}
  - key: Greeting
    stableKey: greeting
    dataType: string
    orgOnly: false
    x-perseat: {{required: false}}
    dataSource: {{key: runCodeString, component: {{key: code, isPublic: true, version: LATEST}}}}
    inputs:
      code: {{type: value, value: \"module.exports = async () => ({{ result: 'Hello' }});\"}}
{account}configPages:
  - {{name: Company, elements: [{{type: configVar, value: Channel}}, {{type: configVar, value: Provider}}]}}
  - {{name: You, userLevelConfigured: true, elements: [{{type: configVar, value: Folder}}, {{type: configVar, value: Every}}, {{type: configVar, value: Greeting}}, {{type: configVar, value: Account}}]}}
flows:
{flow}"
    )
}

/// Somebody who comes with a token of the host product.
pub(crate) struct Person<'w> {
    world: &'w World,
    pub(crate) token: String,
}

pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) organization: String,
    owner: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// The time in seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

impl World {
    /// A daemon whose pages may be shown by `host`.
    pub(crate) async fn start(host: &str) -> Self {
        Self::start_near(host, &[]).await
    }

    /// One that may also call these hosts, which are not public.
    pub(crate) async fn start_near(host: &str, allowed: &[&str]) -> Self {
        let list = |words: &[&str]| toml::Value::Array(words.iter().map(|word| (*word).into()).collect());
        let setup = Setup::new().set("embedded.origins", list(&[host]));
        Self::start_as(setup.set("outbound.allow", list(allowed))).await
    }

    /// A daemon that is set up so.
    pub(crate) async fn start_as(setup: Setup) -> Self {
        let daemon = Daemon::start(setup);
        daemon.apply("kind: Organization\nname: Acme\nulcEnabled: true\n").await;
        let made = daemon
            .local(
                Method::POST,
                "/tokens",
                Some(json!({ "name": "owner", "role": "owner", "organization": "Acme" })),
            )
            .await;
        let owner = text(&made.unwrap()["token"]);
        let mut world = Self {
            daemon,
            organization: String::new(),
            owner,
        };
        world.organization = text(&world.api().get("{ organization { id } }", json!({})).await["id"]);
        let import = "mutation ($k: String!) { importOrganizationSigningKey(input: {publicKey: $k}) { errors { messages } } }";
        world.api().get(import, json!({ "k": PAIR.public_key })).await;
        world
    }

    /// The organization's own program.
    pub(crate) fn api(&self) -> Api<'_> {
        Api::holder_of(&self.daemon, &self.owner)
    }

    /// Offers an integration in the marketplace and gives its id.
    pub(crate) async fn offer(&self, yaml: &str) -> String {
        let import = "mutation ($d: String!) { importIntegration(input: {definition: $d}) { integration { id } errors { messages } } }";
        let id = text(&self.api().get(import, json!({ "d": yaml })).await["integration"]["id"]);
        let publish = "mutation ($i: ID!) { publishIntegration(input: {id: $i}) { errors { messages } } }";
        self.api().get(publish, json!({ "i": id })).await;
        let offer = "mutation ($i: ID!) { updateIntegrationMarketplaceConfiguration(input: {id: $i, marketplaceConfiguration: \"AVAILABLE_AND_DEPLOYABLE\"}) { errors { messages } } }";
        self.api().get(offer, json!({ "i": id })).await;
        id
    }

    /// What the host product says of somebody.
    pub(crate) fn claims(&self, customer: &str, user: &str, role: &str) -> Claims {
        Claims {
            sub: user.into(),
            organization: self.organization.clone(),
            customer: customer.into(),
            iat: now() - 5,
            exp: now() + 600,
            external_id: Some(user.into()),
            name: Some(user.into()),
            customer_name: Some(customer.into()),
            role: Some(role.into()),
            ..Claims::default()
        }
    }

    /// The token that says so.
    pub(crate) fn signed(&self, claims: &Claims) -> String {
        claims.sign(PAIR.private_key.as_bytes()).unwrap()
    }

    /// The same with a header of its own. By HMAC the key is the public one, which anybody may have.
    pub(crate) fn signed_as(&self, header: &Header, claims: &Claims) -> String {
        let key = match header.alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => EncodingKey::from_secret(PAIR.public_key.as_bytes()),
            _ => EncodingKey::from_rsa_pem(PAIR.private_key.as_bytes()).unwrap(),
        };
        encode(header, claims, &key).unwrap()
    }

    /// Somebody of a customer: `admin` or `user`.
    pub(crate) fn person(&self, customer: &str, user: &str, role: &str) -> Person<'_> {
        self.holder(self.signed(&self.claims(customer, user, role)))
    }

    /// The token of somebody who walks through the pages in a browser: it outlasts the walk on a slow machine.
    pub(crate) fn walker(&self, customer: &str, user: &str, role: &str) -> String {
        self.signed(&Claims {
            exp: now() + 6 * 3_600,
            ..self.claims(customer, user, role)
        })
    }

    /// Whoever holds this token.
    pub(crate) fn holder(&self, token: String) -> Person<'_> {
        Person { world: self, token }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.address("api"))
    }

    /// A page without a token.
    pub(crate) async fn open(&self, path: &str) -> Answer {
        self.daemon.send(Method::GET, &self.url(path), &[], "").await
    }

    /// The instance of an integration.
    pub(crate) async fn instance(&self, name: &str) -> String {
        let found = self
            .api()
            .get("query ($n: String) { instances(name: $n) { nodes { id } } }", json!({ "n": name }))
            .await;
        text(&found["nodes"][0]["id"])
    }
}

/// What a person gets.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: u16,
    pub(crate) html: String,
}

impl Shown {
    /// Where a link or a form goes whose tag holds `word`.
    #[track_caller]
    pub(crate) fn target(&self, attribute: &str, end: &str) -> String {
        let start = format!("{attribute}=\"");
        let mut targets = self.html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap());
        let found = targets.find(|target| target.replace("&#x2f;", "/").ends_with(end));
        found
            .unwrap_or_else(|| panic!("nothing leads to {end}: {}", self.html))
            .replace("&#x2f;", "/")
            .replace("&amp;", "&")
    }

    /// What the host page is told.
    pub(crate) fn events(&self) -> Vec<Value> {
        let Some(rest) = self.html.split("data-events=\"").nth(1) else {
            return Vec::new();
        };
        serde_json::from_str(&unescaped(rest.split('"').next().unwrap())).unwrap()
    }

    /// The fields of its form as they are shown, as a browser sends them.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let (mut fields, mut select) = (Vec::new(), String::new());
        for rest in self.html.split('<').skip(1) {
            let (tag, behind) = rest.split_once('>').unwrap();
            let attribute = |name: &str| {
                let rest = tag.split_once(&format!(" {name}=\""))?.1;
                Some(unescaped(rest.split('"').next().unwrap()))
            };
            let is_sent = !tag.contains("type=\"checkbox\"") || tag.contains(" checked");
            match (tag.split(' ').next().unwrap(), attribute("name")) {
                ("input", Some(name)) if is_sent => fields.push((name, attribute("value").unwrap_or_default().replace(['\r', '\n'], ""))),
                ("textarea", Some(name)) => fields.push((name, unescaped(behind.trim_start_matches('\n')))),
                ("select", Some(name)) => select = name,
                ("option", _) if tag.contains(" selected") => fields.push((select.clone(), attribute("value").unwrap())),
                _ => {}
            }
        }
        fields
    }
}

/// Text that a template has escaped.
fn unescaped(html: &str) -> String {
    let marks = [
        ("&quot;", "\""),
        ("&#x2f;", "/"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#x27;", "'"),
        ("&amp;", "&"),
    ];
    marks
        .iter()
        .fold(html.to_owned(), |text, (mark, letter)| text.replace(mark, letter))
}

impl Person<'_> {
    /// A fragment.
    pub(crate) async fn get(&self, path: &str) -> Shown {
        self.ask(Method::GET, path, String::new()).await
    }

    /// Sends a form.
    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let mut body = reqwest::Url::parse("http://x/").unwrap();
        body.query_pairs_mut().extend_pairs(fields);
        self.ask(Method::POST, path, body.query().unwrap_or_default().to_owned()).await
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Shown {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let answer = self.world.daemon.send(method, &self.world.url(path), &headers, body).await;
        Shown {
            status: answer.status,
            html: String::from_utf8(answer.body.to_vec()).unwrap(),
        }
    }

    /// Switches an integration on with customer-wide values.
    #[track_caller]
    pub(crate) fn activate<'p>(&'p self, integration: &str, fields: &'p [(&'p str, &'p str)]) -> impl Future<Output = Shown> + 'p {
        let path = format!("/embedded/view/integration/{integration}/activate");
        async move {
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{}", page.html);
            self.send(&page.target("action", "/activate"), fields).await
        }
    }
}
