//! Live capture: the packets of this network namespace, seen by a packet socket (packet(7)) and touched by nobody.
//!
//! One socket sees every interface, those that come later too. It needs the capability NET_RAW while it is opened, and none
//! afterwards. `ring` is the memory that the kernel writes packets into, `frames` reads them from it, `filter` is the
//! program by which the kernel leaves out what nobody wants, `error` says what is missing.

mod error;
mod filter;
mod frames;
mod ring;

pub use error::TapError;

use crate::Packet;
use nix::{
    errno::Errno,
    net::if_::if_nameindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ring::Ring;
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
    /// All other datagrams come through as well.
    pub datagrams: bool,
    /// Bytes of a packet that are kept, from the IP header on.
    pub snaplen: u32,
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
    /// Taps with the same number share the packets, by flow.
    pub group: Option<u16>,
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
            datagrams: false,
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

    /// Indexes of the named ones that are there, in order.
    fn indexes(&self) -> io::Result<Vec<u32>> {
        if self.names().is_empty() {
            return Ok(Vec::new());
        }
        let there = if_nameindex()?;
        let named = there
            .iter()
            .filter(|interface| interface.name().to_str().is_ok_and(|name| self.named(name)));
        let mut indexes: Vec<_> = named.map(|interface| interface.index()).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }
}

/// Sees the packets of this network namespace.
#[derive(Debug)]
pub struct Tap {
    ring: Ring,
    selection: Selection,
    /// The interfaces that the filter in force names.
    indexes: Vec<u32>,
}

impl Tap {
    /// Begins to take packets.
    ///
    /// # Errors
    /// NET_RAW is missing, or the memory for the ring, or packet sockets are not to be had.
    pub fn open(settings: &TapSettings) -> Result<Self, TapError> {
        let ring =
            Ring::open(settings.ring_bytes).map_err(|error| TapError::of(error, settings.ring_bytes))?;
        let mut tap = Self {
            ring,
            selection: settings.selection.clone(),
            indexes: Vec::new(),
        };
        tap.indexes = tap.selection.interfaces.indexes()?;
        tap.attach()?;
        tap.ring.start()?;
        if let Some(group) = settings.group {
            tap.ring.share(group)?;
        }
        Ok(tap)
    }

    fn attach(&self) -> io::Result<()> {
        let except = matches!(self.selection.interfaces, Interfaces::Except(_));
        let program = filter::program(&self.selection, &self.indexes, except);
        self.ring.socket().attach_filter(&program)
    }

    /// True if one of the interfaces that were asked for is there now, or all were.
    pub fn has_interface(&self) -> bool {
        matches!(self.selection.interfaces, Interfaces::Except(_)) || !self.indexes.is_empty()
    }

    /// Looks which interfaces there are, as named ones may have come or been replaced.
    ///
    /// # Errors
    /// Those of netlink and of attaching a filter: out of memory.
    pub fn refresh(&mut self) -> io::Result<()> {
        let indexes = self.selection.interfaces.indexes()?;
        if indexes != self.indexes {
            self.indexes = indexes;
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
