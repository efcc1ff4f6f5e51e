//! What holds under every kernel, whatever it lacks: `make test-kernels` runs this under those that people run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use weir_tests::{
    kernel,
    peer::{assert_end, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, init, install},
};

const PORT: u16 = 8080;

fn on_stage(name: &str, family: Family, case: impl FnOnce(&Stage)) {
    let plain = (Mode::Direct, Direction::Inbound, family);
    play(name, Weight::Light, plain, case);
}

#[test]
fn auto_carries_connections_of_ipv4_both_ways() {
    on_stage("auto_carries_connections_of_ipv4_both_ways", Family::V4, auto);
}

#[test]
fn auto_carries_connections_of_ipv6_both_ways() {
    on_stage("auto_carries_connections_of_ipv6_both_ways", Family::V6, auto);
}

fn auto(stage: &Stage) {
    install(&stage.pod, &["--mode", "auto"]).unwrap();
    let mut sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    println!("mode {}", sidecar.stats()["mode"]);
    let v6 = usize::from(stage.family == Family::V6);
    let (pod, outside) = (stage.link.b.at(PORT)[v6], stage.link.a.at(PORT)[v6]);
    for (from, to, address, direction) in [
        (&stage.client, &stage.pod, pod, Direction::Inbound),
        (&stage.pod, &stage.client, outside, Direction::Outbound),
    ] {
        let listener = listen(to, address);
        let (there, here) = pair(from, &listener);
        converse(&there, &here, b"a question");
        converse(&here, &there, b"an answer");
        drop(there);
        assert_end(&here);
        assert_eq!(sidecar.connections(direction), 1, "{direction:?}");
    }
    sidecar.assert_well();
}

#[test]
fn a_port_map_works_or_is_refused_in_one_line_that_says_why() {
    let name = "a_port_map_works_or_is_refused_in_one_line_that_says_why";
    on_stage(name, Family::V4, |stage| {
        let flags = ["--port-map", "8000:9000"];
        let installed = install(&stage.pod, &flags);
        if kernel() >= (5, 14) {
            installed.unwrap();
            init(&stage.pod, "check", &flags).unwrap();
        } else {
            let said = installed.unwrap_err().to_string();
            let lines: Vec<_> = said
                .lines()
                .filter(|line| line.starts_with("weir-init:"))
                .collect();
            assert!(
                matches!(lines[..], [line] if line.contains("Linux 5.14")),
                "{said}"
            );
        }
        init(&stage.pod, "remove", &[]).unwrap();
    });
}
