//! Live capture: the packets of this network namespace, seen by a packet socket (packet(7)) and touched by nobody.
//!
//! One socket sees every interface, those that come later too. It needs the capability NET_RAW while it is opened, and none
//! afterwards. `ring` is the memory that the kernel writes packets into, `frames` reads them from it, `filter` is the
//! program by which the kernel leaves out what nobody wants, `links` are the interfaces, `error` says what is missing.

mod error;
mod filter;
mod frames;
mod links;
mod ring;

pub use error::TapError;

use crate::Packet;
use links::{Ended, Link};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ring::Ring;
use socket2::SockFilter;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

/// What the kernel lets through. What it can't tell comes through as well.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Interfaces.
    pub interfaces: Interfaces,
    /// Ranges of TCP ports of which a packet has at least one as its source or destination; nothing for all.
    pub ports: Option<Vec<(u16, u16)>>,
    /// The same of UDP ports at which DNS is spoken, beside its own.
    pub dns: Vec<(u16, u16)>,
    /// What comes through of all other datagrams.
    pub datagrams: Datagrams,
    /// Bytes of a packet that are kept, from the IP header on.
    pub snaplen: u32,
}

/// What comes through of datagrams that are no DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Datagrams {
    /// Nothing.
    #[default]
    None,
    /// Their headers, and the beginning of what they carry: enough to count them.
    Headers,
    /// As much as of every packet.
    Whole,
}

/// A set of interfaces by their names, which may end in `+` for all that begin so. Those that come later count too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// All but these.
    Except(Vec<String>),
    /// These alone.
    Only(Vec<String>),
}

/// How packets are taken.
#[derive(Clone, Debug)]
pub struct TapSettings {
    /// Which.
    pub selection: Selection,
    /// Size of the ring in bytes: how much may come while nobody reads.
    pub ring_bytes: usize,
}

/// What the kernel says it did since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that the filter let through.
    pub packets: u32,
    /// Those of them that were lost, for want of room in the ring.
    pub dropped: u32,
}

impl Default for Selection {
    /// Everything, whole.
    fn default() -> Self {
        Self {
            interfaces: Interfaces::Except(Vec::new()),
            ports: None,
            dns: Vec::new(),
            datagrams: Datagrams::None,
            snaplen: 256 << 10,
        }
    }
}

impl Interfaces {
    fn names(&self) -> &[String] {
        match self {
            Self::Except(names) | Self::Only(names) => names,
        }
    }

    /// True if an interface with this name is in it.
    pub fn contains(&self, interface: &str) -> bool {
        self.named(interface) == matches!(self, Self::Only(_))
    }

    fn named(&self, interface: &str) -> bool {
        self.names().iter().any(|name| match name.strip_suffix('+') {
            Some(prefix) => interface.starts_with(prefix),
            None => interface == name,
        })
    }

    fn in_force(&self, there: &[Link]) -> InForce {
        let indexes = |wanted: &dyn Fn(&Link) -> bool| {
            let mut indexes: Vec<_> = there
                .iter()
                .filter(|link| wanted(link))
                .map(|link| link.index)
                .collect();
            indexes.sort_unstable();
            indexes
        };
        let is_seen = |link: &&Link| self.contains(&link.name);
        let mut ended: Vec<_> = there
            .iter()
            .filter(is_seen)
            .filter_map(|link| link.ends)
            .collect();
        ended.sort_unstable();
        ended.dedup();
        InForce {
            ended,
            named: indexes(&|link| self.named(&link.name)),
            promiscuous: indexes(&|link| link.promiscuous),
        }
    }
}

/// Indexes of the interfaces that a filter in force names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct InForce {
    /// The interfaces that the selection names.
    named: Vec<u32>,
    /// The interfaces of which frames for other hosts are wanted, too.
    promiscuous: Vec<u32>,
    /// Tunnels whose inside is seen where they end.
    ended: Vec<Ended>,
}

/// Sees the packets of this network namespace.
#[derive(Debug)]
pub struct Tap {
    ring: Ring,
    selection: Selection,
    in_force: InForce,
    /// The packets are shared with other taps.
    shared: bool,
}

impl Tap {
    /// Begins to take packets.
    ///
    /// # Errors
    /// NET_RAW is missing, or the memory for the ring, or packet sockets are not to be had.
    pub fn open(settings: &TapSettings) -> Result<Self, TapError> {
        Self::open_one(settings, false)
    }

    fn open_one(settings: &TapSettings, shared: bool) -> Result<Self, TapError> {
        let ring =
            Ring::open(settings.ring_bytes).map_err(|error| TapError::of(error, settings.ring_bytes))?;
        let mut tap = Self {
            ring,
            selection: settings.selection.clone(),
            in_force: InForce::default(),
            shared,
        };
        tap.in_force = tap.selection.interfaces.in_force(&links::all()?);
        tap.attach()?;
        tap.ring.start()?;
        Ok(tap)
    }

    /// Begins to take packets with so many taps, among which the packets are shared by flow. Other processes that do so in the
    /// same namespace see all packets, too.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_all(settings: &TapSettings, count: usize) -> Result<Vec<Self>, TapError> {
        let mut taps: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let tap = Self::open_one(settings, count > 1)?;
            if count > 1 {
                tap.ring.share(taps.first().map(|first| &first.ring), count)?;
            }
            taps.push(tap);
        }
        Ok(taps)
    }

    fn attach(&self) -> io::Result<()> {
        let program = filter::program(&self.selection, &self.in_force, self.shared);
        let program = program.into_iter();
        let program: Vec<_> = program
            .map(|(op, yes, no, operand)| SockFilter::new(op, yes, no, operand))
            .collect();
        self.ring.socket().attach_filter(&program)
    }

    /// True if one of the interfaces that were asked for is there now, or all were.
    pub fn has_interface(&self) -> bool {
        matches!(self.selection.interfaces, Interfaces::Except(_)) || !self.in_force.named.is_empty()
    }

    /// Looks which interfaces there are, as named ones may have come or been replaced, or become promiscuous.
    ///
    /// # Errors
    /// Those of netlink and of attaching a filter: out of memory.
    pub fn refresh(&mut self) -> io::Result<()> {
        let in_force = self.selection.interfaces.in_force(&links::all()?);
        if in_force != self.in_force {
            self.in_force = in_force;
            self.attach()?;
        }
        Ok(())
    }

    /// So long after a packet was seen it can be read, at the latest.
    pub const DELAY: Duration = Duration::from_millis(2 * ring::RETIRE_MS as u64);

    /// Gives the packets of the next full block, if there is one; how many there were.
    pub fn read(&mut self, give: &mut dyn FnMut(&Packet<'_>)) -> Option<u32> {
        let block = self.ring.block()?;
        for packet in frames::packets(block.count, block.bytes) {
            give(&packet);
        }
        Some(block.count)
    }

    /// Waits until there may be packets, or for so long.
    ///
    /// # Errors
    /// Those of poll(2), such as that of the interface that went down; packets may come all the same.
    pub fn wait(&self, patience: Duration) -> io::Result<()> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What was seen and lost since this was last asked.
    ///
    /// # Errors
    /// Never seen.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let (packets, dropped) = self.ring.statistics()?;
        Ok(Statistics { packets, dropped })
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
