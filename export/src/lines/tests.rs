use super::*;
use crate::{
    Pipeline, SinkStats,
    samples::{docs, document, text, tiny_disk},
};
use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};
use weir_config::Bytes;

const PATIENCE: Duration = Duration::from_secs(30);

fn settings(path: &Path) -> weir_config::Ndjson {
    weir_config::Ndjson {
        path: path.into(),
        layout: weir_config::Layout::Ecs,
        rotate_bytes: Bytes(0),
        keep: 2,
    }
}

fn deliver(sink: &mut Lines, documents: &[Doc]) -> (Result<(), Failure>, usize) {
    let mut verdicts = vec![Verdict::Waiting; documents.len()];
    let result = sink.deliver(documents, &mut verdicts);
    let taken = verdicts
        .iter()
        .take_while(|verdict| **verdict == Verdict::Taken)
        .count();
    assert!(
        verdicts[taken..]
            .iter()
            .all(|verdict| *verdict == Verdict::Waiting)
    );
    (result, taken)
}

#[test]
fn documents_are_appended_one_a_line_for_owner_and_group_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.ndjson");
    for round in 0..2 {
        let pipeline = Pipeline::start(&[weir_config::Sink::Ndjson(settings(&path))]).unwrap();
        let mut producer = pipeline.producer();
        (0..500).for_each(|number| producer.push(&document(round * 500 + number)));
        drop(producer);
        let stats = pipeline.stats();
        pipeline.shutdown(PATIENCE);
        let expected = SinkStats {
            sink: "ndjson".into(),
            target: path.display().to_string(),
            queued: 500,
            sent: 500,
            ..SinkStats::default()
        };
        assert_eq!(stats.snapshot(), [expected]);
    }
    assert_eq!(fs::read(&path).unwrap(), text(&docs(0..1000, 1)));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_full_file_is_rotated_and_only_the_newest_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.ndjson");
    let mut rotating = settings(&path);
    rotating.rotate_bytes = Bytes(5000);
    let all = docs(0..100, 7);
    let mut sink = Lines::open(&rotating).unwrap();
    assert_eq!(deliver(&mut sink, &all).1, 100);
    let mut kept = Vec::new();
    for name in ["out.ndjson.2", "out.ndjson.1", "out.ndjson"] {
        let file = fs::read(directory.path().join(name)).unwrap();
        assert!(file.len() <= 5000 && file.ends_with(b"\n"), "{name}");
        kept.extend(file);
    }
    assert!(
        text(&all).ends_with(&kept) && kept.len() > 10_000,
        "the newest, in order, none missing"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn nothing_rotated_is_kept_where_none_shall_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.ndjson");
    let mut rotating = settings(&path);
    (rotating.rotate_bytes, rotating.keep) = (Bytes(100), 0);
    let all = docs(0..3, 3);
    assert_eq!(deliver(&mut Lines::open(&rotating).unwrap(), &all).1, 3);
    assert_eq!(
        fs::read(&path).unwrap(),
        all[2].line(),
        "a document larger than the limit is written whole"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_document_that_a_crash_cut_is_taken_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.ndjson");
    let all = docs(0..3, 3);
    for cut in [1, 5, 20, all[1].line().len() - 1] {
        fs::write(&path, [all[0].line(), &all[1].line()[..cut]].concat()).unwrap();
        assert_eq!(
            deliver(&mut Lines::open(&settings(&path)).unwrap(), &all[2..]).1,
            1
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            [all[0].line(), all[2].line()].concat(),
            "cut after {cut}"
        );
    }
    fs::write(&path, "somebody's notes").unwrap();
    assert_eq!(
        deliver(&mut Lines::open(&settings(&path)).unwrap(), &all[2..]).1,
        1
    );
    assert_eq!(
        fs::read(&path).unwrap(),
        [b"somebody's notes\n", all[2].line()].concat()
    );
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.ndjson");
    let all = docs(0..3, 3);
    let mut sink = Lines::open(&settings(&path)).unwrap();
    assert_eq!(deliver(&mut sink, &all[..1]).1, 1);
    fs::rename(&path, directory.path().join("elsewhere")).unwrap();
    assert_eq!(deliver(&mut sink, &all[1..]).1, 2);
    assert_eq!(fs::read(&path).unwrap(), text(&all[1..]));
}

#[test]
fn a_path_that_cannot_be_opened_says_what_to_do() {
    let error = Lines::open(&settings(Path::new("/nowhere/out.ndjson")))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "cannot open /nowhere/out.ndjson for ndjson: /nowhere/out.ndjson: No such file or directory (os error 2); create its directory"
    );
}

#[test]
fn a_full_device_is_told_and_what_waits_is_counted_at_the_end() {
    let pipeline = Pipeline::start(&[weir_config::Sink::Ndjson(settings(Path::new("/dev/full")))]).unwrap();
    let stats = pipeline.stats();
    let mut producer = pipeline.producer();
    (0..10).for_each(|number| producer.push(&document(number)));
    drop(producer);
    wait_for(|| stats.snapshot()[0].failing.is_some());
    pipeline.shutdown(Duration::ZERO);
    let end = stats.snapshot().remove(0);
    assert!(end.failing.unwrap().contains("make room"));
    assert_eq!((end.queued, end.sent, end.waiting), (10, 0, 0));
    assert_eq!(end.dropped.into_iter().collect::<Vec<_>>(), [("shutdown", 10)]);
    assert!(end.retries > 0);
}

#[test]
fn a_closed_pipe_ends_the_sink() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut sink = piped(writer);
    let (result, taken) = deliver(&mut sink, &docs(0..2, 2));
    assert_eq!((result.unwrap_err().kind, taken), (FailureKind::Closed, 0));
}

#[test]
fn a_line_that_a_full_pipe_cut_is_finished_first() {
    let (mut reader, writer) = io::pipe().unwrap();
    for end in [reader.as_fd(), writer.as_fd()] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    }
    let mut sink = piped(writer);
    let all = docs(0..1000, 13);
    let (mut read, mut done, mut cuts) = (Vec::new(), 0, 0);
    while done < all.len() {
        let (result, taken) = deliver(&mut sink, &all[done..]);
        done += taken;
        cuts += usize::from(result.is_err());
        let mut piece = [0; 3001];
        if let Ok(size) = reader.read(&mut piece) {
            read.extend(&piece[..size]);
        }
    }
    let _ = reader.read_to_end(&mut read);
    assert!(cuts > 1);
    assert_eq!(read, text(&all));
}

fn piped(writer: io::PipeWriter) -> Lines {
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    Lines {
        path: "-".into(),
        output: Output::Stream(Stream::new(file)),
    }
}

#[test]
fn a_full_disk_loses_nothing_that_is_queued_and_leaves_no_half_line() {
    let directory = tempfile::tempdir().unwrap();
    if !tiny_disk(directory.path(), 128) {
        eprintln!(
            "SKIPPED a_full_disk_loses_nothing_that_is_queued_and_leaves_no_half_line: needs CAP_SYS_ADMIN to mount"
        );
        return;
    }
    let filler = directory.path().join("filler");
    fs::write(&filler, vec![0; 96 << 10]).unwrap();

    let path = directory.path().join("out.ndjson");
    let pipeline = Pipeline::start(&[weir_config::Sink::Ndjson(settings(&path))]).unwrap();
    let stats = pipeline.stats();
    let mut producer = pipeline.producer();
    (0..100).for_each(|number| producer.push(&document(number)));
    drop(producer);
    wait_for(|| stats.snapshot()[0].failing.is_some());
    let full = fs::read(&path).unwrap();
    assert!(full.ends_with(b"\n") && text(&docs(0..100, 1)).starts_with(&full));
    fs::remove_file(filler).unwrap();
    pipeline.shutdown(PATIENCE);
    assert_eq!(fs::read(&path).unwrap(), text(&docs(0..100, 1)));
    let end = stats.snapshot().remove(0);
    assert_eq!(
        (end.queued, end.sent, end.waiting, end.failing),
        (100, 100, 0, None)
    );
    nix::mount::umount(directory.path()).unwrap();
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited for nothing");
        std::thread::yield_now();
    }
}

#[test]
fn a_point_that_a_crash_cut_is_taken_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("points");
    let whole = "netflow,source=netflow bytes_read=1i 1\n";
    for (cut, left) in [
        ("h", ""),
        ("httpflow,source=htt", ""),
        ("dnsflow,a=b count=1i 17", ""),
        ("somebody's notes", "somebody's notes\n"),
    ] {
        fs::write(&path, format!("{whole}{cut}")).unwrap();
        drop(Lines::open(&weir_config::Lines::at(&path)).unwrap());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{whole}{left}"),
            "{cut}"
        );
    }
}
