//! Looking, with no flag at all: no capability beside Docker's default ones, no volume, no installation.

use crate::pod::{Pod, Way};
use serde_json::Value;
use weir_lab::binary;
use weir_tests::weir::{LIMIT, wait_for};

pub fn a_container_beside_the_application_shows_its_requests() {
    let pod = Pod::new(Way::Redirect);
    let mut command = pod.beside(&[]);
    command.arg(binary("weir").unwrap());
    command.args(["tap", "--format", "json"]);
    let mut tap = pod.app.node.spawn(command).unwrap();
    wait_for("it looks", || tap.output().contains("looking"));
    for (client, app) in pod.pairs() {
        assert_eq!(pod.client_asks(app), client);
        assert_eq!(pod.app_asks(client), app);
    }
    let documents = || -> Vec<Value> {
        let output = tap.output();
        let lines = output.lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let expected = 2 * pod.pairs().len();
    wait_for("its documents", || documents().len() >= expected);
    for direction in ["ingress", "egress"] {
        let of = documents().into_iter();
        let count = of
            .filter(|document| document["network"]["direction"] == direction)
            .inspect(|document| {
                assert_eq!(document["http"]["response"]["status_code"], 200, "{document:#}");
                assert_eq!(document["weir"]["capture"], "tap");
            })
            .count();
        assert_eq!(count, pod.pairs().len(), "{direction}");
    }
    tap.terminate(LIMIT).unwrap();
}

pub fn without_net_raw_it_says_what_is_missing() {
    let pod = Pod::new(Way::Redirect);
    for program in [
        &["weir", "tap"][..],
        &["weir-sidecar", "--mode", "tap", "--export", "none"],
    ] {
        let mut command = pod.beside(&["--cap-drop", "ALL"]);
        command.arg(binary(program[0]).unwrap()).args(&program[1..]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("NET_RAW"), "{said}");
    }
}
