//! Documents as lines for people: one document a line, in columns whose widths only ever grow. `told` knows what of each
//! kind of document stands in them.

mod told;

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;
use std::io::{self, Write};
use told::Told;

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
        let told = Told::of(document);
        Self {
            cells: [
                or_dash(text("/@timestamp").map(|time| short_time(&time))),
                or_dash(direction),
                or_dash(text("/source/ip")),
                or_dash(server),
                or_dash(told.method),
                or_dash(told.status),
                or_dash(number("/event/duration").map(short_duration)),
                or_dash(number("/destination/bytes").map(|bytes| bytes.to_string())),
                or_dash(told.host),
                or_dash(told.target),
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
            (STATUS, _) if !self.failed && matches!(&*self.cells[STATUS], "NOERROR" | "OK" | "success") => {
                AnsiColor::Green.on_default()
            }
            (STATUS, _) if matches!(&*self.cells[STATUS], "NXDOMAIN" | "waiting") => {
                AnsiColor::Yellow.on_default()
            }
            (STATUS, Some(b'5')) => AnsiColor::Red.on_default(),
            (STATUS, _) if self.failed => AnsiColor::Red.on_default(),
            _ => Style::new(),
        }
    }
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
mod tests;
