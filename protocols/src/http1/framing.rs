//! Where a message's body ends, and everything that makes this doubtful.
//!
//! Two readers that disagree on the end of a body is how requests are smuggled. So whatever two sound programs may read
//! differently is noted with what was seen, and then no end is given at all.

use super::body::Body;
use super::fields::Spans;
use super::head::{Lines, Version, is_token, is_token_byte, trim, trimmed};
use crate::Side;
use crate::http::Style;
use memchr::{memchr, memchr_iter};
use std::ops::Range;

/// Most anomalies that one exchange carries.
const MAX_ANOMALIES: usize = 16;
/// Most bytes of a value that an anomaly shows.
const MAX_SEEN: usize = 64;

/// What a head says about framing, gathered line by line.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// Fields of the head.
    pub count: u64,
    /// What was odd, with what was seen.
    pub anomalies: Vec<String>,
    /// A line was no field.
    pub irregular: bool,
    /// An `Upgrade` field was there.
    pub upgrade: bool,
    /// `Expect: 100-continue` was there.
    pub expects: bool,
    /// How a call stands in the message, if it holds one.
    pub style: Option<Style>,
    /// Where the fields stand.
    pub spans: Spans,
    length: Option<u64>,
    /// Every Content-Length as it was sent, once there is something to say about them.
    lengths: Vec<String>,
    codings: Vec<String>,
    doubtful: bool,
    /// The line before was one that says where the body ends.
    after_framing: bool,
}

/// Adds an anomaly; one of a kind is enough.
pub(crate) fn note(anomalies: &mut Vec<String>, kind: &str, seen: &str) {
    let known = anomalies.iter().any(|a| a.split(':').next() == Some(kind));
    if !known && anomalies.len() < MAX_ANOMALIES {
        anomalies.push(if seen.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}: {seen}")
        });
    }
}

/// Bytes as an anomaly shows them: quoted, escaped, capped.
pub(crate) fn quote(bytes: &[u8]) -> String {
    match bytes.get(..MAX_SEEN) {
        Some(cut) if bytes.len() > MAX_SEEN => format!("\"{}\"… ({} bytes)", cut.escape_ascii(), bytes.len()),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// Notes odd lines among trailers, which never frame anything.
pub(super) fn note_lines(anomalies: &mut Vec<String>, trailers: &[u8]) {
    let mut fields = Fields::default();
    for line in Lines(trailers).filter(|line| line.ended && !line.bytes.is_empty()) {
        fields.line(line.bytes, false);
    }
    if fields.frames() {
        fields.note("framing_in_trailer", "");
    }
    for anomaly in fields.anomalies {
        let (kind, seen) = anomaly.split_once(": ").unwrap_or((&anomaly, ""));
        note(anomalies, kind, seen);
    }
}

/// Looks for a CR without its LF in bytes that come piece by piece.
#[derive(Clone, Debug, Default)]
pub(super) struct CrWatch {
    /// One was found.
    pub bare: bool,
    open: bool,
}

impl CrWatch {
    pub fn see(&mut self, piece: &[u8]) {
        let Some((last, _)) = piece.split_last() else {
            return;
        };
        self.bare |= self.open && piece[0] != b'\n';
        self.bare |= memchr_iter(b'\r', piece).any(|at| piece.get(at + 1).is_some_and(|next| *next != b'\n'));
        self.open = *last == b'\r';
    }
}

impl Fields {
    /// Reads the complete lines of a head, the start line first, up to the empty one, if that is there; and where it ends.
    pub fn read(bytes: &[u8]) -> (Self, Option<usize>) {
        let mut fields = Self {
            spans: Spans::begin(),
            ..Self::default()
        };
        let (mut at, mut crs, mut end) = (0, 0, None);
        while end.is_none()
            && let Some(line) = Lines(&bytes[at..]).next()
            && line.ended
        {
            let start = at;
            at += line.bytes.len() + usize::from(line.crlf) + 1;
            crs += usize::from(line.crlf);
            if !line.crlf {
                fields.note("bare_lf", "");
            }
            if line.bytes.is_empty() {
                end = Some(at).filter(|_| start > 0);
            } else if start > 0 {
                let field = fields.line(line.bytes, false);
                fields.spans.push(start, field);
            }
        }
        if end.is_none() {
            fields.spans.give_up();
        }
        // A CR anywhere else ends a line for some readers and for others it does not.
        if memchr_iter(b'\r', &bytes[..at]).count() != crs {
            fields.doubt("bare_cr", "");
        }
        let head = &bytes[..end.unwrap_or(bytes.len())];
        if memchr(0, head).is_some() {
            fields.note("nul", "");
        }
        (fields, end)
    }

    pub fn note(&mut self, kind: &str, seen: &str) {
        note(&mut self.anomalies, kind, seen);
    }

    /// Notes what makes the end of the body doubtful.
    pub fn doubt(&mut self, kind: &str, seen: &str) {
        self.doubtful = true;
        self.note(kind, seen);
    }

    /// Reads one line after the start line; `cut` when more of it was there. Says where name and value stand in it, if it is
    /// a field as it should be.
    pub fn line(&mut self, line: &[u8], cut: bool) -> Option<(Range<usize>, Range<usize>)> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            let kind = if self.count == 0 {
                "space_before_first_header"
            } else {
                "obs_fold"
            };
            if self.after_framing || resembles_framing(line) {
                self.doubt(kind, &quote(trim(line)));
            } else {
                self.note(kind, "");
            }
            return None;
        }
        self.count += 1;
        self.after_framing = false;
        let token = line.iter().take_while(|byte| is_token_byte(**byte)).count();
        if token == 0 || line.get(token) != Some(&b':') {
            self.no_field(line);
            return None;
        }
        let value = trimmed(line, token + 1..line.len());
        self.regular(&line[..token], &line[value.clone()], cut);
        Some((0..token, value))
    }

    fn no_field(&mut self, line: &[u8]) {
        let Some(colon) = memchr(b':', line) else {
            let word = line.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
            return self.irregular("header_without_colon", word, line);
        };
        let name = &line[..colon];
        let kind = if is_token(trim(name)) {
            "space_before_colon"
        } else {
            "invalid_header_name"
        };
        self.irregular(kind, name, line);
    }

    fn irregular(&mut self, kind: &str, seen: &[u8], line: &[u8]) {
        self.irregular = true;
        if resembles_framing(line) {
            self.after_framing = true;
            self.doubt(kind, &quote(seen));
        } else {
            self.note(kind, &quote(seen));
        }
    }

    fn regular(&mut self, name: &[u8], value: &[u8], cut: bool) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.after_framing = true;
                self.content_length(value, cut);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.after_framing = true;
                self.codings.push(String::from_utf8_lossy(value).into_owned());
                self.doubtful |= cut;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            12 if may_be_call(value) && name.eq_ignore_ascii_case(b"content-type") => {
                self.style = Style::of(value).or(self.style);
            }
            24 if name.eq_ignore_ascii_case(b"connect-protocol-version") => {
                self.style = self.style.or(Some(Style::Unary));
            }
            // (Programs that fold `-` to `_` take these for what they resemble.)
            14 if name.eq_ignore_ascii_case(b"content_length") => {
                self.note("framing_lookalike", &quote(name))
            }
            17 if name.eq_ignore_ascii_case(b"transfer_encoding") => {
                self.note("framing_lookalike", &quote(name));
            }
            10 if value.len() >= 14 && name.eq_ignore_ascii_case(b"connection") && names_framing(value) => {
                self.note("framing_in_connection", &quote(value));
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects = value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    }

    /// One Content-Length field; a list of equal numbers counts as repeats (RFC 9110, 8.6).
    fn content_length(&mut self, value: &[u8], cut: bool) {
        let odd =
            self.length.is_some() || value.first() == Some(&b'0') && value.len() > 1 || value.contains(&b',');
        if let Some(first) = self.length.filter(|_| self.lengths.is_empty()) {
            self.lengths.push(first.to_string());
        }
        if odd || !self.lengths.is_empty() {
            self.lengths.push(String::from_utf8_lossy(value).into_owned());
        }
        for part in value.split(|b| *b == b',') {
            match (decimal(trim(part)).filter(|_| !cut), self.length) {
                (None, _) => return self.doubt("content_length_invalid", &quote(value)),
                (Some(n), Some(first)) if n != first => {
                    let seen = list(&self.lengths);
                    return self.doubt("content_length_differs", &seen);
                }
                (Some(n), _) => self.length = Some(n),
            }
        }
    }

    /// Weighs what the lines of this side said together. To be called once, after the last line.
    ///
    /// Where RFC 9112, 6.3, says how a response ends although its fields are not as they should be, that holds. A request
    /// of that kind is one that two readers may end at different places.
    pub fn finish(&mut self, side: Side, version: Option<Version>) {
        if !self.lengths.is_empty() && !self.doubtful {
            let kind = if self.lengths.len() > 1 || self.lengths[0].contains(',') {
                "content_length_repeated"
            } else {
                "content_length_leading_zeros"
            };
            let seen = list(&self.lengths);
            self.note(kind, &seen);
        }
        if self.codings.is_empty() {
            return;
        }
        let seen = list(&self.codings);
        if self.codings.len() > 1 {
            self.weigh(side, "transfer_encoding_repeated", &seen);
        } else if !chunked_is_last(&self.codings[0]) {
            self.weigh(side, "transfer_encoding_unknown", &seen);
        }
        if version != Some(Version::V11) {
            self.doubt("transfer_encoding_in_http_1_0", &seen);
        }
        if self.frames_by_length() {
            let lengths = match self.length {
                Some(length) if self.lengths.is_empty() => format!("\"{length}\""),
                _ => list(&self.lengths),
            };
            let seen = format!("{lengths}, {seen}");
            self.weigh(side, "content_length_and_transfer_encoding", &seen);
        }
    }

    /// Notes what makes the end of a request's body doubtful, and not that of a response's.
    fn weigh(&mut self, side: Side, kind: &str, seen: &str) {
        match side {
            Side::Client => self.doubt(kind, seen),
            Side::Server => self.note(kind, seen),
        }
    }

    /// The body that these fields announce; `None` where its end is in doubt.
    /// `unsaid` is what holds when they announce none.
    pub fn body(&self, unsaid: Body) -> Option<Body> {
        if self.doubtful {
            return None;
        }
        match self.length {
            // (The last coding of a response that is not `chunked` leaves its end to that of the connection.)
            _ if self.codings.last().is_some_and(|codings| !ends_chunked(codings)) => Some(Body::UntilClose),
            _ if !self.codings.is_empty() => Some(Body::chunked()),
            Some(length) => Some(Body::Length(length)),
            None => Some(unsaid),
        }
    }

    /// A field that frames the body was there.
    fn frames(&self) -> bool {
        self.frames_by_length() || !self.codings.is_empty()
    }

    fn frames_by_length(&self) -> bool {
        self.length.is_some() || !self.lengths.is_empty()
    }

    /// They announce a body, an empty one aside.
    pub fn announce_body(&self) -> bool {
        !self.codings.is_empty() || self.length.is_some_and(|n| n > 0) || !self.lengths.is_empty()
    }
}

fn list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().take(4).map(|v| quote(v.as_bytes())).collect();
    quoted.join(", ")
}

/// Digits and nothing else, and not more than any program can count.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))
        .filter(|n| i64::try_from(*n).is_ok())
}

/// A content type may be one of calls: `application/` and the letter that their names begin with.
fn may_be_call(content_type: &[u8]) -> bool {
    matches!(content_type.get(12), Some(b'g' | b'G' | b'c' | b'C'))
}

/// A list of field names holds one that frames the body: whoever passes the message on would take that away.
fn names_framing(list: &[u8]) -> bool {
    list.split(|byte| *byte == b',').map(trim).any(|name| {
        name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
    })
}

/// The last coding is chunked.
fn ends_chunked(value: &str) -> bool {
    let last = value.rsplit(',').next().unwrap_or(value);
    last.trim_matches([' ', '\t']).eq_ignore_ascii_case("chunked")
}

/// Known codings, and chunked once, at the end.
fn chunked_is_last(value: &str) -> bool {
    let mut codings: Vec<_> = value
        .split(',')
        .map(|c| c.trim_matches([' ', '\t']).to_ascii_lowercase())
        .collect();
    codings.pop().as_deref() == Some("chunked")
        && codings
            .iter()
            .all(|c| matches!(&**c, "gzip" | "x-gzip" | "deflate" | "compress" | "x-compress"))
}

/// Some reader may take this line for a field that frames the body.
fn resembles_framing(line: &[u8]) -> bool {
    let plain: Vec<u8> = line
        .iter()
        .take(64)
        .filter(|b| b.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
        .collect();
    plain.starts_with(b"contentlength") || plain.starts_with(b"transferencoding")
}
