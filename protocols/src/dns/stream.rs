//! DNS over TCP: two directions, and the queries that wait.

use super::exchange::Transport;
use super::framing::{Fed, Found, Framing};
use super::message::{Header, Kind};
use super::pairing::{Pairing, Piece};
use crate::detect::{Dissector, Standing};
use crate::fate::Doubt;
use crate::{Close, Exchange, Limits, Side};
use std::sync::Arc;
use weir_records::Timestamp;

/// What takes exchanges.
type Out<'a> = &'a mut dyn FnMut(Exchange);

/// The decoder of one connection.
#[derive(Debug)]
struct Stream {
    pairing: Pairing,
    client: Framing,
    server: Framing,
    /// The number of bytes that a message has is as its header says: with a whole one it is certain.
    standing: Standing,
    opaque: bool,
}

/// Makes it.
pub(super) fn open(limits: &Arc<Limits>, late: bool) -> Box<dyn Dissector> {
    Box::new(Stream {
        pairing: Pairing::new(Transport::Tcp, limits.max_pending, late),
        client: Framing::new(Kind::Query),
        server: Framing::new(Kind::Response),
        standing: Standing::Guess,
        opaque: false,
    })
}

impl Stream {
    fn framing(&mut self, side: Side) -> &mut Framing {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// What has come of the server's message may be the answer to a query; its length may be anything.
    fn may_answer(&self, part: Option<&[u8]>) -> bool {
        let header = part.and_then(Header::read);
        header.is_none_or(|header| {
            header.kind() == Kind::Response && (self.pairing.late() || self.pairing.waits_for(header.id))
        })
    }

    /// Nothing more is told of this connection.
    fn step_aside(&mut self, at: Timestamp, out: Out<'_>) {
        self.opaque = true;
        self.pairing
            .close(at, Close::Abandoned, &mut |exchange| out(exchange.into()));
        self.client = Framing::new(Kind::Query);
        self.server = Framing::new(Kind::Response);
    }

    /// A message, and what stood before it.
    fn message(&mut self, side: Side, at: Timestamp, found: &Found, out: Out<'_>) {
        if let Some(skipped) = found.skipped {
            let (who, bytes) = (side.name(), skipped.bytes);
            self.pairing.note(
                side,
                match skipped.gap {
                    true => format!("gap: bytes of the {who} before this were missed"),
                    false => format!("resynchronised: {bytes} bytes of the {who} belong to no message"),
                },
            );
            if !skipped.gap {
                self.pairing.doubt(side, Doubt::Unreadable);
            }
        }
        let piece = Piece {
            first: found.first,
            last: at,
            bytes: &found.bytes,
            size: found.size as u64,
            cut: found.cut,
        };
        if found.cut && found.bytes.len() < Header::SIZE {
            // Which message it was can't be known.
            self.pairing.doubt(side, Doubt::Gap);
        }
        let sound = self
            .pairing
            .message(side, piece, &mut |exchange| out(exchange.into()));
        if sound {
            self.standing.settle(Standing::Confirmed);
        }
    }

    /// No more comes of this side: what it sent may hold messages that were taken for something else.
    fn finish(&mut self, side: Side, at: Timestamp, out: Out<'_>) {
        while let Some(found) = self.framing(side).finish() {
            self.message(side, at, &found, out);
            self.data(side, at, &[], out);
        }
    }
}

impl Dissector for Stream {
    fn data(&mut self, side: Side, at: Timestamp, mut bytes: &[u8], out: Out<'_>) {
        while !self.opaque {
            let search = self.standing == Standing::Confirmed;
            let fed = self.framing(side).feed(at, &mut bytes, search);
            if self.standing == Standing::Guess && side == Side::Server {
                let part = match &fed {
                    Fed::Message(found) => Some(&found.bytes[..]),
                    _ => self.server.part(),
                };
                if !self.may_answer(part) {
                    self.standing = Standing::Refuted;
                }
            }
            match fed {
                Fed::Message(found) => self.message(side, at, &found, out),
                Fed::More => break,
                Fed::Broken => {
                    self.standing.settle(Standing::Refuted);
                    self.step_aside(at, out);
                }
            }
        }
        if self.framing(side).doubt() == Some(Doubt::Unreadable) {
            self.pairing.doubt(side, Doubt::Unreadable);
        }
        if self.framing(side).has_given_up() {
            self.step_aside(at, out);
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: Out<'_>) {
        if let Some(found) = self.framing(side).gap(at, missed) {
            self.message(side, at, &found, out);
        }
        if let Some(doubt) = self.framing(side).doubt() {
            self.pairing.doubt(side, doubt);
        }
    }

    fn end(&mut self, side: Side, at: Timestamp, out: Out<'_>) {
        self.finish(side, at, out);
        if side == Side::Server {
            self.pairing
                .close(at, Close::Finished, &mut |exchange| out(exchange.into()));
        }
    }

    fn close(&mut self, at: Timestamp, how: Close, out: Out<'_>) {
        self.finish(Side::Client, at, out);
        self.finish(Side::Server, at, out);
        self.pairing.close(at, how, &mut |exchange| out(exchange.into()));
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.pairing.held() + self.client.held() + self.server.held()
    }

    fn gave_up(&self) -> crate::Undecoded {
        crate::Undecoded::FramingLost
    }

    fn is_opaque(&self) -> bool {
        self.opaque
    }
}
