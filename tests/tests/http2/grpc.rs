//! gRPC's own Python client and server: unary calls and the three kinds of streams.

use crate::{documents, in_both_directions, python};
use serde_json::{Value, json};
use std::path::Path;
use weir_tests::weir::LIMIT;

const PORT: u16 = 50051;

#[test]
fn calls_of_every_kind_have_their_documents() {
    let name = "calls_of_every_kind_have_their_documents";
    let Some(python) = python(name, "grpc") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http2/grpc_peer.py");
    in_both_directions(name, |stage| {
        let address = stage.server(PORT).to_string();
        let mut server = stage.callee().command(&python);
        server.arg(&script).args(["serve", &address]);
        let mut server = stage.callee().spawn(server).unwrap();
        server.wait_ready(stage.server(PORT), LIMIT).unwrap();
        let mut client = stage.caller().command(&python);
        client.arg(&script).args(["call", &address]);
        let said = stage.caller().run(client).unwrap();
        assert_eq!(said.trim(), "all answers are right");
        // (request messages, bytes; response messages, bytes; status), in order.
        let expected = [
            ("Unary", [1, 5, 1, 5], "OK"),
            ("Unary", [1, 300_000, 1, 300_000], "OK"),
            ("ServerStream", [1, 2, 20, 40], "OK"),
            ("ClientStream", [10, 45, 1, 45], "OK"),
            ("Both", [15, 15_000, 15, 15_000], "OK"),
            ("Fail", [1, 1, 0, 0], "FAILED_PRECONDITION"),
            ("Missing", [1, 1, 0, 0], "UNIMPLEMENTED"),
        ];
        for (document, (method, counts, status)) in documents(stage, expected.len()).iter().zip(expected) {
            let rpc = &document["rpc"];
            assert_eq!(rpc["method"], format!("lab.v1.Echo/{method}"), "{document:#}");
            assert_eq!(rpc["system"]["name"], "grpc");
            assert_eq!(rpc["response"]["status_code"], status, "{document:#}");
            let seen: Vec<&Value> = ["request", "response"]
                .iter()
                .flat_map(|side| [&rpc[side]["messages"], &rpc[side]["bytes"]])
                .collect();
            assert_eq!(
                seen,
                counts.map(|count| json!(count)).iter().collect::<Vec<_>>(),
                "{document:#}"
            );
            let outcome = if status == "OK" { "success" } else { "failure" };
            assert_eq!(document["event"]["outcome"], outcome);
            assert_eq!(document["weir"]["anomalies"], json!(null), "{document:#}");
            let metadata = &document["http"]["request"]["headers"];
            assert_eq!(metadata["x-lab"], json!(["yes"]));
            assert_eq!(metadata["authorization"], json!(["<redacted>"]));
            if method == "Fail" {
                assert_eq!(document["error"]["message"], "caf\u{e9} 100%");
            }
        }
    });
}
