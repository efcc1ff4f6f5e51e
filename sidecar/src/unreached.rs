//! Destinations that outbound connections could not reach lately.
//!
//! A redirected connection is accepted before anybody knows whether its destination can be reached, so that a client which
//! would go on to its next address (another family, another server) never does. So what has failed is left alone for a
//! while. In mode `ebpf` the programs let the application's SYN for such a destination pass, and the application meets what
//! the network says. The programs learn of it as of everything else, by a look-up of sockets: the [`Marker`]. Whether the
//! destination is back is tried from time to time. Where there are no programs, connections to it are given up soon.

use crate::socket::transparent;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use weir_config::{SPARE_V4, SPARE_V6};

/// Destinations that are remembered; past it the oldest is forgotten.
const MAX: usize = 256;
/// How long a destination is left alone before it is tried whether it is back. Twice as long each time it is not.
const FIRST_PERIOD: Duration = Duration::from_secs(5);
const LONGEST_PERIOD: Duration = Duration::from_secs(60);
/// A destination that has not come back by then is forgotten: perhaps nobody wants it any more.
const MEMORY: Duration = Duration::from_secs(3600);
/// The same where nothing tries it.
const UNTRIED_MEMORY: Duration = Duration::from_secs(30);

/// How a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It still waits, for longer than a lost packet explains.
    Waits,
    /// Its destination said no, or the network did.
    Refused,
    /// There was no answer.
    Silence,
}

/// The destinations. Shared by all data threads.
#[derive(Debug)]
pub struct Unreached {
    /// Port of the markers: the outbound listener's number, which no application uses.
    port: u16,
    /// Mostly nothing is remembered, so that a look at this is enough.
    count: AtomicUsize,
    failures: Mutex<HashMap<SocketAddr, Failure>>,
}

#[derive(Debug)]
struct Failure {
    since: Instant,
    period: Duration,
    gave_no_answer: bool,
    _marker: Option<Marker>,
}

/// A socket of UDP that the programs of mode `ebpf` find for a destination: bound to its address, and connected to an
/// address that nobody has, at the destination's port. So no datagram ever comes to it, and no application's socket is in
/// its way.
#[derive(Debug)]
struct Marker(#[expect(dead_code, reason = "it is there to be found")] Socket);

impl Marker {
    /// A marker for this destination.
    ///
    /// # Errors
    /// NET_RAW is missing, or an application has a socket of UDP at the markers' port.
    fn new(destination: SocketAddr, port: u16) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(destination),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        transparent(&socket)?;
        // Several markers may differ in their destinations' ports alone.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(destination.ip(), port).into())?;
        let nobody: IpAddr = match destination {
            SocketAddr::V4(_) => SPARE_V4.addr().into(),
            SocketAddr::V6(_) => SPARE_V6.addr().into(),
        };
        socket.connect(&SocketAddr::new(nobody, destination.port()).into())?;
        Ok(Self(socket))
    }
}

impl Unreached {
    /// None so far; markers have this port.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            count: AtomicUsize::new(0),
            failures: Mutex::default(),
        }
    }

    /// True if connections to this destination failed lately.
    pub fn has(&self, destination: SocketAddr) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.with(|failures| failures.contains_key(&destination))
    }

    /// True if one waited in vain for an answer lately.
    pub fn is_silent(&self, destination: SocketAddr) -> bool {
        let silent = |failure: &Failure| failure.gave_no_answer;
        self.count.load(Ordering::Acquire) > 0
            && self.with(|failures| failures.get(&destination).is_some_and(silent))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A connection to this destination has failed, or waits for too long. Gives when it is to be tried again, or
    /// forgotten, if it is new here; `mark` where programs look for markers.
    pub fn failed(&self, destination: SocketAddr, how: How, mark: bool) -> Option<Duration> {
        self.with(|failures| {
            if let Some(failure) = failures.get_mut(&destination) {
                failure.gave_no_answer |= how == How::Silence;
                return None;
            }
            if failures.len() >= MAX {
                let oldest = failures.iter().min_by_key(|(_, failure)| failure.since);
                let oldest = oldest.map(|(destination, _)| *destination);
                oldest.map(|destination| failures.remove(&destination));
            }
            let marker = mark.then(|| Marker::new(destination, self.port));
            let failure = Failure {
                since: Instant::now(),
                period: FIRST_PERIOD,
                gave_no_answer: how == How::Silence,
                _marker: marker.and_then(|marker| {
                    marker
                        .inspect_err(|error| tracing::debug!(%destination, %error, "cannot be left alone"))
                        .ok()
                }),
            };
            failures.insert(destination, failure);
            Some(if mark { FIRST_PERIOD } else { UNTRIED_MEMORY })
        })
    }

    /// It was tried again in vain. Gives when to try the next time; nothing if it was forgotten.
    pub fn failed_again(&self, destination: SocketAddr) -> Option<Duration> {
        self.with(|failures| {
            let failure = failures.get_mut(&destination)?;
            if failure.since.elapsed() >= MEMORY {
                failures.remove(&destination);
                return None;
            }
            failure.period = (failure.period * 2).min(LONGEST_PERIOD);
            Some(failure.period)
        })
    }

    /// A connection to this destination has succeeded, or enough time has passed.
    pub fn forget(&self, destination: SocketAddr) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.with(|failures| failures.remove(&destination));
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<SocketAddr, Failure>) -> T) -> T {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut failures);
        self.count.store(failures.len(), Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([198, 18, 0, 1], port).into()
    }

    #[test]
    fn destination_is_remembered_until_it_is_reached() {
        let unreached = Unreached::new(15001);
        assert!(!unreached.has(at(80)));
        assert_eq!(unreached.failed(at(80), How::Waits, false), Some(UNTRIED_MEMORY));
        assert_eq!(
            unreached.failed(at(80), How::Silence, false),
            None,
            "it is being tried already"
        );
        assert!(unreached.has(at(80)) && unreached.is_silent(at(80)) && !unreached.has(at(81)));
        assert_eq!(unreached.failed_again(at(80)), Some(FIRST_PERIOD * 2));
        for _ in 0..10 {
            unreached.failed_again(at(80));
        }
        assert_eq!(unreached.failed_again(at(80)), Some(LONGEST_PERIOD));
        unreached.forget(at(80));
        assert!(!unreached.has(at(80)));
        assert_eq!(unreached.failed_again(at(80)), None, "nobody tries it any more");
    }

    #[test]
    fn only_so_many_are_remembered_and_the_oldest_goes_first() {
        let unreached = Unreached::new(15001);
        for port in 0..=MAX as u16 {
            unreached.failed(at(port), How::Refused, false);
        }
        assert_eq!(unreached.count(), MAX);
        assert!(!unreached.has(at(0)) && unreached.has(at(1)) && unreached.has(at(MAX as u16)));
    }
}
