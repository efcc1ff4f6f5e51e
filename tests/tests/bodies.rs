//! Bodies on request, through the real sidecar: nginx, which compresses, and curl, which wants it so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};
use tempfile::TempDir;
use weir_lab::{Process, skip_unless_root};
use weir_tests::stage::{Direction::Inbound, Family::V4, Mode::Direct, Stage};
use weir_tests::weir::{LIMIT, Sidecar, install, local, wait_for};

/// HTTP/1, and HTTP/2 in clear text.
const PORTS: [u16; 2] = [8080, 8082];
/// What answers POST, behind nginx, which would not wait for an HTTP/2 request's body by itself: curl takes that for an error.
const BEHIND: u16 = 8083;
/// Bytes of a body that are kept.
const MAX: usize = 4096;

/// A list in JSON that compresses well, with a secret in each of its objects.
fn list(count: usize) -> String {
    let item = |n| json!({"n": n, "name": "kettle", "token": format!("hunter2-{n}")});
    Value::from((0..count).map(item).collect::<Vec<_>>()).to_string()
}

/// nginx, serving `/short.json`, `/long.json` and `/picture.png`, and answering POST at `/echo`.
fn web(stage: &Stage) -> (Process, TempDir) {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("short.json"), list(20)).unwrap();
    fs::write(directory.path().join("long.json"), list(2000)).unwrap();
    fs::write(directory.path().join("picture.png"), b"\x89PNG\r\n\x1a\n\0").unwrap();
    let root = directory.path().display();
    let [one, two] = PORTS.map(|port| stage.server(port));
    let configuration = format!(
        "daemon off;\npid {root}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {root}/body;\n  proxy_temp_path {root}/proxy;\n  fastcgi_temp_path {root}/fastcgi;\n  \
         uwsgi_temp_path {root}/uwsgi;\n  scgi_temp_path {root}/scgi;\n  \
         types {{ application/json json; image/png png; }}\n  gzip on;\n  gzip_types application/json;\n  \
         server {{\n    listen {one};\n    listen {two} http2;\n    root {root};\n    \
         location = /echo {{ proxy_pass http://127.0.0.1:{BEHIND}; }}\n  }}\n  \
         server {{\n    listen 127.0.0.1:{BEHIND};\n    \
         location / {{ default_type text/plain; return 200 'got it, token=hunter2 '; }}\n  }}\n}}\n"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let mut command = stage.callee().command("nginx");
    command.arg("-p").arg(directory.path()).arg("-c").arg(&file);
    command.args(["-e", "stderr"]);
    let mut process = stage.callee().spawn(command).unwrap();
    process.wait_ready(one, LIMIT).unwrap();
    (process, directory)
}

fn curl(stage: &Stage, port: u16, path: &str, arguments: &[&str]) -> String {
    let mut command = stage.caller().command("curl");
    command.args(["-sS", "--noproxy", "*"]).args(arguments);
    if port == PORTS[1] {
        command.arg("--http2-prior-knowledge");
    }
    command.arg(format!("http://{}{path}", stage.server(port)));
    stage.caller().run(command).unwrap()
}

fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

const REQUEST: &str = "/http/request/body/content";
const RESPONSE: &str = "/http/response/body/content";

#[test]
fn bodies_are_shown_decoded_capped_and_without_secrets() {
    if skip_unless_root("bodies_are_shown_decoded_capped_and_without_secrets") {
        return;
    }
    for mode in ["redirect", "tap"] {
        bodies_are_shown(mode);
    }
}

fn bodies_are_shown(mode: &str) {
    let mut stage = Stage::new(Direct, Inbound, V4);
    if mode != "tap" {
        install(&stage.pod, &["--mode", mode]).unwrap();
    }
    let max = format!("{MAX}");
    let started = Sidecar::start(&stage.pod, &["--mode", mode, "--capture-bodies", &max]).unwrap();
    let sidecar = stage.sidecar.insert(started);
    let (_, config) = stage.pod.http_get(local(15000), "/config").unwrap();
    assert!(config.contains("max_bytes: 4KiB"), "{config}");
    assert!(sidecar.documents().is_empty());
    let (_nginx, _directory) = web(&stage);

    for port in PORTS {
        let compressed = ["--compressed"];
        assert_eq!(curl(&stage, port, "/short.json", &compressed), list(20));
        assert_eq!(curl(&stage, port, "/long.json", &compressed), list(2000));
        assert_eq!(curl(&stage, port, "/short.json", &[]), list(20));
        curl(&stage, port, "/picture.png", &["-o", "/dev/null"]);
        let json = r#"{"user":"a","password":"hunter2"}"#;
        curl(&stage, port, "/echo", &["--json", json]);
        curl(&stage, port, "/echo", &["-d", "user=a&password=hunter2"]);
        curl(&stage, port, "/echo", &["-F", "password=hunter2", "-F", "user=a"]);
    }

    let count = PORTS.len() * 7;
    // What nginx asks behind itself is seen on the loopback interface too, where packets are looked at.
    let documents = || {
        let mut documents = stage.sidecar.as_ref().unwrap().documents();
        documents.retain(|document| PORTS.iter().any(|port| document["destination"]["port"] == *port));
        documents
    };
    wait_for(&format!("{count} documents"), || documents().len() >= count);
    let documents = documents();
    assert_eq!(documents.len(), count);
    assert!(!json!(documents).to_string().contains("hunter2"));
    for port in PORTS {
        let mut of_port: Vec<_> = documents
            .iter()
            .filter(|document| document["destination"]["port"] == port)
            .collect();
        of_port.sort_by_key(|document| document["@timestamp"].to_string());
        let [short, long, plain, picture, json, form, parts] = of_port[..] else {
            panic!("{of_port:#?}");
        };
        for document in &of_port {
            assert_eq!(*at(document, "/weir/anomalies"), json!(null), "{document:#}");
        }
        // What was sent compressed is the same text, and its size that of what was sent.
        assert_eq!(
            at(short, "/http/response/headers/content-encoding"),
            &json!(["gzip"])
        );
        assert_eq!(at(short, RESPONSE), at(plain, RESPONSE));
        let shown: Value = serde_json::from_str(at(short, RESPONSE).as_str().unwrap()).unwrap();
        assert_eq!(
            shown[19],
            json!({"n": 19, "name": "kettle", "token": "<redacted>"})
        );
        assert!(
            at(short, "/http/response/body/bytes").as_u64() < at(plain, "/http/response/body/bytes").as_u64()
        );
        assert_eq!(*at(short, "/weir/truncated"), json!(null));
        // More than may be kept; and more than is looked at to tell how much more.
        assert!(
            at(long, RESPONSE)
                .as_str()
                .unwrap()
                .starts_with(r#"[{"n":0,"name":"kettle","#)
        );
        assert_eq!(*at(long, "/weir/truncated"), json!(true));
        let size = &long["weir"]["original_sizes"]["http.response.body.content"];
        assert_eq!(size, at(long, "/http/response/body/bytes"));
        assert_eq!(at(picture, RESPONSE), &json!(null));
        assert_eq!(
            at(json, REQUEST),
            &json!(r#"{"user":"a","password":"<redacted>"}"#)
        );
        assert_eq!(at(json, RESPONSE), &json!("got it, token=<redacted> "));
        assert_eq!(at(form, REQUEST), &json!("user=a&password=<redacted>"));
        assert_eq!(
            at(parts, REQUEST),
            &json!(null),
            "not of a type that was asked for"
        );
        assert!(at(parts, "/http/request/body/bytes").as_u64() > Some(100));
    }
    stage.sidecar.unwrap().assert_well();
}
