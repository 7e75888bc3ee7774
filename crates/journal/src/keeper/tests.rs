//! What the keeper knows of the writer.

use std::thread;

use super::*;
use crate::{MemoryDisk, format::FRAMES_AT};

/// At the limit what does not go first leaves a spare, and waits for the next one though that one is ready.
#[test]
fn a_writer_that_waits_has_no_room() {
    let options = Options {
        segment_bytes: 32 << 10,
        ..Options::for_budget(96 << 10)
    };
    let pool = Pool::new(&options, Vec::new(), options.max_bytes, 2);
    let header = Header {
        number: 1,
        id: 1,
        created_millis: 0,
        segment_bytes: options.segment_bytes,
    };
    let file = MemoryDisk::new(1).create("1").unwrap();
    let spare = Segment::new(header, segment_name(1), "1".into(), file);
    pool.lock().ready.push_back(Arc::new(spare));
    assert_eq!(pool.writer().1, u64::from(options.segment_bytes));
    thread::scope(|scope| {
        let writer = scope.spawn(|| pool.take(Duration::from_secs(10), false, false));
        while !pool.lock().awaited {
            thread::yield_now();
        }
        assert_eq!(pool.writer().1, 0);
        pool.lock().limit += options.max_bytes;
        pool.for_writer.notify_all();
        assert!(matches!(writer.join(), Ok(Spare::Ready(_))));
    });
    assert_eq!(pool.writer().1, u64::from(options.segment_bytes - FRAMES_AT));
}

/// Closed with a full segment at hand, in the middle of filling a spare.
#[test]
fn what_is_full_is_sealed_before_the_end() {
    let options = Options {
        // What is filled at leisure takes seconds.
        segment_bytes: 32 << 20,
        ..Options::for_budget(512 << 20)
    };
    let disk = Arc::new(MemoryDisk::new(1));
    let (table, pool) = (Arc::new(Table::new(1)), Arc::new(Pool::new(&options, Vec::new(), 0, 2)));
    let header = Header {
        number: 1,
        id: 1,
        created_millis: 0,
        segment_bytes: options.segment_bytes,
    };
    let file = disk.create("1").unwrap();
    file.write_zeros(FRAMES_AT as usize, 0).unwrap();
    let full = Arc::new(Segment::new(header, segment_name(1), "1".into(), file));
    table.insert(full.clone());
    let mut keeper = Keeper {
        options,
        disk,
        table,
        pool: pool.clone(),
    };
    thread::scope(|scope| {
        scope.spawn(move || keeper.run());
        // The first spare is made in haste, the next one at leisure.
        while pool.lock().ready.is_empty() || pool.total_bytes() == u64::from(header.segment_bytes) {
            thread::yield_now();
        }
        let mut state = pool.lock();
        state.full.push_back((full.clone(), Write::Allowed));
        pool.closed.store(true, Ordering::Release);
        pool.stir(state);
    });
    assert!(full.bounds().hash.is_some());
    assert_eq!(pool.lock().ready.len(), 1, "the second spare was not made");
}
