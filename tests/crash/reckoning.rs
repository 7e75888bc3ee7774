//! What the provider saw, what was cancelled and what the index lists, held against the journal.

use std::collections::HashMap;
use std::str::FromStr as _;

use http::Method;
use perseat::receipts::ledger::{Ledger, Story};
use perseat_domain::entry::EndStatus;
use perseat_domain::id::ExecutionId;
use serde_json::{Value, json};

use crate::harness::daemon::Daemon;
use crate::harness::provider::Record;

/// How often the request of `path` may have been sent: once for each activation that found it not done and that had, or
/// could come to have, the step before it done.
fn most_requests(story: &Story, path: &str) -> usize {
    let at = |path: Option<String>| path.and_then(|path| story.done.get(&path)).map(|at| at[0].to_bits());
    let before = path.parse::<u32>().ok().and_then(|index| index.checked_sub(1));
    let done = at(Some(path.to_owned())).unwrap_or(u64::MAX);
    let ready = at(before.map(|index| index.to_string())).unwrap_or(0);
    let starts: Vec<u64> = story.started.iter().map(|at| at.to_bits()).collect();
    let ends = starts.iter().skip(1).copied().chain([u64::MAX]);
    starts
        .iter()
        .zip(ends)
        .filter(|(start, end)| **start < done && ready < *end)
        .count()
}

/// What the provider saw, held against the journal.
pub(crate) fn reconcile_requests(stories: &HashMap<ExecutionId, Story>, records: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut requests: HashMap<(ExecutionId, &str), usize> = HashMap::new();
    for record in records {
        let (step, ordinal) = record.key.rsplit_once(':').unwrap();
        let (execution, path) = step.split_once(':').unwrap();
        *requests.entry((ExecutionId::from_str(execution).unwrap(), path)).or_default() += 1;
        if ordinal != "0" || record.json()["token"] != record.token.as_str() {
            wrong.push(format!("a request with the wrong ordinal or token: {record:?}"));
        }
    }
    for ((id, path), sent) in &requests {
        match stories.get(id) {
            Some(story) if *sent <= most_requests(story, path) => {}
            story => wrong.push(format!("{id} sent the request of step {path} {sent} times: {story:?}")),
        }
    }
    for (id, story) in stories {
        // The step after the trigger is code; those after it are requests.
        let unsent = story
            .done
            .keys()
            .skip(1)
            .filter(|path| !requests.contains_key(&(*id, path.as_str())));
        wrong.extend(unsent.map(|path| format!("{id} has a result of step {path} and never sent its request")));
    }
    wrong
}

/// How each execution ended: well, unless its end was asked for; one that was still held cannot have ended well.
pub(crate) fn reconcile_ends(stories: &HashMap<ExecutionId, Story>, cancelled: &[ExecutionId]) -> Vec<String> {
    let is_wrong = |story: &Story| match story.end() {
        Some(EndStatus::Succeeded) => !story.failed.is_empty(),
        Some(EndStatus::Cancelled) => story.cancelled.is_empty(),
        _ => true,
    };
    let badly = stories.iter().filter(|(_, story)| is_wrong(story));
    let badly = badly.map(|(id, story)| format!("{id} ended badly: {story:?}"));
    let kept = |id: &&ExecutionId| {
        let story = &stories[*id];
        !story.cancelled.is_empty() && story.end() == Some(EndStatus::Cancelled)
    };
    let lost = cancelled.iter().filter(|id| stories.contains_key(id) && !kept(id));
    badly
        .chain(lost.map(|id| format!("{id} was to be cancelled and was not: {:?}", stories[id])))
        .collect()
}

/// Whose end was asked for when it may have come: that it was is in the journal.
pub(crate) fn reconcile_asked(stories: &HashMap<ExecutionId, Story>, asked: &[ExecutionId]) -> Vec<String> {
    let is_lost = |id: &&ExecutionId| stories.get(id).is_none_or(|story| story.cancelled.is_empty());
    let lost = asked.iter().filter(is_lost);
    lost.map(|id| format!("the end of {id} was asked for, and that is lost")).collect()
}

/// All executions that are listed, and their states.
async fn listed(daemon: &Daemon) -> HashMap<ExecutionId, Value> {
    let status = |row: &Value| (ExecutionId::from_str(row["id"].as_str().unwrap()).unwrap(), row["status"].clone());
    let (mut rows, mut before) = (HashMap::new(), String::new());
    loop {
        let list = daemon
            .local(Method::GET, &format!("/executions?limit=1000{before}"), None)
            .await
            .unwrap();
        let (page, known) = (list["executions"].as_array().unwrap(), rows.len());
        rows.extend(page.iter().map(status));
        assert_eq!(rows.len(), known + page.len(), "an execution is on two pages");
        let Some(next) = list["next"].as_str() else { return rows };
        before = format!("&before={next}");
    }
}

/// The index after everything: each execution whose end the journal still holds is listed as it ended.
pub(crate) async fn reconcile_index(daemon: &Daemon, ledger: &Ledger) -> Vec<String> {
    let rows = listed(daemon).await;
    assert!(!rows.is_empty(), "nothing is listed");
    let oldest = oldest_segment(daemon);
    let mut wrong = Vec::new();
    for (id, story) in ledger.stories() {
        let Some((at, end)) = story.ended.first() else { continue };
        match rows.get(id) {
            Some(row) if *row == json!(end) => {}
            None if at.segment() < oldest => {}
            row => wrong.push(format!("{id} ended {end:?} at {at} and is listed as {row:?}")),
        }
    }
    let unknown = rows.keys().filter(|id| !ledger.knows(**id));
    wrong.extend(unknown.map(|id| format!("{id} is listed and was never accepted")));
    wrong
}

fn oldest_segment(daemon: &Daemon) -> u32 {
    let segments = perseat_journal::inspect::segments(&daemon.data().join("journal")).unwrap();
    let numbers = segments.iter().filter_map(|segment| segment.as_ref().ok());
    let with_entries = numbers
        .map(perseat_journal::inspect::Inspected::info)
        .filter(|info| info.entries > 0);
    with_entries.map(|info| info.number).min().unwrap()
}

#[test]
fn the_reconciliation_finds_a_request_too_many_and_one_that_was_never_sent() {
    use perseat_journal::Position;
    use std::collections::BTreeMap;
    let id = ExecutionId(uuid::Uuid::from_u128(1));
    let record = |ordinal| Record {
        target: "POST /first".to_owned(),
        token: "t".to_owned(),
        key: format!("{id}:2:{ordinal}"),
        headers: http::HeaderMap::new(),
        body: json!({ "token": "t" }).to_string().into(),
    };
    let story = |started: &[u64]| {
        let at = |bits: u64| vec![Position::from_bits(bits)];
        let story = Story {
            accepted: 1,
            started: started.iter().copied().map(Position::from_bits).collect(),
            done: BTreeMap::from([("1".to_owned(), at(3)), ("2".to_owned(), at(5))]),
            ended: vec![(Position::from_bits(7), EndStatus::Succeeded)],
            ..Story::default()
        };
        HashMap::from([(id, story)])
    };
    let wrong = |story: &HashMap<_, _>, records: &[Record]| reconcile_requests(story, records).len();
    let twice = [record(0), record(0)];
    assert_eq!(wrong(&story(&[2]), &twice[..1]), 0);
    assert_eq!(
        wrong(&story(&[2, 4]), &twice),
        0,
        "it was not recorded when the second activation began"
    );
    assert_eq!(wrong(&story(&[2, 6]), &twice), 1, "it was recorded");
    assert_eq!(wrong(&story(&[1, 2]), &twice), 1, "the first activation never came to it");
    assert_eq!(wrong(&story(&[2]), &[]), 1, "it was recorded and never sent");
    assert_eq!(wrong(&story(&[2]), &[record(1)]), 1, "it is the only request of its step");
    assert_eq!(wrong(&HashMap::new(), &twice[..1]), 1, "nobody knows of it");
}

#[test]
fn an_end_that_was_asked_for_and_is_lost_is_found() {
    let id = ExecutionId(uuid::Uuid::from_u128(1));
    let cancelled = vec![perseat_journal::Position::from_bits(1)];
    let stories = |cancelled| {
        HashMap::from([(
            id,
            Story {
                cancelled,
                ..Story::default()
            },
        )])
    };
    assert_eq!(reconcile_asked(&stories(cancelled), &[id]).len(), 0);
    assert_eq!(reconcile_asked(&stories(Vec::new()), &[id]).len(), 1);
    assert_eq!(reconcile_asked(&HashMap::new(), &[id]).len(), 1);
}
