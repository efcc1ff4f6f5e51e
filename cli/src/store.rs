//! The embedded store, read by somebody who never writes to it.

use crate::{filter::Filter, top::NO_REQUESTS};
use anyhow::{Context, Result, bail};
use rusqlite::{Connection, ErrorCode, OpenFlags, params, params_from_iter, types::Value};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};
use weir_records::Timestamp;

/// The newest layout of the store that is understood here (SQLite's `user_version`).
const VERSION: i64 = 1;
/// `WEIR` in ASCII: what every store carries as SQLite's `application_id`.
const APPLICATION_ID: i64 = 0x5745_4952;

/// A store and how far it has been read.
pub struct Store {
    path: PathBuf,
    connection: Connection,
    /// Device and inode of the file that is open: another one under the same name is another store.
    identity: (u64, u64),
    /// Every document up to here has been looked at.
    seen: i64,
}

impl Store {
    /// Opens the store.
    ///
    /// # Errors
    /// It is missing, can't be read, is not a store, or was written by a newer Weir.
    pub fn open(path: &Path) -> Result<Self> {
        let identity = identity(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!(
                "there is no store at {}; start weir-sidecar with --export sqlite:PATH, and name it here by --store PATH",
                path.display()
            ),
            _ => anyhow::anyhow!("cannot read the store {}: {error}", path.display()),
        })?;
        let connection = connect(path).map_err(|error| explain(error, path))?;
        Ok(Self {
            path: path.into(),
            connection,
            identity,
            seen: 0,
        })
    }

    /// The last `limit` documents that match, or all, oldest first. What comes later is for [`Self::new_documents`].
    pub fn last(&mut self, filter: &Filter, limit: Option<u32>) -> Result<Vec<String>> {
        self.read(filter, limit)
            .with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// Documents that match and have come since the last look. A store that was put in place of this one is read from
    /// its beginning; while there is none, there are no documents.
    pub fn new_documents(&mut self, filter: &Filter) -> Result<Vec<String>> {
        if !self.is_there() {
            return Ok(Vec::new());
        }
        match self.read(filter, None) {
            Err(error) if is_passing(&error) => Ok(Vec::new()),
            result => result.with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// Gives the documents about requests, with the time at which each began, that have come since the last look; at the first
    /// look those which began then or later. Of a store that was put in place of this one as [`Self::new_documents`].
    pub fn exchanges(&mut self, since: Timestamp, give: &mut dyn FnMut(Timestamp, &str)) -> Result<()> {
        if !self.is_there() {
            return Ok(());
        }
        let mut given = false;
        let mut give = |at: Timestamp, document: &str| {
            given = true;
            give(at, document);
        };
        match self.read_exchanges(since, &mut give) {
            // Nothing is given twice.
            Err(error) if is_passing(&error) && !given => Ok(()),
            result => result.with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// True if there is a store, maybe another one than before.
    fn is_there(&mut self) -> bool {
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => true,
            // It may be half made yet: then the next look finds it.
            Ok(_) => Self::open(&self.path).map(|store| *self = store).is_ok(),
            Err(_) => false,
        }
    }

    fn read_exchanges(
        &mut self,
        since: Timestamp,
        give: &mut dyn FnMut(Timestamp, &str),
    ) -> rusqlite::Result<()> {
        const SQL: &str = "SELECT time, document FROM documents
            WHERE seq > ? AND seq <= ? AND time >= ? AND dataset NOT IN (?, ?, ?) ORDER BY seq";
        let transaction = self.connection.transaction()?;
        let Some(end) = end(&transaction)?.filter(|end| *end > self.seen) else {
            return Ok(());
        };
        let since = match self.seen {
            0 => i64::try_from(since.0).unwrap_or(i64::MAX),
            _ => 0,
        };
        let [flows, handshakes, sockets] = NO_REQUESTS;
        let mut statement = transaction.prepare_cached(SQL)?;
        let mut rows = statement.query(params![self.seen, end, since, flows, handshakes, sockets])?;
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(0)?;
            give(Timestamp(at.unsigned_abs()), row.get_ref(1)?.as_str()?);
        }
        self.seen = end;
        Ok(())
    }

    /// Writes everything to a new store at `path`.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        let name = path.to_str().context("the name of the copy is not UTF-8")?;
        self.connection
            .execute("VACUUM INTO ?", [name])
            .with_context(|| format!("cannot write {name}"))?;
        Ok(())
    }

    fn read(&mut self, filter: &Filter, limit: Option<u32>) -> rusqlite::Result<Vec<String>> {
        // One transaction, so that the end that is noted is the end of what is looked at.
        let transaction = self.connection.transaction()?;
        let Some(end) = end(&transaction)?.filter(|end| *end > self.seen) else {
            return Ok(Vec::new());
        };
        let condition = filter.condition();
        let sql = format!(
            "SELECT document FROM documents WHERE seq > ? AND seq <= ? AND {} ORDER BY seq DESC LIMIT ?",
            condition.sql
        );
        let values = [Value::from(self.seen), end.into()]
            .into_iter()
            .chain(condition.values)
            .chain([Value::from(limit.map_or(-1, i64::from))]);
        let mut documents = transaction
            .prepare_cached(&sql)?
            .query_map(params_from_iter(values), |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()?;
        documents.reverse();
        transaction.finish()?;
        self.seen = end;
        Ok(documents)
    }
}

/// The newest document's number, if there is one.
fn end(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT max(seq) FROM documents", [], |row| row.get(0))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        bail!("it is an SQLite database, but not a store of Weir's");
    }
    let version = number("user_version")?;
    if version > VERSION {
        bail!(
            "the store was written by a newer Weir (layout {version}, known here is {VERSION}); use its `weir`"
        );
    }
    connection.prepare("SELECT seq, time, document FROM documents LIMIT 0")?;
    Ok(connection)
}

/// The error in words that say what to do.
fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let path = path.display();
    let code = error
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code);
    match code {
        Some(ErrorCode::NotADatabase) => {
            anyhow::anyhow!("{path} is not a store of Weir's, nor any SQLite database")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => anyhow::anyhow!(
            "cannot open {path}: {error}; a store in use can be read by its owner (the sidecar's user, 1337) and by root"
        ),
        _ => error.context(format!("cannot open {path}")),
    }
}

/// True if the next attempt may succeed: the writer holds the store for a moment.
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
