//! Header blocks: from HEADERS, PUSH_PROMISE and CONTINUATION to heads and trailers of messages.

use super::connection::{Connection, Out};
use super::exchange::{Exchange, Message};
use super::frame::{CONTINUATION, END_HEADERS, END_STREAM, Header, PADDED, PUSH_PROMISE, WITH_PRIORITY};
use super::hpack::Fields;
use super::rules::{Place, Rules};
use crate::Side;
use crate::detect::Roles;
use crate::http::{Kept, Messages, Style};
use weir_records::Timestamp;

/// A header block that arrives.
#[derive(Debug)]
pub(super) struct Block {
    /// Of its first frame.
    header: Header,
    /// The stream that a PUSH_PROMISE promises.
    promised: u32,
    bytes: Vec<u8>,
    /// Not all of it was kept.
    cut: bool,
    /// Its first frame is shorter than its own padding and what stands before the fields.
    unreadable: bool,
    /// Bytes of its frames.
    wire: u64,
    first: Timestamp,
}

impl Block {
    /// Memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Connection {
    /// A header block that has begun must go on with the next frame. If not, it is lost, and so is what it did to the
    /// table.
    pub(super) fn check_interruption(&mut self, side: Side, header: &Header) {
        let half = self.half(side);
        let goes_on = |block: &Block| header.kind == CONTINUATION && header.stream == block.header.stream;
        if half.block.as_ref().is_none_or(goes_on) {
            return;
        }
        half.hpack.lose();
        if let Some(block) = half.block.take()
            && let Some(exchange) = self.streams.get_mut(&block.header.stream)
        {
            exchange.note("header_block_interrupted", "");
        }
    }

    pub(super) fn begin_block(
        &mut self,
        side: Side,
        header: Header,
        payload: &[u8],
        times: [Timestamp; 2],
        out: Out,
    ) {
        let cut = payload.len() < header.length as usize;
        let mut block = Block {
            header,
            promised: 0,
            bytes: Vec::new(),
            cut,
            unreadable: false,
            wire: header.size(),
            first: times[0],
        };
        let Some((promised, fragment)) = fragment(&header, payload, cut) else {
            block.unreadable = true;
            return self.end_block(side, &block, b"", times[1], out);
        };
        block.promised = promised;
        if header.has(END_HEADERS) {
            self.end_block(side, &block, fragment, times[1], out);
        } else {
            block.bytes = fragment.to_vec();
            self.half(side).block = Some(block);
        }
    }

    pub(super) fn continue_block(
        &mut self,
        side: Side,
        header: Header,
        payload: &[u8],
        times: [Timestamp; 2],
        out: Out,
    ) {
        let max = self.limits.max_head;
        let half = self.half(side);
        let Some(mut block) = half.block.take() else {
            // Its beginning was missed.
            return half.hpack.lose();
        };
        block.wire += header.size();
        block.cut |= payload.len() < header.length as usize || block.bytes.len() + payload.len() > max;
        if block.cut {
            block.bytes = Vec::new();
        } else {
            block.bytes.extend_from_slice(payload);
        }
        if header.has(END_HEADERS) {
            let bytes = std::mem::take(&mut block.bytes);
            self.end_block(side, &block, &bytes, times[1], out);
        } else {
            half.block = Some(block);
        }
    }

    /// A head says who has sent it: a client asks, a server answers, and promises.
    fn tell_roles(&mut self, side: Side, promises: bool, fields: &Fields) {
        let has = |name: &&[u8]| fields.get(name).is_some();
        let speaker = if promises || has(&&b":status"[..]) {
            Side::Server
        } else if [&b":method"[..], b":path", b":scheme"].iter().any(has) {
            Side::Client
        } else {
            return;
        };
        self.roles = Roles::told(side, speaker);
    }

    fn end_block(&mut self, side: Side, block: &Block, bytes: &[u8], at: Timestamp, out: Out) {
        let (fields, rules, wrong) = self.read_block(side, block, bytes);
        let promises = block.header.kind == PUSH_PROMISE;
        if self.late && wrong.is_none() {
            self.tell_roles(side, promises, &fields);
        }
        let id = if promises {
            block.promised
        } else {
            block.header.stream
        };
        let exact = self.is_exact();
        let whole = promises || block.header.has(END_STREAM);
        let kept = match whole {
            true => None,
            false => Kept::wanted(&self.limits.bodies, || fields.get(b"content-type")),
        };
        let Some(exchange) = self.stream(id, side, true, out) else {
            return self.note_stray(id, side, "HEADERS");
        };
        if let Some(kind) = wrong {
            exchange.note(kind, "");
        }
        let status = fields.get(b":status").unwrap_or_default();
        if side == Side::Server && !promises && !whole && status.starts_with(b"1") {
            exchange.note_faults(rules.finish(Place::Response, &fields), Side::Server);
            exchange.informational += block.wire;
            return self.reckon(id);
        }
        exchange.pass_interim(side, &fields);
        let said = call(&fields);
        exchange.call = exchange.call.or(said.flatten());
        exchange.triple |= triple(&fields);
        let messages = exchange.messages_of(said, &fields);
        let asked = exchange.request.is_some();
        // Whoever promises asks in the client's stead.
        let asker = if promises { Side::Client } else { side };
        let message = exchange.begin(asker, block.first);
        if message.whole {
            // An error of the stream: it has ended.
            exchange.note(
                "frame_on_closed_stream",
                &format!("HEADERS of the {}", side.name()),
            );
            return self.reckon(id);
        }
        message.last = at;
        message.wire += block.wire;
        message.whole |= whole;
        let place = match asker {
            _ if is_trailer(message, &fields, whole, exact, asked) => Place::Trailers,
            Side::Client => Place::Request,
            Side::Server => Place::Response,
        };
        let list = List { fields, rules, place };
        list.keep(exchange, asker, messages, kept, whole);
        self.reckon(id);
        if place == Place::Response && !whole {
            self.open_tunnel(id, at);
        }
        self.settle(id, out);
    }

    /// The fields of a block, what they break, and what is wrong with the block itself.
    fn read_block(
        &mut self,
        side: Side,
        block: &Block,
        bytes: &[u8],
    ) -> (Fields, Rules, Option<&'static str>) {
        let mut fields = Fields::new(self.room(), self.limits.max_headers);
        let mut rules = Rules::default();
        let half = self.half(side);
        let wrong = if block.unreadable {
            Some("padding_invalid")
        } else if block.cut {
            Some("header_block_too_long")
        } else if half.hpack.decode(bytes, &mut fields, &mut rules).is_err() {
            Some("invalid_header_block")
        } else {
            None
        };
        if wrong.is_some() {
            half.hpack.lose();
            fields.broken = true;
        }
        fields.shrink();
        (fields, rules, wrong)
    }
}

/// The fields of a block, and what is to be said of them where they stand.
struct List {
    fields: Fields,
    rules: Rules,
    place: Place,
}

impl List {
    /// Puts them into the message of the one who asks or answers.
    fn keep(
        self,
        exchange: &mut Exchange,
        asker: Side,
        messages: Option<Style>,
        kept: Option<Box<Kept>>,
        whole: bool,
    ) {
        let Self { fields, rules, place } = self;
        let length = rules.length();
        let faults = rules.finish(place, &fields);
        let now = match asker {
            Side::Client => &mut exchange.request,
            Side::Server => &mut exchange.response,
        };
        let Some(message) = now else { return };
        if place == Place::Trailers {
            let again = message.trailers.is_some();
            if !again {
                message.trailers = Some(fields);
            }
            exchange.note_trailers(asker, again, !whole);
        } else {
            message.messages = messages.map(|style| Box::new(Messages::new(style)));
            message.length = length;
            // (Of one whose head comes late, the beginning was missed.)
            message.kept = kept.filter(|_| message.body == 0);
            message.head = Some(fields);
        }
        exchange.note_faults(faults, asker);
    }
}

/// How the messages of a call stand behind these fields: by the content type, or, where that is unknown, by fields that only
/// gRPC has. `Some(None)` where they say that this is no call.
pub(super) fn call(fields: &Fields) -> Option<Option<Style>> {
    let own = |name: &[u8]| name.starts_with(b"grpc-");
    match fields.get(b"content-type") {
        Some(content) => Some(Style::of(content).or_else(|| is_unary(fields).then_some(Style::Unary))),
        None if is_unary(fields) => Some(Some(Style::Unary)),
        None => fields
            .iter()
            .any(|field| field.name.is_some_and(own))
            .then_some(Some(Style::Grpc)),
    }
}

/// Whether a request of these fields is a call of Connect without streams: a field says so, or a parameter of a GET.
fn is_unary(fields: &Fields) -> bool {
    let get = fields.get(b":method") == Some(b"GET");
    let query = || {
        let path = fields.get(b":path")?;
        let at = memchr::memchr(b'?', path)?;
        path[at + 1..]
            .split(|byte| *byte == b'&')
            .any(|pair| pair == b"connect=v1")
            .then_some(())
    };
    fields.has(b"connect-protocol-version") || get && query().is_some()
}

/// Whether these are fields of Triple.
fn triple(fields: &Fields) -> bool {
    let own = |name: &[u8]| name.starts_with(b"tri-");
    fields.iter().any(|field| field.name.is_some_and(own))
}

/// These fields come after the body. Of a message whose beginning may have been missed that is so where they end it and
/// name nothing that only a head names.
fn is_trailer(message: &Message, fields: &Fields, whole: bool, exact: bool, asked: bool) -> bool {
    if message.head.is_some() {
        return true;
    }
    let bare = asked && message.body == 0 && fields.unknown > 0;
    !exact && whole && fields.pseudo() == 0 && !bare
}

/// The promised stream and the block's part in the payload of a frame that begins one; `None` if it is too short.
fn fragment<'a>(header: &Header, mut payload: &'a [u8], cut: bool) -> Option<(u32, &'a [u8])> {
    let mut padding = 0;
    if header.has(PADDED) {
        let (length, rest) = payload.split_first()?;
        padding = usize::from(*length);
        payload = rest;
    }
    let mut promised = 0;
    if header.kind == PUSH_PROMISE {
        let (stream, rest) = payload.split_first_chunk()?;
        promised = u32::from_be_bytes(*stream) & (u32::MAX >> 1);
        payload = rest;
    } else if header.has(WITH_PRIORITY) {
        payload = payload.get(5..)?;
    }
    let end = payload.len().checked_sub(if cut { 0 } else { padding })?;
    Some((promised, &payload[..end]))
}
