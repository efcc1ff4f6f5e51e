use super::*;
use crate::{
    Pipeline,
    samples::{docs, document, tiny_disk},
};
use rusqlite::types::FromSql;
use weir_config::{Bytes, Period};

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.into(),
        layout: weir_config::Layout::Ecs,
        max_bytes: Bytes(0),
        max_age: Period::seconds(0),
    }
}

fn deliver(sink: &mut Sqlite, documents: &[Doc]) {
    let mut verdicts = vec![Verdict::Waiting; documents.len()];
    sink.deliver(documents, &mut verdicts).unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Taken));
}

fn ask<T: FromSql>(path: &Path, query: &str) -> T {
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn documents_are_rows_that_others_read_while_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let pipeline = Pipeline::start(&[weir_config::Sink::Sqlite(settings(&path))]).unwrap();
    let mut producer = pipeline.producer();
    (0..300).for_each(|number| producer.push(&document(number)));
    producer.flush();
    let stats = pipeline.stats();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    // The sink's thread makes the store: nobody can read before.
    while stats.snapshot()[0].sent == 0 {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
    // The store is still open here.
    while ask::<i64>(&path, "SELECT count(*) FROM documents") < 300 {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
    assert_eq!(
        ask::<i64>(&path, "SELECT count(DISTINCT time) FROM documents"),
        300
    );
    assert_eq!(
        ask::<i64>(&path, "SELECT max(seq) - min(seq) FROM documents"),
        299
    );
    let json: String = ask(&path, "SELECT document FROM documents ORDER BY seq LIMIT 1");
    assert_eq!(json, serde_json::to_string(&document(0)).unwrap());
    let line = "SELECT time || ' ' || direction || ' ' || client || ' ' || method || ' ' || host || path || ' ' || status || ' ' || duration_ms
        FROM http WHERE path = '/7'";
    assert_eq!(
        ask::<String>(&path, line),
        "2023-11-14T22:13:27.123456Z ingress 198.18.0.1 GET shop.test/7 200 1.235"
    );
    drop(producer);
    pipeline.shutdown(Duration::from_secs(30));
    let end = stats.snapshot().remove(0);
    assert_eq!((end.queued, end.sent, end.waiting), (300, 300, 0));
    assert_eq!(end.sink, "sqlite");
}

#[test]
fn an_export_done_twice_overwrites_itself_under_a_new_seq() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let mut sink = Sqlite::open(&settings(&path)).unwrap();
    deliver(&mut sink, &docs(0..10, 10));
    drop(sink);
    let mut sink = Sqlite::open(&settings(&path)).unwrap();
    deliver(&mut sink, &docs(5..15, 3));
    assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM documents"), 15);
    assert_eq!(ask::<i64>(&path, "SELECT max(seq) FROM documents"), 20);
}

#[test]
fn the_file_stays_under_its_size_and_keeps_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let mut capped = settings(&path);
    capped.max_bytes = Bytes::mib(1);
    let mut sink = Sqlite::open(&capped).unwrap();
    let delivery = 64 << 10;
    for start in (0..8000).step_by(100) {
        deliver(&mut sink, &docs(start..start + 100, 100));
        let size = path.metadata().unwrap().len();
        assert!(size <= (1 << 20) + 2 * delivery, "{size} after {start}");
    }
    let kept: i64 = ask(&path, "SELECT count(*) FROM documents");
    assert!(kept > 500, "{kept}");
    assert_eq!(
        ask::<String>(&path, "SELECT path FROM http ORDER BY seq DESC LIMIT 1"),
        "/7999"
    );
    assert_eq!(
        ask::<i64>(&path, "SELECT max(seq) - min(seq) + 1 FROM documents"),
        kept,
        "no hole"
    );
    drop(sink);

    // A lower limit gives the room back.
    capped.max_bytes = Bytes(256 << 10);
    let mut sink = Sqlite::open(&capped).unwrap();
    deliver(&mut sink, &docs(8000..8001, 1));
    drop(sink);
    let size = path.metadata().unwrap().len();
    assert!(size <= (256 << 10) + delivery, "{size}");
    assert_eq!(ask::<String>(&path, "PRAGMA integrity_check"), "ok");
}

#[test]
fn old_documents_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let mut ageing = settings(&path);
    let mut sink = Sqlite::open(&ageing).unwrap();
    // They are from 2023.
    deliver(&mut sink, &docs(0..2500, 100));
    sink.tend().unwrap();
    assert_eq!(
        ask::<i64>(&path, "SELECT count(*) FROM documents"),
        2500,
        "never, says 0s"
    );
    ageing.max_age = Period::seconds(3600);
    Sqlite::open(&ageing).unwrap().tend().unwrap();
    assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM documents"), 0);
}

#[test]
fn a_store_that_was_moved_away_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let mut sink = Sqlite::open(&settings(&path)).unwrap();
    deliver(&mut sink, &docs(0..3, 3));
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    deliver(&mut sink, &docs(3..5, 3));
    assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM documents"), 2);
}

#[test]
fn a_file_that_is_not_ours_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let refused = |path: &Path| Sqlite::open(&settings(path)).unwrap_err().to_string();

    drop(Sqlite::open(&settings(&path)).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    assert!(
        refused(&path).contains("schema version 2 of a newer Weir"),
        "{}",
        refused(&path)
    );

    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t(x)")
        .unwrap();
    assert!(
        refused(&other).contains("database of something else"),
        "{}",
        refused(&other)
    );

    let text = directory.path().join("text");
    std::fs::write(
        &text,
        "no database at all, but long enough to be looked at".repeat(99),
    )
    .unwrap();
    assert!(
        refused(&text).contains("choose another path"),
        "{}",
        refused(&text)
    );
    assert!(refused(Path::new("/nowhere/weir.db")).contains("create its directory"));
}

#[test]
fn the_sqlite3_shell_reads_the_store_while_it_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let mut sink = Sqlite::open(&settings(&path)).unwrap();
    deliver(&mut sink, &docs(0..3, 3));
    let query = "SELECT method, path, status FROM http ORDER BY seq";
    match std::process::Command::new("sqlite3")
        .arg(&path)
        .arg(query)
        .output()
    {
        Ok(output) => assert_eq!(output.stdout, b"GET|/0|200\nGET|/1|200\nGET|/2|200\n"),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "sqlite3: {error}");
            eprintln!("SKIPPED the_sqlite3_shell_reads_the_store_while_it_is_open: sqlite3: {error}");
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_that_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    if !tiny_disk(directory.path(), 1024) {
        eprintln!("SKIPPED a_full_disk_loses_nothing_that_is_queued: needs CAP_SYS_ADMIN to mount");
        return;
    }
    let filler = directory.path().join("filler");
    std::fs::write(&filler, vec![0; 768 << 10]).unwrap();
    let path = directory.path().join("weir.db");
    let mut sink = Sqlite::open(&settings(&path)).unwrap();
    let all = docs(0..300, 100);
    let mut verdicts = vec![Verdict::Waiting; all.len()];
    let failure = sink.deliver(&all, &mut verdicts).unwrap_err();
    assert!(failure.reason.contains("make room"), "{}", failure.reason);
    assert!(
        verdicts.iter().all(|verdict| *verdict == Verdict::Waiting),
        "all or nothing"
    );
    std::fs::remove_file(filler).unwrap();
    deliver(&mut sink, &all[..100]);
    drop(sink);
    assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM documents"), 100);
    assert_eq!(ask::<String>(&path, "PRAGMA integrity_check"), "ok");
    nix::mount::umount(directory.path()).unwrap();
}

#[test]
fn a_reader_that_never_ends_does_not_fill_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.db");
    let mut sink = Sqlite::open(&settings(&path)).unwrap();
    sink.connection.busy_timeout(Duration::ZERO).unwrap();
    sink.limits.stuck_log_bytes = 256 << 10;
    deliver(&mut sink, &docs(0..10, 10));
    let reader = Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM documents")
        .unwrap();
    let mut held = None;
    for start in (10..10_000).step_by(100) {
        let documents = docs(start..start + 100, 100);
        let mut verdicts = vec![Verdict::Waiting; documents.len()];
        if let Err(failure) = sink.deliver(&documents, &mut verdicts) {
            held = Some((failure, documents));
            break;
        }
    }
    let (failure, documents) = held.unwrap();
    assert!(
        failure.reason.contains("a reader holds a transaction open"),
        "{}",
        failure.reason
    );
    reader.execute_batch("COMMIT").unwrap();
    deliver(&mut sink, &documents);
}
