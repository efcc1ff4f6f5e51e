//! One connection: two directions, and the requests of each side that wait for their responses.

use super::asides::{Asides, Told};
use super::body::begins_well;
use super::exchange::{Exchange, Failure};
use super::framing::{Fed, Framing, Message, Skipped};
use super::header::Header;
use super::items::Items;
use super::{BEGINNING, STORED, TIMEOUT};
use crate::detect::{Dissector, Roles, Standing};
use crate::fate::{Doubt, Fate};
use crate::{Close, Exchange as Any, Limits, Side};
use std::{collections::VecDeque, sync::Arc};
use weir_records::Timestamp;

/// Who has sent a frame that is longer is told by its header, so that all of it is still there to be shown again.
const LONG: u32 = 32 << 10;

/// What takes exchanges.
type Out<'a> = &'a mut dyn FnMut(Any);

/// The decoder of one connection.
#[derive(Debug)]
struct Connection {
    max_pending: usize,
    /// How long a call may wait before that is told, in ns.
    patience: Option<u64>,
    late: bool,
    /// The time of what is looked at now.
    now: Timestamp,
    client: Direction,
    server: Direction,
    /// Bytes of bodies that are kept.
    stored: usize,
    sequence: u64,
    /// What came beside calls since the exchange before.
    asides: Asides,
    /// Events since somebody asked.
    untold_events: u64,
    /// A frame whose body begins as it must is certain, and so are two in a row or one of each side.
    standing: Standing,
    /// Who is the client: who asks, or else who is answered.
    roles: Roles,
}

/// What one side sends, and its requests that wait.
#[derive(Debug)]
struct Direction {
    framing: Framing,
    /// In order, by their numbers.
    pending: VecDeque<(i64, Exchange)>,
    /// What is between frames is no surprise: the stream has not been found yet.
    searching: bool,
    /// Why a frame of this side may have gone unseen, and the number of exchanges at that time.
    doubt: Option<(Doubt, u64)>,
    /// This side has announced that it takes no more requests.
    read_only: bool,
}

/// Makes it.
pub(super) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    let direction = || Direction {
        framing: Framing::new(late),
        pending: VecDeque::new(),
        searching: late,
        doubt: None,
        read_only: false,
    };
    Box::new(Connection {
        max_pending: limits.max_pending.max(1),
        patience: limits.patience(),
        late,
        now: Timestamp::default(),
        client: direction(),
        server: direction(),
        stored: 0,
        sequence: 0,
        asides: Asides::default(),
        untold_events: 0,
        standing: Standing::Guess,
        roles: Roles::Open,
    })
}

impl Connection {
    fn direction(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// A frame, whole or not, that `side` has sent.
    fn frame(&mut self, side: Side, message: Box<Message>, skipped: Skipped, out: Out<'_>) {
        self.weigh(side);
        if self.standing == Standing::Guess && begins_well(&message.header, &message.body) {
            self.standing = Standing::Confirmed;
        }
        if self.late && self.roles == Roles::Open {
            self.tell_roles(side, &message.header, &message.body);
        }
        self.note_skipped(side, skipped);
        if message.header.is_event() {
            self.asides.event();
            self.untold_events += 1;
            if let Some(announced) = announcement(&message) {
                self.direction(side).read_only = announced;
            }
        } else if message.header.is_request() {
            self.request(side, message, out);
        } else {
            self.response(side, message, out);
        }
    }

    /// A client asks, and a server answers. But for callbacks, by which a server calls its client: their attachments name the
    /// client's object (`CallbackServiceCodec`). Both sides send events.
    fn tell_roles(&mut self, side: Side, header: &Header, body: &[u8]) {
        const OBJECT: &[u8] = b"callback.service.instid";
        if header.is_event() {
            return;
        }
        let asks = header.is_request() && memchr::memmem::find(body, OBJECT).is_none();
        self.roles = Roles::told(side, if asks { Side::Client } else { Side::Server });
    }

    /// Looks, where one frame did not tell, at what is around it.
    fn weigh(&mut self, side: Side) {
        if self.standing != Standing::Guess {
            return;
        }
        if self.client.framing.trace.frames() + self.server.framing.trace.frames() > 1 {
            self.standing = Standing::Confirmed;
        } else if self.direction(side).framing.trace.is_astray() {
            self.standing = Standing::Refuted;
        }
    }

    fn note_skipped(&mut self, side: Side, skipped: Skipped) {
        let searching = std::mem::replace(&mut self.direction(side).searching, false);
        if skipped.binary && !skipped.gap {
            let asked = self.sequence;
            self.direction(side).doubt = Some((Doubt::Unreadable, asked));
        }
        if !searching && (skipped.bytes > 0 || skipped.gap) {
            self.asides.skipped(side, skipped);
        }
    }

    fn request(&mut self, side: Side, mut message: Box<Message>, out: Out<'_>) {
        self.expire(side, message.first, out);
        let (id, gap) = (message.header.id, message.gap);
        if self.stored + message.body.len() > STORED {
            message.shorten(BEGINNING);
        }
        let mut exchange = self.exchange(side, Some(message));
        if gap {
            exchange
                .anomalies
                .push("gap: bytes of the request were missed".into());
        }
        if exchange.read_only {
            let who = side.other().name();
            exchange.anomalies.push(format!(
                "request_after_read_only: the {who} had announced that it takes no more requests"
            ));
        }
        if exchange.is_one_way() {
            return out(exchange.into());
        }
        let waiting = self
            .direction(side)
            .pending
            .iter()
            .position(|(other, _)| *other == id);
        if let Some(mut older) = waiting.and_then(|at| self.remove(side, at)) {
            older.anomalies.push(format!("request_id_repeated: {id}"));
            fail(older, Failure::NoResponse, self.now, out);
        }
        if self.direction(side).pending.len() >= self.max_pending
            && let Some(mut oldest) = self.remove(side, 0)
        {
            oldest
                .anomalies
                .push(format!("too_many_pending: {}", self.max_pending));
            fail(oldest, Failure::Abandoned, self.now, out);
        }
        self.stored += exchange.stored();
        self.direction(side).pending.push_back((id, exchange));
    }

    fn response(&mut self, side: Side, message: Box<Message>, out: Out<'_>) {
        let (id, asker) = (message.header.id, side.other());
        let found = self
            .direction(asker)
            .pending
            .iter()
            .position(|(other, _)| *other == id);
        let mut exchange = match found.and_then(|at| self.remove(asker, at)) {
            Some(exchange) => exchange,
            None => {
                let mut exchange = self.exchange(asker, None);
                if !self.late {
                    exchange.anomalies.push(format!("unmatched_response: {id}"));
                }
                if self.direction(asker).framing.doubt() == Some(Doubt::Gap) {
                    exchange.anomalies.push(Doubt::Gap.note(asker, "request"));
                }
                exchange
            }
        };
        if message.gap {
            exchange
                .anomalies
                .push("gap: bytes of the response were missed".into());
        }
        exchange.response = Some(message);
        out(exchange.into());
    }

    fn exchange(&mut self, asker: Side, request: Option<Box<Message>>) -> Exchange {
        let sequence = self.sequence;
        self.sequence += 1;
        let read_only = self.direction(asker.other()).read_only;
        let Told {
            events,
            text,
            anomalies,
        } = self.asides.take();
        Exchange {
            sequence,
            late: self.late,
            asker,
            request,
            response: None,
            failure: None,
            fate: Fate::Open,
            doubt: None,
            read_only,
            anomalies,
            events,
            text,
        }
    }

    fn remove(&mut self, side: Side, at: usize) -> Option<Exchange> {
        let (_, mut exchange) = self.direction(side).pending.remove(at)?;
        self.stored -= exchange.stored();
        let answers = self.direction(side.other());
        exchange.read_only |= answers.read_only;
        let doubt = answers.doubt.filter(|(_, before)| exchange.sequence < *before);
        exchange.doubt = doubt.map(|(doubt, _)| doubt);
        Some(exchange)
    }

    /// Notes when frames of this side may go unseen: responses to what was asked before that may be among them.
    fn note_doubt(&mut self, side: Side) {
        let asked = self.sequence;
        let direction = self.direction(side);
        if let Some(doubt) = direction.framing.doubt() {
            direction.doubt = Some((doubt, asked));
        }
    }

    /// Requests that have waited too long come out.
    fn expire(&mut self, side: Side, now: Timestamp, out: Out<'_>) {
        let patience = u64::try_from(TIMEOUT.as_nanos()).unwrap_or(u64::MAX);
        let is_old = |(_, exchange): &(i64, Exchange)| {
            let sent = exchange.request.as_ref().map(|request| request.last);
            sent.is_some_and(|sent| now.since(sent) >= patience)
        };
        while self.direction(side).pending.front().is_some_and(is_old) {
            if let Some(exchange) = self.remove(side, 0) {
                let sent = exchange.request.as_ref().map_or(now, |request| request.last);
                fail(
                    exchange,
                    Failure::Timeout,
                    Timestamp(sent.0.saturating_add(patience)),
                    out,
                );
            }
        }
    }

    /// Calls of `side` that have waited for long are told, once.
    fn tell_waiting(&mut self, side: Side, now: Timestamp, out: Out<'_>) {
        let Some(patience) = self.patience else { return };
        let (asker, answerer) = match side {
            Side::Client => (&mut self.client, &self.server),
            Side::Server => (&mut self.server, &self.client),
        };
        if answerer.framing.is_lost() {
            return; // an answer may have been missed
        }
        for (id, exchange) in &mut asker.pending {
            if let Some(asked) = exchange
                .request
                .as_ref()
                .filter(|_| !answerer.framing.is_within(*id))
                && let Some(until) = exchange.fate.overdue(asked.last, patience, now)
            {
                exchange.fate = Fate::Told;
                // (What was beside the call is counted once, in its last document.)
                let copy = Exchange {
                    fate: Fate::Waiting(until),
                    events: 0,
                    text: 0,
                    ..exchange.clone()
                };
                out(copy.into());
            }
        }
    }

    /// Nothing more comes of what `side` has begun to send.
    fn end_part(&mut self, side: Side, how: Failure, out: Out<'_>) {
        let Some(message) = self.direction(side).framing.take_part() else {
            return;
        };
        if message.header.is_event() {
            return;
        }
        let response = !message.header.is_request();
        let reset = matches!(how, Failure::Reset(_) | Failure::Abandoned);
        let now = self.now;
        self.frame(
            side,
            message,
            Skipped::default(),
            &mut |exchange| match exchange {
                Any::Dubbo(mut exchange) if response || exchange.is_one_way() => {
                    exchange.failure = Some(match how {
                        how if reset => how,
                        _ if response => Failure::IncompleteResponse,
                        _ => Failure::IncompleteRequest,
                    });
                    exchange.fate = Fate::Ended(now);
                    out(Any::Dubbo(exchange));
                }
                other => out(other),
            },
        );
        if !response
            && !reset
            && let Some((_, exchange)) = self.direction(side).pending.back_mut()
            && exchange
                .request
                .as_ref()
                .is_some_and(|request| !request.is_whole())
        {
            exchange.failure = Some(Failure::IncompleteRequest);
        }
    }

    /// No response comes to what `side` has asked.
    fn end_pending(&mut self, side: Side, how: Failure, out: Out<'_>) {
        while let Some(exchange) = self.remove(side, 0) {
            let how = exchange.failure.unwrap_or(how);
            fail(exchange, how, self.now, out);
        }
    }
}

impl Dissector for Connection {
    fn data(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: Out<'_>) {
        self.now = at;
        while !bytes.is_empty() {
            if let Fed::Frame(message, skipped) = self.direction(side).framing.feed(at, &mut bytes) {
                self.frame(side, message, skipped, out);
            }
        }
        self.weigh(side);
        if self.direction(side).framing.doubt() == Some(Doubt::Unreadable) {
            self.note_doubt(side);
        }
        if self.late
            && self.roles == Roles::Open
            && let Some(header) = self.direction(side).framing.header()
            && header.length > LONG
        {
            self.tell_roles(side, &header, b"");
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: Out<'_>) {
        self.now = at;
        if let Some(Fed::Frame(message, skipped)) = self.direction(side).framing.gap(at, missed) {
            self.frame(side, message, skipped, out);
        }
        self.note_doubt(side);
    }

    fn end(&mut self, side: Side, at: Timestamp, out: Out<'_>) {
        self.now = at;
        self.end_part(side, Failure::NoResponse, out);
        self.end_pending(side.other(), Failure::NoResponse, out);
    }

    fn tick(&mut self, at: Timestamp, out: Out<'_>) {
        self.expire(Side::Client, at, out);
        self.expire(Side::Server, at, out);
        self.tell_waiting(Side::Client, at, out);
        self.tell_waiting(Side::Server, at, out);
    }

    /// A call that nobody answers is given up some time, told or not.
    fn waits(&self) -> bool {
        !self.client.pending.is_empty() || !self.server.pending.is_empty()
    }

    fn close(&mut self, at: Timestamp, how: Close, out: Out<'_>) {
        self.now = at;
        let how = match how {
            Close::Finished => Failure::NoResponse,
            Close::Reset(side) => Failure::Reset(side),
            Close::Abandoned => Failure::Abandoned,
        };
        for side in [Side::Client, Side::Server] {
            self.end_part(side, how, out);
        }
        for side in [Side::Client, Side::Server] {
            self.end_pending(side, how, out);
        }
        if self.late {
            // In the middle of anything a header is found by chance, sooner or later.
            self.standing.settle(Standing::Refuted);
        }
    }

    fn take_events(&mut self) -> u64 {
        std::mem::take(&mut self.untold_events)
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn roles(&self) -> Roles {
        self.roles
    }

    fn held(&self) -> usize {
        let of = |direction: &Direction| {
            direction.framing.held() + direction.pending.len() * size_of::<(i64, Exchange)>()
        };
        size_of::<Self>() + self.stored + of(&self.client) + of(&self.server)
    }

    fn is_opaque(&self) -> bool {
        false
    }
}

fn fail(mut exchange: Exchange, how: Failure, at: Timestamp, out: Out<'_>) {
    exchange.fail(how);
    exchange.fate = Fate::Ended(at);
    out(exchange.into());
}

/// What an event of a side announces: that it takes no more requests (READONLY, at a graceful shutdown), or that it does
/// again.
fn announcement(message: &Message) -> Option<bool> {
    if !message.header.is_request() {
        return None;
    }
    let mut items = Items::new(message.header.serialization(), &message.body)?;
    match items.text().ok()??.as_str() {
        "R" => Some(true),
        "W" => Some(false),
        _ => None,
    }
}
