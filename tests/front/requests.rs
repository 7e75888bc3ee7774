//! What a request may look like, and what the flow sees of it.

use crate::daemon::Daemon;
use crate::http::{Request, request};
use crate::set_up::{customer, document, instance, organization, user_config};
use crate::world::{World, assert_refused, post, start, two_flows};
use perseat_domain::model::User;
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Change, Lookup, Options};
use serde_json::{Value, json};

#[test]
fn a_body_that_cannot_be_taken_is_refused_before_anything_is_recorded() {
    let daemon = Daemon::start("front.max-body = \"64KiB\"\nfront.max-header-bytes = \"8KiB\"\nfront.max-headers = 30\n");
    daemon.set_up(&World::default().manifests());
    let urls = daemon.endpoints();
    let url = urls.path("Files", "globex", "jane", "Echo");
    let forms = urls.path("Forms", "", "", "");
    for (row, path, content_type, body) in [
        ("cut off", &url, "application/json", "{\"a\":".to_owned()),
        ("after the end", &url, "application/json; charset=utf-8", "{} x".to_owned()),
        ("a JSON suffix", &url, "application/vnd.api+json", "nothing".to_owned()),
        ("too deep", &url, "application/json", "[".repeat(101) + &"]".repeat(101)),
        ("where it routes", &forms, "application/json", "{\"flow\":".to_owned()),
    ] {
        assert_refused(row, &daemon.call(&post(path).body(content_type, body)), 400, "payload_malformed");
    }
    let large = daemon.call(&post(&url).body("text/plain", vec![b'x'; (64 << 10) + 1]));
    assert_refused("too large", &large, 413, "payload_too_large");
    let most = daemon.call(&post(&url).body("text/plain", vec![b'x'; 64 << 10]));
    assert_eq!(most.status, 200, "the largest: {}", most.text());
    let long = daemon.call(&post(&url).header("x-long", &"x".repeat(9 << 10)));
    assert_refused("headers too long", &long, 431, "headers_too_large");
    let many = (0..31).fold(post(&url), |request, number| request.header(&format!("x-{number}"), "1"));
    assert_eq!(daemon.call(&many).status, 431, "too many headers");
    let recorded = daemon.local(&request("GET", "/executions?limit=100")).json();
    assert_eq!(recorded["executions"].as_array().unwrap().len(), 1, "the one that was taken");
}

#[test]
fn a_delivery_that_comes_twice_is_two_executions() {
    let (daemon, urls) = start(&World::default());
    let url = urls.path("Files", "globex", "jane", "Echo");
    let delivery = post(&url).header("x-delivery-id", "1").json(&json!({ "n": 1 }));
    let answers = [daemon.call(&delivery), daemon.call(&delivery)];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200]);
    assert_ne!(answers[0].execution(), answers[1].execution());
}

#[test]
fn the_flow_sees_every_part_of_the_request() {
    let (daemon, urls) = start(&World::default());
    let url = urls.path("Files", "globex", "jane", "Echo");
    let sent = |request: Request| {
        let answer = daemon.call(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let seen = sent(
        request("PUT", &(url.clone() + "/a%20b/c?x=1&y=%C3%A4&x=2"))
            .header("X-Event", "ping")
            .json(&json!({ "n": [1, { "s": "ü" }] })),
    );
    assert_eq!(seen["pathFragment"], "a b/c");
    assert_eq!(seen["queryParameters"], json!({ "x": "2", "y": "ä" }));
    assert_eq!(seen["headers"]["x-event"], "ping");
    assert_eq!(seen["body"]["data"], json!({ "n": [1, { "s": "ü" }] }));
    assert_eq!(seen["rawBody"]["data"], r#"{"n":[1,{"s":"ü"}]}"#);
    assert_eq!(seen["rawBody"]["contentType"], "application/json");

    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=cut";
    let parts = "--cut\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\nJane\r\n--cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\ncontent-type: text/plain\r\n\r\nhello\r\n--cut--\r\n";
    let form_seen = sent(post(&url).body(form, "a=1&b=x+y&a=2"));
    assert_eq!(form_seen["body"]["data"], json!({ "a": ["1", "2"], "b": "x y" }), "form");
    let multipart_seen = sent(post(&url).body(multipart, parts));
    assert_eq!(multipart_seen["body"]["data"]["name"], "Jane", "multipart: {multipart_seen}");
    assert!(
        multipart_seen["body"]["data"]["file"].to_string().contains("a.txt"),
        "multipart file: {multipart_seen}"
    );
    assert_eq!(sent(post(&url).body("text/plain", "hello"))["body"]["data"], "hello", "text");
    assert_eq!(
        sent(post(&url).body("application/xml", "<a/>"))["rawBody"]["data"],
        "<a/>",
        "XML stays text"
    );
    let binary = sent(post(&url).body("application/octet-stream", [0xff, 0x00, 0xfe]));
    assert_eq!(
        (&binary["body"]["data"], &binary["rawBody"]["data"]),
        (&json!("/wD+"), &json!("/wD+")),
        "binary"
    );
    let empty = sent(post(&url));
    assert_eq!(
        (&empty["body"]["data"], &empty["rawBody"]["data"]),
        (&Value::Null, &Value::Null),
        "empty"
    );

    let user = &empty["user"];
    assert_eq!(
        (&user["email"], &user["name"], &user["externalId"]),
        (&json!("jane@globex.example"), &json!("jane of globex"), &json!("jane"))
    );
    assert_eq!(empty["webhookUrls"]["Echo"], format!("http://{}{url}", daemon.hooks));
    assert_eq!(empty["instance"]["name"], "Files");
    assert_eq!(
        sent(post(&urls.path("Audit", "globex", "", "Echo")))["user"],
        Value::Null,
        "without ULC"
    );
}

#[test]
fn a_user_without_an_email_address_is_shown_by_the_subject_of_their_tokens_then_by_the_external_id() {
    let mut daemon = Daemon::start("");
    let nameless = document(
        "CustomerUser",
        "customer: globex\nname: Nia\nexternalId: nia-7\nrole: marketplace_user",
    );
    let set_up = organization(true)
        + &customer("globex")
        + &nameless
        + &two_flows("Files", "flow_specific").manifest()
        + &instance("globex", "Files", "");
    daemon.set_up(&(set_up + &user_config("globex", "Files", "nia-7")));
    let url = daemon.endpoints().path("Files", "globex", "nia-7", "Echo");
    let shown = |daemon: &Daemon| {
        let answer = daemon.call(&post(&url));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["user"]["email"].clone()
    };
    assert_eq!(shown(&daemon), "nia-7");
    // Only a token of the host product brings a subject, no manifest.
    daemon.kill();
    let catalog = Catalog::open(&daemon.data().join("catalog.redb"), Options::default()).unwrap();
    let nia = catalog.page::<User>(None, 1).unwrap().items.remove(0);
    let change = Change {
        by: "local:0",
        at: Timestamp(1),
        action: "test",
    };
    let with_subject = User {
        subject: Some("auth0|5f7c8ec7".into()),
        ..nia
    };
    catalog.mutate(change, |tx| tx.put(&with_subject)).unwrap();
    drop(catalog);
    daemon.restart();
    assert_eq!(shown(&daemon), "auth0|5f7c8ec7");
    daemon.kill();
    let catalog = Catalog::open(&daemon.data().join("catalog.redb"), Options::default()).unwrap();
    let with_address = User {
        email: Some("nia@globex.example".into()),
        ..with_subject
    };
    catalog.mutate(change, |tx| tx.put(&with_address)).unwrap();
    drop(catalog);
    daemon.restart();
    assert_eq!(shown(&daemon), "nia@globex.example");
}

#[test]
fn a_front_that_dies_comes_back_and_a_daemon_without_one_is_not_ready() {
    let daemon = Daemon::start("front.threads = 1\nsupervision.restarts = 1\nsupervision.back-off = \"10ms\"\n");
    let until_ready = || while daemon.admin("/readyz").status != 200 {};
    until_ready();
    daemon.switch("fail-front");
    daemon.log_line(&["a front panicked; its connections are cut, and it restarts"]);
    until_ready();
    assert_eq!(daemon.call(&post("/trigger/nothing")).status, 404, "it serves again");
    daemon.switch("fail-front");
    daemon.log_line(&["a front panicked too often"]);
    let answer = daemon.admin("/readyz");
    assert!(
        answer.status == 503 && answer.text().contains("every front has failed"),
        "{}",
        answer.text()
    );
}
