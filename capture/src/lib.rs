//! Packets to exchanges: capture files, TCP reassembly, and what feeds the decoders from them.
//!
//! Data goes one way: a source gives [`Packet`]s ([`Reader`] those of a pcap or pcapng file, [`Tap`] those that this network
//! namespace sees), a [`Tracker`] finds the flow
//! that each belongs to, puts TCP's bytes in order and feeds the flow's [`weir_protocols::Decoder`], and a [`Sink`] gets the
//! exchanges. The tracker does no I/O and has no clock: time is that of the packets.
//!
//! `link` takes off the link layer, `packet` reads IP, TCP and UDP, `fragments` puts fragments together, `stream` one
//! direction of a connection, `connection` the two; `receiver` judges a segment's numbers, and `doubt` keeps (`parked`) those that
//! others must explain; `datagrams` are flows of UDP, `table` holds all of them. `measure` counts
//! what there is to say of a connection as a whole, where that is wanted.
//!
//! Nothing is made up: bytes that the capture does not hold are gaps, told to the decoder with their size, and all that was
//! left out is counted by its reason ([`Counters`]).

mod connection;
mod counters;
mod datagrams;
mod doubt;
mod file;
mod flow;
mod fragments;
mod heading;
mod link;
mod live;
mod measure;
mod options;
mod packet;
mod parked;
mod receiver;
mod settings;
mod stream;
mod table;

pub use counters::Counters;
pub use file::{FileError, Files, PacketFile, Reader, WriteError};
pub use flow::Sink;
pub use heading::Heading;
pub use live::{Datagrams, Interfaces, Selection, Statistics, Tap, TapError, TapSettings};
pub use settings::{Bounds, FlowSettings, Select, Settings, Transport};
pub use table::Tracker;
use weir_protocols::Side;
use weir_records::Timestamp;

/// The kind of a packet's first header, as <https://www.tcpdump.org/linktypes.html> numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: four bytes of the address family before the IP header.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// An IP header and nothing before it.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback, as [`Self::NULL`].
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture, what `tcpdump -i any` used to write.
    pub const LINUX_SLL: Self = Self(113);
    /// An IPv4 header and nothing before it.
    pub const IPV4: Self = Self(228);
    /// An IPv6 header and nothing before it.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, second version.
    pub const LINUX_SLL2: Self = Self(276);
    /// Of a packet whose file does not say on which interface it was seen.
    pub const UNKNOWN: Self = Self(u32::MAX);
}

impl LinkType {
    /// Of a packet whose link layer was taken off, with the type of what follows in Ethernet's numbers.
    pub(crate) const fn ethertype(kind: u16) -> Self {
        Self(Self::TAKEN_OFF | kind as u32)
    }

    /// Beyond all numbers of files, which have 16 bits.
    const TAKEN_OFF: u32 = 1 << 16;

    fn taken_off(self) -> Option<u16> {
        u16::try_from(self.0.checked_sub(Self::TAKEN_OFF)?).ok()
    }

    /// True if packets of this type can be read.
    pub fn is_known(self) -> bool {
        link::is_known(self)
    }
}

/// A packet as its source saw it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was seen.
    pub at: Timestamp,
    /// What its bytes begin with.
    pub link: LinkType,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// Bytes that it had on the wire: more than were kept where the capture was limited (`snaplen`).
    pub wire_len: usize,
    /// On which interface, where that is known (0: not).
    pub interface: u32,
    /// Whether the host that saw it sent it, where the source tells beside the bytes.
    pub way: Way,
}

impl<'a> Packet<'a> {
    /// A packet of which nothing is known but this.
    pub fn new(at: Timestamp, link: LinkType, bytes: &'a [u8], wire_len: usize) -> Self {
        Self {
            at,
            link,
            bytes,
            wire_len,
            interface: 0,
            way: Way::Unknown,
        }
    }
}

/// Who sent a packet, for the host that saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It did.
    Sent,
    /// Another one, to it.
    Received,
    /// It did, to itself.
    Local,
}

impl Way {
    /// The way of the client's packets, where one of this side went so.
    pub(crate) fn of_client(self, side: Side) -> Self {
        match (self, side) {
            (Self::Sent, Side::Server) => Self::Received,
            (Self::Received, Side::Server) => Self::Sent,
            (way, _) => way,
        }
    }
}
