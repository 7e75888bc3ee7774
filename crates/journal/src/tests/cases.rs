//! The cases that the format and the recovery were made for, one by one.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::rig::{Rig, SEGMENT};
use crate::{
    Append, AppendError, Fault, NewEntry, OpenError, Position, ReadError, Room,
    format::{BLOCK, ENTRY_HEADER, FRAME_HEADER, FRAMES_AT, FrameWriter, Header, salt},
    inspect,
    recover::segment_name,
    scan::Scan,
    segment::{Segment, Table},
};

fn scanned(rig: &mut Rig) -> Vec<Result<Position, ReadError>> {
    rig.journal().scan(None).map(|entry| entry.map(|entry| entry.position)).collect()
}

fn positions(rig: &mut Rig) -> Vec<Position> {
    scanned(rig).into_iter().map(Result::unwrap).collect()
}

/// Fills segments until `count` of them are full and one more is begun.
fn fill(rig: &mut Rig, count: u32) -> Vec<Position> {
    let first = rig.append_now(&[7000]).unwrap();
    let mut all = vec![first];
    while all.last().unwrap().segment() < first.segment() + count {
        all.push(rig.append_now(&[7000]).unwrap());
    }
    all
}

#[test]
fn what_waits_goes_into_one_frame_with_one_sync() {
    let mut rig = Rig::new(1);
    rig.append_now(&[10]).unwrap();
    for _ in 0..5 {
        rig.append(&[100, 200]);
    }
    let before = rig.disk.calls();
    rig.open().writer.turn(false);
    assert_eq!(rig.disk.calls() - before, 2, "one write and one sync");
    rig.collect();
    assert_eq!(rig.acknowledged.len(), 11);
}

#[test]
fn a_frame_is_written_with_its_last_block_whole_and_up_to_the_end_of_the_segment_at_most() {
    let mut rig = Rig::new(1);
    let number = rig.append_now(&[10]).unwrap().segment();
    let name = segment_name(number);
    let end_of = |rig: &Rig| inspect::segments_of(&rig.disk).unwrap()[0].as_ref().unwrap().info().bytes as usize;
    let before = end_of(&rig);
    rig.disk.corrupt(&name, FRAMES_AT as usize + BLOCK, &[0xaa; 2 * BLOCK]);
    // Ends within a block of which nothing was written before.
    rig.append_now(&[BLOCK]).unwrap();
    let end = end_of(&rig);
    let block_end = end.next_multiple_of(BLOCK);
    assert!(before.next_multiple_of(BLOCK) < end && end < block_end);
    let durable = rig.disk.durable(&name);
    assert!(
        durable[end..block_end].iter().all(|byte| *byte == 0),
        "the rest of the block is written, too"
    );
    assert_eq!(durable[block_end], 0xaa, "the block behind it is not");
    let headers = (FRAME_HEADER + ENTRY_HEADER) as usize;
    while SEGMENT as usize - end_of(&rig) > BLOCK {
        rig.append_now(&[BLOCK / 2]).unwrap();
    }
    rig.append_now(&[SEGMENT as usize - end_of(&rig) - headers - 1]).unwrap();
    assert_eq!(end_of(&rig), SEGMENT as usize - 1);
    assert_eq!(rig.disk.durable(&name).len(), SEGMENT as usize);
}

#[test]
fn an_entry_above_the_frame_limit_goes_alone_and_one_above_the_entry_limit_not_at_all() {
    let mut rig = Rig::new(1);
    rig.append(&[100]);
    rig.append(&[(SEGMENT / 2 - ENTRY_HEADER) as usize]);
    rig.append(&[100]);
    rig.append_now(&[100]).unwrap();
    assert_eq!(rig.acknowledged.len(), 4);
    let inspected = inspect::segments_of(&rig.disk).unwrap();
    let frames = inspect::frames(inspected[0].as_ref().unwrap()).unwrap();
    assert_eq!(frames.iter().map(|frame| frame.entries).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(
        rig.append_now(&[(SEGMENT / 2 - ENTRY_HEADER) as usize + 1]),
        Err(AppendError::TooLarge)
    );
}

#[test]
fn a_lower_epoch_is_fenced_with_its_whole_call_and_an_equal_one_is_not() {
    let mut rig = Rig::new(1);
    rig.open().keep();
    let journal = rig.journal();
    journal.fence(3, 5);
    let entry = |partition, epoch| NewEntry {
        partition,
        epoch,
        payload: Bytes::from_static(b"12345678"),
    };
    let fenced = journal.append(vec![entry(2, 0), entry(3, 4)]);
    let passes = journal.append(vec![entry(2, 0), entry(3, 5)]);
    rig.open().writer.turn(false);
    assert_eq!(fenced.wait(), Err(AppendError::Fenced));
    assert!(passes.wait().is_ok());
    assert_eq!(positions(&mut rig).len(), 2);
}

#[test]
fn the_queue_is_bounded_by_entries_and_by_bytes_and_drains() {
    let mut rig = Rig::new(1);
    rig.options.max_queued_entries = 3;
    rig.options.max_queued_bytes = 4000;
    rig.open().keep();
    for sizes in [&[10, 10][..], &[10, 10], &[10], &[3990]] {
        rig.append(sizes);
    }
    rig.collect();
    assert_eq!(rig.refused, [AppendError::Busy, AppendError::Busy]);
    rig.open().writer.turn(false);
    // What was answered is taken off the count when the writer comes back.
    rig.open().writer.turn(false);
    rig.append_now(&[3900]).unwrap();

    // What others wait for does not wait in their line.
    rig.open().writer.turn(false);
    let journal = rig.journal();
    let entry = NewEntry {
        partition: 0,
        epoch: 0,
        payload: Bytes::from_static(b"payload"),
    };
    let waiting: Vec<_> = (0..4).map(|_| journal.append(vec![entry.clone()])).collect();
    let first = journal.append_first(vec![entry]);
    rig.open().writer.turn(false);
    rig.open().writer.turn(false);
    let outcomes: Vec<_> = waiting.into_iter().map(Append::wait).collect();
    let first = first.wait().unwrap();
    assert!(outcomes[..3].iter().all(|at| at.is_ok_and(|at| at > first)), "{outcomes:?}");
    assert_eq!(outcomes[3], Err(AppendError::Busy));
}

#[test]
fn after_a_restart_the_old_tail_is_sealed_and_a_new_segment_begun() {
    let mut rig = Rig::new(1);
    let before = rig.append_now(&[100]).unwrap();
    rig.crash();
    let old = rig.journal().segments();
    assert!(old[0].sealed && old[0].final_hash.is_some());
    let after = rig.append_now(&[100]).unwrap();
    assert!(after.segment() > before.segment());
    assert_eq!(positions(&mut rig), [before, after]);
    rig.restart();
    let again = rig.journal().segments();
    assert_eq!(again[0], old[0], "a seal does not change");
    assert!(again[1].final_hash.is_some());
}

#[test]
fn a_recycled_segment_reads_as_expired_before_and_after_its_file_is_reused() {
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 2);
    let journal = rig.journal();
    let released = journal.release(all[0].segment() + 1).unwrap();
    assert_eq!((released.segments, released.bytes), (1, u64::from(SEGMENT)));
    assert!(matches!(journal.read(all[0]), Err(ReadError::Expired(_))));
    fill(&mut rig, 3);
    assert!(matches!(journal.read(all[0]), Err(ReadError::Expired(_))));
    rig.crash();
    assert!(matches!(rig.journal().read(all[0]), Err(ReadError::Expired(_))));
    let beyond = Position::new(99, FRAMES_AT + FRAME_HEADER);
    assert!(matches!(rig.journal().read(beyond), Err(ReadError::Corrupt { .. })));
}

#[test]
fn a_reader_that_still_holds_a_reused_segment_sees_no_entry_of_its_new_life() {
    let mut rig = Rig::new(1);
    let at = rig.append_now(&[100]).unwrap();
    let inspected = inspect::segments_of(&rig.disk).unwrap().remove(0).unwrap();
    // The same bytes under another id, as if the file had been recycled between the look-up and the read.
    let mut frame = Vec::new();
    let mut writer = FrameWriter::begin(&mut frame, salt(inspected.id() + 1), FRAMES_AT, 1);
    writer.push(1, 1, &[7; 100]);
    writer.finish(salt(inspected.id() + 1));
    rig.disk.corrupt(&segment_name(at.segment()), FRAMES_AT as usize, &frame);
    assert!(matches!(rig.journal().read(at), Err(ReadError::Corrupt { .. })));
    let table = Table::new(0);
    assert!(
        matches!(table.read(at), Err(ReadError::Corrupt { .. })),
        "beyond the head of an empty log"
    );
}

#[test]
fn a_stale_frame_of_the_files_former_life_does_not_pass_behind_a_new_one_of_the_same_length() {
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 1);
    let reused = rig.journal().release(all[0].segment() + 1).unwrap();
    assert_eq!(reused.segments, 1);
    // The next segments' files include the released one, whose old frames stand exactly where the second frame would be.
    let mut kept: Vec<_> = all.into_iter().filter(|at| at.segment() > 1).collect();
    for _ in 0..3 {
        rig.crash();
        kept.push(rig.append_now(&[7000]).unwrap());
        rig.crash();
        assert_eq!(positions(&mut rig), kept);
    }
}

#[test]
fn a_torn_frame_hides_the_intact_one_behind_it_and_nothing_is_written_over_them() {
    let mut rig = Rig::new(1);
    let kept = rig.append_now(&[100]).unwrap();
    let torn = rig.append_now(&[100]).unwrap();
    let ghost = rig.append_now(&[100]).unwrap();
    rig.disk
        .corrupt(&segment_name(torn.segment()), torn.offset() as usize + 60, &[0xff]);
    rig.crash();
    assert_eq!(positions(&mut rig), [kept]);
    assert!(
        matches!(rig.journal().read(ghost), Err(ReadError::Corrupt { .. })),
        "behind the cut there is nothing"
    );
    let next = rig.append_now(&[100]).unwrap();
    assert_ne!(next.segment(), torn.segment());
    rig.crash();
    assert_eq!(positions(&mut rig), [kept, next]);
}

#[test]
fn rot_inside_a_sealed_segment_is_reported_and_what_follows_is_still_read() {
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 1);
    rig.disk
        .corrupt(&segment_name(all[1].segment()), all[1].offset() as usize + 60, &[0xff]);
    rig.crash();
    let found = scanned(&mut rig);
    assert_eq!(found[0].as_ref().unwrap(), &all[0]);
    assert!(matches!(found[1], Err(ReadError::Corrupt { position, .. }) if position.segment() == all[1].segment()));
    assert_eq!(found[2].as_ref().unwrap(), all.last().unwrap());
    assert_eq!(found.len(), 3);
    assert!(matches!(rig.journal().read(all[1]), Err(ReadError::Corrupt { .. })));
}

#[test]
fn a_read_that_fails_is_made_again_and_nothing_is_passed_over() {
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 1);
    for reads in 0.. {
        rig.disk.fail_at(rig.disk.calls() + reads, Fault::Error);
        let (failed, found): (Vec<_>, Vec<_>) = scanned(&mut rig).into_iter().partition(Result::is_err);
        assert!(failed.iter().all(|error| matches!(error, Err(ReadError::Io(_)))), "{failed:?}");
        assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), all);
        rig.disk.heal();
        if failed.is_empty() {
            assert!(reads > 1, "each segment is read");
            break;
        }
    }
}

#[test]
fn a_segment_that_vanished_is_reported_where_it_was() {
    use crate::Disk;
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 2);
    let gone = all[0].segment() + 1;
    rig.restart();
    rig.disk.remove(&segment_name(gone)).unwrap();
    rig.disk.sync_directory().unwrap();
    let found = scanned(&mut rig);
    let errors: Vec<_> = found.iter().filter_map(|entry| entry.as_ref().err()).collect();
    assert!(matches!(errors[..], [ReadError::Corrupt { position, .. }] if position.segment() == all[0].segment()));
    assert!(rig.journal().segments()[0].damaged);
    assert_eq!(found.iter().flatten().count(), all.iter().filter(|at| at.segment() != gone).count());
}

#[test]
fn a_damaged_header_keeps_the_log_closed() {
    let mut rig = Rig::new(1);
    let at = rig.append_now(&[100]).unwrap();
    rig.disk.corrupt(&segment_name(at.segment()), 20, &[0xff]);
    rig.crash();
    assert!(matches!(rig.try_open().map(drop), Err(OpenError::Corrupt { .. })));
    let found = inspect::segments_of(&rig.disk).unwrap();
    assert!(found.iter().any(Result::is_err), "and can be looked at");
}

#[test]
fn a_failed_sync_moves_the_frame_to_the_next_segment_and_a_restart_finds_it_once() {
    for fault in [Fault::FailedSync, Fault::Error] {
        let mut rig = Rig::new(1);
        let first = rig.append_now(&[100]).unwrap();
        let sync = rig.disk.calls() + 1;
        rig.disk.fail_at(sync, fault);
        let moved = rig.append_now(&[100]).unwrap();
        assert!(moved.segment() > first.segment());
        let segments = rig.journal().segments();
        assert!(segments[0].sealed);
        assert_eq!(positions(&mut rig), [first, moved]);
        rig.crash();
        assert_eq!(positions(&mut rig), [first, moved]);
        assert_eq!(rig.journal().segments()[0].final_hash, segments[0].final_hash);
    }
}

#[test]
fn a_segment_that_failed_is_never_written_or_synced_again() {
    let mut rig = Rig::new(1);
    let first = rig.append_now(&[100]).unwrap();
    rig.disk.fail_at(rig.disk.calls() + 1, Fault::FailedSync);
    rig.append_now(&[100]).unwrap();
    rig.journal().release(first.segment() + 1).unwrap();
    rig.open().keep();
    let held: Vec<_> = crate::Disk::list(&rig.disk).unwrap();
    assert!(
        !held.iter().any(|name| name.starts_with(&format!("{:010}", first.segment()))),
        "its file is deleted, not reused: {held:?}"
    );
}

#[test]
fn two_failures_in_a_row_poison_the_log_until_it_is_opened_again() {
    let mut rig = Rig::new(1);
    let kept = rig.append_now(&[100]).unwrap();
    let calls = rig.disk.calls();
    rig.disk.fail_at(calls, Fault::TornWrite);
    rig.disk.fail_at(calls + 1, Fault::ShortWrite);
    // In the next segment it ends with a block: what is cut off there is the frame's, not zeros behind it.
    let headers = (FRAME_HEADER + ENTRY_HEADER) as usize;
    rig.append(&[2 * BLOCK - headers]);
    rig.open().writer.turn(false);
    rig.collect();
    assert_eq!(rig.refused, [AppendError::Poisoned]);
    assert!(rig.journal().is_poisoned());
    assert_eq!(rig.append_now(&[100]), Err(AppendError::Poisoned));
    rig.crash();
    assert_eq!(positions(&mut rig), [kept]);
    rig.append_now(&[100]).unwrap();
}

#[test]
fn what_is_refused_after_a_segment_failed_may_be_there_after_a_restart() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..32 {
        for refusal in [AppendError::Poisoned, AppendError::Full] {
            let mut rig = Rig::new(seed);
            if refusal == AppendError::Full {
                rig.disk.set_capacity(u64::from(SEGMENT) + 100);
            }
            let kept = rig.append_now(&[100]).unwrap();
            let calls = rig.disk.calls();
            // The frame is written, and what of it a failed sync stored is not known; then there is no segment that takes it.
            rig.disk.fail_at(calls + 1, Fault::FailedSync);
            rig.disk.fail_at(calls + 2, Fault::ShortWrite);
            rig.append(&[100, 100]);
            rig.open().writer.turn(false);
            rig.collect();
            assert_eq!(rig.refused, [refusal]);
            rig.disk.heal();
            rig.crash();
            let found = positions(&mut rig);
            assert_eq!(found[0], kept);
            outcomes.insert((refusal.to_string(), found.len() - 1));
        }
    }
    let counts: Vec<usize> = outcomes.iter().map(|(_, entries)| *entries).collect();
    assert_eq!(counts, [0, 2, 0, 2], "wholly or not at all, whichever the refusal: {outcomes:?}");
}

#[test]
fn a_full_disk_leaves_a_reserve_then_refuses_and_recovers_by_itself() {
    let mut rig = Rig::new(1);
    rig.disk.set_capacity(2 * u64::from(SEGMENT) + 100);
    let mut rooms = Vec::new();
    let refused = loop {
        let answer = rig.append_now(&[7000]);
        rooms.push(rig.journal().room());
        if let Err(error) = answer {
            break error;
        }
    };
    assert_eq!(refused, AppendError::Full);
    rooms.dedup();
    assert_eq!(rooms, [Room::Ample, Room::Reserve, Room::Full]);
    assert_eq!(rig.acknowledged.len(), 6, "two segments of three frames were used up");
    rig.disk.set_capacity(u64::MAX);
    rig.open().keep();
    assert_eq!(rig.journal().room(), Room::Ample);
    rig.append_now(&[7000]).unwrap();
    rig.check().unwrap();
}

#[test]
fn a_full_disk_is_met_before_a_segment_is_filled_and_what_is_filled_keeps_its_room() {
    use crate::Disk as _;
    let mut rig = Rig::new(1);
    rig.append_now(&[7000]).unwrap();
    let (used, segment) = (rig.disk.used(), u64::from(SEGMENT));
    let file = rig.disk.create("reserved").unwrap();
    rig.disk.set_capacity(used + segment);
    file.reserve(segment).unwrap();
    assert_eq!((rig.disk.used(), file.length().unwrap()), (used + segment, 0));
    let other = rig.disk.create("other").unwrap();
    assert_eq!(other.write_at(&[1], 0).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    file.write_zeros(SEGMENT as usize, 0).unwrap();
    for name in ["reserved", "other"] {
        rig.disk.remove(name).unwrap();
    }

    rig.disk.set_capacity(used + segment - 1);
    let rooms = [(); 3].map(|()| {
        rig.append_now(&[7000]).unwrap();
        rig.journal().room()
    });
    assert_eq!(rooms.last(), Some(&Room::Reserve));
    let before = rig.disk.changes();
    rig.open().keep();
    assert_eq!(
        rig.disk.changes() - before,
        2,
        "a file was made and taken away, and nothing written"
    );
}

#[test]
fn the_budget_holds_with_spares_and_a_release_makes_room() {
    let mut rig = Rig::new(1);
    let budget = rig.options.max_bytes;
    while rig.append_now(&[7000]).is_ok() {
        assert!(rig.journal().total_bytes() <= budget);
    }
    assert_eq!(rig.journal().total_bytes(), budget);
    let newest = rig.journal().segments().last().unwrap().number;
    rig.journal().release(newest).unwrap();
    rig.append_now(&[7000]).unwrap();
    rig.open().keep();
    let kept = rig.options.max_free_segments + rig.options.spare_segments + 2;
    assert!(
        rig.journal().total_bytes() <= u64::from(kept * SEGMENT),
        "what is not kept for reuse is deleted"
    );
}

#[test]
fn a_directory_without_room_still_opens_and_reads() {
    let mut rig = Rig::new(1);
    let kept = rig.append_now(&[100]).unwrap();
    rig.restart();
    rig.disk.set_capacity(0);
    rig.options.max_bytes = 2 * u64::from(SEGMENT);
    rig.open().keep();
    assert_eq!(rig.journal().read(kept).unwrap().position, kept);
}

#[test]
fn files_of_another_segment_size_are_read_and_not_reused() {
    let mut rig = Rig::new(1);
    let kept = rig.append_now(&[100]).unwrap();
    rig.crash();
    rig.options.segment_bytes *= 2;
    let next = rig.append_now(&[100]).unwrap();
    assert_eq!(positions(&mut rig), [kept, next]);
    rig.journal().release(next.segment()).unwrap();
    rig.open().keep();
    assert_eq!(rig.journal().total_bytes(), 2 * 2 * u64::from(SEGMENT));
    rig.crash();
    assert_eq!(positions(&mut rig), [next]);
}

#[test]
fn a_scan_from_a_position_begins_there() {
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 2);
    for (index, from) in all.iter().enumerate() {
        let found: Vec<_> = rig.journal().scan(Some(*from)).map(|entry| entry.unwrap().position).collect();
        assert_eq!(found, all[index..]);
    }
    let head = rig.journal().head();
    assert!(head > *all.last().unwrap());
    assert_eq!(rig.journal().scan(Some(head)).count(), 0);
}

#[test]
fn a_scan_goes_on_at_the_bookmark_of_an_earlier_one() {
    let mut rig = Rig::new(1);
    fill(&mut rig, 2);
    rig.append_now(&[100, 200, 300]).unwrap();
    rig.append_now(&[100]).unwrap();
    let all = positions(&mut rig);
    let found = |scan: Scan| scan.map(|entry| entry.unwrap().position).collect::<Vec<_>>();
    let mut bookmark = None;
    for (index, last) in all.iter().enumerate() {
        let mut scan = rig.journal().scan(None);
        assert_eq!(scan.nth(index).unwrap().unwrap().position, *last);
        bookmark = scan.bookmark();
        for (later, from) in all.iter().enumerate().skip(index) {
            assert_eq!(found(rig.journal().scan_on(bookmark, Some(*from))), all[later..]);
        }
    }
    let last = *all.last().unwrap();
    for (index, from) in all.iter().enumerate() {
        assert_eq!(
            found(rig.journal().scan_on(bookmark, Some(*from))),
            all[index..],
            "also from before it"
        );
    }
    let next = rig.append_now(&[100]).unwrap();
    assert_eq!(found(rig.journal().scan_on(bookmark, Some(last))), [last, next]);
    rig.disk.corrupt(&segment_name(last.segment()), FRAMES_AT as usize, &[0; 4]);
    assert_eq!(found(rig.journal().scan_on(bookmark, Some(last))), [last, next]);
    assert!(
        rig.journal().scan(Some(last)).any(|entry| entry.is_err()),
        "without one, what lies before is read"
    );
}

#[test]
fn a_closed_journal_answers_what_waits_and_takes_no_more() {
    let mut rig = Rig::new(1);
    rig.open().keep();
    rig.append(&[100]);
    let journal = rig.journal();
    rig.restart();
    assert_eq!(rig.acknowledged.len(), 1);
    assert_eq!(
        journal
            .append(vec![NewEntry {
                partition: 0,
                epoch: 0,
                payload: Bytes::new()
            }])
            .wait(),
        Err(AppendError::Closed)
    );
}

#[test]
fn inspection_shows_what_the_log_holds_and_changes_nothing() {
    let mut rig = Rig::new(1);
    let all = fill(&mut rig, 1);
    let open = rig.journal().segments();
    let before = rig.disk.calls();
    let found: Vec<_> = inspect::segments_of(&rig.disk).unwrap().into_iter().map(Result::unwrap).collect();
    assert!(rig.disk.calls() > before);
    let infos: Vec<_> = found.iter().map(inspect::Inspected::info).filter(|info| info.entries > 0).collect();
    assert_eq!(infos.len(), open.len());
    assert_eq!(
        (infos[0].bytes, infos[0].last, infos[0].final_hash),
        (open[0].bytes, open[0].last, open[0].final_hash)
    );
    let entries: Vec<_> = found
        .iter()
        .flat_map(inspect::entries)
        .map(|entry| entry.unwrap().position)
        .collect();
    assert_eq!(entries, all);
    let sequences: Vec<_> = found
        .iter()
        .flat_map(|segment| inspect::frames(segment).unwrap())
        .map(|frame| frame.sequence)
        .collect();
    assert_eq!(sequences, (1..=all.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_segment_of_nearly_four_gibibytes_takes_no_more_than_it_has_room_for() {
    let mut rig = Rig::new(1);
    let at = rig.append_now(&[100]).unwrap();
    let header = Header {
        number: at.segment(),
        id: 1,
        created_millis: 0,
        segment_bytes: u32::MAX,
    };
    let file = crate::Disk::open(&rig.disk, &segment_name(at.segment())).unwrap();
    let segment = Segment::new(header, String::new(), std::path::PathBuf::new(), file);
    segment.update(|bounds| bounds.end = u32::MAX - 1000);
    assert!(segment.fits(1000));
    assert!(!segment.fits(1001));
    assert!(!segment.fits(1 << 31));
}

#[test]
fn a_segment_keeps_its_number_in_its_name_and_its_header() {
    let mut rig = Rig::new(1);
    let at = rig.append_now(&[100]).unwrap();
    let file = crate::Disk::open(&rig.disk, &segment_name(at.segment())).unwrap();
    let mut block = vec![0; FRAMES_AT as usize];
    file.read_at(&mut block, 0).unwrap();
    let header = Header::decode(&block).unwrap();
    assert_eq!((header.number, header.segment_bytes), (at.segment(), SEGMENT));
    let segment = Arc::new(Segment::new(header, String::new(), std::path::PathBuf::new(), file));
    assert_eq!(segment.info().entries, 0);
}
