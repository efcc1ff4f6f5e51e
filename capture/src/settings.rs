//! What a tracker is told: what the documents say of their source, and the bounds of memory.

use crate::Way;
use ipnet::IpNet;
use std::{fmt, net::IpAddr, sync::Arc, time::Duration};
use weir_protocols::Decoders;
use weir_records::{Capture, Direction, Flow};

/// What a [`crate::Tracker`] needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the packets were seen, for the documents.
    pub capture: Capture,
    /// Name of the observed host or container, if it is known.
    pub host: Option<Arc<str>>,
    /// Addresses of the observed host or container, which tell a connection's direction.
    pub local: Vec<IpNet>,
    /// Which flows are left out; nothing for none.
    pub select: Option<Arc<dyn Select>>,
    /// What makes each flow's decoder.
    pub decoders: Decoders,
    /// Bounds of what is kept between packets.
    pub bounds: Bounds,
    /// What is told of flows as a whole, those of UDP included; nothing where nobody wants to know.
    pub flows: Option<FlowSettings>,
}

/// What is told of flows as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSettings {
    /// How often of one that is open; nothing for only at its end.
    pub interval: Option<Duration>,
}

/// What carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Tells flows that are wanted from those that are not.
pub trait Select: fmt::Debug + Send + Sync {
    /// Asked once for each flow, when its first packet is seen.
    fn wants(&self, flow: &Flow, transport: Transport) -> bool;
}

/// Bounds of what one tracker keeps between packets.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Most flows that are followed at once; past it those that were silent for longest are given up.
    pub max_flows: usize,
    /// Most bytes of a connection that wait for others before them; past it what is missing is given up as a gap.
    pub flow_bytes: usize,
    /// The same of all connections together.
    pub total_bytes: usize,
    /// Most memory that all decoders keep together, in bytes; past it those that keep most are given up.
    pub decoder_bytes: usize,
    /// Most bytes of IP fragments that wait for the rest of their packet; past it the oldest are given up.
    pub fragment_bytes: usize,
    /// So long a fragment waits for the rest of its packet.
    pub fragment_patience: Duration,
    /// So long bytes wait for a missing segment before them that nobody acknowledges.
    pub hole_patience: Duration,
    /// After so long without a packet a connection is given up.
    pub idle: Duration,
    /// The same for a flow of UDP, and for a connection that has ended, whose late repeats are still to be known as such.
    pub linger: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_flows: 65536,
            flow_bytes: 4 << 20,
            total_bytes: 64 << 20,
            decoder_bytes: 256 << 20,
            fragment_bytes: 4 << 20,
            fragment_patience: Duration::from_secs(30), // net.ipv4.ipfrag_time
            hole_patience: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            linger: Duration::from_secs(30),
        }
    }
}

impl Bounds {
    /// The share of each of so many trackers, which together keep what one may keep. No bound of one flow changes.
    pub fn shared_by(self, trackers: usize) -> Self {
        let trackers = trackers.max(1);
        Self {
            max_flows: (self.max_flows / trackers).max(1),
            total_bytes: self.total_bytes / trackers,
            decoder_bytes: self.decoder_bytes / trackers,
            fragment_bytes: self.fragment_bytes / trackers,
            ..self
        }
    }
}

impl Settings {
    /// True if this flow is to be followed.
    pub(crate) fn wants(&self, flow: &Flow, transport: Transport) -> bool {
        self.select
            .as_ref()
            .is_none_or(|select| select.wants(flow, transport))
    }

    /// Which way a connection was opened, of which the client's packets go this way.
    pub(crate) fn direction(&self, client: IpAddr, server: IpAddr, way: Way) -> Direction {
        let is_local = |ip: IpAddr| self.local.iter().any(|net| net.contains(&ip));
        match (is_local(client), is_local(server), way) {
            (true, _, _) => Direction::Egress,
            (false, true, _) => Direction::Ingress,
            (false, false, Way::Sent | Way::Local) => Direction::Egress,
            (false, false, Way::Received) => Direction::Ingress,
            (false, false, Way::Unknown) => Direction::Unknown,
        }
    }
}

/// A period in ns.
pub(crate) fn ns(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)
}
