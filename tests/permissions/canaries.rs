//! What is planted at one customer shows in no answer to the people of another.

use crate::vault::{CONSENT, SECRETS, Vault};
use crate::world::{Place, ROLES, World};
use http::Method;
use serde_json::{Value, json};

/// Everything a client may ask for without knowing more than ids, those of the other customer among them.
fn curious(place: &Place, integration: &str) -> Vec<(&'static str, Value)> {
    let with = |id: &str| json!({ "i": id });
    vec![
        (
            "{ customers { nodes { name description labels externalId users { nodes { name email phone } } instances { nodes { name description labels } } } } }",
            json!({}),
        ),
        (
            r#"{ customers(name_Icontains: "o", description_Icontains: "canary") { nodes { description } } }"#,
            json!({}),
        ),
        (
            "query ($i: ID!) { customer(id: $i) { name description labels users { nodes { name } } } }",
            with(&place.customer),
        ),
        ("{ users { nodes { name email phone customer { description } } } }", json!({})),
        (
            "query ($i: ID) { users(customer: $i) { nodes { name phone } } }",
            with(&place.customer),
        ),
        (r#"{ users(name_Icontains: "canary") { nodes { name } } }"#, json!({})),
        ("query ($i: ID!) { user(id: $i) { name phone email } }", with(&place.user)),
        (
            "{ instances { nodes { name description labels customer { description } userLevelConfigs { nodes { configVariables { nodes { value } } } } } } }",
            json!({}),
        ),
        (
            "query ($i: ID) { instances(customer: $i) { nodes { description } } }",
            with(&place.customer),
        ),
        (
            r#"{ instances(customer_ExternalId: "other") { nodes { description } } }"#,
            json!({}),
        ),
        (
            "query ($i: ID!) { instance(id: $i) { description labels configVariables { nodes { value } } userLevelConfigs { nodes { user { name } } } } }",
            with(&place.instance),
        ),
        (
            "query ($i: ID!) { userLevelConfig(id: $i) { user { name } configVariables { nodes { value } } } }",
            with(&place.config),
        ),
        (
            "query ($i: ID!) { integration(id: $i) { instances { nodes { description } } customer { description } } }",
            with(integration),
        ),
        (
            "{ integrations { nodes { instances { nodes { description customer { description } } } } } }",
            json!({}),
        ),
        (
            "{ marketplaceIntegrations { nodes { instances { nodes { description } } } } }",
            json!({}),
        ),
        (
            "{ executionResults { nodes { id userName instance { description } logs { nodes { message } } } } }",
            json!({}),
        ),
        (
            "query ($i: ID) { executionResults(instance: $i) { nodes { id userName } } }",
            with(&place.instance),
        ),
        (
            "query ($i: ID!) { executionResult(id: $i) { userName stepResults { nodes { resultsUrl } } } }",
            with(&place.execution),
        ),
        (
            "query ($i: ID!) { logs(executionResult: $i) { nodes { message } } }",
            with(&place.execution),
        ),
        ("{ organization { name users { nodes { name phone } } } }", json!({})),
        ("{ audit { nodes { by records } } }", json!({})),
        (
            "query ($i: ID!) { customer(id: $i) { avatarUrl attachments { name url } users { nodes { avatarUrl email externalId } } } }",
            with(&place.customer),
        ),
        (
            "{ customers(sortBy: [{field: DESCRIPTION, direction: DESC}]) { nodes { name externalId avatarUrl attachments { name } } } }",
            json!({}),
        ),
        (r#"{ customers(name_Istartswith: "canary") { nodes { name } } }"#, json!({})),
        (r#"{ customers(externalId: "canary") { nodes { name externalId } } }"#, json!({})),
        (r#"{ customers(labels_Icontains: "canary") { nodes { labels } } }"#, json!({})),
        (
            r#"{ users(email_Istartswith: "canary", sortBy: [{field: EMAIL, direction: ASC}]) { nodes { email } } }"#,
            json!({}),
        ),
        (
            r#"{ users(name_Istartswith: "canary", customer_Isnull: false) { nodes { name externalId } } }"#,
            json!({}),
        ),
        (
            "{ users(sortBy: [{field: CUSTOMER, direction: DESC}]) { nodes { name email } } }",
            json!({}),
        ),
        ("query ($i: ID!) { user(id: $i) { avatarUrl externalId email } }", with(&place.user)),
        (r#"{ instances(name_Istartswith: "canary") { nodes { name } } }"#, json!({})),
        (
            "{ instances(sortBy: [{field: CUSTOMER, direction: DESC}]) { nodes { name description } } }",
            json!({}),
        ),
        (
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: ATTACHMENT) { uploadUrl objectUrl } }"#,
            with(&place.customer),
        ),
        (
            "mutation ($i: ID!) { updateCustomer(input: {id: $i, renameAttachment: {oldName: \"canary.txt\", newName: \"b\"}}) { customer { attachments { name } } errors { messages } } }",
            with(&place.customer),
        ),
        (
            "mutation ($i: ID!) { updateCustomer(input: {id: $i}) { customer { description } errors { messages } } }",
            with(&place.customer),
        ),
        (
            "mutation ($i: ID!) { deleteUser(input: {id: $i}) { user { name } errors { messages } } }",
            with(&place.user),
        ),
        (
            "mutation ($i: ID!) { deployInstance(input: {id: $i}) { instance { description } errors { messages } } }",
            with(&place.instance),
        ),
        (
            "mutation ($i: ID!) { createUserLevelConfig(input: {instance: $i}) { userLevelConfig { instance { name } } errors { messages } } }",
            with(&place.instance),
        ),
        (
            "mutation ($i: ID!) { deleteUserLevelConfig(input: {id: $i}) { userLevelConfig { user { name } } errors { messages } } }",
            with(&place.config),
        ),
    ]
}

/// Plants a canary in every field of the other customer that can hold one; gives the references of its files.
pub(crate) async fn plant(world: &World) -> Vec<String> {
    let other = &world.places[1];
    let plant = [
        (
            "mutation ($i: ID!) { updateCustomer(input: {id: $i, name: \"canary\", externalId: \"canary\", description: \"canary\", labels: [\"canary\"]}) { errors { messages } } }",
            &other.customer,
        ),
        (
            "mutation ($i: ID!) { updateUser(input: {id: $i, name: \"canary\", phone: \"canary\", externalId: \"canary\"}) { errors { messages } } }",
            &other.user,
        ),
        (
            "mutation ($i: ID!) { updateInstance(input: {id: $i, name: \"canary\", description: \"canary\", labels: [\"canary\"]}) { errors { messages } } }",
            &other.instance,
        ),
        (
            "mutation ($i: ID!) { updateUserLevelConfig(input: {id: $i, configVariables: [{key: \"Folder\", value: \"canary\"}]}) { errors { messages } } }",
            &other.config,
        ),
    ];
    for (query, id) in plant {
        let planted = world.ask(0, query, json!({ "i": id })).await;
        assert!(!planted.to_string().contains("messages\":["), "{planted}");
    }
    let avatar =
        "mutation ($i: ID!, $u: String!) { updateCustomer(input: {id: $i, avatarUrl: $u}) { customer { id } errors { messages } } }";
    let user = "mutation ($i: ID!, $u: String!) { updateUser(input: {id: $i, avatarUrl: $u}) { user { id } errors { messages } } }";
    offer_to_one(world, &other.customer).await;
    let mut references = vec![world.attach(&other.customer, "canary.txt", b"canary").await];
    for (object, query) in [(&other.customer, avatar), (&other.user, user)] {
        let reference = world.picture(0, object).await;
        let taken = world.ask(0, query, json!({ "i": object, "u": reference })).await;
        assert!(crate::is_allowed(&taken), "{taken}");
        references.push(reference);
    }
    references
}

/// Offers the other customer, and nobody else, an integration in the marketplace that users configure.
async fn offer_to_one(world: &World, customer: &str) {
    let yaml = "definitionVersion: 7
name: canary offer
description: canary
endpointType: flow_specific
requiredConfigVars: [{key: canary, stableKey: canary, dataType: string, orgOnly: false}]
configPages: [{name: canary, userLevelConfigured: true, elements: [{type: configVar, value: canary}]}]
flows:
  - name: canary
    stableKey: main
    steps:
      - {name: Trigger, stableKey: trigger, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}, inputs: {}}
";
    let import = "mutation ($i: String!) { importIntegration(input: {definition: $i}) { integration { id } errors { messages } } }";
    let id = world.make(import, json!({ "i": yaml })).await;
    let offers = [
        "mutation ($i: ID!, $c: ID!) { updateIntegration(input: {id: $i, customer: $c}) { integration { id } errors { messages } } }",
        "mutation ($i: ID!) { updateIntegrationMarketplaceConfiguration(input: {id: $i, marketplaceConfiguration: \"AVAILABLE_AND_DEPLOYABLE\"}) { integration { id } errors { messages } } }",
    ];
    for query in offers {
        let offered = world.ask(0, query, json!({ "i": id, "c": customer })).await;
        assert!(crate::is_allowed(&offered), "{offered}");
    }
}

#[tokio::test]
async fn nothing_of_one_customer_shows_in_any_answer_to_the_people_of_another() {
    let world = World::start().await;
    let other = &world.places[1];
    let vault = Vault::plant(&world).await;
    let references = plant(&world).await;
    // Whoever has the URL of a step's results has the results: it is as good as they are.
    let canaries: Vec<&str> = references
        .iter()
        .chain(&vault.results)
        .map(String::as_str)
        .chain(["canary", CONSENT])
        .chain(SECRETS)
        .collect();
    let mut questions = curious(other, &world.integration);
    questions.extend(vault.questions());
    let shows = |answer: &Value, canaries: &[&str]| {
        let said = answer.to_string();
        canaries.iter().any(|canary| said.contains(canary))
    };
    let (mut asked, mut blind) = (0, Vec::new());
    for (query, variables) in questions.iter().filter(|(query, _)| !query.starts_with("mutation")) {
        let answer = world.ask(0, query, variables.clone()).await;
        assert!(!answer["data"].is_null(), "{query}: {answer}");
        assert!(!shows(&answer, &SECRETS), "nobody is shown a secret: {query}: {answer}");
        asked += 1;
        if !shows(&answer, &canaries) {
            blind.push(*query);
        }
    }
    println!("{asked} questions; the owner sees no canary by {blind:#?}");
    assert!(asked - blind.len() > 30, "the canaries are where they can be seen: {blind:#?}");
    assert!(
        vault
            .questions()
            .iter()
            .all(|(query, _)| query.starts_with("mutation") || !blind.contains(query)),
        "{blind:#?}"
    );
    assert!(vault.results.len() >= 2, "{:?}", vault.results);
    for url in &vault.results {
        let results = world.daemon.send(Method::GET, url, &[], "").await;
        let said = String::from_utf8_lossy(&results.body).into_owned();
        assert_eq!(results.status, 200, "{said}");
        assert!(!SECRETS.iter().any(|secret| said.contains(secret)), "{said}");
    }
    for (column, (role, customer)) in ROLES.into_iter().enumerate().filter(|(_, (_, customer))| customer.is_some()) {
        for (query, variables) in &questions {
            let answer = world.ask(column, query, variables.clone()).await;
            assert!(!shows(&answer, &canaries), "{role} of {customer:?} sees it by {query}: {answer}");
        }
        let bearer = format!("Bearer {}", world.tokens[column]);
        for reference in &references {
            let url = format!("http://{}{reference}", world.daemon.address("api"));
            let answer = world.daemon.send(Method::GET, &url, &[("authorization", &bearer)], "").await;
            assert_eq!(answer.status, 404, "{role} of {customer:?}: {:?}", answer.body);
        }
    }
}
