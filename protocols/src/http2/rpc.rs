//! What gRPC and Triple make of an exchange.

use super::exchange::Exchange;
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
        let mut lists = response.trailers.iter().chain(&response.head);
        lists.find_map(|fields| fields.get(name))
    }

    /// The method of a Triple service threw an exception.
    pub(super) fn has_thrown(&self) -> bool {
        self.trailer(b"tri-exception-code")
            .is_some_and(|code| code != b"0")
    }

    /// What status and message say; an exception that a Triple service threw comes with the status OK.
    pub(super) fn answer(&self, policy: &Policy) -> Answer {
        let status = self.trailer(b"grpc-status").and_then(grpc_status);
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
