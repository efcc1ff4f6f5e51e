use super::*;
use serde_json::json;
use std::{fs::File, path::Path};
use weir_capture::{Bounds, Reader, Settings, Sink, Tracker};
use weir_records::{Capture, Flow, Policy};

fn printed(table: &mut Table, document: &Value) -> String {
    let mut out = Vec::new();
    table.print([document], &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn example() -> Value {
    json!({
        "@timestamp": "2026-11-22T18:40:07.123456789Z",
        "event": {"dataset": "weir.http", "outcome": "failure", "duration": 1_234_567},
        "network": {"direction": "egress"},
        "source": {"ip": "fd00:198:18::2", "port": 40000},
        "destination": {"ip": "fd00:198:18::1", "port": 8080, "bytes": 321},
        "url": {"original": "/a?b=c", "path": "/a", "query": "b=c", "domain": "shop.example"},
        "http": {"request": {"method": "GET"}, "response": {"status_code": 503}},
        "weir": {"anomalies": ["two lengths"], "truncated": true},
    })
}

#[test]
fn a_document_becomes_one_line_under_the_titles() {
    let text = printed(&mut Table::new(false), &example());
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("TIME (UTC)"), "{text}");
    let words: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "11-22 18:40:07.123 out fd00:198:18::2 [fd00:198:18::1]:8080 GET 503 1.2ms 321 shop.example /a?b=c \
         ! two lengths, truncated"
    );
    assert_eq!(lines.next(), None);
}

#[test]
fn of_dns_it_shows_type_code_name_and_answers() {
    let document = |dns: Value, error: Value| {
        json!({
            "event": {"dataset": "weir.dns", "outcome": "success"},
            "network": {"direction": "egress"},
            "source": {"ip": "198.18.0.2"},
            "destination": {"ip": "198.18.0.1", "port": 53},
            "dns": dns,
            "error": error,
        })
    };
    let question = json!({"name": "shop.example", "type": "AAAA"});
    let mut table = Table::new(false);
    let answers = json!([{"data": "store.example"}, {"data": "fd00::1\u{1b}[2J"}]);
    let dns = json!({"question": question, "response_code": "NOERROR", "answers": answers});
    let text = printed(&mut table, &document(dns, json!({})));
    assert!(text.contains("AAAA    NOERROR"), "{text}");
    assert!(
        text.ends_with("shop.example  store.example, fd00::1\\u{1b}[2J\n"),
        "{text}"
    );
    let unanswered = document(json!({"question": question}), json!({"type": "timeout"}));
    let text = printed(&mut table, &unanswered);
    assert!(text.ends_with("shop.example  weir.dns  ! timeout\n"), "{text}");
}

#[test]
fn of_a_websocket_it_shows_its_close_code_and_how_many_messages_passed() {
    let document = json!({
        "event": {"dataset": "weir.websocket", "outcome": "success"},
        "network": {"direction": "ingress"},
        "destination": {"ip": "198.18.0.1", "port": 80, "bytes": 99},
        "url": {"path": "/chat", "domain": "shop.example"},
        "websocket": {"client": {"messages": 2}, "server": {"messages": 31}, "close": {"code": 1000}},
    });
    let text = printed(&mut Table::new(false), &document);
    assert!(text.contains("WS      1000"), "{text}");
    assert!(
        text.ends_with("shop.example  /chat (messages: 2 from client, 31 from server)\n"),
        "{text}"
    );
}

#[test]
fn of_a_flow_it_shows_how_it_stands_and_how_the_network_carried_it() {
    let document = json!({
        "event": {"dataset": "weir.flow", "duration": 60_000_000_000_u64},
        "network": {"direction": "egress", "transport": "tcp", "protocol": "http"},
        "source": {"ip": "198.18.0.2", "bytes": 120},
        "destination": {"ip": "198.18.0.1", "port": 80, "bytes": 3456, "domain": "shop.example"},
        "weir": {"flow": {
            "state": "closed",
            "end": "reset",
            "source": {"rtt": 30_000_000, "retransmits": 1},
            "destination": {"rtt": 45_000, "retransmits": 2},
        }},
        "error": {"type": "connection_reset"},
    });
    let text = printed(&mut Table::new(false), &document);
    assert!(text.contains("TCP     reset"), "{text}");
    let end =
        "shop.example  http: 120 bytes up, 3456 down, rtt 30ms and 45µs, 3 sent again  ! connection_reset\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn titles_come_once_and_widths_never_shrink() {
    let mut table = Table::new(false);
    let first = printed(&mut table, &example());
    let second = printed(
        &mut table,
        &json!({"@timestamp": "x", "source": {"ip": "1.2.3.4"}}),
    );
    assert_eq!((first.lines().count(), second.lines().count()), (2, 1));
    let title = first.lines().next().unwrap();
    assert_eq!(second.find("1.2.3.4"), title.find("CLIENT"));
}

#[test]
fn colours_are_written_only_if_wanted() {
    assert!(!printed(&mut Table::new(false), &example()).contains('\x1b'));
    let text = printed(&mut Table::new(true), &example());
    assert!(text.contains("\x1b[31m503\x1b[0m"), "{text:?}");
}

#[test]
fn what_was_on_the_wire_cannot_steer_the_terminal() {
    let document =
        json!({"url": {"path": "/\u{1b}[2J\n\u{202e}"}, "http": {"request": {"method": "G\u{7}"}}});
    let text = printed(&mut Table::new(false), &document);
    assert_eq!(text.lines().count(), 2, "{text:?}");
    assert!(
        text.contains("/\\u{1b}[2J\\n\\u{202e}") && text.contains("G\\u{7}"),
        "{text:?}"
    );
}

#[test]
fn durations_are_short() {
    for (ns, text) in [
        (999, "999ns"),
        (350_400, "350µs"),
        (1_250_000, "1.2ms"),
        (42_000_000, "42ms"),
        (2_345_000_000, "2.35s"),
    ] {
        assert_eq!(short_duration(ns), text);
    }
}

/// What is under METHOD, STATUS, HOST, and from TARGET on.
fn told(document: &Value) -> [String; 4] {
    let text = printed(&mut Table::new(false), document);
    let (titles, line) = text.split_once('\n').unwrap();
    let from = |title: &str| {
        let at = titles.find(title).unwrap();
        line.chars()
            .skip(titles[..at].chars().count())
            .collect::<String>()
    };
    let word = |title| {
        from(title)
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    [
        word("METHOD"),
        word("STATUS"),
        word("HOST"),
        from("TARGET").trim_end().to_owned(),
    ]
}

/// Documents as they are printed.
struct Rows(Policy, Vec<Value>);

impl Sink for Rows {
    fn exchange(&mut self, flow: &Flow, exchange: weir_protocols::Exchange) {
        self.1
            .push(serde_json::to_value(exchange.document(flow, &self.0)).unwrap());
    }
}

#[test]
fn of_a_captured_dubbo_call_it_shows_interface_method_and_status() {
    let config = weir_config::Config::default();
    let mut tracker = Tracker::new(Settings {
        capture: Capture::Pcap,
        host: None,
        local: Vec::new(),
        select: None,
        decoders: weir_protocols::Decoders::from(&config),
        bounds: Bounds::default(),
        flows: None,
    });
    let name = "../capture/tests/corpus/repro/dubbo-table.pcap";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut reader = Reader::new(File::open(file).unwrap()).unwrap();
    let mut rows = Rows(Policy::new(&config.records), Vec::new());
    while let Some(packet) = reader.next_packet().unwrap() {
        tracker.packet(&packet, &mut rows);
    }
    tracker.finish(&mut rows);
    let told: Vec<_> = rows.1.iter().map(told).collect();
    assert_eq!(told, [["hi", "OK", "demo.Api", "demo.Api/hi(java.lang.String)"]]);
}

#[test]
fn of_a_call_it_shows_what_was_called_and_how_that_went() {
    let grpc = json!({
        "event": {"dataset": "weir.http", "outcome": "failure"},
        "url": {"path": "/shop.Order/Get", "domain": "orders"},
        "http": {"request": {"method": "POST"}, "response": {"status_code": 200}},
        "rpc": {"method": "shop.Order/Get", "response": {"status_code": "NOT_FOUND"}},
    });
    assert_eq!(told(&grpc), ["POST", "NOT_FOUND", "orders", "/shop.Order/Get"]);
    let without_status = json!({
        "http": {"request": {"method": "POST"}, "response": {"status_code": 503}},
        "rpc": {"method": "shop.Order/Get"},
    });
    assert_eq!(told(&without_status)[1], "503");
    let dubbo = json!({
        "event": {"dataset": "weir.dubbo", "outcome": "unknown"},
        "weir": {"state": "waiting"},
        "rpc": {"method": "shop.Order/get"},
        "dubbo": {"interface": "shop.Order", "method": "get\u{1b}[2J", "parameter_types": ["int", "a.B"]},
    });
    assert_eq!(
        told(&dubbo),
        [
            "get\\u{1b}[2J",
            "waiting",
            "shop.Order",
            "shop.Order/get(int, a.B)"
        ]
    );
    let unread = json!({"event": {"dataset": "weir.dubbo"}, "dubbo": {"request_id": 1}});
    assert_eq!(told(&unread), ["-", "-", "-", "weir.dubbo"]);
}

#[test]
fn of_tls_it_shows_name_version_and_the_alert() {
    let mut document = json!({
        "event": {"dataset": "weir.tls", "outcome": "success"},
        "tls": {
            "version": "1.2", "version_protocol": "tls", "next_protocol": "h2", "cipher": "TLS_A",
            "client": {"server_name": "shop.example"},
        },
    });
    assert_eq!(
        told(&document),
        ["TLS", "success", "shop.example", "TLS 1.2, h2, TLS_A"]
    );
    document["event"]["outcome"] = "failure".into();
    document["error"] = json!({"type": "tls_alert", "message": "the server said no"});
    let [_, status, _, target] = told(&document);
    assert_eq!(status, "failure");
    assert_eq!(target, "TLS 1.2, h2, TLS_A, the server said no  ! tls_alert");
}
