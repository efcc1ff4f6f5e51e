//! What an answer that is not a success means for the next attempt.

use crate::{
    http::{Response, excerpt},
    runner::{Failure, FailureKind},
};
use hyper::StatusCode;
use serde::Deserialize;

/// `{"error": {"type": …, "reason": …}, "status": …}`, or the error as text.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Error<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Error<'a> {
    Described {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
        #[serde(borrow, default)]
        reason: Option<std::borrow::Cow<'a, str>>,
    },
    Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
}

/// What to do after this answer to a whole request.
pub(super) fn failure(response: &Response) -> Failure {
    let status = response.status;
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => FailureKind::Congested,
        StatusCode::PAYLOAD_TOO_LARGE => FailureKind::Split,
        // The server itself can't read one of the documents. Some proxy's 400 says nothing about them.
        StatusCode::BAD_REQUEST if is_described(&response.body) => FailureKind::Split,
        StatusCode::REQUEST_TIMEOUT => FailureKind::Congested,
        status if status.is_server_error() => FailureKind::Retry,
        _ => FailureKind::Slow,
    };
    let help = match status {
        StatusCode::UNAUTHORIZED => "; set username and password, or api_key",
        StatusCode::FORBIDDEN => "; give this user the right to write to the index",
        status if status.is_redirection() => "; set url to where the server really is",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "; is url that of Elasticsearch or OpenSearch?"
        }
        _ => "",
    };
    Failure::new(
        kind,
        format!("the server answers {status}: {}{help}", reason(&response.body)),
    )
}

fn is_described(body: &[u8]) -> bool {
    matches!(
        serde_json::from_slice(body),
        Ok(Body {
            error: Error::Described { .. }
        })
    )
}

/// The reason that an answer gives.
pub(super) fn reason(body: &[u8]) -> String {
    match serde_json::from_slice(body) {
        Ok(Body {
            error: Error::Described { kind, reason },
        }) => match reason {
            Some(reason) => format!("{kind}: {reason}"),
            None => kind.into_owned(),
        },
        Ok(Body {
            error: Error::Text(text),
        }) => text.into_owned(),
        Err(_) => excerpt(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &'static str) -> Failure {
        failure(&Response {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.into(),
        })
    }

    #[test]
    fn each_answer_has_its_consequence() {
        let described = r#"{"error":{"root_cause":[],"type":"a_type","reason":"a reason"},"status":400}"#;
        for (status, body, kind) in [
            (429, "", FailureKind::Congested),
            (408, "", FailureKind::Congested),
            (413, "", FailureKind::Split),
            (400, described, FailureKind::Split),
            (
                400,
                "<html>The plain HTTP request was sent to HTTPS port",
                FailureKind::Slow,
            ),
            (400, r#"{"error":"no handler found for uri"}"#, FailureKind::Slow),
            (401, described, FailureKind::Slow),
            (403, described, FailureKind::Slow),
            (404, "", FailureKind::Slow),
            (301, "", FailureKind::Slow),
            (500, "", FailureKind::Retry),
            (503, described, FailureKind::Retry),
        ] {
            assert_eq!(told(status, body).kind, kind, "{status} {body}");
        }
        assert_eq!(
            told(503, described).reason,
            "the server answers 503 Service Unavailable: a_type: a reason"
        );
        assert!(
            told(404, "\n<p>nothing\there")
                .reason
                .contains(": <p>nothing here; is url")
        );
    }
}
