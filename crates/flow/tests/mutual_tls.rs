//! Client certificates, against a server that lets nobody in without one.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use perseat_flow::outbound::{ClientIdentity, IdentityError, Options, OutboundClient, OutboundError, Policy, Request};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate and its key.
struct Pair {
    pem: String,
    key: KeyPair,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn certify(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
        }
    }

    fn client(&self, name: &str) -> Pair {
        self.certify(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// What a connection of this client holds.
    fn identity(&self, pair: &Pair) -> Arc<ClientIdentity> {
        Arc::new(ClientIdentity::read(&pair.pem, &pair.key.serialize_pem(), Some(&self.pem)).unwrap())
    }
}

/// A server of this authority for those whom it has certified; `each` is done with every connection.
async fn listen<F>(
    authority: &Authority,
    protocols: &[&str],
    each: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let own = authority.certify("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.der], PrivatePkcs8KeyDer::from(own.key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, each) = (acceptor.clone(), each.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    each(stream).await;
                }
            });
        }
    });
    address
}

/// The next request without a body; `None` at the end of the connection.
async fn next_request(stream: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..count]);
        if head.ends_with(b"\r\n\r\n") {
            return Some(head);
        }
    }
    None
}

/// A server that answers every request with the number of the client whose certificate it saw, and sends `/away` to another host.
async fn serve(authority: &Authority, clients: &[&Pair]) -> SocketAddr {
    let known: Vec<_> = clients.iter().map(|pair| pair.der.clone()).collect();
    listen(authority, &[], move |stream| tell_who(known.clone(), stream)).await
}

async fn tell_who(known: Vec<CertificateDer<'static>>, mut stream: TlsStream<TcpStream>) {
    let (socket, session) = stream.get_ref();
    let port = socket.local_addr().unwrap().port();
    let shown = session.peer_certificates().unwrap()[0].clone();
    let who = known.iter().position(|known| *known == shown).unwrap();
    while let Some(head) = next_request(&mut stream).await {
        let answer = if head.starts_with(b"GET /away") {
            format!("HTTP/1.1 307 Away\r\nlocation: https://localhost:{port}/\r\ncontent-length: 0\r\n\r\n")
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{who}")
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Answers one request of a connection, as soon as two have come in all, and closes it when another comes.
async fn forget(requests: Arc<watch::Sender<usize>>, mut stream: TlsStream<TcpStream>, politely: bool) {
    if next_request(&mut stream).await.is_none() {
        return;
    }
    requests.send_modify(|count| *count += 1);
    requests.subscribe().wait_for(|count| *count >= 2).await.unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}";
    if stream.write_all(answer).await.is_ok() && next_request(&mut stream).await.is_some() {
        requests.send_modify(|count| *count += 1);
        if politely {
            let _ = stream.shutdown().await;
        }
    }
}

/// Speaks HTTP/2 with whoever wants to, and never answers `/hang`.
async fn hang(calls: Arc<watch::Sender<usize>>, stream: TlsStream<TcpStream>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let calls = calls.clone();
        async move {
            if request.uri().path() == "/hang" {
                calls.send_modify(|count| *count += 1);
                std::future::pending::<()>().await;
            }
            Ok::<_, hyper::Error>(hyper::Response::new(Full::<Bytes>::from("there")))
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(STREAMS);
    // Whoever gives up its call hangs up.
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

/// Calls that a server takes at a time in one connection.
const STREAMS: u32 = 10;

fn client(address: SocketAddr, options: Options) -> OutboundClient {
    let rules = [address.to_string(), format!("localhost:{}", address.port())];
    let policy = Policy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), Vec::new());
    OutboundClient::new(policy, options).unwrap()
}

fn request(method: Method, url: &str, identity: Option<&Arc<ClientIdentity>>) -> Request {
    Request {
        method,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        identity: identity.cloned(),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

async fn ask(client: &OutboundClient, url: String, identity: Option<&Arc<ClientIdentity>>) -> Result<Bytes, OutboundError> {
    let answer = client.send(request(Method::GET, &url, identity)).await;
    answer.map(|response| response.body)
}

#[tokio::test]
async fn everybody_shows_their_own_certificate_and_nobody_elses() {
    let authority = Authority::new();
    let (ann, bob) = (authority.client("ann"), authority.client("bob"));
    let address = serve(&authority, &[&ann, &bob]).await;
    let url = || format!("https://{address}/");
    // Even where only one client is kept.
    for kept in [64, 1] {
        let client = client(
            address,
            Options {
                client_certificates: kept,
                ..Options::default()
            },
        );
        let (ann, bob) = (authority.identity(&ann), authority.identity(&bob));
        for (identity, who) in [(&ann, "0"), (&bob, "1"), (&ann, "0"), (&ann, "0"), (&bob, "1")] {
            assert_eq!(ask(&client, url(), Some(identity)).await.unwrap(), who);
        }
        let error = ask(&client, url(), None).await.unwrap_err();
        assert!(
            matches!(error, OutboundError::Unreached { .. } | OutboundError::Failed { .. }),
            "a request without a certificate went over a connection with one: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_stays_with_its_host_and_goes_over_tls_alone() {
    let authority = Authority::new();
    let ann = authority.client("ann");
    let address = serve(&authority, &[&ann]).await;
    let client = client(address, Options::default());
    let identity = authority.identity(&ann);
    let error = ask(&client, format!("https://{address}/away"), Some(&identity)).await.unwrap_err();
    assert!(error.to_string().contains("localhost"), "{error}");
    assert!(!matches!(error, OutboundError::Refused { .. }), "{error}");
    let error = ask(&client, format!("http://{address}/"), Some(&identity)).await.unwrap_err();
    assert!(matches!(error, OutboundError::Uncertified { .. }), "{error:?}");
    assert!(error.to_string().contains("over https alone"), "{error}");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_and_a_key_of_another_certificate_are_refused() {
    let authority = Authority::new();
    let (ann, bob) = (authority.client("ann"), authority.client("bob"));
    let address = serve(&authority, &[&ann, &bob]).await;
    let client = client(address, Options::default());
    let untrusting = Arc::new(ClientIdentity::read(&ann.pem, &ann.key.serialize_pem(), None).unwrap());
    let error = ask(&client, format!("https://{address}/"), Some(&untrusting)).await.unwrap_err();
    assert!(matches!(error, OutboundError::Unreached { .. }), "{error:?}");
    let mixed = ClientIdentity::read(&ann.pem, &bob.key.serialize_pem(), Some(&authority.pem));
    assert_eq!(mixed.unwrap_err(), IdentityError::Pair);
}

#[tokio::test]
async fn what_is_sent_once_more_goes_over_no_kept_connection_with_a_certificate_either() {
    let authority = Authority::new();
    let identity = authority.identity(&authority.client("ann"));
    for politely in [true, false] {
        let requests = Arc::new(watch::Sender::new(0));
        let counted = requests.clone();
        let address = listen(&authority, &[], move |stream| forget(counted.clone(), stream, politely)).await;
        let client = client(address, Options::default());
        let url = format!("https://{address}/");
        let call = |method| client.send(request(method, &url, Some(&identity)));
        // They wait for one another, each on a connection of its own, which is kept.
        let kept = tokio::join!(call(Method::POST), call(Method::POST));
        assert_eq!((kept.0.unwrap().status, kept.1.unwrap().status), (StatusCode::OK, StatusCode::OK));
        assert_eq!(call(Method::GET).await.unwrap().status, StatusCode::OK, "politely: {politely}");
        assert_eq!(*requests.borrow(), 4, "that one came twice");
        let directly = client.send_directly(request(Method::POST, &url, Some(&identity)), 1 << 10).await;
        assert_eq!(
            directly.unwrap().status,
            StatusCode::OK,
            "the second of the kept connections is not used"
        );
    }
}

#[tokio::test]
async fn calls_that_hang_keep_no_others_from_a_host_that_speaks_http2() {
    let authority = Authority::new();
    let identity = authority.identity(&authority.client("ann"));
    let hanging = Arc::new(watch::Sender::new(0));
    let counted = hanging.clone();
    let address = listen(&authority, &["h2", "http/1.1"], move |stream| hang(counted.clone(), stream)).await;
    let client = client(address, Options::default());
    let calls: JoinSet<_> = (0..50)
        .map(|_| {
            let (client, identity) = (client.clone(), identity.clone());
            async move { ask(&client, format!("https://{address}/hang"), Some(&identity)).await }
        })
        .collect();
    hanging.subscribe().wait_for(|calls| *calls >= STREAMS as usize).await.unwrap();
    assert_eq!(ask(&client, format!("https://{address}/"), Some(&identity)).await.unwrap(), "there");
    drop(calls);
}
