//! Connections by mutual TLS, from a running daemon to a server that lets nobody in without a certificate.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{flow, people, step};

/// Who certifies servers and clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate and its key.
struct Pair {
    pem: String,
    key: KeyPair,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn certify(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
        }
    }

    fn client(&self, name: &str) -> Pair {
        self.certify(name, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// Answers with the name of the client whose certificate it saw.
async fn serve(authority: &Authority, clients: &[(&str, &Pair)]) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let own = authority.certify("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![own.der], PrivatePkcs8KeyDer::from(own.key.serialize_der()).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let known: BTreeMap<Vec<u8>, String> = clients.iter().map(|(name, pair)| (pair.der.to_vec(), (*name).to_owned())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, known) = (acceptor.clone(), known.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                let answer = json!({ "who": known[&shown] }).to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                    answer.len()
                );
                let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    head.extend_from_slice(&buffer[..count]);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// An integration whose flow answers with what the server said.
fn integration(name: &str, connection: &str, is_user_level: bool) -> String {
    let get = step(
        "Get",
        "http",
        "httpGet",
        "          url: {type: template, value: \"{{#Provider}}/who\"}\n          connection: {type: configVar, value: Account}\n",
    );
    let (company, own) = match is_user_level {
        true => ("", ", {type: configVar, value: Account}"),
        false => (", {type: configVar, value: Account}", ""),
    };
    let definition = format!(
        "definitionVersion: 7\nname: {name}\nendpointType: flow_specific\nrequiredConfigVars:\n\
         \x20 - {{key: Provider, stableKey: provider, dataType: string}}\n\
         \x20 - {{key: Folder, stableKey: folder, dataType: string}}\n\
         \x20 - {{key: Account, stableKey: account, dataType: connection, {connection}}}\n\
         configPages:\n\
         \x20 - {{name: Company, elements: [{{type: configVar, value: Provider}}{company}]}}\n\
         \x20 - {{name: Own, userLevelConfigured: true, elements: [{{type: configVar, value: Folder}}{own}]}}\n\
         flows:\n{}",
        flow("Work", "    isSynchronous: true\n", &[get])
    );
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    format!("kind: Integration\ndefinition: |\n{indented}---\n")
}

const OWN: &str = "connection: {key: mutualTls, component: {key: http, isPublic: true, version: LATEST}}, \
     inputs: {certificate: {type: value, value: null}, privateKey: {type: value, value: null}, caCertificate: {type: value, value: null}}";

fn block(pem: &str, indent: usize) -> String {
    let lines: String = pem.lines().map(|line| format!("{:indent$}{line}\n", "")).collect();
    format!("|\n{lines}")
}

/// The inputs, each line indented.
fn fields(certificate: &str, key: &str, authority: &str, indent: usize) -> String {
    let all = [("certificate", certificate), ("privateKey", key), ("caCertificate", authority)];
    let given = all.into_iter().filter(|(_, pem)| !pem.is_empty());
    given
        .map(|(name, pem)| format!("{:indent$}{name}: {}", "", block(pem, indent + 2)))
        .collect()
}

fn instance(name: &str, address: SocketAddr) -> String {
    format!("kind: Instance\nname: {name}\ncustomer: globex\nintegration: {name}\nconfigVars:\n  Provider: \"https://{address}\"\n")
}

fn of_user(instance: &str, user: &str, account: &str) -> String {
    format!("kind: UserLevelConfig\ncustomer: globex\ninstance: {instance}\nuser: {user}\nconfigVars:\n  Folder: /{user}\n{account}---\n")
}

fn account(pair: &Pair, authority: &Authority) -> String {
    format!(
        "  Account:\n    fields:\n{}",
        fields(&pair.pem, &pair.key.serialize_pem(), &authority.pem, 6)
    )
}

/// Why manifests are refused: the code and the problems.
async fn refused(daemon: &Daemon, manifests: &str) -> String {
    let manifests = read_text(manifests, Path::new("manifests.yml"), &|_| None).unwrap();
    let body = ApplyBody {
        manifests,
        options: ApplyOptions::default(),
    };
    daemon
        .local(Method::POST, "/apply", Some(json!(body)))
        .await
        .unwrap_err()
        .to_string()
}

/// Whose certificate the server sees when the user's flow of an instance runs.
async fn seen(daemon: &Daemon, user: &str, instance: &str) -> Value {
    let endpoints = daemon.endpoints(&format!("user={user}")).await;
    let endpoint = endpoints
        .iter()
        .find(|endpoint| endpoint.instance.as_deref() == Some(instance))
        .unwrap();
    let answer = daemon.post(&endpoint.url, &[("content-type", "application/json")], "{}").await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_shows_its_users_certificate_and_nobody_elses_however_it_was_given() {
    let authority = Authority::new();
    let pairs: Vec<(&str, Pair)> = ["ann", "bob", "cem", "globex", "company"]
        .into_iter()
        .map(|name| (name, authority.client(name)))
        .collect();
    let of = |name: &str| &pairs.iter().find(|(known, _)| *known == name).unwrap().1;
    let known: Vec<(&str, &Pair)> = pairs.iter().map(|(name, pair)| (*name, pair)).collect();
    let address = serve(&authority, &known).await;
    // One client is kept: each of them takes the place of another.
    let daemon = Daemon::start(Setup::new().allow(&[address]).set("outbound.client-certificates", 1));
    let mut yaml = people(&[("globex", &["ann", "bob", "cem"])]);
    for (sharing, key) in [("user", "mine"), ("customer", "ours"), ("organization", "all")] {
        write!(
            yaml,
            "kind: SharedConnection\nname: {key}\nstableKey: {key}\nsharing: {sharing}\ncomponent: http\nconnection: mutualTls\nfields:\n"
        )
        .unwrap();
        yaml += &match sharing {
            "organization" => fields(&of("company").pem, &of("company").key.serialize_pem(), &authority.pem, 2),
            _ => fields("", "", &authority.pem, 2),
        };
        yaml += "---\n";
    }
    let given = |holder: &str, key: &str, name: &str| {
        let pair = of(name);
        let fields = fields(&pair.pem, &pair.key.serialize_pem(), "", 2);
        format!("kind: SharedConnectionValue\nconnection: {key}\ncustomer: globex\n{holder}fields:\n{fields}---\n")
    };
    yaml += &given("user: ann\n", "mine", "ann");
    yaml += &given("user: cem\n", "mine", "cem");
    yaml += &given("", "ours", "globex");
    for (name, connection, is_user_level) in [
        ("Own", OWN.to_owned(), true),
        ("Mine", "useScopedConfigVar: mine".to_owned(), true),
        ("Ours", "useScopedConfigVar: ours".to_owned(), false),
        ("All", "useScopedConfigVar: all".to_owned(), false),
    ] {
        yaml += &integration(name, &connection, is_user_level);
        yaml += &instance(name, address);
        yaml += "---\n";
        for user in ["ann", "cem"] {
            let account = if name == "Own" {
                account(of(user), &authority)
            } else {
                String::new()
            };
            yaml += &of_user(name, user, &account);
        }
    }
    daemon.apply(&yaml).await;

    // The third by the API.
    let api = Api::program(&daemon, "owner").await;
    let people = api.get("{ users { nodes { id externalId } } }", json!({})).await;
    let bob = people["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["externalId"] == "bob")
        .unwrap()["id"]
        .clone();
    let instances = api.get("{ instances { nodes { id name } } }", json!({})).await;
    let own = instances["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "Own")
        .unwrap()["id"]
        .clone();
    let values = |certificate: &str, key: &str| {
        let value = |name: &str, text: &str| json!({ "name": name, "type": "value", "value": text });
        let all = [
            value("certificate", certificate),
            value("privateKey", key),
            value("caCertificate", &authority.pem),
        ];
        json!(all).to_string()
    };
    let create = "mutation ($i: ID!, $u: ID!, $v: String) { createUserLevelConfig(input: {instance: $i, user: $u, configVariables: \
         [{key: \"Folder\", value: \"/bob\"}, {key: \"Account\", values: $v}]}) { userLevelConfig { id } errors { field code messages } } }";
    let ask = async |certificate: &str, key: &str| {
        let answer = api.ask(create, json!({ "i": own, "u": bob, "v": values(certificate, key) })).await;
        answer["data"]["createUserLevelConfig"].clone()
    };
    let bobs = of("bob").key.serialize_pem();
    let broken = of("bob").pem.replace('A', "!");
    for (certificate, key) in [
        (of("bob").pem.as_str(), of("ann").key.serialize_pem()),
        (broken.as_str(), bobs.clone()),
        (of("bob").pem.as_str(), "no key".to_owned()),
        (of("bob").pem.as_str(), String::new()),
    ] {
        let answer = ask(certificate, &key).await;
        assert_eq!(answer["errors"][0]["code"], "certificate_invalid", "{answer}");
        assert!(
            answer["errors"][0]["messages"][0].as_str().unwrap().contains("`Account`"),
            "{answer}"
        );
        assert!(answer["userLevelConfig"].is_null());
        assert!(!answer.to_string().contains("PRIVATE KEY"), "{answer}");
    }
    let made = ask(&of("bob").pem, &bobs).await;
    assert!(made["userLevelConfig"]["id"].is_string(), "{made}");

    // Together, and each again: connections are kept, clients are not.
    for _ in 0..3 {
        let (ann, bob, cem) = tokio::join!(
            seen(&daemon, "ann", "Own"),
            seen(&daemon, "bob", "Own"),
            seen(&daemon, "cem", "Own")
        );
        assert_eq!(
            (&ann["who"], &bob["who"], &cem["who"]),
            (&json!("ann"), &json!("bob"), &json!("cem"))
        );
        for (user, instance, who) in [
            ("ann", "Mine", "ann"),
            ("cem", "Mine", "cem"),
            ("ann", "Ours", "globex"),
            ("cem", "Ours", "globex"),
            ("ann", "All", "company"),
        ] {
            assert_eq!(seen(&daemon, user, instance).await["who"], who, "{user} of {instance}");
        }
    }

    // What does not fit is refused where it is given, and what was there stays.
    let mixed = format!(
        "  Account:\n    fields:\n{}",
        fields(&of("ann").pem, &of("bob").key.serialize_pem(), &authority.pem, 6)
    );
    let said = refused(&daemon, &of_user("Own", "ann", &mixed)).await;
    assert!(
        said.contains("`Account`") && said.contains("`privateKey` is not the key of `certificate`"),
        "{said}"
    );
    let mixed = fields(&of("ann").pem, &of("bob").key.serialize_pem(), "", 2);
    let shared = format!("kind: SharedConnectionValue\nconnection: mine\ncustomer: globex\nuser: ann\nfields:\n{mixed}---\n");
    let said = refused(&daemon, &shared).await;
    assert!(said.contains("`privateKey` is not the key of `certificate`"), "{said}");
    assert_eq!(seen(&daemon, "ann", "Own").await["who"], "ann");
    assert_eq!(seen(&daemon, "ann", "Mine").await["who"], "ann");
}
