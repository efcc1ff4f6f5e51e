//! The embedded store: one SQLite file, capped by size and age, that anybody may read while it is written.

mod limits;
pub mod schema;

use crate::{
    ExportError,
    batch::Doc,
    file::{Identity, explain},
    runner::{Appetite, Failure, FailureKind, Sink, Verdict},
};
use limits::Limits;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use weir_config::Sqlite as Settings;

pub(crate) const KIND: &str = "sqlite";

/// How long to wait for somebody else who writes the store.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The sink.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    limits: Limits,
    connection: Connection,
    identity: Identity,
}

impl Sqlite {
    pub(crate) fn open(settings: &Settings) -> Result<Self, ExportError> {
        let (connection, identity) = open(&settings.path).map_err(|reason| ExportError::Open {
            sink: KIND,
            path: settings.path.clone(),
            reason,
        })?;
        Ok(Self {
            path: settings.path.clone(),
            limits: Limits::new(settings),
            connection,
            identity,
        })
    }

    /// Opens the path anew if somebody moved the file away or deleted it.
    fn follow(&mut self) -> Result<(), Failure> {
        if self.identity.is_at(&self.path) {
            return Ok(());
        }
        let opened = open(&self.path).map_err(|reason| Failure::new(FailureKind::Retry, reason))?;
        (self.connection, self.identity) = opened;
        Ok(())
    }

    fn insert(&mut self, documents: &[Doc]) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO documents(time, id, dataset, document) VALUES (?, ?, ?, ?)",
        )?;
        for document in documents {
            let id = format!("{:032x}", document.id());
            let time = i64::try_from(document.time()).unwrap_or(i64::MAX);
            insert.execute(params![time, id, document.kind(), document.json()])?;
        }
        drop(insert);
        transaction.commit()
    }

    fn failure(&self, error: &rusqlite::Error) -> Failure {
        Failure::new(FailureKind::Retry, explain_sqlite(&self.path, error))
    }
}

impl Sink for Sqlite {
    fn appetite(&self) -> Appetite {
        Appetite {
            bytes: 1 << 20,
            wait: Duration::ZERO,
        }
    }

    fn deliver(&mut self, documents: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure> {
        self.follow()?;
        self.limits
            .enforce(&mut self.connection, &self.path)
            .and_then(|()| self.insert(documents).map_err(|error| self.failure(&error)))?;
        verdicts.fill(Verdict::Taken);
        Ok(())
    }

    fn tend(&mut self) -> Result<(), Failure> {
        self.follow()?;
        self.limits.enforce(&mut self.connection, &self.path)?;
        self.limits.expire(&mut self.connection, &self.path)
    }
}

fn open(path: &Path) -> Result<(Connection, Identity), String> {
    // Made here and not by SQLite, which would let everybody read it; its -wal and -shm take the mode over.
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .and_then(|file| file.metadata())
        .map_err(|error| explain(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|error| explain_sqlite(path, &error))?;
    prepare(&mut connection, path)?;
    Ok((connection, Identity::of(&file)))
}

/// Makes the schema in a new file, and refuses one that is not ours.
fn prepare(connection: &mut Connection, path: &Path) -> Result<(), String> {
    let explained = |error: rusqlite::Error| explain_sqlite(path, &error);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(explained)?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let version = number("user_version").map_err(explained)?;
    let application = number("application_id").map_err(explained)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(explained)?;
    let is_new = tables == 0 && application == 0;
    if !is_new && application != schema::APPLICATION_ID {
        return Err(format!(
            "{} is a database of something else; choose another path",
            path.display()
        ));
    }
    if version > schema::VERSION {
        return Err(format!(
            "{} has schema version {version} of a newer Weir and this one knows {} only; update it or choose another path",
            path.display(),
            schema::VERSION
        ));
    }
    configure(connection, is_new).map_err(explained)
}

fn configure(connection: &mut Connection, is_new: bool) -> rusqlite::Result<()> {
    if is_new {
        // Works only before the first table.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A crash of the machine may lose the last documents; it can't harm the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // After a checkpoint the log shrinks back to this.
    connection.pragma_update_and_check(None, "journal_size_limit", limits::LOG_BYTES, |_| Ok(()))?;
    if is_new {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            transaction.execute_batch(schema::SCHEMA)?;
            transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", schema::VERSION)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

fn explain_sqlite(path: &Path, error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    let help = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; make room on that file system",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "; another program holds a lock on it",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; let this user write the file and its directory (the sidecar runs as uid 1337)"
        }
        Some(ErrorCode::NotADatabase) => "; choose another path",
        Some(ErrorCode::DatabaseCorrupt) => "; move the file away, and a new one is begun",
        _ => "",
    };
    format!("{}: {error}{help}", path.display())
}

#[cfg(test)]
mod tests;
