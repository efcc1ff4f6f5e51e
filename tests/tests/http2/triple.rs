//! Dubbo's own Python client and server, which speak Triple: unary calls and the three kinds of streams.

use crate::{documents, in_both_directions, python};
use serde_json::{Value, json};
use std::path::Path;
use weir_tests::weir::LIMIT;

const PORT: u16 = 50052;

#[test]
fn calls_of_dubbo_for_python_have_their_documents() {
    let name = "calls_of_dubbo_for_python_have_their_documents";
    let Some(python) = python(name, "triple") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http2/triple_peer.py");
    in_both_directions(name, |stage| {
        let address = stage.server(PORT);
        let [host, port] = [address.ip().to_string(), PORT.to_string()];
        let mut server = stage.callee().command(&python);
        server.arg(&script).args(["serve", &host, &port]);
        let mut server = stage.callee().spawn(server).unwrap();
        server.wait_ready(address, LIMIT).unwrap();
        let mut client = stage.caller().command(&python);
        client.arg(&script).args(["call", &host, &port]);
        let said = stage.caller().run(client).unwrap();
        // What the client prints, in the order of its calls.
        let failed = said.lines().find(|line| line.starts_with("Fail: "));
        assert!(
            failed
                .unwrap()
                .contains("GRpcCode.INTERNAL Invoke method failed: caf\u{e9} 100%"),
            "{said}"
        );
        let missing = said.lines().find(|line| line.starts_with("Missing: "));
        assert!(
            missing
                .unwrap()
                .contains("GRpcCode.UNIMPLEMENTED Service lab.v1.Echo is not found"),
            "{said}"
        );
        assert!(said.contains("all answers are right"), "{said}");

        // (request messages, bytes; response messages, bytes; status), in order. Its client ends what it sends with an
        // empty message.
        let expected = [
            ("Unary", [2, 5, 1, 5], "OK"),
            ("Unary", [2, 300_000, 1, 300_000], "OK"),
            ("ServerStream", [2, 2, 20, 40], "OK"),
            ("ClientStream", [11, 55, 1, 55], "OK"),
            ("Both", [16, 15_000, 15, 15_000], "OK"),
            ("Fail", [2, 1, 0, 0], "INTERNAL"),
            ("Missing", [2, 1, 0, 0], "UNIMPLEMENTED"),
        ];
        // It names an IPv6 address without its brackets.
        let anomalies = stage.pick(json!(null), json!(["invalid_host"]));
        for (document, (method, counts, status)) in documents(stage, expected.len()).iter().zip(expected) {
            let rpc = &document["rpc"];
            assert_eq!(rpc["system"]["name"], "grpc", "{document:#}");
            assert_eq!(rpc["method"], format!("lab.v1.Echo/{method}"), "{document:#}");
            assert_eq!(rpc["response"]["status_code"], status, "{document:#}");
            let seen: Vec<&Value> = ["request", "response"]
                .iter()
                .flat_map(|side| [&rpc[side]["messages"], &rpc[side]["bytes"]])
                .collect();
            let counts = counts.map(|count| json!(count));
            assert_eq!(seen, counts.iter().collect::<Vec<_>>(), "{document:#}");
            let outcome = if status == "OK" { "success" } else { "failure" };
            assert_eq!(document["event"]["outcome"], outcome, "{document:#}");
            assert_eq!(document["weir"]["anomalies"], anomalies, "{document:#}");
            let metadata = &document["http"]["request"]["headers"];
            assert_eq!(
                metadata["content-type"],
                json!(["application/grpc+data"]),
                "{document:#}"
            );
        }
    });
}
