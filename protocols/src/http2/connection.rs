//! One connection: two directions of frames, and the streams that are under way between them.

use super::exchange::{Exchange, Failure};
use super::frame::{
    ACK, CONTINUATION, DEFAULT_MAX, END_STREAM, FrameFault, GOAWAY, HEADERS, Header, MAX, PUSH_PROMISE,
    RST_STREAM, SETTINGS, kind_name,
};
use super::framing::{Fed, Framing, Piece};
use super::hpack::Hpack;
use super::streams::reckon;
use super::tunnels::Tunnels;
use super::{KEPT, STORED_HEADS};
use crate::detect::{Dissector, Roles, Standing};
use crate::http::TOGETHER;
use crate::http1::note;
use crate::{Close, Exchange as Any, Limits, Side};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use weir_records::Timestamp;

/// What takes exchanges.
pub(super) type Out<'a> = &'a mut dyn FnMut(Any);

/// The decoder of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub limits: Arc<Limits>,
    pub late: bool,
    /// Every frame of the connection has been seen.
    pub exact: bool,
    pub client: Half,
    pub server: Half,
    pub streams: BTreeMap<u32, Box<Exchange>>,
    pub tunnels: Tunnels,
    /// The streams that came out last, and which sides had ended them, the client first.
    pub finished: VecDeque<(u32, [bool; 2])>,
    /// The highest stream that the client opened, and the server.
    pub highest: [u32; 2],
    /// Bytes of headers that are kept in `streams`.
    pub stored: usize,
    /// Bytes of bodies that are kept in `streams`.
    pub kept: usize,
    pub sequence: u64,
    /// The time of what is looked at now.
    pub now: Timestamp,
    /// What is to be said of the next exchange.
    pub anomalies: Vec<String>,
    /// How often what is no frame came.
    broken: u32,
    /// The last error that a side gave for going away.
    pub error: Option<u32>,
    /// The client's preface is certain; of a connection joined late, frames of both sides are, or several of one.
    standing: Standing,
    /// Who is the client, by the latest head.
    pub roles: Roles,
    /// Frames that each side has sent, until it is certain.
    frames: [u8; 2],
}

/// Memory that an open stream takes beside its exchange, about: its place in the map, and what allocations cost.
const STREAM: usize = 128;

/// So often what is no frame may come while exchanges stay open over it: each of them is told of it, which costs time.
const PATIENCE: u32 = 64;

/// So many frames of one side can't be chance.
const CERTAIN: u8 = 4;

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    framing: Framing,
    pub hpack: Hpack,
    /// A header block that has not ended.
    pub block: Option<super::blocks::Block>,
    /// Streams below this one were told that frames were missed since the last one was lost.
    told: u32,
}

impl Half {
    fn held(&self) -> usize {
        let block = self.block.as_ref().map_or(0, super::blocks::Block::held);
        self.framing.held() + self.hpack.held() + block
    }
}

/// The decoder for a connection.
pub(super) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Connection::new(limits, late))
}

impl Connection {
    pub fn new(limits: &Arc<Limits>, late: bool) -> Self {
        let half = |side| Half {
            framing: Framing::new(side, late, limits.max_head.max(DEFAULT_MAX as usize)),
            hpack: Hpack::new(!late),
            block: None,
            told: 0,
        };
        Self {
            limits: Arc::clone(limits),
            late,
            exact: !late,
            client: half(Side::Client),
            server: half(Side::Server),
            streams: BTreeMap::new(),
            tunnels: Tunnels::default(),
            finished: VecDeque::new(),
            highest: [0; 2],
            stored: 0,
            kept: 0,
            sequence: 0,
            anomalies: Vec::new(),
            now: Timestamp::default(),
            broken: 0,
            error: None,
            standing: Standing::Guess,
            roles: Roles::Open,
            frames: [0; 2],
        }
    }

    /// Its first stream was opened in HTTP/1.1.
    pub fn begin_upgraded(&mut self, sequence: u64, exchange: Exchange) {
        self.sequence = sequence + 1;
        self.highest[0] = exchange.stream;
        self.kept = exchange.kept();
        let id = exchange.stream;
        self.streams.insert(id, Box::new(exchange));
        self.reckon(id);
    }

    /// What settings a side has to keep to is unknown.
    pub fn allow_any_frame(&mut self, side: Side) {
        let half = self.half(side);
        half.framing.max_frame = MAX;
        half.hpack.allow(u32::MAX);
    }

    pub fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Bytes of a header list that may be kept now.
    pub fn room(&self) -> usize {
        if self.stored > STORED_HEADS * self.limits.max_head {
            super::BEGINNING
        } else {
            self.limits.max_head
        }
    }

    pub fn is_exact(&self) -> bool {
        self.exact
    }

    fn frame(&mut self, side: Side, header: Header, payload: &[u8], times: [Timestamp; 2], out: Out) {
        self.check_interruption(side, &header);
        match (header.kind, payload) {
            (HEADERS | PUSH_PROMISE, _) => self.begin_block(side, header, payload, times, out),
            (CONTINUATION, _) => self.continue_block(side, header, payload, times, out),
            (RST_STREAM, &[a, b, c, d]) => {
                self.reset(side, header.stream, u32::from_be_bytes([a, b, c, d]), out);
            }
            (SETTINGS, _) if !header.has(ACK) => self.settings(side, payload),
            (GOAWAY, &[a, b, c, d, e, f, g, h, ..]) => {
                let last = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
                self.go_away(side, last, u32::from_be_bytes([e, f, g, h]), out);
            }
            _ => {}
        }
    }

    fn settings(&mut self, side: Side, payload: &[u8]) {
        const HEADER_TABLE_SIZE: u16 = 1;
        const MAX_FRAME_SIZE: u16 = 5;
        let half = self.half(side.other());
        for setting in payload.chunks_exact(6) {
            let &[a, b, c, d, e, f] = setting else { continue };
            let value = u32::from_be_bytes([c, d, e, f]);
            // Smaller ones only hold once they are acknowledged.
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => half.hpack.allow(value),
                MAX_FRAME_SIZE => half.framing.max_frame = half.framing.max_frame.max(value.min(MAX)),
                _ => {}
            }
        }
    }

    fn data(&mut self, side: Side, piece: &Piece<'_>, at: Timestamp, out: Out) {
        self.check_interruption(side, &piece.header);
        let id = piece.header.stream;
        let stored = STORED_HEADS * self.limits.max_head;
        let room = stored.saturating_sub(self.stored).min(KEPT);
        let bodies = TOGETHER.saturating_mul(self.limits.bodies.max());
        let bodies = bodies.saturating_sub(self.kept);
        let exact = self.exact;
        let Some(exchange) = self.stream(id, side, false, out) else {
            return self.note_stray(id, side, "DATA");
        };
        let keep = if exchange.triple { room } else { 0 };
        let mut kept = false;
        if exchange.message(side).is_some_and(|message| message.whole) {
            // An error of the stream: it has ended.
            exchange.note("frame_on_closed_stream", &format!("DATA of the {}", side.name()));
            return self.reckon(id);
        }
        let headed = exchange
            .message(side)
            .is_some_and(|message| message.head.is_some());
        if exact && !headed && !exchange.gap {
            exchange.note("data_before_headers", &format!("of the {}", side.name()));
        }
        if piece.missed > 0 {
            exchange.gap = true;
            exchange.note("gap", &format!("{} bytes of a body were missed", piece.missed));
        }
        let message = exchange.begin(side, piece.first);
        message.last = at;
        message.wire += piece.wire;
        message.body += piece.content.len() as u64 + u64::from(piece.missed);
        if let Some(messages) = &mut message.messages {
            let before = messages.stored();
            // (How a call ends, its server says.)
            messages.allow_end(if side == Side::Server { room } else { 0 });
            messages.take(at, piece.content, keep);
            messages.skip(at, piece.missed);
            kept = messages.stored() > before;
        }
        let mut grown = 0;
        if let Some(body) = &mut message.kept {
            let before = body.bytes().len();
            body.allow(bodies);
            body.take(piece.content);
            if piece.missed > 0 {
                body.miss();
            }
            grown = body.bytes().len() - before;
        }
        let whole = piece.last && piece.header.has(END_STREAM);
        message.whole |= whole;
        self.kept += grown;
        if kept || piece.missed > 0 || !headed {
            self.reckon(id);
        }
        self.tunnels.data(id, side, piece, at, out);
        if whole {
            self.settle(id, out);
        }
    }

    /// The frames of a side have to be found again.
    fn lose(&mut self, side: Side, kind: &'static str, seen: &'static str) {
        self.exact = false;
        let half = self.half(side);
        half.block = None;
        half.told = 0;
        half.hpack.lose();
        note(&mut self.anomalies, kind, seen);
        self.miss(side, kind, seen);
        self.tunnels.miss(side, self.now);
    }

    /// Some of what a side sent on its open streams may have been missed: those that were not told yet are.
    fn miss(&mut self, side: Side, kind: &str, seen: &str) {
        let told = self.half(side).told;
        for (id, exchange) in self.streams.range_mut(told..) {
            let half = match side {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            half.told = id + 1;
            if exchange.message(side).is_some_and(|message| message.whole) {
                continue;
            }
            exchange.gap = true;
            exchange.note(kind, seen);
            reckon(&mut self.stored, exchange);
            let message = match side {
                Side::Client => &mut exchange.request,
                Side::Server => &mut exchange.response,
            };
            let Some(message) = message else { continue };
            if let Some(messages) = &mut message.messages {
                messages.lost = true;
            }
            if let Some(body) = &mut message.kept {
                body.miss();
            }
        }
    }

    /// Notes what is wrong with a frame by its header: with its stream, or with the next exchange.
    fn note_frame(&mut self, side: Side, header: &Header, fault: FrameFault) {
        let (kind, length, id) = (kind_name(header.kind), header.length, header.stream);
        let seen = format!("{kind} of {length} bytes on stream {id}, of the {}", side.name());
        match self.streams.get_mut(&id) {
            Some(exchange) => exchange.note(fault.name(), &seen),
            None => note(&mut self.anomalies, fault.name(), &seen),
        }
        self.reckon(id);
    }

    fn take(&mut self, side: Side, at: Timestamp, fed: Fed<'_>, out: Out) {
        match fed {
            Fed::More => {}
            Fed::Frame(header, payload, first) => self.frame(side, header, &payload, [first, at], out),
            Fed::Data(piece) => self.data(side, &piece, at, out),
            Fed::Passed => self.miss(side, "gap", "bytes that begin within a frame were passed by"),
            Fed::Broken => {
                self.standing.settle(Standing::Refuted);
                self.lose(side, "not_a_frame", "frames were looked for again");
                self.broken += 1;
                if self.broken > PATIENCE {
                    self.fail(|_| true, |_| Some(Failure::Abandoned), out);
                }
            }
        }
    }

    /// Looks whether what was fed makes the protocol certain.
    fn weigh(&mut self, side: Side, fed: &Fed<'_>) {
        if !self.late {
            if !self.client.framing.awaits_preface() {
                self.standing.settle(Standing::Confirmed);
            }
            return;
        }
        let header = match fed {
            Fed::Frame(header, ..) => header,
            Fed::Data(piece) if piece.last => &piece.header,
            _ => return,
        };
        if !header.is_plausible(side, MAX) {
            return self.standing.settle(Standing::Refuted);
        }
        let [client, server] = &mut self.frames;
        let frames = if side == Side::Client { client } else { server };
        *frames = frames.saturating_add(1);
        if *frames >= CERTAIN || self.frames.iter().all(|frames| *frames > 0) {
            self.standing.settle(Standing::Confirmed);
        }
    }
}

impl Dissector for Connection {
    fn data(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: Out) {
        self.now = at;
        while !bytes.is_empty() {
            let fed = self.half(side).framing.feed(at, &mut bytes);
            if self.standing == Standing::Guess && !matches!(fed, Fed::Broken) {
                self.weigh(side, &fed);
            }
            self.take(side, at, fed, out);
            if let Some((header, fault)) = self.half(side).framing.fault.take() {
                self.note_frame(side, &header, fault);
            }
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: Out) {
        self.now = at;
        match self.half(side).framing.gap(missed) {
            Fed::Broken => self.lose(side, "gap", "bytes were missed"),
            fed => self.take(side, at, fed, out),
        }
    }

    fn end(&mut self, side: Side, at: Timestamp, out: Out) {
        self.now = at;
        // A client may wait for answers after its last word.
        if side == Side::Server {
            self.fail(|_| true, Exchange::cut_short, out);
        }
    }

    fn tick(&mut self, at: Timestamp, out: Out) {
        self.tell_waiting(at, out);
    }

    fn waits(&self) -> bool {
        self.may_tell_waiting()
    }

    fn close(&mut self, at: Timestamp, how: Close, out: Out) {
        self.now = at;
        let failure = |exchange: &Exchange| match how {
            Close::Reset(side) if !exchange.is_answered() && !exchange.may_be_answered() => {
                Some(Failure::Connection(side))
            }
            Close::Abandoned if !exchange.is_answered() => Some(Failure::Abandoned),
            _ => exchange.cut_short(),
        };
        self.fail(|_| true, failure, out);
        if self.late {
            // A header or two are found by chance in the middle of anything.
            self.standing.settle(Standing::Refuted);
        }
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn roles(&self) -> Roles {
        self.roles
    }

    fn held(&self) -> usize {
        let streams = self.streams.len() * (size_of::<Exchange>() + STREAM);
        let finished = self.finished.capacity() * size_of::<(u32, [bool; 2])>();
        let kept = self.stored + self.kept + streams + finished + self.tunnels.held();
        size_of::<Self>() + kept + self.client.held() + self.server.held()
    }

    fn is_opaque(&self) -> bool {
        false
    }
}
