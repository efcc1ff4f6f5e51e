//! All sinks together: opened, started, stopped.

use crate::{
    ExportError, Producer, Stats, datakit, elasticsearch,
    late::{Late, Open},
    lines,
    points::Stage,
    queue::{QueueIn, queue},
    runner::{Runner, Sink},
    sqlite,
    stats::Counters,
    stop::Stop,
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};
use weir_config::{Layout, Points};

/// Documents that wait for a file or a database may take up this much memory.
const FILE_QUEUE_BYTES: usize = 16 << 20;
/// The points of an interval come all at once: so much room have those that wait for a file.
const POINTS_QUEUE_BYTES: usize = 64 << 20;
/// A sink that a system call still holds past the deadline gets so much longer before it is left behind.
const GRACE: Duration = Duration::from_secs(1);
/// The patience with a sink that fails, or whose attempt has taken longer than this already.
const PATIENCE_WITH_TROUBLE: Duration = Duration::from_secs(1);

/// All sinks. One that is dropped without [`Pipeline::shutdown`] has no patience.
#[derive(Debug)]
pub struct Pipeline {
    sinks: Vec<Running>,
    /// Where points are made, one for each way to make them.
    points: Vec<Stage>,
    stats: Arc<Stats>,
}

/// A sink that has been started.
struct Running {
    queue: QueueIn,
    stop: Arc<Stop>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    counters: Arc<Counters>,
    /// It takes points that are made so, and no documents.
    points: Option<Points>,
    /// What its thread takes.
    unstarted: Arc<Mutex<Option<Unstarted>>>,
    /// The thread has been started.
    started: bool,
    /// The system had no thread to give, the last time.
    refused: bool,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("counters", &self.counters)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// What runs in a sink's thread, and what tells of its end.
type Unstarted = (Runner, Sender<()>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a sink. One that fails by a bug takes nothing with it but its documents, which are counted as lost.
fn serve(runner: Runner, counters: &Counters) {
    if catch_unwind(AssertUnwindSafe(|| runner.run())).is_err() {
        let reason = "the sink failed by a bug, and stays away until the sidecar is started anew";
        tracing::error!(sink = counters.sink(), target = counters.target(), reason);
        counters.set_failing(Some(reason.into()));
    }
}

/// A sink whose settings are valid, before its thread opens it.
struct Planned {
    open: Open,
    counters: Arc<Counters>,
    queue_bytes: usize,
    stop: Arc<Stop>,
    points: Option<Points>,
}

impl Planned {
    fn new(
        kind: &'static str,
        target: String,
        layout: Layout,
        queue_bytes: usize,
        stop: Arc<Stop>,
        open: Open,
    ) -> Self {
        Self {
            open,
            counters: Arc::new(Counters::new(kind, target, layout)),
            queue_bytes,
            stop,
            points: None,
        }
    }

    /// It takes points that are made so.
    fn of_points(self, settings: Points) -> Self {
        Self {
            points: Some(settings),
            ..self
        }
    }
}

/// Turns the way to open one kind of sink into the way to open any.
fn boxed<S: Sink + 'static>(mut open: impl FnMut() -> Result<S, ExportError> + Send + 'static) -> Open {
    Box::new(move || Ok(Box::new(open()?)))
}

/// Checks the settings of one sink and says how to open it. A new kind of sink gets its line here.
fn plan(settings: &weir_config::Sink) -> Result<Planned, ExportError> {
    use weir_config::Sink as Settings;
    let stop = Arc::new(Stop::new());
    Ok(match settings.clone() {
        Settings::Ndjson(it) => {
            let (target, layout) = (it.path.display().to_string(), it.layout);
            let open = boxed(move || lines::Lines::open(&it));
            Planned::new(lines::NDJSON.kind, target, layout, FILE_QUEUE_BYTES, stop, open)
        }
        Settings::Sqlite(it) => {
            let (target, layout) = (it.path.display().to_string(), it.layout);
            let open = boxed(move || sqlite::Sqlite::open(&it));
            Planned::new(sqlite::KIND, target, layout, FILE_QUEUE_BYTES, stop, open)
        }
        Settings::Elasticsearch(it) => {
            elasticsearch::Elasticsearch::check(&it)?;
            let queue_bytes = usize::try_from(it.queue_bytes.0).unwrap_or(usize::MAX);
            let (target, layout, own) = (it.url.clone(), it.layout, stop.clone());
            let open = boxed(move || elasticsearch::Elasticsearch::open(&it, own.clone()));
            Planned::new(elasticsearch::KIND, target, layout, queue_bytes, stop, open)
        }
        Settings::Lines(it) => {
            let (target, layout, points) = (it.path.display().to_string(), it.layout, it.points);
            let kind = lines::LINE_PROTOCOL.kind;
            let open = boxed(move || lines::Lines::open(&it));
            Planned::new(kind, target, layout, POINTS_QUEUE_BYTES, stop, open).of_points(points)
        }
        Settings::Datakit(it) => {
            datakit::Datakit::check(&it)?;
            let queue_bytes = usize::try_from(it.queue_bytes.0).unwrap_or(usize::MAX);
            let (target, layout, points, own) = (it.url.clone(), it.layout, it.points, stop.clone());
            let open = boxed(move || datakit::Datakit::open(&it, own.clone()));
            Planned::new(datakit::KIND, target, layout, queue_bytes, stop, open).of_points(points)
        }
    })
}

/// What makes points for the sinks that take them.
fn stages(sinks: &[Running]) -> Vec<Stage> {
    let mut ways: Vec<(Points, Vec<QueueIn>)> = Vec::new();
    for sink in sinks {
        let Some(settings) = sink.points else { continue };
        let queue = sink.queue.clone();
        match ways.iter_mut().find(|(way, _)| *way == settings) {
            Some((_, queues)) => queues.push(queue),
            None => ways.push((settings, vec![queue])),
        }
    }
    ways.into_iter()
        .map(|(settings, queues)| Stage::new(settings, queues))
        .collect()
}

impl Running {
    fn new(planned: Planned) -> Self {
        let Planned {
            open,
            counters,
            queue_bytes,
            stop,
            points,
        } = planned;
        let (inlet, outlet) = queue(queue_bytes, counters.clone());
        let sink = Box::new(Late::new(open));
        let runner = Runner::new(sink, outlet, counters.clone(), stop.clone());
        let (ends, ended) = channel();
        Self {
            queue: inlet,
            stop,
            ended,
            counters,
            points,
            unstarted: Arc::new(Mutex::new(Some((runner, ends)))),
            started: false,
            refused: false,
        }
    }

    /// Starts the thread, unless it has been started. Where the system has no thread to give, documents wait in the queue.
    fn start_thread(&mut self) {
        if self.started {
            return;
        }
        let (place, counters) = (self.unstarted.clone(), self.counters.clone());
        let spawned = std::thread::Builder::new()
            .name(format!("weir-sink-{}", counters.sink()))
            .spawn(move || {
                let taken = lock(&place).take();
                if let Some((runner, ends)) = taken {
                    serve(runner, &counters);
                    drop(ends);
                }
            });
        match spawned {
            Ok(_) => {
                if std::mem::take(&mut self.refused) {
                    tracing::info!(sink = self.counters.sink(), "the sink's thread is started");
                }
                self.started = true;
            }
            Err(error) => {
                self.counters.retry();
                let reason = format!("its thread cannot be started: {error}");
                if !std::mem::replace(&mut self.refused, true) {
                    let (sink, target) = (self.counters.sink(), self.counters.target());
                    tracing::warn!(
                        sink,
                        target,
                        reason,
                        "the sink fails; documents wait in its queue"
                    );
                }
                // The thread, once it runs, says what holds then.
                self.counters.set_failing(Some(reason));
            }
        }
    }

    /// Calls the end: so much patience with a sink that works, and less with one that does not.
    fn call(&self, now: Instant, patience: Duration) {
        let patience = match self.counters.is_in_trouble(PATIENCE_WITH_TROUBLE) {
            true => patience.min(PATIENCE_WITH_TROUBLE),
            false => patience,
        };
        self.stop.call(now + patience);
        self.queue.wake();
    }

    /// Waits for the thread's end, but not for ever.
    fn wait(&self, deadline: Instant) {
        let deadline = self.stop.deadline().unwrap_or(deadline);
        // A thread that could not be started ends nothing, and its documents are lost.
        let unstarted = (!self.started).then(|| lock(&self.unstarted).take()).flatten();
        if let Some((runner, _)) = unstarted {
            return runner.give_up();
        }
        let left = (deadline + GRACE).saturating_duration_since(Instant::now());
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = self.ended.recv_timeout(left) {
            tracing::warn!(
                sink = self.counters.sink(),
                target = self.counters.target(),
                waiting = self.counters.waiting(),
                "the sink is held by the system and left behind"
            );
        }
    }
}

impl Pipeline {
    /// Prepares every sink, and starts them all: see [`Pipeline::prepare`] and [`Pipeline::tend`].
    ///
    /// # Errors
    /// As [`Pipeline::prepare`].
    pub fn start(sinks: &[weir_config::Sink]) -> Result<Self, ExportError> {
        let mut pipeline = Self::prepare(sinks)?;
        pipeline.tend();
        Ok(pipeline)
    }

    /// Makes the queue of every sink, and starts no thread yet: whoever needs threads more has the first choice.
    ///
    /// # Errors
    /// Settings that can never work, such as an address that is none.
    pub fn prepare(sinks: &[weir_config::Sink]) -> Result<Self, ExportError> {
        let planned = sinks.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
        let sinks: Vec<_> = planned.into_iter().map(Running::new).collect();
        let counters = sinks.iter().map(|sink| sink.counters.clone()).collect();
        Ok(Self {
            points: stages(&sinks),
            sinks,
            stats: Arc::new(Stats::new(counters)),
        })
    }

    /// Starts the threads that are not started yet; to be called again where the system had no room for them. A sink's
    /// thread opens the sink. One that cannot be opened or reached is no error: documents wait for it, within the bound of its
    /// queue.
    pub fn tend(&mut self) {
        self.sinks.iter_mut().for_each(Running::start_thread);
        self.points.iter_mut().for_each(Stage::start_thread);
    }

    /// A producer for one data thread.
    pub fn producer(&self) -> Producer {
        let of_documents = self.sinks.iter().filter(|sink| sink.points.is_none());
        let queues = of_documents.map(|sink| sink.queue.clone()).collect();
        Producer::new(queues, self.points.iter().map(Stage::lane).collect())
    }

    /// The counters.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Delivers what is queued, then stops every sink. What a sink has not taken when `patience` is over is dropped and
    /// counted as `shutdown`; a sink that fails has a second at most. Every producer must have been flushed and dropped before. Blocks: never call it on a data thread.
    pub fn shutdown(mut self, patience: Duration) {
        // What was seen since the last interval's end is in the queues before their end is called.
        self.points.drain(..).for_each(Stage::finish);
        let now = Instant::now();
        self.sinks.iter().for_each(|sink| sink.call(now, patience));
        self.sinks.iter().for_each(|sink| sink.wait(now + patience));
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let now = Instant::now();
        self.sinks.iter().for_each(|sink| sink.call(now, Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::document;
    use std::path::Path;
    use weir_config::{Bytes, Ndjson, Sink as Settings};

    fn ndjson(path: &Path) -> Settings {
        laid_out(path, Layout::Ecs)
    }

    fn laid_out(path: &Path, layout: Layout) -> Settings {
        Settings::Ndjson(Ndjson {
            path: path.into(),
            layout,
            rotate_bytes: Bytes(0),
            keep: 0,
        })
    }

    #[test]
    fn a_stuck_sink_drops_its_own_documents_and_nobody_elses() {
        const THREADS: u64 = 4;
        const EACH: u64 = 10_000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("good");
        let pipeline = Pipeline::start(&[ndjson(Path::new("/dev/full")), ndjson(&path)]).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let mut producer = pipeline.producer();
                let stats = pipeline.stats();
                scope.spawn(move || {
                    for number in 0..EACH {
                        producer.push(&document(thread * EACH + number));
                        // A data thread never waits for a sink; this one does, so that the good one's queue stays short.
                        while number % 1000 == 0 && stats.snapshot()[1].waiting > 4000 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        let stats = pipeline.stats();
        while stats.snapshot()[1].waiting > 0 {
            std::thread::yield_now();
        }
        pipeline.shutdown(Duration::ZERO);
        let [stuck, good] = &stats.snapshot()[..] else {
            panic!()
        };
        assert_eq!(
            (good.queued, good.sent, good.dropped.len()),
            (THREADS * EACH, THREADS * EACH, 0)
        );
        let lines = std::fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert_eq!(lines, THREADS * EACH);
        assert!(stuck.dropped["queue_full"] > 0 && stuck.sent == 0, "{stuck:?}");
        assert_eq!(stuck.queued + stuck.dropped["queue_full"], THREADS * EACH);
        assert_eq!((stuck.queued, stuck.waiting), (stuck.dropped["shutdown"], 0));
    }

    /// One of three is about something that layout `pipy` has no place for.
    fn mixed(number: u64) -> weir_records::Document {
        let mut document = document(number);
        if number % 3 == 2 {
            document.event.dataset = "weir.dns";
        }
        document
    }

    /// What is in the files after these sinks got as many documents, and their counters.
    fn written(sinks: &[(&Path, Layout)], documents: u64) -> (Vec<String>, Vec<crate::SinkStats>) {
        let settings: Vec<_> = sinks
            .iter()
            .map(|(path, layout)| laid_out(path, *layout))
            .collect();
        let pipeline = Pipeline::start(&settings).unwrap();
        let stats = pipeline.stats();
        let mut producer = pipeline.producer();
        (0..documents).for_each(|number| producer.push(&mixed(number)));
        drop(producer);
        pipeline.shutdown(Duration::from_secs(30));
        let files = sinks
            .iter()
            .map(|(path, _)| std::fs::read_to_string(path).unwrap())
            .collect();
        (files, stats.snapshot())
    }

    #[test]
    fn each_sink_has_its_layout_and_what_has_no_place_in_it_is_counted() {
        const ALL: u64 = 3000;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (alone, _) = written(&[(&path("alone"), Layout::Ecs)], ALL);
        let sinks = [
            (&*path("pipy"), Layout::Pipy),
            (&*path("ecs"), Layout::Ecs),
            (&*path("pipy too"), Layout::Pipy),
        ];
        let (files, stats) = written(&sinks, ALL);
        assert!(files[1] == alone[0], "a sink's layout is no business of another");
        let expected: String = (0..ALL)
            .filter(|number| number % 3 != 2)
            .map(|number| {
                let time = 1_700_000_000_123 + number * 1000;
                format!(
                    "{{\"time\":{time},\"host\":\"shop.test\",\"path\":\"/{number}\",\"headers\":\"{{}}\"}}\n"
                )
            })
            .collect();
        assert!(files[0] == expected && files[2] == expected);
        for (stats, (_, layout)) in stats.iter().zip(sinks) {
            let left_out = if layout == Layout::Pipy { ALL / 3 } else { 0 };
            assert_eq!((stats.layout, stats.left_out), (layout, left_out));
            assert_eq!((stats.queued, stats.sent), (ALL - left_out, ALL - left_out));
            assert!(stats.dropped.is_empty() && stats.waiting == 0, "{stats:?}");
        }
    }

    fn sink_of(stats: &Stats) -> crate::SinkStats {
        stats.snapshot().remove(0)
    }

    fn wait_until(what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(30), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn sinks_that_cannot_be_opened_are_tried_again_and_their_documents_wait() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let file = directory.path().join("file");
        std::fs::write(
            &file,
            "not a database, but more than a page of something else".repeat(100),
        )
        .unwrap();
        let sqlite = |path: &Path| {
            Settings::Sqlite(serde_json::from_value(serde_json::json!({"path": path})).unwrap())
        };
        let lines = |path: &Path| {
            Settings::Lines(
                serde_json::from_value(serde_json::json!({"path": path, "layout": "datakit"})).unwrap(),
            )
        };
        for (sink, mend) in [
            (ndjson(&missing.join("x")), 0),
            (sqlite(&missing.join("x")), 0),
            (lines(&missing.join("x")), 0),
            (sqlite(&file), 1),
        ] {
            let pipeline = Pipeline::start(&[sink]).unwrap();
            let stats = pipeline.stats();
            wait_until("a failure", || sink_of(&stats).failing.is_some());
            let mut producer = pipeline.producer();
            producer.push(&document(1));
            producer.flush();
            match mend {
                0 => std::fs::create_dir(&missing).unwrap(),
                _ => std::fs::remove_file(&file).unwrap(),
            }
            drop(producer);
            wait_until("that it works", || sink_of(&stats).failing.is_none());
            pipeline.shutdown(Duration::from_secs(30));
            let sink = sink_of(&stats);
            assert!(sink.retries > 0 && sink.sent > 0, "{sink:?}");
            assert!(sink.dropped.is_empty() && sink.waiting == 0, "{sink:?}");
            let _ = std::fs::remove_dir_all(&missing);
        }
    }

    #[test]
    fn what_is_no_certificate_yet_may_become_one() {
        let settings = |ca_file: &str| {
            let mut sink = weir_config::Elasticsearch::at("https://127.0.0.1:1").unwrap();
            sink.ca_file = Some(ca_file.into());
            Settings::Elasticsearch(sink)
        };
        let pipeline = Pipeline::start(&[settings("/nowhere/ca.pem")]).unwrap();
        let stats = pipeline.stats();
        wait_until("a failure", || {
            sink_of(&stats)
                .failing
                .is_some_and(|reason| reason.contains("/nowhere/ca.pem"))
        });
    }

    #[test]
    fn settings_that_can_never_work_are_an_error() {
        let mut sink = weir_config::Elasticsearch::at("http://127.0.0.1:1").unwrap();
        sink.ca_file = Some("/etc/ssl/cert.pem".into());
        assert!(Pipeline::start(&[Settings::Elasticsearch(sink)]).is_err());
    }

    #[test]
    fn a_sink_that_fails_makes_the_end_hardly_later_and_its_documents_are_counted() {
        let settings = weir_config::Elasticsearch::at("http://127.0.0.1:1").unwrap();
        let pipeline = Pipeline::start(&[Settings::Elasticsearch(settings)]).unwrap();
        let stats = pipeline.stats();
        let mut producer = pipeline.producer();
        producer.push(&document(1));
        drop(producer);
        wait_until("a failure", || sink_of(&stats).failing.is_some());
        let asked = Instant::now();
        pipeline.shutdown(Duration::from_secs(60));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        assert_eq!(sink_of(&stats).dropped["shutdown"], 1);
    }

    #[test]
    fn without_sinks_nobody_needs_to_build_documents() {
        let pipeline = Pipeline::start(&[]).unwrap();
        let mut producer = pipeline.producer();
        assert!(!producer.is_wanted());
        producer.push(&document(0));
        drop(producer);
        assert!(pipeline.stats().snapshot().is_empty());
        pipeline.shutdown(Duration::ZERO);
    }
}
