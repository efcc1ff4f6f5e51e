//! DataKit: points as line protocol, posted to `/v1/write/network`.
//!
//! What the server refuses is refused for good and counted, with its reason: a repeat would be refused too. What it could not
//! take (too busy, broken, not there) is sent again, with the same tags and times.

use crate::{
    ExportError,
    batch::Doc,
    http::{Credentials, Request, Response, Server, Target, excerpt},
    runner::{Appetite, Failure, FailureKind, Sink, Verdict},
    stop::Stop,
};
use hyper::{Method, StatusCode};
use std::{sync::Arc, time::Duration};
use weir_config::Datakit as Settings;

pub(crate) const KIND: &str = "datakit";
/// Below the address. The time of each point is in ns.
const PATH: &str = "v1/write/network?input=weir&precision=n";
/// Points of one request.
const BODY_BYTES: usize = 1 << 20;
/// Points come all at once at the end of an interval.
const WAIT: Duration = Duration::from_millis(100);

/// The sink.
#[derive(Debug)]
pub(crate) struct Datakit {
    server: Server,
}

impl Datakit {
    /// Refuses settings that can never work.
    pub(crate) fn check(settings: &Settings) -> Result<(), ExportError> {
        target(settings).check()
    }

    pub(crate) fn open(settings: &Settings, stop: Arc<Stop>) -> Result<Self, ExportError> {
        Ok(Self {
            server: Server::new(target(settings), stop)?,
        })
    }
}

fn target(settings: &Settings) -> Target<'_> {
    Target {
        sink: KIND,
        url: &settings.url,
        ca_file: settings.ca_file.as_deref(),
        credentials: match &settings.username {
            Some(user) => Credentials::User(user, settings.password.as_ref()),
            None => Credentials::Nobody,
        },
    }
}

impl Sink for Datakit {
    fn appetite(&self) -> Appetite {
        Appetite {
            bytes: BODY_BYTES,
            wait: WAIT,
        }
    }

    fn deliver(&mut self, points: &[Doc], verdicts: &mut [Verdict]) -> Result<(), Failure> {
        let lines: Vec<&[u8]> = points.iter().map(Doc::line).collect();
        let response = self.server.send(Request {
            method: Method::POST,
            path: PATH.into(),
            content_type: "text/plain; charset=utf-8",
            body: lines.concat().into(),
            gzipped: false,
        })?;
        verdicts.fill(judge(&response)?);
        Ok(())
    }
}

/// What an answer says of all points of its request.
fn judge(response: &Response) -> Result<Verdict, Failure> {
    let status = response.status;
    let help = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; is url that of DataKit?",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; let this machine write to it",
        status if status.is_redirection() => "; set url to where the server really is",
        _ => "",
    };
    let reason = format!("the server answers {status}: {}{help}", excerpt(&response.body));
    let kind = match status {
        status if status.is_success() => return Ok(Verdict::Taken),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => FailureKind::Congested,
        StatusCode::PAYLOAD_TOO_LARGE => FailureKind::Split,
        status if status.is_client_error() => return Ok(Verdict::Rejected(reason)),
        status if status.is_server_error() => FailureKind::Retry,
        _ => FailureKind::Slow,
    };
    Err(Failure::new(kind, reason))
}

#[cfg(test)]
mod tests;
