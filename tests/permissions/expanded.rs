//! Every request of the walk with everything below it, as everybody: no answer holds what the table keeps from a role, nor
//! anything of another customer.

use crate::canaries::plant;
use crate::harness::daemon::Setup;
use crate::rows::{Fresh, Row, make, rows};
use crate::schema::Schema;
use crate::vault::{CONSENT, SECRETS, Vault};
use crate::walk::table;
use crate::world::{Place, ROLES, World};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Something of the first customer or of the organization, and the row of the table without which it is not to be seen.
struct Mark {
    text: String,
    row: &'static str,
    /// Whether a customer's people never see it.
    is_ours: bool,
}

impl Mark {
    fn is_kept_from(&self, table: &BTreeMap<String, [bool; 9]>, column: usize) -> bool {
        (self.is_ours && ROLES[column].1.is_some()) || !table[self.row][column]
    }
}

/// Marks what each row of the table is about.
async fn marks(world: &World) -> Vec<Mark> {
    let own = &world.places[0];
    let label =
        "mutation ($i: ID!) { updateInstance(input: {id: $i, labels: [\"mark-instance\"]}) { instance { id } errors { messages } } }";
    let value = "mutation ($i: ID!) { updateUserLevelConfig(input: {id: $i, configVariables: [{key: \"Folder\", value: \"mark-value\"}]}) { userLevelConfig { id } errors { messages } } }";
    for (query, id) in [(label, &own.instance), (value, &own.config)] {
        let marked = world.ask(0, query, json!({ "i": id })).await;
        assert!(crate::is_allowed(&marked), "{marked}");
    }
    world.attach(&own.customer, "mark-document", b"mark").await;
    let urls = "query ($i: ID!) { userLevelConfig(id: $i) { flowConfigs { nodes { webhookUrl instanceFlowConfig { webhookUrl } } } } }";
    let urls = world.ask(0, urls, json!({ "i": own.config })).await;
    let flow = &urls["data"]["userLevelConfig"]["flowConfigs"]["nodes"][0];
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{urls}")).to_owned();
    let mark = |text: &str, row| Mark {
        text: text.to_owned(),
        row,
        is_ours: false,
    };
    let ours = |text: &str, row| Mark {
        is_ours: true,
        ..mark(text, row)
    };
    vec![
        mark("mark-instance", "View instances"),
        mark(&text(&flow["instanceFlowConfig"]["webhookUrl"]), "View instances"),
        mark("mark-value", "View user configurations"),
        mark(&text(&flow["webhookUrl"]), "View user configurations"),
        mark("spare@own.example", "View customer users"),
        mark("spare@acme.example", "View the organization"),
        // The owner has tried the instance out.
        mark("owner@acme.example", "View the organization"),
        mark("mark-document", "View attachments"),
        mark(&own.execution, "View instance logs"),
        mark("BEGIN PUBLIC KEY", "Manage signing keys"),
        mark("\"by\":\"local:", "View the audit"),
        ours("ours-by-default", "View integrations"),
        ours("definitionVersion", "View integrations"),
    ]
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Asks for all that is below a request. What is refused takes what is around it away: it is asked again without.
async fn expand(world: &World, schema: &Schema, column: usize, row: &Row, place: &Place) -> Vec<Value> {
    let (mut without, mut answers) = (BTreeSet::new(), Vec::new());
    loop {
        let mut variables = row.variables.clone();
        if row.fresh != Fresh::Nothing {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            variables["i"] = make(world, row.fresh, place, number).await.into();
        }
        let answer = world.ask(column, &schema.expanded(row.query, &without), variables).await;
        let refused: BTreeSet<Vec<String>> = answer["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| {
                let path = error["path"].as_array().unwrap_or_else(|| panic!("{}: {answer}", row.query));
                path.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            })
            .filter(|path: &Vec<String>| path.len() > 1)
            .collect();
        answers.push(answer);
        let before = without.len();
        without.extend(refused);
        if without.len() == before {
            return answers;
        }
    }
}

#[tokio::test]
async fn no_answer_holds_what_its_reader_may_not_see_however_deep() {
    // Far more than anybody may ask for at once.
    let setup = Setup::new().set("api.max-depth", 100).set("api.max-complexity", 4_000_000_000_i64);
    let world = World::with(setup.set("api.query-rows", 1_000_000).set("api.query-time", "10m")).await;
    let vault = Vault::plant(&world).await;
    let references = plant(&world).await;
    let configure = "mutation ($i: ID!) { createUserLevelConfig(input: {instance: $i}) { userLevelConfig { id } errors { messages } } }";
    let tried = world.ask(0, configure, json!({ "i": world.places[0].instance })).await;
    assert!(crate::is_allowed(&tried), "{tried}");
    let (schema, marks) = (Schema::published(), marks(&world).await);
    let strange = references.iter().chain(&vault.results).map(String::as_str);
    let strange: Vec<&str> = strange.chain(["canary", CONSENT]).chain(SECRETS).collect();
    let (world, schema, marks, strange) = (&world, &schema, &marks, &strange);
    let columns = ROLES.into_iter().enumerate().map(|(column, (role, customer))| async move {
        let (mut asked, mut seen, mut wrong) = (0, BTreeSet::new(), Vec::new());
        let table = table();
        let kept = marks
            .iter()
            .filter(|mark| mark.is_kept_from(&table, column))
            .map(|mark| mark.text.as_str());
        let strange = strange.iter().copied().filter(|_| customer.is_some());
        let hidden: Vec<&str> = kept.chain(strange).chain(SECRETS).collect();
        for place in &world.places {
            // There is room for few keys.
            for row in rows(world, place).iter().filter(|row| row.fresh != Fresh::SigningKey) {
                for answer in expand(world, schema, column, row, place).await {
                    let said = answer.to_string();
                    asked += 1;
                    let found: Vec<&str> = hidden.iter().copied().filter(|text| said.contains(text)).collect();
                    if !found.is_empty() {
                        wrong.push(format!("{role} of {customer:?} sees {found:?} by {}: {said}", row.query));
                    }
                    seen.extend(
                        marks
                            .iter()
                            .map(|mark| mark.text.as_str())
                            .chain(["canary"])
                            .filter(|text| said.contains(*text)),
                    );
                }
            }
        }
        (column, asked, seen, wrong)
    });
    let (mut all_asked, table) = (0, table());
    for (column, asked, seen, wrong) in join_all(columns).await {
        assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong.join("\n"));
        all_asked += asked;
        // Nobody is kept from what the table lets them see either: every mark is where it can be found.
        for mark in marks.iter().filter(|mark| !mark.is_kept_from(&table, column)) {
            assert!(seen.contains(mark.text.as_str()), "{:?} does not see {}", ROLES[column], mark.text);
        }
        assert_eq!(
            seen.contains("canary"),
            ROLES[column].1.is_none() && ROLES[column].0 != "third_party"
        );
    }
    println!("{all_asked} answers");
}
