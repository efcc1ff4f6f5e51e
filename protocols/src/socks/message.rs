//! What client and proxy say to each other. Each is read from the front of what there is.

use std::net::{Ipv4Addr, Ipv6Addr};
use weir_records::{SocksCommand, SocksVersion};

/// Longest name of a user in version 4, and longest name of a host.
const LONGEST: usize = 255;
/// Methods of authentication that a client offers. No client has so many.
const METHODS: usize = 32;
pub const V4: u8 = 4;
pub const V5: u8 = 5;
/// Methods of authentication.
pub const NONE: u8 = 0;
pub const GSSAPI: u8 = 1;
pub const PASSWORD: u8 = 2;
/// None of those that the client offers.
pub const NOT_ACCEPTABLE: u8 = 0xff;
/// Version of the exchange of name and password.
const PASSWORD_VERSION: u8 = 1;
/// Kinds of addresses.
const IP4: u8 = 1;
const NAME: u8 = 3;
const IP6: u8 = 4;

/// What bytes are, taken as a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// A message, and how many bytes it has.
    Whole(T, usize),
    /// The beginning of one.
    More,
    /// None.
    Wrong,
}

/// What a client sends first.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// Version 5: methods of authentication.
    Methods(Vec<u8>),
    /// Version 4: its request.
    Request(Request),
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub version: SocksVersion,
    pub command: SocksCommand,
    pub host: Vec<u8>,
    pub port: u16,
}

impl Request {
    /// Host and port in one, as CONNECT has them.
    pub fn target(&self) -> Vec<u8> {
        [&*self.host, b":", self.port.to_string().as_bytes()].concat()
    }
}

fn command(number: u8) -> Option<SocksCommand> {
    match number {
        1 => Some(SocksCommand::Connect),
        2 => Some(SocksCommand::Bind),
        3 => Some(SocksCommand::UdpAssociate),
        _ => None,
    }
}

impl Opening {
    pub fn read(bytes: &[u8]) -> Read<Self> {
        match bytes {
            [] | [V4 | V5] => Read::More,
            [V5, count, methods @ ..] => Self::methods((*count).into(), methods),
            [V4, ..] => Self::request(bytes),
            _ => Read::Wrong,
        }
    }

    fn methods(count: usize, bytes: &[u8]) -> Read<Self> {
        let methods = &bytes[..count.min(bytes.len())];
        let known = methods.iter().any(|method| *method <= PASSWORD);
        match (1..=METHODS).contains(&count) {
            true if methods.len() < count => Read::More,
            true if known => Read::Whole(Self::Methods(methods.to_vec()), 2 + count),
            _ => Read::Wrong,
        }
    }

    fn request(bytes: &[u8]) -> Read<Self> {
        let number = bytes.get(1).copied().and_then(command);
        let Some(command @ (SocksCommand::Connect | SocksCommand::Bind)) = number else {
            return Read::Wrong;
        };
        let Some((&[_, _, high, low, a, b, c, d], rest)) = bytes.split_first_chunk() else {
            return Read::More;
        };
        let (user, rest) = match text(rest) {
            Read::Whole(_, length) => (length, &rest[length..]),
            Read::More => return Read::More,
            Read::Wrong => return Read::Wrong,
        };
        let mut request = Request {
            version: SocksVersion::V4,
            command,
            host: Ipv4Addr::new(a, b, c, d).to_string().into(),
            port: u16::from_be_bytes([high, low]),
        };
        let mut length = 8 + user;
        // An address that nobody has says that a name follows.
        if [a, b, c] == [0; 3] && d != 0 {
            match text(rest) {
                Read::Whole(name, size) if !name.is_empty() => {
                    (request.version, request.host) = (SocksVersion::V4a, name.to_vec());
                    length += size;
                }
                Read::More => return Read::More,
                _ => return Read::Wrong,
            }
        }
        Read::Whole(Self::Request(request), length)
    }
}

/// Printable text with a zero behind it.
fn text(bytes: &[u8]) -> Read<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = &bytes[..end.unwrap_or(bytes.len())];
    match text.len() <= LONGEST && text.iter().all(|byte| *byte >= b' ' && *byte != 0x7f) {
        false => Read::Wrong,
        true if end.is_some() => Read::Whole(text, text.len() + 1),
        true => Read::More,
    }
}

/// The method that the proxy chose, of version 5.
pub fn method(bytes: &[u8]) -> Read<u8> {
    match *bytes {
        [V5, method, ..] => Read::Whole(method, 2),
        [] | [V5] => Read::More,
        _ => Read::Wrong,
    }
}

/// The client's name and password, which are passed over.
pub fn password(bytes: &[u8]) -> Read<()> {
    if bytes.first().is_some_and(|version| *version != PASSWORD_VERSION) {
        return Read::Wrong;
    }
    let end = |from: usize| bytes.get(from).map(|length| from + 1 + usize::from(*length));
    match end(1).and_then(end) {
        Some(end) if end <= bytes.len() => Read::Whole((), end),
        _ => Read::More,
    }
}

/// Whether the proxy accepts them.
pub fn accepted(bytes: &[u8]) -> Read<bool> {
    match *bytes {
        [PASSWORD_VERSION, status, ..] => Read::Whole(status == 0, 2),
        [] | [PASSWORD_VERSION] => Read::More,
        _ => Read::Wrong,
    }
}

/// What the client wants, of version 5.
pub fn request(bytes: &[u8]) -> Read<Request> {
    match addressed(bytes) {
        Read::Whole((number, host, port), length) => match command(number) {
            Some(command) => {
                let version = SocksVersion::V5;
                Read::Whole(
                    Request {
                        version,
                        command,
                        host,
                        port,
                    },
                    length,
                )
            }
            None => Read::Wrong,
        },
        Read::More => Read::More,
        Read::Wrong => Read::Wrong,
    }
}

/// The number of the proxy's answer.
pub fn reply(bytes: &[u8], version: SocksVersion) -> Read<u8> {
    if version == SocksVersion::V5 {
        return match addressed(bytes) {
            Read::Whole((number, ..), length) => Read::Whole(number, length),
            Read::More => Read::More,
            Read::Wrong => Read::Wrong,
        };
    }
    match *bytes {
        [0, number @ 0x5a..=0x5d, ..] if bytes.len() >= 8 => Read::Whole(number, 8),
        [] | [0] | [0, 0x5a..=0x5d, ..] => Read::More,
        _ => Read::Wrong,
    }
}

/// Version 5's number, host and port, which requests and answers have alike.
fn addressed(bytes: &[u8]) -> Read<(u8, Vec<u8>, u16)> {
    let (number, kind, rest) = match bytes {
        [V5, number, 0, kind, rest @ ..] => (*number, *kind, rest),
        [] | [V5] | [V5, _] | [V5, _, 0] => return Read::More,
        _ => return Read::Wrong,
    };
    let (skip, size) = match (kind, rest.first()) {
        (IP4, _) => (0, 4),
        (IP6, _) => (0, 16),
        (NAME, Some(length)) => (1, usize::from(*length)),
        (NAME, None) => return Read::More,
        _ => return Read::Wrong,
    };
    let Some(([host @ .., high, low], _)) = rest.split_at_checked(skip + size + 2) else {
        return Read::More;
    };
    let host = &host[skip..];
    let host = match (kind, <[u8; 4]>::try_from(host), <[u8; 16]>::try_from(host)) {
        (IP4, Ok(address), _) => Ipv4Addr::from(address).to_string().into(),
        (IP6, _, Ok(address)) => format!("[{}]", Ipv6Addr::from(address)).into(),
        _ => host.to_vec(),
    };
    let port = u16::from_be_bytes([*high, *low]);
    Read::Whole((number, host, port), 4 + skip + size + 2)
}
