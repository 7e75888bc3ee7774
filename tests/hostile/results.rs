//! Results of steps that take many times their bytes as values, and many who fetch them.

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
    let setup = setup().set("api.concurrency", 2).set("api.result-memory", "8MiB");
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
