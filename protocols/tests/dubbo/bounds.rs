//! Bounds: what exceeds them is cut and says so.

use crate::support::*;
use serde_json::json;
use weir_config::Records;

#[test]
fn long_values_are_cut_and_keep_their_sizes() {
    let long = "w\u{f6}rd ".repeat(1000);
    let data = [&b"\x37\xff"[..], &[7; 1023]].concat();
    let list = [&b"X\xcf\x00"[..], &b"\x91".repeat(1792)].concat();
    let args = [s(&long), data, list].concat();
    let mut seen = Observer::new();
    seen.client(frame(
        REQUEST | HESSIAN2,
        0,
        1,
        &body("m", "Ljava/lang/String;[BLjava/util/List;", &args, &[("a", "b")]),
    ));
    let records = Records {
        max_value: 100,
        max_values: 50,
        ..Records::default()
    };
    let document = &seen.documents_under(&records)[0];
    let args = &document["dubbo"]["args"];
    assert_eq!(args[0].as_str().unwrap().len(), 100);
    assert_eq!(args[1]["size"], 1023);
    assert_eq!(args[2].as_array().unwrap().len(), 42);
    assert_eq!(
        document["dubbo"]["attachments"],
        json!({"a": "b"}),
        "what comes behind is read"
    );
    assert_eq!(document["weir"]["truncated"], true);
    assert_eq!(
        document["weir"]["original_sizes"],
        json!({"dubbo.args.0": long.len(), "dubbo.args.1": 1023, "dubbo.args.2.count": 1792})
    );
    assert_eq!(
        seen.document()["weir"]["original_sizes"],
        json!({"dubbo.args.0": long.len()})
    );
}

#[test]
fn a_body_past_the_limit_is_cut_and_the_next_frame_still_found() {
    let long = "x".repeat(60_000);
    let chunks: Vec<u8> = (0..50)
        .flat_map(|_| [&b"R\xea\x60"[..], long.as_bytes()].concat())
        .collect();
    let args = [&chunks[..], b"\x01x"].concat();
    let big = frame(
        REQUEST | TWO_WAY | HESSIAN2,
        0,
        1,
        &body("m", "Ljava/lang/String;", &args, &[]),
    );
    for piece in [1 << 14, 70_001, usize::MAX] {
        let mut seen = Observer::new();
        for bytes in big.chunks(piece) {
            seen.client(bytes);
        }
        seen.client(request(2, "b"))
            .server(response(1, "a"))
            .server(response(2, "b"));
        let documents = seen.documents();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0]["dubbo"]["args"][0].as_str().unwrap().len(), 4096);
        let sizes = &documents[0]["weir"]["original_sizes"];
        assert_eq!(sizes["dubbo.args"], big.len() - 16);
        assert_eq!(documents[0]["source"]["bytes"], big.len());
        assert_eq!(anomalies(&documents[0]), [""; 0]);
        assert_eq!(documents[1]["weir"].get("truncated"), None);
    }
}

#[test]
fn of_many_long_requests_in_waiting_only_the_beginning_is_kept() {
    let mut seen = Observer::new();
    for id in 0..60 {
        seen.client(request(id, &"x".repeat(60_000)));
    }
    for id in 0..60 {
        seen.server(response(id, "y"));
    }
    seen.client(request(99, "after")).server(response(99, "y"));
    let documents = seen.documents();
    let cut = |d: &&serde_json::Value| d["weir"]["original_sizes"].get("dubbo.args").is_some();
    assert_eq!(documents.iter().filter(cut).count(), 60 - (1 << 20) / 60_000);
    assert!(
        documents
            .iter()
            .all(|d| d["rpc"]["method"] == "lab.Demo/echo" && d["event"]["outcome"] == "success")
    );
    assert!(!cut(&&documents[60]));
}

#[test]
fn names_are_cut_too() {
    let mut seen = Observer::new();
    let (method, class) = ("m".repeat(5000), format!("L{};", "x/".repeat(3000)));
    let descriptor = class + &"I".repeat(3000);
    seen.client(frame(
        REQUEST | HESSIAN2,
        0,
        1,
        &body(&method, &descriptor, &b"\x91".repeat(3001), &[]),
    ));
    let document = seen.document();
    let dubbo = &document["dubbo"];
    assert_eq!(dubbo["method"].as_str().unwrap().len(), 4096);
    assert_eq!(dubbo["parameter_types"].as_array().unwrap().len(), 2048);
    assert_eq!(dubbo["parameter_types"][0].as_str().unwrap().len(), 4096);
    assert_eq!(anomalies(&document), [""; 0]);
    assert_eq!(
        document["weir"]["original_sizes"],
        json!({
            "dubbo.method": 5000, "dubbo.parameter_types": 6000, "dubbo.parameter_types.count": 3001,
            "dubbo.args.count": 3001
        })
    );
}
