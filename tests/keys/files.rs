//! Uploaded files of a customer whose key is rotated.

use std::path::{Path, PathBuf};

use http::Method;
use perseat_domain::id::{CustomerId, MediaId};
use serde_json::json;

use crate::customer::{DESTROYED, World, setup, setup_in_little_room};
use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::master::{done, perseat};

const UPLOAD: &str =
    "query ($o: ID!, $n: String!) { uploadMedia(objectId: $o, fileName: $n, mediaType: ATTACHMENT) { uploadUrl objectUrl } }";
const ATTACH: &str = "mutation ($c: ID!, $n: String!, $u: String!) { updateCustomer(input: {id: $c, addAttachment: {name: $n, url: $u}}) { customer { id } errors { messages } } }";

/// The documents of one customer.
struct Documents<'w> {
    world: &'w World,
    owner: Api<'w>,
    customer: String,
}

impl<'w> Documents<'w> {
    async fn of(world: &'w World, customer: &str) -> Self {
        let id: CustomerId = world.id(customer).await.parse().unwrap();
        Self {
            world,
            owner: Api::program(&world.daemon, "owner").await,
            customer: id.global(),
        }
    }

    /// Uploads one; gives what to name it by.
    async fn upload(&self, name: &str) -> String {
        let permitted = self.owner.get(UPLOAD, json!({ "o": self.customer, "n": name })).await;
        let to = permitted["uploadUrl"].as_str().unwrap();
        let put = self.world.daemon.send(Method::PUT, to, &[], text(name)).await;
        assert_eq!(put.status, 200, "{:?}", put.body);
        permitted["objectUrl"].as_str().unwrap().to_owned()
    }

    async fn attach(&self, name: &str, uploaded: &str) {
        let attached = self
            .owner
            .get(ATTACH, json!({ "c": self.customer, "n": name, "u": uploaded }))
            .await;
        assert_eq!(attached["errors"], json!([]));
    }

    async fn document(&self, name: &str) -> String {
        let uploaded = self.upload(name).await;
        self.attach(name, &uploaded).await;
        uploaded
    }

    /// It is there, as it was uploaded.
    async fn holds(&self, name: &str, uploaded: &str) {
        let url = format!("http://{}{uploaded}", self.world.daemon.address("api"));
        let bearer = [("authorization", self.owner.bearer())];
        let located = self.world.daemon.send(Method::GET, &url, &bearer, "").await;
        let url = located.json()["url"].as_str().unwrap().to_owned();
        let got = self.world.daemon.send(Method::GET, &url, &[], "").await;
        assert_eq!((got.status, String::from_utf8_lossy(&got.body).into_owned()), (200, text(name)));
    }
}

fn text(name: &str) -> String {
    format!("what stands in {name}")
}

fn id(uploaded: &str) -> MediaId {
    uploaded.rsplit('/').next().unwrap().parse().unwrap()
}

/// Where it is.
fn path(data: &Path, uploaded: &str) -> PathBuf {
    data.join("media").join(id(uploaded).0.simple().to_string())
}

/// Both customers' keys get their next versions; the log says of these files, and of no others, that they do not open.
fn rotates(daemon: &Daemon, unopened: &[&str]) {
    for customer in ["globex", "initech"] {
        done(&perseat(&daemon.data(), &["keys", "rotate", "--customer", customer]));
    }
    for uploaded in unopened {
        daemon.log_line(&["an uploaded file opens with no version", &id(uploaded).to_string()]);
    }
    let said = daemon.log().matches("an uploaded file opens with no version").count();
    assert_eq!(said, unopened.len(), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_open_holds_up_no_rotation() {
    let world = World::start(setup()).await;
    let documents = Documents::of(&world, "globex").await;
    let [flipped, cut, whole] = ["flipped", "cut", "whole"];
    let [flipped, cut, whole] = [
        documents.document(flipped).await,
        documents.document(cut).await,
        documents.document(whole).await,
    ];
    let backup = world.back_up("before");
    let data = world.daemon.data();
    let mut bytes = std::fs::read(path(&data, &flipped)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path(&data, &flipped), bytes).unwrap();
    std::fs::write(path(&data, &cut), "PSM1").unwrap();
    rotates(&world.daemon, &[&flipped, &cut]);
    world.until_alone("globex").await;
    world.daemon.log_line(&[DESTROYED]);
    documents.holds("whole", &whole).await;

    // In a backup from before nothing opens any more that the older version sealed.
    let newest = world.export("newest");
    let key = data.join("master-key");
    let restored = Daemon::launch_on(setup().allow(&[world.provider.address()]), |data| {
        std::fs::create_dir(data).unwrap();
        std::fs::copy(&key, data.join("master-key")).unwrap();
        let [backup, newest] = [&backup, &newest].map(|path| path.to_str().unwrap());
        done(&perseat(data, &["restore", backup, "--keyring", newest]));
    });
    restored.until_ready();
    rotates(&restored, &[&flipped, &cut, &whole]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nothing_has_taken_up_outlives_the_version_that_sealed_it() {
    let world = World::start(setup()).await;
    let (documents, others) = (Documents::of(&world, "globex").await, Documents::of(&world, "initech").await);
    let (uploaded, other) = (documents.upload("later").await, others.upload("other").await);
    let other = path(&world.daemon.data(), &other);
    let before = std::fs::read(&other).unwrap();
    done(&world.rotate("globex"));
    world.until_alone("globex").await;
    world.daemon.log_line(&[DESTROYED]);
    documents.attach("later", &uploaded).await;
    documents.holds("later", &uploaded).await;
    assert_eq!(std::fs::read(&other).unwrap(), before, "nobody else's bytes change");
    assert!(!world.daemon.log().contains("an uploaded file opens with no version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_the_newest_version_seals_are_looked_at_again_only_before_an_older_one_goes() {
    let mut world = World::start(setup_in_little_room()).await;
    let uploaded = Documents::of(&world, "initech").await.document("document").await;
    let file = path(&world.daemon.data(), &uploaded);
    let old = std::fs::read(&file).unwrap();
    world.works("initech", "everybody").await;
    assert!(done(&world.rotate("initech")).contains("version 1 stays until"));
    // Nothing needs the other customer's older versions: as soon as one is gone, a look began after the last one ended.
    let looks = || async {
        for _ in 0..2 {
            done(&world.rotate("globex"));
            world.until_alone("globex").await;
        }
    };
    looks().await;
    let is_old = || std::fs::read(&file).unwrap() == old;
    assert!(!is_old());
    // Somebody puts a copy from before back.
    std::fs::write(&file, &old).unwrap();
    looks().await;
    assert!(is_old(), "it was looked at");
    world.until_pushed_out("initech").await;
    world.daemon.log_line(&[DESTROYED, &world.id("initech").await]);
    assert!(!is_old());
    Documents::of(&world, "initech").await.holds("document", &uploaded).await;
}
