//! The walk over every request × role × customer, and the mutants that it must catch.

use crate::rows::{Fresh, Row, Who, make, rows};
use crate::world::{ROLES, World};
use futures_util::future::join_all;
use perseat_admin::access::Operation;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The table of the documentation: which columns are marked, by the name of the row.
pub(crate) fn table() -> BTreeMap<String, [bool; 9]> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/permissions.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let marks: Vec<bool> = cells[1..].iter().map(|cell| *cell == "x").collect();
        (cells[0].to_owned(), marks.try_into().unwrap())
    })
    .collect()
}

/// Whether the table marks a row in this column.
pub(crate) fn may(row: &str, column: usize) -> bool {
    table()[row][column]
}

fn expected(table: &BTreeMap<String, [bool; 9]>, who: Who, column: usize) -> bool {
    let may = |name: &str| table.get(name).unwrap_or_else(|| panic!("the table has no row {name}"))[column];
    match who {
        Who::Anybody => true,
        Who::May(name) => may(name),
        Who::OurPeople(name) => may(name) && ROLES[column].1.is_none(),
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was done, or refused for something else than who asks.
    Passed,
    /// The answer says that there is something, and that it is not for this role.
    Denied,
    /// As if there were nothing.
    Absent,
}

fn outcome(row: &Row, answer: &Value) -> Outcome {
    let said = answer.to_string();
    if said.contains("does not allow") || said.contains("may not give or take") {
        return Outcome::Denied;
    }
    // An attachment that is not there is looked for behind the checks.
    if said.replace("no such attachment", "").contains("here is no such") {
        return Outcome::Absent;
    }
    let value = answer["data"].as_object().and_then(|data| data.values().next());
    let value = value.unwrap_or_else(|| panic!("{} is refused as a whole: {said}", row.query));
    // Every customer has a document.
    match value["nodes"].as_array().or_else(|| value["attachments"].as_array()) {
        Some(nodes) if nodes.is_empty() => Outcome::Absent,
        _ => Outcome::Passed,
    }
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Asks everything as everybody, all roles at once; says what is not as the table says. `only` picks requests.
async fn walk(world: &World, only: impl Fn(&Row) -> bool) -> (usize, Vec<String>) {
    let (table, only) = (table(), &only);
    let table = &table;
    let columns = ROLES.iter().enumerate().map(|(column, (role, customer))| async move {
        let (mut asked, mut wrong) = (0, Vec::new());
        for (place, is_own) in world.places.iter().zip([true, false]) {
            for row in rows(world, place).into_iter().filter(only) {
                let mut variables = row.variables.clone();
                let is_visible = customer.is_none() || is_own || !row.of_customer;
                let should_pass = expected(table, row.who, column) && is_visible;
                if row.fresh != Fresh::Nothing && (should_pass || row.fresh != Fresh::SigningKey) {
                    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                    variables["i"] = make(world, row.fresh, place, number).await.into();
                } else if row.fresh != Fresh::Nothing {
                    // There is room for few keys: whoever may not delete one is asked with one that is not there.
                    variables["i"] = perseat_domain::id::join_global("OrganizationSigningKey", uuid::Uuid::nil()).into();
                }
                let answer = world.ask(column, row.query, variables).await;
                asked += 1;
                let found = outcome(&row, &answer);
                let is_right = match (should_pass, is_visible) {
                    (true, _) => found == Outcome::Passed,
                    (false, true) => found != Outcome::Passed,
                    // What another customer has is absent, not denied.
                    (false, false) => found == Outcome::Absent,
                };
                if !is_right {
                    wrong.push(format!(
                        "{} as {role} of {customer:?}, own: {is_own}: {found:?}, {answer}",
                        row.query
                    ));
                }
            }
        }
        (asked, wrong)
    });
    let (asked, wrong): (Vec<usize>, Vec<Vec<String>>) = join_all(columns).await.into_iter().unzip();
    (asked.into_iter().sum(), wrong.concat())
}

/// The fields of a root type of the published schema.
fn fields(root: &str) -> BTreeSet<String> {
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.graphql")).unwrap();
    let body = schema
        .split(&format!("type {root} {{\n"))
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let mut is_text = false;
    let mut names = BTreeSet::new();
    for line in body.lines() {
        if line.trim() == "\"\"\"" {
            is_text = !is_text;
        } else if !is_text {
            names.insert(line.trim().split(['(', ':']).next().unwrap().to_owned());
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

#[tokio::test]
async fn every_role_may_do_what_the_table_says_and_only_to_its_own_customer() {
    let world = World::start().await;
    let (asked, wrong) = walk(&world, |_| true).await;
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    let rows = rows(&world, &world.places[0]);
    assert_eq!(asked, rows.len() * ROLES.len() * world.places.len());
    println!("{asked} requests");

    let asked: BTreeSet<String> = rows.iter().map(|row| row.field().to_owned()).collect();
    let all: BTreeSet<String> = fields("Query").into_iter().chain(fields("Mutation")).collect();
    let missing: Vec<_> = all.difference(&asked).collect();
    assert!(missing.is_empty(), "no request asks for these fields of the schema: {missing:?}");

    let named: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| match row.who {
            Who::Anybody => vec![],
            Who::May(name) | Who::OurPeople(name) => vec![name],
        })
        .collect();
    let table = table();
    let unnamed: Vec<_> = table.keys().filter(|name| !named.contains(name.as_str())).collect();
    assert!(unnamed.is_empty(), "no request stands for these rows of the table: {unnamed:?}");
}

/// The name of a row as the table of the documentation writes it.
fn written(operation: Operation) -> String {
    let name = operation.to_string();
    name[..1].to_uppercase() + &name[1..]
}

#[tokio::test]
async fn the_walk_fails_when_any_one_check_is_removed() {
    let world = World::start().await;
    let table = table();
    let mut caught = 0;
    for operation in Operation::ALL {
        let name = written(*operation);
        if table[&name].iter().all(|is_marked| *is_marked) {
            continue;
        }
        let mutant = format!(
            "mutant:access-{}",
            name.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
        );
        world.daemon.switch(&mutant, true).await;
        let concerns = |row: &Row| {
            row.fresh == Fresh::Nothing
                && match row.who {
                    Who::Anybody => false,
                    Who::May(one) | Who::OurPeople(one) => one == name,
                }
        };
        let (asked, wrong) = walk(&world, concerns).await;
        world.daemon.switch(&mutant, false).await;
        assert!(asked > 0 && !wrong.is_empty(), "{mutant} is not noticed in {asked} requests");
        caught += 1;
    }
    assert!(caught > 15, "{caught}");
    world.daemon.switch("mutant:access-own-customer", true).await;
    let (_, found) = walk(&world, |row| row.of_customer && row.fresh == Fresh::Nothing).await;
    world.daemon.switch("mutant:access-own-customer", false).await;
    assert!(!found.is_empty(), "mutant:access-own-customer is not noticed");
    world.daemon.switch("mutant:access-grant", true).await;
    let found = escalations(&world).await;
    world.daemon.switch("mutant:access-grant", false).await;
    for way in WAYS {
        let noticed = found.iter().any(|attempt| attempt.starts_with(way));
        assert!(noticed, "mutant:access-grant is not noticed by {way}: {found:#?}");
    }
    let (_, wrong) = walk(&world, |row| row.fresh == Fresh::Nothing).await;
    assert!(wrong.is_empty(), "without a mutant all is as it was:\n{}", wrong.join("\n"));
}

/// Every act by which somebody could come by more power than they have, by its field and what is tried with it.
const WAYS: [&str; 5] = [
    "updateUser gives",
    "updateUser takes",
    "createOrganizationUser",
    "inviteUser",
    "deleteUser",
];

/// Tries to make somebody more powerful than oneself, to get hold of somebody who is, and to be rid of them; says which attempts
/// were not refused.
async fn escalations(world: &World) -> Vec<String> {
    let role =
        |place: u128| perseat_domain::id::join_global("Role", uuid::Uuid::from_u128(0x5045_5253_4541_8000_8000_524f_4c45_0000 + place));
    let (owner, guest) = (role(0), role(3));
    let update = "mutation ($i: ID!, $r: ID!) { updateUser(input: {id: $i, role: $r}) { user { id } errors { messages } } }";
    let create =
        "mutation ($i: String!, $r: ID!) { createOrganizationUser(input: {email: $i, role: $r}) { user { id } errors { messages } } }";
    let invite = "mutation ($i: ID!) { inviteUser(input: {id: $i}) { user { id } errors { messages } } }";
    let delete = "mutation ($i: ID!) { deleteUser(input: {id: $i}) { user { id } errors { messages } } }";
    let number = || NUMBER.fetch_add(1, Ordering::Relaxed);
    let another = async || make(world, Fresh::OrganizationUser, &world.places[0], number()).await;
    // One whom nobody but an owner may touch.
    let powerful = async || {
        let id = another().await;
        let made = world.ask(0, update, json!({ "i": id, "r": owner })).await;
        assert!(crate::is_allowed(&made), "{made}");
        id
    };
    let mut found = Vec::new();
    for (column, role) in ROLES.iter().enumerate().skip(1) {
        let address = format!("powerful{}@acme.example", number());
        let attempts = [
            (WAYS[0], update, json!({ "i": another().await, "r": owner })),
            (WAYS[1], update, json!({ "i": powerful().await, "r": guest })),
            (WAYS[2], create, json!({ "i": address, "r": owner })),
            (WAYS[3], invite, json!({ "i": powerful().await })),
            (WAYS[4], delete, json!({ "i": powerful().await })),
        ];
        for (way, query, variables) in attempts {
            let answer = world.ask(column, query, variables).await;
            if crate::is_allowed(&answer) {
                found.push(format!("{way} as {role:?}: {answer}"));
            }
        }
    }
    found
}

#[tokio::test]
async fn nobody_makes_another_more_powerful_than_themselves() {
    let world = World::start().await;
    assert_eq!(escalations(&world).await, Vec::<String>::new());
}
