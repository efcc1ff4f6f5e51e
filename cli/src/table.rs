//! Documents as lines for people: one document a line, in columns whose widths only ever grow.

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;
use std::io::{self, Write};

const TITLES: [&str; 10] = [
    "TIME (UTC)",
    "DIR",
    "CLIENT",
    "SERVER",
    "METHOD",
    "STATUS",
    "TOOK",
    "BYTES",
    "HOST",
    "TARGET",
];
/// Columns that hold numbers stand at the right.
const RIGHT: [bool; 10] = [false, false, false, false, false, false, true, true, false, false];
/// A first guess that fits IPv4, so that the columns seldom move.
const WIDTHS: [usize; 10] = [18, 3, 12, 17, 6, 6, 6, 6, 9, 0];
const DIRECTION: usize = 1;
const STATUS: usize = 5;

/// Prints documents.
pub struct Table {
    widths: [usize; 10],
    color: bool,
    titled: bool,
}

struct Row {
    cells: [String; 10],
    /// What is out of the ordinary about the exchange.
    notes: String,
    failed: bool,
}

impl Table {
    /// A table that has printed nothing yet.
    pub fn new(color: bool) -> Self {
        Self {
            widths: WIDTHS,
            color,
            titled: false,
        }
    }

    /// Prints a line for each document, and the titles before the first of all.
    pub fn print<'a>(
        &mut self,
        documents: impl IntoIterator<Item = &'a Value>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let rows: Vec<Row> = documents.into_iter().map(Row::of).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.titled && !rows.is_empty() {
            self.titled = true;
            let titles = TITLES.map(String::from);
            self.line(&titles, |_| Style::new().bold(), out)?;
            writeln!(out)?;
        }
        for row in rows {
            self.line(&row.cells, |column| row.style(column), out)?;
            if !row.notes.is_empty() {
                self.cell(&format!("  ! {}", row.notes), AnsiColor::Red.on_default(), out)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn line(
        &self,
        cells: &[String; 10],
        style: impl Fn(usize) -> Style,
        out: &mut impl Write,
    ) -> io::Result<()> {
        for (column, text) in cells.iter().enumerate() {
            if column > 0 {
                out.write_all(b"  ")?;
            }
            let padding = self.widths[column].saturating_sub(text.chars().count());
            let last = column + 1 == cells.len();
            let (before, after) = match (RIGHT[column], last) {
                (true, _) => (padding, 0),
                (false, false) => (0, padding),
                (false, true) => (0, 0),
            };
            write!(out, "{:before$}", "")?;
            self.cell(text, style(column), out)?;
            write!(out, "{:after$}", "")?;
        }
        Ok(())
    }

    fn cell(&self, text: &str, style: Style, out: &mut impl Write) -> io::Result<()> {
        if self.color && style != Style::new() {
            write!(out, "{style}{text}{style:#}")
        } else {
            out.write_all(text.as_bytes())
        }
    }
}

impl Row {
    fn of(document: &Value) -> Self {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(printable);
        let number = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let server_port = number("/destination/port").map_or_else(String::new, |port| format!(":{port}"));
        let server = text("/destination/ip").map(|ip| match ip.contains(':') {
            true => format!("[{ip}]{server_port}"),
            false => format!("{ip}{server_port}"),
        });
        let direction = text("/network/direction").map(|direction| match direction.as_str() {
            "ingress" => "in".into(),
            "egress" => "out".into(),
            "unknown" => "-".into(),
            _ => direction,
        });
        // Of DNS: the type that was asked for, the code, the name, the answers; of a WebSocket: the code that closed it, and
        // how many messages passed; of a flow as a whole: its transport, how it stands, and how the network carried it. Where
        // nothing is known to stand there, the dataset stands where the target would.
        let flow = document.pointer("/weir/flow");
        let named = match (document.get("websocket"), flow) {
            (Some(_), _) => Some("WS".to_owned()),
            (None, Some(_)) => text("/network/transport").map(|name| name.to_uppercase()),
            (None, None) => None,
        };
        let method = text("/http/request/method")
            .or_else(|| text("/dns/question/type"))
            .or(named);
        let status = number("/http/response/status_code").or_else(|| number("/websocket/close/code"));
        let status = status.map(|status| status.to_string());
        let stands = || text("/weir/flow/end").or_else(|| text("/weir/flow/state"));
        let host = text("/url/domain").or_else(|| text("/dns/question/name"));
        let target = target(document)
            .or_else(|| answers(document))
            .or_else(|| carried(document))
            .or_else(|| text("/event/dataset"));
        Self {
            cells: [
                or_dash(text("/@timestamp").map(|time| short_time(&time))),
                or_dash(direction),
                or_dash(text("/source/ip")),
                or_dash(server),
                or_dash(method),
                or_dash(status.or_else(|| text("/dns/response_code")).or_else(stands)),
                or_dash(number("/event/duration").map(short_duration)),
                or_dash(number("/destination/bytes").map(|bytes| bytes.to_string())),
                or_dash(host.or_else(|| text("/destination/domain"))),
                or_dash(target),
            ],
            notes: notes(document).join(", "),
            failed: document.pointer("/event/outcome").and_then(Value::as_str) == Some("failure"),
        }
    }

    fn style(&self, column: usize) -> Style {
        match (column, self.cells[column].as_bytes().first()) {
            (DIRECTION, _) if self.cells[DIRECTION] == "out" => AnsiColor::Magenta.on_default(),
            (DIRECTION, _) => AnsiColor::Blue.on_default(),
            (STATUS, Some(b'1' | b'2')) => AnsiColor::Green.on_default(),
            (STATUS, Some(b'3')) => AnsiColor::Cyan.on_default(),
            (STATUS, Some(b'4')) => AnsiColor::Yellow.on_default(),
            (STATUS, _) if self.cells[STATUS] == "NOERROR" => AnsiColor::Green.on_default(),
            (STATUS, _) if self.cells[STATUS] == "NXDOMAIN" => AnsiColor::Yellow.on_default(),
            (STATUS, Some(b'5')) => AnsiColor::Red.on_default(),
            (STATUS, _) if self.failed => AnsiColor::Red.on_default(),
            _ => Style::new(),
        }
    }
}

/// Path and query, or the target as it was sent where it has no path.
fn target(document: &Value) -> Option<String> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(printable);
    let target = match (text("/url/path"), text("/url/query")) {
        (Some(path), Some(query)) => Some(format!("{path}?{query}")),
        (Some(path), None) => Some(path),
        (None, _) => text("/url/original"),
    };
    match messages(document) {
        Some(messages) => Some(
            format!("{} ({messages})", target.unwrap_or_default())
                .trim_start()
                .into(),
        ),
        None => target,
    }
}

/// How many messages passed on a WebSocket connection.
fn messages(document: &Value) -> Option<String> {
    let of = |side: &str| document.pointer(&format!("/websocket/{side}/messages"))?.as_u64();
    let (client, server) = of("client").zip(of("server"))?;
    Some(format!("messages: {client} from client, {server} from server"))
}

/// What the records of a DNS answer say; nothing where there are none.
fn answers(document: &Value) -> Option<String> {
    let answers = document.pointer("/dns/answers")?.as_array()?;
    let data: Vec<String> = answers
        .iter()
        .filter_map(|answer| answer["data"].as_str())
        .map(printable)
        .collect();
    Some(data.join(", "))
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

fn notes(document: &Value) -> Vec<String> {
    let set = |pointer: &str| document.pointer(pointer).and_then(Value::as_bool) == Some(true);
    let error = document
        .pointer("/error/type")
        .and_then(Value::as_str)
        .map(printable);
    let anomalies = document
        .pointer("/weir/anomalies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(printable);
    error
        .into_iter()
        .chain(anomalies)
        .chain(set("/weir/late_join").then(|| "late join".into()))
        .chain(set("/weir/truncated").then(|| "truncated".into()))
        .collect()
}

/// The text with everything escaped that could move the cursor, change the terminal or turn the line around: what
/// was on the wire was written by strangers.
pub fn printable(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `2026-11-22T18:40:07.123456789Z` as `11-22 18:40:07.123`; anything else as it is.
fn short_time(time: &str) -> String {
    match (time.get(5..10), time.get(10..11), time.get(11..23)) {
        (Some(date), Some("T"), Some(clock)) => format!("{date} {clock}"),
        _ => time.into(),
    }
}

/// Nanoseconds in the unit that reads best.
pub fn short_duration(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{:.0}µs", value / 1e3),
        1_000_000..10_000_000 => format!("{:.1}ms", value / 1e6),
        10_000_000..1_000_000_000 => format!("{:.0}ms", value / 1e6),
        _ => format!("{:.2}s", value / 1e9),
    }
}

/// A number of bytes in the unit that reads best.
pub fn short_bytes(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1}{name}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let end = "shop.example  http: 120 bytes up, 3456 down, rtt 30ms and 45µs, 3 sent again  ! connection_reset\n";
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
}
