//! Two customers with a person of every role, who upload files.

use crate::harness::api::Api;
use crate::harness::daemon::{Answer, Daemon};
use http::Method;
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};
use std::io::Cursor;

pub(crate) const MANIFESTS: &str = "
kind: Organization
name: Acme
ulcEnabled: true
---
kind: Customer
name: Globex
externalId: globex
---
kind: Customer
name: Initech
externalId: initech
";

pub(crate) const ROLES: [&str; 4] = ["admin", "member", "marketplace_admin", "marketplace_user"];

pub(crate) fn people() -> String {
    let mut text = MANIFESTS.to_owned();
    for customer in ["globex", "initech"] {
        for role in ROLES {
            text += &format!("---\nkind: CustomerUser\ncustomer: {customer}\nname: {role}\nexternalId: {role}\nrole: {role}\n");
        }
    }
    text
}

pub(crate) fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 9]));
    DynamicImage::ImageRgb8(image).write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

pub(crate) struct World<'d> {
    pub(crate) daemon: &'d Daemon,
    pub(crate) owner: Api<'d>,
    pub(crate) globex: String,
    pub(crate) initech: String,
}

pub(crate) const UPLOAD: &str =
    "query ($o: ID!, $n: String!, $t: MediaType!) { uploadMedia(objectId: $o, fileName: $n, mediaType: $t) { uploadUrl objectUrl error } }";
pub(crate) const ATTACH: &str = "mutation ($c: ID!, $n: String!, $u: String!) { updateCustomer(input: {id: $c, addAttachment: {name: $n, url: $u}}) { customer { attachments { name url } } errors { field messages } } }";
pub(crate) const AVATAR: &str = "mutation ($c: ID!, $u: String!) { updateCustomer(input: {id: $c, avatarUrl: $u}) { customer { avatarUrl } errors { field messages } } }";
pub(crate) const ATTACHMENTS: &str = "query ($c: ID!) { customer(id: $c) { attachments { name url } } }";

impl<'d> World<'d> {
    pub(crate) async fn start(daemon: &'d Daemon) -> Self {
        daemon.apply(&people()).await;
        let owner = Api::with(daemon, json!({ "name": "owner", "role": "owner", "organization": "" })).await;
        let mut ids = Vec::new();
        for customer in ["globex", "initech"] {
            let found = owner
                .get(
                    "query ($c: String) { customers(externalId: $c) { nodes { id } } }",
                    json!({ "c": customer }),
                )
                .await;
            ids.push(text(&found["nodes"][0]["id"]));
        }
        let [globex, initech] = ids.try_into().unwrap();
        Self {
            daemon,
            owner,
            globex,
            initech,
        }
    }

    pub(crate) async fn person(&self, customer: &str, role: &str) -> Api<'d> {
        let body = json!({ "name": role, "customer": customer, "user": role, "organization": "" });
        Api::with(self.daemon, body).await
    }

    pub(crate) async fn permit(&self, api: &Api<'_>, object: &str, name: &str, kind: &str) -> (String, String) {
        let permitted = api.get(UPLOAD, json!({ "o": object, "n": name, "t": kind })).await;
        assert_eq!(permitted["error"], Value::Null);
        (text(&permitted["uploadUrl"]), text(&permitted["objectUrl"]))
    }

    pub(crate) async fn put(&self, url: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.daemon.send(Method::PUT, url, &[("content-type", "image/png")], body).await
    }

    /// Uploads; gives what to name the file by.
    pub(crate) async fn upload(&self, api: &Api<'_>, object: &str, name: &str, kind: &str, body: impl Into<reqwest::Body>) -> String {
        let (url, object) = self.permit(api, object, name, kind).await;
        let put = self.put(&url, body).await;
        assert_eq!(put.status, 200, "{:?}", put.body);
        object
    }

    /// Follows a reference with a bearer: the status, and what the signed URL answers.
    pub(crate) async fn fetch(&self, api: &Api<'_>, reference: &str) -> (u16, Option<Answer>) {
        let url = format!("http://{}{reference}", self.daemon.address("api"));
        let located = self.daemon.send(Method::GET, &url, &[("authorization", api.bearer())], "").await;
        match located.json()["url"].as_str() {
            Some(url) => (located.status, Some(self.daemon.send(Method::GET, url, &[], "").await)),
            None => (located.status, None),
        }
    }

    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(self.daemon.data().join("media")).unwrap().count()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(crate) fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

/// What does not get smaller by compression.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut bits = 7_u64;
    let mut byte = || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        (bits >> 32) as u8
    };
    (0..bytes).map(|_| byte()).collect()
}
