//! Uploaded files in a backup, in what is restored from it, and before `perseat verify`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use crate::world::{done, perseat, refused};
use http::Method;
use serde_json::json;

const UPLOAD: &str =
    "query ($o: ID!, $n: String!) { uploadMedia(objectId: $o, fileName: $n, mediaType: ATTACHMENT) { uploadUrl objectUrl } }";
const ATTACH: &str = "mutation ($c: ID!, $n: String!, $u: String!) { updateCustomer(input: {id: $c, addAttachment: {name: $n, url: $u}}) { customer { id } errors { messages } } }";

/// The files of a media folder.
fn files(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(data.join("media"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploaded_files_are_held_against_their_records() {
    let mut daemon = Daemon::start(Setup::new());
    daemon
        .apply("kind: Organization\nname: Acme\n---\nkind: Customer\nname: Globex\nexternalId: globex\n")
        .await;
    let owner = Api::program(&daemon, "owner").await;
    let found = owner.get("{ customers { nodes { id } } }", json!({})).await;
    let customer = found["nodes"][0]["id"].clone();
    let upload = async |name: &str, content: Vec<u8>| {
        let permitted = owner.get(UPLOAD, json!({ "o": customer, "n": name })).await;
        let put = daemon
            .send(Method::PUT, permitted["uploadUrl"].as_str().unwrap(), &[], content)
            .await;
        assert_eq!(put.status, 200);
        permitted["objectUrl"].clone()
    };
    // One that is too short to be compressed, one that is compressed.
    for (name, content) in [("short.txt", b"hello".to_vec()), ("long.txt", vec![b'x'; 50_000])] {
        let url = upload(name, content).await;
        owner.get(ATTACH, json!({ "c": customer, "n": name, "u": url })).await;
    }
    let named = files(&daemon.data());
    upload("unused.txt", b"nobody takes it".to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    let [backup, keyring] = ["backup", "keyring"].map(|name| folder.path().join(name));
    let data = daemon.data();
    done(&perseat(&data, &["backup", backup.to_str().unwrap()]));
    done(&perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]));
    daemon.terminate();

    let verify = |directory: &Path| perseat(&data, &["verify", directory.to_str().unwrap()]);
    let said = done(&verify(&data));
    assert!(
        said.contains("2 files as their records say") && said.contains("2 opened; 1 uploads that nothing has taken up"),
        "{said}"
    );
    for path in &named {
        let name = format!("media/{}", path.file_name().unwrap().to_str().unwrap());
        let whole = fs::read(path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(path, flipped).unwrap();
        refused(&verify(&data), &name);
        fs::write(path, &whole[..whole.len() - 1]).unwrap();
        refused(&verify(&data), &name);
        fs::remove_file(path).unwrap();
        refused(&verify(&data), &format!("{name}: it is missing"));
        fs::write(path, whole).unwrap();
    }
    let stray = data.join("media/notes.txt");
    fs::write(&stray, "x").unwrap();
    refused(&verify(&data), "media/notes.txt: it is no uploaded file");
    fs::remove_file(stray).unwrap();
    done(&verify(&data));

    // In a backup, whose records the master key opens.
    let key = data.join("master-key");
    let of_backup = ["verify", backup.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()];
    let said = done(&perseat(&data, &of_backup));
    assert!(
        said.contains("what belongs to users is sealed") && said.contains("what was looked into fits") && !said.contains("everything"),
        "{said}"
    );
    let said = done(&perseat(
        &data,
        &[&of_backup[..], &["--master-key", key.to_str().unwrap()]].concat(),
    ));
    assert!(said.contains("2 files as their records say") && said.contains("2 opened"), "{said}");
    let to = folder.path().join("restored");
    fs::create_dir(&to).unwrap();
    fs::copy(data.join("master-key"), to.join("master-key")).unwrap();
    done(&perseat(
        &to,
        &["restore", backup.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()],
    ));
    let said = done(&verify(&to));
    assert!(said.contains("2 files as their records say") && said.contains("2 opened"), "{said}");
}
