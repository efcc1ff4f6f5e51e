//! What a source says of a flow as a whole: how much each side sent, and how the network carried it. The source counts from
//! the flow's beginning; what came since the last report is worked out here.

use crate::{DocumentId, Timestamp};
use std::net::SocketAddr;

/// One side of a flow: who opened it, or whom it was opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Who opened it: the client.
    Source,
    /// Whom it was opened to: the server.
    Destination,
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEnd {
    /// Both sides closed in order; this one first.
    Finished(Option<Party>),
    /// This side reset it.
    Reset(Party),
    /// It never came to be: the destination, or somebody before it, said no.
    Refused,
    /// It never came to be: nobody answered.
    Unanswered,
    /// Nothing was sent for so long that it was given up; of UDP, the usual end.
    Idle,
    /// The observation ended first.
    Unobserved,
}

/// What one side sent, since the beginning of the flow. What a source can't know is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of payload, without what was sent again: what the application sent.
    pub bytes: u64,
    /// Packets, those without payload too.
    pub packets: u64,
    /// Bytes of the packets from the IP header on.
    pub wire_bytes: Option<u64>,
    /// Packets with payload (or SYN, or FIN) that were sent again.
    pub retransmits: Option<u64>,
    /// Packets that came behind others which were sent after them.
    pub out_of_order: Option<u64>,
    /// Times that it said it can take no more.
    pub zero_windows: Option<u64>,
    /// Resets.
    pub resets: Option<u64>,
    /// Bytes of payload that are known to have been sent and were not seen.
    pub missed_bytes: Option<u64>,
    /// Smoothed time from what this side sent to its acknowledgement, in ns, as seen where it was observed.
    pub rtt: Option<u64>,
    /// Variation of that time (RFC 6298), in ns.
    pub rtt_variation: Option<u64>,
}

/// What there is to say of a flow until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Handshake done, or something passed.
    pub established: bool,
    /// From the SYN to the end of the handshake (of a relay: how long the dial took), in ns.
    pub handshake: Option<u64>,
    /// What the source sent.
    pub source: Sent,
    /// What the destination sent.
    pub destination: Sent,
}

/// A flow's document, before it is one.
#[derive(Clone, Debug)]
pub struct Report {
    /// Number of this report among the flow's.
    pub sequence: u32,
    /// Beginning of the period that it is about.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// What it is until now.
    pub now: Progress,
    /// What the previous report said; nothing in the first.
    pub before: [Sent; 2],
    /// It was established when the previous report was made.
    pub established_before: bool,
    /// How it ended, in the last report.
    pub end: Option<FlowEnd>,
    /// `tcp` or `udp`.
    pub transport: &'static str,
    /// The protocol that was found, as documents call it.
    pub protocol: Option<&'static str>,
    /// The beginning was not seen.
    pub late: bool,
    /// The name under which the client found the destination's address.
    pub domain: Option<String>,
    /// The client, and whom the client had connected to, as a PROXY header of the flow says.
    pub named: Option<(SocketAddr, SocketAddr)>,
    /// Packets, of this flow or others, that were lost in the period for want of room where this one was observed.
    pub lost_packets: Option<u64>,
    /// Why it never came to be, where more is known than its end says: a short stable name, and what the kernel said.
    pub error: Option<(&'static str, String)>,
}

/// What a source keeps between the reports of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Reported {
    sequence: u32,
    since: Timestamp,
    before: [Sent; 2],
    established: bool,
}

impl Reported {
    /// Of a flow that was opened then.
    pub fn new(opened: Timestamp) -> Self {
        Self {
            sequence: 0,
            since: opened,
            before: [Sent::default(); 2],
            established: false,
        }
    }

    /// When the last report was made, or the flow opened.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// It has turned out that source and destination are the other way round; true if a report has said otherwise.
    pub fn swap(&mut self) -> bool {
        self.before.reverse();
        self.sequence > 0
    }

    /// True if nothing was sent since the last report.
    pub fn is_quiet(&self, now: &Progress) -> bool {
        self.sequence > 0
            && is_same(&self.before[0], &now.source)
            && is_same(&self.before[1], &now.destination)
    }

    /// The next report, about the time until then; the caller fills in what else it knows.
    pub fn next(&mut self, until: Timestamp, now: Progress, transport: &'static str) -> Report {
        let report = Report {
            sequence: self.sequence,
            since: self.since,
            until,
            now,
            before: self.before,
            established_before: self.established,
            end: None,
            transport,
            protocol: None,
            late: false,
            domain: None,
            named: None,
            lost_packets: None,
            error: None,
        };
        self.sequence += 1;
        self.since = until;
        self.before = [now.source, now.destination];
        self.established = now.established;
        report
    }
}

impl Report {
    /// The identity of its document.
    pub(crate) fn id(&self, flow: DocumentId, dataset: &str) -> DocumentId {
        DocumentId::exchange(flow, dataset, u64::from(self.sequence))
    }
}

fn is_same(before: &Sent, now: &Sent) -> bool {
    (before.bytes, before.packets) == (now.bytes, now.packets)
}
