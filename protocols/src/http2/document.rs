//! What an exchange means: its document.
//!
//! Outcome, seen by the client: that of HTTP/1, where a stream that is reset counts as cut short. A call of gRPC is a success
//! if its status is OK and no exception was thrown; it is unknown where its status was not seen.

use super::exchange::{Exchange, Failure, Message};
use super::hpack::Fields;
use super::parts::{body, check_length, error, first_line, headers, trailer_names};
use super::rpc::Answer;
use crate::Side;
use crate::http::{self, Cuts, Style, url};
use crate::http1::{Target, host, note};
use weir_records::{
    Document, DocumentId, Dubbo, Endpoint, Error, Event, Flow, Http, HttpRequest, HttpResponse, Outcome,
    Policy, Timestamp, Timing, Url, UserAgent, Weir, WeirHttp2,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.http";

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut cuts = Cuts::default();
        let mut anomalies = self.anomalies.clone();
        let request = self.request.as_ref();
        let url = self.url(policy, &mut cuts, &mut anomalies);
        let http = self.http(policy, &mut cuts, &mut anomalies);
        let user_agent = self.user_agent(&http, policy, &mut cuts);
        let answer = self.call.map(|style| self.answer(style));
        let rpc = answer.as_ref();
        let rpc = rpc.map(|answer| Box::new(self.rpc(answer, policy, &mut cuts)));
        let triple = self.triple && self.call == Some(Style::Grpc);
        let dubbo = triple
            .then(|| self.dubbo(policy, &mut cuts, &mut anomalies))
            .flatten();
        let asked_bytes = request.map(|request| request.wire);
        let event = self.event(flow, answer.as_ref());
        let head = request.and_then(|request| request.head.as_ref());
        let protocol = head.and_then(|head| head.get(b":protocol"));
        let protocol =
            protocol.map(|protocol| cuts.keep(policy.text(protocol), || "weir.http2.protocol".to_owned()));
        let error = self.error(answer, dubbo.as_ref(), policy, &mut cuts);
        Document {
            source: Endpoint::of(flow.client, asked_bytes.filter(|_| !self.pushed)),
            destination: Endpoint {
                domain: url.as_ref().and_then(|url| url.domain.clone()),
                ..Endpoint::of(flow.server, self.response_bytes(asked_bytes))
            },
            url,
            http: Some(http),
            rpc,
            user_agent,
            error,
            dubbo: dubbo.map(Box::new),
            weir: Weir {
                late_join: self.late,
                truncated: cuts.truncated,
                original_sizes: cuts.sizes,
                anomalies,
                base64: cuts.base64,
                http2: Some(WeirHttp2 {
                    stream_id: self.stream,
                    pushed: self.pushed,
                    protocol,
                }),
                timing: self.timing(flow),
                ..Weir::of(flow)
            },
            ..Document::of(flow, self.first(), event, "tcp", self.protocol())
        }
    }

    pub(crate) fn protocol(&self) -> &'static str {
        match self.call {
            Some(Style::Grpc) => "grpc",
            _ => "http",
        }
    }

    fn first(&self) -> Timestamp {
        let message = self.request.as_ref().or(self.response.as_ref());
        message.map_or(Timestamp::default(), |message| message.first)
    }

    fn event(&self, flow: &Flow, answer: Option<&Answer>) -> Event {
        Event {
            id: DocumentId::exchange(flow.id, DATASET, self.sequence),
            dataset: DATASET,
            category: &["network", "web"],
            kind: &["connection", "protocol", "access"],
            outcome: Some(self.outcome(answer)),
            duration: self.fate.duration(
                self.request.as_ref().map(|request| request.first),
                self.response.as_ref().map(|response| response.last),
            ),
            start: None,
            end: self.fate.end(),
        }
    }

    /// The status, if it is one. Of several that differ none is.
    pub(super) fn status(&self) -> Option<u16> {
        let head = self.response.as_ref()?.head.as_ref()?;
        let mut all = head.iter().filter(|field| field.name == Some(b":status"));
        let status = all.next()?.value.ok()?;
        if all.any(|other| other.value != Ok(status)) || status.len() != 3 {
            return None;
        }
        let digits = status.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(status).ok().filter(|_| digits)?.parse().ok()
    }

    fn outcome(&self, answer: Option<&Answer>) -> Outcome {
        let failed = answer.is_some_and(Answer::has_failed);
        let understood = answer.is_none_or(|answer| answer.known);
        match (self.failure, self.status()) {
            (_, Some(400..)) => Outcome::Failure,
            _ if failed => Outcome::Failure,
            (Some(Failure::Abandoned), _) => Outcome::Unknown,
            (Some(_), _) => Outcome::Failure,
            (None, Some(_)) if self.may_be_failed_call() => Outcome::Unknown,
            (None, Some(200..)) if self.is_answered() && understood => Outcome::Success,
            (None, None) if self.is_answered() && answer.is_some() && understood => Outcome::Success,
            (None, _) => Outcome::Unknown,
        }
    }

    /// Nothing says that this is no call of gRPC, and fields that were not read are where a call's status would be.
    fn may_be_failed_call(&self) -> bool {
        let head = |side| self.message(side).and_then(|message| message.head.as_ref());
        let (asked, answered) = (head(Side::Client), head(Side::Server));
        let named = |fields: Option<&Fields>| fields.is_some_and(|fields| fields.has(b"content-type"));
        let method = asked.and_then(|fields| fields.get(b":method"));
        if self.call.is_some()
            || named(asked)
            || named(answered)
            || method.is_some_and(|method| method != b"POST")
        {
            return false;
        }
        let Some(response) = &self.response else {
            return false;
        };
        let last = match &response.trailers {
            None if response.body == 0 => answered,
            trailers => trailers.as_ref(),
        };
        last.is_some_and(Fields::is_partial)
    }

    /// Of a push these are the bytes of the promise too.
    fn response_bytes(&self, asked: Option<u64>) -> Option<u64> {
        let promise = asked.filter(|_| self.pushed).unwrap_or(0);
        let answered = self.response.as_ref().map_or(0, |response| response.wire);
        let all = answered + self.informational + promise;
        (self.response.is_some() || all > 0).then_some(all)
    }

    fn timing(&self, flow: &Flow) -> Timing {
        let (request, response) = (self.request.as_ref(), self.response.as_ref());
        let whole = |message: &&Message| message.whole;
        let span = |message: &Message| message.last.since(message.first);
        Timing {
            connect: flow.connect,
            request: request.filter(whole).map(span),
            ttfb: request.zip(response).map(|(request, response)| {
                let asked = if request.whole && request.last <= response.first {
                    request.last
                } else {
                    request.first
                };
                response.first.since(asked)
            }),
            response: response.filter(whole).map(span),
        }
    }

    fn url(&self, policy: &Policy, cuts: &mut Cuts, anomalies: &mut Vec<String>) -> Option<Url> {
        let head = self.request.as_ref()?.head.as_ref()?;
        let method = head.get(b":method").unwrap_or_default();
        let authority = head.get(b":authority").or_else(|| head.get(b"host"));
        let path = head.get(b":path").or(authority.filter(|_| method == b"CONNECT"));
        let mut address = match path {
            Some(path) => {
                let path = first_line(path, policy);
                let clean = policy.redact_url(&*path);
                // With a path, CONNECT is that of a WebSocket (RFC 8441).
                let method = head.get(b":path").map_or(method, |_| b"");
                url(&clean, &Target::parse(method, &clean), policy, cuts)
            }
            None if authority.is_some() => Url::default(),
            None => return None,
        };
        let scheme = head.get(b":scheme");
        address.scheme = scheme.map(|scheme| {
            let scheme = first_line(scheme, policy);
            cuts.keep(policy.text(&*scheme), || "url.scheme".to_owned())
        });
        match authority.map(|authority| host(&authority.into())) {
            Some(Some((domain, port))) => (address.domain, address.port) = (Some(domain), port),
            Some(None) => note(anomalies, "invalid_host", ""),
            None => {}
        }
        Some(address)
    }

    fn user_agent(&self, http: &Http, policy: &Policy, cuts: &mut Cuts) -> Option<UserAgent> {
        let head = self.request.as_ref()?.head.as_ref()?;
        let sent = head
            .iter()
            .find(|field| !field.cut && field.name == Some(b"user-agent"))?;
        let headers = http.request.as_ref().map(|request| &request.headers);
        let value = first_line(sent.value.ok()?, policy);
        Some(http::user_agent(&(&*value).into(), headers, policy, cuts))
    }

    fn http(&self, policy: &Policy, cuts: &mut Cuts, anomalies: &mut Vec<String>) -> Http {
        let request = self.request.as_ref().map(|request| {
            let method = request.head.as_ref().and_then(|head| head.get(b":method"));
            HttpRequest {
                method: method.map(|method| {
                    let method = first_line(method, policy);
                    cuts.keep(policy.text(&*method), || "http.request.method".to_owned())
                }),
                bytes: request.wire,
                body: body(request, Side::Client, policy, cuts, anomalies),
                headers: headers(request, Side::Client, policy, cuts, anomalies),
                trailer_names: trailer_names(request, policy),
            }
        });
        self.check_lengths(anomalies);
        let response = self.response.as_ref().map(|response| HttpResponse {
            status_code: self.status(),
            bytes: response.wire,
            body: body(response, Side::Server, policy, cuts, anomalies),
            headers: headers(response, Side::Server, policy, cuts, anomalies),
            trailer_names: trailer_names(response, policy),
        });
        Http {
            version: Some("2"),
            request,
            response,
        }
    }

    /// A response to HEAD has the length of what it would have been, and so has one of 304. Where bytes were missed, what
    /// came says nothing.
    fn check_lengths(&self, anomalies: &mut Vec<String>) {
        if self.gap {
            return;
        }
        if let Some(request) = &self.request {
            check_length(request, Side::Client, anomalies);
        }
        let head = self.request.as_ref().and_then(|request| request.head.as_ref());
        let method = head.and_then(|head| head.get(b":method"));
        if let Some(response) = &self.response
            && method.is_some_and(|method| method != b"HEAD")
            && self.status() != Some(304)
        {
            check_length(response, Side::Server, anomalies);
        }
    }

    fn error(
        &self,
        answer: Option<Answer>,
        dubbo: Option<&Dubbo>,
        policy: &Policy,
        cuts: &mut Cuts,
    ) -> Option<Error> {
        if let Some(exception) = dubbo.and_then(|dubbo| dubbo.exception.as_ref()) {
            let message = exception.message.as_ref();
            return Some(Error {
                kind: exception.class.clone().into(),
                message: message
                    .map(|it| cuts.keep(policy.text(it.as_bytes()), || "error.message".to_owned())),
            });
        }
        let answered = answer.and_then(|answer| answer.error(policy, cuts));
        answered.or_else(|| self.failure.map(error))
    }
}
