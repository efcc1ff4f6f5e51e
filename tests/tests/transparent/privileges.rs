//! With what privileges that works, and what is said without them.

use crate::support::*;
use std::{fs, os::unix::fs::PermissionsExt, process::Command};
use weir_lab::binary;
use weir_tests::{
    peer::{converse, listen, pair},
    stage::{Direction, Family, Mode, Stage},
    weir::{Sidecar, install, local, wait_for},
};

pub fn sidecar_keeps_net_raw_and_nothing_else(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    assert_capabilities(&sidecar, NET_RAW);
    assert!(sidecar.status("CapBnd").iter().all(|set| set == NOTHING));
    assert!(
        sidecar
            .status("Uid")
            .iter()
            .all(|ids| ids == "1337 1337 1337 1337")
    );
    assert_kept(stage, &sidecar);
}

pub fn no_capability_is_left_where_the_address_is_not_kept(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &["--source-address", "proxy"]).unwrap();
    assert_capabilities(&sidecar, NOTHING);
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
    assert_eq!(not_kept(&sidecar), 0, "it was not asked for");
}

pub fn file_capability_is_enough(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("weir-sidecar");
    fs::copy(binary("weir-sidecar").unwrap(), &program).unwrap();
    let set = Command::new("setcap")
        .arg("cap_net_raw=+p")
        .arg(&program)
        .status()
        .unwrap();
    assert!(set.success(), "setcap: {set}");
    let command = by_setpriv(&stage.pod, "--reuid 1337 --regid 1337 --clear-groups", &program);
    let sidecar = Sidecar::start_by(&stage.pod, command, &[]).unwrap();
    assert_capabilities(&sidecar, NET_RAW);
    assert_kept(stage, &sidecar);
}

pub fn user_0_is_enough_with_the_group_and_net_raw(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let command = by_setpriv(
        &stage.pod,
        "--regid 1337 --clear-groups --no-new-privs --bounding-set -all,+net_raw --inh-caps -all",
        binary("weir-sidecar").unwrap(),
    );
    let sidecar = Sidecar::start_by(&stage.pod, command, &[]).unwrap();
    assert!(sidecar.status("Uid").iter().all(|ids| ids == "0 0 0 0"));
    assert_capabilities(&sidecar, NET_RAW);
    assert_kept(stage, &sidecar);
    assert_outbound(stage, &sidecar);
}

pub fn missing_net_raw_is_told_and_outbound_connections_work(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let command = by_setpriv(
        &stage.pod,
        "--bounding-set -net_raw --inh-caps -all",
        binary("weir-sidecar").unwrap(),
    );
    let sidecar = Sidecar::spawn(&stage.pod, command, &[]).unwrap();
    wait_for("what is missing", || {
        sidecar.process.output().contains("cap_net_raw=+p")
    });
    // It says so before its data threads are there. They are once its endpoints answer.
    sidecar.metrics();
    assert_capabilities(&sidecar, NOTHING);
    if mode == Mode::Ebpf {
        // What it can't do passes.
        let (address, _) = seen(stage);
        assert!(is_spare(address), "{address}");
        let outside = listen(
            &stage.client,
            stage.link.a.at(PORT)[usize::from(stage.family == Family::V6)],
        );
        let (client, server) = pair(&stage.pod, &outside);
        converse(&client, &server, b"past the sidecar");
        assert_eq!(sidecar.connections(Direction::Outbound), 0);
        // Held, it would wait for a sidecar that may take it.
        install(&stage.pod, &["--mode", "ebpf", "--on-missing-proxy", "hold"]).unwrap();
        wait_for("an answer about readiness", || {
            let answer = stage.pod.http_get(local(15021), "/healthz/ready");
            answer.is_ok_and(|(status, text)| status == 503 && text.contains("--on-missing-proxy hold"))
        });
    } else {
        wait_for("an answer about readiness", || {
            let answer = stage.pod.http_get(local(15021), "/healthz/ready");
            answer.is_ok_and(|(status, text)| status == 503 && text.contains("NET_RAW"))
        });
        assert_outbound(stage, &sidecar);
    }
    // The mode that needs nothing is one command away.
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    wait_for("readiness", || {
        let answer = stage.pod.http_get(local(15021), "/healthz/ready");
        answer.is_ok_and(|(status, _)| status == 200)
    });
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
}
