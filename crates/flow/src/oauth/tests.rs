use super::*;
use crate::outbound::{Looking, Names, Options, OutboundClient, Policy, Response};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use perseat_domain::grant::{Outcome, Renewal, Renewed};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

fn fields(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = [
        ("authorizeUrl", "https://provider.example/authorize?tenant=7"),
        ("tokenUrl", "https://provider.example/token"),
        ("clientId", "id"),
        ("clientSecret", "a secret of the registration"),
        ("scopes", "read  write"),
    ];
    let all = all.iter().chain(more);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn provider(more: &[(&str, &str)]) -> Provider {
    Provider::read(Flow::AuthorizationCode, &fields(more)).unwrap()
}

fn parsed(content_type: &str, body: &str) -> Result<Token, AnswerError> {
    read_token(content_type, body.as_bytes(), &[])
}

#[test]
fn tokens_are_found_however_they_are_written() {
    let json = "application/json";
    for (content_type, body, lifetime, refresh) in [
        (
            json,
            r#"{"access_token":"T","expires_in":3600,"refresh_token":"R"}"#,
            Some(3600),
            Some("R"),
        ),
        (json, r#"{"access_token":"T","expires_in":"3600"}"#, Some(3600), None),
        (
            json,
            r#"{"access_token":"T","expires_in":3600.0,"refresh_token":null}"#,
            Some(3600),
            None,
        ),
        (json, r#"{"access_token":"T"}"#, None, None),
        (json, r#"{"access_token":"T","expires_in":0}"#, None, None),
        (json, r#"{"access_token":"T","expires_in":-5}"#, None, None),
        (json, r#"{"access_token":"T","expires_in":"soon"}"#, None, None),
        (json, r#"{"access_token":"T","expires_in":1e300}"#, None, None),
        (
            json,
            r#"{"ok":true,"authed_user":{"access_token":"T","refresh_token":"R","expires_in":60}}"#,
            Some(60),
            Some("R"),
        ),
        (
            json,
            r#"{"data":{"token":{"accessToken":"T","refreshToken":"R","expiresIn":60}}}"#,
            Some(60),
            Some("R"),
        ),
        ("text/html", r#"{"access_token":"T"}"#, None, None),
        (
            "application/x-www-form-urlencoded",
            "access_token=T&expires_in=60&refresh_token=R",
            Some(60),
            Some("R"),
        ),
        ("text/plain; charset=utf-8", "access_token=T&scope=a+b\n", None, None),
    ] {
        let token = parsed(content_type, body).unwrap_or_else(|error| panic!("{body}: {error:?}"));
        assert_eq!(token.access_token(), "T", "{body}");
        assert_eq!(token.lifetime().map(|span| span.as_secs()), lifetime, "{body}");
        assert_eq!(token.refresh_token(), refresh, "{body}");
    }
}

#[test]
fn only_a_declaration_makes_a_refresh_token_steady() {
    let before = json!({ "access_token": "old", "refresh_token": "R" });
    let same = r#"{"access_token":"T","refresh_token":"R"}"#;
    let none = r#"{"access_token":"T"}"#;
    let other = r#"{"access_token":"T","refresh_token":"S"}"#;
    for (declared, body, rotates) in [
        (None, same, None),
        (None, none, None),
        (None, other, Some(true)),
        (Some("30"), same, None),
        (Some("always"), same, Some(false)),
        (Some("always"), none, Some(false)),
    ] {
        let declared: Vec<_> = declared.map(|reuse| ("refreshReuse", reuse)).into_iter().collect();
        let exchange = Exchange::Token(parsed("application/json", body).unwrap());
        let renewed = Renewed {
            lifetime: None,
            renewal: Renewal::Refresh { rotates },
        };
        let outcome = exchange.outcome(&provider(&declared), Some(&before));
        assert_eq!(outcome, Outcome::Token(renewed), "{declared:?} {body}");
    }
}

#[test]
fn a_token_endpoint_says_when_to_come_again_in_seconds_or_by_a_date() {
    for (said, seconds) in [
        (Some(" 7 "), Some(7)),
        (Some("Tue, 14 Nov 2023 22:14:20 GMT"), Some(7)),
        (Some("Tue, 14 Nov 2023 22:00:00 GMT"), Some(0)),
        (Some("soon"), None),
        (None, None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Tue, 14 Nov 2023 22:14:13 GMT"));
        headers.extend(said.map(|said| (RETRY_AFTER, HeaderValue::from_static(said))));
        let response = Response::new(StatusCode::TOO_MANY_REQUESTS, headers, bytes::Bytes::new());
        let expected = Outcome::Passing {
            reason: "http_429".into(),
            retry_after: seconds.map(Duration::from_secs),
        };
        assert_eq!(call::passing("http_429".into(), &response), expected, "{said:?}");
    }
}

/// A name server that does not answer.
#[derive(Debug)]
struct Silent;

impl Names for Silent {
    fn lookup<'a>(&'a self, _: &'a str) -> Looking<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn only_a_token_that_was_sent_may_have_been_spent() {
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);
    let refresh = async |token_url: &str, lookup_timeout, connect_timeout, (timeout, within)| {
        let options = Options {
            lookup_timeout,
            connect_timeout,
            ..Options::default()
        };
        let policy = Policy::new(vec!["127.0.0.1".parse().unwrap()], Vec::new());
        let outbound = OutboundClient::with_names(policy, options, Arc::new(Silent)).unwrap();
        let limits = Limits {
            timeout,
            ..Limits::default()
        };
        let provider = provider(&[("tokenUrl", token_url)]);
        let client = OauthClient::new(outbound, limits);
        match client.refresh(&provider, "R", within, Turn::default()).await {
            Exchange::Not(outcome) => outcome,
            Exchange::Token(token) => panic!("{token:?}"),
        }
    };
    let unreachable = Outcome::Passing {
        reason: "provider_unreachable".into(),
        retry_after: None,
    };
    for (lookup, connect, call) in [
        (SHORT, LONG, (LONG, None)),
        (LONG, SHORT, (LONG, None)),
        (LONG, LONG, (SHORT, None)),
        (LONG, LONG, (LONG, Some(SHORT))),
    ] {
        let outcome = refresh("https://provider.example/token", lookup, connect, call).await;
        assert_eq!(outcome, unreachable, "{lookup:?} {connect:?} {call:?}");
    }

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"client_secret=a+secret+of+the+registration") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
    });
    let outcome = refresh(&url, LONG, LONG, (LONG, None)).await;
    assert_eq!(outcome, Outcome::Unknown("connection_broken".into()));
    server.await.unwrap();
}

#[test]
fn what_is_no_token_says_what_it_is() {
    let coded = |code: &str| Err(AnswerError::Code(code.to_owned()));
    for (body, expected) in [
        (r#"{"error":"invalid_grant","error_description":"gone"}"#, coded("invalid_grant")),
        (r#"{"ok":false,"error":"token_revoked"}"#, coded("token_revoked")),
        (r#"{"error":{"code":"expired_token","message":"…"}}"#, coded("expired_token")),
        (r#"{"error":{"status":429}}"#, coded("429")),
        ("error=bad_refresh_token&error_uri=x", coded("bad_refresh_token")),
        ("<html>access_token=T</html>", Err(AnswerError::NoToken)),
        (r#"["access_token"]"#, Err(AnswerError::NoToken)),
        (r#"{"access_token":""}"#, Err(AnswerError::NoToken)),
        (r#"{"access_token":7}"#, Err(AnswerError::NoToken)),
        ("", Err(AnswerError::NoToken)),
        (r#"{"a":{"b":{"c":{"d":{"e":{"access_token":"T"}}}}}}"#, Err(AnswerError::NoToken)),
    ] {
        assert_eq!(parsed("", body), expected, "{body}");
    }
}

#[test]
fn a_token_is_taken_from_where_it_is_said_to_stand() {
    let body = r#"{"access_token":"of the bot","authed_user":{"access_token":"of the user"}}"#;
    let read = |path: &[&str]| {
        let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        read_token("", body.as_bytes(), &path).map(|token| token.access_token().to_owned())
    };
    assert_eq!(read(&[]).as_deref(), Ok("of the bot"));
    assert_eq!(read(&["authed_user"]).as_deref(), Ok("of the user"));
    assert_eq!(read(&["team"]), Err(AnswerError::NoToken));
}

#[test]
fn a_renewal_keeps_what_it_leaves_out_and_nothing_large() {
    let before = json!({ "access_token": "old", "refresh_token": "kept", "instance_url": "https://x" });
    let body = json!({ "access_token": "new", "blob": "x".repeat(5000), "list": [1], "scope": "a" }).to_string();
    let stored = parsed("", &body).unwrap().stored(Some(&before));
    let expected = json!({ "access_token": "new", "refresh_token": "kept", "instance_url": "https://x", "scope": "a" });
    assert_eq!(stored, expected);
}

#[test]
fn the_browser_is_sent_with_state_scopes_and_a_challenge() {
    // The verifier and challenge of RFC 7636, appendix B.
    let bytes = [
        116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83,
        132, 141, 121,
    ];
    let pkce = Pkce::new(&bytes);
    let url =
        |more: &[(&str, &str)]| authorize_url(&provider(more), "https://perseat.example/oauth2/callback", "the state", &pkce).unwrap();
    let sent = url(&[("authorizeParams", "access_type=offline&prompt=consent")]);
    let query: BTreeMap<String, String> = sent.query_pairs().into_owned().collect();
    let expected = [
        ("tenant", "7"),
        ("response_type", "code"),
        ("client_id", "id"),
        ("redirect_uri", "https://perseat.example/oauth2/callback"),
        ("scope", "read write"),
        ("state", "the state"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
        ("access_type", "offline"),
        ("prompt", "consent"),
    ];
    let expected: BTreeMap<String, String> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(query, expected);
    assert!(!sent.as_str().contains("secret"));
    let plain = url(&[("pkceMethod", "plain"), ("scopeSeparator", ",")]);
    let query: BTreeMap<String, String> = plain.query_pairs().into_owned().collect();
    assert_eq!(query["code_challenge"], "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(
        (query["code_challenge_method"].as_str(), query["scope"].as_str()),
        ("plain", "read,write")
    );
    assert!(!url(&[("pkceMethod", "none")]).as_str().contains("code_challenge"));
}

#[test]
fn inputs_that_name_no_provider_are_refused_by_name_and_without_values() {
    for (name, value, expected) in [
        ("tokenUrl", "", ProviderError::Missing("tokenUrl")),
        ("clientId", " ", ProviderError::Missing("clientId")),
        ("authorizeUrl", "", ProviderError::Missing("authorizeUrl")),
        (
            "tokenUrl",
            "file:///etc/passwd",
            ProviderError::Invalid {
                input: "tokenUrl",
                expected: "an http or https address",
            },
        ),
        (
            "authorizeUrl",
            "javascript:alert(1)",
            ProviderError::Invalid {
                input: "authorizeUrl",
                expected: "an http or https address",
            },
        ),
        (
            "pkceMethod",
            "S512",
            ProviderError::Invalid {
                input: "pkceMethod",
                expected: "none, plain or S256",
            },
        ),
        (
            "refreshReuse",
            "sometimes",
            ProviderError::Invalid {
                input: "refreshReuse",
                expected: "a number of seconds",
            },
        ),
    ] {
        let read = Provider::read(Flow::AuthorizationCode, &fields(&[(name, value)]));
        assert_eq!(read.unwrap_err(), expected);
    }
    let without_browser = fields(&[("authorizeUrl", "")]);
    assert!(Provider::read(Flow::ClientCredentials, &without_browser).is_ok());
    let headers = |count| {
        let pairs: std::collections::BTreeMap<String, String> = (0..count).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
        serde_json::to_string(&pairs).unwrap()
    };
    let read = |count| Provider::read(Flow::AuthorizationCode, &fields(&[("headers", &headers(count))]));
    assert_eq!(read(64).map(|provider| provider.headers.len()), Ok(64));
    for count in [65, 40_000] {
        assert!(
            matches!(read(count), Err(ProviderError::Invalid { input: "headers", .. })),
            "{count}"
        );
    }
    assert_eq!(provider(&[("refreshReuse", "30")]).grace(), Some(Duration::from_secs(30)));
    let shown = format!("{:?}", provider(&[]));
    assert!(!shown.contains("secret of"), "{shown}");
}

proptest! {
    #[test]
    fn no_answer_panics_or_is_kept_beyond_its_bounds(body in prop::collection::vec(any::<u8>(), 0..400), deep in 0_usize..200) {
        let _ = read_token("", &body, &[]);
        let nested = format!("{}{{\"access_token\":\"T\"}}{}", "{\"a\":".repeat(deep), "}".repeat(deep));
        prop_assert_eq!(parsed("", &nested).is_ok(), deep <= 4);
        let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("m{n}"), "v".repeat(deep * 100).into())).collect();
        let mut many = Value::Object(many);
        many["access_token"] = "T".into();
        let stored = parsed("", &many.to_string()).unwrap().stored(None);
        prop_assert!(stored.as_object().unwrap().len() <= 34);
    }
}

#[test]
fn what_the_definition_keeps_secret_goes_where_the_definition_says() {
    use perseat_domain::definition::{ConfigVar, DataType, Input};
    use perseat_domain::model::ConnectionValue;
    use zeroize::Zeroizing;

    let literal = |text: &str| Input::Value(Some(text.to_owned()));
    let variable = |inputs: &[(&str, &str)]| ConfigVar {
        inputs: inputs.iter().map(|(name, text)| ((*name).to_owned(), literal(text))).collect(),
        key: "Account".to_owned(),
        stable_key: "account".to_owned(),
        description: String::new(),
        data_type: DataType::Connection,
        collection: None,
        pick_list: Vec::new(),
        default_value: None,
        org_only: false,
        required: true,
        user_level: false,
        connection: None,
        shared: None,
    };
    let secrets = BTreeMap::from([("clientSecret".to_owned(), Zeroizing::new("ours".to_owned()))]);
    let fields = |given: &[(&str, &str)], variable: &ConfigVar| {
        let mut value = ConnectionValue {
            fields: given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            token: None,
        };
        fill_from_definition(&mut value, variable, &secrets);
        value
    };
    let filled = |given: &[(&str, &str)], variable: &ConfigVar| {
        let value = fields(given, variable);
        assert!(!value.fields.contains_key("refreshUrl"), "it would be sent there, too");
        ["tokenUrl", "clientSecret", "scopes"].map(|name| value.fields.get(name).cloned().unwrap_or_default())
    };
    let ours = variable(&[
        ("tokenUrl", "https://ours.example"),
        ("clientSecret", "removed"),
        ("scopes", "read"),
    ]);
    let expected = |url: &str, secret: &str, scopes: &str| [url, secret, scopes].map(str::to_owned);
    assert_eq!(filled(&[], &ours), expected("https://ours.example", "ours", "read"));
    let elsewhere = ("tokenUrl", "https://theirs.example");
    assert_eq!(
        filled(&[elsewhere, ("scopes", "all"), ("refreshUrl", "https://theirs.example")], &ours),
        expected("https://ours.example", "ours", "all")
    );
    // Nor is it where the definition says it in words that stand for others.
    let mut referring = ours.clone();
    referring.inputs.insert("tokenUrl".to_owned(), Input::Template(Vec::new()));
    assert_eq!(filled(&[elsewhere], &referring), expected("", "ours", "read"));
    referring
        .inputs
        .insert("tokenUrl".to_owned(), Input::ConfigVar("Address".to_owned()));
    assert_eq!(filled(&[elsewhere], &referring), expected("", "ours", "read"));
    // What else would go with the secret is not the configuration's to say either; nor where our own host sends browsers.
    let shaped = variable(&[
        ("tokenUrl", "https://ours.example"),
        ("authorizeUrl", "https://ours.example/authorize"),
        ("clientSecret", "removed"),
    ]);
    let theirs = [
        ("authorizeUrl", "https://theirs.example"),
        ("headers", "{\"x-forwarded-host\": \"theirs.example\"}"),
        ("tokenParams", "{\"audience\": \"theirs\"}"),
    ];
    let value = fields(&theirs, &shaped);
    assert_eq!(value.fields["authorizeUrl"], "https://ours.example/authorize");
    assert!(!value.fields.contains_key("headers") && !value.fields.contains_key("tokenParams"));
    let left_open = variable(&[("tokenUrl", "https://ours.example")]);
    assert_eq!(fields(&theirs, &left_open).fields["authorizeUrl"], "https://theirs.example");
    // A registration of one's own is one's own.
    assert_eq!(
        filled(&[elsewhere, ("clientSecret", "theirs")], &ours),
        expected("https://theirs.example", "theirs", "read")
    );
    // The definition leaves it to each customer.
    let open = variable(&[("clientSecret", "removed")]);
    assert_eq!(filled(&[elsewhere], &open), expected("https://theirs.example", "ours", ""));
}

#[test]
fn addresses_are_known_by_their_names() {
    for (name, expected) in [
        ("tokenUrl", true),
        ("refreshUrl", true),
        ("revokeUrl", true),
        ("base_uri", true),
        ("Host", true),
        ("authorizeUrl", false),
        ("clientId", false),
        ("scopes", false),
    ] {
        assert_eq!(is_destination(name), expected, "{name}");
    }
}
