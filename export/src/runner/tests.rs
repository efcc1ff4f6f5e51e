use super::*;
use crate::{
    Producer, SinkStats, Stats,
    queue::{QueueIn, queue},
    samples::document,
};
use std::{
    sync::{Mutex, mpsc},
    thread::JoinHandle,
};
use weir_config::Layout;

type Deliver = dyn FnMut(&[Doc], &mut [Verdict]) -> Result<(), Failure> + Send;

/// A sink that does what a test says.
struct Scripted(Box<Deliver>);

impl Sink for Scripted {
    fn appetite(&self) -> Appetite {
        Appetite {
            bytes: 1 << 20,
            wait: Duration::ZERO,
        }
    }

    fn deliver(&mut self, documents: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure> {
        (self.0)(documents, verdicts)
    }
}

struct Running {
    queue: QueueIn,
    stats: Stats,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

fn start(
    limit: usize,
    deliver: impl FnMut(&[Doc], &mut [Verdict]) -> Result<(), Failure> + Send + 'static,
) -> Running {
    let counters = Arc::new(Counters::new("scripted", "nowhere".into(), Layout::Ecs));
    let (inlet, outlet) = queue(limit, counters.clone());
    let stop = Arc::new(Stop::new());
    let runner = Runner::new(
        Box::new(Scripted(Box::new(deliver))),
        outlet,
        counters.clone(),
        stop.clone(),
    );
    Running {
        queue: inlet,
        stats: Stats::new(vec![counters]),
        stop,
        thread: std::thread::spawn(|| runner.run()),
    }
}

impl Running {
    /// One batch of these documents.
    fn push(&self, numbers: std::ops::Range<u64>) {
        let mut producer = Producer::new(vec![self.queue.clone()], Vec::new());
        numbers.for_each(|number| producer.push(&document(number)));
    }

    fn end(self, patience: Duration) -> SinkStats {
        self.stop.call(Instant::now() + patience);
        self.queue.wake();
        self.thread.join().unwrap();
        let end = self.stats.snapshot().remove(0);
        assert_eq!(end.waiting, 0);
        let lost: u64 = ["shutdown", "closed"]
            .iter()
            .filter_map(|reason| end.dropped.get(reason))
            .sum();
        assert_eq!(end.queued, end.sent + end.rejected + lost, "{end:?}");
        end
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

fn again(reason: &str) -> Verdict {
    Verdict::Again(reason.into())
}

#[test]
fn documents_that_must_wait_are_tried_again_alone_and_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let mut round = 0;
    let running = start(usize::MAX, move |documents, verdicts| {
        round += 1;
        log.lock()
            .unwrap()
            .push(documents.iter().map(Doc::id).collect::<Vec<_>>());
        verdicts.fill(Verdict::Taken);
        if round == 1 {
            (verdicts[1], verdicts[3]) = (again("busy"), again("busy"));
            verdicts[4] = Verdict::Rejected("bad".into());
        }
        Ok(())
    });
    running.push(0..5);
    let end = running.end(PATIENCE);
    assert_eq!((end.queued, end.sent, end.rejected, end.retries), (5, 4, 1, 1));
    assert_eq!(end.failing, None);
    let seen = seen.lock().unwrap();
    let id = |number| document(number).event.id.0;
    assert_eq!(*seen, [(0..5).map(id).collect(), vec![id(1), id(3)]]);
}

#[test]
fn a_bad_document_is_found_by_splitting_and_alone_is_rejected() {
    let bad = document(37).event.id.0;
    let running = start(usize::MAX, move |documents, verdicts| {
        if documents.iter().any(|document| document.id() == bad) {
            return Err(Failure::new(FailureKind::Split, "cannot read it"));
        }
        verdicts.fill(Verdict::Taken);
        Ok(())
    });
    running.push(0..100);
    let end = running.end(PATIENCE);
    assert_eq!((end.queued, end.sent, end.rejected), (100, 99, 1));
}

#[test]
fn a_sink_that_is_overwhelmed_gets_less_and_then_more_again() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let log = sizes.clone();
    let limit = Arc::new(Mutex::new(5));
    let allowed = limit.clone();
    let running = start(usize::MAX, move |documents, verdicts| {
        if documents.len() > *allowed.lock().unwrap() {
            return Err(Failure::new(FailureKind::Congested, "too much"));
        }
        log.lock().unwrap().push(documents.len());
        verdicts.fill(Verdict::Taken);
        Ok(())
    });
    running.push(0..60);
    while running.stats.snapshot()[0].waiting > 0 {
        std::thread::yield_now();
    }
    *limit.lock().unwrap() = usize::MAX;
    running.push(60..160);
    running.push(160..260);
    let end = running.end(PATIENCE);
    assert_eq!((end.queued, end.sent), (260, 260));
    let sizes = sizes.lock().unwrap();
    assert!(sizes.iter().max() > Some(&5), "{sizes:?}");
}

#[test]
fn a_failed_delivery_keeps_what_was_taken_and_repeats_the_rest_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let running = start(usize::MAX, move |documents, verdicts| {
        let half = documents.len().div_ceil(2);
        log.lock().unwrap().extend(documents[..half].iter().map(Doc::id));
        verdicts[..half].fill(Verdict::Taken);
        match documents.len() {
            1 => Ok(()),
            _ => Err(Failure::new(FailureKind::Retry, "half of it")),
        }
    });
    running.push(0..10);
    let end = running.end(PATIENCE);
    assert_eq!((end.queued, end.sent), (10, 10));
    let all: Vec<_> = (0..10).map(|number| document(number).event.id.0).collect();
    assert_eq!(*seen.lock().unwrap(), all);
}

#[test]
fn a_full_queue_drops_new_documents_and_counts_them() {
    let (entered, waits) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let running = start(1, move |_, verdicts| {
        entered.send(()).unwrap();
        // Ends with the test at the latest.
        let _ = released.recv();
        verdicts.fill(Verdict::Taken);
        Ok(())
    });
    running.push(0..3);
    waits.recv().unwrap();
    running.push(3..10);
    let now = running.stats.snapshot().remove(0);
    assert_eq!((now.queued, now.waiting, now.sent), (3, 3, 0));
    assert_eq!(now.dropped["queue_full"], 7);
    release.send(()).unwrap();
    while running.stats.snapshot()[0].waiting > 0 {
        std::thread::yield_now();
    }
    drop(release);
    // The room is free again as soon as its documents are gone.
    while running.stats.snapshot()[0].queued == 3 {
        running.push(10..12);
    }
    let end = running.end(PATIENCE);
    assert_eq!((end.queued, end.sent), (5, 5));
}

#[test]
fn what_a_dead_sink_holds_at_the_end_is_counted_as_lost() {
    let running = start(usize::MAX, |_, _| Err(Failure::new(FailureKind::Retry, "gone")));
    running.push(0..8);
    let end = running.end(Duration::ZERO);
    assert_eq!((end.queued, end.sent, end.dropped["shutdown"]), (8, 0, 8));
}

#[test]
fn a_dead_sink_that_holds_nothing_ends_at_once() {
    struct Unprepared;
    impl Sink for Unprepared {
        fn appetite(&self) -> Appetite {
            Appetite {
                bytes: 1,
                wait: Duration::ZERO,
            }
        }
        fn prepare(&mut self) -> Result<(), Failure> {
            Err(Failure::new(FailureKind::Slow, "gone"))
        }
        fn deliver(&mut self, _: &[Doc], _: &mut [Verdict]) -> Result<(), Failure> {
            panic!("not prepared");
        }
    }
    let counters = Arc::new(Counters::new("scripted", "nowhere".into(), Layout::Ecs));
    let (_inlet, outlet) = queue(1, counters.clone());
    let stop = Arc::new(Stop::new());
    let runner = Runner::new(Box::new(Unprepared), outlet, counters, stop.clone());
    let thread = std::thread::spawn(|| runner.run());
    // With this patience the test would never end.
    stop.call(Instant::now() + Duration::from_secs(1_000_000));
    thread.join().unwrap();
}

#[test]
fn a_closed_sink_counts_whatever_still_comes() {
    let running = start(usize::MAX, |_, _| {
        Err(Failure::new(FailureKind::Closed, "the pipe is closed"))
    });
    running.push(0..8);
    while running.stats.snapshot()[0].dropped.get("closed") != Some(&8) {
        std::thread::yield_now();
    }
    running.push(8..10);
    let end = running.end(PATIENCE);
    assert_eq!((end.queued, end.dropped["closed"]), (10, 10));
    assert_eq!(end.failing.as_deref(), Some("the pipe is closed"));
}

#[test]
fn a_document_after_the_end_is_counted() {
    let running = start(usize::MAX, |_, verdicts| {
        verdicts.fill(Verdict::Taken);
        Ok(())
    });
    let queue = running.queue.clone();
    let stats = running.stats.clone();
    running.end(PATIENCE);
    let mut late = Producer::new(vec![queue], Vec::new());
    late.push(&document(0));
    drop(late);
    let end = stats.snapshot().remove(0);
    assert_eq!((end.queued, end.dropped["shutdown"], end.waiting), (1, 1, 0));
}
