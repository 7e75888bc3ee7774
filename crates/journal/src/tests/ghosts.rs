//! Stale bytes: what an earlier use of the same place left behind never counts as written.

use std::sync::Arc;

use proptest::prelude::*;

use super::rig::{Op, Rig, SEGMENT};
use crate::{
    Disk, Fault, MemoryDisk,
    disk::{Campaign, Random},
    format::{FRAME_HEADER, FRAMES_AT, Frame, FrameWriter, Header, SEAL_AT, frame_length, salt},
    inspect,
    recover::{find, open_segment, segment_name},
    scan::FrameReader,
};

/// The frames of a segment as they stand, whatever its seal says.
fn frames(disk: &MemoryDisk, number: u32) -> Vec<Frame> {
    let segment = Arc::new(open_segment(disk, segment_name(number), number).unwrap());
    let mut reader = FrameReader::new(segment, SEGMENT);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// A frame of entries of these sizes; gives its link, too.
fn frame(salt: u32, offset: u32, previous: u32, sequence: u64, sizes: &[usize], filling: u8) -> (Vec<u8>, u32) {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes, salt, offset, sequence);
    for size in sizes {
        writer.push(1, 1, &vec![filling; *size]);
    }
    let link = writer.finish(previous);
    (bytes, link)
}

#[test]
fn an_intact_frame_behind_a_torn_one_does_not_pass_behind_the_shorter_one_that_takes_its_place() {
    let mut rig = Rig::new(1);
    let kept = rig.append_now(&[100]).unwrap();
    rig.append_now(&[120]).unwrap();
    rig.append_now(&[100]).unwrap();
    let number = kept.segment();
    let [kept_frame, torn, ghost]: [Frame; 3] = frames(&rig.disk, number).try_into().unwrap();
    // A' holds less than A, ends exactly where B starts, and has the place, the number and the predecessor of A.
    let id = inspect::segments_of(&rig.disk).unwrap().remove(0).unwrap().id();
    let (shorter, link) = frame(salt(id), torn.offset, kept_frame.chain, torn.sequence, &[50, 50], 7);
    assert_eq!(torn.offset + shorter.len() as u32, ghost.offset);
    assert!(
        Frame::decode(ghost.bytes().to_vec().into(), ghost.offset, torn.chain).is_some(),
        "B is intact by itself"
    );
    assert_ne!(link, torn.chain);
    rig.disk.corrupt(&segment_name(number), torn.offset as usize + 60, &[0xff]);
    rig.crash();
    assert_eq!(rig.journal().scan(None).count(), 1, "A is torn, so B is not there either");
    rig.crash();
    // The seal of the first recovery would end the walk before A'.
    rig.disk.corrupt(&segment_name(number), SEAL_AT as usize, &[0; 8]);
    rig.disk.corrupt(&segment_name(number), torn.offset as usize, &shorter);
    let payloads: Vec<_> = rig.journal().scan(None).map(|entry| entry.unwrap().payload).collect();
    assert_eq!(payloads.len(), 3, "K and the two entries of A', not B");
    assert!(payloads[1..].iter().all(|payload| payload[..] == [7; 50]));
}

/// Sizes of which few sums differ, so that frames of one life often end where those of another begin.
fn layout() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let size = prop::sample::select(vec![4, 48, 92]);
    prop::collection::vec(prop::collection::vec(size, 1..3), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The worst case: the same segment id and the same frame numbers, so that the chain alone tells the lives apart.
    #[test]
    fn frames_written_over_others_of_the_same_segment_end_with_the_last_one_written(
        lives in prop::collection::vec(layout(), 2..5),
    ) {
        let disk = MemoryDisk::new(1);
        let header = Header { number: 1, id: 9, created_millis: 0, segment_bytes: SEGMENT };
        let file = disk.create(&segment_name(1)).unwrap();
        file.write_at(&vec![0; SEGMENT as usize], 0).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        for (life, layout) in lives.iter().enumerate() {
            let (mut offset, mut link) = (FRAMES_AT, salt(9));
            for (index, sizes) in layout.iter().enumerate() {
                let (bytes, next) = frame(salt(9), offset, link, index as u64 + 1, sizes, life as u8 + 1);
                file.write_at(&bytes, u64::from(offset)).unwrap();
                (offset, link) = (offset + bytes.len() as u32, next);
            }
        }
        let found = find(&disk).unwrap();
        let bounds = found.segments[0].bounds();
        let newest = lives.last().unwrap();
        prop_assert_eq!(bounds.last_sequence, newest.len() as u64);
        prop_assert_eq!(bounds.entries, newest.iter().map(|sizes| sizes.len() as u64).sum::<u64>());
    }
}

const RECYCLED: Campaign = Campaign {
    package: "perseat-journal",
    test: "tests::ghosts::random_overwrites_of_recycled_segments_show_nothing_of_a_former_life",
};

/// Many small lives of few files, with faults in between.
fn overwrite(rig: &mut Rig, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let kinds = [Fault::TornWrite, Fault::ShortWrite, Fault::FailedSync, Fault::Stop];
    let sizes = [500, 1_500, 3_000, 6_000];
    for _ in 0..160 {
        if random.below(20) == 0 {
            let call = rig.disk.calls() + random.below(4);
            rig.disk.fail_at(call, kinds[random.below(4) as usize]);
        }
        let op = match random.below(16) {
            0..=5 => Op::Append(vec![sizes[random.below(4) as usize]]),
            6..=9 => Op::Write,
            10..=12 => Op::Keep,
            13..=14 => Op::Release(random.below(2) as usize),
            _ if random.below(2) == 0 => Op::Crash,
            _ => Op::Restart,
        };
        rig.apply(&op);
    }
    rig.check()
}

/// Segments behind whose last frame a whole frame of a former life begins.
fn haunted(rig: &mut Rig) -> usize {
    let segments = rig.journal().segments();
    let begins = |segment: &crate::SegmentInfo| {
        let file = rig.disk.open(&segment_name(segment.number)).unwrap();
        let mut head = vec![0; FRAME_HEADER as usize];
        let read = file.read_at(&mut head, segment.bytes).unwrap();
        read == head.len() && (FRAME_HEADER..SEGMENT).contains(&frame_length(&head))
    };
    segments.iter().filter(|segment| begins(segment)).count()
}

#[test]
fn random_overwrites_of_recycled_segments_show_nothing_of_a_former_life() {
    let (mut recycled, mut ghosts) = (0, 0);
    let runs = RECYCLED.run_seeds(|seed| {
        let mut rig = Rig::new(seed);
        let outcome = overwrite(&mut rig, seed);
        recycled += u64::from(rig.recycled);
        ghosts += haunted(&mut rig) as u64;
        outcome
    });
    println!("{recycled} segments recycled in {runs} runs; in the end {ghosts} had a stale frame right behind their last one");
    assert!(runs < 100 || (recycled > runs && ghosts > 0), "nothing stale was met");
}
