//! The decoder of one connection: waits until it knows the protocol, then hands everything to that protocol's decoder. What
//! it takes the protocol for may be wrong until both sides' bytes have shown it: then it looks at them again.

use crate::detect::{Dissector, Entry, Recognised, Standing, Verdict, entry, recognise, recognise_either};
use crate::guess::{Detecting, Guess};
use crate::{Close, Exchange, Limits, Protocol, Side, Undecoded, dns, http1, http2};
use std::{borrow::Cow, cell::Cell, net::SocketAddr, sync::Arc};
use weir_config::Pinned;
use weir_records::Timestamp;

/// So much of a first line is kept until it tells what it is.
const FIRST_LINE: usize = 16 << 10;
/// After so many bytes of one side without anything known in them, a connection joined late is left alone.
const LATE_SEARCH: u64 = 16 << 20;

/// The decoder of one connection: finds the protocol, then decodes it.
#[derive(Debug)]
pub struct Decoder {
    limits: Arc<Limits>,
    /// What it decodes is within so many tunnels.
    depth: u8,
    /// When the client's first bytes came, where that was seen.
    began: Timestamp,
    /// What the server said first since the protocol is known.
    opening: Opening,
    /// The ends that a PROXY header names.
    named: Option<Box<(SocketAddr, SocketAddr)>>,
    /// Why nothing more is decoded.
    undecoded: Option<Undecoded>,
    state: State,
}

/// The server's first bytes, which refuse a client of HTTP/2 where they begin a response of HTTP/1.
#[derive(Debug)]
enum Opening {
    Awaited,
    /// These may begin such a response: the next ones will tell. They are kept from the decoder so long.
    Part(Vec<u8>),
    /// They have been looked at, or may have come before.
    Seen,
}

impl Opening {
    fn of(late: bool) -> Self {
        if late { Self::Seen } else { Self::Awaited }
    }
}

#[derive(Debug)]
enum State {
    Detecting(Detecting),
    /// Most likely this protocol, and not yet certainly.
    Guessing(Box<Guess>),
    Decoding(Protocol, Box<dyn Dissector>),
    /// Who was taken for the client is the server: what was seen, with the sides as they are.
    Reversed(&'static Entry, Box<Detecting>),
    /// Closed while it was this.
    Closed(Protocol),
    Opaque,
}

impl Decoder {
    /// For a connection that is seen from its beginning.
    pub fn new(limits: &Arc<Limits>) -> Self {
        Self::with(limits, State::Detecting(Detecting::begun()))
    }

    /// For a connection whose beginning was missed.
    pub fn late(limits: &Arc<Limits>) -> Self {
        Self::with(limits, State::Detecting(Detecting::late()))
    }

    /// For a connection whose beginning was missed, and of which it is a guess who is the client: see [`Self::is_reversed`].
    pub fn guessed(limits: &Arc<Limits>) -> Self {
        let detecting = Detecting {
            either: true,
            ..Detecting::late()
        };
        Self::with(limits, State::Detecting(detecting))
    }

    /// For a connection that speaks what the user says: nothing is looked for, and nothing else is tried.
    pub fn pinned(limits: &Arc<Limits>, protocol: Pinned, late: bool) -> Self {
        let state = match entry(protocol) {
            Some(entry) => State::Decoding(entry.protocol, (entry.open)(limits, late)),
            None => State::Opaque,
        };
        Self {
            opening: Opening::of(late),
            undecoded: matches!(state, State::Opaque).then_some(Undecoded::Pinned),
            ..Self::with(limits, state)
        }
    }

    /// For the datagrams between a client's socket and a server's port for DNS: each piece of data is one of them. It needs
    /// [`Self::tick`] for what is never answered.
    pub fn dns_datagrams(limits: &Arc<Limits>) -> Self {
        let decoder = dns::datagrams(limits, false);
        Self::with(limits, State::Decoding(Protocol::Dns, decoder))
    }

    /// As [`Self::dns_datagrams`], for a flow whose first queries may have been missed.
    pub fn late_dns_datagrams(limits: &Arc<Limits>) -> Self {
        let decoder = dns::datagrams(limits, true);
        Self::with(limits, State::Decoding(Protocol::Dns, decoder))
    }

    /// For messages that hosts of a link send each other to learn names.
    pub fn link_names(limits: &Arc<Limits>, naming: dns::Naming) -> Self {
        Self::with(limits, State::Decoding(Protocol::Dns, dns::messages(naming)))
    }

    /// For a connection within so many tunnels.
    pub(crate) fn within(limits: &Arc<Limits>, depth: u8) -> Self {
        Self {
            depth,
            ..Self::new(limits)
        }
    }

    fn with(limits: &Arc<Limits>, state: State) -> Self {
        Self {
            limits: Arc::clone(limits),
            depth: 0,
            began: Timestamp::default(),
            opening: Opening::Awaited,
            named: None,
            undecoded: None,
            state,
        }
    }

    /// True once what was said shows that who was taken for the client is the server. Nothing has come out, and nothing does
    /// until [`Self::reverse`] is called.
    pub fn is_reversed(&self) -> bool {
        matches!(self.state, State::Reversed(..))
    }

    /// Decodes anew what was seen, with client and server the other way round; what follows is to be given so too.
    pub fn reverse(&mut self, out: &mut dyn FnMut(Exchange)) {
        match std::mem::replace(&mut self.state, State::Opaque) {
            State::Reversed(entry, detecting) => self.begin(entry, *detecting, false, out),
            state => self.state = state,
        }
    }

    /// These bytes were sent by `side`; `out` gets each exchange that they complete.
    pub fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        match &mut self.state {
            State::Detecting(_) => self.detect(side, at, bytes, out),
            State::Guessing(guess) => {
                let standing = guess.data(side, at, bytes);
                self.judge(standing, out);
            }
            State::Decoding(Protocol::Http2, _)
                if side == Side::Server && !matches!(self.opening, Opening::Seen) =>
            {
                self.open(at, bytes, out);
            }
            _ => self.decode(|decoder| decoder.data(side, at, bytes, out)),
        }
    }

    /// The server of a client of HTTP/2 speaks for the first time.
    fn open(&mut self, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        let part = match std::mem::replace(&mut self.opening, Opening::Seen) {
            Opening::Part(mut part) => {
                part.extend_from_slice(bytes);
                Cow::Owned(part)
            }
            _ => Cow::Borrowed(bytes),
        };
        match http1::begins_answer(&part) {
            Verdict::More => {
                self.opening = Opening::Part(part.into_owned());
                return;
            }
            Verdict::Yes => self.refuse(at, out),
            Verdict::No => {}
        }
        self.decode(|decoder| decoder.data(Side::Server, at, &part, out));
    }

    /// Nothing follows what the server has begun to say, or it was missed: the decoder gets what there is.
    fn end_opening(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        if let Opening::Part(part) = std::mem::replace(&mut self.opening, Opening::Seen) {
            self.decode(|decoder| decoder.data(Side::Server, at, &part, out));
        }
    }

    /// A client of HTTP/2 that came to a server of HTTP/1 is answered in that: what it has sent so far counts as a request,
    /// and so it does for the server.
    fn refuse(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        let State::Decoding(_, decoder) = &mut self.state else {
            return;
        };
        decoder.close(at, Close::Abandoned, out);
        let mut decoder = http1::instead(&self.limits, self.depth);
        let began = if self.began == Timestamp::default() {
            at
        } else {
            self.began
        };
        decoder.data(Side::Client, began, http2::PREFACE, out);
        self.state = State::Decoding(Protocol::Http1, decoder);
    }

    /// Bytes of `side` were missed: so many, if that is known.
    pub fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, out: &mut dyn FnMut(Exchange)) {
        match &mut self.state {
            State::Detecting(_) => self.gap_before_known(side, at, missed, out),
            State::Guessing(guess) => {
                let standing = guess.gap(side, at, missed);
                self.judge(standing, out);
            }
            _ => {
                if side == Side::Server {
                    self.end_opening(at, out);
                }
                self.decode(|decoder| decoder.gap(side, at, missed, out));
            }
        }
    }

    /// `side` will send no more (FIN).
    pub fn end(&mut self, side: Side, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        match &mut self.state {
            State::Detecting(detecting) => detecting.end(side, at),
            State::Guessing(guess) => {
                let standing = guess.end(side, at);
                self.judge(standing, out);
            }
            _ => {
                if side == Side::Server {
                    self.end_opening(at, out);
                }
                self.decode(|decoder| decoder.end(side, at, out));
            }
        }
    }

    /// It is now this late, though nothing came: whatever has waited for too long comes out.
    pub fn tick(&mut self, at: Timestamp, out: &mut dyn FnMut(Exchange)) {
        match &mut self.state {
            State::Guessing(guess) => guess.tick(at),
            _ => self.decode(|decoder| decoder.tick(at, out)),
        }
    }

    /// Something may come out only because time passes: [`Self::tick`] is to be called from time to time. Asked then, and not
    /// after each piece of data.
    pub fn waits(&self) -> bool {
        match &self.state {
            State::Guessing(guess) => guess.waits(),
            State::Decoding(_, decoder) => decoder.waits(),
            State::Detecting(_) | State::Reversed(..) | State::Closed(_) | State::Opaque => false,
        }
    }

    /// The connection is over: whatever is unfinished comes out now, marked as such. Where that shows that client and server
    /// are the other way round, this is to be called again after [`Self::reverse`].
    pub fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Exchange)) {
        let mut before = self.undecoded;
        match &mut self.state {
            State::Detecting(detecting) if detecting.has_seen() => before = Some(Undecoded::UnknownProtocol),
            State::Guessing(guess) => {
                if guess.close(at, how) == Standing::Refuted {
                    self.judge(Standing::Refuted, out);
                    return match self.is_reversed() {
                        true => {} // to be closed once more
                        false => self.close(at, how, out),
                    };
                }
                // Nothing has spoken against it.
                guess.come_out(out);
            }
            _ => {
                self.end_opening(at, out);
                self.decode(|decoder| decoder.close(at, how, out));
            }
        }
        let unknown = !matches!(self.state, State::Detecting(_)) && self.protocol().name().is_none();
        self.undecoded = before.or_else(|| unknown.then_some(Undecoded::UnknownProtocol));
        self.state = State::Closed(self.protocol());
    }

    /// Messages since this was last asked that are counted and not listed: heartbeats and the like.
    pub fn take_events(&mut self) -> u64 {
        match &mut self.state {
            State::Decoding(_, decoder) => decoder.take_events(),
            _ => 0,
        }
    }

    /// Memory that it takes beside itself, in bytes, about. Whoever has many decoders adds this up, and drops some of them past a
    /// bound of its own.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Detecting(detecting) => detecting.held(),
            State::Guessing(guess) => guess.held(),
            State::Decoding(_, decoder) => {
                let opening = match &self.opening {
                    Opening::Part(part) => part.capacity(),
                    Opening::Awaited | Opening::Seen => 0,
                };
                decoder.held() + opening
            }
            State::Reversed(_, detecting) => detecting.held(),
            State::Closed(_) | State::Opaque => 0,
        }
    }

    /// The client, and whom the client had connected to, as a PROXY header at the beginning says.
    pub fn named(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.named.as_deref().copied()
    }

    /// Why the connection, or the rest of it, is not decoded; nothing while it may be, and where all was.
    pub fn undecoded(&self) -> Option<Undecoded> {
        self.undecoded
    }

    /// What the connection was found to speak so far.
    pub fn protocol(&self) -> Protocol {
        match &self.state {
            State::Detecting(_) | State::Reversed(..) => Protocol::Unknown,
            State::Guessing(guess) => guess.protocol(),
            State::Decoding(protocol, decoder) => decoder.found().unwrap_or(*protocol),
            State::Closed(protocol) => *protocol,
            State::Opaque => Protocol::Tcp,
        }
    }

    /// True once nothing more can come out: the source may stop feeding.
    pub fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque | State::Closed(_))
    }

    fn give_up(&mut self, why: Undecoded) {
        self.state = State::Opaque;
        self.undecoded = Some(why);
    }

    fn decode(&mut self, feed: impl FnOnce(&mut dyn Dissector)) {
        if let State::Decoding(_, decoder) = &mut self.state {
            feed(&mut **decoder);
            if decoder.is_opaque() {
                let why = decoder.gave_up();
                self.give_up(why);
            }
        }
    }

    fn detect(&mut self, side: Side, at: Timestamp, bytes: &[u8], out: &mut dyn FnMut(Exchange)) {
        let State::Detecting(detecting) = &mut self.state else {
            return;
        };
        let found = Cell::new((None, false));
        let (late, either, refuted) = (detecting.late, detecting.either, detecting.refuted);
        let check = |bytes: &[u8]| {
            let Recognised {
                verdict,
                entry,
                reversed,
            } = match either {
                true => recognise_either(side, bytes, refuted),
                false => recognise(side, bytes, late, refuted).into(),
            };
            found.set((entry, reversed));
            verdict
        };
        let probe = match side {
            Side::Client => &mut detecting.client,
            Side::Server => &mut detecting.server,
        };
        let mut before = probe.part.len();
        let mut verdict = probe.push(at, bytes, FIRST_LINE, &check);
        if late && verdict == Verdict::No && before > 0 {
            // What was kept of this side is forgotten, and these bytes are looked at by themselves.
            detecting.order.retain(|kept| kept.side != side);
            before = 0;
            verdict = probe.push(at, bytes, FIRST_LINE, &check);
        }
        let more = probe.part.len().saturating_sub(before);
        detecting.keep(side, at, more);
        if late {
            detecting.searched += bytes.len() as u64;
            if verdict == Verdict::No && detecting.searched <= LATE_SEARCH {
                return;
            }
        }
        match (verdict, found.get()) {
            (Verdict::Yes, (Some(entry), true)) => {
                let mut detecting = std::mem::take(detecting);
                detecting.push(side, at, bytes);
                detecting.reverse();
                self.state = State::Reversed(entry, Box::new(detecting));
            }
            (Verdict::Yes, (Some(entry), false)) => {
                let detecting = std::mem::take(detecting);
                self.begin(entry, detecting, side == Side::Server, out);
                self.data(side, at, bytes, out);
            }
            (Verdict::No, _) if late => self.give_up(Undecoded::Bound),
            (Verdict::No, _) => self.give_up(Undecoded::UnknownProtocol),
            _ => {}
        }
    }

    /// Bytes were missed while nobody knew the protocol. What was cut short by that may be known by its beginning.
    fn gap_before_known(
        &mut self,
        side: Side,
        at: Timestamp,
        missed: Option<u64>,
        out: &mut dyn FnMut(Exchange),
    ) {
        let State::Detecting(detecting) = &mut self.state else {
            return;
        };
        let cut = side == Side::Client && !detecting.late && http1::begins_request(&detecting.client.part);
        if cut && let Some(entry) = entry(Pinned::Http1) {
            let detecting = std::mem::take(detecting);
            self.begin(entry, detecting, false, out);
            return self.gap(side, at, missed, out);
        }
        detecting.lose();
    }

    /// Decodes as this protocol what was kept, and what comes. `answered` when its server's beginning has been seen.
    fn begin(
        &mut self,
        entry: &'static Entry,
        detecting: Detecting,
        answered: bool,
        out: &mut dyn FnMut(Exchange),
    ) {
        (self.began, self.opening) = (detecting.client.at, Opening::of(detecting.late));
        self.state = if answered && entry.is_told_by_server() && !detecting.late {
            let mut decoder = (entry.open)(&self.limits, false);
            decoder.set_depth(self.depth);
            State::Decoding(entry.protocol, decoder)
        } else {
            State::Guessing(Box::new(Guess::new(entry, &self.limits, self.depth, &detecting)))
        };
        for (kept, bytes) in detecting.pieces() {
            match kept.ended {
                true => self.end(kept.side, kept.at, out),
                false => self.data(kept.side, kept.at, bytes, out),
            }
        }
    }

    /// Does what follows from the standing of the guess.
    fn judge(&mut self, standing: Standing, out: &mut dyn FnMut(Exchange)) {
        let State::Guessing(guess) = &mut self.state else {
            return;
        };
        match standing {
            Standing::Guess => {}
            Standing::Reversed => {
                let (entry, detecting) = (guess.entry(), guess.reverse());
                self.state = State::Reversed(entry, Box::new(detecting));
            }
            Standing::Confirmed => {
                guess.come_out(out);
                self.named = guess.named().map(Box::new);
                let (protocol, state) = (
                    guess.protocol(),
                    std::mem::replace(&mut self.state, State::Opaque),
                );
                let State::Guessing(guess) = state else { return };
                match guess.into_decoder() {
                    Ok(decoder) => self.state = State::Decoding(protocol, decoder),
                    Err(why) => self.give_up(why),
                }
            }
            Standing::Refuted => {
                let detecting = guess.take_back();
                self.look_again(detecting, out);
            }
        }
    }

    /// What was taken for something that it is not is shown to the protocols that are left.
    fn look_again(&mut self, mut detecting: Detecting, out: &mut dyn FnMut(Exchange)) {
        let recognised = detecting.recognise();
        if detecting.either && recognised.0 != Verdict::Yes {
            let refuted = detecting.refuted;
            detecting.reverse();
            if let (Verdict::Yes, Some(entry)) = detecting.recognise()
                && entry.tells_sides()
            {
                self.state = State::Reversed(entry, Box::new(detecting));
                return;
            }
            detecting.reverse();
            (detecting.either, detecting.refuted) = (true, refuted);
        }
        match recognised {
            (Verdict::Yes, Some(entry)) => {
                let answered = (entry.server)(&detecting.server.part, detecting.late) == Verdict::Yes;
                self.begin(entry, detecting, answered, out);
            }
            (Verdict::More, _) => self.state = State::Detecting(detecting),
            _ if detecting.late && detecting.searched <= LATE_SEARCH => {
                self.state = State::Detecting(detecting.elsewhere());
            }
            _ => self.give_up(Undecoded::UnknownProtocol),
        }
    }
}
