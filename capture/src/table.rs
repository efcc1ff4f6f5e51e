//! The flows that are followed: finds each packet's, opens and ends them.

mod places;

use crate::{
    Counters, Packet, Settings, Sink, Way,
    connection::{self, Connection, Succession},
    datagrams::{self, Datagrams},
    ether::{self, Layer},
    flow::{Context, Observed},
    fragments::Fragments,
    link,
    outside::Outside,
    packet::{self, Datagram, Ip, Payload, Segment, Skip},
    settings::{Transport, ns},
    stream::Room,
    tunnel,
};
use foldhash::fast::RandomState;
use places::Networks;
use std::{cmp::Reverse, collections::HashMap, net::SocketAddr};
use weir_protocols::Close;
use weir_records::{FlowEnd, Timestamp};

/// How often what waits is looked at, in ns of the packets' time.
const TICK: u64 = 1_000_000_000;
/// Packets may be seen a little out of order; one so much earlier, in ns, shows that the clock was set, or a time before it
/// was damaged.
const ANOTHER_TIME: u64 = 60_000_000_000;

/// So long, in ns, a SYN waits for another one or an answer: longer than pauses between tries (tcp_syn_retries), which double.
const UNANSWERED: u64 = 70_000_000_000;

/// Two sockets, whichever of them sent: the lower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    protocol: u8,
    ends: [SocketAddr; 2],
}

impl Key {
    fn new(protocol: u8, a: SocketAddr, b: SocketAddr) -> Self {
        Self {
            protocol,
            ends: if a <= b { [a, b] } else { [b, a] },
        }
    }
}

#[derive(Debug)]
struct Slot {
    key: Key,
    networks: Networks,
    /// Counts flows in the order in which they were opened.
    serial: u64,
    entry: Entry,
}

#[derive(Debug)]
enum Entry {
    Tcp(Box<Connection>),
    Udp(Box<Datagrams>),
    /// Nobody wants it; its last packet was seen then.
    Unwanted(Timestamp),
}

impl Entry {
    /// When the last packet was seen.
    fn last(&self) -> Timestamp {
        match self {
            Self::Tcp(connection) => connection.observed.last,
            Self::Udp(datagrams) => datagrams.observed.last,
            Self::Unwanted(last) => *last,
        }
    }

    fn observed(&mut self) -> Option<&mut Observed> {
        match self {
            Self::Tcp(connection) => Some(&mut connection.observed),
            Self::Udp(datagrams) => Some(&mut datagrams.observed),
            Self::Unwanted(_) => None,
        }
    }

    /// Memory that its decoder keeps.
    fn held(&self) -> usize {
        match self {
            Self::Tcp(connection) => connection.observed.held,
            Self::Udp(datagrams) => datagrams.observed.held,
            Self::Unwanted(_) => 0,
        }
    }

    /// It may be forgotten without loss.
    fn is_over(&self) -> bool {
        match self {
            Self::Tcp(connection) => connection.over,
            Self::Udp(_) => false,
            Self::Unwanted(_) => true,
        }
    }

    /// As it is, or only remembered where nobody wants it.
    fn if_wanted(self, settings: &Settings) -> Self {
        let (flow, transport) = match &self {
            Self::Tcp(connection) => (&connection.observed.flow, Transport::Tcp),
            Self::Udp(datagrams) => (&datagrams.observed.flow, Transport::Udp),
            Self::Unwanted(_) => return self,
        };
        match settings.wants(flow, transport) {
            true => self,
            false => Self::Unwanted(self.last()),
        }
    }
}

/// What is done with a packet's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The packet is read: bytes that were not captured are missed.
    Read,
    /// Only its length is of interest.
    Counted,
}

/// Where a packet was seen, for what is within it.
#[derive(Clone, Copy)]
struct Place {
    at: Timestamp,
    interface: u32,
    way: Way,
}

/// Follows the flows of a capture: packets in, exchanges out.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    counters: Counters,
    /// (Each packet asks it.)
    places: HashMap<Key, usize, RandomState>,
    /// Further flows of the sockets that are in `places`, which are in other networks.
    beside: HashMap<Key, Vec<usize>, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    fragments: Fragments,
    /// Bytes that wait in all connections.
    waiting: usize,
    /// Packets that never came here.
    lost: u64,
    opened: u64,
    /// Flows that somebody wants.
    wanted: usize,
    /// Memory that their decoders keep.
    held: usize,
    now: Timestamp,
    ticked: Timestamp,
}

impl Tracker {
    /// A tracker that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        let bounds = &settings.bounds;
        Self {
            fragments: Fragments::new(bounds.fragment_bytes, ns(bounds.fragment_patience)),
            settings,
            counters: Counters::default(),
            places: HashMap::default(),
            beside: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            lost: 0,
            opened: 0,
            wanted: 0,
            held: 0,
            now: Timestamp(0),
            ticked: Timestamp(0),
        }
    }

    /// What was seen and left out so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Flows that are followed now.
    pub fn flows(&self) -> usize {
        self.known()
    }

    /// True if nothing waits for time to pass: [`Self::tick`] may be called as seldom as one likes.
    pub fn is_idle(&self) -> bool {
        self.wanted == 0
    }

    /// Memory that bytes take which wait for others before them.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// So many packets were lost on their way here, and nobody knows of which flows.
    pub fn lost(&mut self, packets: u64) {
        self.lost += packets;
    }

    /// A packet was seen.
    pub fn packet(&mut self, packet: &Packet<'_>, sink: &mut dyn Sink) {
        self.counters.packets += 1;
        self.tick(packet.at, sink);
        let read = self.network(packet, sink);
        if self.held > self.settings.bounds.decoder_bytes {
            self.drop_decoders();
        }
        let is_cut = packet.bytes.len() < packet.wire_len && !matches!(read, Ok(Content::Counted));
        self.counters.cut_packets += u64::from(is_cut);
        let skipped = match read {
            Ok(_) => return,
            Err(Skip::UnknownLink) => &mut self.counters.unknown_link,
            Err(Skip::Malformed) => &mut self.counters.malformed,
            Err(Skip::NotIp) => &mut self.counters.not_ip,
            Err(Skip::OtherTransport) => &mut self.counters.other_transport,
            Err(Skip::Unread(what)) => self.counters.unread(what),
        };
        *skipped += 1;
    }

    fn network(&mut self, packet: &Packet<'_>, sink: &mut dyn Sink) -> Result<Content, Skip> {
        let mut outside = Outside::default();
        let network = link::network(packet, &mut outside)?;
        let place = Place {
            at: packet.at,
            interface: packet.interface,
            way: network.way,
        };
        self.ip(place, &network.packet, &mut outside, sink)
    }

    fn ip(
        &mut self,
        place: Place,
        packet: &Payload<'_>,
        outside: &mut Outside,
        sink: &mut dyn Sink,
    ) -> Result<Content, Skip> {
        let mut ip = Ip::read(packet)?;
        let whole;
        if let Some(fragment) = ip.fragment {
            let network = outside.network(self.places.hasher());
            let taken = self.fragments.take(place.at, network, &ip, fragment);
            self.counters.incomplete_fragments += self.fragments.take_incomplete();
            let Some(payload) = taken else {
                return Ok(Content::Read);
            };
            self.counters.reassembled += 1;
            whole = payload;
            ip = ip.whole(&whole)?;
        }
        match ip.protocol {
            packet::TCP => {
                let segment = Segment::read(&ip.payload)?;
                let seen = connection::Seen {
                    at: place.at,
                    source: (ip.source, segment.source_port).into(),
                    destination: (ip.destination, segment.destination_port).into(),
                    segment,
                    wire_len: ip.len,
                    way: place.way,
                    interface: place.interface,
                };
                self.segment(seen, outside, sink);
                Ok(Content::Read)
            }
            packet::UDP => {
                let datagram = Datagram::read(&ip.payload)?;
                if let Some((layer, content)) = tunnel::over_udp(&datagram, outside)? {
                    return self.inside(place, layer, content, outside, sink);
                }
                let seen = datagrams::Seen {
                    at: place.at,
                    source: (ip.source, datagram.source_port).into(),
                    destination: (ip.destination, datagram.destination_port).into(),
                    payload: datagram.payload,
                    wire_len: ip.len,
                    way: place.way,
                    id: ip.id,
                    interface: place.interface,
                };
                Ok(self.datagram(seen, outside, sink))
            }
            protocol => {
                let (layer, content) = tunnel::over_ip(protocol, ip.payload, outside)?;
                self.inside(place, layer, content, outside, sink)
            }
        }
    }

    /// A packet within a packet. Who sent the outer one says nothing of the inner one.
    #[cold]
    fn inside(
        &mut self,
        place: Place,
        layer: Layer,
        content: Payload<'_>,
        outside: &mut Outside,
        sink: &mut dyn Sink,
    ) -> Result<Content, Skip> {
        let place = Place {
            way: Way::Unknown,
            ..place
        };
        let packet = ether::ip(layer, content, outside)?;
        self.ip(place, &packet, outside, sink)
    }

    fn segment(&mut self, seen: connection::Seen<'_>, outside: &Outside, sink: &mut dyn Sink) {
        let key = Key::new(packet::TCP, seen.source, seen.destination);
        let network = outside.network(self.places.hasher());
        let fits = |entry: &Entry| matches!(entry, Entry::Tcp(connection) if connection.fits(&seen));
        let mut place = self.find(&key, network, fits);
        if let Some(old) = place
            && let Some(Slot {
                entry: Entry::Tcp(connection),
                ..
            }) = &mut self.slots[old]
            && let Some(succession) =
                connection.succession(&seen, &mut self.settings.bounds.room(&mut self.waiting))
        {
            self.end(old, FlowEnd::Unobserved, sink);
            if let Succession::With(first) = succession {
                self.segment(first.seen(), outside, sink);
            }
            place = self.find(&key, network, |_| false);
        }
        let place = match place {
            Some(place) => place,
            None => {
                let Some(connection) = Connection::open(&seen, &self.settings, self.lost) else {
                    return;
                };
                self.insert(key, network, Entry::Tcp(Box::new(connection)), sink)
            }
        };
        if let Some(wrapping) = outside.wrapping() {
            self.wrap(place, wrapping);
        }
        let mut room = self.settings.bounds.room(&mut self.waiting);
        let mut context = Context {
            counters: &mut self.counters,
            sink,
            held: &mut self.held,
            lost: self.lost,
            now: self.now,
            settings: &self.settings,
        };
        match &mut self.slots[place] {
            Some(Slot {
                entry: Entry::Tcp(connection),
                ..
            }) => connection.take(&seen, &mut room, &mut context),
            slot => leave_out(slot, seen.at, &mut context),
        }
        self.counters.bound_reached += room.ended;
    }

    fn datagram(&mut self, seen: datagrams::Seen<'_>, outside: &Outside, sink: &mut dyn Sink) -> Content {
        let spoken = seen.spoken(&self.settings.decoders);
        let key = Key::new(packet::UDP, seen.source, seen.destination);
        let network = outside.network(self.places.hasher());
        let fits = |entry: &Entry| matches!(entry, Entry::Udp(datagrams) if datagrams.fits(&seen));
        let place = match self.find(&key, network, fits) {
            Some(place) => place,
            None => {
                let Some(datagrams) = Datagrams::open(&seen, spoken, &self.settings, self.lost) else {
                    self.counters.other_datagrams += 1;
                    return Content::Counted;
                };
                self.insert(key, network, Entry::Udp(Box::new(datagrams)), sink)
            }
        };
        if let Some(wrapping) = outside.wrapping() {
            self.wrap(place, wrapping);
        }
        let mut context = Context {
            counters: &mut self.counters,
            sink,
            held: &mut self.held,
            lost: self.lost,
            now: self.now,
            settings: &self.settings,
        };
        let is_read = match &mut self.slots[place] {
            Some(Slot {
                entry: Entry::Udp(datagrams),
                ..
            }) => datagrams.take(&seen, spoken, &self.settings.decoders, &mut context),
            slot => {
                leave_out(slot, seen.at, &mut context);
                return match spoken {
                    Some(_) => Content::Read,
                    None => Content::Counted,
                };
            }
        };
        match is_read {
            true => Content::Read,
            false => {
                self.counters.other_datagrams += u64::from(self.settings.flows.is_none());
                Content::Counted
            }
        }
    }

    fn insert(&mut self, key: Key, network: u64, entry: Entry, sink: &mut dyn Sink) -> usize {
        if self.known() >= self.settings.bounds.max_flows.max(1) {
            self.evict(sink);
        }
        self.opened += 1;
        let entry = entry.if_wanted(&self.settings);
        self.wanted += usize::from(!matches!(entry, Entry::Unwanted(_)));
        if let Entry::Tcp(connection) = &entry {
            self.counters.connections += 1;
            self.counters.late_connections += u64::from(connection.observed.late);
        }
        let slot = Some(Slot {
            key,
            networks: Networks::new(network),
            serial: self.opened,
            entry,
        });
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        if let Some(old) = self.put(key, place) {
            self.give_up(old, sink);
        }
        place
    }

    /// Makes room for more: one flow in sixteen goes, first those that are over, then those silent for longest.
    fn evict(&mut self, sink: &mut dyn Sink) {
        let mut places = self.places_by(|slot| (!slot.entry.is_over(), slot.entry.last(), slot.serial));
        places.truncate(places.len().div_ceil(16));
        for place in places {
            if let Some(Slot { entry, .. }) = &self.slots[place] {
                self.counters.evicted += u64::from(!entry.is_over());
            }
            self.end(place, FlowEnd::Unobserved, sink);
        }
    }

    /// Gives up the decoders that keep most, until a quarter of the bound is free.
    fn drop_decoders(&mut self) {
        let enough = self.settings.bounds.decoder_bytes / 4 * 3;
        for place in self.places_by(|slot| Reverse(slot.entry.held())) {
            if self.held <= enough {
                break;
            }
            let Some(Slot { entry, .. }) = &mut self.slots[place] else {
                continue;
            };
            if let Some(observed) = entry.observed()
                && observed.decoder.is_some()
            {
                observed.drop_decoder(&mut self.held);
                self.counters.decoders_dropped += 1;
            }
        }
    }

    /// The flows' places in this order.
    fn places_by<K: Ord>(&self, order: impl Fn(&Slot) -> K) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        let mut places: Vec<_> = slots
            .filter_map(|(place, slot)| Some((order(slot.as_ref()?), place)))
            .collect();
        places.sort_unstable();
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// This flow is over, `so` if it was not already, and is forgotten.
    fn end(&mut self, place: usize, so: FlowEnd, sink: &mut dyn Sink) {
        let Some(mut slot) = self.slots[place].take() else {
            return;
        };
        self.take_out(&slot.key, place);
        self.free.push(place);
        self.wanted -= usize::from(!matches!(slot.entry, Entry::Unwanted(_)));
        let mut room = self.settings.bounds.room(&mut self.waiting);
        let mut context = Context {
            counters: &mut self.counters,
            sink,
            held: &mut self.held,
            lost: self.lost,
            now: self.now,
            settings: &self.settings,
        };
        match &mut slot.entry {
            Entry::Tcp(connection) => {
                connection.close(Close::Abandoned, so, &mut room, &mut context);
                connection.observed.report_end(&mut context);
            }
            Entry::Udp(datagrams) => datagrams.close(so, &mut context),
            Entry::Unwanted(_) => {}
        }
        self.counters.bound_reached += room.ended;
    }

    /// It is now this late, though nothing may have come: what has waited for too long comes out.
    pub fn tick(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        if self.now.since(now) > ANOTHER_TIME {
            (self.now, self.ticked) = (now, now);
        }
        self.now = self.now.max(now);
        if self.now.since(self.ticked) < TICK {
            return;
        }
        self.ticked = self.now;
        self.fragments.tick(self.now);
        self.counters.incomplete_fragments += self.fragments.take_incomplete();
        let (idle, linger) = (ns(self.settings.bounds.idle), ns(self.settings.bounds.linger));
        let patience = ns(self.settings.bounds.hole_patience);
        let interval = self.settings.flows.and_then(|flows| flows.interval);
        let interval = interval.map_or(u64::MAX, ns);
        for place in 0..self.slots.len() {
            let mut room = self.settings.bounds.room(&mut self.waiting);
            let mut context = Context {
                counters: &mut self.counters,
                sink,
                held: &mut self.held,
                lost: self.lost,
                now: self.now,
                settings: &self.settings,
            };
            let Some(Slot { entry, .. }) = &mut self.slots[place] else {
                continue;
            };
            let allowed = match entry {
                Entry::Tcp(connection) => {
                    connection.tick(self.now, patience, &mut room, &mut context);
                    connection.observed.report_each(interval, self.now, &mut context);
                    match (connection.over, connection.is_unanswered()) {
                        (true, _) => linger,
                        (false, true) => idle.min(UNANSWERED),
                        (false, false) => idle,
                    }
                }
                Entry::Udp(datagrams) => {
                    datagrams.tick(self.now, &mut context);
                    datagrams.observed.report_each(interval, self.now, &mut context);
                    linger
                }
                Entry::Unwanted(_) => linger,
            };
            if self.now.since(entry.last()) >= allowed {
                self.end(place, FlowEnd::Idle, sink);
            }
        }
    }

    /// The capture is over: everything that is under way comes out, flow by flow in the order of their beginnings.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        self.fragments.finish();
        self.counters.incomplete_fragments += self.fragments.take_incomplete();
        for place in self.places_by(|slot| slot.serial) {
            self.end(place, FlowEnd::Unobserved, sink);
        }
    }
}

/// A packet of a flow that nobody wants.
fn leave_out(slot: &mut Option<Slot>, at: Timestamp, context: &mut Context<'_>) {
    context.counters.unwanted += 1;
    if let Some(Slot {
        entry: Entry::Unwanted(last),
        ..
    }) = slot
    {
        *last = at.max(*last);
    }
}

impl crate::Bounds {
    fn room<'a>(&self, waiting: &'a mut usize) -> Room<'a> {
        Room {
            stream: self.flow_bytes,
            total: self.total_bytes,
            waiting,
            ended: 0,
        }
    }
}
