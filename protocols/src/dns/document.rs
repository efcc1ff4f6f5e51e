//! What an exchange means: its document.
//!
//! Outcome, seen by the client: NOERROR is a success; every other code is a failure, NXDOMAIN like HTTP's 404, and so is
//! a query that nobody answered. It is unknown where the observer gave up, or where the answer may have come unseen.

use super::TIMEOUT;
use super::exchange::{Exchange, Failure, Seen, Transport};
use super::message::{Answer, Message, Question};
use super::names;
use crate::Side;
use std::collections::BTreeMap;
use weir_records::{
    Dns, DnsAnswer, DnsQuestion, Document, DocumentId, Endpoint, Error, Event, Flow, Outcome, Policy,
    Timestamp, Timing, Weir, WeirDns,
};

/// `event.dataset` of every document made here.
const DATASET: &str = "weir.dns";

impl Exchange {
    pub(crate) fn document(&self, flow: &Flow, policy: &Policy) -> Document {
        let mut sizes = BTreeMap::new();
        let dns = self.dns(policy, &mut sizes);
        let errors = self.extended_errors(policy, &mut sizes);
        let [mut asked, mut answered] = [&self.query, &self.response].map(|seen| seen.as_ref().map(size));
        if let Some(alone) = self.alone {
            let size = asked.or(answered);
            (asked, answered) = match alone.sender {
                Side::Client => (size, None),
                Side::Server => (None, size),
            };
        }
        let event = self.event(flow);
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        Document {
            source: Endpoint::of(flow.client, asked),
            destination: Endpoint::of(flow.server, answered),
            dns: Some(Box::new(dns)),
            error: self.failure.map(|failure| self.error(failure)),
            weir: Weir {
                late_join: self.late,
                truncated: !sizes.is_empty(),
                original_sizes: sizes,
                anomalies: self.anomalies.clone(),
                dns: Some(WeirDns {
                    rcode: self.rcode(),
                    repeats: self.repeats,
                    copies: self.copies,
                    again: self.again,
                    client_subnet: self.subnet(),
                    extended_errors: errors,
                }),
                timing: self.timing(flow),
                ..Weir::of(flow)
            },
            ..Document::of(flow, self.first(), event, transport, self.protocol())
        }
    }

    fn first(&self) -> Timestamp {
        let seen = self.query.as_ref().or(self.response.as_ref());
        seen.map_or(Timestamp::default(), |seen| seen.first)
    }

    fn extended_errors(&self, policy: &Policy, sizes: &mut BTreeMap<String, u64>) -> Vec<String> {
        let response = self.response.iter();
        let errors = response.flat_map(|seen| &seen.message.extended_errors);
        let keep = |error: &String| {
            let text = policy.text(error.as_bytes());
            text.keep(sizes, || "weir.dns.extended_errors".to_owned())
        };
        errors.map(keep).collect()
    }

    /// The query's, since the answer only repeats it.
    fn subnet(&self) -> Option<String> {
        let seen = self.query.iter().chain(&self.response);
        seen.filter_map(|seen| seen.message.client_subnet.clone()).next()
    }

    fn event(&self, flow: &Flow) -> Event {
        Event {
            id: DocumentId::exchange(flow.id, DATASET, self.sequence),
            dataset: DATASET,
            category: &["network"],
            kind: &["connection", "protocol"],
            outcome: Some(match (self.failure, self.rcode()) {
                (Some(Failure::Abandoned), _) => Outcome::Unknown,
                (None, -1) if self.alone.is_some() => Outcome::Unknown,
                _ if self.doubt.is_some() && self.response.is_none() => Outcome::Unknown,
                (None, 0) => Outcome::Success,
                _ => Outcome::Failure,
            }),
            duration: self.fate.duration(
                self.query.as_ref().map(|query| query.first),
                self.response.as_ref().map(|response| response.last),
            ),
            start: None,
            end: self.fate.end(),
        }
    }

    fn timing(&self, flow: &Flow) -> Timing {
        let span = |seen: &Seen| seen.last.since(seen.first);
        let tcp = self.transport == Transport::Tcp;
        let (query, response) = (self.query.as_ref(), self.response.as_ref());
        Timing {
            connect: flow.connect.filter(|_| tcp),
            // A datagram comes at once.
            request: query.filter(|_| tcp).map(span),
            ttfb: query
                .zip(response)
                .map(|(query, response)| response.first.since(query.last)),
            response: response.filter(|_| tcp).map(span),
        }
    }

    fn dns(&self, policy: &Policy, sizes: &mut BTreeMap<String, u64>) -> Dns {
        let Some(told) = self.either() else {
            return Dns::default();
        };
        let asked = self.query.as_ref().map_or(told, |query| &query.message);
        let question = asked.question.as_ref().or(told.question.as_ref());
        let mut dns = Dns {
            kind: if self.response.is_some() {
                "answer"
            } else {
                "query"
            },
            id: told.header.id.to_string(),
            op_code: names::op_code(told.header.op_code()),
            header_flags: self.flags(told),
            question: question.map(|question| self.asked_for(question)),
            ..Dns::default()
        };
        if let Some(Seen { message, .. }) = &self.response {
            let announced = u64::from(message.header.counts[1]);
            if message.malformed.is_none() && !message.is_cut() && announced > message.answers.len() as u64 {
                sizes.insert("dns.answers".into(), announced);
            }
            dns.response_code = Some(names::response_code(message.code));
            dns.resolved_ip = message.answers.iter().filter_map(|answer| answer.ip).collect();
            dns.answers = message
                .answers
                .iter()
                .map(|answer| self.answered(answer, policy, sizes))
                .collect();
        }
        dns
    }

    fn asked_for(&self, question: &Question) -> DnsQuestion {
        DnsQuestion {
            name: question.name.clone(),
            kind: question.type_name(),
            class: self.class(question.class),
        }
    }

    fn answered(&self, answer: &Answer, policy: &Policy, sizes: &mut BTreeMap<String, u64>) -> DnsAnswer {
        let data = policy.text(answer.data.as_bytes());
        DnsAnswer {
            name: answer.name.clone(),
            kind: names::record_type(answer.kind),
            class: self.class(answer.class),
            ttl: answer.ttl,
            data: data.keep(sizes, || "dns.answers.data".into()),
        }
    }

    fn class(&self, class: u16) -> String {
        names::class(self.alone.map_or(class, |alone| alone.naming.class(class)))
    }

    fn flags(&self, told: &Message) -> Vec<&'static str> {
        let mut flags = told.flags();
        if let Some(alone) = self.alone {
            for flag in &mut flags {
                *flag = alone.naming.flag(flag);
            }
        }
        flags
    }

    fn error(&self, failure: Failure) -> Error {
        let (kind, message) = match (failure, self.transport) {
            (Failure::Timeout, _) => ("timeout", format!("no answer within {} s", TIMEOUT.as_secs())),
            (Failure::ResetByServer, Transport::Udp) => (
                "port_unreachable",
                "nobody listens at the resolver's address".to_owned(),
            ),
            (Failure::ResetByServer, Transport::Tcp) => {
                ("connection_reset", "the server reset the connection".to_owned())
            }
            (Failure::ResetByClient, _) => ("connection_reset", "the client reset the connection".to_owned()),
            (Failure::NoResponse, _) => (
                "no_response",
                "the server closed the connection without an answer".to_owned(),
            ),
            (Failure::Abandoned, _) => ("abandoned", "given up before it was answered".to_owned()),
        };
        Error {
            kind: kind.into(),
            message: Some(message),
        }
    }
}

fn size(seen: &Seen) -> u64 {
    seen.message.size
}
