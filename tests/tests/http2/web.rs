//! nginx, asked by curl and by h2load.

use crate::{documents, in_both_directions};
use serde_json::json;
use std::{fs, net::SocketAddr};
use tempfile::TempDir;
use weir_lab::{Node, Process};
use weir_tests::stage::Stage;
use weir_tests::weir::LIMIT;

const PORT: u16 = 8080;
/// Bytes of the large file.
pub const LARGE: usize = 1 << 20;

/// A web server that runs.
pub struct Server {
    _process: Process,
    /// What it serves.
    pub directory: TempDir,
}

impl Server {
    /// Serves `/small`, `/large` and `/sink`, in HTTP/2 alone.
    fn start(stage: &Stage) -> Self {
        Self::at(stage.callee(), stage.server(PORT), "http2")
    }

    /// The same at an address, in a protocol that nginx knows by this word; HTTP/1.1 has none.
    pub fn at(node: &Node, address: SocketAddr, protocol: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody).unwrap();
        fs::write(directory.path().join("small"), "hello").unwrap();
        let large: Vec<u8> = (0..LARGE).map(|at| (at * 31 % 251) as u8).collect();
        fs::write(directory.path().join("large"), large).unwrap();
        let root = directory.path().display();
        let configuration = format!(
            "daemon off;\npid {root}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
             client_body_temp_path {root}/body;\n  proxy_temp_path {root}/proxy;\n  fastcgi_temp_path {root}/fastcgi;\n  \
             uwsgi_temp_path {root}/uwsgi;\n  scgi_temp_path {root}/scgi;\n  keepalive_requests 100000;\n  server {{\n    \
             listen {address} {protocol};\n    root {root};\n    client_max_body_size 10m;\n    \
             location /sink {{ proxy_pass http://127.0.0.1:9; }}\n    location = /gone {{ return 410; }}\n  }}\n}}\n"
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = node.command("nginx");
        command.arg("-p").arg(directory.path()).arg("-c").arg(&file);
        command.args(["-e", "stderr"]);
        let mut process = node.spawn(command).unwrap();
        process.wait_ready(address, LIMIT).unwrap();
        Self {
            _process: process,
            directory,
        }
    }
}

fn curl(stage: &Stage, path: &str, arguments: &[&str]) -> String {
    let mut command = stage.caller().command("curl");
    command.args([
        "-sS",
        "-g",
        "--noproxy",
        "*",
        "--http2-prior-knowledge",
        "-A",
        "test/1",
    ]);
    command.args(arguments);
    command.arg(format!("http://{}{path}", stage.server(PORT)));
    stage.caller().run(command).unwrap()
}

#[test]
fn curl_gets_what_nginx_sends_and_each_request_has_its_document() {
    in_both_directions(
        "curl_gets_what_nginx_sends_and_each_request_has_its_document",
        |stage| {
            let server = Server::start(stage);
            assert_eq!(
                curl(stage, "/small?a=b&token=hunter2", &["-H", "Cookie: a=hunter2"]),
                "hello"
            );
            let copy = server.directory.path().join("copy");
            curl(stage, "/large", &["-o", copy.to_str().unwrap()]);
            let large = fs::read(server.directory.path().join("large")).unwrap();
            assert!(
                fs::read(copy).unwrap() == large,
                "the file was changed on the way"
            );
            curl(stage, "/gone", &[]);
            let upload = server.directory.path().join("large");
            let upload = format!("@{}", upload.display());
            curl(stage, "/sink", &["--data-binary", &upload]);
            let documents = documents(stage, 4);
            for (document, (path, method, status, outcome)) in documents.iter().zip([
                ("/small", "GET", 200, "success"),
                ("/large", "GET", 200, "success"),
                ("/gone", "GET", 410, "failure"),
                ("/sink", "POST", 502, "failure"),
            ]) {
                let at = |pointer: &str| document.pointer(pointer).cloned().unwrap_or_default();
                assert_eq!(at("/url/path"), path, "{document:#}");
                assert_eq!(at("/url/port"), PORT);
                assert_eq!(at("/http/request/method"), method);
                assert_eq!(at("/http/response/status_code"), status);
                assert_eq!(at("/event/outcome"), outcome);
                assert_eq!(at("/user_agent/original"), "test/1");
                assert_eq!(at("/weir/anomalies"), json!(null), "{document:#}");
                assert_eq!(at("/weir/http2/stream_id"), 1);
            }
            assert_eq!(documents[0]["http"]["response"]["body"]["bytes"], 5);
            assert_eq!(
                documents[0]["http"]["response"]["headers"]["content-length"],
                json!(["5"])
            );
            assert_eq!(documents[1]["http"]["response"]["body"]["bytes"], LARGE);
            assert_eq!(documents[3]["http"]["request"]["body"]["bytes"], LARGE);
            assert!(!json!(documents).to_string().contains("hunter2"));
        },
    );
}

#[test]
fn h2load_gets_all_its_answers_and_each_request_has_its_document() {
    const REQUESTS: usize = 2000;
    in_both_directions(
        "h2load_gets_all_its_answers_and_each_request_has_its_document",
        |stage| {
            let _server = Server::start(stage);
            let mut command = stage.caller().command("h2load");
            command.args(["-n", &REQUESTS.to_string(), "-c", "4", "-m", "50"]);
            command.arg(format!("http://{}/small", stage.server(PORT)));
            let said = stage.caller().run(command).unwrap();
            assert!(
                said.contains(&format!("{REQUESTS} succeeded, 0 failed, 0 errored")),
                "{said}"
            );
            let documents = documents(stage, REQUESTS);
            // h2load names an IPv6 address without its brackets.
            let anomalies = stage.pick(json!(null), json!(["invalid_host"]));
            let mut ids = std::collections::HashSet::new();
            for document in &documents {
                assert_eq!(document["url"]["path"], "/small", "{document:#}");
                assert_eq!(document["http"]["response"]["status_code"], 200, "{document:#}");
                assert_eq!(document["http"]["response"]["body"]["bytes"], 5, "{document:#}");
                assert_eq!(
                    document["http"]["response"]["headers"]["content-length"],
                    json!(["5"])
                );
                assert_eq!(document["weir"]["anomalies"], anomalies, "{document:#}");
                ids.insert(document["event"]["id"].to_string());
            }
            assert_eq!(ids.len(), REQUESTS);
        },
    );
}
