//! Numbers and their names.

use std::borrow::Cow;

/// An error code of HTTP/2 (RFC 9113, 7).
pub(super) fn error(code: u32) -> Cow<'static, str> {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    match NAMES.get(code as usize) {
        Some(name) => Cow::Borrowed(name),
        None => code.to_string().into(),
    }
}

/// The status of gRPC that a client makes of a stream which the server reset with this code, by gRPC's protocol; `None` where
/// that says nothing.
pub(super) fn status_of_reset(code: u32) -> Option<&'static str> {
    Some(match code {
        0..=4 | 6 | 9 | 10 => "INTERNAL",
        7 => "UNAVAILABLE",
        8 => "CANCELLED",
        11 => "RESOURCE_EXHAUSTED",
        12 => "PERMISSION_DENIED",
        _ => return None,
    })
}

/// The status of gRPC that a client makes of an answer with this status of HTTP and none of its own.
pub(super) fn status_of_http(status: u16) -> &'static str {
    match status {
        400 => "INTERNAL",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "UNIMPLEMENTED",
        429 | 502..=504 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

/// What Connect calls one of these statuses.
pub(super) fn status_of_connect(status: &'static str) -> &'static str {
    match status {
        "INTERNAL" => "internal",
        "UNAUTHENTICATED" => "unauthenticated",
        "PERMISSION_DENIED" => "permission_denied",
        "UNIMPLEMENTED" => "unimplemented",
        "UNAVAILABLE" => "unavailable",
        "CANCELLED" => "canceled",
        "RESOURCE_EXHAUSTED" => "resource_exhausted",
        _ => "unknown",
    }
}
