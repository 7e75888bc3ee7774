//! A daemon, people who sign in, and programs that send them there.

use crate::harness::api::Api;
use crate::harness::browser::{Browser, Shown};
use crate::harness::daemon::{Answer, Daemon, Setup};
use http::Method;
use serde_json::{Value, json};

pub(crate) const PASSWORD: &str = "canary-password-of-ann";
/// The example of RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const CALLBACK: &str = "https://app.example.com/callback";

/// Cheap hashes; everything else as it is by default.
pub(crate) fn setup() -> Setup {
    Setup::new()
        .set("sign-in.hash-memory", "64KiB")
        .set("sign-in.redirect-uris", toml::Value::Array(vec![CALLBACK.into()]))
}

/// A program that sends people to sign in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) client: &'static str,
    pub(crate) redirect_uri: &'static str,
}

pub(crate) const CLI: Program = Program {
    client: "perseat-cli",
    redirect_uri: "http://localhost:59400/",
};
pub(crate) const APP: Program = Program {
    client: "perseat-app",
    redirect_uri: CALLBACK,
};

/// The tokens of a session.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    /// Empty where the answer had none.
    pub(crate) refresh: String,
}

impl Tokens {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = answer.json();
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        Self {
            access: body["access_token"].as_str().unwrap().to_owned(),
            refresh: body["refresh_token"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

pub(crate) struct World {
    pub(crate) daemon: Daemon,
}

impl World {
    /// A daemon with an owner, ann@acme.example, who has set her password.
    pub(crate) async fn start(setup: Setup) -> Self {
        let world = Self {
            daemon: Daemon::start(setup),
        };
        let link = world.owner("ann@acme.example").await;
        world.set_password(&link, PASSWORD).await;
        world
    }

    /// The link of a new owner.
    pub(crate) async fn owner(&self, email: &str) -> String {
        let body = json!({ "email": email, "organization": "Acme" });
        let made = self.daemon.local(Method::POST, "/users/owner", Some(body)).await.unwrap();
        made["url"].as_str().unwrap().to_owned()
    }

    /// Sets a password by a link.
    pub(crate) async fn set_password(&self, link: &str, password: &str) {
        let mut browser = Browser::new(&[]);
        let page = browser.open(link).await;
        assert_eq!(page.status, 200, "{}", page.html);
        let done = browser
            .submit(&page, "/auth/password", &[("password", password), ("again", password)])
            .await;
        assert_eq!(done.status, 200, "{}", done.html);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.address("api"))
    }

    /// Where a program sends people.
    pub(crate) fn authorize(&self, program: Program, changes: &[(&str, Option<&str>)]) -> String {
        let mut url = reqwest::Url::parse(&self.url("/authorize")).unwrap();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", program.client),
            ("redirect_uri", program.redirect_uri),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("scope", "openid profile email offline_access"),
            ("state", "st-1"),
        ];
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            parameters.extend(value.map(|value| (*name, value)));
        }
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    /// What somebody sees who signs in for a program.
    pub(crate) async fn sign_in(&self, program: Program, address: &str, password: &str) -> Shown {
        let mut browser = Browser::new(&[]);
        let page = browser.open(&self.authorize(program, &[])).await;
        assert_eq!(page.status, 200, "{}", page.html);
        browser
            .submit(&page, "/authorize", &[("address", address), ("password", password)])
            .await
    }

    /// The code that ann's sign-in gives to a program.
    pub(crate) async fn code(&self, program: Program) -> String {
        let shown = self.sign_in(program, "ann@acme.example", PASSWORD).await;
        assert_eq!(
            (shown.status, shown.parameter("state").as_deref()),
            (303, Some("st-1")),
            "{}",
            shown.html
        );
        assert!(shown.location().as_str().starts_with(program.redirect_uri));
        shown.parameter("code").unwrap()
    }

    /// Asks for tokens.
    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let mut body = reqwest::Url::parse("http://x/").unwrap();
        body.query_pairs_mut().extend_pairs(fields);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let body = body.query().unwrap().to_owned();
        self.daemon.send(Method::POST, &self.url("/oauth/token"), &headers, body).await
    }

    /// Exchanges a code.
    pub(crate) async fn exchange(&self, program: Program, code: &str, verifier: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", program.client),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", program.redirect_uri),
        ])
        .await
    }

    /// Asks for fresh tokens.
    pub(crate) async fn refresh(&self, program: Program, token: &str) -> Answer {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("client_id", program.client),
            ("refresh_token", token),
        ])
        .await
    }

    /// Ann's tokens for a program.
    pub(crate) async fn tokens(&self, program: Program) -> Tokens {
        let code = self.code(program).await;
        Tokens::of(&self.exchange(program, &code, VERIFIER).await)
    }

    /// Ends the session of a refresh token.
    pub(crate) async fn revoke(&self, token: &str) {
        let body = json!({ "refresh_token": token }).to_string();
        let answer = self.daemon.send(Method::POST, &self.url("/auth/revoke"), &[], body).await;
        assert_eq!(answer.status, 200);
    }

    /// Who holds an access token, as the API says; null for nobody.
    pub(crate) async fn who(&self, access: &str) -> Value {
        let api = Api::holder_of(&self.daemon, access);
        let answer = api.ask("{ authenticatedUser { email role { name } } }", json!({})).await;
        answer["data"]["authenticatedUser"].clone()
    }

    /// Every act that the audit names.
    pub(crate) async fn acts(&self) -> Vec<String> {
        let audit = self.daemon.local(Method::GET, "/audit?after=0", None).await.unwrap();
        let entries = audit["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    }
}

/// The refusal that OAuth names.
#[track_caller]
pub(crate) fn refused(answer: &Answer) -> String {
    assert!(answer.status >= 400, "{}", answer.json());
    answer.json()["error"].as_str().unwrap().to_owned()
}
