//! What the keeper knows of the writer.

use std::thread;

use super::*;
use crate::MemoryDisk;

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
