//! What the targets share: a tracker with narrow bounds, watched.

use std::time::Duration;
use weir_capture::{Bounds, FlowSettings, Packet, Settings, Sink, Tracker};
use weir_config::Records;
use weir_protocols::{Decoders, Exchange};
use weir_records::{Capture, Flow, Policy, Report};

const BOUNDS: Bounds = Bounds {
    max_flows: 4,
    flow_bytes: 600,
    total_bytes: 1000,
    decoder_bytes: 1 << 20,
    fragment_bytes: 1000,
    fragment_patience: Duration::from_secs(30),
    hole_patience: Duration::from_secs(10),
    idle: Duration::from_secs(600),
    linger: Duration::from_secs(60),
};

/// Makes a document of every exchange.
struct Documents(Policy);

impl Sink for Documents {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        let document = exchange.document(flow, &self.0);
        serde_json::to_string(&document).expect("a document is JSON");
    }

    fn flow(&mut self, flow: &Flow, report: Report) {
        serde_json::to_string(&report.document(flow)).expect("a document is JSON");
    }
}

/// A tracker whose bounds are checked after every packet.
pub struct Watched {
    tracker: Tracker,
    documents: Documents,
}

impl Default for Watched {
    fn default() -> Self {
        let settings = Settings {
            capture: Capture::Pcap,
            host: None,
            local: Vec::new(),
            select: None,
            decoders: Decoders::default(),
            bounds: BOUNDS,
            flows: Some(FlowSettings {
                interval: Some(Duration::from_secs(10)),
            }),
        };
        Self {
            tracker: Tracker::new(settings),
            documents: Documents(Policy::new(&Records::default())),
        }
    }
}

impl Watched {
    /// A packet was seen.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.tracker.packet(packet, &mut self.documents);
        assert!(self.tracker.waiting_bytes() <= BOUNDS.total_bytes);
        assert!(self.tracker.flows() <= BOUNDS.max_flows);
    }

    /// The capture is over.
    pub fn finish(mut self) {
        self.tracker.finish(&mut self.documents);
        assert_eq!((self.tracker.flows(), self.tracker.waiting_bytes()), (0, 0));
        assert_eq!(self.tracker.counters().decoder_panics, 0);
    }
}
