//! The decoder of one connection: reads what both sides say in turn until the proxy has answered, and hands over what
//! follows. A client may send before its turn: that is kept until then.

use super::exchange::{Ending, Exchange};
use super::message::{self, GSSAPI, NONE, NOT_ACCEPTABLE, Opening, PASSWORD, Read};
use crate::detect::{Dissector, Standing};
use crate::preface::Taken;
use crate::tunnel::Tunnel;
use crate::within::{Around, DEEPEST, Within};
use crate::{Close, Exchange as Any, Limits, Side};
use std::sync::Arc;
use weir_records::{Preface, SocksAuthentication, SocksCommand, SocksVersion, Timestamp};

/// Bytes of a side that are kept until it is its turn.
const KEPT: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Stream {
    limits: Arc<Limits>,
    depth: u8,
    exchange: Exchange,
    turn: Turn,
    /// What each side sent and nobody has read, client first.
    parts: [Vec<u8>; 2],
    /// When that came.
    at: [Timestamp; 2],
    /// What the client offers.
    methods: Vec<u8>,
    standing: Standing,
    told: bool,
    within: Option<Within<Opened>>,
    opaque: bool,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Opening,
    Method,
    Password,
    Accepted,
    Request,
    Reply,
    Done,
}

/// What a message leads to.
enum Next {
    Turn(Turn),
    /// Nothing more is to be expected; the exchange says why.
    Over(Ending),
}

/// What is around the connection that the proxy has made.
#[derive(Debug)]
struct Opened {
    tunnel: Arc<Tunnel>,
    taken: Arc<Taken>,
}

impl Around for Opened {
    fn wrap(self: &Arc<Self>, exchange: Any) -> Any {
        self.tunnel.wrap(self.taken.wrap(exchange))
    }

    fn held(&self) -> usize {
        self.tunnel.held() + self.taken.held()
    }
}

impl Turn {
    fn side(self) -> Side {
        match self {
            Self::Opening | Self::Password | Self::Request => Side::Client,
            Self::Method | Self::Accepted | Self::Reply | Self::Done => Side::Server,
        }
    }
}

impl Stream {
    pub fn new(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            depth: 0,
            exchange: Exchange {
                version: SocksVersion::V5,
                first: Timestamp::default(),
                asked: None,
                last: Timestamp::default(),
                authentication: None,
                request: None,
                ending: Ending::Unknown,
                bytes: [0; 2],
            },
            turn: Turn::Opening,
            parts: [Vec::new(), Vec::new()],
            at: [Timestamp::default(); 2],
            methods: Vec::new(),
            standing: Standing::Guess,
            told: false,
            within: None,
            opaque: false,
        }
    }

    /// Reads messages in turn.
    fn read(&mut self, out: &mut dyn FnMut(Any)) {
        while self.turn != Turn::Done && !self.opaque {
            let side = self.turn.side();
            let place = usize::from(side == Side::Server);
            let bytes = std::mem::take(&mut self.parts[place]);
            let (next, length) = match self.message(&bytes) {
                Read::Whole(next, length) => (next, length),
                Read::More => {
                    self.parts[place] = bytes;
                    return;
                }
                Read::Wrong => return self.give_up(out),
            };
            self.parts[place] = bytes[length..].to_vec();
            self.exchange.sent(side, length);
            self.exchange.last = self.at[place];
            if side == Side::Server {
                self.standing.settle(Standing::Confirmed);
            }
            match next {
                Next::Turn(turn) => self.turn = turn,
                Next::Over(ending) => {
                    self.exchange.ending = ending;
                    return self.answered(out);
                }
            }
        }
    }

    /// Reads the message whose turn it is.
    fn message(&mut self, bytes: &[u8]) -> Read<Next> {
        match self.turn {
            Turn::Opening => map(Opening::read(bytes), |opening| match opening {
                Opening::Methods(methods) => {
                    self.methods = methods;
                    Some(Next::Turn(Turn::Method))
                }
                Opening::Request(request) => Some(self.ask(request)),
            }),
            Turn::Method => map(message::method(bytes), |method| self.choose(method)),
            Turn::Password => map(message::password(bytes), |()| Some(Next::Turn(Turn::Accepted))),
            Turn::Accepted => map(message::accepted(bytes), |accepted| match accepted {
                true => Some(Next::Turn(Turn::Request)),
                false => Some(Next::Over(Ending::Refused)),
            }),
            Turn::Request => map(message::request(bytes), |request| Some(self.ask(request))),
            Turn::Reply | Turn::Done => map(message::reply(bytes, self.exchange.version), |number| {
                Some(Next::Over(Ending::Reply(number)))
            }),
        }
    }

    fn ask(&mut self, request: message::Request) -> Next {
        self.exchange.version = request.version;
        self.exchange.asked = Some(self.at[0]);
        self.exchange.request = Some(request);
        Next::Turn(Turn::Reply)
    }

    /// The proxy has chosen a method; nothing where the client does not offer that one.
    fn choose(&mut self, method: u8) -> Option<Next> {
        if method == NOT_ACCEPTABLE {
            return Some(Next::Over(Ending::NoMethod));
        }
        if !self.methods.contains(&method) {
            return None;
        }
        let (authentication, next) = match method {
            NONE => (SocksAuthentication::None, Next::Turn(Turn::Request)),
            PASSWORD => (SocksAuthentication::Password, Next::Turn(Turn::Password)),
            GSSAPI => (SocksAuthentication::Gssapi, Next::Over(Ending::Unknown)),
            _ => (SocksAuthentication::Other, Next::Over(Ending::Unknown)),
        };
        self.exchange.authentication = Some(authentication);
        Some(next)
    }

    /// What was said is no SOCKS.
    fn give_up(&mut self, out: &mut dyn FnMut(Any)) {
        if self.standing == Standing::Guess {
            self.standing = Standing::Refuted;
        } else {
            self.tell(out);
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.opaque = true;
        self.parts = [Vec::new(), Vec::new()];
    }

    fn tell(&mut self, out: &mut dyn FnMut(Any)) {
        if !std::mem::replace(&mut self.told, true) {
            out(Any::Socks(Box::new(self.exchange.clone())));
        }
    }

    /// The proxy has said its last word.
    fn answered(&mut self, out: &mut dyn FnMut(Any)) {
        self.turn = Turn::Done;
        self.tell(out);
        let request = self.exchange.request.as_ref();
        let connected = request.filter(|request| request.command == SocksCommand::Connect);
        let Some(request) = connected.filter(|_| self.exchange.is_granted() && self.depth < DEEPEST) else {
            return self.stop();
        };
        let preface = match request.version {
            SocksVersion::V4 => Preface::Socks4,
            SocksVersion::V4a => Preface::Socks4a,
            SocksVersion::V5 => Preface::Socks5,
        };
        let opened = Opened {
            tunnel: Arc::new(Tunnel {
                target: request.target(),
                sequence: 0,
                late: false,
            }),
            taken: Arc::new(Taken::from(preface)),
        };
        let mut within = Within::new(&self.limits, opened, self.depth);
        let parts = std::mem::take(&mut self.parts);
        for (place, side) in [Side::Client, Side::Server].into_iter().enumerate() {
            if !parts[place].is_empty() {
                within.data(side, self.at[place], &parts[place], out);
            }
        }
        self.within = Some(within);
    }
}

/// The message, and what it leads to; wrong where it leads nowhere.
fn map<T>(read: Read<T>, next: impl FnOnce(T) -> Option<Next>) -> Read<Next> {
    match read {
        Read::Whole(message, length) => next(message).map_or(Read::Wrong, |next| Read::Whole(next, length)),
        Read::More => Read::More,
        Read::Wrong => Read::Wrong,
    }
}

impl Dissector for Stream {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Any)) {
        if let Some(within) = &mut self.within {
            return within.data(side, at, bytes, out);
        }
        if self.opaque || bytes.is_empty() {
            return;
        }
        if self.exchange.bytes == [0; 2] && self.parts.iter().all(Vec::is_empty) {
            self.exchange.first = at;
        }
        let place = usize::from(side == Side::Server);
        self.at[place] = at;
        self.parts[place].extend_from_slice(bytes);
        self.read(out);
        if self.parts.iter().any(|part| part.len() > KEPT) {
            self.give_up(out);
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Any)) {
        match &mut self.within {
            Some(within) => within.gap(side, at, missed, out),
            None => self.give_up(out),
        }
    }

    fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Any)) {
        if let Some(within) = &mut self.within {
            within.end(side, at, out);
        }
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Any)) {
        if let Some(within) = &mut self.within {
            return within.close(at, how, out);
        }
        // A few bytes that nobody has answered may be anything.
        let is_certain = self.standing == Standing::Confirmed || self.exchange.request.is_some();
        if is_certain && !self.opaque {
            self.exchange.last = at;
            self.exchange.ending = Ending::Closed(how);
            self.tell(out);
        }
    }

    fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Any)) {
        if let Some(within) = &mut self.within {
            within.tick(at, out);
        }
    }

    fn waits(&self) -> bool {
        self.within.as_ref().is_some_and(Within::waits)
    }

    fn take_events(&mut self) -> u64 {
        self.within.as_mut().map_or(0, Within::take_events)
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn set_depth(&mut self, depth: u8) {
        self.depth = depth;
    }

    fn held(&self) -> usize {
        let parts: usize = self.parts.iter().map(Vec::capacity).sum();
        size_of::<Self>() + parts + self.within.as_ref().map_or(0, Within::held)
    }

    fn is_opaque(&self) -> bool {
        self.opaque || self.within.as_ref().is_some_and(Within::is_opaque)
    }
}
