//! A pretend host product: a page for each person that loads the embedded SDK, with a token as the product would sign it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use perseat_admin::identity::embedded::Claims;
use perseat_admin::identity::keys::SigningPair;
use serde_json::{Value, json};

use crate::cli::client;

/// The SDK where no file of it is given: the version that the tests load.
const SDK: &str = "https://cdn.jsdelivr.net/npm/@prismatic-io/embedded@4.14.0/dist/index.umd.js";
/// For how many seconds a person's token is good; every visit signs another.
const LIFETIME: u64 = 3_600;

/// Whoever opens the page: a word for the address, the external id, the name, the role.
const PEOPLE: [(&str, &str, &str, &str); 3] = [
    ("admin", "grace", "Grace Admin", "admin"),
    ("jane", "jane", "Jane Doe", "user"),
    ("bob", "bob", "Bob Roe", "user"),
];
/// Whose people they are.
const CUSTOMER: &str = "globex";

/// The running page. It serves nobody until it is opened.
#[derive(Debug)]
pub(super) struct Host {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sdk: Option<PathBuf>,
    stage: OnceLock<Stage>,
}

/// What the pages are about.
#[derive(Debug)]
struct Stage {
    url: String,
    organization: String,
    pair: SigningPair,
}

impl Host {
    /// Listens on a free port of the loopback address, until the runtime ends. `sdk` is the SDK's file; else browsers load it
    /// from where npm packages are published.
    pub(super) async fn start(sdk: Option<PathBuf>) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            sdk,
            stage: OnceLock::new(),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// The origin of its pages, which may show the daemon's.
    pub(super) fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Lets the daemon behind `socket` believe tokens of this page, offers its integrations in the marketplace, and opens.
    pub(super) async fn open(&self, socket: &Path) -> anyhow::Result<()> {
        let organization = client::call(socket, Method::GET, "/organization", None).await?;
        let word = |name: &str| {
            organization[name]
                .as_str()
                .map(str::to_owned)
                .context("the daemon says nothing of itself")
        };
        let (url, organization, name) = (word("apiUrl")?, word("id")?, word("name")?);
        let token = client::call(
            socket,
            Method::POST,
            "/tokens",
            Some(json!({ "name": "demo", "role": "owner", "organization": name })),
        );
        let token = token.await?["token"].as_str().context("the daemon made no token")?.to_owned();
        let pair = tokio::task::spawn_blocking(SigningPair::generate).await??;
        let ask = async |query: &str, variables: Value| -> anyhow::Result<Value> {
            let request = reqwest::Client::new().post(format!("{url}/api")).bearer_auth(&token);
            let request = request.header(header::CONTENT_TYPE, "application/json");
            let body = json!({ "query": query, "variables": variables }).to_string();
            let answer: Value = serde_json::from_slice(&request.body(body).send().await?.bytes().await?)?;
            anyhow::ensure!(answer["errors"].is_null(), "the API refused the demo: {answer}");
            Ok(answer["data"].clone())
        };
        let import = "mutation ($k: String!) { importOrganizationSigningKey(input: {publicKey: $k}) { errors { messages } } }";
        ask(import, json!({ "k": pair.public_key })).await?;
        let found = ask("{ integrations { nodes { id } } }", json!({})).await?;
        let offer = "mutation ($i: ID!) { updateIntegrationMarketplaceConfiguration(input: {id: $i,
            marketplaceConfiguration: \"AVAILABLE_AND_DEPLOYABLE\"}) { errors { messages } } }";
        for integration in found["integrations"]["nodes"].as_array().into_iter().flatten() {
            ask(offer, json!({ "i": integration["id"] })).await?;
        }
        let stage = Stage { url, organization, pair };
        self.shared
            .stage
            .set(stage)
            .map_err(|_| anyhow::anyhow!("the host page is open already"))
    }

    /// Where each person goes.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let origin = self.origin();
        PEOPLE.map(|(word, _, name, _)| (name, format!("{origin}/as/{word}"))).into()
    }
}

impl Stage {
    fn token(&self, (_, user, name, role): (&str, &str, &str, &str)) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            sub: user.to_owned(),
            organization: self.organization.clone(),
            customer: CUSTOMER.to_owned(),
            iat: now,
            exp: now + LIFETIME,
            external_id: Some(user.to_owned()),
            name: Some(name.to_owned()),
            role: Some(role.to_owned()),
            ..Claims::default()
        };
        Ok(claims.sign(self.pair.private_key.as_bytes())?)
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let path = request.uri().path();
        let person = path
            .strip_prefix("/as/")
            .and_then(|word| PEOPLE.into_iter().find(|person| person.0 == word));
        Ok(match (path, person, self.stage.get()) {
            ("/sdk.js", ..) => match &self.sdk {
                Some(file) => match tokio::fs::read(file).await {
                    Ok(script) => answer(StatusCode::OK, "text/javascript", script),
                    Err(error) => answer(StatusCode::NOT_FOUND, "text/plain", error.to_string()),
                },
                None => answer(StatusCode::NOT_FOUND, "text/plain", ""),
            },
            (_, Some(person), Some(stage)) => match stage.token(person) {
                Ok(token) => answer(StatusCode::OK, "text/html; charset=utf-8", self.page(person.2, &stage.url, &token)),
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
            },
            _ => answer(StatusCode::NOT_FOUND, "text/plain", "There is nobody here."),
        })
    }

    /// The whole of what a host product writes.
    fn page(&self, name: &str, url: &str, token: &str) -> String {
        let sdk = if self.sdk.is_some() { "/sdk.js" } else { SDK };
        let links: String = PEOPLE
            .iter()
            .map(|(word, _, other, _)| {
                let current = if *other == name { " aria-current=\"page\"" } else { "" };
                format!("<a href=\"/as/{word}\"{current}>{other}</a> ")
            })
            .collect();
        format!(
            "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<link rel=\"icon\" href=\"data:,\">
<title>Host product: {name}</title>
<style>
html, body {{ margin: 0; height: 100%; font-family: system-ui, sans-serif; }}
body {{ display: flex; flex-direction: column; }}
nav {{ padding: 0.75rem 1rem; background: #1d2433; color: #fff; }}
nav a {{ color: #c7d7ff; margin-inline-start: 1rem; }}
nav a[aria-current] {{ color: #fff; font-weight: bold; }}
#place {{ flex: 1; min-height: 0; }}
#place iframe {{ border: 0; width: 100%; height: 100%; }}
</style>
</head>
<body>
<nav aria-label=\"People\">Host product, as {links}</nav>
<main id=\"place\"><p>The SDK did not load. Without a way to the internet, give its file: <code>perseat demo --sdk FILE</code></p></main>
<script src=\"{sdk}\"></script>
<script>
prismatic.init({{ prismaticUrl: {url} }});
prismatic.authenticate({{ token: {token} }}).then(() => {{
  document.getElementById(\"place\").replaceChildren();
  prismatic.showMarketplace({{ selector: \"#place\" }});
}});
</script>
</body>
</html>
",
            url = json!(url),
            token = json!(token),
        )
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| shared.answer(request));
            // A browser that goes away is nobody's loss.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
