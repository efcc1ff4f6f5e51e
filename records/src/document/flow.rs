//! `weir.flow`: a connection, or a flow of datagrams, as a whole.

use super::{Document, Endpoint, Error, Event, Weir};
use crate::{Flow, FlowEnd, Party, Report, Sent};
use schemars::JsonSchema;
use serde::Serialize;

/// `event.dataset` of every document made here.
pub const DATASET: &str = "weir.flow";

/// What only Weir says of a flow. Numbers are totals since its beginning; what came since its last document is in `source`,
/// `destination` and `network`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WeirFlow {
    /// Number of this document among the flow's, from 0 on.
    pub sequence: u32,
    /// It is over, and this is its last document.
    #[serde(rename = "final")]
    pub last: bool,
    /// `opening`, `established` or `closed`.
    pub state: &'static str,
    /// It was established in this period.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub opened: bool,
    /// How it ended: `finished`, `reset`, `refused`, `unanswered`, `idle`, or `unobserved` where the observation ended first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<&'static str>,
    /// Who ended it: `source` or `destination`; of both closing in order the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<&'static str>,
    /// From the SYN to the end of the handshake (where a relay dialled: how long that took), in ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<u64>,
    /// What the source sent.
    pub source: WeirFlowSide,
    /// What the destination sent.
    pub destination: WeirFlowSide,
    /// Packets that were lost in this period for want of room where this flow was observed: of this flow, or of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_packets: Option<u64>,
}

/// One side of `weir.flow`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WeirFlowSide {
    /// Bytes of payload, without what was sent again.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes of the packets from the IP header on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_bytes: Option<u64>,
    /// Packets that were sent again; where a relay was observed, by the relay in its name, and only of the side that is observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// Those of them that were sent in this period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits_in_period: Option<u64>,
    /// Packets that came behind others which were sent after them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_order: Option<u64>,
    /// Times that it said it can take no more (a window of zero).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_windows: Option<u64>,
    /// Resets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets: Option<u64>,
    /// Bytes of payload that are known to have been sent and were not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_bytes: Option<u64>,
    /// Smoothed time from what this side sent to its acknowledgement, in ns, seen where it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<u64>,
    /// Variation of that time, in ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_variation: Option<u64>,
}

impl WeirFlowSide {
    /// What was sent until now, after this was sent until the period began.
    fn of(sent: &Sent, before: &Sent) -> Self {
        Self {
            bytes: sent.bytes,
            packets: sent.packets,
            wire_bytes: sent.wire_bytes,
            retransmits: sent.retransmits,
            retransmits_in_period: sent
                .retransmits
                .map(|all| all.saturating_sub(before.retransmits.unwrap_or(0))),
            out_of_order: sent.out_of_order,
            zero_windows: sent.zero_windows,
            resets: sent.resets,
            missed_bytes: sent.missed_bytes,
            rtt: sent.rtt,
            rtt_variation: sent.rtt_variation,
        }
    }
}

impl Report {
    /// Its document.
    pub fn document(&self, flow: &Flow) -> Document {
        let now = &self.now;
        let [from, to] = [
            since(&now.source, &self.before[0]),
            since(&now.destination, &self.before[1]),
        ];
        let mut document = Document::of(flow, self.since, self.event(flow), self.transport, "");
        let named = self
            .named
            .map(|(client, server)| (Box::new(client.into()), Box::new(server.into())));
        (document.client, document.server) = named.unzip();
        let network = &mut document.network;
        network.protocol = self.protocol;
        (network.bytes, network.packets) = (Some(from.0 + to.0), Some(from.1 + to.1));
        Document {
            source: side(document.source, from),
            destination: Endpoint {
                domain: self.domain.as_deref().map(Into::into),
                ..side(document.destination, to)
            },
            error: self.error(),
            weir: Weir {
                late_join: self.late,
                flow: Some(Box::new(self.weir())),
                ..document.weir
            },
            ..document
        }
    }

    fn event(&self, flow: &Flow) -> Event {
        Event {
            id: self.id(flow.id, DATASET),
            dataset: DATASET,
            category: &["network"],
            kind: match self.end {
                None => &["connection"],
                Some(_) => &["connection", "end"],
            },
            outcome: None,
            duration: Some(self.until.since(self.since)),
            start: Some(self.since),
            end: Some(self.until),
        }
    }

    fn error(&self) -> Option<Error> {
        match &self.error {
            Some((kind, message)) => Some(Error {
                kind: (*kind).into(),
                message: Some(message.clone()),
            }),
            None => self.end.and_then(error),
        }
    }

    fn weir(&self) -> WeirFlow {
        let (end, closed_by) = self.end.map(described).unzip();
        WeirFlow {
            sequence: self.sequence,
            last: self.end.is_some(),
            state: match (self.end, self.now.established) {
                (Some(_), _) => "closed",
                (None, true) => "established",
                (None, false) => "opening",
            },
            // Of one that is joined late, that was before.
            opened: self.now.established && !self.established_before && !self.late,
            end,
            closed_by: closed_by.flatten().map(|party| match party {
                Party::Source => "source",
                Party::Destination => "destination",
            }),
            handshake: self.now.handshake,
            source: WeirFlowSide::of(&self.now.source, &self.before[0]),
            destination: WeirFlowSide::of(&self.now.destination, &self.before[1]),
            lost_packets: self.lost_packets,
        }
    }
}

/// Bytes and packets since then.
fn since(now: &Sent, before: &Sent) -> (u64, u64) {
    (
        now.bytes.saturating_sub(before.bytes),
        now.packets.saturating_sub(before.packets),
    )
}

fn side(endpoint: Endpoint, (bytes, packets): (u64, u64)) -> Endpoint {
    Endpoint {
        bytes: Some(bytes),
        packets: Some(packets),
        ..endpoint
    }
}

fn described(end: FlowEnd) -> (&'static str, Option<Party>) {
    match end {
        FlowEnd::Finished(first) => ("finished", first),
        FlowEnd::Reset(party) => ("reset", Some(party)),
        FlowEnd::Refused => ("refused", Some(Party::Destination)),
        FlowEnd::Unanswered => ("unanswered", None),
        FlowEnd::Idle => ("idle", None),
        FlowEnd::Unobserved => ("unobserved", None),
    }
}

fn error(end: FlowEnd) -> Option<Error> {
    let kind = match end {
        FlowEnd::Reset(_) => "connection_reset",
        FlowEnd::Refused => "connection_refused",
        FlowEnd::Unanswered => "timeout",
        FlowEnd::Finished(_) | FlowEnd::Idle | FlowEnd::Unobserved => return None,
    };
    Some(Error {
        kind: kind.into(),
        message: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::{Capture, Direction, Flow, FlowEnd, Party, Progress, Reported, Sent, Timestamp};
    use serde_json::json;

    fn flow() -> Flow {
        let (client, server) = (
            "198.18.0.1:40000".parse().unwrap(),
            "198.18.0.2:80".parse().unwrap(),
        );
        Flow {
            id: Flow::identify(None, client, server, Timestamp(0)),
            capture: Capture::Tap,
            mode: None,
            direction: Direction::Egress,
            client,
            server,
            opened: Timestamp(0),
            connect: None,
            host: None,
            wrapping: None,
        }
    }

    fn sent(bytes: u64, packets: u64) -> Sent {
        Sent {
            bytes,
            packets,
            ..Sent::default()
        }
    }

    fn again(sent: Sent, retransmits: u64) -> Sent {
        Sent {
            retransmits: Some(retransmits),
            ..sent
        }
    }

    fn progress(source: Sent, destination: Sent) -> Progress {
        Progress {
            established: true,
            handshake: Some(7),
            source,
            destination,
        }
    }

    #[test]
    fn documents_add_up_to_the_totals() {
        let mut reported = Reported::new(Timestamp(1_000_000_000));
        let first = reported.next(
            Timestamp(61_000_000_000),
            progress(again(sent(100, 3), 1), sent(1000, 4)),
            "tcp",
        );
        let now = progress(again(sent(150, 5), 3), sent(1000, 5));
        assert!(!reported.is_quiet(&now));
        let mut last = reported.next(Timestamp(62_000_000_000), now, "tcp");
        assert!(reported.is_quiet(&now));
        last.end = Some(FlowEnd::Reset(Party::Destination));
        last.protocol = Some("http");
        let [first, last] =
            [first, last].map(|report| serde_json::to_value(report.document(&flow())).unwrap());
        assert_eq!(first["event"]["end"], last["event"]["start"]);
        assert_ne!(first["event"]["id"], last["event"]["id"]);
        assert_eq!(first["source"]["bytes"], 100);
        assert_eq!(last["source"]["bytes"], 50);
        assert_eq!(last["source"]["packets"], 2);
        assert_eq!(last["destination"]["bytes"], 0);
        assert_eq!(first["network"]["bytes"], 1100);
        assert_eq!(last["network"]["packets"], 3);
        assert_eq!(first["network"].get("protocol"), None);
        assert_eq!(last["network"]["protocol"], "http");
        assert_eq!(first["weir"]["flow"]["state"], "established");
        assert_eq!(last["weir"]["flow"]["source"]["bytes"], 150);
        assert_eq!(first["weir"]["flow"]["source"]["retransmits_in_period"], 1);
        assert_eq!(last["weir"]["flow"]["source"]["retransmits"], 3);
        assert_eq!(last["weir"]["flow"]["source"]["retransmits_in_period"], 2);
        assert_eq!(
            last["weir"]["flow"]["destination"].get("retransmits_in_period"),
            None
        );
        assert_eq!(last["weir"]["flow"]["closed_by"], "destination");
        assert_eq!(last["weir"]["flow"]["final"], true);
        assert_eq!(first["weir"]["flow"]["opened"], true);
        assert_eq!(last["weir"]["flow"].get("opened"), None, "it was before");
        assert_eq!(last["event"]["type"], json!(["connection", "end"]));
        assert_eq!(last["error"]["type"], "connection_reset");
    }
}
