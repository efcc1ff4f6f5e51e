//! What an exchange means: its document.
//!
//! Outcome, seen by who asked: an answer of the method is a success; an exception that it threw, a status that is not OK and a
//! request that its peers cut short are failures. It is unknown where nothing can be known: of a one-way request, of a
//! response whose body is not read, of an exchange that the observer gave up, of one whose response may have come unseen. An
//! answer that came too late for its consumer is an answer, and marked.

use super::body::{Call, EXCEPTION_MESSAGE, Reading, Reply};
use super::exchange::{Exchange, Failure};
use super::framing::Message;
use super::header::OK;
use super::items::Items;
use super::{TIMEOUT, names};
use crate::Side;
use crate::hessian2::{Fault, Read};
use weir_records::{
    Document, DocumentId, Dubbo, DubboException, Endpoint, Error, Event, Flow, Outcome, Policy, Rpc,
    RpcResponse, RpcSystem, Timestamp, Timing, Weir, WeirDubbo,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.dubbo";

impl From<Exchange> for crate::Exchange {
    fn from(exchange: Exchange) -> Self {
        Self::Dubbo(Box::new(exchange))
    }
}

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut reading = Reading::new(policy);
        let mut anomalies = self.anomalies.clone();
        let call = self.call(&mut reading, &mut anomalies);
        let reply = self.reply(&mut reading, &mut anomalies);
        self.note_lateness(&call, &mut anomalies);
        let error = self.error(&reply, &mut reading);
        let outcome = self.outcome(&reply, error.is_some());
        let dubbo = self.dubbo(call, reply, policy);
        let (asked, answered) = (self.request.as_deref(), self.response.as_deref());
        let (from_client, from_server) = match self.asker {
            Side::Client => (asked, answered),
            Side::Server => (answered, asked),
        };
        let event = Event {
            id: DocumentId::exchange(flow.id, DATASET, self.sequence),
            dataset: DATASET,
            category: &["network"],
            kind: &["connection", "protocol"],
            outcome: Some(outcome),
            duration: self
                .fate
                .duration(asked.map(|asked| asked.first), answered.map(|answer| answer.last)),
            start: None,
            end: self.fate.end(),
        };
        Document {
            source: Endpoint::of(flow.client, from_client.map(Message::size)),
            destination: Endpoint::of(flow.server, from_server.map(Message::size)),
            rpc: Some(Box::new(self.rpc(&dubbo))),
            dubbo: Some(Box::new(dubbo)),
            error,
            weir: Weir {
                late_join: self.late,
                truncated: !reading.sizes.is_empty(),
                original_sizes: reading.sizes,
                anomalies,
                dubbo: (self.events > 0 || self.text > 0 || self.read_only).then_some(WeirDubbo {
                    events: self.events,
                    text_bytes: self.text,
                    read_only: self.read_only,
                }),
                timing: self.timing(flow),
                ..Weir::of(flow)
            },
            ..Document::of(flow, self.first(), event, "tcp", "dubbo")
        }
    }

    fn first(&self) -> Timestamp {
        let message = self.request.as_ref().or(self.response.as_ref());
        message.map_or(Timestamp::default(), |message| message.first)
    }

    fn timing(&self, flow: &Flow) -> Timing {
        let span = |message: &Message| message.last.since(message.first);
        let (request, response) = (self.request.as_deref(), self.response.as_deref());
        Timing {
            connect: flow.connect,
            request: request.filter(|request| request.is_whole()).map(span),
            ttfb: request
                .zip(response)
                .map(|(request, response)| response.first.since(request.last)),
            response: response.filter(|response| response.is_whole()).map(span),
        }
    }

    fn call(&self, reading: &mut Reading<'_>, anomalies: &mut Vec<String>) -> Call {
        let Some(request) = &self.request else {
            return Call::default();
        };
        let Some(mut items) = Items::new(request.header.serialization(), &request.body) else {
            return Call::default();
        };
        let (call, read) = reading.call(&mut items);
        note(reading, anomalies, request, read, ("request", "dubbo.args"));
        call
    }

    fn reply(&self, reading: &mut Reading<'_>, anomalies: &mut Vec<String>) -> Reply {
        let Some(response) = &self.response else {
            return Reply::default();
        };
        let Some(mut items) = Items::new(response.header.serialization(), &response.body) else {
            return Reply::default();
        };
        let (reply, read) = reading.reply(&mut items, response.header.status);
        let field = match response.header.status {
            OK => "dubbo.result",
            _ => "error.message",
        };
        note(reading, anomalies, response, read, ("response", field));
        reply
    }

    /// Says that the call was answered when its consumer had stopped waiting. (The consumer waits from its first byte on.)
    fn note_lateness(&self, call: &Call, anomalies: &mut Vec<String>) {
        let Some(answer) = self.response.as_ref().filter(|_| self.request.is_some()) else {
            return;
        };
        let waited = answer.last.since(self.first()) / 1_000_000;
        if let Some(timeout) = call.timeout
            && waited > timeout
        {
            anomalies.push(format!(
                "answered_after_timeout: after {waited} ms, the call's timeout is {timeout} ms"
            ));
        }
    }

    fn dubbo(&self, call: Call, reply: Reply, policy: &Policy) -> Dubbo {
        let header = self.request.as_ref().or(self.response.as_ref());
        let header = header.map(|message| message.header);
        let named = |key| call.attachments.get(Some(key)).map(ToOwned::to_owned);
        let (interface, group) = (named("interface"), named("group"));
        let path = call.path.filter(|path| interface.as_ref() != Some(path));
        let (interface, path) = match interface {
            Some(interface) => (Some(interface), path),
            None => (path, None),
        };
        let mut dubbo = Dubbo {
            protocol_version: call.protocol_version,
            interface,
            path,
            service_version: call.service_version,
            group,
            method: call.method,
            parameter_types: call.parameter_types,
            request_id: header.map(|header| header.id),
            serialization: header.map_or("".into(), |header| {
                names::serialization_name(header.serialization())
            }),
            oneway: self.is_one_way(),
            generic: call.generic,
            callback: self.asker == Side::Server,
            status: self.response.as_ref().map(|response| response.header.status),
            exception: reply
                .exception
                .map(|(class, message)| DubboException { class, message }),
            ..Dubbo::default()
        };
        if policy.settings().arguments {
            dubbo.args_text = call.args.words(usize::MAX);
            dubbo.args = call.args;
            dubbo.attachments = call.attachments;
            dubbo.result = reply.result;
            dubbo.response_attachments = reply.attachments;
        }
        dubbo
    }

    fn rpc(&self, dubbo: &Dubbo) -> Rpc {
        let called = dubbo.interface.as_ref().zip(dubbo.method.as_ref());
        Rpc {
            system: RpcSystem { name: "dubbo" },
            method: called.map(|(interface, method)| format!("{interface}/{method}")),
            request: None,
            response: dubbo.status.map(|status| RpcResponse {
                status_code: Some(names::status_name(status).into_owned()),
                ..RpcResponse::default()
            }),
        }
    }

    fn outcome(&self, reply: &Reply, error: bool) -> Outcome {
        let unseen = self.doubt.is_some() && self.response.is_none();
        if self.failure == Some(Failure::Abandoned) || unseen {
            Outcome::Unknown
        } else if error {
            Outcome::Failure
        } else if reply.understood {
            Outcome::Success
        } else {
            Outcome::Unknown
        }
    }

    fn error(&self, reply: &Reply, reading: &mut Reading<'_>) -> Option<Error> {
        if let Some((class, message)) = &reply.exception {
            // What was cut already has its size there.
            let size = reading.sizes.get(EXCEPTION_MESSAGE).copied();
            return Some(Error {
                kind: class.clone().into(),
                message: message.as_ref().map(|text| error_message(text, size, reading)),
            });
        }
        let status = self
            .response
            .as_ref()
            .map_or(OK, |response| response.header.status);
        if status != OK {
            return Some(Error {
                kind: names::status_name(status),
                message: reply
                    .message
                    .as_ref()
                    .map(|text| error_message(text, None, reading)),
            });
        }
        self.failure.map(failure)
    }
}

/// A message as `error` has it; its size is kept where it is cut.
fn error_message(text: &str, size: Option<u64>, reading: &mut Reading<'_>) -> String {
    const FIELD: &str = "error.message";
    // (A body that was cut has the greater size.)
    let known = reading.sizes.get(FIELD).copied().max(size);
    let text = reading.policy.text(text.as_bytes());
    let text = text.keep(&mut reading.sizes, || FIELD.to_owned());
    if let Some(known) = known {
        let size = reading.sizes.entry(FIELD.to_owned()).or_default();
        *size = known.max(*size);
    }
    text
}

fn failure(failure: Failure) -> Error {
    let (kind, message) = match failure {
        Failure::Reset(Side::Client) => ("connection_reset", "the client reset the connection".into()),
        Failure::Reset(Side::Server) => ("connection_reset", "the server reset the connection".into()),
        Failure::NoResponse => (
            "no_response",
            "the connection was closed without a response".into(),
        ),
        Failure::Timeout => ("timeout", format!("no response within {} s", TIMEOUT.as_secs())),
        Failure::IncompleteRequest => (
            "incomplete_request",
            "the connection was closed within the request".into(),
        ),
        Failure::IncompleteResponse => (
            "incomplete_response",
            "the connection was closed within the response".into(),
        ),
        Failure::Abandoned => ("abandoned", "given up before it was answered".into()),
    };
    Error {
        kind: kind.into(),
        message: Some(message),
    }
}

/// Says what is wrong with a body, or that it was cut and how long it was.
fn note(
    reading: &mut Reading<'_>,
    anomalies: &mut Vec<String>,
    message: &Message,
    read: Read<()>,
    (what, field): (&str, &str),
) {
    if message.is_cut() {
        // (What was missed has been noted.)
        reading
            .sizes
            .insert(field.to_owned(), message.header.length.into());
    }
    match read {
        Ok(()) => {}
        Err(Fault::End) if message.is_cut() => {}
        Err(Fault::End) => anomalies.push(format!("malformed_{what}: its body ends too early")),
        Err(Fault::Malformed(why)) => anomalies.push(format!("malformed_{what}: {why}")),
    }
}
