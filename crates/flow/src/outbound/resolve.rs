//! Name look-ups for the client: one for all who ask, bounded in all and by zone, cached for a short time, filtered by the policy.
//!
//! reqwest asks this resolver and dials what it answers, so the address that was checked is the one dialled and a
//! name that changes its answer between check and call gains nothing.

#[cfg(test)]
mod tests;

use super::Options;
use super::policy::{Policy, Refusal, normal_name};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

/// The answer of a look-up, in the making.
pub type Looking<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Who knows the addresses of names.
pub trait Names: Send + Sync + fmt::Debug {
    /// Looks a name up.
    fn lookup<'a>(&'a self, name: &'a str) -> Looking<'a>;
}

/// The machine's resolver. It runs on the runtime's blocking threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup<'a>(&'a self, name: &'a str) -> Looking<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// What a look-up found. Whoever shares it shares its failure, too.
type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// Of the look-ups at once, the names of one zone have at most those divided by this, so that a zone whose servers do not answer leaves
/// room for others. No key: it goes with `outbound.lookups`.
const ZONE_DIVISOR: usize = 2;

/// Look-ups and their answers, shared by all clients.
#[derive(Debug)]
pub(super) struct Lookups {
    names: Arc<dyn Names>,
    permits: Semaphore,
    state: Mutex<State>,
    options: Options,
}

#[derive(Debug, Default)]
struct State {
    /// When they came, and what they said.
    answers: HashMap<String, (Instant, Arc<[IpAddr]>)>,
    /// Look-ups that have not ended, and who is told. No more than callers that wait, or that waited when it began to run.
    begun: HashMap<String, watch::Sender<Option<Answer>>>,
    /// The zones of those.
    zones: HashMap<String, Zone>,
}

#[derive(Debug)]
struct Zone {
    permits: Arc<Semaphore>,
    lookups: usize,
}

/// The part of a name whose servers are the same, as far as it tells: its last two labels. Where a registry's suffix has two itself
/// (`co.uk`), strangers share a part, which costs them waiting at most.
fn zone_of(name: &str) -> &str {
    let second = name.rmatch_indices('.').nth(1);
    second.and_then(|(dot, _)| name.get(dot + 1..)).unwrap_or(name)
}

impl Lookups {
    pub(super) fn new(options: Options, names: Arc<dyn Names>) -> Self {
        Self {
            names,
            permits: Semaphore::new(options.max_lookups),
            state: Mutex::default(),
            options,
        }
    }

    /// One look-up answers all who ask for its name until it ends. Waiting for its turn takes none of its time; it leaves the line with
    /// the last of them.
    async fn lookup(self: &Arc<Self>, name: &str) -> io::Result<Arc<[IpAddr]>> {
        let mut told = match self.join(name) {
            Ok(known) => return Ok(known),
            Err(told) => told,
        };
        let answer = told.wait_for(Option::is_some).await.map(|answer| answer.clone());
        match answer {
            Ok(Some(Ok(found))) => Ok(found),
            Ok(Some(Err(error))) => Err(io::Error::new(error.kind(), error)),
            // Its runtime ends.
            Ok(None) | Err(_) => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    /// What is known, or else who tells it; the look-up begins if it has not.
    fn join(self: &Arc<Self>, name: &str) -> Result<Arc<[IpAddr]>, watch::Receiver<Option<Answer>>> {
        let mut state = self.state();
        let known = state.answers.get(name);
        if let Some((_, found)) = known.filter(|(at, _)| at.elapsed() < self.options.dns_cache) {
            return Ok(Arc::clone(found));
        }
        if let Some(begun) = state.begun.get(name) {
            return Err(begun.subscribe());
        }
        let (tell, told) = watch::channel(None);
        state.begun.insert(name.to_owned(), tell.clone());
        let zone = state.zones.entry(zone_of(name).to_owned()).or_insert_with(|| Zone {
            permits: Arc::new(Semaphore::new((self.options.max_lookups / ZONE_DIVISOR).max(1))),
            lookups: 0,
        });
        zone.lookups += 1;
        let lookup = Lookup {
            lookups: Arc::clone(self),
            name: name.to_owned(),
            zone: Arc::clone(&zone.permits),
            tell,
        };
        // Not before the lock is given back: where the runtime ends, the task is dropped at once, and takes it.
        drop(state);
        tokio::spawn(lookup.run());
        Err(told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, name: &str, found: &Arc<[IpAddr]>) {
        let answers = &mut self.state().answers;
        if answers.len() >= self.options.dns_cache_names {
            answers.retain(|_, (at, _)| at.elapsed() < self.options.dns_cache);
        }
        if answers.len() < self.options.dns_cache_names {
            answers.insert(name.to_owned(), (Instant::now(), Arc::clone(found)));
        }
    }
}

/// A look-up that has not ended. A task of its own: callers come and go, and a thread that it holds is counted until its time is over.
struct Lookup {
    lookups: Arc<Lookups>,
    name: String,
    zone: Arc<Semaphore>,
    tell: watch::Sender<Option<Answer>>,
}

impl Lookup {
    async fn run(self) {
        let turn = async {
            // The zone's first: what waits for it holds nothing that others could use.
            let zone = self.zone.acquire().await;
            (zone, self.lookups.permits.acquire().await)
        };
        let turn = tokio::select! {
            biased;
            () = self.given_up() => return,
            turn = turn => turn,
        };
        let found = timeout(self.lookups.options.lookup_timeout, self.lookups.names.lookup(&self.name)).await;
        drop(turn);
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let answer = found.map(Arc::<[IpAddr]>::from).map_err(Arc::new);
        if let Ok(found) = &answer {
            self.lookups.remember(&self.name, found);
        }
        self.tell.send_replace(Some(answer));
    }

    /// Nobody waits for it any more, nor will: who asks from now on begins anew.
    async fn given_up(&self) {
        loop {
            self.tell.closed().await;
            let mut state = self.lookups.state();
            if self.tell.is_closed() {
                state.begun.remove(&self.name);
                return;
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut state = self.lookups.state();
        let begun = state.begun.get(&self.name);
        if begun.is_some_and(|begun| begun.same_channel(&self.tell)) {
            state.begun.remove(&self.name);
        }
        let zone = zone_of(&self.name);
        if let Some(Zone { lookups, .. }) = state.zones.get_mut(zone) {
            *lookups -= 1;
            if *lookups == 0 {
                state.zones.remove(zone);
            }
        }
    }
}

/// The resolver of the client for one port, or of the client for all ports that no rule names.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver {
    pub(super) lookups: Arc<Lookups>,
    pub(super) policy: Arc<Policy>,
    pub(super) port: Option<u16>,
}

impl GuardedResolver {
    async fn addresses(self, name: String) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.lookups.lookup(&name).await?;
        let mut refused: Option<Refusal> = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found.iter() {
            match self.policy.check_address(Some(&name), *address, self.port) {
                Ok(()) => allowed.push(SocketAddr::new(*address, 0)),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) if allowed.is_empty() => Err(refusal.into()),
            _ => Ok(allowed),
        }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.clone().addresses(normal_name(name.as_str()));
        Box::pin(async move { Ok(Box::new(found.await?.into_iter()) as Addrs) })
    }
}
