//! One connection: two directions of frames, and the streams that are under way between them.

use super::exchange::{Exchange, Failure};
use super::frame::{
    ACK, CONTINUATION, DEFAULT_MAX, END_STREAM, GOAWAY, HEADERS, Header, MAX, PUSH_PROMISE, RST_STREAM,
    SETTINGS,
};
use super::framing::{Fed, Framing, Piece};
use super::hpack::Hpack;
use super::{FINISHED, KEPT, STORED_HEADS};
use crate::detect::{Dissector, Standing};
use crate::http::TOGETHER;
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
    exact: bool,
    pub client: Half,
    pub server: Half,
    pub streams: BTreeMap<u32, Box<Exchange>>,
    /// The streams that came out last.
    finished: VecDeque<u32>,
    /// The highest stream that the client opened, and the server.
    highest: [u32; 2],
    /// Bytes of headers that are kept in `streams`.
    pub stored: usize,
    /// Bytes of bodies that are kept in `streams`.
    kept: usize,
    sequence: u64,
    /// What is to be said of the next exchange.
    anomaly: Option<(&'static str, &'static str)>,
    /// The last error that a side gave for going away.
    error: Option<u32>,
    /// The client's preface is certain; of a connection joined late, frames of both sides are, or several of one.
    standing: Standing,
    /// Frames that each side has sent, until it is certain.
    frames: [u8; 2],
}

/// So many frames of one side can't be chance.
const CERTAIN: u8 = 4;

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    framing: Framing,
    pub hpack: Hpack,
    /// A header block that has not ended.
    pub block: Option<super::blocks::Block>,
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
        };
        Self {
            limits: Arc::clone(limits),
            late,
            exact: !late,
            client: half(Side::Client),
            server: half(Side::Server),
            streams: BTreeMap::new(),
            finished: VecDeque::new(),
            highest: [0; 2],
            stored: 0,
            kept: 0,
            sequence: 0,
            anomaly: None,
            error: None,
            standing: Standing::Guess,
            frames: [0; 2],
        }
    }

    /// Its first stream was opened in HTTP/1.1.
    pub fn begin_upgraded(&mut self, sequence: u64, exchange: Exchange) {
        self.sequence = sequence + 1;
        self.highest[0] = exchange.stream;
        self.stored = exchange.stored();
        self.kept = exchange.kept();
        self.streams.insert(exchange.stream, Box::new(exchange));
    }

    /// What settings a side has to keep to is unknown.
    pub fn allow_any_frame(&mut self, side: Side) {
        self.half(side).framing.max_frame = MAX;
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
        const MAX_FRAME_SIZE: u16 = 5;
        for setting in payload.chunks_exact(6) {
            if let &[a, b, c, d, e, f] = setting
                && u16::from_be_bytes([a, b]) == MAX_FRAME_SIZE
            {
                // Smaller ones only hold once they are acknowledged.
                let framing = &mut self.half(side.other()).framing;
                framing.max_frame = framing.max_frame.max(u32::from_be_bytes([c, d, e, f]).min(MAX));
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
        let Some(exchange) = self.stream(id, side, false, out) else {
            return;
        };
        let keep = if exchange.triple { room } else { 0 };
        let mut kept = 0;
        if exchange.message(side).is_some_and(|message| message.whole) {
            // An error of the stream: it has ended.
            return;
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
            messages.take(at, piece.content, keep);
            messages.skip(at, piece.missed);
            kept = messages.stored() - before;
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
        self.stored += kept;
        self.kept += grown;
        if whole {
            self.settle(id, out);
        }
    }

    /// The exchange on a stream; `None` if there is nothing more to say of it.
    pub fn stream(&mut self, id: u32, side: Side, opens: bool, out: Out) -> Option<&mut Exchange> {
        if id == 0 {
            return None;
        }
        if !self.streams.contains_key(&id) {
            let from_server = id.is_multiple_of(2);
            let highest = &mut self.highest[usize::from(from_server)];
            let opener = if from_server { Side::Server } else { Side::Client };
            let is_new = id > *highest && opens && side == opener;
            if !is_new && (self.exact || self.finished.contains(&id)) {
                return None;
            }
            *highest = id.max(*highest);
            if self.streams.len() >= self.limits.max_pending.max(1)
                && let Some((oldest, mut exchange)) = self.streams.pop_first()
            {
                exchange.note("too_many_pending", &self.limits.max_pending.to_string());
                exchange.failure = Some(Failure::Abandoned);
                self.emit(oldest, exchange, out);
            }
            let mut exchange = Exchange {
                sequence: self.sequence,
                stream: id,
                late: self.late,
                pushed: from_server,
                ..Exchange::default()
            };
            self.sequence += 1;
            if let Some((kind, seen)) = self.anomaly.take() {
                exchange.note(kind, seen);
            }
            self.streams.insert(id, Box::new(exchange));
        }
        self.streams.get_mut(&id).map(|exchange| &mut **exchange)
    }

    /// The exchange comes out if it is over.
    pub fn settle(&mut self, id: u32, out: Out) {
        if self.streams.get(&id).is_some_and(|exchange| exchange.is_done())
            && let Some(exchange) = self.streams.remove(&id)
        {
            self.emit(id, exchange, out);
        }
    }

    fn emit(&mut self, id: u32, exchange: Box<Exchange>, out: Out) {
        self.stored = self.stored.saturating_sub(exchange.stored());
        self.kept = self.kept.saturating_sub(exchange.kept());
        if self.finished.len() >= FINISHED {
            self.finished.pop_front();
        }
        self.finished.push_back(id);
        // A promise of which nothing came, or a stream of which only its end was seen, is no exchange.
        if exchange.request.is_some() || exchange.response.is_some() {
            out(Any::Http2(exchange));
        }
    }

    /// These exchanges come out as they are.
    fn fail(
        &mut self,
        which: impl Fn(&Exchange) -> bool,
        how: impl Fn(&Exchange) -> Option<Failure>,
        out: Out,
    ) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            if self.streams.get(&id).is_some_and(|exchange| which(exchange))
                && let Some(mut exchange) = self.streams.remove(&id)
            {
                exchange.failure = how(&exchange);
                if let Some(code) = self.error {
                    exchange.note("goaway", &super::names::error(code));
                }
                self.emit(id, exchange, out);
            }
        }
    }

    fn reset(&mut self, side: Side, id: u32, code: u32, out: Out) {
        let Some(mut exchange) = self.streams.remove(&id) else {
            return;
        };
        // After a whole response it says that the rest of the request is not wanted.
        if !exchange.is_answered() {
            exchange.failure = Some(Failure::Stream(side, code));
        }
        self.emit(id, exchange, out);
    }

    /// Streams of the other side beyond the last one were not looked at.
    fn go_away(&mut self, side: Side, last: u32, code: u32, out: Out) {
        if side == Side::Server {
            let unseen = |exchange: &Exchange| {
                exchange.stream > last && !exchange.pushed && exchange.response.is_none()
            };
            self.fail(unseen, |_| Some(Failure::GoAway(code)), out);
        }
        self.error = (code != 0).then_some(code).or(self.error);
    }

    /// The frames of a side have to be found again.
    fn lose(&mut self, side: Side, kind: &'static str, seen: &'static str) {
        self.exact = false;
        let half = self.half(side);
        half.block = None;
        half.hpack.lose();
        self.anomaly = Some((kind, seen));
        for exchange in self.streams.values_mut() {
            if exchange.message(side).is_some_and(|message| message.whole) {
                continue;
            }
            exchange.gap = true;
            exchange.note(kind, seen);
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

    fn take(&mut self, side: Side, at: Timestamp, fed: Fed<'_>, out: Out) {
        match fed {
            Fed::More => {}
            Fed::Frame(header, payload, first) => self.frame(side, header, &payload, [first, at], out),
            Fed::Data(piece) => self.data(side, &piece, at, out),
            Fed::Broken => {
                self.standing.settle(Standing::Refuted);
                self.lose(side, "not_a_frame", "frames were looked for again");
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
        while !bytes.is_empty() {
            let fed = self.half(side).framing.feed(at, &mut bytes);
            if self.standing == Standing::Guess && !matches!(fed, Fed::Broken) {
                self.weigh(side, &fed);
            }
            self.take(side, at, fed, out);
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: Out) {
        match self.half(side).framing.gap(missed) {
            Fed::Broken => self.lose(side, "gap", "bytes were missed"),
            fed => self.take(side, at, fed, out),
        }
    }

    fn end(&mut self, side: Side, _: Timestamp, out: Out) {
        // A client may wait for answers after its last word.
        if side == Side::Server {
            self.fail(|_| true, Exchange::cut_short, out);
        }
    }

    fn close(&mut self, _: Timestamp, how: Close, out: Out) {
        let failure = |exchange: &Exchange| match how {
            Close::Reset(side) if !exchange.is_answered() => Some(Failure::Connection(side)),
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

    fn held(&self) -> usize {
        let kept = self.stored + self.kept + self.streams.len() * size_of::<Exchange>();
        size_of::<Self>() + kept + self.client.held() + self.server.held()
    }

    fn is_opaque(&self) -> bool {
        false
    }
}
