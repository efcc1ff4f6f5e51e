//! Proves that a configuration is in force: the rules and routes are compared with its plan, and random tokens are
//! sent through real connections.
//!
//! The comparison covers what can't be exercised from inside the namespace (PREROUTING, every exclusion); the probes
//! cover what no comparison tells (that the kernel does what the rules say, and that the original destination can be
//! recovered). The sidecar answers the probes if it runs; if it doesn't, this process listens in its place.

mod answer;
mod probe;
mod report;
mod resolvers;

pub use probe::ask;
pub use report::{Item, Report, Verdict};

use crate::{
    Error, Family, Plan, apply, attached,
    backend::InForce,
    ebpf, looking, modes, port_map, privilege,
    routes::{self, Piece, Plumbing},
    ruleset::differences,
};
use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};
use weir_config::{Config, Mode};

/// Longest wait for the answer to one probe.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Checks everything and reports it item by item.
///
/// # Errors
/// Those that keep the check from looking at all; what it finds wrong is in the report.
pub async fn check(config: &Config) -> Result<Report, Error> {
    if config.interception.mode == Mode::Auto && looking::is_all_that_is_left().await? {
        let mut report = Report::new(Mode::Tap);
        let verdict = looking::prove().map_or_else(Verdict::Failed, |()| {
            Verdict::Ok(format!(
                "nothing is redirected, and packets can be seen: {}",
                looking::LOST
            ))
        });
        report.add("packets", None, verdict);
        return Ok(report);
    }
    privilege::check()?;
    if config.interception.mode == Mode::Tap {
        return Err(Error::Tap);
    }
    let config = &modes::resolved(config).await?;
    let families = Family::of_this_kernel();
    let mut report = Report::new(config.interception.mode);
    let pieces = routes::pieces(config.interception.mode, &config.interception);
    let programs = match config.interception.mode {
        Mode::Ebpf => Some(ebpf::check(config).await?),
        Mode::PortMap => Some(port_map::check(config).await?),
        _ => None,
    };
    if let Some(verdict) = programs {
        let verdict = verdict.map_or_else(Verdict::Failed, Verdict::Ok);
        report.add("programs", None, verdict);
        let others = match config.interception.mode {
            Mode::PortMap => port_map::in_the_way(config).await?,
            _ => ebpf::in_the_way(config).await?,
        };
        if !others.is_empty() {
            let said = format!("{} first: {}", others.join(", "), attached::MAY_END);
            report.add("others", None, Verdict::NotProbed(said));
        }
    } else {
        let plan = Plan::new(config, &families);
        let present = apply::present(&families)?;
        for family in &families {
            report.add("rules", *family, rules(&plan, &present, *family));
        }
    }
    let routing = Plumbing::open()?;
    for family in &families {
        let present = routing.present(*family).await?;
        for piece in &pieces {
            let (name, verdict) = routed(*family, piece, &present);
            report.add(name, *family, verdict);
        }
    }
    if let Some(verdict) = resolvers::rewritten(&config.interception) {
        report.add("resolvers", None, verdict);
    }
    if config.interception.mode == Mode::PortMap {
        // A token to a mapped port would go on to the application.
        report.add("listeners", None, listeners(config));
    } else {
        report
            .items
            .extend(probes(config, weir_config::probe::PORT).await.items);
    }
    Ok(report)
}

/// Whether somebody, the sidecar, listens on every port that connections are mapped to.
fn listeners(config: &Config) -> Verdict {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let map = &config.interception.port_map;
    let free: Vec<String> = map
        .0
        .iter()
        .map(|pair| pair.mapped)
        .filter(is_free)
        .map(|port| port.to_string())
        .collect();
    match free.as_slice() {
        [] => Verdict::Ok(format!("there for {map}")),
        free => Verdict::NotProbed(format!(
            "nobody listens on {}: connections pass until weir-sidecar runs with this port map",
            free.join(", ")
        )),
    }
}

/// Sends tokens through the redirect of a configuration whose mode is not `auto`, to one of the ports of [`weir_config::probe`].
pub async fn probes(config: &Config, port_of_probes: u16) -> Report {
    let set = &config.interception;
    let mut report = Report::new(set.mode);
    for (name, port) in [("outbound", set.outbound_port), ("inbound", set.inbound_port)] {
        for family in Family::of_this_kernel() {
            let answerer = answer::listen(family, port, set.mode, port_of_probes, name);
            let verdict = match name {
                "outbound" => probe::outbound(family, set, port_of_probes, &answerer).await,
                _ => probe::inbound(family, set, port_of_probes, &answerer).await,
            };
            report.add(name, family, verdict);
            answerer.stop().await;
        }
    }
    report
}

fn rules(plan: &Plan, present: &[InForce], family: Family) -> Verdict {
    let showing: Vec<&InForce> = present
        .iter()
        .filter(|shown| !shown.of(family).is_empty())
        .collect();
    let [only] = showing.as_slice() else {
        let names: Vec<String> = showing.iter().map(|shown| shown.tool.to_string()).collect();
        return Verdict::Failed(match names.as_slice() {
            [] => "none of Weir's rules are in force; run `weir-init install`".into(),
            several => format!(
                "{} hold rules of Weir each; run `weir-init remove`, then install",
                several.join(" and ")
            ),
        });
    };
    let in_force = only.of(family).without_marks();
    let wrong = differences(&in_force, &plan.rules(family));
    if wrong.is_empty() {
        return Verdict::Ok(format!("as configured, with {}", only.tool));
    }
    let mut lesser = plan.lesser().into_iter();
    match lesser.find(|(plan, _)| differences(&in_force, &plan.rules(family)).is_empty()) {
        Some((_, lost)) => Verdict::Ok(format!(
            "as configured, with {}, as far as the kernel goes: {lost}",
            only.tool
        )),
        None => Verdict::Failed(format!("not as configured: {}", wrong.join("; "))),
    }
}

fn routed(family: Family, piece: &Piece, present: &[Piece]) -> (&'static str, Verdict) {
    let spare = family.spare();
    let (name, says) = match piece {
        Piece::Spare { .. } => ("route", format!("{spare} is local")),
        Piece::Everything { table } => ("table", format!("every address is local in table {table}")),
        Piece::Rule { mark, table } => ("rule", format!("packets with mark {mark:#x} go by table {table}")),
    };
    let verdict = if !routes::is_routed(family) {
        Verdict::NotProbed("IPv6 is switched off on the loopback interface".into())
    } else if present.contains(piece) {
        Verdict::Ok(says)
    } else {
        Verdict::Failed(format!(
            "missing: `{}`; run `weir-init install`",
            routes::command(family, piece)
        ))
    };
    (name, verdict)
}
