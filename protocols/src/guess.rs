//! What a connection is taken for before it is certain: what both sides sent is kept, and nothing comes out, until the
//! protocol's decoder has seen enough of it. If it turns out to be something else, the others are shown the same bytes.
//!
//! Mostly a connection is certain with its first segment, and then nothing is kept at all. What is kept is bounded: past that
//! a guess can still be refuted, but what the connection speaks instead is not found any more.

use crate::detect::{Dissector, Entry, Probe, REGISTRY, Refuted, Roles, Standing, Verdict};
use crate::{Close, Exchange, Limits, Protocol, Side, Undecoded};
use std::{net::SocketAddr, sync::Arc};
use weir_records::Timestamp;

/// Bytes of both sides that are kept.
const KEPT: usize = 8 << 10;
/// The same where it is a guess who is the client.
const KEPT_EITHER: usize = 64 << 10;
/// Exchanges that are held back. So many make a guess certain.
const WITHHELD: usize = 64;
/// Memory that one of them takes, about.
const WITHHELD_SIZE: usize = 1 << 10;

/// What was seen of a connection that nobody recognises yet.
#[derive(Debug, Default)]
pub(crate) struct Detecting {
    pub late: bool,
    /// The beginning of the connection was seen, even where bytes were missed since.
    pub begun: bool,
    /// It is a guess who is the client.
    pub either: bool,
    pub client: Probe,
    pub server: Probe,
    /// Whose the kept bytes are, in the order in which they came.
    pub order: Vec<Kept>,
    /// Bytes of a connection joined late in which nothing was found.
    pub searched: u64,
    /// What it is not.
    pub refuted: Refuted,
}

/// Bytes of one side that came one after the other, or the end of that side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub side: Side,
    /// When the first of them came.
    pub at: Timestamp,
    length: usize,
    pub ended: bool,
}

impl Detecting {
    /// Of a connection whose beginning was missed.
    pub fn late() -> Self {
        Self {
            late: true,
            ..Self::default()
        }
    }

    /// Of a connection that begins.
    pub fn begun() -> Self {
        Self {
            begun: true,
            ..Self::default()
        }
    }

    /// Bytes were missed: what comes is looked for as in a connection joined late.
    pub fn lose(&mut self) {
        *self = Self {
            begun: self.begun,
            either: self.either,
            ..Self::late()
        };
    }

    /// These bytes of this side are kept.
    pub fn push(&mut self, side: Side, at: Timestamp, bytes: &[u8]) {
        let probe = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if probe.part.is_empty() {
            probe.at = at;
        }
        probe.part.extend_from_slice(bytes);
        self.keep(side, at, bytes.len());
    }

    /// Client and server change their places, and that is certain.
    pub fn reverse(&mut self) {
        (self.either, self.refuted) = (false, Refuted::default());
        std::mem::swap(&mut self.client, &mut self.server);
        for kept in &mut self.order {
            kept.side = kept.side.other();
        }
    }

    /// There was something to look at.
    pub fn has_seen(&self) -> bool {
        self.searched > 0 || !self.order.is_empty()
    }

    /// So many more bytes of this side are kept.
    pub fn keep(&mut self, side: Side, at: Timestamp, length: usize) {
        match self.order.last_mut() {
            Some(last) if last.side == side && !last.ended => last.length += length,
            _ if length > 0 => self.order.push(Kept {
                side,
                at,
                length,
                ended: false,
            }),
            _ => {}
        }
    }

    /// This side has ended.
    pub fn end(&mut self, side: Side, at: Timestamp) {
        self.order.push(Kept {
            side,
            at,
            length: 0,
            ended: true,
        });
    }

    /// What was kept, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (&Kept, &[u8])> {
        let (mut client, mut server) = (self.client.part.as_slice(), self.server.part.as_slice());
        self.order.iter().map(move |kept| {
            let part = match kept.side {
                Side::Client => &mut client,
                Side::Server => &mut server,
            };
            let (bytes, rest) = part.split_at(kept.length.min(part.len()));
            *part = rest;
            (kept, bytes)
        })
    }

    /// Which protocol this is by what both sides sent, if that can be told.
    pub fn recognise(&self) -> (Verdict, Option<&'static Entry>) {
        let mut open = false;
        for (place, entry) in REGISTRY.iter().enumerate() {
            if self.refuted.has(place) {
                continue;
            }
            let judge = |check: fn(&[u8], bool) -> Verdict, part: &[u8]| match part {
                [] => Verdict::More,
                part => check(part, self.late),
            };
            let client = judge(entry.client, &self.client.part);
            let server = judge(entry.server, &self.server.part);
            let told = entry.is_told_by_server() && !self.late;
            match (client, server) {
                (Verdict::No, Verdict::Yes) if told => return (Verdict::Yes, Some(entry)),
                (Verdict::No, Verdict::More) if told => open = true,
                (Verdict::No, _) | (_, Verdict::No) => {}
                (Verdict::More, Verdict::More) => open = true,
                _ => return (Verdict::Yes, Some(entry)),
            }
        }
        (if open { Verdict::More } else { Verdict::No }, None)
    }

    /// Memory that what was kept takes.
    pub fn held(&self) -> usize {
        self.client.held() + self.server.held() + self.order.capacity() * size_of::<Kept>()
    }

    /// What was kept is forgotten; it is looked for in what comes.
    pub fn elsewhere(self) -> Self {
        let kept = self.client.part.len() + self.server.part.len();
        Self {
            searched: self.searched + kept as u64,
            begun: self.begun,
            either: self.either,
            ..Self::late()
        }
    }
}

/// A decoder that is not certain yet.
#[derive(Debug)]
pub(crate) struct Guess {
    entry: &'static Entry,
    decoder: Box<dyn Dissector>,
    /// What it was shown, unless that was too much.
    seen: Option<Detecting>,
    late: bool,
    either: bool,
    searched: u64,
    withheld: Vec<Exchange>,
}

impl Guess {
    /// The decoder for what `detecting` was recognised as, within so many tunnels.
    pub fn new(entry: &'static Entry, limits: &Arc<Limits>, depth: u8, detecting: &Detecting) -> Self {
        let mut decoder = (entry.open)(limits, detecting.late);
        decoder.set_depth(depth);
        if detecting.late && detecting.begun {
            decoder.set_begun();
        }
        Self {
            entry,
            decoder,
            seen: Some(Detecting {
                late: detecting.late,
                begun: detecting.begun,
                either: detecting.either,
                searched: detecting.searched,
                refuted: detecting.refuted,
                ..Detecting::default()
            }),
            late: detecting.late,
            either: detecting.either,
            searched: detecting.searched,
            withheld: Vec::new(),
        }
    }

    pub fn protocol(&self) -> Protocol {
        self.entry.protocol
    }

    pub fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8]) -> Standing {
        let standing = self.feed(|decoder, out| decoder.data(side, at, bytes, out));
        if standing == Standing::Confirmed {
            return standing;
        }
        self.searched += bytes.len() as u64;
        let most = if self.either { KEPT_EITHER } else { KEPT };
        match &mut self.seen {
            Some(seen) if seen.client.part.len() + seen.server.part.len() + bytes.len() <= most => {
                seen.push(side, at, bytes);
            }
            // What has told is shown again in any case.
            seen if standing == Standing::Reversed => {
                seen.insert(Detecting::late()).push(side, at, bytes);
            }
            seen => *seen = None,
        }
        standing
    }

    /// What comes behind a gap can't be shown to another decoder.
    pub fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>) -> Standing {
        self.seen = None;
        self.feed(|decoder, out| decoder.gap(side, at, missed, out))
    }

    pub fn end(&mut self, side: Side, at: Timestamp) -> Standing {
        if let Some(seen) = &mut self.seen {
            seen.end(side, at);
        }
        self.feed(|decoder, out| decoder.end(side, at, out))
    }

    pub fn tick(&mut self, at: Timestamp) {
        self.feed(|decoder, out| decoder.tick(at, out));
    }

    pub fn waits(&self) -> bool {
        self.decoder.waits()
    }

    pub fn close(&mut self, at: Timestamp, how: Close) -> Standing {
        self.feed(|decoder, out| decoder.close(at, how, out))
    }

    fn feed(&mut self, feed: impl FnOnce(&mut dyn Dissector, &mut dyn FnMut(Exchange))) -> Standing {
        let withheld = &mut self.withheld;
        feed(&mut *self.decoder, &mut |exchange| {
            // By the time that the protocol is certain, it waits no more.
            if !exchange.is_waiting() {
                withheld.push(exchange);
            }
        });
        let standing = match (self.decoder.standing(), self.decoder.roles()) {
            (Standing::Confirmed, Roles::Open) if self.either => Standing::Guess,
            (Standing::Confirmed, Roles::Reversed) if self.either => Standing::Reversed,
            (standing, _) => standing,
        };
        match standing {
            Standing::Guess if withheld.len() > WITHHELD || self.decoder.is_opaque() => Standing::Confirmed,
            standing => standing,
        }
    }

    /// What was seen, where client and server turned out to be the other way round.
    pub fn reverse(&mut self) -> Detecting {
        let mut seen = self.seen.take().unwrap_or_else(Detecting::late);
        seen.reverse();
        seen
    }

    pub fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// Memory that it takes, in bytes, about: most of what is held back is what its decoder has kept before.
    pub fn held(&self) -> usize {
        let seen = self.seen.as_ref().map_or(0, Detecting::held);
        size_of::<Self>() + seen + self.decoder.held() + self.withheld.len() * WITHHELD_SIZE
    }

    /// What was held back comes out.
    pub fn come_out(&mut self, out: &mut dyn FnMut(Exchange)) {
        std::mem::take(&mut self.withheld).into_iter().for_each(out);
    }

    /// The ends that a PROXY header names.
    pub fn named(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.decoder.named()
    }

    /// The decoder, or why nothing more can come out of it.
    pub fn into_decoder(self) -> Result<Box<dyn Dissector>, Undecoded> {
        if self.decoder.is_opaque() {
            return Err(self.decoder.gave_up());
        }
        Ok(self.decoder)
    }

    /// It is something else: what was seen, for the next guess.
    pub fn take_back(&mut self) -> Detecting {
        let place = REGISTRY
            .iter()
            .position(|entry| entry.protocol == self.entry.protocol);
        let mut seen = self.seen.take().unwrap_or_else(|| Detecting {
            late: self.late,
            either: self.either,
            searched: self.searched,
            // Too much was seen to be kept: nothing else is tried.
            refuted: Refuted::ALL,
            ..Detecting::default()
        });
        if let Some(place) = place {
            seen.refuted = seen.refuted.with(place);
        }
        seen
    }
}
