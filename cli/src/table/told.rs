//! What of a document stands in the columns METHOD, STATUS, HOST and TARGET: of each protocol what its users look for.
//!
//! Where nothing is known to stand under TARGET, the kind of document does.

use super::{printable, short_duration};
use serde_json::Value;

/// Those four columns.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub method: Option<String>,
    pub status: Option<String>,
    pub host: Option<String>,
    pub target: Option<String>,
}

impl Told {
    pub fn of(document: &Value) -> Self {
        let has = |pointer: &str| document.pointer(pointer).is_some();
        let told = if has("/websocket") {
            websocket(document)
        } else if has("/weir/flow") {
            flow(document)
        } else if has("/dns") {
            dns(document)
        } else if has("/tls") {
            tls(document)
        } else if has("/dubbo") && !has("/http") {
            dubbo(document)
        } else {
            http(document)
        };
        let waits = text(document, "/weir/state").filter(|state| state == "waiting");
        Self {
            status: waits.or(told.status),
            host: told.host.or_else(|| text(document, "/destination/domain")),
            target: told.target.or_else(|| text(document, "/event/dataset")),
            ..told
        }
    }
}

fn text(document: &Value, pointer: &str) -> Option<String> {
    document.pointer(pointer).and_then(Value::as_str).map(printable)
}

fn number(document: &Value, pointer: &str) -> Option<String> {
    let number = document.pointer(pointer)?.as_u64()?;
    Some(number.to_string())
}

/// HTTP of any version; gRPC and Triple on it, whose status says more than that of HTTP.
fn http(document: &Value) -> Told {
    Told {
        method: text(document, "/http/request/method"),
        status: text(document, "/rpc/response/status_code")
            .or_else(|| number(document, "/http/response/status_code")),
        host: text(document, "/url/domain"),
        target: path(document),
    }
}

/// Path and query, or the target as it was sent where it has no path.
fn path(document: &Value) -> Option<String> {
    match (text(document, "/url/path"), text(document, "/url/query")) {
        (Some(path), Some(query)) => Some(format!("{path}?{query}")),
        (Some(path), None) => Some(path),
        (None, _) => text(document, "/url/original"),
    }
}

/// Dubbo 2: the method and its interface; under TARGET both once more, with the types of the parameters where there are any.
fn dubbo(document: &Value) -> Told {
    let method = text(document, "/dubbo/method");
    let interface = text(document, "/dubbo/interface").or_else(|| text(document, "/dubbo/path"));
    let called = text(document, "/rpc/method").or_else(|| method.clone());
    let types = document
        .pointer("/dubbo/parameter_types")
        .and_then(Value::as_array);
    let types: Vec<String> = types
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(printable)
        .collect();
    Told {
        status: text(document, "/rpc/response/status_code"),
        target: called.map(|called| match types.is_empty() {
            true => called,
            false => format!("{called}({})", types.join(", ")),
        }),
        host: interface,
        method,
    }
}

/// The type that was asked for, the code, the name, and what the records of the answer say.
fn dns(document: &Value) -> Told {
    let answers = document.pointer("/dns/answers").and_then(Value::as_array);
    let data = |answers: &Vec<Value>| {
        let data = answers.iter().filter_map(|answer| answer["data"].as_str());
        data.map(printable).collect::<Vec<_>>().join(", ")
    };
    Told {
        method: text(document, "/dns/question/type"),
        status: text(document, "/dns/response_code"),
        host: text(document, "/dns/question/name"),
        target: answers.map(data),
    }
}

/// How the handshake went, with whom, what was agreed on, and the alert that ended it.
fn tls(document: &Value) -> Told {
    let protocol = text(document, "/tls/version_protocol")
        .unwrap_or_default()
        .to_uppercase();
    let version = text(document, "/tls/version").map(|version| format!("{protocol} {version}"));
    let is_alert = document.pointer("/error/type").and_then(Value::as_str) == Some("tls_alert");
    let said: Vec<String> = version
        .into_iter()
        .chain(text(document, "/tls/next_protocol"))
        .chain(text(document, "/tls/cipher"))
        .chain(text(document, "/error/message").filter(|_| is_alert))
        .collect();
    Told {
        method: Some("TLS".into()),
        status: text(document, "/event/outcome"),
        host: text(document, "/tls/client/server_name"),
        target: (!said.is_empty()).then(|| said.join(", ")),
    }
}

/// The code that closed it, and how many messages passed.
fn websocket(document: &Value) -> Told {
    let of = |side: &str| number(document, &format!("/websocket/{side}/messages"));
    let messages = of("client").zip(of("server"));
    let messages = messages.map(|(up, down)| format!("(messages: {up} from client, {down} from server)"));
    let said: Vec<String> = path(document).into_iter().chain(messages).collect();
    Told {
        method: Some("WS".into()),
        status: number(document, "/websocket/close/code"),
        host: text(document, "/url/domain"),
        target: (!said.is_empty()).then(|| said.join(" ")),
    }
}

/// Transport, how the flow stands, and how the network carried it.
fn flow(document: &Value) -> Told {
    Told {
        method: text(document, "/network/transport").map(|name| name.to_uppercase()),
        status: text(document, "/weir/flow/end").or_else(|| text(document, "/weir/flow/state")),
        host: None,
        target: carried(document),
    }
}

/// How the network carried a flow: what each side sent in this period, and what was measured until its end.
fn carried(document: &Value) -> Option<String> {
    let flow = document.pointer("/weir/flow")?;
    let number = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64);
    let (up, down) = number("/source/bytes").zip(number("/destination/bytes"))?;
    let protocol = document.pointer("/network/protocol").and_then(Value::as_str);
    let mut said = vec![format!(
        "{}: {up} bytes up, {down} down",
        printable(protocol.unwrap_or("flow"))
    )];
    let sides = |name: &str| {
        ["source", "destination"].map(|side| flow.pointer(&format!("/{side}/{name}")).and_then(Value::as_u64))
    };
    let times = sides("rtt").map(|rtt| rtt.map_or_else(|| "-".into(), short_duration));
    if sides("rtt") != [None, None] {
        said.push(format!("rtt {} and {}", times[0], times[1]));
    }
    for (name, what) in [
        ("retransmits", "sent again"),
        ("out_of_order", "out of order"),
        ("zero_windows", "windows of zero"),
        ("missed_bytes", "bytes missed"),
    ] {
        let count: u64 = sides(name).into_iter().flatten().sum();
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    }
    if let Some(lost) = number("/weir/flow/lost_packets") {
        said.push(format!("{lost} packets lost on the way here"));
    }
    Some(said.join(", "))
}
