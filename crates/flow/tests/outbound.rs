//! The outbound guard against a real server.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

mod support;

use http::{HeaderMap, HeaderValue, Method};
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::rate::Sender;
use perseat_flow::outbound::{AnswerMemory, Count, Looking, Names, Options, OutboundClient, OutboundError, Policy, Request, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Server, Withholding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

fn client_with(allow: &[&str], options: Options) -> OutboundClient {
    let allow = allow.iter().map(|rule| rule.parse().unwrap()).collect();
    OutboundClient::new(Policy::new(allow, Vec::new()), options).unwrap()
}

fn client(allow: &[&str]) -> OutboundClient {
    client_with(allow, Options::default())
}

fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        identity: None,
        deadline: Instant::now() + Duration::from_secs(10),
    }
}

fn json(response: &Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[tokio::test]
async fn every_spelling_of_a_loopback_address_is_refused_before_a_connection() {
    let server = Server::start().await;
    let client = client(&[]);
    let port = server.port();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "0.0.0.0",
        "[::]",
        "localhost",
        "LOCALHOST.",
    ] {
        let error = client.send(get(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(
            matches!(&error, OutboundError::Refused { key: "outbound.allow", .. }),
            "{host}: {error}"
        );
    }
    assert_eq!(server.connections(), 0);
}

/// A name server that answers as it was told, one after the other; the last answer stays.
#[derive(Debug)]
struct Turning {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names for Turning {
    fn lookup<'a>(&'a self, _: &'a str) -> Looking<'a> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(self.answers[asked.min(self.answers.len() - 1)].clone()) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_dialled_where_it_was_checked() {
    let inner = Server::start().await;
    let outer = Server::at(&format!("127.0.0.2:{}", inner.port())).await;
    let [private, allowed]: [IpAddr; 2] = ["127.0.0.1", "127.0.0.2"].map(|address| address.parse().unwrap());
    let options = |dns_cache| Options {
        dns_cache,
        idle_per_host: 0,
        ..Options::default()
    };
    let turning = |answers: &[&[IpAddr]], dns_cache| {
        let names = Arc::new(Turning {
            answers: answers.iter().map(|answer| answer.to_vec()).collect(),
            asked: AtomicUsize::new(0),
        });
        let rule = format!("127.0.0.2:{}", inner.port()).parse().unwrap();
        let policy = Policy::new(vec![rule], Vec::new());
        let client = OutboundClient::with_names(policy, options(dns_cache), Arc::clone(&names) as Arc<dyn Names>).unwrap();
        (client, names)
    };
    let url = format!("http://rebinds.example:{}/echo", inner.port());

    // Allowed at first, private at the next look-up: each connection is checked anew.
    let (client, names) = turning(&[&[allowed], &[private]], Duration::ZERO);
    assert_eq!(client.send(get(&url)).await.unwrap().status, 200);
    assert_eq!(
        names.asked.load(Ordering::Relaxed),
        1,
        "what was checked is dialled, and not looked up again"
    );
    assert!(matches!(client.send(get(&url)).await, Err(OutboundError::Refused { .. })));

    // Private at first: what comes later does not help.
    let (client, _) = turning(&[&[private], &[allowed]], Duration::from_secs(60));
    for _ in 0..2 {
        assert!(matches!(client.send(get(&url)).await, Err(OutboundError::Refused { .. })));
    }

    // Both in one answer: only the allowed one is dialled.
    let (client, _) = turning(&[&[private, allowed]], Duration::ZERO);
    assert_eq!(client.send(get(&url)).await.unwrap().status, 200);
    assert_eq!((inner.connections(), outer.connections()), (0, 2));
}

#[tokio::test]
async fn one_allowed_port_opens_that_port_by_address_and_by_name() {
    let (open, closed) = (Server::start().await, Server::start().await);
    let client = client(&[&open.address(), &format!("[::1]:{}", open.port())]);
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(
            client.send(get(&format!("http://{host}:{}/", open.port()))).await.unwrap().status,
            200
        );
        let error = client.send(get(&format!("http://{host}:{}/", closed.port()))).await.unwrap_err();
        assert!(matches!(error, OutboundError::Refused { .. }), "{error}");
    }
    assert_eq!(closed.connections(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let server = Server::start().await;
    let client = client(&[&server.address()]);
    for _ in 0..20 {
        client.send(get(&server.url("/echo"))).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests()), (1, 20));
}

/// A server that says it keeps connections, answers so many requests on each, and closes it when another comes. Its port, and how many
/// requests it got.
async fn forgetful_server(answered: usize) -> (u16, Arc<AtomicUsize>) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                for request in 0..=answered {
                    if stream.read(&mut buffer).await.unwrap_or_default() == 0 {
                        return;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    if request < answered {
                        let _ = stream.write_all(ANSWER).await;
                    }
                }
            });
        }
    });
    (port, requests)
}

#[tokio::test]
async fn what_may_be_done_twice_is_sent_again_where_its_connection_closes() {
    let (port, requests) = forgetful_server(1).await;
    let client = client(&["127.0.0.1"]);
    let request = |method: Method| Request {
        method,
        ..get(&format!("http://127.0.0.1:{port}/"))
    };
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let kept = client.send(request(Method::POST)).await.unwrap();
        assert_eq!(kept.status, 200);
        assert_eq!(client.send(request(method)).await.unwrap().status, 200);
    }
    assert_eq!(requests.load(Ordering::SeqCst), 9, "each of those three came twice");
}

#[tokio::test]
async fn what_is_sent_again_is_sent_once_more_and_what_may_not_be_done_twice_never() {
    let client = client(&["127.0.0.1"]);
    for (method, sent) in [(Method::GET, 2), (Method::POST, 1), (Method::PATCH, 1)] {
        let (port, requests) = forgetful_server(0).await;
        let request = Request {
            method: method.clone(),
            ..get(&format!("http://127.0.0.1:{port}/"))
        };
        let error = client.send(request).await.unwrap_err();
        assert!(matches!(error, OutboundError::Failed { .. }), "{method}: {error}");
        assert_eq!(requests.load(Ordering::SeqCst), sent, "{method}");
    }
}

#[tokio::test]
async fn what_is_good_once_is_sent_on_no_connection_that_may_be_closing() {
    let (port, _) = forgetful_server(1).await;
    let url = format!("http://127.0.0.1:{port}/token");
    let client = client(&["127.0.0.1"]);
    let request = || Request {
        method: Method::POST,
        body: "grant_type=refresh_token".into(),
        ..get(&url)
    };
    client.send(request()).await.unwrap();
    let error = client.send(request()).await.unwrap_err();
    assert!(matches!(error, OutboundError::Failed { .. }), "this is what it is about: {error}");
    for _ in 0..3 {
        assert_eq!(client.send_directly(request(), 1 << 10).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_redirect_is_checked_like_a_first_call() {
    let (open, closed) = (Server::start().await, Server::start().await);
    let client = client(&[&open.address()]);
    let inner = open.url("/redirect?302=/echo");
    assert_eq!(json(&client.send(get(&inner)).await.unwrap())["uri"], "/echo");
    let outer = open.url(&format!("/redirect?302={}", closed.url("/")));
    assert!(matches!(client.send(get(&outer)).await, Err(OutboundError::Refused { .. })));
    let other_scheme = open.url("/redirect?302=file:///etc/passwd");
    assert!(matches!(client.send(get(&other_scheme)).await, Err(OutboundError::NotHttp(_))));
    assert!(matches!(
        client.send(get(&open.url("/redirect?302=/redirect"))).await,
        Ok(_) | Err(OutboundError::TooManyRedirects(_))
    ));
    assert_eq!(closed.connections(), 0);
}

#[tokio::test]
async fn an_endless_redirect_ends() {
    let server = Server::start().await;
    let client = client(&[&server.address()]);
    let endless = server.url("/redirect?302=?302=");
    assert!(matches!(client.send(get(&endless)).await, Err(OutboundError::TooManyRedirects(_))));
    assert_eq!(server.requests(), 6, "the first and five redirects");
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (first, second) = (Server::start().await, Server::start().await);
    let client = client(&[&first.address(), &second.address()]);
    let call = |url: String| {
        let mut request = get(&url);
        request.headers.insert("authorization", HeaderValue::from_static("Bearer t"));
        let mut key = HeaderValue::from_static("k");
        key.set_sensitive(true);
        request.headers.insert("x-api-key", key);
        request.headers.insert("content-type", HeaderValue::from_static("text/x"));
        client.send(request)
    };
    let same = json(&call(first.url("/redirect?307=/echo")).await.unwrap());
    assert_eq!((&same["authorization"], &same["apiKey"]), (&"Bearer t".into(), &"k".into()));
    let other = json(&call(first.url(&format!("/redirect?307={}", second.url("/echo")))).await.unwrap());
    assert_eq!(
        (&other["authorization"], &other["apiKey"], &other["contentType"]),
        (&().into(), &().into(), &"text/x".into())
    );
}

#[tokio::test]
async fn a_post_becomes_a_get_only_where_the_status_says_so() {
    let server = Server::start().await;
    let client = client(&[&server.address()]);
    for (status, method, body) in [("302", "GET", ""), ("303", "GET", ""), ("307", "POST", "b"), ("308", "POST", "b")] {
        let mut request = get(&server.url(&format!("/redirect?{status}=/echo")));
        request.method = Method::POST;
        request.body = "b".into();
        let echo = json(&client.send(request).await.unwrap());
        assert_eq!((&echo["method"], &echo["body"]), (&method.into(), &body.into()), "{status}");
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_cut_off_also_when_it_is_compressed() {
    let server = Server::start().await;
    let small = client_with(
        &[&server.address()],
        Options {
            max_response: 100_000,
            ..Options::default()
        },
    );
    for path in ["/big", "/bomb"] {
        let error = small.send(get(&server.url(path))).await.unwrap_err();
        assert!(matches!(error, OutboundError::TooLarge { limit: 100_000, .. }), "{path}: {error}");
    }
    let roomy = client(&[&server.address()]);
    assert_eq!(roomy.send(get(&server.url("/bomb"))).await.unwrap().body.len(), 1 << 20);
}

#[tokio::test]
async fn of_an_answer_that_has_to_be_short_no_more_is_read_than_shows_that_it_is_not() {
    let server = Withholding::start(200 << 10).await;
    let memory = AnswerMemory::new(0);
    let client = client(&[&server.address]).sharing(memory);
    let answer = client.send_directly(get(&server.url("/withheld")), 1000).await.unwrap();
    assert_eq!(answer.body.len(), 1001);
}

#[tokio::test]
async fn answers_that_do_not_end_fill_half_of_the_memory_and_others_go_on() {
    const ANSWER: usize = 200 << 10;
    const HALF: usize = 512 << 10;
    let server = Withholding::start(ANSWER).await;
    let memory = AnswerMemory::new(2 * HALF);
    let options = Options {
        max_response: HALF,
        ..Options::default()
    };
    // Two clients, as of two threads.
    let clients = [(); 2].map(|()| client_with(&[&server.address], options.clone()).sharing(memory.clone()));
    let send = |number: usize, user: u128, path: &str| {
        let request = Request {
            deadline: Instant::now() + Duration::from_secs(60),
            ..get(&server.url(path))
        };
        let sender = Sender {
            customer: CustomerId(Uuid::from_u128(1)),
            user: Some(UserId(Uuid::from_u128(user))),
        };
        let client = clients[number % clients.len()].clone();
        async move { client.send_counted(request, &Count::default(), Some(sender)).await }
    };
    let mut flood = JoinSet::new();
    for number in 0..50 {
        flood.spawn(send(number, 1, "/withheld"));
    }
    // Who finds no room fails at once; no more than two fit into a half.
    while flood.len() > 2 {
        let ended = flood.join_next().await.unwrap().unwrap();
        assert!(matches!(ended, Err(OutboundError::NoRoom { .. })), "{ended:?}");
        assert!(memory.held() <= HALF, "{}", memory.held());
    }
    let other = send(0, 2, "/whole").await.unwrap();
    assert_eq!(other.body.len(), ANSWER);
    assert!(memory.held() >= ANSWER, "it is held as long as the answer is");
    drop(other);

    server.open.send_replace(true);
    let ended = flood.join_all().await;
    assert!(
        ended
            .iter()
            .any(|ended| ended.as_ref().is_ok_and(|answer| answer.body.len() == ANSWER)),
        "{ended:?}"
    );
    drop(ended);
    assert_eq!(memory.held(), 0);
    assert_eq!(send(0, 1, "/whole").await.unwrap().body.len(), ANSWER);
    assert_eq!(memory.held(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_at_the_deadline() {
    let server = Server::start().await;
    let client = client(&[&server.address()]);
    let mut request = get(&server.url("/silent"));
    request.deadline = Instant::now() + Duration::from_millis(50);
    assert!(matches!(client.send(request).await, Err(OutboundError::TimedOut(_))));
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
async fn what_finds_no_connection_in_time_was_not_sent() {
    let [short, long] = [Duration::from_millis(50), Duration::from_secs(60)];
    for (lookup_timeout, connect_timeout) in [(short, long), (long, short)] {
        let options = Options {
            lookup_timeout,
            connect_timeout,
            ..Options::default()
        };
        let policy = Policy::new(Vec::new(), Vec::new());
        let client = OutboundClient::with_names(policy, options, Arc::new(Silent)).unwrap();
        let mut request = get("http://silent.example/");
        request.deadline = Instant::now() + long;
        let error = client.send(request).await.unwrap_err();
        assert!(matches!(error, OutboundError::ConnectTimedOut(_)), "{error}");
    }
}

#[tokio::test]
async fn an_error_names_the_host_and_never_the_query() {
    let server = Server::start().await;
    let client = client(&["127.0.0.1:1"]);
    let error = client
        .send(get("http://127.0.0.1:1/path?key=secret"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("127.0.0.1:1") && !error.contains("secret"), "{error}");
    let error = client
        .send(get(&format!("http://user:secret@{}/?key=secret", server.address())))
        .await
        .unwrap_err()
        .to_string();
    assert!(!error.contains("secret"), "{error}");
}

/// A server for which a whole connection is whoever authenticated there; it answers with who that is.
async fn connection_bound_server() -> std::net::SocketAddr {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                let mut who = String::from("nobody");
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some(credential) = line.strip_prefix("authorization: ") {
                        credential.clone_into(&mut who);
                    } else if line.is_empty() {
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{who}", who.len());
                        lines.get_mut().write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn nobody_is_sent_on_a_connection_that_somebody_authenticated() {
    let address = connection_bound_server().await;
    let client = client(&[&address.to_string()]);
    for credential in ["Negotiate x", "negotiate x", "NTLM x", "nTLM x"] {
        let mut request = get(&format!("http://{address}/"));
        request.headers.insert("authorization", credential.parse().unwrap());
        assert_eq!(client.send(request).await.unwrap().body, credential);
        let other = client.send(get(&format!("http://{address}/"))).await.unwrap();
        assert_eq!(other.body, "nobody", "after {credential}");
    }
}

/// A server that answers without reading a body, as many do, and says what it took for requests on each connection.
async fn careless_server() -> (std::net::SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut owed = 0;
                loop {
                    let mut head = String::new();
                    // What it believes to be the last request's body comes first.
                    let mut skipped = vec![0; owed];
                    if stream.read_exact(&mut skipped).await.is_err() {
                        return;
                    }
                    while !head.ends_with("\r\n\r\n") {
                        if matches!(stream.read_line(&mut head).await, Ok(0) | Err(_)) {
                            return;
                        }
                    }
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    owed = length.unwrap_or_default();
                    heard.lock().unwrap().push(head);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn nobody_sets_the_headers_that_are_the_connections_own() {
    let (address, seen) = careless_server().await;
    let client = client(&["127.0.0.1/32"]);
    let url = format!("http://{address}/");
    let mut hostile = get(&url);
    for (name, value) in [
        ("content-length", "30"),
        ("transfer-encoding", "chunked"),
        ("host", "other.example"),
        ("connection", "upgrade, x-secret"),
        ("keep-alive", "timeout=1"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("proxy-authorization", "Basic eA=="),
        ("x-kept", "yes"),
    ] {
        hostile.headers.append(name, HeaderValue::from_static(value));
    }
    client.send(hostile).await.unwrap();
    // Whoever uses the connection next is heard whole.
    client.send(get(&format!("{url}next"))).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[1].starts_with("GET /next HTTP/1.1\r\n"), "{seen:?}");
    let mut names: Vec<String> = seen[0]
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
        .collect();
    names.sort();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent", "x-kept"], "{seen:?}");
    assert!(seen[0].contains(&format!("host: {address}")), "{seen:?}");
}
