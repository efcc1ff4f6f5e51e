//! What gRPC, gRPC-Web, Connect and Triple make of an exchange.

use super::exchange::{Exchange, Failure};
use super::hpack::Fields;
use super::names;
use super::parts::first_line;
use crate::Side;
use crate::http::{self, Cuts, Ending, Style};
use std::borrow::Cow;
use weir_records::{Error, Policy, Rpc};

/// How a call was answered.
pub(super) struct Answer {
    style: Style,
    pub status: Option<Cow<'static, str>>,
    /// How the call ended was seen.
    pub known: bool,
    /// What is wrong, if something is.
    kind: Option<Cow<'static, str>>,
    /// What the server says of that.
    message: Option<Vec<u8>>,
}

impl Answer {
    pub fn has_failed(&self) -> bool {
        self.kind.is_some()
    }

    /// `error` of the document.
    pub fn error(self, policy: &Policy, cuts: &mut Cuts) -> Option<Error> {
        let message = self.message;
        self.kind.map(|kind| Error {
            kind,
            message: message.map(|it| cuts.keep(policy.text(&it), || "error.message".to_owned())),
        })
    }
}

impl Exchange {
    /// `rpc` of a call.
    pub(super) fn rpc(&self, answer: &Answer, policy: &Policy, cuts: &mut Cuts) -> Rpc {
        let head = self.request.as_ref().and_then(|request| request.head.as_ref());
        let path = head.and_then(|head| head.get(b":path"));
        let path = path.map(|path| first_line(path, policy));
        let method = path.as_ref().and_then(|path| path.strip_prefix(b"/"));
        let method = method.and_then(|method| method.split(|byte| *byte == b'?').next());
        let method = method.map(|method| cuts.keep(policy.url(method), || "rpc.method".to_owned()));
        let both = [&self.request, &self.response].map(|message| message.as_ref()?.messages.as_deref());
        let status = answer.status.clone().map(Cow::into_owned);
        let mut rpc = http::rpc(answer.style.system(), method, both, status);
        if let Some(derived) = self.derived_status(answer) {
            rpc.response.get_or_insert_default().derived_status_code = Some(derived);
        }
        rpc
    }

    /// What a client makes of an answer that does not name its status.
    fn derived_status(&self, answer: &Answer) -> Option<&'static str> {
        if answer.known {
            return None;
        }
        let status = match (self.failure, self.status()) {
            (Some(Failure::Stream(Side::Server, code)), _) => names::status_of_reset(code),
            (None, Some(200) | None) => None,
            (None, Some(status)) if self.is_answered() => Some(names::status_of_http(status)),
            _ => None,
        };
        match answer.style {
            Style::Grpc | Style::Web | Style::WebText => status,
            Style::Connect | Style::Unary => status.map(names::status_of_connect),
        }
    }

    /// A field of the response's trailers, or of its head, where it has no others.
    fn trailer(&self, name: &[u8]) -> Option<&[u8]> {
        let response = self.response.as_ref()?;
        let last = response.trailers.as_ref().or(response.head.as_ref());
        last?.get(name)
    }

    /// The response names several statuses of gRPC where it should name one.
    fn statuses_differ(&self) -> bool {
        let response = self.response.as_ref();
        let last = response.and_then(|it| it.trailers.as_ref().or(it.head.as_ref()));
        let mut statuses = last
            .into_iter()
            .flat_map(Fields::iter)
            .filter(|field| field.name == Some(b"grpc-status"))
            .map(|field| field.value);
        let first = statuses.next();
        statuses.any(|status| Some(status) != first)
    }

    /// The method of a Triple service threw an exception.
    pub(super) fn has_thrown(&self) -> bool {
        // (Servers name it in the head, before they know how the call ends, or in the trailers.)
        let lists = self
            .response
            .iter()
            .flat_map(|it| it.trailers.iter().chain(&it.head));
        lists
            .filter_map(|fields| fields.get(b"tri-exception-code"))
            .any(|code| code != b"0")
    }

    /// What status and message say; an exception that a Triple service threw comes with the status OK.
    pub(super) fn answer(&self, style: Style) -> Answer {
        let ending = self.ending(style);
        let fine = style == Style::Unary && self.is_answered() && self.status() == Some(200);
        let known = ending.is_some() || fine;
        let (status, failed, message) = match ending {
            Some(ending) => (ending.status, ending.failed, ending.message),
            None => (None, false, None),
        };
        let kind = match &status {
            Some(status) if failed => Some(status.clone()),
            _ if self.has_thrown() => Some("exception".into()),
            _ => None,
        };
        Answer {
            style,
            status,
            known,
            kind,
            message,
        }
    }

    /// How a call of this style ended: by the last frame of its answer's body, or by fields. (A message without a status
    /// still says what an exception was.)
    fn ending(&self, style: Style) -> Option<Ending> {
        let messages = self.response.as_ref()?.messages.as_ref();
        let in_body = messages.and_then(|messages| messages.ending());
        match style {
            Style::Connect | Style::Unary => in_body,
            Style::Grpc | Style::Web | Style::WebText if self.statuses_differ() => None,
            Style::Grpc | Style::Web | Style::WebText => in_body.or_else(|| {
                let name = |name: &str| self.trailer(name.as_bytes());
                Ending::of_fields(name)
            }),
        }
    }
}
