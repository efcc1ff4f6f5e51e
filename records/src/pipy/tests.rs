use super::*;
use crate::{
    Bounds, Builder, Capture, Direction, DocumentId, Event, Flow, Http, HttpRequest, Json, Policy, Timestamp,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use weir_config::Records;

fn document(dataset: &'static str) -> Document {
    let flow = Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Ingress,
        client: "198.18.0.1:40000".parse().unwrap(),
        server: "198.18.0.2:80".parse().unwrap(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    };
    let event = Event {
        id: DocumentId(2),
        dataset,
        category: &[],
        kind: &[],
        outcome: None,
        duration: None,
        start: None,
        end: None,
    };
    Document::of(&flow, Timestamp(1_700_000_000_123_999_999), event, "tcp", "test")
}

fn http(headers: &[(&str, &[&str])], url: Option<Url>) -> Document {
    let headers = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(|value| (*name, *value)));
    Document {
        url,
        http: Some(Http {
            request: Some(HttpRequest {
                headers: headers.collect(),
                ..HttpRequest::default()
            }),
            ..Http::default()
        }),
        ..document("weir.http")
    }
}

fn url(original: &str, domain: Option<&str>, port: Option<u16>) -> Option<Url> {
    Some(Url {
        original: original.into(),
        domain: domain.map(Into::into),
        port,
        ..Url::default()
    })
}

fn dubbo(dubbo: Dubbo) -> Document {
    Document {
        dubbo: Some(Box::new(dubbo)),
        ..document("weir.dubbo")
    }
}

/// As it goes out.
fn text(document: &Document) -> String {
    serde_json::to_string(&shape(document).unwrap()).unwrap()
}

fn value(document: &Document) -> Value {
    serde_json::from_str(&text(document)).unwrap()
}

/// The JSON within a field.
fn within(document: &Document, field: &str) -> Value {
    serde_json::from_str(value(document)[field].as_str().unwrap()).unwrap()
}

fn built(fill: impl FnOnce(&mut Builder<'_>)) -> Json {
    let policy = Policy::new(&Records::default());
    let bounds = Bounds {
        values: 1000,
        text: 1000,
        one_text: 1000,
        depth: 10,
    };
    let mut builder = Builder::new(&policy, bounds);
    fill(&mut builder);
    builder.finish("dubbo.args", &mut BTreeMap::new())
}

fn string(builder: &mut Builder<'_>, text: &str) {
    builder.text(text, text.len() as u64);
}

#[test]
fn a_request_has_four_fields_in_this_order() {
    let document = http(
        &[("connection", &["keep-alive"]), ("host", &["Shop.test:8080"])],
        url("/a?b=\"c\"", Some("shop.test"), Some(8080)),
    );
    assert_eq!(
        text(&document),
        r#"{"time":1700000000123,"host":"Shop.test:8080","path":"/a?b=\"c\"","headers":"{\"connection\":\"keep-alive\",\"host\":\"Shop.test:8080\"}"}"#
    );
    assert_eq!(shape(&document).unwrap().index(), Index::Http);
}

#[test]
fn a_header_that_repeats_keeps_all_its_values() {
    let document = http(
        &[
            ("accept", &[""]),
            ("cookie", &["a=1", "b=2"]),
            ("x-forwarded-for", &["1.1.1.1", "2.2.2.2, 3.3.3.3"]),
        ],
        url("/", None, None),
    );
    assert_eq!(
        within(&document, "headers"),
        json!({"accept": "", "cookie": "a=1; b=2", "x-forwarded-for": "1.1.1.1, 2.2.2.2, 3.3.3.3"})
    );
}

#[test]
fn the_host_is_told_without_its_header_where_that_is_known() {
    for (url, host) in [
        (url("/", Some("shop.test"), None), json!("shop.test")),
        (url("/", Some("[fd00::1]"), Some(8080)), json!("[fd00::1]:8080")),
        (url("/", None, None), Value::Null),
        (None, Value::Null),
    ] {
        let shaped = value(&http(&[], url));
        assert_eq!(shaped.get("host").cloned().unwrap_or_default(), host);
        assert_eq!(shaped["headers"], "{}");
    }
    let nothing = value(&http(&[], None));
    assert_eq!(nothing, json!({"time": 1_700_000_000_123_u64, "headers": "{}"}));
}

#[test]
fn a_call_has_seven_fields_in_this_order() {
    let args = built(|b| {
        b.begin_list();
        string(b, "bob");
        b.int(7);
        b.end();
    });
    let attachments = built(|b| {
        b.begin_map(None, false);
        string(b, "group");
        string(b, "blue");
        b.end();
    });
    let document = dubbo(Dubbo {
        protocol_version: Some("2.0.2".into()),
        interface: Some("lab.Demo".into()),
        service_version: Some("1.0.0".into()),
        method: Some("greet".into()),
        parameter_types: vec!["java.lang.String".into(), "int".into()],
        args,
        attachments,
        ..Dubbo::default()
    });
    assert_eq!(
        text(&document),
        concat!(
            r#"{"time":1700000000123,"dubboVer":"2.0.2","interface":"lab.Demo","ver":"1.0.0","method":"greet","args":["bob",7],"#,
            r#""raw":"[\"2.0.2\",\"lab.Demo\",\"1.0.0\",\"greet\",\"Ljava/lang/String;I\",\"bob\",7,{\"group\":\"blue\"}]"}"#
        )
    );
    assert_eq!(shape(&document).unwrap().index(), Index::Dubbo);
}

#[test]
fn arguments_are_plain_values_and_the_text_of_others() {
    let args = built(|b| {
        b.begin_list();
        b.null();
        b.bool(true);
        b.int(i64::MIN);
        b.double(f64::NAN);
        b.begin_list();
        b.int(1);
        b.begin_list();
        b.end();
        b.end();
        let kind = b.name("x.Y");
        b.begin_map(Some(kind), false);
        string(b, "password");
        string(b, "secret");
        b.end();
        b.unsigned(u64::MAX);
        b.end();
    });
    let document = dubbo(Dubbo {
        method: Some("m".into()),
        args,
        ..Dubbo::default()
    });
    assert_eq!(
        value(&document)["args"],
        json!([
            null,
            true,
            i64::MIN,
            "NaN",
            "[1,[]]",
            r#"{"@type":"x.Y","password":"<redacted>"}"#,
            u64::MAX
        ])
    );
    let object = json!({"@type": "x.Y", "password": "<redacted>"});
    assert_eq!(
        within(&document, "raw"),
        json!([
            null,
            null,
            null,
            "m",
            "",
            null,
            true,
            i64::MIN,
            "NaN",
            [1, []],
            object,
            u64::MAX,
            {}
        ])
    );
}

#[test]
fn arguments_that_are_no_list_are_one() {
    let of = |args: Json| {
        value(&dubbo(Dubbo {
            method: Some("m".into()),
            args,
            ..Dubbo::default()
        }))["args"]
            .clone()
    };
    assert_eq!(of(Json::default()), json!([]));
    assert_eq!(of(Json::null()), json!([null]));
    assert_eq!(of(built(|b| string(b, "x"))), json!(["x"]));
    assert_eq!(
        of(built(|b| {
            b.begin_map(None, false);
            b.end();
        })),
        json!(["{}"])
    );
}

#[test]
fn the_service_is_called_as_on_the_wire() {
    let document = dubbo(Dubbo {
        interface: Some("lab.Demo".into()),
        path: Some("demo/first".into()),
        ..Dubbo::default()
    });
    assert_eq!(value(&document)["interface"], "demo/first");
    assert_eq!(within(&document, "raw")[1], "demo/first");
}

#[test]
fn what_is_no_request_has_no_place() {
    for dataset in ["weir.dns", "weir.tls", "weir.flow", "weir.http", "weir.dubbo"] {
        assert!(shape(&document(dataset)).is_none(), "{dataset}");
    }
    let mut answer = http(&[], None);
    answer.http.as_mut().unwrap().request = None;
    assert!(shape(&answer).is_none());
    // Of an answer alone, or of a body in a form that is not read.
    let unread = Dubbo {
        status: Some(20),
        serialization: "kryo".into(),
        ..Dubbo::default()
    };
    assert!(shape(&dubbo(unread)).is_none());
}

#[test]
fn every_field_has_its_type() {
    let keys = |document: &Document| -> Vec<String> {
        let shaped = value(document);
        shaped.as_object().unwrap().keys().cloned().collect()
    };
    let mapped = |index| -> Vec<String> {
        let mapping = mapping(index);
        assert_eq!(mapping["dynamic"], false);
        mapping["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        keys(&http(&[("host", &["a"])], url("/", None, None))),
        mapped(Index::Http)
    );
    let call = Dubbo {
        protocol_version: Some("2.0.2".into()),
        interface: Some("i".into()),
        service_version: Some("1".into()),
        method: Some("m".into()),
        ..Dubbo::default()
    };
    assert_eq!(keys(&dubbo(call)), mapped(Index::Dubbo));
    assert_eq!(
        mapping(Index::Http)["properties"]["time"]["format"],
        "epoch_millis"
    );
}
