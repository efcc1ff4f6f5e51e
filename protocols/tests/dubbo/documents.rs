//! What a call says, and how its document says it.

use crate::support::*;
use serde_json::{Value, json};
use weir_config::Records;

/// A two-way request and its response with these bodies.
fn call(asked: &[u8], status: u8, answered: &[u8]) -> Observer {
    let mut seen = Observer::new();
    seen.client(frame(REQUEST | TWO_WAY | HESSIAN2, 0, 7, asked));
    seen.server(frame(HESSIAN2, status, 7, answered));
    seen
}

fn answered(status: u8, body: &[u8]) -> Value {
    call(&super::support::body("m", "", b"", &[]), status, body).document()
}

fn asked(method: &str, descriptor: &str, args: &[u8]) -> Value {
    call(&body(method, descriptor, args, &[]), 20, b"\x92").document()
}

#[test]
fn a_call_is_told_in_full() {
    let mut seen = Observer::new();
    seen.client(request(-5, "hello"));
    seen.server(response(-5, "hello back"));
    let mut document = seen.document();
    document["event"].as_object_mut().unwrap().remove("id").unwrap();
    let (asked, answered) = (request(-5, "hello").len(), response(-5, "hello back").len());
    assert_eq!(
        document,
        json!({
            "@timestamp": "1970-01-01T00:00:00.001000000Z",
            "event": {
                "dataset": "weir.dubbo", "category": ["network"], "type": ["connection", "protocol"],
                "outcome": "success", "duration": 1_000_000
            },
            "network": {"transport": "tcp", "type": "ipv4", "protocol": "dubbo", "direction": "ingress"},
            "source": {"ip": "198.18.0.2", "port": 40000, "bytes": asked},
            "destination": {"ip": "198.18.0.1", "port": 20880, "bytes": answered},
            "host": {"name": "pod"},
            "rpc": {"system": {"name": "dubbo"}, "method": "lab.Demo/echo", "response": {"status_code": "OK"}},
            "dubbo": {
                "protocol_version": "2.0.2", "interface": "lab.Demo", "service_version": "1.0.0", "group": "blue",
                "method": "echo", "parameter_types": ["java.lang.String"], "args": ["hello"], "args_text": "hello",
                "attachments": {"group": "blue"}, "request_id": -5, "serialization": "hessian2", "status": 20,
                "result": "hello back", "response_attachments": {"dubbo": "2.0.2"}
            },
            "weir": {
                "capture": "relay", "mode": "redirect", "flow_id": "00000000000000000000000000000007",
                "timing": {"connect": 50_000, "request": 0, "ttfb": 1_000_000, "response": 0}
            }
        })
    );
}

#[test]
fn arguments_are_as_many_as_the_descriptor_says() {
    let document = asked("m", "ILjava/util/List;[J", b"\x91\x7a\x92\x93\x71\x05[long\xe5");
    let dubbo = &document["dubbo"];
    assert_eq!(
        dubbo["parameter_types"],
        json!(["int", "java.util.List", "long[]"])
    );
    assert_eq!(dubbo["args"], json!([1, [2, 3], [5]]));
    assert_eq!(dubbo["args_text"], "1 2 3 5");
    let none = asked("m", "", b"");
    assert_eq!(none["dubbo"]["args"], json!([]));
    assert_eq!(none["dubbo"].get("parameter_types"), None);
    assert_eq!(none["dubbo"].get("attachments"), None);
}

#[test]
fn references_reach_across_arguments() {
    let node = [&b"C"[..], &s("x.N"), b"\x91", &s("next"), b"\x60N"].concat();
    let document = asked("m", "Lx/N;Lx/N;", &[&node[..], b"Q\x90"].concat());
    let reference = document["dubbo"]["args"][1]["@ref"].as_str().unwrap();
    assert_eq!(
        document.pointer(reference).unwrap(),
        &json!({"@type": "x.N", "next": null})
    );
}

#[test]
fn generic_calls_are_told_as_the_calls_that_they_stand_for() {
    let descriptor = "Ljava/lang/String;[Ljava/lang/String;[Ljava/lang/Object;";
    let args = [
        s("find"),
        [&b"\x72"[..], &s("[string"), &s("int"), &s("[Lx.Bean;")].concat(),
        [
            &b"\x72"[..],
            &s("[object"),
            b"\x97",
            b"H",
            &s("password"),
            &s("x"),
            b"Z",
        ]
        .concat(),
    ];
    for method in ["$invoke", "$invokeAsync"] {
        let document = asked(method, descriptor, &args.concat());
        assert_eq!(document["rpc"]["method"], "lab.Demo/find");
        let dubbo = &document["dubbo"];
        assert_eq!(
            (&dubbo["method"], &dubbo["generic"]),
            (&json!("find"), &json!(true))
        );
        assert_eq!(dubbo["parameter_types"], json!(["int", "x.Bean[]"]));
        assert_eq!(dubbo["args"], json!([7, {"password": "<redacted>"}]));
    }
    let named_so = asked("$invoke", "I", b"\x91");
    assert_eq!(named_so["dubbo"]["method"], "$invoke");
    assert_eq!(named_so["dubbo"].get("generic"), None);
}

#[test]
fn what_a_method_throws_is_an_error() {
    let exception = [
        &b"C"[..],
        &s("lab.BizException"),
        b"\x93",
        &s("stackTrace"),
        &s("detailMessage"),
        &s("cause"),
        b"\x60\x79\x90",
        &s("no stock"),
        b"Q\x90",
    ]
    .concat();
    for (kind, attachments) in [(b"\x90", &b""[..]), (b"\x93", &map(&[("a", "b")]))] {
        let document = answered(20, &[&kind[..], &exception, attachments].concat());
        assert_eq!(
            document["dubbo"]["exception"],
            json!({"class": "lab.BizException", "message": "no stock"})
        );
        assert_eq!(
            document["error"],
            json!({"type": "lab.BizException", "message": "no stock"})
        );
        assert_eq!(document["event"]["outcome"], "failure");
        assert_eq!(document["rpc"]["response"]["status_code"], "OK");
        assert_eq!(document["dubbo"].get("result"), None);
        let told = document["dubbo"].get("response_attachments");
        assert_eq!(told, (*kind == [0x93]).then(|| json!({"a": "b"})).as_ref());
    }
}

#[test]
fn values_and_nulls_are_results() {
    for (body, result) in [
        (&b"\x91\x97"[..], json!(7)),
        (b"\x94\x97H\x01a\x01bZ", json!(7)),
        (b"\x92", Value::Null),
        (b"\x95H\x01a\x01bZ", Value::Null),
    ] {
        let document = answered(20, body);
        assert_eq!(document["event"]["outcome"], "success");
        assert_eq!(
            document["dubbo"].as_object().unwrap()["result"],
            result,
            "{body:x?}"
        );
        assert_eq!(
            document["dubbo"].get("response_attachments").is_some(),
            body.len() > 2
        );
    }
}

#[test]
fn every_status_has_its_name() {
    for (status, name) in [
        (25, "SERIALIZATION_ERROR"),
        (30, "CLIENT_TIMEOUT"),
        (31, "SERVER_TIMEOUT"),
        (35, "CHANNEL_INACTIVE"),
        (40, "BAD_REQUEST"),
        (50, "BAD_RESPONSE"),
        (60, "SERVICE_NOT_FOUND"),
        (70, "SERVICE_ERROR"),
        (80, "SERVER_ERROR"),
        (90, "CLIENT_ERROR"),
        (100, "SERVER_THREADPOOL_EXHAUSTED_ERROR"),
        (33, "33"),
    ] {
        let document = answered(status, &s("what went wrong"));
        assert_eq!(document["dubbo"]["status"], status);
        assert_eq!(document["rpc"]["response"]["status_code"], name);
        assert_eq!(
            document["error"],
            json!({"type": name, "message": "what went wrong"})
        );
        assert_eq!(document["event"]["outcome"], "failure");
    }
}

#[test]
fn nothing_is_known_of_what_becomes_of_a_one_way_request() {
    let mut seen = Observer::new();
    seen.client(frame(REQUEST | HESSIAN2, 0, 1, &body("m", "", b"", &[])));
    let document = seen.document();
    assert_eq!(document["dubbo"]["oneway"], true);
    assert_eq!(document["event"]["outcome"], "unknown");
    assert_eq!(document.get("error"), None);
}

#[test]
fn a_provider_calls_its_consumer_back() {
    let mut seen = Observer::new();
    seen.client(request(1, "subscribe"));
    seen.server(request(1, "news"))
        .client(response(1, "thanks"))
        .server(response(1, "done"));
    let documents = seen.documents();
    assert_eq!(
        summary(&documents),
        ["echo[\"news\"] 1 20", "echo[\"subscribe\"] 1 20"]
    );
    assert_eq!(documents[0]["dubbo"]["callback"], true);
    assert_eq!(documents[0]["dubbo"]["result"], "thanks");
    assert_eq!(documents[0]["destination"]["bytes"], request(1, "news").len());
    assert_eq!(documents[0]["source"]["bytes"], response(1, "thanks").len());
    assert_eq!(documents[1]["dubbo"].get("callback"), None);
}

#[test]
fn secrets_are_taken_out() {
    let args = [
        &map(&[
            ("user", "a"),
            ("userPassword", "b"),
            ("at", "http://u:p@h/?token=c"),
        ])[..],
        b"T",
    ]
    .concat();
    let asked = body(
        "m",
        "Ljava/util/Map;Z",
        &args,
        &[("token", "d"), ("password", "e"), ("x", "f")],
    );
    let bean = [
        &b"\x94C"[..],
        &s("x.B"),
        b"\x92",
        &s("accessToken"),
        &s("name"),
        b"\x60H\x01a\x01bZ\x01n",
    ]
    .concat();
    let seen = call(&asked, 20, &[&bean[..], &map(&[("secret", "g")])].concat());
    let dubbo = &seen.document()["dubbo"];
    assert_eq!(
        dubbo["args"],
        json!([{"user": "a", "userPassword": "<redacted>", "at": "http://<redacted>@h/?token=<redacted>"}, true])
    );
    assert_eq!(
        dubbo["attachments"],
        json!({"token": "<redacted>", "password": "<redacted>", "x": "f"})
    );
    assert_eq!(
        dubbo["result"],
        json!({"@type": "x.B", "accessToken": "<redacted>", "name": "n"})
    );
    assert_eq!(dubbo["response_attachments"], json!({"secret": "<redacted>"}));
    let open = Records {
        redact: false,
        ..Records::default()
    };
    assert_eq!(
        seen.documents_under(&open)[0]["dubbo"]["args"][0]["userPassword"],
        "b"
    );
}

#[test]
fn secrets_are_taken_out_of_json_in_texts() {
    let document = asked("m", "Ljava/lang/String;", &s(r#"{"user":"a","password":"b"}"#));
    assert_eq!(
        document["dubbo"]["args"][0],
        r#"{"user":"a","password":"<redacted>"}"#
    );
}

#[test]
fn arguments_can_be_left_out() {
    let mut seen = Observer::new();
    seen.client(request(1, "a")).server(response(1, "b"));
    let without = Records {
        arguments: false,
        ..Records::default()
    };
    let dubbo = &seen.documents_under(&without)[0]["dubbo"];
    for left_out in [
        "args",
        "args_text",
        "attachments",
        "result",
        "response_attachments",
    ] {
        assert_eq!(dubbo.get(left_out), None, "{left_out}");
    }
    assert_eq!(
        (&dubbo["method"], &dubbo["group"]),
        (&json!("echo"), &json!("blue"))
    );
}

#[test]
fn a_path_that_is_not_the_interface_is_told_too() {
    let seen = call(&body("m", "", b"", &[("interface", "lab.Api")]), 20, b"\x92");
    let document = seen.document();
    assert_eq!(document["rpc"]["method"], "lab.Api/m");
    assert_eq!(document["dubbo"]["path"], "lab.Demo");
}

#[test]
fn dubbox_counts_arguments() {
    let head = [s("2.8.4"), s("lab.Demo"), b"N".to_vec(), s("m")].concat();
    let counted = call(&[&head[..], b"\x92\x91\x92", b"HZ"].concat(), 20, b"\x92").document();
    assert_eq!(counted["dubbo"]["args"], json!([1, 2]));
    assert_eq!(counted["dubbo"].get("service_version"), None);
    let typed = call(
        &[&head[..], b"\x8f", &s("I"), b"\x91", b"HZ"].concat(),
        20,
        b"\x92",
    )
    .document();
    assert_eq!(typed["dubbo"]["parameter_types"], json!(["int"]));
    assert_eq!(typed["dubbo"]["args"], json!([1]));
}

#[test]
fn what_can_t_be_read_is_told_as_far_as_it_goes() {
    let document = asked("m", "II", b"\x91\x47");
    assert_eq!(document["dubbo"]["args"], json!([1]));
    assert_eq!(anomalies(&document), ["malformed_request: an unknown tag"]);
    let document = asked("m", "Lwrong", b"\x91");
    assert_eq!(document["dubbo"]["method"], "m");
    assert_eq!(
        anomalies(&document),
        ["malformed_request: the parameter types are no descriptor"]
    );
    let document = answered(20, b"\x91\x03ab");
    assert_eq!(document["dubbo"]["result"], "ab");
    assert_eq!(
        anomalies(&document),
        ["malformed_response: its body ends too early"]
    );
    let document = answered(20, b"\x96");
    assert_eq!(
        anomalies(&document),
        ["malformed_response: an unknown kind of response"]
    );
    assert_eq!(document["event"]["outcome"], "unknown");
}
