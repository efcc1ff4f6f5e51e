//! Connections that begin as HTTP/1.1 and go on as HTTP/2 (`Upgrade: h2c`): curl and nghttp ask for it, and nghttpx, which
//! answers from nginx, agrees.

use crate::{
    in_both_directions,
    web::{LARGE, Server},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};
use weir_lab::Process;
use weir_tests::{
    stage::Stage,
    weir::{LIMIT, wait_for},
};

const PORT: u16 = 8080;
/// Of nginx, on loopback, where nothing is redirected.
const BEHIND: u16 = 9000;

fn nghttpx(stage: &Stage) -> Process {
    let front = stage.server(PORT);
    let mut command = stage.callee().command("nghttpx");
    command
        .args([
            "--conf=/dev/null",
            "--errorlog-file=/dev/stderr",
            "--accesslog-file=/dev/null",
        ])
        .arg(format!("--frontend={},{};no-tls", front.ip(), front.port()))
        .arg(format!("--backend=127.0.0.1,{BEHIND}"));
    let mut process = stage.callee().spawn(command).unwrap();
    process.wait_ready(front, LIMIT).unwrap();
    process
}

fn curl(stage: &Stage, arguments: &[&str], paths: &[&str]) -> String {
    let mut command = stage.caller().command("curl");
    command.args([
        "-sS",
        "-g",
        "--noproxy",
        "*",
        "--http2",
        "-A",
        "test/1",
        "-w",
        "%{http_version} ",
    ]);
    command.args(arguments);
    for path in paths {
        command.arg(format!("http://{}{path}", stage.server(PORT)));
    }
    stage.caller().run(command).unwrap()
}

/// What the documents of exchanges say in short, once there are so many, by what was asked for.
fn summaries(stage: &Stage, count: usize) -> Vec<String> {
    let sidecar = stage.sidecar.as_ref().unwrap();
    // Where the pod is only looked at, what the front asks the server behind it is seen too.
    let of_the_front = |document: &Value| document["destination"]["port"] == PORT;
    let seen = || -> Vec<_> {
        let all = sidecar.documents();
        all.iter()
            .filter(|document| of_the_front(document))
            .map(summary)
            .collect()
    };
    wait_for(&format!("{count} documents"), || seen().len() >= count);
    let mut all = seen();
    all.sort();
    all
}

fn summary(document: &Value) -> String {
    assert_eq!(document["weir"]["anomalies"], json!(null), "{document:#}");
    assert_eq!(document["weir"]["late_join"], json!(null), "{document:#}");
    let at = |pointer: &str| document.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/url/port"), PORT);
    let values = [
        at("/url/original"),
        at("/http/version"),
        at("/weir/http2/stream_id"),
        at("/http/request/method"),
        at("/http/request/body/bytes"),
        at("/http/response/status_code"),
        at("/http/response/body/bytes"),
    ];
    let words = values
        .iter()
        .map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn upgraded_requests_of_curl_have_their_documents() {
    in_both_directions("upgraded_requests_of_curl_have_their_documents", |stage| {
        let behind = SocketAddr::from((Ipv4Addr::LOCALHOST, BEHIND));
        let server = Server::at(stage.callee(), behind, "");
        let _front = nghttpx(stage);
        // Requests of one connection, the last for a large file, whose bytes are compared; then a request with a body.
        let copy = server.directory.path().join("copy");
        let outputs = ["-o", "/dev/null", "-o", "/dev/null", "-o", copy.to_str().unwrap()];
        assert_eq!(
            curl(stage, &outputs, &["/small?a=b", "/gone", "/large"]),
            "2 2 2 "
        );
        let large = fs::read(server.directory.path().join("large")).unwrap();
        assert!(
            fs::read(copy).unwrap() == large,
            "the file was changed on the way"
        );
        assert_eq!(
            curl(stage, &["--data-binary", "abc", "-o", "/dev/null"], &["/sink"]),
            "2 "
        );
        let large = format!("/large 2 5 GET 0 200 {LARGE}");
        let expected = [
            "/gone 2 3 GET 0 410 143",
            &large,
            "/sink 1.1 null POST 3 101 0",
            "/sink 2 1 POST 3 502 157",
            "/small?a=b 1.1 null GET 0 101 0",
            "/small?a=b 2 1 GET 0 200 5",
        ];
        assert_eq!(summaries(stage, 6), expected);
    });
}

#[test]
fn upgraded_requests_of_nghttp_have_their_documents() {
    in_both_directions("upgraded_requests_of_nghttp_have_their_documents", |stage| {
        let behind = SocketAddr::from((Ipv4Addr::LOCALHOST, BEHIND));
        let _server = Server::at(stage.callee(), behind, "");
        let _front = nghttpx(stage);
        let mut command = stage.caller().command("nghttp");
        command.args(["--upgrade", "--null-out", "--verbose"]);
        for path in ["/small", "/large", "/gone"] {
            command.arg(format!("http://{}{path}", stage.server(PORT)));
        }
        let said = stage.caller().run(command).unwrap();
        assert!(said.contains("HTTP Upgrade success"), "{said}");
        assert_eq!(said.matches(":status: ").count(), 3, "{said}");
        let large = format!("/large 2 13 GET 0 200 {LARGE}");
        let expected = [
            "/gone 2 15 GET 0 410 143",
            &large,
            "/small 1.1 null GET 0 101 0",
            "/small 2 1 GET 0 200 5",
        ];
        assert_eq!(summaries(stage, 4), expected);
    });
}
