//! The watch over a connection until TLS begins.

use super::mssql::Packets;
use super::{Answer, Asked, Message, Talk, kind};
use crate::detect::{Dissector, Standing, Verdict};
use crate::preface::Taken;
use crate::within::{DEEPEST, Within};
use crate::{Close, Exchange, Limits, Protocol, Side};
use std::sync::Arc;
use weir_records::Timestamp;

/// Longest message, and most that a client may have sent while its wish for TLS waits for the answer.
const LONGEST: usize = 8 << 10;
/// Bytes of both sides after which a connection without TLS is left alone.
const PATIENCE: usize = 32 << 10;

/// A connection that may go over to TLS.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Arc<Limits>,
    depth: u8,
    talk: Option<Box<dyn Talk>>,
    client: Part,
    server: Part,
    /// The client has asked for TLS, and the server has not answered.
    asked: bool,
    seen: usize,
    within: Option<Within<Taken>>,
    /// What takes the packets off that TLS is in, of the client and of the server.
    packets: Option<Box<[Packets; 2]>>,
    opaque: bool,
}

/// What a side sent and nobody has read.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    /// So many of them have been read.
    read: usize,
    at: Timestamp,
    ended: bool,
}

impl Part {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// What was read is forgotten.
    fn settle(&mut self) {
        self.bytes.drain(..std::mem::take(&mut self.read));
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}

impl Watch {
    pub fn new(limits: &Arc<Limits>) -> Self {
        Self {
            limits: Arc::clone(limits),
            depth: 0,
            talk: None,
            client: Part::default(),
            server: Part::default(),
            asked: false,
            seen: 0,
            within: None,
            packets: None,
            opaque: false,
        }
    }

    fn part(&mut self, side: Side) -> &mut Part {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Nothing more is looked for.
    fn leave(&mut self) {
        self.opaque = true;
        (self.talk, self.client, self.server) = (None, Part::default(), Part::default());
    }

    /// Reads messages of both sides as far as possible; true once TLS begins.
    fn read(&mut self, side: Side) -> bool {
        if self.talk.is_none() {
            let bytes = self.part(side).rest();
            match kind(side, bytes) {
                (Verdict::Yes, Some(kind)) => self.talk = Some((kind.talk)(bytes)),
                (Verdict::No, _) => self.leave(),
                _ => {}
            }
        }
        while !self.opaque {
            let client = if self.asked {
                Step::Waits
            } else {
                self.message(Side::Client)
            };
            let server = match client {
                Step::Tls => return true,
                _ => self.message(Side::Server),
            };
            match (client, server) {
                (_, Step::Tls) => return true,
                (Step::Waits, Step::Waits) => return false,
                _ => {}
            }
        }
        false
    }

    /// Reads the next message of this side.
    fn message(&mut self, side: Side) -> Step {
        let Self {
            talk,
            client,
            server,
            asked,
            ..
        } = self;
        let Some(talk) = talk else { return Step::Waits };
        let part = match side {
            Side::Client => client,
            Side::Server => server,
        };
        if part.rest().is_empty() {
            return Step::Waits;
        }
        let length = match talk.message(side, part.rest()) {
            Message::Whole(length) => length,
            Message::More => return Step::Waits,
            Message::Other => {
                self.leave();
                return Step::Waits;
            }
        };
        let message = &part.rest()[..length];
        let step = match side {
            Side::Client => match talk.client(message) {
                Asked::Tls => {
                    *asked = true;
                    Step::Read
                }
                Asked::TlsAtOnce => Step::Tls,
                Asked::Something => Step::Read,
                Asked::Other => Step::Leaves,
            },
            Side::Server if *asked => match talk.server(message) {
                Answer::Agreed => Step::Tls,
                Answer::Refused => {
                    *asked = false;
                    Step::Read
                }
                Answer::Something => Step::Read,
                Answer::Other => Step::Leaves,
            },
            Side::Server => Step::Read,
        };
        part.read += length;
        if step == Step::Leaves {
            self.leave();
        }
        step
    }

    /// TLS begins: its decoder gets what is there already.
    fn hand_over(&mut self, out: &mut dyn FnMut(Exchange)) {
        let Some(talk) = self.talk.take() else { return };
        let (client, server) = (std::mem::take(&mut self.client), std::mem::take(&mut self.server));
        if self.depth >= DEEPEST {
            return self.leave();
        }
        let taken = Taken::from(talk.preface());
        self.within = Some(Within::new(&self.limits, taken, self.depth));
        self.packets = talk.wraps().then(Box::default);
        for (side, part) in [(Side::Client, client), (Side::Server, server)] {
            if !part.rest().is_empty() {
                self.pass_on(side, part.at, part.rest(), out);
            }
            if part.ended {
                self.end(side, part.at, out);
            }
        }
    }

    fn pass_on(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        let Some(within) = &mut self.within else { return };
        let Some(packets) = &mut self.packets else {
            return within.data(side, at, bytes, out);
        };
        let packets = &mut packets[usize::from(side == Side::Server)];
        while let Some(piece) = packets.next(&mut bytes) {
            within.data(side, at, piece, out);
        }
    }
}

/// What came of looking at a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is no whole message.
    Waits,
    /// A message was read.
    Read,
    /// TLS begins behind the message that was read.
    Tls,
    /// TLS is not to be expected any more.
    Leaves,
}

impl Dissector for Watch {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        if self.within.is_some() {
            return self.pass_on(side, at, bytes, out);
        }
        if self.opaque || bytes.is_empty() {
            return;
        }
        self.seen += bytes.len();
        if self.seen > PATIENCE {
            return self.leave();
        }
        let part = self.part(side);
        if part.bytes.is_empty() {
            part.at = at;
        }
        part.bytes.extend_from_slice(bytes);
        if self.read(side) {
            return self.hand_over(out);
        }
        self.client.settle();
        self.server.settle();
        if self.client.bytes.len().max(self.server.bytes.len()) > LONGEST {
            self.leave();
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        match &mut self.within {
            Some(within) => within.gap(side, at, missed, out),
            None => self.leave(),
        }
    }

    fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        match &mut self.within {
            Some(within) => within.end(side, at, out),
            None => self.part(side).ended = true,
        }
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        if let Some(within) = &mut self.within {
            within.close(at, how, out);
        }
    }

    fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
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

    /// No other protocol begins as those do that are watched here.
    fn standing(&self) -> Standing {
        Standing::Confirmed
    }

    fn found(&self) -> Option<Protocol> {
        self.within.as_ref()?.found()
    }

    fn set_depth(&mut self, depth: u8) {
        self.depth = depth;
    }

    fn held(&self) -> usize {
        let within = self.within.as_ref().map_or(0, Within::held);
        size_of::<Self>() + self.client.bytes.capacity() + self.server.bytes.capacity() + within
    }

    fn is_opaque(&self) -> bool {
        self.opaque || self.within.as_ref().is_some_and(Within::is_opaque)
    }
}
