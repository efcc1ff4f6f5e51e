//! TLS between real peers through the relay: the handshake's document, and bytes that arrive as they were sent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{io::Write as _, net::SocketAddr, process::Stdio};
use weir_lab::Node;
use weir_tests::{
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{LIMIT, wait_for},
};

const PORT: u16 = 8443;

/// A server with a certificate of its own, which answers each line with the line turned round.
fn serve(stage: &Stage, directory: &std::path::Path, versions: &[&str]) -> weir_lab::Process {
    let (key, certificate) = (directory.join("key.pem"), directory.join("certificate.pem"));
    let mut make = stage.pod.command("openssl");
    make.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=shop.example"
            .split(' '),
    );
    make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    stage.pod.run(make).unwrap();
    let mut server = stage.callee().command("openssl");
    server.args([
        "s_server",
        "-rev",
        "-quiet",
        "-alpn",
        "weir",
        "-port",
        &PORT.to_string(),
    ]);
    server
        .args(versions)
        .arg("-key")
        .arg(&key)
        .arg("-cert")
        .arg(&certificate);
    stage.callee().spawn(server).unwrap()
}

/// Asks by a line and gives what came back.
fn ask(node: &Node, address: SocketAddr, flags: &[&str]) -> String {
    let mut client = node.command("openssl");
    client.args([
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-servername",
        "shop.example",
        "-alpn",
        "weir",
    ]);
    client.args(flags).arg("-connect").arg(address.to_string());
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(b"lived\n").unwrap();
    let mut output = client.stdout.take().unwrap();
    let mut line = [0; 6];
    let read = std::io::Read::read_exact(&mut output, &mut line);
    drop(input);
    client.wait().unwrap();
    read.map_or_else(
        |error| error.to_string(),
        |()| String::from_utf8_lossy(&line).into_owned(),
    )
}

fn handshakes_have_documents(stage: &Stage) {
    let directory = tempfile::tempdir().unwrap();
    let _server = serve(stage, directory.path(), &[]);
    let address = stage.server(PORT);
    stage.callee().tcp_ready(address, LIMIT).unwrap();
    let sidecar = stage.sidecar.as_ref().unwrap();
    for (n, (flag, version)) in [("-tls1_3", "1.3"), ("-tls1_2", "1.2")].into_iter().enumerate() {
        assert_eq!(ask(stage.caller(), address, &[flag]), "devil\n");
        let of_tls = || {
            let documents = sidecar.documents();
            documents
                .into_iter()
                .filter(|it| it["event"]["dataset"] == "weir.tls")
                .collect::<Vec<_>>()
        };
        wait_for("the handshake's document", || of_tls().len() == n + 1);
        let document = &of_tls()[n];
        assert_eq!(document["tls"]["version"], version, "{document}");
        assert_eq!(document["tls"]["client"]["server_name"], "shop.example");
        assert_eq!(document["tls"]["client"]["alpn"][0], "weir");
        assert_eq!(document["destination"]["port"], PORT);
        assert_eq!(document["event"]["outcome"], "success");
        let chosen = if version == "1.2" {
            "weir".into()
        } else {
            serde_json::Value::Null
        };
        assert_eq!(document["tls"]["next_protocol"], chosen);
        let fingerprint = document["tls"]["client"]["ja4"].as_str().unwrap();
        assert!(
            fingerprint.starts_with(&format!("t{}d", version.replace('.', ""))),
            "{fingerprint}"
        );
    }
}

macro_rules! both_ways {
    ($($name:ident $mode:ident $direction:ident $family:ident;)*) => {$(
        #[test]
        fn $name() {
            let stage = (Mode::$mode, Direction::$direction, Family::$family);
            play("tls", Weight::Light, stage, handshakes_have_documents);
        }
    )*};
}

both_ways! {
    inbound_v4 Redirected Inbound V4;
    outbound_v6 Redirected Outbound V6;
    looked_at_inbound_v6 Tap Inbound V6;
    looked_at_outbound_v4 Tap Outbound V4;
}
