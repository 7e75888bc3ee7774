//! Behind nginx with TLS, as `docs/operations.md` configures it: what senders see is the public address, and what they claim counts as
//! far as the proxy vouches.

use crate::daemon::Daemon;
use crate::http::{Answer, PATIENCE, Request, request};
use crate::set_up::{customer, instance, integration, organization, user, user_config};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const HOST: &str = "hooks.example.test";
/// Where the sender calls from: another address of this machine than the proxy's.
const SENDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// nginx in front of both listeners of a daemon, with a certificate of its own; killed when dropped.
struct Nginx {
    process: Child,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(daemon: &Daemon) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), key.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), address, daemon)).unwrap();
        let mut process = Command::new(binary())
            .args(["-e", "stderr", "-c"])
            .arg(folder.path().join("nginx.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        // nginx listens before it starts its worker.
        let is_ready = lines.by_ref().any(|line| {
            said.push(line);
            said.last().unwrap().contains("start worker process ")
        });
        assert!(is_ready, "nginx did not start: {said:#?}");
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            address,
            certificate: key.cert.der().clone(),
            _folder: folder,
        }
    }

    /// Sends a request over TLS from the sender's address.
    fn call(&self, request: &Request) -> Answer {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(HOST).unwrap()).unwrap();
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&stream, &SocketAddrV4::new(SENDER, 0)).unwrap();
        connect(&stream, &self.address).unwrap();
        let stream = TcpStream::from(stream);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request
            .clone()
            .header("host", HOST)
            .send(rustls::StreamOwned::new(connection, stream))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A terminated master takes its worker with it; a killed one would not.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

fn binary() -> &'static str {
    let places = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    found.expect("nginx is missing; install it with: apt-get install -y nginx-light")
}

/// What the page says, with addresses and files of this test.
fn configuration(folder: &Path, address: SocketAddr, daemon: &Daemon) -> String {
    let page = include_str!("../../docs/operations.md");
    let (_, block) = page.split_once("```nginx\n").unwrap();
    let mut server = block.split_once("```").unwrap().0.to_owned();
    let files = folder.display();
    for (theirs, ours) in [
        (
            "listen 443 ssl;",
            format!("listen {address} ssl; ssl_certificate {files}/cert.pem; ssl_certificate_key {files}/key.pem;"),
        ),
        ("server_name hooks.example.com;", format!("server_name {HOST};")),
        ("http://127.0.0.1:3000;", format!("http://{};", daemon.hooks)),
        ("http://127.0.0.1:3001;", format!("http://{};", daemon.process.address("api"))),
    ] {
        assert_eq!(server.matches(theirs).count(), 1, "{theirs}");
        server = server.replace(theirs, &ours);
    }
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};"))
        .concat();
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; worker_processes 1; pid {folder}/pid; error_log stderr notice; {user}
         events {{}}
         http {{
           access_log off; {temporary} large_client_header_buffers 8 64k;
           {server}
         }}"
    )
}

fn start(trusted: &str) -> (Daemon, String) {
    let daemon = Daemon::start(&format!(
        "public-url = \"https://{HOST}\"\ntrusted-proxies = [{trusted}]\nfront.max-body = \"64KiB\"\nfront.max-header-bytes = \"8KiB\"\n"
    ));
    let files = integration("Files", "flow_specific").echo("Echo", "endpointSecurityType: unsecured");
    let people = organization(true) + &customer("globex") + &user("globex", "jane");
    daemon.set_up(&(people + &files.manifest() + &instance("globex", "Files", "") + &user_config("globex", "Files", "jane")));
    let path = daemon.endpoints().path("Files", "globex", "jane", "Echo");
    (daemon, path)
}

#[test]
fn behind_nginx_urls_are_public_and_limits_hold() {
    let (daemon, path) = start("\"127.0.0.1/32\"");
    let nginx = Nginx::start(&daemon);
    let answer = nginx.call(&request("POST", &(path.clone() + "/part?q=1")).json(&serde_json::json!({ "n": 1 })));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.json();
    assert_eq!(seen["webhookUrls"]["Echo"], format!("https://{HOST}{path}"));
    assert_eq!(seen["invokeUrl"], format!("https://{HOST}{path}/part?q=1"));
    assert_eq!((&seen["pathFragment"], &seen["body"]["data"]["n"]), (&"part".into(), &1.into()));

    let largest = nginx.call(&request("POST", &path).body("text/plain", vec![b'x'; 64 << 10]));
    assert_eq!(largest.status, 200, "{}", largest.text());
    let too_large = nginx.call(&request("POST", &path).body("text/plain", vec![b'x'; (64 << 10) + 1]));
    assert_eq!((too_large.status, too_large.code().as_str()), (413, "payload_too_large"));
    let long = nginx.call(&request("POST", &path).header("x-long", &"x".repeat(9 << 10)));
    assert_eq!((long.status, long.code().as_str()), (431, "headers_too_large"));
    let next = nginx.call(&request("POST", &path));
    assert_eq!(next.status, 200, "the proxy's next request is served: {}", next.text());
    // Pages, and what providers send people back to.
    for (page, status) in [("/auth/meta", 200), ("/oauth2/callback", 400)] {
        let answer = nginx.call(&request("GET", page));
        assert_eq!(answer.status, status, "{page}: {}", answer.text());
    }
}

#[test]
fn the_client_is_whom_a_trusted_proxy_names_and_otherwise_the_caller() {
    let unknown = |name: &str| request("POST", &format!("/trigger/{name}")).header("x-forwarded-for", "203.0.113.9");
    for (trusted, expected) in [
        ("\"127.0.0.1/32\"", "127.0.0.2"),
        ("", "127.0.0.1"),
        ("\"127.0.0.0/8\"", "203.0.113.9"),
    ] {
        let (daemon, _) = start(trusted);
        let nginx = Nginx::start(&daemon);
        assert_eq!(nginx.call(&unknown("proxied")).status, 404);
        let line = daemon.log_line(&["request refused", "endpoint_not_found"]);
        assert!(line.contains(&format!("\"client\":\"{expected}\"")), "trusting [{trusted}]: {line}");
    }
    let (daemon, _) = start("\"192.0.2.1/32\"");
    assert_eq!(daemon.call(&unknown("direct")).status, 404);
    let line = daemon.log_line(&["request refused", "endpoint_not_found"]);
    assert!(line.contains("\"client\":\"127.0.0.1\""), "a direct caller's own word: {line}");
}
