//! How many connections one address may have open: nobody takes the places of all.

use super::address::{Proxies, network_of};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of each address. Those of proxies are nobody's: behind one stand many.
#[derive(Debug)]
pub struct AddressLimit {
    max: usize,
    open: Mutex<HashMap<IpAddr, Open>>,
}

#[derive(Debug, Default)]
struct Open {
    connections: usize,
    /// Whether it was said that there are too many.
    is_told: bool,
}

/// An address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtLimit {
    /// Whether that is news.
    pub is_new: bool,
}

impl AddressLimit {
    /// At most so many for each.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            open: Mutex::default(),
        })
    }

    /// A connection's place among those of its address.
    ///
    /// # Errors
    /// It has as many as it may.
    pub fn join(self: &Arc<Self>, peer: IpAddr, proxies: &Proxies) -> Result<AddressPlace, AtLimit> {
        let network = (!proxies.trust(peer)).then(|| network_of(peer));
        if let Some(network) = network {
            let mut all = self.lock();
            let open = all.entry(network).or_default();
            if open.connections >= self.max {
                let is_new = !std::mem::replace(&mut open.is_told, true);
                return Err(AtLimit { is_new });
            }
            open.connections += 1;
        }
        Ok(AddressPlace {
            limit: Arc::clone(self),
            network,
        })
    }

    fn leave(&self, network: IpAddr) {
        let mut all = self.lock();
        let Entry::Occupied(mut entry) = all.entry(network) else { return };
        let open = entry.get_mut();
        open.connections -= 1;
        if open.connections <= self.max / 2 {
            open.is_told = false;
        }
        if open.connections == 0 {
            entry.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped when the connection ends.
#[derive(Debug)]
pub struct AddressPlace {
    limit: Arc<AddressLimit>,
    network: Option<IpAddr>,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        if let Some(network) = self.network {
            self.limit.leave(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_says_so_once_and_leaves_nothing_behind() {
        let (addresses, proxies) = (AddressLimit::new(2), Proxies(vec!["10.0.0.0/8".parse().unwrap()]));
        let join = |address: &str| addresses.join(address.parse().unwrap(), &proxies);
        let refused = |address: &str| join(address).map(drop);
        let (first, second) = (join("2001:db8::1").unwrap(), join("2001:db8::2").unwrap());
        assert_eq!(refused("2001:db8::3"), Err(AtLimit { is_new: true }), "one network");
        assert_eq!(refused("2001:db8::1"), Err(AtLimit { is_new: false }));
        let (other, mapped) = (join("203.0.113.9").unwrap(), join("::ffff:203.0.113.9").unwrap());
        assert_eq!(refused("203.0.113.9"), Err(AtLimit { is_new: true }), "the same address");
        let of_proxy: Vec<_> = (0..5).map(|_| join("10.1.2.3").unwrap()).collect();
        drop(second);
        let second = join("2001:db8::4").unwrap();
        assert_eq!(refused("2001:db8::5"), Err(AtLimit { is_new: true }), "it was at half meanwhile");
        drop((first, second, other, mapped, of_proxy));
        assert!(addresses.lock().is_empty());
    }
}
