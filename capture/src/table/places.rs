//! Where the flows of a tracker are: by their sockets, and by the network that these are in.
//!
//! Equal sockets in two networks (of two VXLANs) are different flows, mostly. But a packet is seen twice where its tunnel ends
//! in the same host: with the tunnel, and without. And some tunnels have another number in each direction, as Cilium's. So a
//! packet of known sockets in another network belongs to the flow that it fits, if there is one, whose network that one is, too.

use super::{Entry, Key, Slot, Tracker};
use std::{collections::hash_map::Entry::Vacant, sync::Arc};
use weir_records::{FlowEnd, Wrapping};

/// Networks that one flow's packets are known in; and flows of the same sockets.
const MOST: usize = 8;

/// The networks of one flow.
#[derive(Debug)]
pub(super) struct Networks {
    first: u64,
    others: Vec<u64>,
}

impl Networks {
    pub fn new(network: u64) -> Self {
        Self {
            first: network,
            others: Vec::new(),
        }
    }

    #[inline]
    pub fn contains(&self, network: u64) -> bool {
        self.first == network || self.others.contains(&network)
    }
}

impl Slot {
    /// The flow is known in this network now.
    fn join(&mut self, network: u64) {
        self.networks.others.truncate(MOST - 2);
        self.networks.others.push(network);
    }
}

impl Tracker {
    /// The flow of these sockets in this network, or one which the packet `fits` that was seen in another network.
    #[inline]
    pub(super) fn find(&mut self, key: &Key, network: u64, fits: impl Fn(&Entry) -> bool) -> Option<usize> {
        let first = *self.places.get(key)?;
        match &self.slots[first] {
            Some(slot) if slot.networks.contains(network) => Some(first),
            _ => self.find_beside(key, first, network, &fits),
        }
    }

    #[cold]
    fn find_beside(
        &mut self,
        key: &Key,
        first: usize,
        network: u64,
        fits: &dyn Fn(&Entry) -> bool,
    ) -> Option<usize> {
        let others = self.beside.get(key);
        let places = || std::iter::once(first).chain(others.into_iter().flatten().copied());
        let slot = |place: usize| self.slots[place].as_ref();
        let known = |place: &usize| slot(*place).is_some_and(|slot| slot.networks.contains(network));
        if let Some(place) = places().find(known) {
            return Some(place);
        }
        let place = places().find(|place| slot(*place).is_some_and(|slot| fits(&slot.entry)))?;
        if let Some(slot) = &mut self.slots[place] {
            slot.join(network);
        }
        Some(place)
    }

    /// A flow is at this place now. Of so many flows of the same sockets the oldest must go: its place.
    pub(super) fn put(&mut self, key: Key, place: usize) -> Option<usize> {
        if let Vacant(vacant) = self.places.entry(key) {
            vacant.insert(place);
            return None;
        }
        let others = self.beside.entry(key).or_default();
        others.push(place);
        (others.len() >= MOST).then(|| others[0])
    }

    /// No flow of these sockets is at this place any more.
    pub(super) fn take_out(&mut self, key: &Key, place: usize) {
        let Some(others) = self.beside.get_mut(key) else {
            self.places.remove(key);
            return;
        };
        match others.iter().position(|other| *other == place) {
            Some(at) => drop(others.remove(at)),
            // The first of them goes, and the next is the first.
            None => drop(self.places.insert(*key, others.remove(0))),
        }
        if others.is_empty() {
            self.beside.remove(key);
        }
    }

    /// A packet of the flow at this place came with this around it. The first such packet tells.
    pub(super) fn wrap(&mut self, place: usize, wrapping: &Wrapping) {
        if let Some(slot) = &mut self.slots[place]
            && let Some(observed) = slot.entry.observed()
            && observed.flow.wrapping.is_none()
        {
            observed.flow.wrapping = Some(Arc::new(wrapping.clone()));
        }
    }

    /// Flows that are followed.
    pub(super) fn known(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Ends a flow of which there are too many with the same sockets.
    pub(super) fn give_up(&mut self, place: usize, sink: &mut dyn crate::Sink) {
        self.counters.evicted += 1;
        self.end(place, FlowEnd::Unobserved, sink);
    }
}
