//! Keeps the store under its size and age.
//!
//! Pages of deleted documents are used again by new ones, so a full store stays as large as it is; only where it is
//! larger than allowed (the limit was lowered) are pages given back. The file may outgrow `max_bytes` by one delivery,
//! and its log (`-wal`) adds [`LOG_BYTES`] while readers let it be folded in.

use super::explain_sqlite;
use crate::runner::{Failure, FailureKind};
use rusqlite::{Connection, params};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use weir_config::Sqlite as Settings;

/// Size that the log is cut to when it has been folded into the file.
pub(super) const LOG_BYTES: i64 = 8 << 20;
/// A log that has grown to this is held by a reader that never ends its transaction. Documents wait then, so that the
/// disk does not fill up.
const STUCK_LOG_BYTES: u64 = 128 << 20;
/// Documents that are deleted in one transaction.
const CHUNK: i64 = 1000;

#[derive(Debug)]
pub(super) struct Limits {
    /// 0 for none.
    max_bytes: i64,
    max_age: Option<Duration>,
    log: PathBuf,
    /// See [`STUCK_LOG_BYTES`].
    pub(super) stuck_log_bytes: u64,
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut log = settings.path.as_os_str().to_owned();
        log.push("-wal");
        Self {
            max_bytes: i64::try_from(settings.max_bytes.0).unwrap_or(i64::MAX),
            max_age: settings.max_age.non_zero(),
            log: log.into(),
            stuck_log_bytes: STUCK_LOG_BYTES,
        }
    }

    /// Makes room: called before each delivery.
    pub(super) fn enforce(&self, connection: &mut Connection, path: &Path) -> Result<(), Failure> {
        self.check_log(connection)?;
        self.shrink(connection)
            .map_err(|error| Failure::new(FailureKind::Retry, explain_sqlite(path, &error)))
    }

    /// Deletes what is too old.
    pub(super) fn expire(&self, connection: &mut Connection, path: &Path) -> Result<(), Failure> {
        let Some(age) = self.max_age else {
            return Ok(());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = i64::try_from(now.saturating_sub(age).as_nanos()).unwrap_or(i64::MAX);
        let chunk = "DELETE FROM documents WHERE seq IN (SELECT seq FROM documents WHERE time < ? LIMIT ?)";
        loop {
            let deleted = connection
                .execute(chunk, params![oldest, CHUNK])
                .map_err(|error| Failure::new(FailureKind::Retry, explain_sqlite(path, &error)))?;
            if deleted == 0 {
                return Ok(());
            }
        }
    }

    fn shrink(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        if self.max_bytes == 0 || Pages::of(connection)?.used() <= self.max_bytes {
            return Ok(());
        }
        // A little more than needed, so that this is not done again at once.
        let goal = self.max_bytes - self.max_bytes / 20;
        let oldest = "DELETE FROM documents WHERE seq IN (SELECT seq FROM documents ORDER BY seq LIMIT ?)";
        while Pages::of(connection)?.used() > goal
            && connection.execute(oldest, [CHUNK.min(self.chunk())])? > 0
        {}
        let pages = Pages::of(connection)?;
        let surplus = (pages.count * pages.size - self.max_bytes) / pages.size;
        if surplus > 0 {
            // The pragma works page by page as its rows are read.
            let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({surplus})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    /// Few enough documents that even a small store does not lose most of them at once: about a twentieth, taking a
    /// document for 1 KiB.
    fn chunk(&self) -> i64 {
        (self.max_bytes >> 10) / 20 + 1
    }

    fn check_log(&self, connection: &Connection) -> Result<(), Failure> {
        let size = || self.log.metadata().map_or(0, |metadata| metadata.len());
        if size() < self.stuck_log_bytes {
            return Ok(());
        }
        // Whether it worked shows in the size.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if size() < self.stuck_log_bytes {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Retry,
            format!(
                "{} can't be folded in because a reader holds a transaction open; end that program",
                self.log.display()
            ),
        ))
    }
}

/// The file's pages.
struct Pages {
    count: i64,
    free: i64,
    size: i64,
}

impl Pages {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
        Ok(Self {
            count: number("page_count")?,
            free: number("freelist_count")?,
            size: number("page_size")?,
        })
    }

    /// Bytes that hold something.
    fn used(&self) -> i64 {
        (self.count - self.free) * self.size
    }
}
