//! What the decoders of a data thread keep, and the bound on all of it together: past it those that keep most step aside.
//!
//! Each decoder has bounds of its own, but a client can open any number of connections. Without a bound over all of them
//! unfinished requests would take the sidecar to its memory limit, and its end would break everybody's connections.

use crate::metrics::WorkerMetrics;
use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};
use weir_protocols::Decoder;

/// The decoders of a data thread.
#[derive(Debug)]
pub struct Pool {
    /// Bytes that they may keep.
    limit: usize,
    held: Cell<usize>,
    slots: RefCell<BTreeMap<u64, Rc<Slot>>>,
    next: Cell<u64>,
    metrics: Arc<WorkerMetrics>,
}

/// A decoder's place.
#[derive(Debug)]
struct Slot {
    /// Gone once it has stepped aside.
    decoder: RefCell<Option<Decoder>>,
    held: Cell<usize>,
}

/// A decoder in the pool, for as long as its flow lives.
#[derive(Debug)]
pub struct Kept {
    pool: Rc<Pool>,
    number: u64,
    slot: Rc<Slot>,
}

impl Pool {
    /// A pool that keeps so many bytes at most.
    pub fn new(limit: usize, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            limit,
            held: Cell::new(0),
            slots: RefCell::default(),
            next: Cell::new(0),
            metrics,
        }
    }

    /// Puts a decoder in.
    pub fn keep(self: &Rc<Self>, decoder: Decoder) -> Kept {
        let number = self.next.get();
        self.next.set(number + 1);
        let slot = Rc::new(Slot {
            decoder: RefCell::new(Some(decoder)),
            held: Cell::new(0),
        });
        self.slots.borrow_mut().insert(number, slot.clone());
        Kept {
            pool: self.clone(),
            number,
            slot,
        }
    }

    fn note(&self, slot: &Slot, held: usize) {
        let before = slot.held.replace(held);
        self.held.set(self.held.get() - before + held);
    }

    /// Those that keep most step aside, until a quarter of the bound is free: so the next time is a while away.
    fn make_room(&self) {
        let mut all: Vec<_> = self.slots.borrow().values().cloned().collect();
        all.sort_unstable_by_key(|slot| Reverse(slot.held.get()));
        for slot in all {
            if self.held.get() <= self.limit / 4 * 3 {
                break;
            }
            slot.decoder.replace(None);
            self.note(&slot, 0);
            self.metrics.memory_bound.add(1);
        }
    }
}

impl Kept {
    /// Has the decoder do something, if it is still there. Afterwards others may have stepped aside, or this one.
    pub fn with<T>(&self, act: impl FnOnce(&mut Decoder) -> T) -> Option<T> {
        let mut place = self.slot.decoder.borrow_mut();
        let decoder = place.as_mut()?;
        let result = act(decoder);
        self.pool.note(&self.slot, decoder.held());
        drop(place);
        if self.pool.held.get() > self.pool.limit {
            self.pool.make_room();
        }
        Some(result)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.pool.note(&self.slot, 0);
        self.pool.slots.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocols::{Decoders, Side};
    use weir_records::Timestamp;

    fn feed(kept: &Kept, bytes: &[u8]) -> bool {
        let fed = kept.with(|decoder| decoder.data(Side::Client, Timestamp(1), bytes, &mut |_| ()));
        fed.is_some()
    }

    #[test]
    fn past_the_bound_those_that_keep_most_step_aside() {
        let metrics = Arc::new(WorkerMetrics::default());
        let pool = Rc::new(Pool::new(256 << 10, metrics.clone()));
        let open = || pool.keep(Decoders::default().connection(80, false));
        let small = open();
        assert!(feed(&small, b"GET / HTTP/1.1\r\nHost: a\r\n"));
        let greedy: Vec<_> = (0..20).map(|_| open()).collect();
        let head = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 40 << 10][..]].concat();
        for one in &greedy {
            feed(one, &head);
            assert!(pool.held.get() <= pool.limit, "{}", pool.held.get());
        }
        assert!(metrics.memory_bound.get() >= 14, "{}", metrics.memory_bound.get());
        assert!(feed(&small, b"Accept: */*\r\n"), "it keeps next to nothing");
        let is_gone = |one: &&Kept| one.slot.decoder.borrow().is_none();
        let gone = greedy.iter().filter(is_gone).count() as u64;
        assert_eq!(gone, metrics.memory_bound.get());
        drop((small, greedy));
        assert_eq!((pool.held.get(), pool.slots.borrow().len()), (0, 0));
    }
}
