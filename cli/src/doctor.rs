//! `weir doctor`: asks the sidecar of this network namespace how it is, and says what is well, what is not, and what to do.
//!
//! `ask` is what it takes to ask, `findings` reads the answers, `strangers` looks for programs that run as the sidecar's user.

mod ask;
mod findings;
mod strangers;

use anyhow::Result;
use ask::{Answer, get};
use findings::{Finding, Level};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Say how the sidecar of this network namespace is, what it has lost, and what to do. Ends with 0 if all is well, 1 if something is wrong or lost, 2 if nobody answers
#[derive(clap::Args)]
pub struct Args {
    /// The sidecar's admin endpoint
    #[arg(long, env = "WEIR_ADMIN_PORT", value_name = "PORT", default_value_t = 15000)]
    admin_port: u16,
    /// Its health endpoint; 0 if it has none
    #[arg(long, env = "WEIR_HEALTH_PORT", value_name = "PORT", default_value_t = 15021)]
    health_port: u16,
    /// Its Prometheus endpoint; 0 if it has none
    #[arg(long, env = "WEIR_METRICS_PORT", value_name = "PORT", default_value_t = 15020)]
    metrics_port: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Nobody reads what it says.
pub fn run(args: &Args) -> Result<ExitCode> {
    let health = Endpoint::ask("health", args.health_port, "/healthz/ready");
    let admin = Endpoint::ask("admin", args.admin_port, "/stats");
    let metrics = Endpoint::ask("metrics", args.metrics_port, "/metrics");
    let endpoints = [health, admin, metrics];
    let (code, findings) = match endpoints.iter().any(Endpoint::has_answered) {
        false => (2, vec![nobody(&endpoints)]),
        true => {
            let findings = findings_of(&endpoints);
            let is_well = findings.iter().all(|finding| finding.level != Level::Wrong);
            (u8::from(!is_well), findings)
        }
    };
    show(&findings, code, args.json)?;
    Ok(ExitCode::from(code))
}

/// One of the sidecar's, and what it answered; none of port 0.
struct Endpoint {
    name: &'static str,
    port: u16,
    answer: Option<io::Result<Answer>>,
}

impl Endpoint {
    fn ask(name: &'static str, port: u16, path: &str) -> Self {
        Self {
            name,
            port,
            answer: (port > 0).then(|| get(port, path)),
        }
    }

    fn has_answered(&self) -> bool {
        matches!(self.answer, Some(Ok(_)))
    }
}

fn nobody(endpoints: &[Endpoint]) -> Finding {
    let asked: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.answer.is_some())
        .map(|endpoint| format!("{} ({})", endpoint.port, endpoint.name))
        .collect();
    Finding::wrong(
        format!(
            "no sidecar answers in this network namespace, on 127.0.0.1 at {}",
            asked.join(", ")
        ),
        "start weir-sidecar, run this in its namespace, or name its ports (--admin-port and its siblings)",
    )
}

fn findings_of(endpoints: &[Endpoint]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for endpoint in endpoints {
        let Some(answer) = &endpoint.answer else {
            continue;
        };
        match answer {
            Ok(answer) => match endpoint.name {
                "health" => findings.push(findings::readiness(answer)),
                "admin" => findings.extend(stats(endpoint.port, answer)),
                _ if answer.status != 200 => findings.push(Finding::wrong(
                    format!(
                        "the metrics endpoint (port {}) answers {}",
                        endpoint.port, answer.status
                    ),
                    "is that port the sidecar's? Name it by --metrics-port",
                )),
                _ => {}
            },
            Err(error) => findings.push(Finding::wrong(
                format!(
                    "the {} endpoint does not answer at 127.0.0.1:{}: {error}",
                    endpoint.name, endpoint.port
                ),
                format!("name its port by --{}-port", endpoint.name),
            )),
        }
    }
    findings
}

/// What the admin endpoint's answer says, if it is one of the sidecar's.
fn stats(port: u16, answer: &Answer) -> Vec<Finding> {
    match serde_json::from_str::<Value>(&answer.body) {
        Ok(stats) if answer.status == 200 && stats["connections"].is_object() => {
            let mut findings = findings::of(&stats);
            // A tap sees every sender.
            if stats["mode"] != "tap"
                && let Ok(config) = get(port, "/config")
            {
                findings.extend(strangers::find(&config.body));
            }
            findings
        }
        _ => vec![Finding::wrong(
            format!("what answers at 127.0.0.1:{port} is no admin endpoint of a sidecar"),
            "name the sidecar's by --admin-port",
        )],
    }
}

fn show(findings: &[Finding], code: u8, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let all: Vec<Value> = findings.iter().map(Finding::json).collect();
        return writeln!(out, "{}", json!({"code": code, "findings": all}));
    }
    for finding in findings {
        let level = finding.level.name();
        writeln!(out, "{level:<6} {}", finding.what)?;
        if let Some(advice) = &finding.advice {
            writeln!(out, "       -> {advice}")?;
        }
    }
    Ok(())
}
