//! What makes a message malformed (RFC 9113, 8.1 to 8.5), looked for while its header blocks are read.
//!
//! A peer that turns HTTP/2 into HTTP/1 without these checks lets requests be smuggled: by a field that frames a body in
//! HTTP/1, by a line break within a value, by two readings of one target. Each field is looked at, also where it is not
//! kept. An anomaly names a field, or shows a few bytes that can be no secret; a value never stands in it.

use super::faults::Fault;
use super::hpack::Fields;
use crate::http1::{is_token_byte, quote};
use memchr::memchr3;

/// Most bytes of a status that an anomaly shows.
const STATUS: usize = 4;

/// Most digits of a number, leading zeros included.
const DIGITS: usize = 32;

/// Where a list of fields stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The head of a request, that of a promise too.
    Request,
    /// The head of a response, an interim one too.
    Response,
    Trailers,
}

/// A pseudo-header that is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
}

impl Pseudo {
    const ALL: [Self; 6] = [
        Self::Method,
        Self::Scheme,
        Self::Authority,
        Self::Path,
        Self::Protocol,
        Self::Status,
    ];

    fn name(self) -> &'static [u8] {
        match self {
            Self::Method => b":method",
            Self::Scheme => b":scheme",
            Self::Authority => b":authority",
            Self::Path => b":path",
            Self::Protocol => b":protocol",
            Self::Status => b":status",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What is wrong with the bytes of a name and of a value. An entry of HPACK's table keeps its own, so that bytes are looked
/// at once, however often an index stands for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    const UPPER_CASE: u8 = 1;
    const NO_NAME: u8 = 2;
    const LINE_BREAK: u8 = 4;
    const NUL: u8 = 8;
    const SPACE: u8 = 16;

    /// Those of a name.
    pub fn of_name(name: &[u8]) -> Self {
        let is_name = |byte: &u8| is_token_byte(*byte) && !byte.is_ascii_uppercase();
        Self(match name {
            [] | [b':', ..] => 0,
            _ if name.iter().all(is_name) => 0,
            _ if is_token(name) => Self::UPPER_CASE,
            _ => Self::NO_NAME,
        })
    }

    /// The name's of these, and those of a value.
    pub fn with_value(self, value: &[u8]) -> Self {
        let mut marks = self.0 & (Self::UPPER_CASE | Self::NO_NAME);
        let mut mark = |is: bool, mark: u8| marks |= if is { mark } else { 0 };
        if let Some(at) = memchr3(b'\r', b'\n', 0, value) {
            let rest = &value[at..];
            let breaks = rest.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
            mark(breaks, Self::LINE_BREAK);
            mark(rest.contains(&0), Self::NUL);
        }
        let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        mark(space(value.first()) || space(value.last()), Self::SPACE);
        Self(marks)
    }

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }
}

/// What the fields of a list break, found one by one.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// One of a kind, with what was seen.
    faults: Vec<(Fault, String)>,
    /// The pseudo-headers that were there.
    pseudo: u8,
    /// A regular field was there.
    regular: bool,
    hosts: u8,
    length: Option<u64>,
    grpc_status: Option<u64>,
}

impl Rules {
    /// Looks at the next field; what is unknown of it is absent.
    #[inline]
    pub fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>, marks: Marks) {
        if marks != Marks::default() {
            self.marked(name.unwrap_or(b"?"), marks);
        }
        match name.map(<[u8]>::first) {
            Some(Some(b':')) => self.pseudo(name.unwrap_or_default(), value.unwrap_or_default()),
            Some(Some(_)) => self.regular(name.unwrap_or_default(), value),
            Some(None) => self.fault(Fault::EmptyName, String::new),
            None => {}
        }
    }

    /// Names what the bytes of a field are wrong in.
    fn marked(&mut self, name: &[u8], marks: Marks) {
        for (mark, fault) in [
            (Marks::UPPER_CASE, Fault::UpperCaseName),
            (Marks::NO_NAME, Fault::InvalidName),
            (Marks::LINE_BREAK, Fault::LineBreak),
            (Marks::NUL, Fault::Nul),
            (Marks::SPACE, Fault::SpaceAround),
        ] {
            if marks.has(mark) {
                self.fault(fault, || shown(name));
            }
        }
    }

    /// Adds one, if there is none of its kind.
    pub fn fault(&mut self, fault: Fault, seen: impl FnOnce() -> String) {
        if !self.faults.iter().any(|(known, _)| *known == fault) {
            self.faults.push((fault, seen()));
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        if self.regular {
            self.fault(Fault::PseudoAfterField, || shown(name));
        }
        let Some(pseudo) = Pseudo::ALL.into_iter().find(|pseudo| pseudo.name() == name) else {
            return self.fault(Fault::PseudoUnknown, || shown(name));
        };
        if self.pseudo & pseudo.bit() != 0 {
            return self.fault(Fault::PseudoRepeated, || shown(name));
        }
        self.pseudo |= pseudo.bit();
        match pseudo {
            Pseudo::Method if !is_token(value) => self.fault(Fault::InvalidMethod, || shown(value)),
            Pseudo::Scheme if !is_scheme(value) => self.fault(Fault::InvalidScheme, String::new),
            Pseudo::Path => {
                if let Some(why) = wrong_path(value) {
                    self.fault(Fault::InvalidPath, || why.to_owned());
                }
            }
            Pseudo::Authority if value.contains(&b'@') => self.fault(Fault::Userinfo, String::new),
            Pseudo::Status if !is_status(value) => {
                self.fault(Fault::InvalidStatus, || quote(&value[..value.len().min(STATUS)]));
            }
            _ => {}
        }
    }

    #[inline]
    fn regular(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.regular = true;
        match name.len() {
            2 | 4 | 7 | 10 | 11 | 14 | 16 | 17 => self.framing(name, value.unwrap_or_default()),
            _ => {}
        }
    }

    /// Fields that belong to a connection of HTTP/1, or say where a body ends and where a request goes.
    fn framing(&mut self, name: &[u8], value: &[u8]) {
        let is = |own: &[u8]| name.eq_ignore_ascii_case(own);
        let of_connection: [&[u8]; 5] = [
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"transfer-encoding",
            b"upgrade",
        ];
        if of_connection.into_iter().any(is) || is(b"te") && !value.eq_ignore_ascii_case(b"trailers") {
            self.connection_field(name);
        } else if is(b"content-length") {
            self.content_length(value);
        } else if is(b"content_length") || is(b"transfer_encoding") {
            self.fault(Fault::FramingLookAlike, || shown(name));
        } else if is(b"host") {
            self.hosts = self.hosts.saturating_add(1);
        } else if is(b"grpc-status") {
            self.grpc_status(value);
        }
    }

    /// Such fields are told all, in one anomaly.
    fn connection_field(&mut self, name: &[u8]) {
        let name = quote(&name.to_ascii_lowercase());
        match self
            .faults
            .iter_mut()
            .find(|(fault, _)| *fault == Fault::ConnectionField)
        {
            None => self.faults.push((Fault::ConnectionField, name)),
            Some((_, seen)) if !seen.contains(&name) => *seen = format!("{seen}, {name}"),
            Some(_) => {}
        }
    }

    fn content_length(&mut self, value: &[u8]) {
        match (decimal(value), self.length) {
            (None, _) => self.fault(Fault::LengthInvalid, || quote(value)),
            (Some(length), Some(first)) if length != first => {
                self.fault(Fault::LengthDiffers, || format!("\"{first}\", \"{length}\""));
            }
            (Some(length), Some(_)) => self.fault(Fault::LengthRepeated, || format!("\"{length}\"")),
            (length, None) => self.length = length,
        }
    }

    fn grpc_status(&mut self, value: &[u8]) {
        let status = decimal(value);
        if self.grpc_status.is_some() && self.grpc_status != status {
            self.fault(Fault::StatusRepeated, String::new);
        }
        self.grpc_status = status;
    }

    /// The Content-Length, where all that were there agree.
    pub fn length(&self) -> Option<u64> {
        let doubtful =
            |(fault, _): &(Fault, String)| matches!(fault, Fault::LengthInvalid | Fault::LengthDiffers);
        self.length.filter(|_| !self.faults.iter().any(doubtful))
    }

    /// All that is wrong with a list that stands here, with what was seen.
    pub fn finish(mut self, place: Place, fields: &Fields) -> Vec<(Fault, String)> {
        match place {
            Place::Request => self.request(fields),
            Place::Response => self.response(fields),
            Place::Trailers => self.trailers(),
        }
        if self.hosts > 1 {
            self.fault(Fault::HostRepeated, String::new);
        }
        self.faults
    }

    fn has(&self, pseudo: Pseudo) -> bool {
        self.pseudo & pseudo.bit() != 0
    }

    fn request(&mut self, fields: &Fields) {
        if self.has(Pseudo::Status) {
            self.misplaced(Pseudo::Status);
        }
        let connects = fields.get(b":method") == Some(b"CONNECT");
        let extended = self.has(Pseudo::Protocol);
        if extended && !connects && fields.get(b":method").is_some() {
            self.misplaced(Pseudo::Protocol);
        }
        let mut wanted = vec![Pseudo::Method];
        if connects && !extended {
            wanted.push(Pseudo::Authority);
            for pseudo in [Pseudo::Scheme, Pseudo::Path] {
                if self.has(pseudo) {
                    self.misplaced(pseudo);
                }
            }
        } else {
            wanted.extend([Pseudo::Scheme, Pseudo::Path]);
        }
        self.want(&wanted, fields);
        let path = fields.get(b":path");
        if path == Some(b"*") && fields.get(b":method").is_some_and(|method| method != b"OPTIONS") {
            self.fault(Fault::InvalidPath, || "no slash at its beginning".into());
        }
        if let (Some(authority), Some(host)) = (fields.get(b":authority"), fields.get(b"host"))
            && !is_same_host(authority, host, fields.get(b":scheme"))
        {
            self.fault(Fault::HostDiffers, String::new);
        }
    }

    fn response(&mut self, fields: &Fields) {
        for pseudo in Pseudo::ALL {
            if pseudo != Pseudo::Status && self.has(pseudo) {
                self.misplaced(pseudo);
            }
        }
        self.want(&[Pseudo::Status], fields);
    }

    fn trailers(&mut self) {
        let first = Pseudo::ALL.into_iter().find(|pseudo| self.has(*pseudo));
        if let Some(pseudo) = first {
            self.fault(Fault::PseudoInTrailers, || quote(pseudo.name()));
        }
        if self.length.is_some() {
            self.fault(Fault::FramingInTrailer, String::new);
        }
    }

    fn misplaced(&mut self, pseudo: Pseudo) {
        self.fault(Fault::PseudoMisplaced, || quote(pseudo.name()));
    }

    /// Of a list that is not known whole, nothing is said to be missing.
    fn want(&mut self, wanted: &[Pseudo], fields: &Fields) {
        let missing = wanted.iter().find(|pseudo| !self.has(**pseudo));
        if let Some(missing) = missing.filter(|_| fields.unknown == 0 && !fields.broken) {
            self.fault(Fault::PseudoMissing, || quote(missing.name()));
        }
    }
}

/// A name or a method as an anomaly shows it: up to the first byte that it must not have.
fn shown(name: &[u8]) -> String {
    let colon = usize::from(name.starts_with(b":"));
    let plain = name[colon..]
        .iter()
        .take_while(|byte| is_token_byte(**byte))
        .count();
    quote(&name[..name.len().min(colon + plain + 1)])
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether these name the same host; a port that the scheme has anyway may be left out.
fn is_same_host(authority: &[u8], host: &[u8], scheme: Option<&[u8]>) -> bool {
    let usual: &[u8] = match scheme {
        Some(b"http") => b":80",
        Some(b"https") => b":443",
        _ => b"",
    };
    let [authority, host] = [authority, host].map(|host| host.strip_suffix(usual).unwrap_or(host));
    authority.eq_ignore_ascii_case(host)
}

fn is_scheme(scheme: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(plain)
}

/// (A response of 101 is none in HTTP/2.)
fn is_status(status: &[u8]) -> bool {
    status.len() == 3 && status.iter().all(u8::is_ascii_digit) && status[0] != b'0' && status != b"101"
}

/// What is wrong with a path, if something is.
fn wrong_path(path: &[u8]) -> Option<&'static str> {
    let odd = |byte: &u8| *byte <= b' ' || matches!(byte, 0x7f | b'#');
    match path {
        [] => Some("empty"),
        _ if path.iter().any(odd) => Some("a byte that no path has"),
        [b'/', ..] | b"*" => None,
        _ => Some("no slash at its beginning"),
    }
}

/// Digits and nothing else, and not more than any program can count.
fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.len() <= DIGITS && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}
