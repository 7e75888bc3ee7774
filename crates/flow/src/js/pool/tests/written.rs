//! What is written to a child, and what of it stays in memory.

use super::*;
use crate::js::frame::{self, Incoming, ToChild};
use crate::js::worker::Task;
use tokio::io::{copy, sink};
use tokio::net::UnixStream;

#[tokio::test]
async fn what_large_frames_took_is_given_back_when_they_are_written() {
    let (shared, child) = pool_that_holds(&[1], &mut Vec::new());
    let (socket, mut other) = UnixStream::pair().unwrap();
    tokio::spawn(async move { copy(&mut other, &mut sink()).await });
    let mut task = Task::new(Arc::clone(&shared), child, socket, Incoming::new(shared.options.max_frame));
    for size in [20 << 20, 20 << 20, 1] {
        let text = "x".repeat(size);
        let frame = ToChild::Script { number: 0, text: &text };
        frame::push(&mut shared.lock().workers.get_mut(&child).unwrap().out, &frame);
        while task.write().unwrap() && !task.out.is_empty() {
            task.socket.writable().await.unwrap();
        }
        let waiting = shared.lock().workers[&child].out.capacity();
        assert!(
            waiting.max(task.out.capacity()) <= frame::KEPT,
            "{waiting}, {}",
            task.out.capacity()
        );
    }
}
