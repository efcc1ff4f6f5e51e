//! The embedded store's layout: what whoever reads it may rely on.

/// `PRAGMA user_version` of a store in this layout. A reader must refuse a higher one.
pub const VERSION: i32 = 1;

/// `PRAGMA application_id` of every store: `WEIR` in ASCII.
pub const APPLICATION_ID: i32 = 0x5745_4952;

/// The layout. `seq` only ever grows, so `seq > last` finds what is new; a document that is exported again replaces the
/// row of the same `id` under a new `seq`. The view has each request once: those that wait come again.
pub const SCHEMA: &str = "
CREATE TABLE documents(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL, -- @timestamp, ns since the epoch
  id TEXT NOT NULL UNIQUE, -- event.id
  dataset TEXT NOT NULL, -- event.dataset
  document TEXT NOT NULL -- JSON
);
CREATE INDEX documents_time ON documents(time);
CREATE VIEW http AS SELECT
  seq,
  strftime('%Y-%m-%dT%H:%M:%S', time / 1000000000, 'unixepoch')
    || printf('.%06dZ', time / 1000 % 1000000) AS time,
  json_extract(document, '$.network.direction') AS direction,
  json_extract(document, '$.source.ip') AS client,
  json_extract(document, '$.source.port') AS client_port,
  json_extract(document, '$.destination.ip') AS server,
  json_extract(document, '$.destination.port') AS server_port,
  json_extract(document, '$.http.request.method') AS method,
  json_extract(document, '$.url.domain') AS host,
  json_extract(document, '$.url.path') AS path,
  json_extract(document, '$.url.query') AS query,
  json_extract(document, '$.http.response.status_code') AS status,
  round(json_extract(document, '$.event.duration') / 1e6, 3) AS duration_ms,
  json_extract(document, '$.http.request.bytes') AS request_bytes,
  json_extract(document, '$.http.response.bytes') AS response_bytes,
  json_extract(document, '$.user_agent.original') AS user_agent,
  json_extract(document, '$.error.type') AS error,
  id
FROM documents WHERE dataset = 'weir.http' AND json_extract(document, '$.weir.state') IS NULL;
";
