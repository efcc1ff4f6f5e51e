//! Packets and capture files made by hand, and what comes out of them.

use etherparse::{PacketBuilder, PacketBuilderStep};
use serde_json::Value;
use std::{io::Cursor, net::SocketAddr, sync::Arc};
use weir_capture::{Bounds, Counters, FlowSettings, LinkType, Packet, Reader, Settings, Sink, Tracker};
use weir_config::Records;
use weir_protocols::{Decoder, Decoders, Exchange, Limits, Side};
use weir_records::{Capture, Direction, Flow, Policy, Report, Sent, Timestamp};

pub const MS: u64 = 1_000_000;
pub const START: u64 = 1_700_000_000_000_000_000;

pub fn limits() -> Arc<Limits> {
    Arc::new(Limits::default())
}

pub fn settings() -> Settings {
    Settings {
        capture: Capture::Pcap,
        host: None,
        local: Vec::new(),
        select: None,
        decoders: Decoders::default(),
        bounds: Bounds::default(),
        flows: Some(FlowSettings::default()),
    }
}

/// A packet that was seen: when, and its bytes from the IP header on.
#[derive(Clone, Debug)]
pub struct Frame {
    pub at: u64,
    pub bytes: Vec<u8>,
    /// What was kept of it, if not all.
    pub kept: usize,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

/// A TCP connection, written down packet by packet, a millisecond apart.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// Next sequence numbers: the client's, the server's.
    pub next: [u32; 2],
    pub now: u64,
    pub frames: Vec<Frame>,
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new("198.18.0.2:40000", "198.18.0.1:8080")
    }
}

impl Conversation {
    /// Sequence numbers wrap soon.
    pub fn new(client: &str, server: &str) -> Self {
        Self {
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
            next: [u32::MAX - 20, u32::MAX - 30],
            now: START,
            frames: Vec::new(),
        }
    }

    fn ends(&self, side: Side) -> (SocketAddr, SocketAddr) {
        match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        }
    }

    /// A segment with these numbers; nothing else changes.
    pub fn raw(
        &mut self,
        side: Side,
        sequence: u32,
        acknowledged: u32,
        flags: Flags,
        payload: &[u8],
    ) -> &mut Self {
        let (source, destination) = self.ends(side);
        let mut builder = ip(source, destination).tcp(source.port(), destination.port(), sequence, 65535);
        if flags.syn {
            builder = builder.syn();
        }
        if flags.ack {
            builder = builder.ack(acknowledged);
        }
        if flags.fin {
            builder = builder.fin();
        }
        if flags.rst {
            builder = builder.rst();
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        self.now += MS;
        self.frames.push(Frame {
            at: self.now,
            kept: bytes.len(),
            bytes,
        });
        self
    }

    /// The next segment of this side.
    pub fn next(&mut self, side: Side, flags: Flags, payload: &[u8]) -> &mut Self {
        let (mine, other) = match side {
            Side::Client => (0, 1),
            Side::Server => (1, 0),
        };
        let (sequence, acknowledged) = (self.next[mine], self.next[other]);
        let len = payload.len() as u32 + u32::from(flags.syn) + u32::from(flags.fin);
        self.next[mine] = sequence.wrapping_add(len);
        self.raw(side, sequence, acknowledged, flags, payload)
    }

    pub fn handshake(&mut self) -> &mut Self {
        let (syn, ack) = (true, true);
        self.next(
            Side::Client,
            Flags {
                syn,
                ..Flags::default()
            },
            b"",
        )
        .next(
            Side::Server,
            Flags {
                syn,
                ack,
                ..Flags::default()
            },
            b"",
        )
        .next(Side::Client, ACK, b"")
    }

    pub fn send(&mut self, side: Side, payload: impl AsRef<[u8]>) -> &mut Self {
        self.next(side, ACK, payload.as_ref())
    }

    pub fn client(&mut self, payload: impl AsRef<[u8]>) -> &mut Self {
        self.send(Side::Client, payload)
    }

    pub fn server(&mut self, payload: impl AsRef<[u8]>) -> &mut Self {
        self.send(Side::Server, payload)
    }

    pub fn finish(&mut self) -> &mut Self {
        let fin = Flags { fin: true, ..ACK };
        self.next(Side::Client, fin, b"")
            .next(Side::Server, fin, b"")
            .next(Side::Client, ACK, b"")
    }

    /// The last packet was never captured.
    pub fn lost(&mut self) -> &mut Self {
        self.frames.pop();
        self
    }

    /// Of the last packet only so much was captured of its payload.
    pub fn cut(&mut self, payload: usize) -> &mut Self {
        let frame = self.frames.last_mut().unwrap();
        let headers = if self.client.is_ipv4() { 40 } else { 60 };
        frame.kept = headers + payload;
        self
    }
}

pub const ACK: Flags = Flags {
    syn: false,
    ack: true,
    fin: false,
    rst: false,
};

pub fn ip(source: SocketAddr, destination: SocketAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    match (source, destination) {
        (SocketAddr::V4(a), SocketAddr::V4(b)) => PacketBuilder::ipv4(a.ip().octets(), b.ip().octets(), 64),
        (SocketAddr::V6(a), SocketAddr::V6(b)) => PacketBuilder::ipv6(a.ip().octets(), b.ip().octets(), 64),
        _ => panic!("two families"),
    }
}

/// A datagram from the IP header on.
pub fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (SocketAddr, SocketAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let mut bytes = Vec::new();
    ip(source, destination)
        .udp(source.port(), destination.port())
        .write(&mut bytes, payload)
        .unwrap();
    bytes
}

/// What came out of a tracker.
#[derive(Debug, Default)]
pub struct Seen {
    pub documents: Vec<Value>,
    /// Protocol, ending and whether joined late, of each flow that ended.
    pub closed: Vec<String>,
    /// What each side of it sent.
    pub sent: Vec<[Sent; 2]>,
    /// The documents of flows, those of intervals too.
    pub flows: Vec<Value>,
}

impl Sink for Seen {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        let document = exchange.document(flow, &Policy::new(&Records::default()));
        assert_eq!(document.network.protocol, Some(exchange.protocol()));
        self.documents.push(serde_json::to_value(document).unwrap());
    }

    fn flow(&mut self, flow: &Flow, report: Report) {
        let document = report.document(flow);
        self.flows.push(serde_json::to_value(document).unwrap());
        let Some(end) = report.end else { return };
        let late = if report.late { " late" } else { "" };
        let protocol = report.protocol.unwrap_or("-");
        self.closed.push(format!("{protocol} {end:?}{late}"));
        self.sent.push([report.now.source, report.now.destination]);
    }
}

impl Seen {
    /// Method, path and status of each HTTP exchange.
    pub fn summary(&self) -> Vec<String> {
        let text = |document: &Value, pointer| match document.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "-".into(),
        };
        self.documents
            .iter()
            .map(|document| {
                ["/http/request/method", "/url/path", "/http/response/status_code"]
                    .map(|pointer| text(document, pointer))
                    .join(" ")
            })
            .collect()
    }

    /// Each document with its anomalies.
    pub fn anomalies(&self) -> Vec<String> {
        self.documents
            .iter()
            .map(|document| document["weir"]["anomalies"].as_array().into_iter().flatten())
            .map(|anomalies| {
                anomalies
                    .map(|text| text.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join("; ")
            })
            .collect()
    }
}

/// Shows packets of raw IP to a tracker, and ends the capture.
pub fn track(frames: &[Frame]) -> (Seen, Counters) {
    track_with(settings(), frames)
}

pub fn track_with(settings: Settings, frames: &[Frame]) -> (Seen, Counters) {
    let mut tracker = Tracker::new(settings);
    let mut seen = Seen::default();
    for frame in frames {
        tracker.packet(&packet(frame), &mut seen);
    }
    tracker.finish(&mut seen);
    assert_eq!((tracker.flows(), tracker.waiting_bytes()), (0, 0));
    (seen, tracker.counters().clone())
}

pub fn packet(frame: &Frame) -> Packet<'_> {
    Packet::new(
        Timestamp(frame.at),
        LinkType::RAW,
        &frame.bytes[..frame.kept],
        frame.bytes.len(),
    )
}

/// All packets of a file.
pub fn read_all(file: &[u8]) -> Result<Vec<(LinkType, Frame)>, weir_capture::FileError> {
    let mut reader = Reader::new(Cursor::new(file))?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet()? {
        let mut bytes = packet.bytes.to_vec();
        bytes.resize(packet.wire_len, 0);
        let frame = Frame {
            at: packet.at.0,
            bytes,
            kept: packet.bytes.len(),
        };
        frames.push((packet.link, frame));
    }
    Ok(frames)
}

/// What a capture in `tests/corpus/repro` gives; its name with `.pcap` or without.
pub fn repro(name: &str) -> Seen {
    repro_counted(name).0
}

/// What a capture in `tests/corpus/repro` gives, and the tracker's counters.
pub fn repro_counted(name: &str) -> (Seen, Counters) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/repro");
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    let path = folder.join(name).with_extension("pcap");
    for (link, frame) in read_all(&std::fs::read(path).unwrap()).unwrap() {
        let (at, size) = (Timestamp(frame.at), frame.bytes.len());
        tracker.packet(
            &Packet::new(at, link, &frame.bytes[..frame.kept], size),
            &mut seen,
        );
    }
    tracker.finish(&mut seen);
    (seen, tracker.counters().clone())
}

/// One thing that a relay sees of a connection.
#[derive(Clone, Debug)]
pub enum Step {
    Data(Side, Vec<u8>),
    End(Side),
}

/// What the relay's way gives: the decoder fed with the same bytes at the same times.
pub fn relayed(flow: &Flow, steps: &[(u64, Step)], how: weir_protocols::Close) -> Vec<Value> {
    let policy = Policy::new(&Records::default());
    let mut documents = Vec::new();
    let mut out = |exchange: Exchange| {
        documents.push(serde_json::to_value(exchange.document(flow, &policy)).unwrap());
    };
    let mut decoder = Decoder::new(&limits());
    let mut last = flow.opened;
    for (at, step) in steps {
        last = Timestamp(*at);
        match step {
            Step::Data(side, bytes) => decoder.data(*side, last, bytes, &mut out),
            Step::End(side) => decoder.end(*side, last, &mut out),
        }
    }
    decoder.close(last, how, &mut out);
    documents
}

pub fn flow(client: SocketAddr, server: SocketAddr, opened: u64) -> Flow {
    Flow {
        id: Flow::identify(None, client, server, Timestamp(opened)),
        capture: Capture::Pcap,
        mode: None,
        direction: Direction::Unknown,
        client,
        server,
        opened: Timestamp(opened),
        connect: None,
        host: None,
        wrapping: None,
    }
}
