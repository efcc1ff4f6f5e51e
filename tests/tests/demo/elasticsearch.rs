//! A real Elasticsearch where the demo's sidecar can reach it.

use super::run::{curl, inside};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// For its start and the first bulk request.
const LIMIT: Duration = Duration::from_secs(90);

/// Ended when dropped.
pub struct Elasticsearch {
    child: Child,
    namespace: String,
    ip: Ipv4Addr,
    _directory: TempDir,
}

impl Elasticsearch {
    /// Starts it in a namespace, at this address, port 9200. It is not waited for.
    pub fn start(namespace: &str, ip: Ipv4Addr) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("search-server");
        let prepared = Command::new(scripts.join("prepare")).arg("es7").output().unwrap();
        assert!(prepared.status.success(), "{prepared:?}");
        let directory = tempfile::tempdir().unwrap();
        let mut run = inside(namespace, scripts.join("run").to_str().unwrap());
        run.args(["es7", "9200"])
            .arg(directory.path())
            .arg(format!("network.host={ip}"))
            .current_dir(directory.path())
            // It ends with its standard input.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            child: run.spawn().unwrap(),
            namespace: namespace.into(),
            ip,
            _directory: directory,
        }
    }

    /// The documents that a query finds in the index, once there are so many or more: they become visible shard by
    /// shard.
    pub fn search(&self, query: &Value, at_least: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let mut curl = curl(&self.namespace);
            curl.args(["--header", "Content-Type: application/json", "--data"]);
            curl.arg(query.to_string());
            curl.arg(format!("http://{}:9200/weir/_search", self.ip));
            let answer: Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap_or_default();
            let hits = answer["hits"]["hits"].as_array().cloned().unwrap_or_default();
            if hits.len() >= at_least {
                return hits.iter().map(|hit| hit["_source"].clone()).collect();
            }
            assert!(
                start.elapsed() < LIMIT,
                "not {at_least} were found for {query}: {answer}"
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Elasticsearch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
