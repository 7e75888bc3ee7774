//! Results of steps that take many times their bytes as values, log lines that are asked for again and again, and many who take no answer.

use crate::client::Client;
use crate::harness::api::Api;
use crate::harness::manifests::{code, flow};
use crate::memory::Memory;
use crate::world::{OPEN, World, post, setup};
use serde_json::json;

/// Two MiB as text, and 76 as values.
const ZEROS: &str = "module.exports = async () => ({ data: new Array(1_048_576).fill(0) })";
const SMALL: &str = "module.exports = async () => ({ data: 1 })";

#[tokio::test]
async fn large_results_are_neither_opened_for_what_is_said_of_them_nor_held_by_who_fetches_them() {
    let setup = setup()
        .set("api.concurrency", 2)
        .set("api.result-memory", "32MiB")
        .set("api.query-time", "60s");
    let flows = vec![flow("Zeros", OPEN, &[code("Count", ZEROS), code("End", SMALL)])];
    let world = World::with(setup, flows).await.may_grow(64 << 20, "what follows");
    let request = post(&world.path_of("Zeros").await, "prismatic-synchronous: true\r\n", "{}");
    for _ in 0..20 {
        assert_eq!(world.send(&request).status, 200);
    }
    let owner = Api::program(&world.daemon, "owner").await;
    let said = "{ executionResults(first: 100) { nodes { error logs(first: 1) { nodes { message } } stepResults { nodes { displayStepName resultsUrl } } } } }";
    let memory = Memory::of(world.daemon.pid());
    let found = owner.get(said, json!({})).await;
    memory.grew_within(32 << 20, "api.query-bytes");

    let steps = found["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|node| node["stepResults"]["nodes"].as_array().unwrap());
    let mut zeros = steps
        .filter(|step| step["displayStepName"] == "Count")
        .map(|step| step["resultsUrl"].as_str().unwrap());
    let (url, others) = (zeros.next().unwrap(), zeros.count());
    assert_eq!(others, 19);
    let path = &url[url.find("/blobs/").unwrap()..];
    let memory = Memory::of(world.daemon.pid());
    let fetch = |_| {
        let mut client = Client::connect(world.daemon.address("api"));
        client.write(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        client
    };
    let clients: Vec<Client> = (0..64).map(fetch).collect();
    for mut client in clients {
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        // MessagePack: the text, then its content type.
        let end = [b"0]\xabcontentType\xb0application/json".as_slice()].concat();
        assert!(answer.body.len() > 2 << 20 && answer.body.ends_with(&end));
    }
    memory.grew_within(48 << 20, "api.result-memory, and what api.concurrency makes ready");
    world.serves_others();
}

/// More than seven MiB, and about half when they are compressed.
const NOISE: &str = "module.exports = async () => ({ data: Array.from({ length: 390_000 }, (_, n) => Math.sin(n)) })";

#[tokio::test]
async fn results_are_opened_within_the_memory_for_them_and_one_that_is_larger_alone() {
    let setup = setup()
        .set("api.concurrency", 4)
        .set("api.result-memory", "16MiB")
        .set("api.query-time", "60s");
    let flows = vec![flow("Noise", OPEN, &[code("Make", NOISE), code("End", SMALL)])];
    let world = World::with(setup, flows).await.may_grow(128 << 20, "what follows");
    let request = post(&world.path_of("Noise").await, "prismatic-synchronous: true\r\n", "{}");
    let answer = world.send(&request);
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
    let owner = Api::program(&world.daemon, "owner").await;
    let said = "{ executionResults(first: 1) { nodes { stepResults { nodes { displayStepName resultsUrl } } } } }";
    let found = owner.get(said, json!({})).await;
    let steps = found["nodes"][0]["stepResults"]["nodes"].as_array().unwrap();
    let made = steps.iter().find(|step| step["displayStepName"] == "Make").unwrap();
    let url = made["resultsUrl"].as_str().unwrap();
    let path = &url[url.find("/blobs/").unwrap()..];
    let memory = Memory::of(world.daemon.pid());
    let fetch = || {
        let mut client = Client::connect(world.daemon.address("api"));
        client.write(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        client.answer()
    };
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..12).map(|_| scope.spawn(fetch)).collect();
        for answer in fetches.into_iter().map(|fetch| fetch.join().unwrap()) {
            assert!(answer.status == 200 && answer.body.len() > 7 << 20, "{} bytes", answer.body.len());
        }
    });
    memory.grew_within(64 << 20, "one result at a time, and what api.concurrency finds");
    world.serves_others();
}

/// 240 KiB of log lines.
const TALK: &str =
    "module.exports = async ({ logger }) => { for (let n = 0; n < 15; n += 1) logger.info('x'.repeat(16_000)); return { data: 1 }; }";

/// A query of all log lines of one execution, `lists` by `texts` times and once more for the edges.
fn talk(lists: usize, texts: usize) -> String {
    let lists = (0..lists).fold(String::new(), |all, n| {
        format!("{all} l{n}: logs {{ nodes {{ ...F }} edges {{ node {{ ...F }} }} }}")
    });
    let texts = (0..texts).fold(String::new(), |all, n| format!("{all} m{n}: message"));
    format!("{{ executionResults(first: 1) {{ nodes {{ {lists} }} }} }} fragment F on Log {{ {texts} }}")
}

#[tokio::test]
async fn texts_are_counted_as_often_as_they_are_answered_and_answers_until_they_are_sent() {
    let setup = setup()
        .set("api.concurrency", 2)
        .set("api.query-bytes", "16MiB")
        .set("api.result-memory", "32MiB")
        .set("api.query-time", "3s");
    let flows = vec![flow("Talk", OPEN, &[code("Say", TALK)])];
    let world = World::with(setup, flows).await.may_grow(144 << 20, "what follows");
    let request = post(&world.path_of("Talk").await, "prismatic-synchronous: true\r\n", "{}");
    assert_eq!(world.send(&request).status, 200);
    let owner = Api::program(&world.daemon, "owner").await;
    let memory = Memory::of(world.daemon.pid());
    let refused = owner.ask(&talk(16, 16), json!({})).await;
    assert_eq!(
        refused["errors"][0]["extensions"]["code"], "TOO_MANY_BYTES",
        "{}",
        refused["errors"]
    );
    memory.grew_within(48 << 20, "api.query-bytes");

    // One of them finds room: an identity has half.
    let memory = Memory::of(world.daemon.pid());
    let headers = format!("authorization: {}\r\ncontent-type: application/json\r\n", owner.bearer());
    let body = json!({ "query": talk(5, 5) }).to_string();
    let ask = |_| {
        let mut client = Client::connect(world.daemon.address("api"));
        client.write(post("/api", &headers, &body));
        client
    };
    let mut clients: Vec<Client> = (0..8).map(ask).collect();
    let heads: Vec<(u16, bool)> = clients
        .iter_mut()
        .map(|client| client.head().expect("an answer"))
        .map(|head| (head.status, head.length() > 11 << 20))
        .collect();
    let number = |wanted| heads.iter().filter(|head| **head == wanted).count();
    assert!(number((503, false)) > 0 && number((200, true)) == 1, "{heads:?}");
    memory.grew_within(112 << 20, "half of api.result-memory, and what api.concurrency makes ready");
    world.serves_others();
}
