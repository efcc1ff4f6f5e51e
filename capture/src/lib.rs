//! Packets to exchanges: capture files, TCP reassembly, and what feeds the decoders from them.
//!
//! Data goes one way: a source gives [`Packet`]s ([`Reader`] those of a pcap or pcapng file, [`Tap`] those that this network
//! namespace sees), a [`Tracker`] finds the flow
//! that each belongs to, puts TCP's bytes in order and feeds the flow's [`weir_protocols::Decoder`], and a [`Sink`] gets the
//! exchanges. The tracker does no I/O and has no clock: time is that of the packets.
//!
//! `link` takes off the link layer and `ether` what lies between it and IP, `packet` reads IP, TCP and UDP, `tunnel` finds
//! packets within packets, of which `outside` notes what lay around, `fragments` puts fragments together, `stream` one
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
mod ether;
mod file;
mod flow;
mod fragments;
mod heading;
mod link;
mod live;
mod measure;
mod options;
mod outside;
mod packet;
mod parked;
mod receiver;
mod settings;
mod stream;
mod table;
mod tunnel;

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
    /// PPP, in HDLC-like framing or without.
    pub const PPP: Self = Self(9);
    /// PPP in HDLC-like framing, or Cisco's HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// A session of PPP over Ethernet.
    pub const PPP_ETHER: Self = Self(51);
    /// LLC over ATM (RFC 2684).
    pub const ATM_RFC1483: Self = Self(100);
    /// An IP header and nothing before it.
    pub const RAW: Self = Self(101);
    /// Cisco's HDLC.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// Frame Relay.
    pub const FRELAY: Self = Self(107);
    /// OpenBSD loopback, as [`Self::NULL`].
    pub const LOOP: Self = Self(108);
    /// What BSDs write of IPsec (enc(4)).
    pub const ENC: Self = Self(109);
    /// Linux cooked capture, what `tcpdump -i any` used to write.
    pub const LINUX_SLL: Self = Self(113);
    /// The packet filter's log of BSDs.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 behind the header of Prism cards.
    pub const IEEE802_11_PRISM: Self = Self(119);
    /// IP over Fibre Channel (RFC 2625).
    pub const IP_OVER_FC: Self = Self(122);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Apple's IP over FireWire.
    pub const APPLE_IP_OVER_IEEE1394: Self = Self(138);
    /// DOCSIS: frames of cable modems.
    pub const DOCSIS: Self = Self(143);
    /// IEEE 802.11 behind an AVS header.
    pub const IEEE802_11_AVS: Self = Self(163);
    /// PPP as pppd writes it: whether it was sent stands in place of the address.
    pub const PPP_PPPD: Self = Self(166);
    /// Any other type behind a header of its own (Per-Packet Information).
    pub const PPI: Self = Self(192);
    /// Endace's records.
    pub const ERF: Self = Self(197);
    /// As [`Self::PPP`], behind a byte that tells whether it was sent.
    pub const PPP_WITH_DIR: Self = Self(204);
    /// As [`Self::C_HDLC`], behind a byte that tells whether it was sent.
    pub const C_HDLC_WITH_DIR: Self = Self(205);
    /// As [`Self::FRELAY`], behind a byte that tells whether it was sent.
    pub const FRELAY_WITH_DIR: Self = Self(206);
    /// MPLS labels.
    pub const MPLS: Self = Self(219);
    /// An IPv4 header and nothing before it.
    pub const IPV4: Self = Self(228);
    /// An IPv6 header and nothing before it.
    pub const IPV6: Self = Self(229);
    /// Linux' netfilter log.
    pub const NFLOG: Self = Self(239);
    /// Ethernet behind Hilscher's header.
    pub const NETANALYZER: Self = Self(240);
    /// Any other type behind Apple's header.
    pub const PKTAP: Self = Self(258);
    /// Linux cooked capture, second version.
    pub const LINUX_SLL2: Self = Self(276);
    /// Ethernet with the tag of a Broadcom switch between addresses and type.
    pub const DSA_TAG_BRCM: Self = Self(281);
    /// Ethernet behind the tag of a Broadcom switch.
    pub const DSA_TAG_BRCM_PREPEND: Self = Self(282);
    /// Ethernet with the tag of a Marvell switch between addresses and type.
    pub const DSA_TAG_DSA: Self = Self(284);
    /// As [`Self::DSA_TAG_DSA`], with a type of its own before the tag.
    pub const DSA_TAG_EDSA: Self = Self(285);
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
    /// A VLAN tag (its sixteen bits of priority and number) that stands beside the bytes, and not among them.
    pub vlan: Option<u16>,
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
            vlan: None,
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
