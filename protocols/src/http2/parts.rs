//! Parts of a document: headers and bodies as they may be shown, and what cut an exchange short.

use super::exchange::{Failure, Message};
use super::faults::Fault;
use super::hpack::Fields;
use super::names;
use crate::Side;
use crate::http::{self, Cuts, Seen};
use crate::http1::{Field, is_token_byte, note};
use compact_str::CompactString;
use memchr::memchr2;
use std::borrow::Cow;
use weir_records::{Body, Error, Headers, Octets, Policy, REDACTED};

/// Where headers stand whose names are unknown.
const UNKNOWN: &str = "<unknown>";

/// Fields without the pseudo-headers. Of one whose name is unknown, or is no name, the value may be a secret.
fn fields<'a>(list: Option<&'a Fields>, policy: &Policy) -> Vec<Field<'a>> {
    let redact = policy.settings().redact;
    let fields = list.into_iter().flat_map(Fields::octets);
    fields
        .filter(|(field, ..)| !field.name.is_some_and(|name| name.starts_with(b":")))
        .map(|(field, name, value)| {
            let odd = if redact {
                field.name.and_then(no_name)
            } else {
                None
            };
            Field {
                value: match field.value {
                    Err(index) => Octets::Bytes(format!("<index {index}>").into_bytes().into()),
                    Ok(_) if redact && (field.name.is_none() || odd.is_some()) => REDACTED.into(),
                    Ok(bytes) => match first_line(bytes, policy) {
                        Cow::Borrowed(_) => value,
                        line => Octets::Bytes(line),
                    },
                },
                name: match odd {
                    Some(odd) => Octets::Bytes(odd.into()),
                    None => field.name.map_or(UNKNOWN.into(), |_| name),
                },
                cut: field.cut,
            }
        })
        .collect()
}

/// What may be shown of a name that is none: what stands behind the first byte that no name has may be another field.
fn no_name(name: &[u8]) -> Option<Vec<u8>> {
    let plain = name.iter().position(|byte| !is_token_byte(*byte))?;
    Some([&name[..plain], REDACTED.as_bytes()].concat())
}

/// A value up to its first line break, behind which another field may stand, with its own secrets.
pub(super) fn first_line<'a>(value: &'a [u8], policy: &Policy) -> Cow<'a, [u8]> {
    match memchr2(b'\r', b'\n', value) {
        Some(end) if policy.settings().redact => [&value[..end], REDACTED.as_bytes()].concat().into(),
        _ => value.into(),
    }
}

/// Notes where a message's Content-Length is not that of its data.
pub(super) fn check_length(message: &Message, side: Side, anomalies: &mut Vec<String>) {
    let Some(length) = message.length else { return };
    if message.body > length || message.whole && message.body < length {
        let who = if side == Side::Server { " (response)" } else { "" };
        let seen = format!("\"{length}\", and {} bytes came{who}", message.body);
        note(anomalies, Fault::LengthUntrue.name(), &seen);
    }
}

pub(super) fn body(
    message: &Message,
    side: Side,
    policy: &Policy,
    cuts: &mut Cuts,
    anomalies: &mut Vec<String>,
) -> Body {
    let head = message.head.as_ref();
    let seen = Seen {
        side,
        bytes: message.body,
        whole: message.whole,
        kept: message.kept.as_deref(),
        fields: &match message.kept {
            Some(_) => fields(head, policy),
            None => Vec::new(),
        },
        more_fields: head.is_none_or(|head| head.unknown > 0 || head.is_cut()),
    };
    http::body(&seen, policy, cuts, anomalies)
}

pub(super) fn headers(
    message: &Message,
    side: Side,
    policy: &Policy,
    cuts: &mut Cuts,
    anomalies: &mut Vec<String>,
) -> Headers {
    let (place, who) = match side {
        Side::Client => ("http.request", "request"),
        Side::Server => ("http.response", "response"),
    };
    let (mut all, mut unknown) = (0, 0);
    for (list, name) in [(&message.head, "head"), (&message.trailers, "trailers")] {
        let Some(list) = list else { continue };
        if list.is_cut() {
            cuts.cut(format!("{place}.{name}"), list.size);
        }
        all += list.count - list.pseudo();
        unknown += list.unknown;
    }
    if unknown > 0 {
        let seen = format!("{unknown} in a part of the table that was not seen");
        note(anomalies, &format!("unknown_{who}_headers"), &seen);
    }
    if message.whole
        && message
            .messages
            .as_ref()
            .is_some_and(|messages| messages.is_partial())
    {
        note(anomalies, &format!("incomplete_{who}_message"), "");
    }
    let sent = [
        fields(message.head.as_ref(), policy),
        fields(message.trailers.as_ref(), policy),
    ]
    .concat();
    http::headers(sent.iter(), all, place, policy, cuts)
}

pub(super) fn trailer_names(message: &Message, policy: &Policy) -> Vec<CompactString> {
    let Some(trailers) = &message.trailers else {
        return Vec::new();
    };
    let head = message
        .head
        .as_ref()
        .map_or(0, |head| fields(Some(head), policy).len());
    http::trailer_names(head, fields(Some(trailers), policy).iter(), policy)
}

pub(super) fn error(failure: Failure) -> Error {
    let (kind, message) = match failure {
        Failure::Stream(side, code) => {
            let who = if side == Side::Client { "client" } else { "server" };
            (
                "stream_reset",
                format!("the {who} reset the stream: {}", names::error(code)),
            )
        }
        Failure::GoAway(code) => (
            "goaway",
            format!(
                "the server went away before it looked at the request: {}",
                names::error(code)
            ),
        ),
        Failure::Connection(Side::Client) => ("connection_reset", "the client reset the connection".into()),
        Failure::Connection(Side::Server) => ("connection_reset", "the server reset the connection".into()),
        Failure::NoResponse => (
            "no_response",
            "the connection was closed without a response".into(),
        ),
        Failure::IncompleteRequest => (
            "incomplete_request",
            "the connection was closed within the request".into(),
        ),
        Failure::IncompleteResponse => (
            "incomplete_response",
            "the connection was closed within the response".into(),
        ),
        Failure::Abandoned => (
            "abandoned",
            "the exchange was given up before it was complete".into(),
        ),
    };
    Error {
        kind: kind.into(),
        message: Some(message),
    }
}
