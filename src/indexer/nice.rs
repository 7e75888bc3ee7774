//! A thread of low priority that a value visits to be worked on.
//!
//! A thread that became nice does not become less so without a privilege: what turns urgent goes on where it came from.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

/// The thread's other end; it ends with it. At most one value is there.
#[derive(Debug)]
pub(super) struct Nice<T> {
    there: SyncSender<Box<T>>,
    back: Receiver<Box<T>>,
}

impl<T: Send + 'static> Nice<T> {
    /// Starts the thread; a failure to make it nice is logged and ignored.
    pub(super) fn start(name: &str, nice: i32, work: impl Fn(&mut T) + Send + 'static) -> io::Result<Self> {
        let (there, visits) = sync_channel::<Box<T>>(1);
        let (returns, back) = sync_channel(1);
        Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = rustix::process::nice(nice) {
                tracing::info!(%error, "the index runs at normal priority");
            }
            for mut visitor in visits {
                work(&mut visitor);
                if returns.send(visitor).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { there, back })
    }

    /// Has it worked on there.
    ///
    /// # Panics
    /// If the work did.
    pub(super) fn visit(&self, visitor: Box<T>) -> Box<T> {
        self.there
            .send(visitor)
            .ok()
            .and_then(|()| self.back.recv().ok())
            .expect("the thread ends with its other end, or by a panic that is passed on")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    #[test]
    fn a_visitor_is_worked_on_at_low_priority_and_comes_back() {
        let here = getpriority_process(Some(gettid())).unwrap();
        let nice = Nice::start("nice", 3, |seen: &mut Vec<i32>| {
            seen.push(getpriority_process(Some(gettid())).unwrap());
        })
        .unwrap();
        let seen = nice.visit(nice.visit(Box::new(Vec::new())));
        assert_eq!(*seen, vec![(here + 3).min(19); 2]);
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), here);
    }

    #[test]
    #[should_panic(expected = "passed on")]
    fn a_panic_there_is_one_here() {
        let nice = Nice::start("nice", 0, |_: &mut ()| panic!("as a test wants it")).unwrap();
        nice.visit(Box::new(()));
    }
}
