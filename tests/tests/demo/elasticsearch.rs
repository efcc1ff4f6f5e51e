//! A real Elasticsearch where the demo's sidecar can reach it.

use super::run::{curl, inside};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Child, Stdio},
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
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/search-server");
        assert!(
            cache.join("launcher.jar").is_file(),
            "run tests/search-server/prepare first"
        );
        let directory = tempfile::tempdir().unwrap();
        let mut java = inside(namespace, "java");
        java.args([
            "-Xms512m",
            "-Xmx512m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
        ]);
        java.arg("-cp")
            .arg(format!("{0}/launcher.jar:{0}/es7/lib/*", cache.display()));
        java.args(["SearchServer", "9200"])
            .arg(directory.path())
            .arg(format!("network.host={ip}"));
        Self {
            child: java.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
            namespace: namespace.into(),
            ip,
            _directory: directory,
        }
    }

    /// The documents that a query finds in the index, once it finds some.
    pub fn search(&self, query: &Value) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let mut curl = curl(&self.namespace);
            curl.args(["--header", "Content-Type: application/json", "--data"]);
            curl.arg(query.to_string());
            curl.arg(format!("http://{}:9200/weir/_search", self.ip));
            let answer: Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap_or_default();
            let hits = answer["hits"]["hits"].as_array().cloned().unwrap_or_default();
            if !hits.is_empty() {
                return hits.iter().map(|hit| hit["_source"].clone()).collect();
            }
            assert!(start.elapsed() < LIMIT, "nothing was found for {query}: {answer}");
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
