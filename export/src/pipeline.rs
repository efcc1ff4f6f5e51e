//! All sinks together: opened, started, stopped.

use crate::{
    ExportError, Producer, Stats, datakit, elasticsearch, lines,
    points::Stage,
    queue::{QueueIn, queue},
    runner::{Runner, Sink},
    sqlite,
    stats::Counters,
    stop::Stop,
};
use std::{
    sync::{
        Arc,
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

/// All sinks. One that is dropped without [`Pipeline::shutdown`] has no patience.
#[derive(Debug)]
pub struct Pipeline {
    sinks: Vec<Running>,
    /// Where points are made, one for each way to make them.
    points: Vec<Stage>,
    stats: Arc<Stats>,
}

/// A sink that has been started.
#[derive(Debug)]
struct Running {
    queue: QueueIn,
    stop: Arc<Stop>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    counters: Arc<Counters>,
    /// It takes points that are made so, and no documents.
    points: Option<Points>,
}

/// A sink that has been opened.
struct Opened {
    sink: Box<dyn Sink>,
    counters: Arc<Counters>,
    queue_bytes: usize,
    stop: Arc<Stop>,
    points: Option<Points>,
}

impl Opened {
    fn new(
        kind: &'static str,
        target: String,
        layout: Layout,
        queue_bytes: usize,
        sink: Box<dyn Sink>,
        stop: Arc<Stop>,
    ) -> Self {
        Self {
            sink,
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

/// Opens one sink. A new kind of sink gets its line here.
fn open(settings: &weir_config::Sink) -> Result<Opened, ExportError> {
    use weir_config::Sink as Settings;
    let stop = Arc::new(Stop::new());
    Ok(match settings {
        Settings::Ndjson(it) => {
            let sink = Box::new(lines::Lines::open(it)?);
            Opened::new(
                lines::NDJSON.kind,
                it.path.display().to_string(),
                it.layout,
                FILE_QUEUE_BYTES,
                sink,
                stop,
            )
        }
        Settings::Sqlite(it) => {
            let sink = Box::new(sqlite::Sqlite::open(it)?);
            Opened::new(
                sqlite::KIND,
                it.path.display().to_string(),
                it.layout,
                FILE_QUEUE_BYTES,
                sink,
                stop,
            )
        }
        Settings::Elasticsearch(it) => {
            let sink = Box::new(elasticsearch::Elasticsearch::open(it, stop.clone())?);
            let queue_bytes = usize::try_from(it.queue_bytes.0).unwrap_or(usize::MAX);
            Opened::new(
                elasticsearch::KIND,
                it.url.clone(),
                it.layout,
                queue_bytes,
                sink,
                stop,
            )
        }
        Settings::Lines(it) => {
            let sink = Box::new(lines::Lines::open(it)?);
            let target = it.path.display().to_string();
            let kind = lines::LINE_PROTOCOL.kind;
            Opened::new(kind, target, it.layout, POINTS_QUEUE_BYTES, sink, stop).of_points(it.points)
        }
        Settings::Datakit(it) => {
            let sink = Box::new(datakit::Datakit::open(it, stop.clone())?);
            let queue_bytes = usize::try_from(it.queue_bytes.0).unwrap_or(usize::MAX);
            Opened::new(datakit::KIND, it.url.clone(), it.layout, queue_bytes, sink, stop)
                .of_points(it.points)
        }
    })
}

/// Starts what makes points for the sinks that take them.
fn stages(sinks: &[Running]) -> Result<Vec<Stage>, ExportError> {
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
        .map(|(settings, queues)| Stage::start(settings, queues))
        .collect()
}

impl Running {
    fn start(opened: Opened) -> Result<Self, ExportError> {
        let Opened {
            sink,
            counters,
            queue_bytes,
            stop,
            points,
        } = opened;
        let (inlet, outlet) = queue(queue_bytes, counters.clone());
        let runner = Runner::new(sink, outlet, counters.clone(), stop.clone());
        let (ends, ended): (Sender<()>, _) = channel();
        std::thread::Builder::new()
            .name(format!("weir-sink-{}", counters.sink()))
            .spawn(move || {
                runner.run();
                drop(ends);
            })
            .map_err(|reason| ExportError::Thread {
                sink: counters.sink(),
                reason,
            })?;
        Ok(Self {
            queue: inlet,
            stop,
            ended,
            counters,
            points,
        })
    }

    fn call(&self, deadline: Instant) {
        self.stop.call(deadline);
        self.queue.wake();
    }

    /// Waits for the thread's end, but not for ever.
    fn wait(&self, deadline: Instant) {
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
    /// Opens every sink and starts its thread. A server that can't be reached is no error: documents wait for it.
    ///
    /// # Errors
    /// A file or database that can't be opened, an address or a certificate that can't be used.
    pub fn start(sinks: &[weir_config::Sink]) -> Result<Self, ExportError> {
        let opened = sinks.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let sinks = opened
            .into_iter()
            .map(Running::start)
            .collect::<Result<Vec<_>, _>>()?;
        let counters = sinks.iter().map(|sink| sink.counters.clone()).collect();
        Ok(Self {
            points: stages(&sinks)?,
            sinks,
            stats: Arc::new(Stats::new(counters)),
        })
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
    /// counted as `shutdown`. Every producer must have been flushed and dropped before. Blocks: never call it on a data thread.
    pub fn shutdown(mut self, patience: Duration) {
        // What was seen since the last interval's end is in the queues before their end is called.
        self.points.drain(..).for_each(Stage::finish);
        let deadline = Instant::now() + patience;
        self.sinks.iter().for_each(|sink| sink.call(deadline));
        self.sinks.iter().for_each(|sink| sink.wait(deadline));
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let now = Instant::now();
        self.sinks.iter().for_each(|sink| sink.call(now));
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
