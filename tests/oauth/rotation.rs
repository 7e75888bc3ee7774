//! The key of a customer is rotated while a connection that the customer shares is renewed.

use std::process::Command;

use crate::harness::oauth::Manner;
use crate::sharers::{Plan, all_succeed, send, spent, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_a_customer_shares_is_renewed_once_beside_each_rotation_of_the_customers_key() {
    let plan = Plan {
        manner: Manner {
            lifetime: None,
            ..Manner::default()
        },
        keys: &[
            ("oauth.fresh", "1ms"),
            ("keyring.rotation-settle", "1ms"),
            ("keyring.rotation-look", "20ms"),
        ],
        ..Plan::of("customer")
    };
    let mut world = start(&plan).await;
    for user in ["ann", "carl"] {
        all_succeed(&world, &send(&world, user, 3).await).await;
    }
    let before = spent(&world).len();
    for round in 1..=5 {
        world.provider.end_access("globex");
        let data = world.daemon.data();
        let rotation = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
            command
                .args(["keys", "rotate", "--customer", "globex", "--data"])
                .arg(data)
                .output()
                .unwrap()
        });
        let (anns, bobs, carls, rotated) =
            tokio::join!(send(&world, "ann", 60), send(&world, "bob", 60), send(&world, "carl", 20), rotation);
        let rotated = rotated.unwrap();
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
        all_succeed(&world, &[anns, bobs, carls].concat()).await;
        assert_eq!(spent(&world).len(), before + round, "{:?}", spent(&world));
    }
    assert!(!world.provider.chain("globex").was_reused);
    world.daemon.terminate();
    let data = world.daemon.data();
    let verified = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .arg("verify")
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && said.contains("all opened with the master key"),
        "{said}"
    );
}
