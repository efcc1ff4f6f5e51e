//! What was seen and what was left out, by reason.

use crate::packet::Unread;

/// Counters of a tracker: everything that it took or left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Packets of which a part was not captured (`snaplen`) that would have been read.
    pub cut_packets: u64,
    /// Packets of a link type that is not known here.
    pub unknown_link: u64,
    /// Packets whose headers are damaged, or were not captured whole.
    pub malformed: u64,
    /// Frames of what runs the network, without IP (ARP and its kin).
    pub not_ip: u64,
    /// Packets of ICMP, and of what routers tell each other.
    pub other_transport: u64,
    /// Packets that are encrypted, or compressed by PPP.
    pub encrypted: u64,
    /// Packets of an Ethernet type that is not read, within a tunnel or without.
    pub unknown_ether_type: u64,
    /// Packets of a protocol of IP that is not read.
    pub unknown_ip_protocol: u64,
    /// Packets of a protocol of PPP that is not read.
    pub unknown_ppp_protocol: u64,
    /// Packets in a tunnel or in 802.11 whose content is of a form that is not read.
    pub unknown_tunnel_content: u64,
    /// Packets within more tunnels than are taken off.
    pub too_many_tunnels: u64,
    /// UDP datagrams that are not DNS, where nothing else is followed.
    pub other_datagrams: u64,
    /// IP packets that came in fragments and were put together.
    pub reassembled: u64,
    /// IP packets of which fragments are missing, overlap, or were cut.
    pub incomplete_fragments: u64,
    /// Packets that were seen twice (a datagram on two interfaces).
    pub duplicates: u64,
    /// Packets of flows that were not wanted.
    pub unwanted: u64,
    /// TCP connections.
    pub connections: u64,
    /// TCP connections whose beginning was not seen.
    pub late_connections: u64,
    /// TCP connections with data of no protocol that is decoded.
    pub not_decoded: u64,
    /// TCP connections that went on in something that is not decoded, behind an upgrade or in a tunnel.
    pub upgraded: u64,
    /// TCP connections in which messages were not found any more.
    pub framing_lost: u64,
    /// Bytes of connections that are not decoded, or no longer.
    pub not_decoded_bytes: u64,
    /// Connections that were given up because there were too many.
    pub evicted: u64,
    /// TCP segments without any byte that is new.
    pub repeated_segments: u64,
    /// TCP segments that came before others which belong before them.
    pub early_segments: u64,
    /// TCP segments that no receiver takes: their numbers lie outside of its window, or belong to no connection.
    pub refused_segments: u64,
    /// Places where bytes of a connection are missing.
    pub gaps: u64,
    /// Bytes that are missing there, where that is known.
    pub gap_bytes: u64,
    /// Times that bytes were no longer waited for because a bound of memory was reached.
    pub bound_reached: u64,
    /// Exchanges that came out.
    pub exchanges: u64,
    /// Messages that keep a connection and are no exchange: heartbeats and the like.
    pub events: u64,
    /// Decoders that were given up because all of them together kept too much.
    pub decoders_dropped: u64,
    /// Decoders that failed: bugs, each with a connection that was decoded no further.
    pub decoder_panics: u64,
}

impl Counters {
    /// The counter of packets that may carry data and are not read.
    pub(crate) fn unread(&mut self, what: Unread) -> &mut u64 {
        match what {
            Unread::Encrypted => &mut self.encrypted,
            Unread::EtherType => &mut self.unknown_ether_type,
            Unread::IpProtocol => &mut self.unknown_ip_protocol,
            Unread::PppProtocol => &mut self.unknown_ppp_protocol,
            Unread::TunnelContent => &mut self.unknown_tunnel_content,
            Unread::TooDeep => &mut self.too_many_tunnels,
        }
    }

    /// What could not be read, or not in full: a name, what it is, and how often; only what there was.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.reasons().filter(|(_, _, count)| *count > 0)
    }

    /// All of what may not be read, or not in full, as [`Self::losses`] gives it.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        [
            (
                "unknown_link",
                "packets of an unknown link type",
                self.unknown_link,
            ),
            ("malformed", "packets with damaged or cut headers", self.malformed),
            (
                "encrypted",
                "encrypted packets (IPsec, MACsec, 802.11, PPP)",
                self.encrypted,
            ),
            (
                "unknown_ether_type",
                "packets of an Ethernet type that is not read",
                self.unknown_ether_type,
            ),
            (
                "unknown_ip_protocol",
                "packets of an IP protocol that is not read",
                self.unknown_ip_protocol,
            ),
            (
                "unknown_ppp_protocol",
                "packets of a PPP protocol that is not read",
                self.unknown_ppp_protocol,
            ),
            (
                "unknown_tunnel_content",
                "packets in a tunnel or in 802.11 whose content is not read",
                self.unknown_tunnel_content,
            ),
            (
                "too_many_tunnels",
                "packets within more tunnels than are taken off",
                self.too_many_tunnels,
            ),
            (
                "cut_packets",
                "packets were not captured whole (snaplen)",
                self.cut_packets,
            ),
            (
                "incomplete_fragments",
                "fragmented packets were never complete",
                self.incomplete_fragments,
            ),
            (
                "refused_segments",
                "segments that their receiver does not take (wrong numbers)",
                self.refused_segments,
            ),
            ("gaps", "gaps in connections", self.gaps),
            ("gap_bytes", "bytes known to be missing in them", self.gap_bytes),
            (
                "late_connections",
                "connections were joined late: their beginning is not in the capture",
                self.late_connections,
            ),
            (
                "not_decoded",
                "connections of no protocol that is decoded",
                self.not_decoded,
            ),
            (
                "upgraded",
                "connections that went on in a protocol that is not decoded",
                self.upgraded,
            ),
            (
                "framing_lost",
                "connections in which messages were not found any more",
                self.framing_lost,
            ),
            (
                "not_decoded_bytes",
                "bytes of connections that are not decoded",
                self.not_decoded_bytes,
            ),
            (
                "other_datagrams",
                "UDP datagrams that are not DNS",
                self.other_datagrams,
            ),
            (
                "bound_reached",
                "times that memory's bound ended the wait for missing bytes",
                self.bound_reached,
            ),
            ("evicted", "connections given up: too many at once", self.evicted),
            (
                "decoders_dropped",
                "connections no longer decoded: their decoders kept too much together",
                self.decoders_dropped,
            ),
            (
                "decoder_panics",
                "decoders failed: please report this",
                self.decoder_panics,
            ),
        ]
        .into_iter()
    }
}
