//! What gRPC and Triple make of an exchange.

use super::exchange::Exchange;
use super::hpack::Fields;
use crate::http::{self, grpc_status, percent_decode};
use std::borrow::Cow;
use weir_records::{Error, Policy, Rpc};

/// How a call was answered.
pub(super) struct Answer {
    pub status: Option<Cow<'static, str>>,
    /// What is wrong, if something is.
    pub error: Option<Error>,
}

impl Exchange {
    /// `rpc` of a call.
    pub(super) fn rpc(&self, answer: &Answer, policy: &Policy) -> Rpc {
        let head = self.request.as_ref().and_then(|request| request.head.as_ref());
        let path = head.and_then(|head| head.get(b":path"));
        let method = path.and_then(|path| path.strip_prefix(b"/"));
        let method = method.map(|method| policy.url(method).value.into_owned());
        let both = [&self.request, &self.response].map(|message| message.as_ref()?.messages.as_deref());
        http::rpc("grpc", method, both, answer.status.clone().map(Cow::into_owned))
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
    pub(super) fn answer(&self, policy: &Policy) -> Answer {
        let status = match self.statuses_differ() {
            true => None,
            false => self.trailer(b"grpc-status").and_then(grpc_status),
        };
        let thrown = self.has_thrown();
        let failed = status.as_ref().filter(|status| *status != "OK");
        let kind = match failed {
            Some(status) => Some(status.clone()),
            None if thrown => Some("exception".into()),
            None => None,
        };
        let message = self
            .trailer(b"grpc-message")
            .filter(|message| !message.is_empty());
        let message = message.map(|message| policy.text(&percent_decode(message)).value.into_owned());
        Answer {
            error: kind.map(|kind| Error { kind, message }),
            status,
        }
    }
}
