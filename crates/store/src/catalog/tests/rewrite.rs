//! The catalog is written anew once people were removed, and holds everything that was acknowledged whatever fails meanwhile.

use super::*;
use crate::fault_backend::open_at_last;
use perseat_journal::disk::{Campaign, Fault};
use std::time::Duration;

const REWRITE: Campaign = Campaign {
    package: "perseat-store",
    test: "catalog::tests::rewrite::whatever_fails_while_the_catalog_is_written_anew_everything_acknowledged_is_there",
};

const HOUR: Duration = Duration::from_secs(3_600);

fn holds(disk: &MemoryDisk, text: &str) -> bool {
    disk.durable("catalog.redb")
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// What of a user of [`World`] is not sealed.
fn plain(user: u128) -> [String; 3] {
    [format!("user {user}"), format!("User{user}@example.com"), format!("u-{user}")]
}

fn remove(catalog: &Catalog, user: &User, at: u64) {
    let change = Change { at: Timestamp(at), ..NOW };
    catalog.mutate(change, |tx| tx.delete_user(user.id, change.at)).unwrap();
}

#[test]
fn nothing_of_a_removed_user_is_left_once_it_is_time() {
    let (disk, catalog, world) = filled();
    let due = |now| catalog.rewrite_if_due(Timestamp(now), HOUR).unwrap();
    let at = 10_000;
    assert_eq!(
        (catalog.people_removed_at().unwrap(), due(u64::MAX)),
        (None, None),
        "nobody was removed"
    );
    remove(&catalog, &world.users[0], at);
    for text in plain(41) {
        assert!(holds(&disk, &text), "{text} is looked for where it is");
    }
    remove(&catalog, &world.users[1], at + 1);
    assert_eq!(catalog.people_removed_at().unwrap(), Some(Timestamp(at)), "of the first of them");
    assert_eq!(due(at + 3_599_999), None);
    let events = catalog.events_after(0, 10).unwrap();
    drop(catalog);
    disk.crash();
    let catalog = open(&disk).unwrap();
    let rewritten = catalog.rewrite_if_due(Timestamp(at + 3_600_000), HOUR).unwrap().unwrap();
    assert_eq!(rewritten.revision, 3);
    for text in plain(41).into_iter().chain(plain(42)) {
        assert!(!holds(&disk, &text), "{text}");
    }
    assert!(holds(&disk, "customer 10"));
    assert_eq!(catalog.people_removed_at().unwrap(), None);
    assert_eq!(catalog.rewrite_if_due(Timestamp(u64::MAX), HOUR).unwrap(), None);
    assert_eq!((catalog.revision().unwrap(), catalog.events_after(0, 10).unwrap()), (3, events));
    assert_eq!(catalog.verify_audit_chain().unwrap(), 3);
    assert_eq!(catalog.pending_destruction(10).unwrap().len(), 2);
    assert_eq!(catalog.get::<Instance>(world.instance.id).unwrap(), Some(world.instance));
}

#[test]
fn a_removal_by_a_clock_that_was_ahead_is_due() {
    let (_, catalog, world) = filled();
    let change = Change {
        at: Timestamp(9_000),
        ..NOW
    };
    catalog.mutate(change, |tx| tx.delete_customer(world.customer.id)).unwrap();
    assert!(catalog.rewrite_if_due(Timestamp(8_999), HOUR).unwrap().is_some());
}

#[test]
fn removing_anything_but_people_asks_for_nothing() {
    let (_, catalog, world) = filled();
    catalog.mutate(NOW, |tx| tx.delete_instance(world.instance.id)).unwrap();
    assert_eq!(catalog.people_removed_at().unwrap(), None);
}

/// What a catalog holds that a run wrote and nobody removed.
fn read(catalog: &Catalog) -> Result<(u64, Vec<String>), StoreError> {
    let view = catalog.view()?;
    let names = view.page::<Customer>(None, 100)?.items.into_iter().map(|customer| customer.name);
    let read = (view.verify_audit_chain()?, names.collect());
    assert_eq!(read.0, view.revision()?);
    Ok(read)
}

/// One rewriting with faults at some of its calls, between mutations; gives whether it was done all the same.
fn run(seed: u64, faults: std::ops::Range<u64>, fault: Option<Fault>) -> Result<(bool, u64), String> {
    let disk = MemoryDisk::new(seed);
    let catalog = open(&disk).unwrap();
    let world = World::new();
    catalog.mutate(NOW, |tx| world.write(tx)).unwrap();
    remove(&catalog, &world.users[0], 2_000);
    let begin = disk.calls();
    for call in faults {
        if let Some(fault) = fault {
            disk.fail_at(begin + call, fault);
        }
    }
    let outcome = catalog.rewrite_if_due(Timestamp(u64::MAX), HOUR);
    let calls = disk.calls() - begin;
    disk.heal();
    let is_done = match outcome {
        Ok(rewritten) => rewritten.is_some(),
        Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening) => false,
        Err(error) => return Err(format!("it fails with {error:?}")),
    };
    let catalog = if fault == Some(Fault::Stop) {
        drop(catalog);
        disk.crash();
        open_at_last(&disk, || open(&disk))?
    } else {
        // A disk that is whole again needs no restart.
        catalog
    };
    let joined = catalog.mutate(NOW, |tx| tx.put(&customer(77)));
    joined.map_err(|error| format!("afterwards no mutation is taken: {error:?}"))?;
    let expected = (3, vec!["customer 10".to_owned(), "customer 77".to_owned()]);
    let found = read(&catalog).map_err(|error| format!("it cannot be read: {error:?}"))?;
    if found != expected {
        return Err(format!("it holds {found:?}"));
    }
    drop(catalog);
    disk.crash();
    let catalog = open_at_last(&disk, || open(&disk))?;
    let found = read(&catalog).map_err(|error| format!("after a crash it cannot be read: {error:?}"))?;
    if found != expected {
        return Err(format!("after a crash it holds {found:?}"));
    }
    let is_left = catalog.people_removed_at().unwrap().is_some();
    if is_done && is_left {
        return Err("it is done and asked for again".into());
    }
    // Where it failed after the new file had its name, it is done, too.
    let again = catalog.rewrite_if_due(Timestamp(u64::MAX), HOUR).unwrap();
    if again.is_some() != is_left {
        return Err(format!("it is asked for ({is_left}) and comes to {again:?}"));
    }
    if plain(41).iter().any(|text| holds(&disk, text)) || disk.exists("catalog.redb.new") {
        return Err("something of the removed user is left".into());
    }
    if !plain(42).iter().all(|text| holds(&disk, text)) {
        return Err("the other user is not found".into());
    }
    Ok((is_done, calls))
}

#[test]
fn whatever_fails_while_the_catalog_is_written_anew_everything_acknowledged_is_there() {
    const KINDS: [Fault; 6] = [
        Fault::Error,
        Fault::ShortWrite,
        Fault::TornWrite,
        Fault::FailedSync,
        Fault::NoSpace,
        Fault::Stop,
    ];
    /// A seed takes every so many calls; so many seeds take each call with each kind of fault.
    const STRIDE: u64 = 16;
    let (mut runs, mut failed) = (0, 0);
    let (_, calls) = run(0, 0..0, None).unwrap();
    let seeds = REWRITE.run_seeds(|seed| {
        for call in (seed % STRIDE..calls).step_by(STRIDE as usize) {
            let fault = KINDS[((seed / STRIDE + call) % 6) as usize];
            let (is_done, _) =
                run(seed, call..call + 1 + seed % 3, Some(fault)).map_err(|problem| format!("call {call}, {fault:?}: {problem}"))?;
            runs += 1;
            failed += u64::from(!is_done);
        }
        Ok(())
    });
    println!("{seeds} seeds, {runs} runs at {calls} calls, {failed} rewritings failed");
    assert!(calls > 40 && failed > runs / 2, "{failed} of {runs} at {calls} calls");
}
