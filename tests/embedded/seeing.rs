//! Who sees what.

use crate::world::{HOST, World, files, plain};

const LIST: &str = "/embedded/view/marketplace";
const ASK: &str = "Ask your admin to switch this on";

#[tokio::test]
async fn a_user_sees_what_users_configure_and_asks_an_admin_for_what_is_not_switched_on() {
    let world = World::start(HOST).await;
    let (files, reports) = (world.offer(&files()).await, world.offer(&plain()).await);
    let (admin, user) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));

    let list = admin.get(LIST).await;
    assert_eq!(list.status, 200, "{}", list.html);
    assert!(
        list.html.contains("Files") && list.html.contains("Reports") && list.html.contains("Not activated"),
        "{}",
        list.html
    );
    let list = user.get(LIST).await;
    assert!(list.html.contains("Files") && !list.html.contains("Reports"), "{}", list.html);
    assert!(list.html.contains(ASK), "{}", list.html);

    let detail = user.get(&format!("/embedded/view/integration/{files}")).await;
    assert!(detail.html.contains(ASK) && !detail.html.contains("Switch on"), "{}", detail.html);
    assert_eq!(user.get(&format!("/embedded/view/integration/{reports}")).await.status, 404);
    let refused = user.get(&format!("/embedded/view/integration/{files}/activate")).await;
    assert_eq!((refused.status, refused.html.contains("action=")), (403, false));
    let tried = user
        .send(
            &format!("/embedded/view/integration/{files}/activate"),
            &[("name", "x"), ("value:address", "x")],
        )
        .await;
    assert_eq!(tried.status, 403);

    let made = admin
        .activate(&files, &[("name", "Our files"), ("value:address", "https://files.example")])
        .await;
    assert_eq!(made.status, 200, "{}", made.html);
    let events: Vec<_> = made.events().iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["INSTANCE_CREATED", "INSTANCE_DEPLOYED"]);
    let told = &made.events()[1]["data"];
    assert_eq!(
        (&told["instanceName"], &told["integrationName"], &told["customerName"]),
        (&"Our files".into(), &"Files".into(), &"globex".into())
    );
    assert_eq!(told["configVars"]["Address"]["value"], "https://files.example");

    let list = user.get(LIST).await;
    let own = list.target("href", "/mine");
    assert!(
        !list.html.contains(ASK) && list.html.contains("Activated but not configured"),
        "{}",
        list.html
    );
    assert_eq!(user.get(&own).await.status, 200);
    let detail = admin.get(&format!("/embedded/view/integration/{files}")).await;
    for end in ["/configure", "/mine", "/remove"] {
        detail.target("href", end);
    }
    assert!(!detail.html.contains("Switch on"), "one instance is enough: {}", detail.html);
}

#[tokio::test]
async fn a_user_reaches_no_instance_and_nobody_reaches_another_customers() {
    let world = World::start(HOST).await;
    let files = world.offer(&files()).await;
    let (admin, user) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));
    let made = admin
        .activate(&files, &[("name", "Files"), ("value:address", "canary-of-globex")])
        .await;
    assert_eq!(made.status, 200, "{}", made.html);
    let instance = world.instance("Files").await;
    let path = |end: &str| format!("/embedded/view/instance/{instance}/{end}");

    for end in ["configure", "remove"] {
        let shown = user.get(&path(end)).await;
        assert_eq!(shown.status, 404, "{end}: {}", shown.html);
        assert!(!shown.html.contains("canary"), "{}", shown.html);
        let sent = user.send(&path(end), &[("value:address", "x")]).await;
        assert_eq!(sent.status, 404, "{end}: {}", sent.html);
    }
    let found = user.get(&format!("/embedded/view/find?instanceId={instance}")).await;
    assert!(
        found.status == 200 && found.html.contains("Folder") && !found.html.contains("canary"),
        "{}",
        found.html
    );

    let (other_admin, other) = (world.person("initech", "eve", "admin"), world.person("initech", "mallory", "user"));
    for somebody in [&other_admin, &other] {
        for end in ["configure", "remove", "mine", "mine/remove"] {
            let shown = somebody.get(&path(end)).await;
            assert_eq!(shown.status, 404, "{end}: {}", shown.html);
            let sent = somebody.send(&path(end), &[("value:address", "x"), ("value:folder", "x")]).await;
            assert_eq!(sent.status, 404, "{end}: {}", sent.html);
        }
        let found = somebody.get(&format!("/embedded/view/find?instanceId={instance}")).await;
        assert!(found.status == 404 && !found.html.contains("canary"), "{}", found.html);
        let list = somebody.get(LIST).await;
        assert!(!list.html.contains("/mine"), "{}", list.html);
    }
    let kept = admin.get(&path("configure")).await;
    assert!(kept.html.contains("canary-of-globex"), "{}", kept.html);
    assert!(
        !kept.html.contains("canary-of-the-organization"),
        "what the organization sets is its own: {}",
        kept.html
    );
}

#[tokio::test]
async fn the_host_page_chooses_by_category_and_by_name() {
    let world = World::start(HOST).await;
    let files = world.offer(&files()).await;
    world.offer(&plain()).await;
    let admin = world.person("globex", "ada", "admin");
    let list = admin.get(&format!("{LIST}?filters=%7B%22category%22%3A%22storage%22%7D")).await;
    assert!(list.html.contains("Files") && !list.html.contains("Reports"), "{}", list.html);
    let list = admin.get(&format!("{LIST}?search=REPO")).await;
    assert!(!list.html.contains("Files") && list.html.contains("Reports"), "{}", list.html);
    let wizard = admin.get("/embedded/view/find?integrationName=Files").await;
    assert!(
        wizard.html.contains("data-wizard=\"instance\""),
        "what is not switched on is configured at once: {}",
        wizard.html
    );
    let wizard = admin.get(&format!("/embedded/view/find?integrationId={files}")).await;
    assert!(wizard.html.contains("data-wizard=\"instance\""), "{}", wizard.html);
    assert_eq!(admin.get("/embedded/view/find?integrationName=Nothing").await.status, 404);
    assert_eq!(admin.get("/embedded/view/find").await.status, 404);
}
