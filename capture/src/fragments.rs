//! IP packets that came in fragments, put together again.
//!
//! Fragments that overlap make their packet worthless, as RFC 5722 has it of IPv6; those that come twice don't.

use crate::packet::{Fragment, Ip};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
};
use weir_records::Timestamp;

/// What a fragment costs beside its bytes.
const FRAGMENT: usize = 128;
/// Most bytes that a packet's payload may have.
const LARGEST: usize = 65535;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Equal addresses in two networks of tunnels are different ones.
    network: u64,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug, Default)]
struct Partial {
    /// Tells it from a later one with the same key.
    serial: u64,
    first: Timestamp,
    pieces: BTreeMap<usize, Box<[u8]>>,
    cost: usize,
    /// Bytes of all pieces.
    have: usize,
    /// Bytes of the whole, once its last fragment has come.
    len: Option<usize>,
}

/// The fragments that wait for others.
#[derive(Debug)]
pub(crate) struct Fragments {
    max: usize,
    /// In ns.
    patience: u64,
    partial: HashMap<Key, Partial>,
    /// Those in `partial` in the order of their arrival, and some that are no longer there.
    order: VecDeque<(Key, u64)>,
    cost: usize,
    serial: u64,
    /// Packets that were given up.
    incomplete: u64,
}

impl Fragments {
    /// Bounded to so many bytes, and to so many ns.
    pub fn new(max: usize, patience: u64) -> Self {
        Self {
            max,
            patience,
            partial: HashMap::new(),
            order: VecDeque::new(),
            cost: 0,
            serial: 0,
            incomplete: 0,
        }
    }

    /// Packets that were given up since the last time this was asked.
    pub fn take_incomplete(&mut self) -> u64 {
        std::mem::take(&mut self.incomplete)
    }

    /// Takes a fragment, and gives the packet's payload if it is the last that was missing.
    pub fn take(&mut self, at: Timestamp, network: u64, ip: &Ip<'_>, fragment: Fragment) -> Option<Vec<u8>> {
        let key = Key {
            network,
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            id: fragment.id,
        };
        let end = fragment.offset + ip.payload.len;
        let damaged = ip.payload.bytes.len() < ip.payload.len
            || end > LARGEST
            || ip.payload.len == 0
            || fragment.more && !ip.payload.len.is_multiple_of(8);
        if damaged {
            // What was cut off can't be put together; without this one the others can't either.
            if self.remove(&key).is_none() && fragment.offset == 0 {
                self.incomplete += 1;
            }
            return None;
        }
        self.make_room(ip.payload.len + FRAGMENT);
        self.insert(at, key, fragment, ip.payload.bytes)
    }

    fn insert(&mut self, at: Timestamp, key: Key, fragment: Fragment, bytes: &[u8]) -> Option<Vec<u8>> {
        let (order, serial) = (&mut self.order, &mut self.serial);
        let partial = self.partial.entry(key).or_insert_with(|| {
            *serial += 1;
            order.push_back((key, *serial));
            Partial {
                serial: *serial,
                first: at,
                ..Partial::default()
            }
        });
        let (offset, end) = (fragment.offset, fragment.offset + bytes.len());
        if partial.pieces.get(&offset).is_some_and(|piece| **piece == *bytes) {
            return None;
        }
        let before = partial.pieces.range(..end).next_back();
        let overlaps = before.is_some_and(|(start, piece)| start + piece.len() > offset);
        let ends = match fragment.more {
            true => partial.len.is_some_and(|len| end > len),
            false => partial.len.is_some_and(|len| end != len) || partial.end() > end,
        };
        if overlaps || ends {
            self.remove(&key);
            return None;
        }
        partial.pieces.insert(offset, bytes.into());
        partial.have += bytes.len();
        partial.cost += bytes.len() + FRAGMENT;
        self.cost += bytes.len() + FRAGMENT;
        if !fragment.more {
            partial.len = Some(end);
        }
        if partial.len != Some(partial.have) {
            return None;
        }
        let whole = self.partial.remove(&key)?;
        self.cost -= whole.cost;
        Some(whole.pieces.into_values().flatten().collect())
    }

    /// Gives a packet up.
    fn remove(&mut self, key: &Key) -> Option<Partial> {
        let partial = self.partial.remove(key)?;
        self.cost -= partial.cost;
        self.incomplete += 1;
        Some(partial)
    }

    fn make_room(&mut self, needed: usize) {
        while self.cost + needed > self.max
            && let Some((key, serial)) = self.order.pop_front()
        {
            self.forget(&key, serial);
        }
        if self.order.len() > 2 * self.partial.len() + 64 {
            let partial = &self.partial;
            self.order
                .retain(|(key, serial)| partial.get(key).is_some_and(|found| found.serial == *serial));
        }
    }

    fn forget(&mut self, key: &Key, serial: u64) {
        if self.partial.get(key).is_some_and(|found| found.serial == serial) {
            self.remove(key);
        }
    }

    /// It is now this late: what has waited for too long is given up.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some((key, serial)) = self.order.front().copied() {
            let waits = self
                .partial
                .get(&key)
                .is_some_and(|found| found.serial == serial && now.since(found.first) < self.patience);
            if waits {
                return;
            }
            self.order.pop_front();
            self.forget(&key, serial);
        }
    }

    /// No more will come.
    pub fn finish(&mut self) {
        self.incomplete += self.partial.len() as u64;
        self.partial.clear();
        self.order.clear();
        self.cost = 0;
    }

    /// What the waiting fragments cost.
    #[cfg(test)]
    pub fn cost(&self) -> usize {
        self.cost
    }
}

impl Partial {
    /// Where the last of the pieces ends.
    fn end(&self) -> usize {
        self.pieces
            .last_key_value()
            .map_or(0, |(start, piece)| start + piece.len())
    }
}

#[cfg(test)]
mod tests;
