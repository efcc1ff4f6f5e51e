//! From one way of taking inbound connections to the other, with no moment in which one escapes or both take it.
//!
//! REDIRECT is in the `nat` table and TPROXY in `mangle`, and tables change one after the other. So the new one comes
//! first, the old one goes after it, and for as long as both are there REDIRECT leaves alone what TPROXY has taken.

use crate::{Error, Family, backend::Tool, connections, plan, ruleset::Ruleset};
use ipnet::IpNet;
use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};
use weir_config::Interception;

const NAT: &str = "nat";
const MANGLE: &str = "mangle";
/// Longest wait for connections that are dialled from their client's address.
const PATIENCE: Duration = Duration::from_secs(5);

/// Goes all of the way but the last step, if the two take inbound connections in different ways.
///
/// # Errors
/// As for reading and restoring.
pub async fn prepare(
    tool: &Tool,
    family: Family,
    wanted: &Ruleset,
    set: &Interception,
    marked: impl Fn(&Ruleset, &Ruleset) -> Ruleset,
) -> Result<(), Error> {
    let now = tool.read(family)?.without_marks();
    let has = |rules: &Ruleset, table| rules.tables.contains_key(table);
    let by_tproxy = |rules: &Ruleset| {
        let mangle = rules.tables.get(MANGLE);
        mangle.is_some_and(|mangle| mangle.chains.contains_key(plan::TAKEN))
    };
    let step = |rules: &Ruleset| tool.bring(family, |now| marked(rules, now)).map(drop);
    match (by_tproxy(&now), by_tproxy(wanted)) {
        (false, true) if has(&now, NAT) => {
            let mut both = now.clone();
            guard(&mut both, set);
            step(&both)?;
            both.tables.insert(MANGLE.into(), wanted.tables[MANGLE].clone());
            step(&both)
        }
        (true, false) if has(wanted, NAT) => {
            let mut both = wanted.clone();
            guard(&mut both, set);
            both.tables.insert(MANGLE.into(), now.tables[MANGLE].clone());
            step(&both)?;
            both.tables.insert(MANGLE.into(), plan::lasting(family, set));
            step(&both)?;
            wait_for_open_dials(family).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Lets REDIRECT leave alone what has a mark of TPROXY's.
fn guard(rules: &mut Ruleset, set: &Interception) {
    let guards = [
        (
            "WEIR_INBOUND",
            format!("-m mark --mark {:#x} -j RETURN", set.mark),
        ),
        (
            "WEIR_SELF",
            format!("-m connmark --mark {:#x} -j RETURN", set.own_mark()),
        ),
    ];
    for (chain, guard) in guards {
        let nat = rules.tables.get_mut(NAT);
        if let Some(chain) = nat.and_then(|nat| nat.chains.get_mut(chain)) {
            chain.insert(0, guard);
        }
    }
}

/// A connection between sidecar and application that has the client's address ends with the rules that lead the
/// application's answers back. Those that end soon by themselves may.
async fn wait_for_open_dials(family: Family) {
    let start = Instant::now();
    loop {
        let open = match connections::open(family) {
            Ok(open) => dials(family, &open),
            Err(error) => {
                tracing::debug!("{family}: connections can't be listed ({error})");
                return tokio::time::sleep(PATIENCE).await;
            }
        };
        if open == 0 {
            return;
        }
        if start.elapsed() > PATIENCE {
            tracing::warn!("{family}: {open} connections that go through the sidecar break with this change");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Connections of which both ends are here, from an address that is neither the destination's nor the sidecar's own.
fn dials(family: Family, open: &HashSet<(SocketAddr, SocketAddr)>) -> usize {
    let spare: IpNet = family.spare();
    let is_dial = |(local, remote): &&(SocketAddr, SocketAddr)| {
        local.ip() != remote.ip()
            && open.contains(&(*remote, *local))
            && [local, remote]
                .iter()
                .all(|end| !end.ip().is_loopback() && !spare.contains(&end.ip()))
    };
    open.iter().filter(is_dial).count() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dials_from_a_clients_address_are_counted() {
        let pair = |a: &str, b: &str| -> [(SocketAddr, SocketAddr); 2] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            [(a, b), (b, a)]
        };
        let mut open: HashSet<_> = pair("192.0.0.65:40000", "198.18.0.2:80").into();
        open.extend(pair("198.18.0.2:40000", "198.18.0.2:80"));
        open.extend(pair("127.0.0.1:40000", "127.0.0.2:80"));
        open.extend(&pair("198.18.0.1:40000", "198.18.0.2:80")[1..]);
        assert_eq!(dials(Family::V4, &open), 0);
        open.extend(pair("198.18.0.1:20000", "198.18.0.2:80"));
        assert_eq!(dials(Family::V4, &open), 1);
    }
}
