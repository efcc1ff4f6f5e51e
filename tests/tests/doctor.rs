//! `weir doctor`: what it says of a sidecar that is well, of one that is not, and of none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use nix::unistd::{Uid, setfsuid};
use serde_json::Value;
use std::{net::TcpListener, thread};
use weir_lab::{binary, skip_unless_root};
use weir_tests::{
    peer::{converse, listen, pair},
    stage::{
        Direction::Inbound,
        Family::V4,
        Mode::{Direct, Redirected, Tap},
        Stage,
    },
    weir::{Sidecar, wait_for},
};

const PORT: u16 = 8080;

/// The exit code, and what was said.
fn doctor(stage: &Stage, flags: &[&str]) -> (i32, String) {
    let mut command = stage.pod.command(binary("weir").unwrap());
    let output = command.arg("doctor").args(flags).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn assert_says(found: &(i32, String), code: i32, said: &[&str]) {
    assert_eq!(found.0, code, "{}", found.1);
    for said in said {
        assert!(found.1.contains(said), "{said}: {}", found.1);
    }
}

#[test]
fn a_sidecar_that_is_well_is_said_to_be() {
    for (mode, name) in [(Tap, "tap"), (Redirected, "redirect")] {
        if skip_unless_root("a_sidecar_that_is_well_is_said_to_be") {
            return;
        }
        let stage = Stage::new(mode, Inbound, V4);
        let said = format!("well   mode {name}");
        assert_says(
            &doctor(&stage, &[]),
            0,
            &["well   ready", &said, "well   nothing was lost"],
        );
        let (code, text) = doctor(&stage, &["--json"]);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &report["code"]), (0, &0.into()));
        assert!(
            report["findings"]
                .as_array()
                .unwrap()
                .iter()
                .all(|finding| finding["level"] != "wrong")
        );
        // One of its endpoints alone is not where it is said to be.
        assert_says(
            &doctor(&stage, &["--health-port", "9"]),
            1,
            &["health endpoint does not answer", "--health-port"],
        );
        assert_says(&doctor(&stage, &["--health-port", "0"]), 0, &[&said]);
    }
}

#[test]
fn where_there_is_none_that_is_said() {
    if skip_unless_root("where_there_is_none_that_is_said") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    assert_says(
        &doctor(&stage, &[]),
        2,
        &["no sidecar answers", "15000 (admin)", "-> start weir-sidecar"],
    );
    let (code, text) = doctor(&stage, &["--json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["code"]), (2, &2.into()));
    // Somebody else's server is no sidecar.
    let listener = stage
        .pod
        .enter(|| TcpListener::bind("127.0.0.1:15000"))
        .unwrap()
        .unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| drop(stream.map(answer))));
    assert_says(&doctor(&stage, &[]), 1, &["is no admin endpoint of a sidecar"]);
}

fn answer(mut stream: std::net::TcpStream) {
    use std::io::{Read, Write};
    let _ = stream.read(&mut [0; 1000]);
    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello");
}

#[test]
fn a_sidecar_without_a_redirect_or_with_a_sink_that_is_gone_is_not_well() {
    if skip_unless_root("a_sidecar_without_a_redirect_or_with_a_sink_that_is_gone_is_not_well") {
        return;
    }
    let stage = Stage::new(Direct, Inbound, V4);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    assert_says(
        &doctor(&stage, &[]),
        1,
        &["wrong  nothing is redirected", "-> run weir-init install"],
    );
    drop(sidecar);
    let gone = ["--mode", "tap", "--export", "elasticsearch:http://127.0.0.1:9"];
    let _sidecar = Sidecar::start(&stage.pod, &gone).unwrap();
    let said = "wrong  elasticsearch http://127.0.0.1:9";
    wait_for("the sink's failure is known", || {
        doctor(&stage, &[]).1.contains(said)
    });
    assert_says(&doctor(&stage, &[]), 1, &["fails: "]);
}

#[test]
fn a_sidecar_that_drains_is_not_ready() {
    if skip_unless_root("a_sidecar_that_drains_is_not_ready") {
        return;
    }
    let mut stage = Stage::new(Direct, Inbound, V4);
    weir_tests::weir::install(&stage.pod, &["--mode", "redirect"]).unwrap();
    stage.sidecar = Some(Sidecar::start(&stage.pod, &["--drain", "60s"]).unwrap());
    let listener = listen(&stage.pod, stage.server(PORT));
    let (client, server) = pair(&stage.client, &listener);
    converse(&client, &server, b"open");
    let sidecar = stage.sidecar.as_mut().unwrap();
    sidecar.process.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_for("it drains", || {
        doctor(&stage, &[]).1.contains("wrong  not ready: draining")
    });
    assert_eq!(doctor(&stage, &[]).0, 1);
    drop((client, server));
}

#[test]
fn an_application_with_the_sidecars_user_is_named() {
    if skip_unless_root("an_application_with_the_sidecars_user_is_named") {
        return;
    }
    let stage = Stage::new(Redirected, Inbound, V4);
    let mut command = stage.pod.command("setpriv");
    command.args([
        "--reuid",
        "1337",
        "--regid",
        "100",
        "--clear-groups",
        "sleep",
        "600",
    ]);
    let mut application = stage.pod.spawn(command).unwrap();
    let says = |text: &str| wait_for(text, || doctor(&stage, &[]).1.contains(text));
    says("not seen: what sleep (process");
    assert_eq!(doctor(&stage, &[]).0, 1);
    application.kill().unwrap();
    // From a container of its own, processes of others can't be seen, and their listeners can.
    let _listener = stage
        .pod
        .enter(|| {
            // (Of this thread alone, which ends here.)
            setfsuid(Uid::from_raw(1337));
            TcpListener::bind(stage.server(PORT)).unwrap()
        })
        .unwrap();
    let apart = || {
        let mut command = stage.pod.command("unshare");
        let program = binary("weir").unwrap();
        command
            .args(["--pid", "--fork", "--mount-proc"])
            .arg(program)
            .arg("doctor");
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_for("the listener", || apart().contains("who listens at port 8080"));
}
