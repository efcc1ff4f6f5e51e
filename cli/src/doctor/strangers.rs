//! Programs of this network namespace that run as the sidecar's user: what they send is taken for the sidecar's own, and so it
//! is never redirected and not seen.
//!
//! Two ways to find them, for each sees what the other does not: processes, where those of the namespace are visible from here;
//! and listening sockets, which are visible from every container of a pod, with the user that opened them.

use super::findings::Finding;
use std::{collections::BTreeSet, fs, path::Path};

/// Settings whose values are ports at which the sidecar listens.
const PORTS: [&str; 6] = [
    "outbound_port",
    "inbound_port",
    "dns_port",
    "admin_port",
    "health_port",
    "metrics_port",
];
/// The state of a listening socket, as `/proc/net/tcp` has it.
const LISTENING: &str = "0A";

/// What there is to say of such programs; `config` is what the sidecar says of its configuration (`/config`).
pub fn find(config: &str) -> Vec<Finding> {
    let Some(user) = value(config, "proxy_uid") else {
        return Vec::new();
    };
    let programs = programs(user);
    let mut found: Vec<_> = programs
        .iter()
        .map(|(pid, name)| format!("{name} (process {pid})"))
        .collect();
    if found.is_empty() {
        let own = own_ports(config);
        let listening = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| {
            let table = fs::read_to_string(path).unwrap_or_default();
            listeners(&table, user)
        });
        let foreign: BTreeSet<_> = listening
            .into_iter()
            .flatten()
            .filter(|port| !own.contains(port))
            .collect();
        found = foreign
            .iter()
            .map(|port| format!("who listens at port {port}"))
            .collect();
    }
    let finding = |who: String| {
        Finding::wrong(
            format!("not seen: what {who} sends, for it runs as user {user}, which is the sidecar's"),
            "run it as another user, or give the sidecar and the installer one of their own (--proxy-uid)",
        )
    };
    found.into_iter().map(finding).collect()
}

/// The number behind a name, anywhere in this YAML.
fn value(config: &str, name: &str) -> Option<u32> {
    let mut lines = config.lines();
    let text = lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))?;
    text.trim().parse().ok()
}

/// The ports at which the sidecar listens: those of a port map are there as `original:mapped`.
fn own_ports(config: &str) -> BTreeSet<u16> {
    let named = PORTS.iter().filter_map(|name| value(config, name));
    let map = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("port_map:"));
    let is_digit = |c: char| c.is_ascii_digit();
    let mapped = map.unwrap_or_default().split(|c| !is_digit(c));
    let mapped = mapped.filter_map(|number| number.parse().ok());
    named
        .filter_map(|port| u16::try_from(port).ok())
        .chain(mapped)
        .collect()
}

/// The ports at which this user listens, by a table as the kernel writes it (proc(5), `/proc/net/tcp`).
fn listeners(table: &str, user: u32) -> Vec<u16> {
    let port = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, owner, ..] = fields[..] else {
            return None;
        };
        let is_it = state == LISTENING && owner.parse() == Ok(user);
        let (_, port) = local.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok().filter(|_| is_it)
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// Processes of this namespace and user that are no sidecar, as far as they can be seen from here.
fn programs(user: u32) -> Vec<(u32, String)> {
    let Ok(here) = fs::read_link("/proc/self/ns/net") else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let program = |process: &Path| {
        let pid = process.file_name()?.to_str()?.parse().ok()?;
        let status = fs::read_to_string(process.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let runs_as = line.split_whitespace().any(|id| id.parse() == Ok(user));
        let is_here = runs_as && fs::read_link(process.join("ns/net")).ok()? == here;
        let name = fs::read_to_string(process.join("comm")).ok()?.trim().to_owned();
        (is_here && name != "weir-sidecar").then_some((pid, name))
    };
    entries
        .flatten()
        .filter_map(|entry| program(&entry.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_a_user_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1 1\n\
             1: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 2 1\n\
             2: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1337        0 3 1\n\
             3: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1\n";
        assert_eq!(listeners(table, 1337), [8080, 15001]);
        assert_eq!(listeners(table, 0), [80]);
        assert!(listeners("", 0).is_empty());
    }

    #[test]
    fn the_sidecars_own_ports_are_in_its_configuration() {
        let config = weir_config::Config::default().to_yaml().unwrap();
        assert_eq!(value(&config, "proxy_uid"), Some(1337));
        let own = own_ports(&config);
        for port in [15000, 15001, 15006, 15020, 15021, 15053] {
            assert!(own.contains(&port), "{port}: {own:?}\n{config}");
        }
        let mut mapped = weir_config::Config::default();
        mapped.interception.port_map = "8000:9000".parse().unwrap();
        assert!(own_ports(&mapped.to_yaml().unwrap()).contains(&9000));
    }
}
