//! Flows that are told to call inwards.

use crate::client::Answer;
use crate::harness::manifests::{code, flow, step};
use crate::world::{OPEN, World, post, setup};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SYNCHRONOUS: &str = "prismatic-synchronous: true\r\ncontent-type: application/json\r\n";

/// Counts who connects, and sends everybody elsewhere.
struct Door {
    address: SocketAddr,
    visitors: Arc<AtomicUsize>,
}

impl Door {
    fn open(location: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, visitors) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let count = Arc::clone(&visitors);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, visitors }
    }

    fn visitors(&self) -> usize {
        self.visitors.load(Ordering::Relaxed)
    }
}

/// Flows that call the URL of the event, by a step and by a script that says what became of it.
fn flows() -> Vec<String> {
    let get = step(
        "Get",
        "http",
        "httpGet",
        "          url: {type: reference, value: onEvent.results.body.data.url}\n",
    );
    let fetch = "module.exports = async (context, { onEvent }) => {
  try { await fetch(onEvent.results.body.data.url); return { data: 'reached' } } catch (error) { throw new Error(`refused: ${error.message}`) }
};";
    vec![flow("Get", OPEN, &[get]), flow("Fetch", OPEN, &[code("Fetch", fetch)])]
}

impl World {
    async fn call(&self, flow: &str, url: &str) -> Answer {
        let body = serde_json::json!({ "url": url }).to_string();
        self.send(post(&self.path_of(flow).await, SYNCHRONOUS, &body))
    }

    async fn refuses_to_call(&self, url: &str) {
        let by_step = self.call("Get", url).await;
        assert_eq!(by_step.failure(), (400, "outbound_refused".to_owned()), "{url}");
        let by_script = self.call("Fetch", url).await;
        assert_eq!(by_script.failure(), (400, "script_failed".to_owned()), "{url}");
        let said = by_script.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains("outbound.allow"), "{url}: {said}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_called() {
    let door = Door::open("http://127.0.0.1/");
    let world = World::with(setup(), flows()).await;
    let port = door.address.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "localhost",
        "LocalHost.",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "user:password@127.0.0.1",
    ] {
        world.refuses_to_call(&format!("http://{host}:{port}/")).await;
    }
    assert_eq!(door.visitors(), 0);
    world.serves_others();
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_not_followed() {
    let inner = Door::open("http://127.0.0.1/");
    let inner_port = inner.address.port();
    let outer = [
        format!("http://127.0.0.1:{inner_port}/"),
        format!("http://2130706433:{inner_port}/"),
        format!("http://[::ffff:127.0.0.1]:{inner_port}/"),
        format!("http://localhost:{inner_port}/"),
        format!("//0x7f.1:{inner_port}/"),
    ]
    .map(|location| Door::open(&location));
    let allowed: Vec<SocketAddr> = outer.iter().map(|door| door.address).collect();
    let world = World::with(setup().allow(&allowed), flows()).await;
    for door in &outer {
        world.refuses_to_call(&format!("http://{}/", door.address)).await;
        assert_eq!(door.visitors(), 2, "the first address is allowed");
    }
    assert_eq!(inner.visitors(), 0);
    world.serves_others();
}

#[tokio::test]
async fn other_schemes_are_not_called() {
    let door = Door::open("file:///etc/passwd");
    let world = World::with(setup().allow(&[door.address]), flows()).await;
    for url in [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "javascript:1",
        "unix:/run/x.sock",
        &format!("http://{}/", door.address),
    ] {
        for flow in ["Get", "Fetch"] {
            let answer = world.call(flow, url).await;
            assert_eq!(answer.status, 400, "{url}: {}", answer.body.escape_ascii());
        }
    }
    world.serves_others();
}
