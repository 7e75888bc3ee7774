//! The room for uploaded files, and the reading of pictures, are shared by all and used up by nobody.

use crate::harness::api::Api;
use crate::harness::daemon::{Answer, Daemon, Setup};
use crate::uploads::{ATTACH, World, noise, picture, text};
use futures_util::future::join_all;
use image::{DynamicImage, ImageFormat};
use serde_json::json;
use std::io::Cursor;

const KIB: usize = 1024;

/// A status with its code; none where it was done.
fn said(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.json()["code"].as_str().map(str::to_owned))
}

fn refused(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.to_owned()))
}

impl World<'_> {
    async fn attach(&self, customer: &str, name: &str, bytes: usize) -> (u16, Option<String>) {
        let (url, object) = self.permit(&self.owner, customer, name, "ATTACHMENT").await;
        let put = self.put(&url, noise(bytes)).await;
        if put.status == 200 {
            self.owner.get(ATTACH, json!({ "c": customer, "n": name, "u": object })).await;
        }
        said(&put)
    }
}

#[tokio::test]
async fn a_customer_that_fills_its_room_leaves_that_of_others() {
    let setup = || Setup::new().set("media.budget", "400KiB").set("media.customer-budget", "100KiB");
    let mut daemon = Daemon::start(setup());
    let (globex, initech) = {
        let world = World::start(&daemon).await;
        assert_eq!(world.attach(&world.globex, "a", 60 * KIB).await, (200, None));
        assert_eq!(
            world.attach(&world.globex, "b", 60 * KIB).await,
            refused(507, "media_customer_full")
        );
        // What is uploaded and not taken up counts as well, and so does what its people upload.
        world.upload(&world.owner, &world.globex, "c", "ATTACHMENT", noise(30 * KIB)).await;
        assert_eq!(
            world.attach(&world.globex, "d", 20 * KIB).await,
            refused(507, "media_customer_full")
        );
        assert_eq!(world.attach(&world.initech, "a", 60 * KIB).await, (200, None));
        (world.globex, world.initech)
    };
    daemon.kill();
    daemon.restart();
    let owner = Api::with(&daemon, json!({ "name": "owner", "role": "owner", "organization": "" })).await;
    let world = World {
        daemon: &daemon,
        owner,
        globex,
        initech,
    };
    assert_eq!(
        world.attach(&world.globex, "b", 60 * KIB).await,
        refused(507, "media_customer_full"),
        "after a restart, too"
    );
    let remove = "mutation ($c: ID!) { updateCustomer(input: {id: $c, removeAttachment: {name: \"a\", url: \"\"}}) { customer { id } errors { messages } } }";
    world.owner.get(remove, json!({ "c": world.globex })).await;
    assert_eq!(world.attach(&world.globex, "b", 60 * KIB).await, (200, None));
    let delete = "mutation ($c: ID!) { deleteCustomer(input: {id: $c}) { customer { id } errors { messages } } }";
    world.owner.get(delete, json!({ "c": world.globex })).await;
    for name in ["e", "f"] {
        assert_eq!(world.attach(&world.initech, name, 15 * KIB).await, (200, None));
    }
    assert_eq!(
        world.attach(&world.initech, "g", 15 * KIB).await,
        refused(507, "media_customer_full")
    );
}

#[tokio::test]
async fn an_embedded_user_has_few_uploads_that_nothing_takes_up() {
    let daemon = Daemon::start(Setup::new().set("media.untaken", 2));
    let world = World::start(&daemon).await;
    let jane = world.person("globex", "marketplace_user").await;
    let me = text(&jane.get("{ authenticatedUser { id } }", json!({})).await["id"]);
    let mut objects = Vec::new();
    for _ in 0..2 {
        objects.push(world.upload(&jane, &me, "a.png", "AVATAR", picture(9, 9)).await);
    }
    let (url, _) = world.permit(&jane, &me, "a.png", "AVATAR").await;
    assert_eq!(said(&world.put(&url, picture(9, 9)).await), refused(429, "media_untaken"));
    let files = world.files();
    assert_eq!(files, 2, "nothing of it was kept");
    // Others are not concerned, not even of the same customer.
    let admin = world.person("globex", "admin").await;
    let (url, _) = world.permit(&admin, &world.globex, "a.txt", "ATTACHMENT").await;
    assert_eq!(said(&world.put(&url, "text").await), (200, None));
    // One that is taken up counts no more.
    let query = "mutation ($i: ID, $u: String) { updateUser(input: {id: $i, avatarUrl: $u}) { user { id } errors { messages } } }";
    jane.get(query, json!({ "i": me, "u": objects[0] })).await;
    world.upload(&jane, &me, "b.png", "AVATAR", picture(9, 9)).await;
    let (url, _) = world.permit(&jane, &me, "c.png", "AVATAR").await;
    assert_eq!(said(&world.put(&url, picture(9, 9)).await), refused(429, "media_untaken"));
}

#[tokio::test]
async fn pictures_of_one_owner_do_not_keep_others_waiting() {
    // Those before it are large, and how long they take says how fast the machine is.
    let daemon = Daemon::start(Setup::new().set("media.decode-timeout", "10m"));
    let world = World::start(&daemon).await;
    let mut large = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(5_000, 5_000).write_to(&mut large, ImageFormat::Png).unwrap();
    let large = large.into_inner();
    let mut urls = Vec::new();
    for _ in 0..8 {
        urls.push(world.permit(&world.owner, &world.globex, "a.png", "AVATAR").await.0);
    }
    let (other, _) = world.permit(&world.owner, &world.initech, "a.png", "AVATAR").await;
    let flood = join_all(urls.iter().map(|url| world.put(url, large.clone())));
    let (flood, other) = tokio::join!(flood, world.put(&other, picture(9, 9)));
    assert_eq!(said(&other), (200, None), "another customer waits for its turn alone");
    let (taken, busy): (Vec<_>, Vec<_>) = flood.iter().map(said).partition(|(status, _)| *status == 200);
    assert!(!taken.is_empty() && !busy.is_empty(), "{taken:?} {busy:?}");
    assert!(busy.iter().all(|answer| *answer == refused(429, "media_busy")), "{busy:?}");
}
