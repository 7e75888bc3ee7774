//! Name look-ups for the client: bounded, cached for a short time, filtered by the policy.
//!
//! reqwest asks this resolver and dials what it answers, so the address that was checked is the one dialled and a
//! name that changes its answer between check and call gains nothing.

use super::Options;
use super::policy::{Policy, Refusal, normal_name};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
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

/// When it came, and what it said.
type Answer = (Instant, Arc<[IpAddr]>);

/// Look-ups and their answers, shared by all clients.
#[derive(Debug)]
pub(super) struct Lookups {
    names: Arc<dyn Names>,
    permits: Semaphore,
    answers: Mutex<HashMap<String, Answer>>,
    options: Options,
}

impl Lookups {
    pub(super) fn new(options: Options, names: Arc<dyn Names>) -> Self {
        Self {
            names,
            permits: Semaphore::new(options.max_lookups),
            answers: Mutex::default(),
            options,
        }
    }

    /// A look-up may hold a thread, so the permits bound how many there are at once.
    async fn lookup(&self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let asked = timeout(self.options.lookup_timeout, async {
            let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
            self.names.lookup(name).await
        });
        let found = asked.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let found: Arc<[IpAddr]> = found.into();
        self.remember(name, &found);
        Ok(found)
    }

    fn known(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = answers.get(name)?;
        (at.elapsed() < self.options.dns_cache).then(|| Arc::clone(found))
    }

    fn remember(&self, name: &str, found: &Arc<[IpAddr]>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= self.options.dns_cache_names {
            answers.retain(|_, (at, _)| at.elapsed() < self.options.dns_cache);
        }
        if answers.len() < self.options.dns_cache_names {
            answers.insert(name.to_owned(), (Instant::now(), Arc::clone(found)));
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
