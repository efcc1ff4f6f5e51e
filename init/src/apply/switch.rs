//! From one way of taking inbound connections to the other, with no moment in which one escapes or both take it.
//!
//! REDIRECT is in the `nat` table and TPROXY in `mangle`, and tables change one after the other. So the new one comes
//! first, the old one goes after it, and for as long as both are there REDIRECT leaves alone what TPROXY has taken.

use crate::{Error, Family, backend::Tool, plan, ruleset::Ruleset};
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
    let step = |rules: &Ruleset| tool.bring(family, |now| marked(rules, now)).map(drop);
    match (has(&now, MANGLE), has(wanted, MANGLE)) {
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
        let open = open_dials(family);
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
fn open_dials(family: Family) -> usize {
    let name = match family {
        Family::V4 => "/proc/net/tcp",
        Family::V6 => "/proc/net/tcp6",
    };
    let table = std::fs::read_to_string(name).unwrap_or_default();
    let ends: HashSet<_> = table.lines().skip(1).filter_map(end).collect();
    let spare: IpNet = family.spare();
    let is_dial = |(local, remote): &&(SocketAddr, SocketAddr)| {
        local.ip() != remote.ip()
            && ends.contains(&(*remote, *local))
            && [local, remote]
                .iter()
                .all(|end| !end.ip().is_loopback() && !spare.contains(&end.ip()))
    };
    ends.iter().filter(is_dial).count() / 2
}

/// Local and remote address of a line of /proc/net/tcp whose connection is neither listening nor over.
fn end(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    const OVER: [&str; 3] = ["06", "07", "0A"]; // TIME_WAIT, CLOSE, LISTEN
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    (!OVER.contains(&state)).then_some(())?;
    Some((address(local)?, address(remote)?))
}

/// An address as the kernel writes it there: 32-bit words in the machine's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => Some((v4, port).into()),
        Err(_) => Some((<[u8; 16]>::try_from(bytes.as_slice()).ok()?, port).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(address("0100007F:1F90"), Some(([127, 0, 0, 1], 8080).into()));
        assert_eq!(
            address("000000FD0000C6120000000001000000:0050").map(|a| a.port()),
            Some(80)
        );
        assert_eq!(address("junk:0050"), None);
    }

    #[test]
    fn only_open_connections_count() {
        let line = |state: &str| format!("   0: 0100007F:1F90 0100007F:D431 {state} 00000000:00000000");
        assert!(end(&line("01")).is_some());
        assert!(end(&line("06")).is_none());
        assert!(end(&line("0A")).is_none());
    }
}
