//! A mode is tried beside the one that is in force: everything that it needs is put in place for the probes of a trial
//! alone, tokens are sent through it, and all of it is taken away again. The traffic of others never meets it.
//!
//! A trial of mode `ebpf` is a process of its own: the kernel may end it for want of memory, and the trial is then no
//! more than failed.

use crate::{
    Error, Family, Plan,
    apply::{self, Created},
    attached::{self, Scene, Set},
    backend::Tool,
    check, connections,
    ebpf::{self, Draining},
    lock, plan,
    routes::{self, Changes, Piece, Plumbing},
    ruleset::{Ruleset, Table},
};
use std::{
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Stdio},
};
use weir_bpf::{Redirect, Settings, Side};
use weir_config::{Config, Mode, probe};

/// The metric of the spare route during a trial where none is in force: the number of no mode.
const METRIC: u32 = 87;
/// How the chains of a trial begin. They are never part of what is in force.
const CHAIN: &str = "WEIR_TRIAL";

/// Tries the mode of this configuration, which is not the one in force.
///
/// # Errors
/// Why it does not work here, in words.
pub async fn run(config: &Config) -> Result<(), String> {
    match config.interception.mode {
        Mode::Ebpf => apart(config).await,
        _ => rules(config).await,
    }
}

/// What a mode needs of the routing, without telling the sidecar that the mode is in force.
async fn routing(
    routing: &Plumbing,
    config: &Config,
    families: &[Family],
    changes: &mut Changes,
) -> Result<(), Error> {
    let set = &config.interception;
    for family in families {
        let present = routing.present(*family).await?;
        let is_spare = |piece: &Piece| matches!(piece, Piece::Spare { .. });
        let mut pieces = routes::pieces(set.mode, set);
        pieces.retain(|piece| !is_spare(piece));
        if !present.iter().any(is_spare) {
            pieces.push(Piece::Spare { metric: METRIC });
        }
        routing.complete(&[*family], &pieces, changes).await?;
    }
    Ok(())
}

/// Sends the tokens; gives what failed.
async fn prove(config: &Config) -> Result<(), String> {
    let report = check::probes(config, probe::TRIAL_PORT).await;
    match report.is_ok() {
        true => Ok(()),
        false => Err(report.failures().join("; ")),
    }
}

async fn rules(config: &Config) -> Result<(), String> {
    let said = |error: Error| error.to_string();
    let families = Family::of_this_kernel();
    let _lock = lock::acquire().map_err(said)?;
    let plan = Plan::new(config, &families);
    let plumbing = Plumbing::open().map_err(said)?;
    let mut created = Created::before(&families).map_err(said)?;
    let chosen = apply::choose_for(&plan, &config.interception, &families);
    created.look_again().map_err(said)?;
    let mut changes = Changes::default();
    let mut before = Vec::new();
    let proved = match &chosen {
        Err(error) => Err(error.to_string()),
        Ok(tool) => {
            let put = put_rules(tool, config, &families, &mut before).map_err(said);
            let routed = routing(&plumbing, config, &families, &mut changes)
                .await
                .map_err(said);
            match put.and(routed) {
                Ok(()) => prove(config).await,
                failed => failed,
            }
        }
    };
    let mut undone = Ok(());
    if let Ok(tool) = &chosen {
        for (family, rules) in &before {
            undone = undone.and(tool.bring(*family, |_| rules.clone()).map(drop));
        }
    }
    created.look_again().map_err(said)?;
    for family in &families {
        undone = undone.and(created.discard(*family));
    }
    undone = undone.and(plumbing.take_back(&changes).await);
    undone.map_err(said).and(proved)
}

fn put_rules(
    tool: &Tool,
    config: &Config,
    families: &[Family],
    before: &mut Vec<(Family, Ruleset)>,
) -> Result<(), Error> {
    for family in families {
        before.push((*family, tool.read(*family)?));
        tool.bring(*family, |now| beside(now, *family, config))?;
    }
    Ok(())
}

/// The rules in force, and those of a trial.
fn beside(now: &Ruleset, family: Family, config: &Config) -> Ruleset {
    let set = &config.interception;
    let mut rules = now.clone();
    let [outbound, inbound] = plan::trials(family);
    // Without a sidecar this process answers, on a port at which nobody else's connections arrive.
    let listening = connections::listeners(Family::V4).unwrap_or_default();
    let listener = |port: u16| match listening.iter().any(|address| address.port() == port) {
        true => port,
        false => probe::TRIAL_PORT,
    };
    let mut add = |table: &str, base: &str, matches: &str, kind: &str, rules_of: &[String]| {
        let table: &mut Table = rules.tables.entry(table.into()).or_default();
        let chain = format!("{CHAIN}_{kind}");
        for rule in rules_of {
            table.rule(&chain, rule);
        }
        table.jump(base, format!("{matches} -j {chain}"));
    };
    let redirect = |port: u16| [format!("-p tcp -j REDIRECT --to-ports {}", listener(port))];
    add("nat", "OUTPUT", &outbound, "OUT", &redirect(set.outbound_port));
    match set.mode {
        Mode::Tproxy => {
            let any = match family {
                Family::V4 => "0.0.0.0",
                Family::V6 => "::",
            };
            let assign = format!(
                "-p tcp -j TPROXY --on-port {} --on-ip {any} --tproxy-mark {:#x}/0xffffffff",
                listener(set.inbound_port),
                set.mark
            );
            add("mangle", "PREROUTING", &inbound, "IN", &[assign]);
        }
        _ => add("nat", "OUTPUT", &inbound, "IN", &redirect(set.inbound_port)),
    }
    rules
}

/// Runs [`ebpf`] in a process of its own.
async fn apart(config: &Config) -> Result<(), String> {
    let said = |error: std::io::Error| format!("cannot try it in a process of its own: {error}");
    let settings = Config {
        interception: config.interception.clone(),
        relay: config.relay.clone(),
        ..Config::default()
    }
    .to_yaml()?;
    let child = || -> std::io::Result<std::process::Output> {
        let mut child = Command::new("/proc/self/exe")
            .arg("trial")
            .env_clear()
            .env("WEIR_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that has died already says so by its end.
            let _ = stdin.write_all(settings.as_bytes());
        }
        child.wait_with_output()
    };
    let output = child().map_err(said)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim().trim_start_matches("weir-init: ").to_owned();
    if output.status.code().is_some() {
        return Err(text);
    }
    clear(config).await.map_err(|error| error.to_string())?;
    Err(format!(
        "the trial of it ended by {}; is the memory limit too low? {text}",
        output.status
    ))
}

/// Takes away what a trial has left that was ended from outside.
async fn clear(config: &Config) -> Result<(), Error> {
    let _lock = lock::acquire()?;
    attached::take_away(Set::Redirect).await?;
    let in_force = crate::modes::in_force().await?;
    let pieces = in_force.map_or_else(Vec::new, |mode| routes::pieces(mode, &config.interception));
    let families = Family::of_this_kernel();
    Plumbing::open()?
        .trim(&families, &pieces, &mut Changes::default())
        .await
}

/// Tries mode `ebpf` in this process.
///
/// # Errors
/// Why it does not work here, in words.
pub async fn ebpf(config: &Config) -> Result<(), String> {
    let said = |error: Error| error.to_string();
    let families = Family::of_this_kernel();
    let _lock = lock::acquire().map_err(said)?;
    let settings = Settings {
        dns: false,
        probe_port: probe::TRIAL_PORT,
        ..ebpf::settings(config)
    };
    let settings = Settings {
        outbound_probe: settings.outbound_probe,
        inbound_probe: settings.inbound_probe,
        ..settings.draining()
    };
    let scene = Scene::look(Set::Redirect).await.map_err(said)?;
    // Programs that carry on what an earlier installation has taken: those of the trial do, too, and give way to them.
    let draining = Draining::load(config).await.map_err(said)?;
    let programs = Redirect::load(&settings).map_err(|cause| Error::from(cause).to_string())?;
    let plumbing = Plumbing::open().map_err(said)?;
    let mut changes = Changes::default();
    let put = async {
        routing(&plumbing, config, &families, &mut changes).await?;
        if let Some(lo) = scene.loopback().filter(|_| !scene.accepts_local) {
            scene.tc.accept_local(lo, true).await?;
        }
        let mut wanted = ebpf::wanted(&scene, config);
        wanted.fingerprint = settings.fingerprint();
        wanted.description.clear();
        let program = |kind, side: Side| programs.descriptor(kind, side);
        wanted.put(&scene, program).await
    };
    let put = put.await.map_err(said);
    let proved = match put {
        Ok(()) => prove(config).await,
        failed => failed,
    };
    let undone = match draining {
        Some(draining) => draining.put().await,
        None => attached::take_away(Set::Redirect).await.map(drop),
    };
    let undone = undone.and(plumbing.take_back(&changes).await);
    undone.map_err(said).and(proved)
}

/// What the sidecar that listens here can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Nobody listens, so nobody knows.
    Unknown,
    /// It has no NET_RAW: only connections that come by NAT.
    Nat,
    /// Connections with their destination in place, too.
    InPlace,
}

/// Asks the sidecar's listener for outbound connections: one that can't serve them in place is on the loopback address
/// alone.
pub fn serves(config: &Config) -> Serves {
    let port = config.interception.outbound_port;
    let listening = connections::listeners(Family::V4).unwrap_or_default();
    let at = |ip: Ipv4Addr| listening.contains(&(ip, port).into());
    if at(Ipv4Addr::UNSPECIFIED) {
        Serves::InPlace
    } else if at(Ipv4Addr::LOCALHOST) {
        Serves::Nat
    } else {
        Serves::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_stands_beside_what_is_in_force_and_redirects_its_probes_alone() {
        let mut config = Config::default();
        let now = Plan::new(&config, &[Family::V4]).rules(Family::V4);
        for mode in [Mode::Redirect, Mode::Tproxy] {
            config.interception.mode = mode;
            let both = beside(&now, Family::V4, &config);
            for (name, table) in &both.tables {
                let before = now.tables.get(name).cloned().unwrap_or_default();
                for (chain, rules) in &table.chains {
                    assert!(chain.starts_with(CHAIN) || before.chains.get(chain) == Some(rules));
                }
                let new = table.jumps.iter().filter(|jump| !before.jumps.contains(jump));
                for (_, jump) in new {
                    assert!(
                        jump.contains("--dport 15003 ") && jump.contains("-d 19"),
                        "{jump}"
                    );
                }
            }
        }
    }
}
