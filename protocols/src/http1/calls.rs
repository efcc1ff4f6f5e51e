//! What gRPC-Web and Connect make of an exchange, and gRPC where somebody carries that over HTTP/1.

use super::exchange::{Exchange, Start};
use super::fields::{Field, fields};
use crate::http::{self, Cuts, Ending, Style};
use std::borrow::Cow;
use weir_records::{Error, Outcome, Policy, Rpc};

/// How a call was answered, as far as that is known.
pub(super) struct Answer {
    style: Style,
    ending: Option<Ending>,
    /// Connect without streams says by the status of HTTP that all went well.
    fine: bool,
}

impl Answer {
    /// The outcome of a call whose exchange ended like this.
    pub fn outcome(&self, exchange: Outcome) -> Outcome {
        match &self.ending {
            Some(ending) if ending.failed => Outcome::Failure,
            None if exchange == Outcome::Success && !self.fine => Outcome::Unknown,
            _ => exchange,
        }
    }

    /// `error` of a call that failed.
    pub fn error(&self, policy: &Policy, cuts: &mut Cuts) -> Option<Error> {
        let ending = self.ending.as_ref().filter(|ending| ending.failed)?;
        let said = ending.message.as_ref();
        Some(Error {
            kind: ending.status.clone().unwrap_or(Cow::Borrowed("unknown")),
            message: said.map(|said| cuts.keep(policy.text(said), || "error.message".to_owned())),
        })
    }
}

impl Exchange {
    /// How the call was answered, if this is one.
    pub(super) fn answer(&self, status: Option<u16>) -> Option<Answer> {
        let style = self.call?;
        Some(Answer {
            style,
            ending: self.ending(style),
            fine: style == Style::Unary && status == Some(200),
        })
    }

    /// How a call of this style ended: by the last frame of its answer's body, or by fields.
    fn ending(&self, style: Style) -> Option<Ending> {
        let response = self.response.as_ref()?;
        let in_body = response.messages.as_ref().and_then(|messages| messages.ending());
        if in_body.is_some() || matches!(style, Style::Connect | Style::Unary) {
            return in_body;
        }
        let trailers: Vec<_> = fields(&response.trailers).collect();
        let head = response.fields();
        // Fields that name several statuses name none.
        let only = |list: &[Field<'_>]| {
            let named = |field: &&Field<'_>| field.name.eq_ignore_ascii_case(b"grpc-status");
            list.iter().filter(named).count() == 1
        };
        let list = if only(&trailers) { &trailers } else { &head };
        let get = |name: &str| {
            let field = list
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(&*field.value)
        };
        only(list).then(|| Ending::of_fields(get)).flatten()
    }

    /// `rpc` of a call.
    pub(super) fn rpc(&self, answer: &Answer, policy: &Policy, cuts: &mut Cuts) -> Rpc {
        let method = self.request.as_ref().and_then(|request| match &request.start {
            Some(Start::Request { target, .. }) => {
                let path = request.slice(target).strip_prefix(b"/")?;
                path.split(|byte| *byte == b'?').next()
            }
            _ => None,
        });
        let method = method.map(|method| cuts.keep(policy.url(method), || "rpc.method".to_owned()));
        let both = [&self.request, &self.response].map(|message| message.as_ref()?.messages.as_deref());
        let status = answer.ending.as_ref().and_then(|ending| ending.status.clone());
        http::rpc(answer.style.system(), method, both, status.map(Cow::into_owned))
    }
}
