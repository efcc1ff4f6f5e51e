use super::*;
use crate::{Pipeline, Producer, SinkStats, samples::document};
use std::{collections::BTreeMap, path::Path};
use weir_config::{Lines, Ndjson, Period, Sink};

const PATIENCE: Duration = Duration::from_secs(30);

fn lines(path: &Path, interval: u64) -> Sink {
    let mut lines = Lines::at(path);
    lines.points.interval = Period::seconds(interval);
    Sink::Lines(lines)
}

/// One of ten is about something that the layout has no place for.
fn push(producer: &mut Producer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let mut document = document(number);
        if number % 10 == 9 {
            document.event.dataset = "weir.tls";
        }
        if let Some(url) = &mut document.url {
            url.path = Some(format!("/{}", number % 3).into());
        }
        producer.push(&document);
    }
}

/// What the points of a file say of each path, in all: count, bytes read, bytes written.
fn sums(path: &Path) -> (BTreeMap<String, [u64; 3]>, usize) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut sums: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for line in text.lines() {
        let field = |name: &str| {
            let value = line.split_once(&format!("{name}=")).unwrap().1;
            value
                .split([',', ' '])
                .next()
                .unwrap()
                .trim_end_matches('i')
                .to_owned()
        };
        let number = |name: &str| field(name).parse::<u64>().unwrap();
        let sum = sums.entry(field("path")).or_default();
        sum[0] += number(",count");
        sum[1] += number("bytes_read");
        sum[2] += number("bytes_written");
    }
    (sums, text.lines().count())
}

fn expected(numbers: std::ops::Range<u64>) -> BTreeMap<String, [u64; 3]> {
    let mut sums: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for number in numbers.filter(|number| number % 10 != 9) {
        let sum = sums.entry(format!("\"/{}\"", number % 3)).or_default();
        // The samples have as many bytes each way as their number.
        *sum = [sum[0] + 1, sum[1] + number, sum[2] + number];
    }
    sums
}

#[test]
fn the_documents_of_all_threads_are_one_point_and_open_buckets_are_written_at_the_end() {
    const EACH: u64 = 10_000;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let json = Sink::Ndjson(Ndjson {
        path: path("json"),
        layout: Layout::Ecs,
        rotate_bytes: weir_config::Bytes(0),
        keep: 0,
    });
    let sinks = [
        lines(&path("one"), 3600),
        json,
        lines(&path("other"), 3600),
        lines(&path("hasty"), 1),
    ];
    let pipeline = Pipeline::start(&sinks).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let mut producer = pipeline.producer();
            scope.spawn(move || {
                for part in 0..10 {
                    let start = thread * EACH + part * EACH / 10;
                    push(&mut producer, start..start + EACH / 10);
                    producer.flush();
                }
            });
        }
    });
    let stats = pipeline.stats();
    pipeline.shutdown(PATIENCE);
    let [one, json, other, hasty] = &stats.snapshot()[..] else {
        panic!()
    };
    for (name, stats) in [("one", one), ("other", other)] {
        assert_eq!(sums(&path(name)), (expected(0..4 * EACH), 3), "{name}");
        let counted = SinkStats {
            sink: "lines".into(),
            target: path(name).display().to_string(),
            layout: Layout::Datakit,
            left_out: 4 * EACH / 10,
            queued: 3,
            sent: 3,
            ..SinkStats::default()
        };
        assert_eq!(*stats, counted);
    }
    let (sums, points) = sums(&path("hasty"));
    assert_eq!(sums, expected(0..4 * EACH), "whatever its intervals were");
    assert_eq!((hasty.sent, hasty.left_out), (points as u64, 4 * EACH / 10));
    assert_eq!((json.sent, json.left_out), (4 * EACH, 0));
}

#[test]
fn points_are_written_at_the_end_of_each_interval() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("points");
    let pipeline = Pipeline::start(&[lines(&path, 1)]).unwrap();
    let stats = pipeline.stats();
    let mut producer = pipeline.producer();
    for round in 1..3 {
        push(&mut producer, 0..9);
        producer.flush();
        // Nothing else is pushed and nobody ends it: they come by themselves.
        while stats.snapshot()[0].sent < 3 * round {
            std::thread::yield_now();
        }
    }
    drop(producer);
    pipeline.shutdown(PATIENCE);
    let (sums, points) = sums(&path);
    assert_eq!((sums["\"/0\""][0], points), (6, 6));
}

#[test]
fn a_document_that_comes_after_the_end_is_counted_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("points");
    let pipeline = Pipeline::start(&[lines(&path, 60)]).unwrap();
    let stats = pipeline.stats();
    let mut producer = pipeline.producer();
    pipeline.shutdown(PATIENCE);
    push(&mut producer, 0..10);
    producer.flush();
    push(&mut producer, 0..10);
    drop(producer);
    let stats = &stats.snapshot()[0];
    assert_eq!((stats.dropped["shutdown"], stats.left_out), (18, 2));
    assert_eq!((stats.queued, stats.waiting), (0, 0));
}

#[test]
fn sums_that_find_no_room_stay_where_they_are() {
    let (sender, receiver) = sync_channel(1);
    let settings = Points::default();
    let mut lane = Lane {
        settings,
        sums: Aggregate::new(&settings),
        sender,
        queues: Vec::new(),
    };
    let documents = |message: Result<Message, _>| match message {
        Ok(Message::Sums(sums)) => sums.documents(),
        _ => panic!(),
    };
    for number in 0..3 {
        lane.push(&document(number));
        lane.flush();
    }
    assert_eq!(documents(receiver.try_recv()), 1);
    lane.flush();
    assert_eq!(documents(receiver.try_recv()), 2);
}

#[test]
fn intervals_that_passed_while_nobody_ran_are_one() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    assert_eq!(following(start, second, start + second / 2), start + second);
    assert_eq!(following(start, second, start + 5 * second), start + 6 * second);
}
