//! The three listeners: hooks, API and admin, passed by the service manager or bound here.
//!
//! The index of a passed socket decides what it is (hooks, API, admin, the order of `perseat.socket`), because names do not
//! survive every way a socket can be passed. A passed socket keeps its queue over a restart, so that no connection is
//! refused. What was not passed is bound at the configured address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::config::Config;

/// The open listeners, all non-blocking.
#[derive(Debug)]
pub struct Listeners {
    /// For webhooks.
    pub hooks: TcpListener,
    /// For the API and pages; `None`: they are served on `hooks`.
    pub api: Option<TcpListener>,
    /// For health and metrics.
    pub admin: TcpListener,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Binding failed.
    #[error("{key} is {address}: {source}{}", hint(.source))]
    Bind {
        /// The key that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A passed socket is not a listening TCP socket.
    #[error("the service manager passed {key} something that is not a TCP listener")]
    Passed {
        /// The key whose place it has.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there; choose another address, or stop it)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE; socket activation does without)",
        _ => "",
    }
}

impl Listeners {
    /// Takes the passed sockets, then binds the rest.
    ///
    /// # Errors
    /// An address that cannot be bound, or a passed socket of another kind.
    pub fn open(config: &Config, mut passed: ListenFd) -> Result<Self, ListenError> {
        let queue = i32::try_from(config.front.accept_queue.get()).unwrap_or(i32::MAX);
        let hooks = one(&mut passed, 0, "hooks.listen", config.hooks.listen, queue)?;
        let shared = config.api_on_hooks() && passed.len() < 2;
        if config.api_on_hooks() && !shared {
            tracing::warn!(
                "api.listen is hooks.listen, and the service manager passed a socket for each: webhooks are served on the first alone, API \
                 and pages on the second alone"
            );
        }
        let api = if shared {
            None
        } else {
            Some(one(&mut passed, 1, "api.listen", config.api.listen, queue)?)
        };
        let admin = one(&mut passed, 2, "admin.listen", config.admin.listen, queue)?;
        Ok(Self { hooks, api, admin })
    }

    /// Where the listeners really are, each with its name: the configuration may have said port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let all = [
            ("hooks", Some(&self.hooks)),
            ("api", self.api.as_ref()),
            ("admin", Some(&self.admin)),
        ];
        all.into_iter()
            .filter_map(|(name, listener)| Some((name, listener?.local_addr().ok()?)))
            .collect()
    }
}

fn one(passed: &mut ListenFd, index: usize, key: &'static str, address: SocketAddr, queue: i32) -> Result<TcpListener, ListenError> {
    let taken = if index < passed.len() {
        passed.take_tcp_listener(index)
    } else {
        Ok(None)
    };
    let listener = match taken.map_err(|source| ListenError::Passed { key, source })? {
        Some(listener) => listener,
        None => bind(address, queue).map_err(|source| ListenError::Bind { key, address, source })?,
    };
    listener
        .set_nonblocking(true)
        .map_err(|source| ListenError::Passed { key, source })?;
    Ok(listener)
}

/// Binds with a queue as long as configured; the standard library's is 128.
fn bind(address: SocketAddr, queue: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, queue)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Sources;

    fn config(flags: &[(&str, &str)]) -> Config {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Config::load(
            &Sources {
                flags,
                ..Sources::default()
            },
            2,
        )
        .unwrap()
    }

    #[test]
    fn an_address_in_use_is_named_with_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let config = config(&[
            ("hooks.listen", "127.0.0.1:0"),
            ("api.listen", "127.0.0.1:0"),
            ("admin.listen", &address),
        ]);
        let told = Listeners::open(&config, ListenFd::empty()).unwrap_err().to_string();
        assert!(
            told.starts_with(&format!("admin.listen is {address}: ")) && told.contains("another process"),
            "{told}"
        );
    }

    #[test]
    fn one_address_for_hooks_and_api_is_one_listener() {
        // Nobody else uses this address, so that the port stays free.
        let free = TcpListener::bind("127.0.153.1:0").unwrap().local_addr().unwrap().to_string();
        let shared = config(&[("hooks.listen", &free), ("api.listen", &free), ("admin.listen", "127.0.0.1:0")]);
        assert!(Listeners::open(&shared, ListenFd::empty()).unwrap().api.is_none());
        let apart = config(&[
            ("hooks.listen", "127.0.0.1:0"),
            ("api.listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.1:0"),
        ]);
        assert_eq!(Listeners::open(&apart, ListenFd::empty()).unwrap().addresses().len(), 3);
    }
}
