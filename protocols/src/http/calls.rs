//! Remote calls in messages of HTTP: gRPC, gRPC-Web and Connect. How a body is cut into messages is told by its content type;
//! how the call ended is told by fields or by the last frame of the answer's body.

use super::coding::Coding;
use serde::Deserialize;
use std::borrow::Cow;

/// Bytes that are kept of what tells how a call ended.
pub(crate) const KEPT: usize = 2 << 10;
/// Bytes that a compressed end may have.
const INFLATED: usize = 16 << 10;

/// How a call's messages stand in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// gRPC: the status is in the trailers.
    #[default]
    Grpc,
    /// gRPC-Web: the trailers are the last frame of the body.
    Web,
    /// gRPC-Web in base64.
    WebText,
    /// Connect with streams: the last frame of the body is JSON.
    Connect,
    /// Connect without streams: the body is the message; one with an error is JSON.
    Unary,
}

impl Style {
    /// Reads a content type that belongs to calls alone. ([`Self::Unary`] has none: its requests have a field or a parameter.)
    pub fn of(content_type: &[u8]) -> Option<Self> {
        const BEGIN: &[u8] = b"application/";
        let (begin, name) = content_type.split_at_checked(BEGIN.len())?;
        if !begin.eq_ignore_ascii_case(BEGIN) {
            return None;
        }
        let end = name
            .iter()
            .position(|byte| matches!(byte, b'+' | b';' | b' ' | b'\t'));
        let (name, rest) = name.split_at(end.unwrap_or(name.len()));
        let is = |own: &[u8]| name.eq_ignore_ascii_case(own);
        match name {
            _ if is(b"grpc") => Some(Self::Grpc),
            _ if is(b"grpc-web") => Some(Self::Web),
            _ if is(b"grpc-web-text") => Some(Self::WebText),
            _ if is(b"connect") && rest.first() == Some(&b'+') => Some(Self::Connect),
            _ => None,
        }
    }

    /// What `rpc.system.name` calls the system.
    pub fn system(self) -> &'static str {
        match self {
            Self::Grpc | Self::Web | Self::WebText => "grpc",
            Self::Connect | Self::Unary => "connectrpc",
        }
    }

    /// The flag of a frame that ends a body and is no message.
    pub(super) fn end_flag(self) -> u8 {
        match self {
            Self::Grpc | Self::Web | Self::WebText => 0x80,
            Self::Connect => 0x02,
            Self::Unary => 0,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The status by name. Connect has none for what went well.
    pub status: Option<Cow<'static, str>>,
    pub failed: bool,
    /// What the server says of it.
    pub message: Option<Vec<u8>>,
}

impl Ending {
    /// Reads fields of gRPC: trailers, or a head without a body. `get` finds a field by its name in lower case.
    pub fn of_fields<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Self> {
        let status = grpc_status(get("grpc-status")?)?;
        let message = get("grpc-message").filter(|message| !message.is_empty());
        Some(Self {
            failed: status != "OK",
            status: Some(status),
            message: message.map(percent_decode),
        })
    }

    /// Reads the content of the frame that ends a body; of [`Style::Unary`], the body of an error.
    pub(super) fn of_frame(style: Style, content: &[u8]) -> Option<Self> {
        match style {
            Style::Grpc | Style::Web | Style::WebText => {
                let content = plain(content);
                Self::of_fields(|name| field(&content, name.as_bytes()))
            }
            Style::Connect => {
                let end: ConnectEnd = serde_json::from_slice(&plain(content)).ok()?;
                match end.error {
                    Some(error) => error.ending(),
                    None => Some(Self {
                        status: None,
                        failed: false,
                        message: None,
                    }),
                }
            }
            Style::Unary => {
                let error: ConnectError = serde_json::from_slice(&plain(content)).ok()?;
                error.ending()
            }
        }
    }
}

/// The last frame of a stream of Connect.
#[derive(Deserialize)]
struct ConnectEnd {
    error: Option<ConnectError>,
}

/// What went wrong, as Connect says it.
#[derive(Deserialize)]
struct ConnectError {
    code: Option<String>,
    message: Option<String>,
}

impl ConnectError {
    /// Only the codes that Connect has are one: a proxy's JSON may have anything there.
    fn ending(self) -> Option<Ending> {
        const CODES: [&str; 16] = [
            "canceled",
            "unknown",
            "invalid_argument",
            "deadline_exceeded",
            "not_found",
            "already_exists",
            "permission_denied",
            "resource_exhausted",
            "failed_precondition",
            "aborted",
            "out_of_range",
            "unimplemented",
            "internal",
            "unavailable",
            "data_loss",
            "unauthenticated",
        ];
        let said = self.code?;
        let code = CODES.into_iter().find(|code| *code == said)?;
        let message = self.message.filter(|message| !message.is_empty());
        Some(Ending {
            status: Some(code.into()),
            failed: true,
            message: message.map(String::into_bytes),
        })
    }
}

/// The content of an end, which may be compressed: with gzip, the only coding in use.
fn plain(content: &[u8]) -> Cow<'_, [u8]> {
    match content {
        [0x1f, 0x8b, ..] => Coding::Gzip.decode(content, INFLATED).0.into(),
        _ => content.into(),
    }
}

/// The value of a field among lines, by its name in lower case.
fn field<'a>(lines: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (own, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        own.eq_ignore_ascii_case(name).then_some(value.trim_ascii())
    })
}

/// A status of gRPC; `None` if it is no number.
fn grpc_status(text: &[u8]) -> Option<Cow<'static, str>> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let code: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(match NAMES.get(code as usize) {
        Some(name) => Cow::Borrowed(name),
        None => code.to_string().into(),
    })
}

/// What a message of gRPC means; what is wrongly encoded stays as it is.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_names_the_style() {
        for (content_type, style) in [
            ("application/grpc", Some(Style::Grpc)),
            ("application/grpc+proto", Some(Style::Grpc)),
            ("Application/gRPC-Web", Some(Style::Web)),
            ("application/grpc-web+proto", Some(Style::Web)),
            ("application/grpc-web-text; charset=utf-8", Some(Style::WebText)),
            ("application/grpc-web-text+proto", Some(Style::WebText)),
            ("application/connect+json", Some(Style::Connect)),
            ("application/connect", None),
            ("application/grpc-websocket", None),
            ("application/json", None),
            ("application/", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Style::of(content_type.as_bytes()), style, "{content_type}");
        }
    }

    #[test]
    fn an_end_says_how_the_call_ended() {
        let ending = |status: Option<&'static str>, failed, message: Option<&str>| {
            Some(Ending {
                status: status.map(Cow::Borrowed),
                failed,
                message: message.map(|message| message.as_bytes().to_vec()),
            })
        };
        for (style, content, read) in [
            (Style::Web, "grpc-status:0\r\n", ending(Some("OK"), false, None)),
            (
                Style::WebText,
                "Grpc-Message: no%20way\r\nGRPC-Status: 14\r\n",
                ending(Some("UNAVAILABLE"), true, Some("no way")),
            ),
            (Style::Web, "grpc-message: x\r\n", None),
            (Style::Connect, "{}", ending(None, false, None)),
            (
                Style::Connect,
                r#"{"error":{"code":"not_found","message":"gone"},"metadata":{}}"#,
                ending(Some("not_found"), true, Some("gone")),
            ),
            (Style::Connect, r#"{"error":{"co"#, None),
            (
                Style::Unary,
                r#"{"code":"canceled"}"#,
                ending(Some("canceled"), true, None),
            ),
            (Style::Unary, r#"{"code":"E42"}"#, None),
            (Style::Unary, r#"{"code":17}"#, None),
        ] {
            assert_eq!(Ending::of_frame(style, content.as_bytes()), read, "{content}");
        }
    }

    #[test]
    fn messages_are_percent_decoded() {
        for (text, meaning) in [
            ("plain", "plain"),
            ("100%25 %E4%BE%8b", "100% \u{4f8b}"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
        ] {
            assert_eq!(percent_decode(text.as_bytes()), meaning.as_bytes());
        }
    }
}
