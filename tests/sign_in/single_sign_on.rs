//! Single sign-on: a provider says who somebody is, and the accounts here say what they may do.

use crate::harness::api::Api;
use crate::harness::browser::{Browser, Shown};
use crate::harness::daemon::Setup;
use crate::users::{INVITE, create, customer};
use crate::world::{CLI, PASSWORD, Tokens, VERIFIER, World, setup};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "canary-secret-of-the-provider";

/// A pair of keys, the public half as a JWK.
struct Pair {
    private: EncodingKey,
    public: Value,
}

impl Pair {
    fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(private.as_ref())
        );
        // The end of a 2048-bit key: 256 bytes of modulus, then the exponent 65537 with its tag and length.
        let der = public.as_ref();
        let modulus = &der[der.len() - 5 - 256..der.len() - 5];
        let public = json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" });
        Self {
            private: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
            public,
        }
    }
}

/// A pretend provider: lets everybody in at once, and says of them what the test wants.
struct Provider {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    /// The keys that it signs with.
    keys: [Pair; 2],
    /// Codes with the nonce and the challenge of their sign-in.
    codes: Mutex<Vec<(String, String, String)>>,
    /// Claims that differ from ann's, and the key that signs them.
    saying: Mutex<(Value, usize)>,
    /// Which key it publishes, and under which id tokens name theirs.
    published: Mutex<(usize, &'static str)>,
    /// What was sent to exchange a code.
    exchanges: Mutex<Vec<(String, String)>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            address,
            keys: [Pair::new(), Pair::new()],
            published: Mutex::new((0, "one")),
            codes: Mutex::default(),
            saying: Mutex::new((json!({}), 0)),
            exchanges: Mutex::default(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                let answer = hyper::service::service_fn(move |request| {
                    let shared = shared.clone();
                    async move { Ok::<_, Infallible>(shared.answer(request).await) }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { shared }
    }

    /// From now on tokens say this, signed with that key.
    fn say(&self, claims: Value, key: usize) {
        *self.shared.saying.lock().unwrap() = (claims, key);
    }

    fn setup(&self, folder: &std::path::Path) -> Setup {
        let secret = folder.join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        setup()
            .set("oidc.issuer", self.shared.address.as_str())
            .set("oidc.client-id", "perseat")
            .set("oidc.client-secret", secret.display().to_string())
            .set("oidc.provider-name", "Acme Login")
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let address = &self.address;
        let answer = match head.uri.path() {
            "/.well-known/openid-configuration" => json!({
                "issuer": address,
                "authorization_endpoint": format!("{address}/authorize"),
                "token_endpoint": format!("{address}/token"),
                "jwks_uri": format!("{address}/keys"),
            }),
            // A key of a kind that nobody here knows is no reason to refuse the others.
            "/keys" => {
                let (key, id) = *self.published.lock().unwrap();
                let mut public = self.keys[key].public.clone();
                public["kid"] = id.into();
                json!({ "keys": [{ "kty": "XYZ", "kid": "strange" }, public] })
            }
            "/token" => {
                let authorization = head.headers["authorization"].to_str().unwrap().to_owned();
                let form = String::from_utf8(body.to_vec()).unwrap();
                self.exchanges.lock().unwrap().push((authorization, form.clone()));
                let pairs = pairs(&form);
                let value = |name: &str| pairs.iter().find(|(known, _)| known == name).unwrap().1.clone();
                let codes = self.codes.lock().unwrap();
                let (_, nonce, challenge) = codes.iter().find(|(code, ..)| *code == value("code")).unwrap();
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value("code_verifier").as_bytes());
                assert_eq!(*challenge, URL_SAFE_NO_PAD.encode(digest), "the verifier is the challenge's");
                json!({ "access_token": "x", "token_type": "Bearer", "id_token": self.token(nonce) })
            }
            other => panic!("the provider has no {other}"),
        };
        Response::new(Full::new(answer.to_string().into()))
    }

    fn token(&self, nonce: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.address,
            "aud": "perseat",
            "sub": "42",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "Ann@acme.example",
            "email_verified": true,
        });
        let (saying, key) = self.saying.lock().unwrap().clone();
        for (name, value) in saying.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.published.lock().unwrap().1.to_owned());
        encode(&header, &claims, &self.keys[key].private).unwrap()
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let mut url = reqwest::Url::parse("http://x/").unwrap();
    url.set_query(Some(text));
    url.query_pairs().into_owned().collect()
}

/// Somebody who goes to the provider and comes back to where they are sent.
async fn round_trip(world: &World, provider: &Provider, browser: &mut Browser) -> Shown {
    let back = leave(world, provider, browser).await;
    browser.open(&back).await
}

/// Goes to the provider; where it sends people back to.
async fn leave(world: &World, provider: &Provider, browser: &mut Browser) -> String {
    let page = browser.open(&world.authorize(CLI, &[])).await;
    assert!(page.text().contains("Continue with Acme Login"), "{}", page.text());
    let sent = browser.submit(&page, "/auth/oidc", &[]).await;
    assert_eq!(sent.status, 200, "{}", sent.html);
    let policy = sent.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let to = sent.link();
    assert!(to.as_str().starts_with(&format!("{}/authorize?", provider.shared.address)), "{to}");
    let of = |name: &str| to.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
    let fixed = ["response_type", "client_id", "scope", "code_challenge_method"].map(of);
    assert_eq!(fixed, ["code", "perseat", "openid email", "S256"]);
    let mut codes = provider.shared.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    codes.push((code.clone(), of("nonce"), of("code_challenge")));
    let mut back = reqwest::Url::parse(&of("redirect_uri")).unwrap();
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", &of("state"));
    back.into()
}

#[tokio::test]
async fn somebody_whom_the_provider_vouches_for_signs_in_as_who_they_are_here() {
    let (provider, folder) = (Provider::start().await, tempfile::tempdir().unwrap());
    let world = World::start(provider.setup(folder.path()).set("log.level", "trace")).await;
    let mut browser = Browser::new(&[]);
    let back_again = leave(&world, &provider, &mut browser).await;
    let back = browser.open(&back_again).await;
    assert_eq!(back.parameter("state").as_deref(), Some("st-1"), "{}", back.html);
    let tokens = Tokens::of(&world.exchange(CLI, &back.parameter("code").unwrap(), VERIFIER).await);
    assert_eq!(world.who(&tokens.access).await["role"]["name"], "Owner");
    let owner = Api::program(&world.daemon, "owner").await;
    let (globex, role) = customer(&owner, "Globex").await;
    let hans = create(&owner, &globex, "hans@globex.example", &role("Member")).await;
    assert!(hans["invitationUrl"].is_string());
    let show = "mutation ($i: ID) { inviteUser(input: {id: $i, showLink: true}) { invitationUrl errors { messages } } }";
    let again = owner.get(show, json!({ "i": hans["user"]["id"] })).await;
    assert!(again["invitationUrl"].is_string(), "nobody has made the account theirs: {again}");
    provider.say(json!({ "email": "hans@globex.example" }), 0);
    let his = round_trip(&world, &provider, &mut Browser::new(&[])).await;
    Tokens::of(&world.exchange(CLI, &his.parameter("code").unwrap(), VERIFIER).await);
    for known in [&hans, &again] {
        let link = known["invitationUrl"].as_str().unwrap();
        assert_eq!(browser.open(link).await.status, 404, "an invitation ends when its user signs in");
    }
    for query in [show, INVITE] {
        let refused = owner.ask(query, json!({ "i": hans["user"]["id"] })).await.to_string();
        assert!(refused.contains("has signed in") && !refused.contains("token="), "{refused}");
    }
    assert_eq!(
        world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status,
        303,
        "passwords go on beside it"
    );
    let (authorization, form) = provider.shared.exchanges.lock().unwrap()[0].clone();
    let basic = STANDARD.encode(format!("perseat:{SECRET}"));
    assert_eq!(authorization, format!("Basic {basic}"));
    assert!(form.contains("code_verifier=") && !form.contains(SECRET));

    assert_eq!(browser.open(&back_again).await.status, 403, "nobody comes back twice");

    for email in [json!("eve@acme.example"), Value::Null] {
        provider.say(json!({ "email": email }), 0);
        let shown = round_trip(&world, &provider, &mut browser).await;
        assert_eq!(shown.status, 403, "{email}");
        assert!(shown.text().contains("vouches for no address"), "{}", shown.text());
    }
    assert!(
        !world.acts().await.iter().any(|act| act == "createOrganizationUser"),
        "nobody is created"
    );
    world.daemon.log_line(&["nobody who is known here"]);
    let log = world.daemon.log();
    assert!(!log.contains(SECRET) && !log.contains("code-0"));
}

#[tokio::test]
async fn a_token_that_leaves_any_doubt_signs_nobody_in() {
    let (provider, folder) = (Provider::start().await, tempfile::tempdir().unwrap());
    let world = World::start(
        provider
            .setup(folder.path())
            .set("sign-in.client-attempts", 1_000)
            .set("oidc.key-pause", "1ms"),
    )
    .await;
    let mut browser = Browser::new(&[]);
    let doubts = [
        (json!({ "iss": "https://evil.example" }), 502),
        (json!({ "aud": "another-client" }), 502),
        (json!({ "nonce": "of-another-sign-in" }), 502),
        (json!({ "exp": 1_000_000 }), 502),
        (json!({ "email_verified": false }), 403),
    ];
    for (claims, expected) in doubts {
        provider.say(claims.clone(), 0);
        let shown = round_trip(&world, &provider, &mut browser).await;
        assert_eq!((shown.status, shown.headers.get("location")), (expected, None), "{claims}");
    }
    provider.say(json!({}), 1);
    let strange = round_trip(&world, &provider, &mut browser).await;
    assert_eq!(strange.status, 502, "signed by another key of the same name");
    provider.say(json!({}), 0);

    let back = leave(&world, &provider, &mut browser).await;
    let mut other = Browser::new(&[]);
    assert_eq!(other.open(&back).await.status, 403, "another browser cannot come back for this one");
    assert_eq!(browser.open(&back).await.status, 403, "and by then it is over");
    let elsewhere = format!("{}&iss=https%3A%2F%2Fevil.example", leave(&world, &provider, &mut browser).await);
    let denied = leave(&world, &provider, &mut browser).await.replace("code=", "error=");
    for refused in [elsewhere, denied] {
        let shown = browser.open(&refused).await;
        assert_eq!(shown.parameter("error").as_deref(), Some("access_denied"), "{refused}");
    }
    // The provider changes its key: one that is not known is asked for at once.
    *provider.shared.published.lock().unwrap() = (1, "two");
    provider.say(json!({}), 1);
    assert_eq!(round_trip(&world, &provider, &mut browser).await.status, 303);
    provider.say(json!({}), 0);
    assert_eq!(
        round_trip(&world, &provider, &mut browser).await.status,
        502,
        "the old one signs nothing any more"
    );
    provider.say(json!({}), 1);
    let page = browser.open(&world.authorize(CLI, &[])).await;
    let forged = browser.submit(&page, "/auth/oidc", &[("seal", "1.x")]).await;
    assert_eq!(forged.status, 403, "only the page itself sends people to the provider");
    assert_eq!(round_trip(&world, &provider, &mut browser).await.status, 303);
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_with_a_password_out() {
    let folder = tempfile::tempdir().unwrap();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let provider = Provider::start().await;
    let world = World::start(provider.setup(folder.path()).set("oidc.issuer", issuer)).await;
    let mut browser = Browser::new(&[]);
    let page = browser.open(&world.authorize(CLI, &[])).await;
    assert_eq!(browser.submit(&page, "/auth/oidc", &[]).await.status, 502);
    world.daemon.log_line(&["single sign-on failed"]);
    assert_eq!(world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status, 303);
}
