//! A flow under observation: its decoder, what is known of it, and who gets what comes out.

use crate::{
    Counters, Settings, Way,
    measure::{Measure, party},
};
use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};
use weir_protocols::{Close, Decoder, Exchange, Protocol, Side, Undecoded};
use weir_records::{Flow, FlowEnd, Party, Progress, Report, Reported, Sent, Timestamp};

/// Who gets what comes out of a [`crate::Tracker`].
pub trait Sink {
    /// An exchange of this flow.
    fn exchange(&mut self, flow: &Flow, exchange: Exchange);
    /// What there is to say of this flow as a whole: in each interval, and at its end. Only if [`Settings::flows`] asks for it.
    fn flow(&mut self, _: &Flow, _: Report) {}
}

impl<F: FnMut(&Flow, Exchange)> Sink for F {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        self(flow, exchange);
    }
}

/// A flow of these sockets, of which the client's packets go this way.
pub(crate) fn flow(
    settings: &Settings,
    client: SocketAddr,
    server: SocketAddr,
    opened: Timestamp,
    way: Way,
) -> Flow {
    Flow {
        id: Flow::identify(settings.host.as_deref(), client, server, opened),
        capture: settings.capture,
        mode: None,
        direction: settings.direction(client.ip(), server.ip(), way),
        client,
        server,
        opened,
        connect: None,
        host: settings.host.clone(),
        wrapping: None,
    }
}

/// Where packets' consequences go while one is handled.
pub(crate) struct Context<'a> {
    pub counters: &'a mut Counters,
    pub sink: &'a mut dyn Sink,
    /// Memory that all decoders keep.
    pub held: &'a mut usize,
    /// Packets that were lost so far, of all flows.
    pub lost: u64,
    /// The latest time that was seen, of whichever flow.
    pub now: Timestamp,
    pub settings: &'a Settings,
}

/// What is counted for a flow's reports.
#[derive(Debug)]
struct Account {
    reported: Reported,
    measured: Measured,
    /// How many packets were lost when the last report was made, or the flow opened.
    lost: u64,
    /// How it has ended.
    end: Option<FlowEnd>,
}

/// By transport.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the account that has it is in a box of its own"
)]
pub(crate) enum Measured {
    Tcp(Measure),
    /// The client's datagrams, and the server's.
    Udp([Sent; 2]),
}

impl Measured {
    pub fn tcp() -> Self {
        Self::Tcp(Measure::default())
    }

    pub fn udp() -> Self {
        Self::Udp([Sent::default(); 2])
    }

    fn transport(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
        }
    }

    fn progress(&self, last: bool) -> Progress {
        match self {
            Self::Tcp(measure) => measure.progress(last),
            Self::Udp([source, destination]) => Progress {
                established: true,
                handshake: None,
                source: *source,
                destination: *destination,
            },
        }
    }

    fn swap(&mut self) {
        match self {
            Self::Tcp(measure) => measure.swap(),
            Self::Udp(sides) => sides.reverse(),
        }
    }

    /// A datagram with so many bytes of payload, in a packet of so many.
    pub fn datagram(&mut self, side: Side, payload: usize, packet: usize) {
        let Self::Udp([source, destination]) = self else {
            return;
        };
        let sent = match party(side) {
            Party::Source => source,
            Party::Destination => destination,
        };
        sent.packets += 1;
        sent.bytes += payload as u64;
        *sent.wire_bytes.get_or_insert_default() += packet as u64;
    }
}

/// A flow's decoder, and what every flow has.
#[derive(Debug)]
pub(crate) struct Observed {
    pub flow: Flow,
    /// Gone once nothing more can come out.
    pub decoder: Option<Decoder>,
    /// Memory that it keeps, as it was counted last.
    pub held: usize,
    protocol: Protocol,
    /// What the documents of its exchanges call its protocol.
    spoken: Option<&'static str>,
    /// The ends that a PROXY header names, where the decoder is gone.
    named: Option<(SocketAddr, SocketAddr)>,
    pub late: bool,
    /// Which way the client's packets go.
    pub way: Way,
    /// How often client and server have changed their places.
    pub turns: u32,
    /// When the last packet was seen. Never runs backwards, though packets may.
    pub last: Timestamp,
    /// The latest time that the decoder was told.
    told: Timestamp,
    /// It has carried data.
    pub carried: bool,
    /// Bytes of it that are not decoded.
    pub unread: u64,
    /// Gone once the last report is made; and never there where nobody wants any.
    account: Option<Box<Account>>,
}

impl Observed {
    pub fn new(flow: Flow, decoder: Option<Decoder>, late: bool) -> Self {
        Self {
            protocol: decoder.as_ref().map_or(Protocol::Unknown, Decoder::protocol),
            spoken: None,
            named: None,
            last: flow.opened,
            told: flow.opened,
            flow,
            decoder,
            held: 0,
            late,
            way: Way::Unknown,
            turns: 0,
            carried: false,
            unread: 0,
            account: None,
        }
    }

    /// Reports are wanted; so many packets were lost before.
    pub fn measure(&mut self, measured: Measured, lost: u64) {
        self.account = Some(Box::new(Account {
            reported: Reported::new(self.flow.opened),
            measured,
            lost,
            end: None,
        }));
    }

    /// What is counted, while that is wanted.
    pub fn measured(&mut self) -> Option<&mut Measured> {
        Some(&mut self.account.as_mut()?.measured)
    }

    /// What is measured of a connection of TCP.
    pub fn connection(&mut self) -> Option<&mut Measure> {
        match self.measured()? {
            Measured::Tcp(measure) => Some(measure),
            Measured::Udp(_) => None,
        }
    }

    /// Turns client and server round. Nothing has come out of the decoder yet: the decoder begins anew.
    fn turn(&mut self, context: &mut Context<'_>) {
        self.turns += 1;
        self.way = self.way.of_client(Side::Server);
        let old = &self.flow;
        let flow = flow(context.settings, old.server, old.client, old.opened, self.way);
        let old = std::mem::replace(&mut self.flow, flow);
        self.flow.wrapping = old.wrapping;
        if let Some(account) = &mut self.account {
            account.measured.swap();
            if account.reported.swap() {
                self.flow.id = old.id; // which a document has already
            }
        }
        self.feed(context, |decoder, out| decoder.reverse(out));
    }

    /// A packet is seen: time never runs backwards.
    pub fn seen(&mut self, at: Timestamp) -> Timestamp {
        self.last = self.last.max(at);
        self.last
    }

    /// What was seen at this time is told now, after what has been told already.
    pub fn tell(&mut self, at: Timestamp) -> Timestamp {
        self.told = self.told.max(at);
        self.told
    }

    /// Feeds the decoder. One that panics is dropped and counted.
    pub fn feed(
        &mut self,
        context: &mut Context<'_>,
        feed: impl FnOnce(&mut Decoder, &mut dyn FnMut(Exchange)),
    ) {
        let Some(decoder) = &mut self.decoder else { return };
        let (flow, spoken) = (&self.flow, &mut self.spoken);
        let mut out = |exchange: Exchange| {
            // What is in a tunnel is not what the connection speaks.
            if !exchange.is_tunnelled() {
                *spoken = Some(exchange.protocol());
            }
            context.counters.exchanges += u64::from(!exchange.is_waiting());
            context.sink.exchange(flow, exchange);
        };
        if catch_unwind(AssertUnwindSafe(|| feed(decoder, &mut out))).is_err() {
            context.counters.decoder_panics += 1;
            return self.drop_decoder(context.held);
        }
        if decoder.is_reversed() {
            return self.turn(context);
        }
        self.protocol = decoder.protocol();
        context.counters.events += decoder.take_events();
        if decoder.is_opaque() {
            match decoder.undecoded() {
                Some(Undecoded::Upgraded) => context.counters.upgraded += 1,
                Some(Undecoded::FramingLost) => context.counters.framing_lost += 1,
                // (Counted when the connection ends.)
                Some(Undecoded::UnknownProtocol | Undecoded::Bound | Undecoded::Pinned) | None => {}
            }
            return self.drop_decoder(context.held);
        }
        let held = decoder.held();
        *context.held = *context.held - self.held + held;
        self.held = held;
    }

    /// Nothing more is decoded; what the decoder kept is taken off this sum.
    pub fn drop_decoder(&mut self, all: &mut usize) {
        if let Some(decoder) = self.decoder.take() {
            self.named = decoder.named();
        }
        *all -= std::mem::take(&mut self.held);
    }

    /// The flow is over, so, or `otherwise` where it only is not seen any longer: nothing more is decoded. Its last report is
    /// still to be made.
    pub fn close(&mut self, how: Close, otherwise: FlowEnd, context: &mut Context<'_>) {
        let at = match how {
            Close::Finished | Close::Reset(_) => self.last,
            // Nothing has come until now.
            Close::Abandoned => self.last.max(context.now),
        };
        let turns = self.turns;
        self.feed(context, |decoder, out| decoder.close(at, how, out));
        let how = match how {
            Close::Reset(Side::Client) if self.turns != turns => Close::Reset(Side::Server),
            Close::Reset(Side::Server) if self.turns != turns => Close::Reset(Side::Client),
            how => how,
        };
        if self.turns != turns {
            self.feed(context, |decoder, out| decoder.close(at, how, out));
        }
        self.drop_decoder(context.held);
        if let Some(account) = &mut self.account {
            account.end = Some(match &account.measured {
                Measured::Tcp(measure) => measure.end(how, otherwise),
                Measured::Udp(_) => otherwise,
            });
        }
    }

    /// Adds up the bytes that were shown to the decoder, if there is one, for as long as nothing known is found in them.
    pub fn showed(&mut self, bytes: usize) {
        match self.protocol {
            Protocol::Unknown | Protocol::Tcp => self.unread += bytes as u64,
            _ if self.decoder.is_none() => self.unread += bytes as u64,
            // The protocol was known by bytes that were nothing before.
            _ => self.unread = 0,
        }
    }

    /// It carried data, and none of it could be told.
    pub fn is_not_decoded(&self) -> bool {
        self.carried && self.spoken.is_none() && self.protocol.name().is_none()
    }

    /// Reports what there is to say until now, if it is so long ago that this was last done.
    pub fn report_each(&mut self, interval: u64, now: Timestamp, context: &mut Context<'_>) {
        if let Some(account) = &mut self.account
            && account.end.is_none()
            && now.since(account.reported.since()) >= interval
        {
            let progress = account.measured.progress(false);
            if !account.reported.is_quiet(&progress) {
                self.report(now, progress, context);
            }
        }
    }

    /// Makes the last report, if it has not been made.
    pub fn report_end(&mut self, context: &mut Context<'_>) {
        if let Some(account) = &self.account {
            let until = self.last.max(account.reported.since());
            let progress = account.measured.progress(true);
            self.report(until, progress, context);
            self.account = None;
        }
    }

    fn report(&mut self, until: Timestamp, progress: Progress, context: &mut Context<'_>) {
        let Some(account) = &mut self.account else { return };
        let mut report = account
            .reported
            .next(until, progress, account.measured.transport());
        let lost = context.lost - std::mem::replace(&mut account.lost, context.lost);
        report.lost_packets = (lost > 0).then_some(lost);
        report.protocol = self.spoken.or_else(|| self.protocol.name());
        (report.late, report.end) = (self.late, account.end);
        report.named = self.decoder.as_ref().map_or(self.named, Decoder::named);
        context.sink.flow(&self.flow, report);
    }
}
