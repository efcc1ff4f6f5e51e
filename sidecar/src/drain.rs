//! The way to the end, after SIGTERM: the application goes on working for a while, and so does its network. New
//! connections are served until the application has stopped listening and nothing has been open for a moment.

use crate::metrics::Metrics;
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// How long nothing may have been open. An application without listeners can open its next connection within this time.
const QUIET: Duration = Duration::from_secs(1);
/// Docker's own resolver listens here inside of containers, and never stops.
const DOCKER_DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The listening sockets of this process, by which those of others are told.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners {
    inodes: BTreeSet<u64>,
    ports: BTreeSet<u16>,
}

impl OwnListeners {
    /// Adds a listening socket of this port.
    pub fn add(&mut self, socket: &impl AsFd, port: u16) {
        // A socket whose number cannot be asked counts as the application's, which only makes the end later.
        if let Ok(status) = nix::sys::stat::fstat(socket) {
            self.inodes.insert(status.st_ino);
            self.ports.insert(port);
        }
    }
}

/// What ended the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody needs the sidecar any more.
    Idle,
    /// The period is over.
    Over,
}

/// Waits until nobody needs the sidecar any more, or until the deadline. With `own`, the application's listeners count.
pub async fn until_idle(metrics: &Metrics, own: Option<&OwnListeners>, deadline: Instant) -> Why {
    let mut before = None;
    let mut quiet = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Why::Over;
        }
        let activity = metrics.activity();
        if activity.open > 0 || before.is_some_and(|before| before != activity.begun) {
            quiet = now;
        } else if now >= quiet + QUIET && !own.is_some_and(is_listened) {
            return Why::Idle;
        }
        before = Some(activity.begun);
        tokio::time::sleep(PERIOD.min(deadline - now)).await;
    }
}

/// True if the application listens in this network namespace, or a connection is just being opened to the sidecar.
fn is_listened(own: &OwnListeners) -> bool {
    // Without /proc nobody knows, and connections alone decide.
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .any(|table| {
            table
                .lines()
                .skip(1)
                .filter_map(Entry::parse)
                .any(|entry| entry.counts(own))
        })
}

/// A line of `/proc/net/tcp` (proc_net_tcp.rst of the kernel).
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// As the kernel prints it: words of the machine's byte order, in hexadecimal.
    address: String,
    port: u16,
    state: u8,
    inode: u64,
}

impl Entry {
    const SYN_RECV: u8 = 3;
    const LISTEN: u8 = 10;

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (address, port) = words.nth(1)?.split_once(':')?;
        let state = words.nth(1)?;
        // In between: queues, timer, retransmissions, user, probes.
        let inode = words.nth(5)?;
        Some(Self {
            address: address.to_owned(),
            port: u16::from_str_radix(port, 16).ok()?,
            state: u8::from_str_radix(state, 16).ok()?,
            inode: inode.parse().ok()?,
        })
    }

    fn counts(&self, own: &OwnListeners) -> bool {
        match self.state {
            Self::LISTEN => !own.inodes.contains(&self.inode) && !self.is_dockers(),
            Self::SYN_RECV => own.ports.contains(&self.port),
            _ => false,
        }
    }

    fn is_dockers(&self) -> bool {
        let number = u32::from_ne_bytes(DOCKER_DNS.octets());
        self.address == format!("{number:08X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn listeners_of_others_count_and_its_own_do_not() {
        let text = "   0: 0B00007F:A0F1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0";
        let docker = Entry::parse(text).unwrap();
        assert_eq!((docker.port, docker.state, docker.inode), (0xa0f1, 10, 77));
        assert!(
            !docker.counts(&OwnListeners::default()),
            "Docker's resolver is no application"
        );
        let theirs = Entry::parse(&text.replace("0B00007F", "0100007F")).unwrap();
        assert!(theirs.counts(&OwnListeners::default()));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut own = OwnListeners::default();
        own.add(&socket, port);
        let read = |own: &OwnListeners| {
            let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
            let mut entries = table.lines().skip(1).filter_map(Entry::parse);
            entries.any(|entry| entry.port == port && entry.counts(own))
        };
        assert!(!read(&own));
        assert!(read(&OwnListeners::default()));
    }

    #[test]
    fn a_connection_that_is_being_opened_to_the_sidecar_counts() {
        let text = "   1: 00000000:3A99 0100007F:9999 03 00000000:00000000 01:00000010 00000000     0        0 0 1 0";
        let mut own = OwnListeners::default();
        assert!(!Entry::parse(text).unwrap().counts(&own));
        own.ports.insert(15001);
        assert!(Entry::parse(text).unwrap().counts(&own));
    }
}
