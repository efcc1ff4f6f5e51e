//! A flow under observation: its decoder, what is known of it, and who gets its exchanges.

use crate::{Counters, Settings, Traffic, Way};
use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};
use weir_protocols::{Close, Decoder, Exchange, Protocol, Side};
use weir_records::{Flow, Timestamp};

/// Who gets what comes out of a [`crate::Tracker`].
pub trait Sink {
    /// An exchange of this flow.
    fn exchange(&mut self, flow: &Flow, exchange: Exchange);
    /// This flow is over.
    fn closed(&mut self, _: &Summary<'_>) {}
}

impl<F: FnMut(&Flow, Exchange)> Sink for F {
    fn exchange(&mut self, flow: &Flow, exchange: Exchange) {
        self(flow, exchange);
    }
}

/// What there is to say of a flow at its end.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// What it spoke.
    pub protocol: Protocol,
    /// How it ended.
    pub how: Close,
    /// Its beginning was not seen.
    pub late: bool,
    /// When the last packet was seen.
    pub last: Timestamp,
    /// What the client sent.
    pub client: Traffic,
    /// What the server sent.
    pub server: Traffic,
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
    }
}

/// Where packets' consequences go while one is handled.
pub(crate) struct Context<'a> {
    pub counters: &'a mut Counters,
    pub sink: &'a mut dyn Sink,
}

/// A flow's decoder, and what every flow has.
#[derive(Debug)]
pub(crate) struct Observed {
    pub flow: Flow,
    /// Gone once nothing more can come out.
    pub decoder: Option<Decoder>,
    protocol: Protocol,
    pub late: bool,
    /// When the last packet was seen. Never runs backwards, though packets may.
    pub last: Timestamp,
    /// The latest time that the decoder was told.
    told: Timestamp,
    exchanges: u64,
    traffic: [Traffic; 2],
}

impl Observed {
    pub fn new(flow: Flow, decoder: Decoder, late: bool) -> Self {
        Self {
            protocol: decoder.protocol(),
            last: flow.opened,
            told: flow.opened,
            flow,
            decoder: Some(decoder),
            late,
            exchanges: 0,
            traffic: [Traffic::default(); 2],
        }
    }

    pub fn traffic(&mut self, side: Side) -> &mut Traffic {
        match side {
            Side::Client => &mut self.traffic[0],
            Side::Server => &mut self.traffic[1],
        }
    }

    /// Client and server change their places, and decoding begins anew.
    pub fn swap(&mut self, flow: Flow, decoder: Decoder) {
        self.flow = flow;
        self.traffic.swap(0, 1);
        self.decoder = Some(decoder);
    }

    /// True while nothing is known of what it speaks.
    pub fn is_unknown(&self) -> bool {
        self.decoder
            .as_ref()
            .is_some_and(|decoder| decoder.protocol() == Protocol::Unknown)
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
        let (flow, exchanges) = (&self.flow, &mut self.exchanges);
        let mut out = |exchange| {
            *exchanges += 1;
            context.counters.exchanges += 1;
            context.sink.exchange(flow, exchange);
        };
        if catch_unwind(AssertUnwindSafe(|| feed(decoder, &mut out))).is_err() {
            context.counters.decoder_panics += 1;
            self.decoder = None;
            return;
        }
        self.protocol = decoder.protocol();
        context.counters.events += decoder.take_events();
        if decoder.is_opaque() {
            self.decoder = None;
        }
    }

    /// The flow is over.
    pub fn close(&mut self, how: Close, context: &mut Context<'_>) {
        let at = self.last;
        self.feed(context, |decoder, out| decoder.close(at, how, out));
        self.decoder = None;
        context.sink.closed(&Summary {
            flow: &self.flow,
            protocol: self.protocol,
            how,
            late: self.late,
            last: self.last,
            client: self.traffic[0],
            server: self.traffic[1],
        });
    }

    /// It carried data, and none of it could be told.
    pub fn is_not_decoded(&self) -> bool {
        let carried = self.traffic.iter().any(|traffic| traffic.payload > 0);
        carried && self.exchanges == 0 && matches!(self.protocol, Protocol::Unknown | Protocol::Tcp)
    }
}
