//! What stands between the client and the front: TLS, proxies.

use crate::harness::*;
use perseat_actors::front::{Proxies, PublicUrl};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn connect(world: &World, config: &Arc<ClientConfig>) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("hooks.example.com").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    Client::over(StreamOwned::new(connection, TcpStream::connect(world.address).unwrap()))
}

#[test]
fn tls_serves_and_a_new_certificate_serves_new_connections() {
    let world = Setup {
        public_url: PublicUrl::of_caller(),
        ..Setup::default()
    };
    let world = world.start();
    let (server, client) = certificate();
    world.tls.store(Some(server));
    let mut first = connect(&world, &client);
    first.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(first.answer().status, 200);
    assert_eq!(request_of(&world.appended(1)).invoke_url, format!("https://test{}", plain(1)));
    let (server, newer) = certificate();
    world.tls.store(Some(server));
    let mut second = connect(&world, &newer);
    second.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(second.answer().status, 200);
    first.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(first.answer().status, 200, "an open connection stays");
}

#[test]
fn a_handshake_that_does_not_come_is_closed() {
    let world = Setup::options(|options| options.handshake_timeout = Duration::from_millis(50)).start();
    world.tls.store(Some(certificate().0));
    assert!(world.connect().is_closed());
    until("the connection to end", || world.front.connections() == 0);
}

#[test]
fn forwarded_headers_count_only_from_trusted_proxies() {
    let world = Setup {
        public_url: PublicUrl::of_caller(),
        ..Setup::default()
    };
    let world = world.start();
    let forwarded = "x-forwarded-proto: https\r\nx-forwarded-host: hooks.example.com\r\n";
    assert_eq!(world.post(&plain(1), forwarded, "").status, 200);
    assert_eq!(request_of(&world.appended(1)).invoke_url, format!("http://test{}", plain(1)));
    world.proxies.store(Arc::new(Proxies(vec!["127.0.0.0/8".parse().unwrap()])));
    assert_eq!(world.post(&plain(1), forwarded, "").status, 200);
    assert_eq!(
        request_of(&world.appended(2)).invoke_url,
        format!("https://hooks.example.com{}", plain(1))
    );
}
