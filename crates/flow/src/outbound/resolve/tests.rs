use super::*;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Names of this zone are not answered, or not before `open`.
const CLOSED: &str = "closed.example";
/// A test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A name server that answers for all names but those of [`CLOSED`], and says what it was asked.
#[derive(Debug)]
struct Server {
    asked: watch::Sender<Vec<(String, Instant)>>,
    open: watch::Sender<Option<Result<(), io::ErrorKind>>>,
}

impl Names for Server {
    fn lookup<'a>(&'a self, name: &'a str) -> Looking<'a> {
        self.asked.send_modify(|asked| asked.push((name.to_owned(), Instant::now())));
        Box::pin(async move {
            if name.ends_with(CLOSED) {
                let open = self.open.subscribe().wait_for(Option::is_some).await.map(|open| *open);
                open.ok().flatten().ok_or(io::ErrorKind::Other)??;
            }
            Ok(vec![IpAddr::from([192, 0, 2, 1])])
        })
    }
}

impl Server {
    fn names(&self) -> Vec<String> {
        self.asked.borrow().iter().map(|(name, _)| name.clone()).collect()
    }

    async fn was_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        timeout(PATIENCE, asked.wait_for(|asked| asked.len() >= times))
            .await
            .unwrap()
            .unwrap();
    }
}

fn lookups(max_lookups: usize, lookup_timeout: Duration) -> (Arc<Server>, Arc<Lookups>) {
    let server = Arc::new(Server {
        asked: watch::Sender::default(),
        open: watch::Sender::default(),
    });
    let options = Options {
        max_lookups,
        lookup_timeout,
        dns_cache: Duration::ZERO,
        ..Options::default()
    };
    let lookups = Arc::new(Lookups::new(options, Arc::clone(&server) as Arc<dyn Names>));
    (server, lookups)
}

type Asking = Pin<Box<dyn Future<Output = io::Result<Arc<[IpAddr]>>>>>;

/// Callers that have asked, and have no answer yet.
async fn asking(lookups: &Arc<Lookups>, names: impl IntoIterator<Item = String>) -> Vec<Asking> {
    let ask = |name: String| {
        let lookups = Arc::clone(lookups);
        Box::pin(async move { lookups.lookup(&name).await }) as Asking
    };
    let mut asking: Vec<Asking> = names.into_iter().map(ask).collect();
    are_waiting(&mut asking).await;
    asking
}

async fn are_waiting(asking: &mut [Asking]) {
    poll_fn(|context| {
        assert!(asking.iter_mut().all(|one| one.as_mut().poll(context).is_pending()));
        Poll::Ready(())
    })
    .await;
}

async fn answer(asking: impl Future<Output = io::Result<Arc<[IpAddr]>>>) -> io::Result<Arc<[IpAddr]>> {
    timeout(PATIENCE, asking).await.expect("nobody else's look-up stands in its way")
}

/// Nothing is left of look-ups that ended.
fn assert_idle(lookups: &Lookups) {
    let state = lookups.state();
    assert!(state.begun.is_empty() && state.zones.is_empty(), "{state:?}");
    assert_eq!(lookups.permits.available_permits(), lookups.options.max_lookups);
}

#[tokio::test]
async fn a_zone_that_does_not_answer_leaves_room_for_look_ups_of_others() {
    let (server, lookups) = lookups(4, PATIENCE * 1000);
    let mut flood = asking(&lookups, (0..100).map(|number| format!("{number}.{CLOSED}"))).await;
    server.was_asked(2).await;
    for name in ["open.example", "a.b.open.example", "localhost"] {
        answer(lookups.lookup(name)).await.unwrap();
    }
    are_waiting(&mut flood).await;
    let of_zone = |names: Vec<String>| names.iter().filter(|name| name.ends_with(CLOSED)).count();
    assert_eq!(of_zone(server.names()), 2, "half of the look-ups at once");

    server.open.send_replace(Some(Ok(())));
    for asking in flood {
        answer(asking).await.unwrap();
    }
    assert_eq!(of_zone(server.names()), 100);
    assert_idle(&lookups);
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_all_who_ask_meanwhile() {
    for opened in [Ok(()), Err(io::ErrorKind::ConnectionRefused)] {
        let (server, lookups) = lookups(32, PATIENCE * 1000);
        let name = format!("api.{CLOSED}");
        let all = asking(&lookups, std::iter::repeat_n(name.clone(), 100)).await;
        server.was_asked(1).await;
        server.open.send_replace(Some(opened));
        for asking in all {
            let answer = answer(asking).await;
            assert_eq!(answer.map(drop).map_err(|error| error.kind()), opened, "a failure is shared, too");
        }
        assert_eq!(server.names(), std::slice::from_ref(&name));
        assert_idle(&lookups);
        // What failed is not kept.
        assert_eq!(answer(lookups.lookup(&name)).await.is_ok(), opened.is_ok());
        assert_eq!(server.names().len(), 2);
    }
}

#[tokio::test]
async fn who_gives_up_takes_the_look_up_from_nobody() {
    let (server, lookups) = lookups(1, PATIENCE * 1000);
    let name = format!("api.{CLOSED}");
    let mut first = asking(&lookups, [name.clone()]).await;
    server.was_asked(1).await;
    let second = asking(&lookups, [name.clone()]).await;
    // In the line behind it, and given up there.
    let in_line = asking(&lookups, ["given-up.example".to_owned(), "kept.example".to_owned()]).await;
    let mut in_line = in_line.into_iter();
    drop(in_line.next());
    drop(first.pop());
    server.open.send_replace(Some(Ok(())));
    for asking in second.into_iter().chain(in_line) {
        answer(asking).await.unwrap();
    }
    assert_eq!(server.names(), [name, "kept.example".to_owned()]);
    assert_idle(&lookups);
}

#[tokio::test]
async fn the_time_of_a_look_up_begins_with_its_turn() {
    let time = Duration::from_millis(20);
    let (server, lookups) = lookups(1, time);
    let both = asking(&lookups, [format!("first.{CLOSED}"), format!("second.{CLOSED}")]).await;
    for asking in both {
        let error = answer(asking).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    let asked = server.asked.borrow().clone();
    assert!(
        asked.len() == 2 && asked[1].1.elapsed() >= time,
        "the second had less than its time: {asked:?}"
    );
    assert_idle(&lookups);
}
