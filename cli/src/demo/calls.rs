//! The requests of the demo, in and out of the pod, and the documents that must come of them.

use super::{
    go_on,
    stage::{BANK, SHOP, Stage},
    tool,
};
use crate::signals::Signals;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fmt, net::IpAddr};

/// One run of curl: one connection, or more than one request on it.
struct Call {
    direction: Direction,
    v6: bool,
    /// Method, path with query, status, of each request on the connection.
    requests: &'static [(&'static str, &'static str, u16)],
    options: &'static [&'static str],
    /// What the application then does by itself.
    causes: Option<Expected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

/// What must be found in a document.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    direction: Direction,
    v6: bool,
    method: &'static str,
    path: &'static str,
    status: u16,
}

const IN: Call = Call {
    direction: Direction::Ingress,
    v6: false,
    requests: &[],
    options: &[],
    causes: None,
};

const OUT: Call = Call {
    direction: Direction::Egress,
    ..IN
};

const CALLS: &[Call] = &[
    // One connection, three requests, the second answered in chunks.
    Call {
        requests: &[
            ("GET", "/", 200),
            ("GET", "/catalog?page=2", 200),
            ("GET", "/nowhere", 404),
        ],
        options: &["--compressed"],
        ..IN
    },
    Call {
        requests: &[("HEAD", "/", 200)],
        options: &["--head"],
        ..IN
    },
    Call {
        requests: &[("POST", "/orders", 201)],
        options: &[
            "--header",
            "Content-Type: application/json",
            "--data",
            r#"{"item":"apples"}"#,
        ],
        ..IN
    },
    Call {
        requests: &[("GET", "/login?user=ada&password=correct-horse", 302)],
        options: &["--cookie", "session=secret"],
        ..IN
    },
    Call {
        requests: &[("GET", "/report", 200)],
        ..IN
    },
    Call {
        requests: &[("GET", "/checkout", 202)],
        causes: Some(Expected {
            direction: Direction::Egress,
            v6: false,
            method: "GET",
            path: "/v1/payments",
            status: 202,
        }),
        ..IN
    },
    Call {
        v6: true,
        requests: &[("GET", "/", 200), ("GET", "/broken", 503)],
        ..IN
    },
    Call {
        v6: true,
        requests: &[("POST", "/orders", 201)],
        options: &["--header", "Transfer-Encoding: chunked", "--data", "pears"],
        ..IN
    },
    Call {
        v6: true,
        requests: &[("GET", "/stock", 200)],
        causes: Some(Expected {
            direction: Direction::Egress,
            v6: true,
            method: "GET",
            path: "/v1/price",
            status: 200,
        }),
        ..IN
    },
    Call {
        requests: &[("GET", "/v1/price", 200), ("GET", "/v2/price", 404)],
        ..OUT
    },
    Call {
        v6: true,
        requests: &[("PUT", "/v1/payments", 202)],
        options: &["--request", "PUT", "--data", "42"],
        ..OUT
    },
];

/// Makes all calls, one after another, and says what documents must come of them.
///
/// # Errors
/// A call failed, or was answered otherwise than the application does.
pub fn call_all(stage: &Stage, signals: &Signals) -> Result<Vec<Expected>> {
    let mut expected = Vec::new();
    for call in CALLS {
        call.make(stage)
            .with_context(|| format!("the demo's request {call} failed"))?;
        expected.extend(call.expected());
        go_on(signals)?;
    }
    Ok(expected)
}

impl Call {
    fn make(&self, stage: &Stage) -> Result<()> {
        let (node, host, addresses, port) = match self.direction {
            Direction::Ingress => (&stage.client, "shop.example", stage.pod_addresses(), SHOP),
            Direction::Egress => (&stage.pod, "bank.example", stage.client_addresses(), BANK),
        };
        let address: IpAddr = match self.v6 {
            true => addresses.v6.into(),
            false => addresses.v4.into(),
        };
        let mut curl = tool::command(node, &tool::find("curl", "curl")?);
        // First of all: not the user's curlrc, and no proxy.
        curl.args([
            "-q",
            "--noproxy",
            "*",
            "--silent",
            "--show-error",
            "--max-time",
            "20",
        ]);
        curl.args(["--write-out", "%{http_code} ", "--resolve"]);
        curl.arg(match address {
            IpAddr::V4(ip) => format!("{host}:{port}:{ip}"),
            IpAddr::V6(ip) => format!("{host}:{port}:[{ip}]"),
        });
        curl.args(self.options);
        for (_, target, _) in self.requests {
            curl.args(["--output", "/dev/null"]);
            curl.arg(format!("http://{host}:{port}{target}"));
        }
        let said = node.run(curl)?;
        let statuses: Vec<_> = self
            .requests
            .iter()
            .map(|(.., status)| status.to_string())
            .collect();
        ensure!(
            said.split_whitespace().eq(statuses.iter().map(String::as_str)),
            "answered with {said}where {} was expected",
            statuses.join(" ")
        );
        Ok(())
    }

    fn expected(&self) -> impl Iterator<Item = Expected> {
        let own = self.requests.iter().map(|&(method, target, status)| Expected {
            direction: self.direction,
            v6: self.v6,
            method,
            path: target.split('?').next().unwrap_or(target),
            status,
        });
        own.chain(self.causes)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, target, _) = self.requests.first().unwrap_or(&("", "", 0));
        write!(f, "{method} {target}")
    }
}

impl Expected {
    fn is(&self, document: &Value) -> bool {
        let direction = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        document["network"]["direction"] == direction
            && document["network"]["type"] == if self.v6 { "ipv6" } else { "ipv4" }
            && document["http"]["request"]["method"] == self.method
            && document["url"]["path"] == self.path
            && document["http"]["response"]["status_code"] == self.status
    }
}

/// What no document was found for, each in words; a document stands for one exchange only.
pub fn missing(expected: &[Expected], documents: &[Value]) -> Vec<String> {
    let mut left: Vec<&Value> = documents.iter().collect();
    let mut missing = Vec::new();
    for expected in expected {
        match left.iter().position(|document| expected.is(document)) {
            Some(found) => drop(left.swap_remove(found)),
            None => missing.push(format!(
                "{} {} {} ({:?}, {})",
                expected.method,
                expected.path,
                expected.status,
                expected.direction,
                if expected.v6 { "IPv6" } else { "IPv4" }
            )),
        }
    }
    missing
}
