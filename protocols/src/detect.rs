//! What finds out which protocol a connection speaks: the registry of protocols, and the memory of a first line that
//! has not arrived whole.

use crate::{
    Close, Exchange, Limits, Protocol, Side, Undecoded, dns, dubbo, http1, http2, preface, socks, tls,
};
use std::{fmt, net::SocketAddr, sync::Arc};
use weir_config::Pinned;
use weir_records::Timestamp;

/// Every protocol that is decoded, in the order in which they are tried.
pub(crate) const REGISTRY: &[Entry] = &[
    preface::proxy::ENTRY,
    http1::ENTRY,
    http2::ENTRY,
    tls::ENTRY,
    dns::ENTRY,
    dubbo::ENTRY,
    preface::starttls::ENTRY,
    socks::ENTRY,
];

/// One protocol: how its beginning is known, and how its decoder is made.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What the connection is then called.
    pub protocol: Protocol,
    /// Is this the beginning of what its client sends? Where the beginning of the connection was missed (`late`), of
    /// anything that its client sends?
    pub client: fn(&[u8], late: bool) -> Verdict,
    /// The same of its server.
    pub server: fn(&[u8], late: bool) -> Verdict,
    /// Makes the decoder; `late` when the beginning of the connection was missed.
    pub open: fn(&Arc<Limits>, late: bool) -> Box<dyn Dissector>,
}

impl Entry {
    /// A server that begins as this protocol's does has understood its client, whatever that began with.
    pub fn is_told_by_server(&self) -> bool {
        self.protocol == Protocol::Http1
    }

    /// What `side` sends is known by this.
    fn check(&self, side: Side) -> fn(&[u8], bool) -> Verdict {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    /// What is recognised in the middle of a connection tells who has sent it.
    pub fn tells_sides(&self) -> bool {
        !matches!(self.protocol, Protocol::Http2 | Protocol::Dubbo)
    }
}

/// The decoder of one protocol for one connection. The rules of [`crate::Decoder`]'s methods hold for its.
pub(crate) trait Dissector: fmt::Debug + Send {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange));
    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange));
    fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange));
    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange));
    /// It is now this late: whatever has waited for too long comes out.
    fn tick(&mut self, _at: Timestamp, _out: &mut dyn FnMut(Exchange)) {}
    /// Something may come out only because time passes: [`Self::tick`] is to be called from time to time.
    fn waits(&self) -> bool {
        false
    }
    /// Messages since this was last asked that keep the connection and are no exchange.
    fn take_events(&mut self) -> u64 {
        0
    }
    /// Whether it has seen enough to be certain that this is its protocol. A decoder that is only made where that is known
    /// leaves this as it is. Once certain, it stays so.
    fn standing(&self) -> Standing {
        Standing::Confirmed
    }
    /// Who is the client, where that is only a guess. A decoder whose first bytes tell leaves this as it is.
    fn roles(&self) -> Roles {
        Roles::AsTaken
    }
    /// What the connection within was found to speak, of a decoder that hands its bytes on.
    fn found(&self) -> Option<Protocol> {
        None
    }
    /// The client, and whom the client had connected to, as a PROXY header says.
    fn named(&self) -> Option<(SocketAddr, SocketAddr)> {
        None
    }
    /// What it decodes is within so many tunnels.
    fn set_depth(&mut self, _tunnels: u8) {}
    /// The connection's beginning was seen, though bytes were missed before anything was known of it.
    fn set_begun(&mut self) {}
    /// Nothing more can come out.
    fn is_opaque(&self) -> bool;
    /// Why, if the connection goes on.
    fn gave_up(&self) -> Undecoded {
        Undecoded::UnknownProtocol
    }
    /// Memory that it takes, in bytes: what it keeps and itself, about. Asked after each piece of data, and so to be cheap.
    fn held(&self) -> usize;
}

/// What a decoder makes of the guess that it was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing has spoken against it.
    #[default]
    Guess,
    /// It is this protocol.
    Confirmed,
    /// It is another.
    Refuted,
    /// It is this protocol, and who was taken for the client is the server.
    Reversed,
}

/// Who is the client, as far as a decoder can tell by what both sides say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Roles {
    /// Nothing has told yet.
    #[default]
    Open,
    /// Who is taken for it.
    AsTaken,
    /// Who is taken for the server.
    Reversed,
}

impl Roles {
    /// What `side` has sent is what a `speaker` sends.
    pub fn told(side: Side, speaker: Side) -> Self {
        match side == speaker {
            true => Self::AsTaken,
            false => Self::Reversed,
        }
    }
}

impl Standing {
    /// What is not certain yet becomes so.
    pub fn settle(&mut self, standing: Self) {
        if *self == Self::Guess {
            *self = standing;
        }
    }
}

/// Places in the [`REGISTRY`] of protocols that a connection was found not to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refuted(u32);

impl Refuted {
    /// Nothing that is known here.
    pub const ALL: Self = Self(u32::MAX);

    pub fn has(self, place: usize) -> bool {
        self.0 & 1 << place != 0
    }

    pub fn with(self, place: usize) -> Self {
        Self(self.0 | 1 << place)
    }
}

/// The protocol that a port is pinned to, if it is one that is decoded.
pub(crate) fn entry(pinned: Pinned) -> Option<&'static Entry> {
    let protocol = match pinned {
        Pinned::Http1 => Protocol::Http1,
        Pinned::Http2 => Protocol::Http2,
        Pinned::Dns => Protocol::Dns,
        Pinned::Tls => Protocol::Tls,
        Pinned::Dubbo => Protocol::Dubbo,
        Pinned::Tcp => return None,
    };
    REGISTRY.iter().find(|entry| entry.protocol == protocol)
}

/// Whether bytes are the beginning of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Certainly.
    Yes,
    /// Certainly not.
    No,
    /// They may be: more bytes will tell.
    More,
}

/// Bytes that may be the beginning of something and wait for those that tell.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// The bytes so far. Holds no memory while empty.
    pub part: Vec<u8>,
    /// When the first of them came.
    pub at: Timestamp,
}

impl Probe {
    /// Memory that the bytes take.
    pub fn held(&self) -> usize {
        self.part.capacity()
    }

    /// Judges what was kept together with `bytes`, which are kept in their turn if the verdict stays open.
    /// On `Yes` what was kept stays in `part`: it comes before `bytes`. On `No` it is forgotten.
    pub fn push(
        &mut self,
        at: Timestamp,
        bytes: &[u8],
        limit: usize,
        check: &dyn Fn(&[u8]) -> Verdict,
    ) -> Verdict {
        if bytes.is_empty() {
            return Verdict::More;
        }
        let kept = self.part.len();
        let verdict = if kept == 0 {
            self.at = at;
            check(bytes)
        } else {
            self.part.extend_from_slice(bytes);
            check(&self.part)
        };
        let verdict = if verdict == Verdict::More && kept + bytes.len() > limit {
            Verdict::No
        } else {
            verdict
        };
        match verdict {
            Verdict::Yes => self.part.truncate(kept),
            Verdict::No => self.part = Vec::new(),
            Verdict::More if kept == 0 => self.part.extend_from_slice(bytes),
            Verdict::More => {}
        }
        verdict
    }
}

/// Who sends what looks like this, at any point of a connection, if it can be told.
pub fn speaker(bytes: &[u8]) -> Option<Side> {
    let is = |side| recognise(side, bytes, true, Refuted::default()).0 == Verdict::Yes;
    match (is(Side::Client), is(Side::Server)) {
        (true, false) => Some(Side::Client),
        (false, true) => Some(Side::Server),
        _ => None,
    }
}

/// What bytes were recognised as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recognised {
    pub verdict: Verdict,
    pub entry: Option<&'static Entry>,
    /// The other side sends such.
    pub reversed: bool,
}

impl From<(Verdict, Option<&'static Entry>)> for Recognised {
    fn from((verdict, entry): (Verdict, Option<&'static Entry>)) -> Self {
        Self {
            verdict,
            entry,
            reversed: false,
        }
    }
}

/// Which protocol this is, of a connection joined late of which it is a guess that `side` has sent it. Where frames are
/// searched for, chance finds some, and they look alike on both sides: then the decoder finds out who is who.
pub(crate) fn recognise_either(side: Side, bytes: &[u8], refuted: Refuted) -> Recognised {
    let mut open = false;
    for (place, entry) in REGISTRY.iter().enumerate() {
        if !entry.tells_sides() {
            continue;
        }
        let own = entry.check(side)(bytes, true);
        if own == Verdict::Yes && !refuted.has(place) {
            return (own, Some(entry)).into();
        }
        let others = entry.check(side.other())(bytes, true);
        if others == Verdict::Yes {
            return Recognised {
                verdict: others,
                entry: Some(entry),
                reversed: true,
            };
        }
        open |= own == Verdict::More || others == Verdict::More;
    }
    match recognise(side, bytes, true, refuted) {
        (Verdict::No, _) if open => (Verdict::More, None).into(),
        recognised => recognised.into(),
    }
}

/// Which protocol begins like this on `side`, if it can be told, of those that were not refuted.
pub(crate) fn recognise(
    side: Side,
    bytes: &[u8],
    late: bool,
    refuted: Refuted,
) -> (Verdict, Option<&'static Entry>) {
    let mut open = false;
    for (place, entry) in REGISTRY.iter().enumerate() {
        if refuted.has(place) {
            continue;
        }
        match entry.check(side)(bytes, late) {
            Verdict::Yes => return (Verdict::Yes, Some(entry)),
            Verdict::More => open = true,
            // The server's answer may tell.
            Verdict::No => open |= side == Side::Client && !late && entry.is_told_by_server(),
        }
    }
    (if open { Verdict::More } else { Verdict::No }, None)
}
