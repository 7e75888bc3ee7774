use super::*;

#[test]
fn a_file_opens_with_its_key_and_as_it_was_written() {
    let bundle = Bundle {
        customer: Customer {
            id: CustomerId(Uuid::from_u128(7)),
            name: "Globex".into(),
            external_id: None,
            description: String::new(),
            labels: Vec::new(),
        },
        users: Vec::new(),
        integrations: Vec::new(),
        instances: Vec::new(),
        configs: Vec::new(),
    };
    let key = DataKey::new(&[1; 32], 0);
    let envelope = Envelope::seal(&bundle, &key, Timestamp(5));
    assert_eq!(envelope.open(&key).unwrap().customer, bundle.customer);
    assert!(
        !serde_json::to_string(&envelope).unwrap().contains("Globex"),
        "names are sealed, too"
    );
    let refused = |envelope: &Envelope, key: &DataKey| envelope.open(key).unwrap_err().to_string();
    assert!(refused(&envelope, &DataKey::new(&[2; 32], 0)).contains("the key is another one"));
    let mut other = envelope.clone();
    other.customer = CustomerId(Uuid::from_u128(8));
    assert!(refused(&other, &key).contains("was changed"));
    let mut newer = envelope;
    newer.format = 2;
    assert!(refused(&newer, &key).contains("format 2"));
}
