//! Avatars and attachments from outside: what is uploaded, who may, what is served.

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::within;
use crate::uploads::{ATTACH, ATTACHMENTS, AVATAR, ROLES, UPLOAD, World, header, noise, picture, text};
use http::Method;
use image::ImageFormat;
use serde_json::{Value, json};

#[tokio::test]
async fn a_picture_of_any_size_becomes_the_avatar_of_everything_that_has_one() {
    let daemon = Daemon::start(Setup::new());
    let world = World::start(&daemon).await;
    let organization = world.owner.get("{ organization { id } }", json!({})).await;
    let user = world
        .owner
        .get(
            r#"query ($c: ID) { users(name: "member", customer: $c) { nodes { id } } }"#,
            json!({ "c": world.globex }),
        )
        .await;
    let made = "mutation { createIntegration(input: {name: \"Files\"}) { integration { id } errors { messages } } }";
    let integration = world.owner.get(made, json!({})).await;
    let objects = [
        ("updateCustomer", "customer", world.globex.clone(), (3, 900)),
        ("updateUser", "user", text(&user["nodes"][0]["id"]), (1, 1)),
        ("updateOrganization", "organization", text(&organization["id"]), (1_200, 40)),
        (
            "updateIntegration",
            "integration",
            text(&integration["integration"]["id"]),
            (500, 500),
        ),
    ];
    for (mutation, field, id, (width, height)) in &objects {
        let object = world.upload(&world.owner, id, "icon.png", "AVATAR", picture(*width, *height)).await;
        assert_eq!(world.fetch(&world.owner, &object).await.0, 404, "nothing names it yet");
        let query = format!(
            "mutation ($i: ID, $u: String) {{ {mutation}(input: {{id: $i, avatarUrl: $u}}) {{ {field} {{ avatarUrl }} errors {{ messages }} }} }}"
        );
        let changed = world.owner.get(&query, json!({ "i": id, "u": object })).await;
        assert_eq!(changed[*field]["avatarUrl"], object.as_str());
        let (status, file) = world.fetch(&world.owner, &object).await;
        let file = file.unwrap();
        assert_eq!((status, file.status, header(&file, "content-type")), (200, 200, "image/png"));
        let read = image::load_from_memory_with_format(&file.body, ImageFormat::Png).unwrap();
        assert_eq!((read.width(), read.height()), (500, 500), "{field}");
        assert_eq!(header(&file, "x-content-type-options"), "nosniff");
        assert_eq!(header(&file, "content-security-policy"), "default-src 'none'; sandbox");
    }
    assert_eq!(world.files(), 4);
    let member = world.person("globex", "member").await;
    let seen = member
        .get("{ authenticatedUser { avatarUrl customer { avatarUrl } } }", json!({}))
        .await;
    assert_eq!(world.fetch(&member, &text(&seen["avatarUrl"])).await.0, 200);
    assert_eq!(world.fetch(&member, &text(&seen["customer"]["avatarUrl"])).await.0, 200);
    let stranger = world.person("initech", "admin").await;
    for url in [&seen["avatarUrl"], &seen["customer"]["avatarUrl"]] {
        assert_eq!(world.fetch(&stranger, &text(url)).await.0, 404);
    }

    let (url, object) = world.permit(&world.owner, &world.globex, "C:\\pictures\\new.png", "AVATAR").await;
    assert_eq!(world.put(&url, picture(40, 40)).await.status, 200);
    assert_eq!(world.put(&url, picture(40, 40)).await.status, 409, "a URL takes one file");
    world.owner.get(AVATAR, json!({ "c": world.globex, "u": object })).await;
    assert_eq!(world.files(), 4, "the one before it is gone");
    world.owner.get(AVATAR, json!({ "c": world.globex, "u": object })).await;
    let taken = world.owner.get(AVATAR, json!({ "c": world.globex, "u": "" })).await;
    assert_eq!(taken["customer"]["avatarUrl"], Value::Null);
    assert_eq!(world.files(), 3);
}

#[tokio::test]
async fn what_is_no_picture_too_large_or_not_uploaded_for_this_is_refused() {
    let setup = Setup::new()
        .set("media.max-picture", "64KiB")
        .set("media.max-attachment", "1KiB")
        .set("media.max-pixels", 1_000_000)
        .set("media.attachments", 2);
    let daemon = Daemon::start(setup);
    let world = World::start(&daemon).await;
    let (url, object) = world.permit(&world.owner, &world.globex, "a.png", "AVATAR").await;
    for (body, status, code) in [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), 422, "picture_unreadable"),
        (picture(2_000, 600), 422, "picture_unreadable"),
        (vec![0; 65 * 1024], 413, "media_too_large"),
    ] {
        let refused = world.put(&url, body).await;
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (status, Some(code)),
            "{:?}",
            refused.body
        );
    }
    let forged = url.replace("kind=avatar", "kind=attachment");
    assert_eq!(world.put(&forged, "x").await.status, 404);
    let refused = world.owner.ask(AVATAR, json!({ "c": world.globex, "u": object })).await;
    assert!(refused.to_string().contains("Upload the file first"), "{refused}");
    for elsewhere in ["https://elsewhere.example/logo.png", "/media/x"] {
        let refused = world.owner.ask(AVATAR, json!({ "c": world.globex, "u": elsewhere })).await;
        assert!(refused.to_string().contains("Upload the file first"), "{refused}");
    }
    assert_eq!(world.files(), 0);

    let object = world.upload(&world.owner, &world.globex, "a.txt", "ATTACHMENT", "for globex").await;
    for (query, variables) in [
        (ATTACH, json!({ "c": world.initech, "n": "a.txt", "u": object })),
        (AVATAR, json!({ "c": world.globex, "u": object })),
    ] {
        let refused = world.owner.ask(query, variables).await;
        assert!(refused.to_string().contains("Upload the file first"), "{refused}");
    }
    world
        .owner
        .get(ATTACH, json!({ "c": world.globex, "n": "a.txt", "u": object }))
        .await;
    let again = world
        .owner
        .ask(ATTACH, json!({ "c": world.globex, "n": "b.txt", "u": object }))
        .await;
    assert!(again.to_string().contains("Upload the file first"), "{again}");
    let (url, _) = world.permit(&world.owner, &world.globex, "b.txt", "ATTACHMENT").await;
    assert_eq!(world.put(&url, vec![b'x'; 1_025]).await.status, 413);
    let object = world.upload(&world.owner, &world.globex, "b.txt", "ATTACHMENT", "b").await;
    let taken = world
        .owner
        .ask(ATTACH, json!({ "c": world.globex, "n": "a.txt", "u": object }))
        .await;
    assert!(taken.to_string().contains("is taken"), "{taken}");
    world
        .owner
        .get(ATTACH, json!({ "c": world.globex, "n": "b.txt", "u": object }))
        .await;
    let object = world.upload(&world.owner, &world.globex, "c.txt", "ATTACHMENT", "c").await;
    let full = world
        .owner
        .ask(ATTACH, json!({ "c": world.globex, "n": "c.txt", "u": object }))
        .await;
    assert!(full.to_string().contains("At most 2 attachments"), "{full}");
    let variables = json!({ "o": world.globex, "n": "..", "t": "ATTACHMENT" });
    let named = world.owner.ask(UPLOAD, variables).await;
    assert!(named.to_string().contains("The name of a file"), "{named}");
}

#[tokio::test]
async fn attachments_are_written_by_admins_read_by_members_and_nothing_to_anybody_else() {
    let daemon = Daemon::start(Setup::new());
    let world = World::start(&daemon).await;
    let admin = world.person("globex", "admin").await;
    let page = "<script>alert(document.domain)</script>";
    let object = world.upload(&admin, &world.globex, "Größe 1.html", "ATTACHMENT", page).await;
    let attached = admin
        .get(ATTACH, json!({ "c": world.globex, "n": "Größe 1.html", "u": object }))
        .await;
    assert_eq!(
        attached["customer"]["attachments"],
        json!([{ "name": "Größe 1.html", "url": object }])
    );
    let stored: Vec<u8> = std::fs::read_dir(daemon.data().join("media"))
        .unwrap()
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!stored.windows(6).any(|part| part == b"script"), "it is sealed");

    for role in ROLES {
        let person = world.person("globex", role).await;
        let reads = matches!(role, "admin" | "member");
        let listed = person.get(ATTACHMENTS, json!({ "c": world.globex })).await;
        assert_eq!(listed["attachments"].as_array().unwrap().len(), usize::from(reads), "{role}");
        let (status, file) = world.fetch(&person, &object).await;
        assert_eq!(status, if reads { 200 } else { 403 }, "{role}");
        if let Some(file) = file {
            assert_eq!(file.body, page.as_bytes());
            assert_eq!(header(&file, "content-type"), "application/octet-stream");
            assert_eq!(
                header(&file, "content-disposition"),
                "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201.html"
            );
            assert_eq!(header(&file, "x-content-type-options"), "nosniff");
            assert_eq!(header(&file, "content-security-policy"), "default-src 'none'; sandbox");
        }
        let asked = person
            .ask(UPLOAD, json!({ "o": world.globex, "n": "b.txt", "t": "ATTACHMENT" }))
            .await;
        assert_eq!(asked["data"].is_null(), role != "admin", "{role}: {asked}");
        let remove =
            "mutation ($c: ID!) { updateCustomer(input: {id: $c, removeAttachment: {name: \"none\", url: \"\"}}) { errors { messages } } }";
        let removed = person.ask(remove, json!({ "c": world.globex })).await.to_string();
        let expected = if role == "admin" { "no such attachment" } else { "does not allow" };
        assert!(removed.contains(expected), "{role}: {removed}");

        let stranger = world.person("initech", role).await;
        assert_eq!(world.fetch(&stranger, &object).await.0, 404, "{role}");
        for query in [ATTACHMENTS, remove] {
            let answer = stranger.ask(query, json!({ "c": world.globex })).await.to_string();
            assert!(answer.contains("no such customer") && !answer.contains("Größe"), "{role}: {answer}");
        }
        let asked = stranger
            .ask(UPLOAD, json!({ "o": world.globex, "n": "b.txt", "t": "ATTACHMENT" }))
            .await;
        assert!(asked.to_string().contains("no such customer"), "{role}: {asked}");
    }
    let both = "mutation ($c: ID!) { updateCustomer(input: {id: $c, description: \"x\", renameAttachment: {oldName: \"Größe 1.html\", newName: \"b\"}}) { errors { messages } } }";
    let refused = admin.ask(both, json!({ "c": world.globex })).await;
    assert!(refused.to_string().contains("does not allow to manage customers"), "{refused}");
    let rename = both.replace("description: \"x\", ", "");
    admin.get(&rename, json!({ "c": world.globex })).await;
    let listed = admin.get(ATTACHMENTS, json!({ "c": world.globex })).await;
    assert_eq!(listed["attachments"][0]["name"], "b");
    let remove = "mutation ($c: ID!) { updateCustomer(input: {id: $c, removeAttachment: {name: \"b\", url: \"\"}}) { customer { attachments { name } } errors { messages } } }";
    let removed = admin.get(remove, json!({ "c": world.globex })).await;
    assert_eq!(removed["customer"]["attachments"], json!([]));
    assert_eq!((world.fetch(&admin, &object).await.0, world.files()), (404, 0));
}

#[tokio::test]
async fn files_survive_a_kill_and_go_with_their_customer() {
    let mut daemon = Daemon::start(Setup::new());
    let (object, globex) = {
        let world = World::start(&daemon).await;
        let object = world.upload(&world.owner, &world.globex, "a.txt", "ATTACHMENT", "kept").await;
        world
            .owner
            .get(ATTACH, json!({ "c": world.globex, "n": "a.txt", "u": object }))
            .await;
        let user = world
            .owner
            .get(
                "query ($c: ID) { users(customer: $c, first: 1) { nodes { id } } }",
                json!({ "c": world.globex }),
            )
            .await;
        let user = text(&user["nodes"][0]["id"]);
        let avatar = world.upload(&world.owner, &user, "a.png", "AVATAR", picture(9, 9)).await;
        let query = "mutation ($i: ID, $u: String) { updateUser(input: {id: $i, avatarUrl: $u}) { user { id } errors { messages } } }";
        world.owner.get(query, json!({ "i": user, "u": avatar })).await;
        (object, world.globex)
    };
    daemon.kill();
    daemon.restart();
    let owner = Api::with(&daemon, json!({ "name": "owner", "role": "owner", "organization": "" })).await;
    let world = World {
        daemon: &daemon,
        owner,
        globex: globex.clone(),
        initech: String::new(),
    };
    let url = format!("http://{}{object}", daemon.address("api"));
    let located = daemon.send(Method::GET, &url, &[("authorization", world.owner.bearer())], "").await;
    let signed = text(&located.json()["url"]);
    assert_eq!(daemon.send(Method::GET, &signed, &[], "").await.body, "kept");
    assert_eq!(world.files(), 2);

    let folder = tempfile::tempdir().unwrap();
    let perseat = |data: &std::path::Path, arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_perseat"));
        let output = command.args(arguments).arg("--data").arg(data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (backup, keyring) = (folder.path().join("backup"), folder.path().join("keyring"));
    perseat(&daemon.data(), &["backup", backup.to_str().unwrap()]);
    perseat(&daemon.data(), &["keyring", "export", keyring.to_str().unwrap()]);
    let restored = Daemon::launch_on(Setup::new(), |data| {
        std::fs::create_dir(data).unwrap();
        std::fs::copy(daemon.data().join("master-key"), data.join("master-key")).unwrap();
        let arguments = [
            "restore",
            backup.to_str().unwrap(),
            "--keyring",
            keyring.to_str().unwrap(),
            "--resume",
        ];
        perseat(data, &arguments);
    });
    restored.until_ready();
    let owner = Api::with(&restored, json!({ "name": "owner", "role": "owner", "organization": "" })).await;
    let url = format!("http://{}{object}", restored.address("api"));
    let located = restored.send(Method::GET, &url, &[("authorization", owner.bearer())], "").await;
    let elsewhere = restored.send(Method::GET, &text(&located.json()["url"]), &[], "").await;
    assert_eq!(elsewhere.body, "kept", "a restored backup has it");

    let delete = "mutation ($c: ID!) { deleteCustomer(input: {id: $c}) { customer { id } errors { messages } } }";
    world.owner.get(delete, json!({ "c": globex })).await;
    assert_eq!(world.files(), 0);
    assert_eq!(
        daemon.send(Method::GET, &signed, &[], "").await.status,
        404,
        "a URL that was given out works no longer"
    );
}

#[tokio::test]
async fn what_nothing_takes_up_is_swept_and_all_together_have_a_limit() {
    let setup = Setup::new()
        .set("media.budget", "100KiB")
        .set("media.customer-budget", "100KiB")
        .set("catalog.tidy-every", "100ms");
    let mut daemon = Daemon::start(setup);
    let noise = noise(90 * 1024);
    let taken = {
        let world = World::start(&daemon).await;
        let taken = world.upload(&world.owner, &world.globex, "a", "ATTACHMENT", noise.clone()).await;
        world.owner.get(ATTACH, json!({ "c": world.globex, "n": "a", "u": taken })).await;
        let (url, _) = world.permit(&world.owner, &world.globex, "b", "ATTACHMENT").await;
        let full = world.put(&url, noise.clone()).await;
        assert_eq!((full.status, full.json()["code"].as_str()), (507, Some("storage_full")));
        world.upload(&world.owner, &world.globex, "c", "ATTACHMENT", "small").await;
        assert_eq!(world.files(), 2, "what is new is left alone");
        taken
    };
    // Only what is there already becomes too old, and not while it is being taken up. No URL may last longer than such a file.
    daemon.terminate();
    daemon.restart_with(&[("media.unused", "1ms"), ("api.url-lifetime", "1ms")]);
    let media = daemon.data().join("media");
    within("the unused file is swept", async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        while std::fs::read_dir(&media).unwrap().count() > 1 {
            look.tick().await;
        }
    })
    .await;
    daemon.terminate();
    daemon.restart_with(&[("media.unused", "1h"), ("api.url-lifetime", "15m")]);
    let world = World {
        daemon: &daemon,
        owner: Api::with(&daemon, json!({ "name": "owner", "role": "owner", "organization": "" })).await,
        globex: String::new(),
        initech: String::new(),
    };
    let (status, file) = world.fetch(&world.owner, &taken).await;
    assert!(
        status == 200 && file.is_some_and(|file| file.body == noise),
        "what is named stays: {status}"
    );
}
