//! The `nat` table: who is sent to the sidecar, and who is not.
//!
//! The semantics are those of Istio's REDIRECT mode, so that people who know that one know this one, with these
//! differences, each on purpose:
//! - The sidecar dials the application from a spare local address, never from a loopback one: applications trust
//!   loopback. `-o lo -s SPARE` therefore takes the place of `-s 127.0.0.6`.
//! - The exemptions of interfaces stand in our chains, not in PREROUTING and OUTPUT, where a RETURN would also keep
//!   the packet from other people's rules.
//! - IPv6 link-local addresses are left alone: they mean nothing without their interface, which a redirect loses.
//! - Only a SYN is redirected. Connection tracking takes a connection that was there before it for a new one (it joins
//!   in the middle), and a redirect would reset it.
//! - The sidecar is known by user or by group, with both tried before anything is decided, so that neither shadows
//!   the other.
//! - DNS over UDP: each resolver of /etc/resolv.conf has a port of its own, so that the sidecar knows which was asked.
//! - What the namespace only forwards is left alone, and so is a connection to a port that nobody listens on: it is
//!   refused, as it would be without the sidecar.
//! - The probe's destinations are always redirected, whatever the lists say, so that a redirect can always be proved;
//!   those of a trial are always left alone, so that another mode can be proved while this one is in force.
//!
//! In mode `tproxy` only the outbound side is here; the inbound one, and the sidecar's calls to the pod's own service,
//! are in [`super::mangle`].

use super::LISTENED_AT;
use crate::{Family, description, ruleset::Table};
use ipnet::IpNet;
use weir_config::{Cidrs, Config, Interception, Mode, Ports, probe};

/// Inbound connections of other machines.
const INBOUND: &str = "WEIR_INBOUND";
/// Sends to the inbound listener.
const IN_REDIRECT: &str = "WEIR_IN_REDIRECT";
/// The sidecar's own calls to the application that it stands beside.
const SELF: &str = "WEIR_SELF";
/// Everything that leaves a local socket.
const OUTPUT: &str = "WEIR_OUTPUT";
/// DNS that leaves a local socket.
const OUTPUT_DNS: &str = "WEIR_OUTPUT_DNS";
/// Sends to the outbound listener.
const REDIRECT: &str = "WEIR_REDIRECT";
/// A connection's first packet, as iptables-save writes `--syn`.
const SYN: &str = "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN";
/// Leaves alone what this namespace only forwards.
pub(super) const PASSING: &str = "-m addrtype ! --dst-type LOCAL -j RETURN";
/// The same of a connection for DNS.
const DNS_SYN: &str = "-p tcp -m tcp --dport 53 --tcp-flags FIN,SYN,RST,ACK SYN";

pub fn table(family: Family, config: &Config) -> Table {
    let set = &config.interception;
    let mut table = Table::default();
    table.rule(
        REDIRECT,
        format!("-p tcp -j REDIRECT --to-ports {}", set.outbound_port),
    );
    if set.mode != Mode::Tproxy {
        table.rule(
            IN_REDIRECT,
            format!("-p tcp -j REDIRECT --to-ports {}", set.inbound_port),
        );
        inbound(&mut table, family, set, &endpoints(config));
        own_calls(&mut table, set, &endpoints(config));
    }
    for trial in trials(family) {
        table.rule(OUTPUT, format!("{trial} -j RETURN"));
    }
    description::add(&mut table, config);
    sidecar(&mut table, family, set);
    table.rule(
        OUTPUT,
        format!(
            "{}-p tcp -m tcp --dport {} -j {REDIRECT}",
            to(family.outbound_probe(probe::PORT).ip().into()),
            probe::PORT
        ),
    );
    link_local(&mut table, OUTPUT, family);
    left_alone(&mut table, set);
    if set.dns {
        dns(&mut table, family, set);
    }
    table.rule(OUTPUT, format!("{}-j RETURN", to(family.loopback().into())));
    destinations(&mut table, family, set);
    if set.dns {
        // Before other people's: Docker's rule for its own DNS server at 127.0.0.11 hides whom a query asked.
        for protocol in ["-p udp -m udp --dport 53", DNS_SYN] {
            table.jump_first("OUTPUT", format!("{protocol} -j {OUTPUT}"));
        }
    }
    table.jump("OUTPUT", format!("{SYN} -j {OUTPUT}"));
    table
}

/// Matches of the probes, outbound and inbound, by which another mode is tried while this one is in force.
pub fn trials(family: Family) -> [String; 2] {
    let port = probe::TRIAL_PORT;
    [family.outbound_probe(port), family.inbound_probe(port)]
        .map(|to| format!("-d {} -p tcp -m tcp --dport {port}", IpNet::from(to.ip())))
}

/// The sidecar's own endpoints; 0 for one that is not served.
pub(super) fn endpoints(config: &Config) -> [u16; 3] {
    [
        config.relay.admin_port,
        config.relay.metrics_port,
        config.relay.health_port,
    ]
}

/// Matches of the sidecar's own packets. The mark is what a sidecar has that can't change its user.
pub(super) fn owners(set: &Interception) -> Vec<String> {
    let mut owners = vec![
        format!("-m owner --uid-owner {}", set.proxy_uid),
        format!("-m owner --gid-owner {}", set.proxy_gid),
    ];
    if set.mode == Mode::Tproxy {
        owners.push(format!("-m mark --mark {:#x}", set.own_mark()));
    }
    owners
}

fn inbound(table: &mut Table, family: Family, set: &Interception, endpoints: &[u16]) {
    if set.include_inbound_ports == Ports::NONE {
        return;
    }
    table.jump("PREROUTING", format!("{SYN} -j {INBOUND}"));
    link_local(table, INBOUND, family);
    table.rule(INBOUND, PASSING);
    for name in &set.exclude_interfaces.0 {
        table.rule(INBOUND, format!("{}-j RETURN", interface("-i", name)));
    }
    return_ports(table, INBOUND, endpoints);
    return_ports(table, INBOUND, set.exclude_inbound_ports.listed());
    match &set.include_inbound_ports {
        Ports::All => table.rule(INBOUND, format!("-p tcp{LISTENED_AT} -j {IN_REDIRECT}")),
        Ports::List(ports) => {
            for port in ports {
                table.rule(
                    INBOUND,
                    format!("-p tcp -m tcp --dport {port}{LISTENED_AT} -j {IN_REDIRECT}"),
                );
            }
        }
    }
}

fn own_calls(table: &mut Table, set: &Interception, endpoints: &[u16]) {
    // A dial in the name of a client, by a mode that keeps its address: no call of the sidecar's.
    table.rule(SELF, "-m addrtype ! --src-type LOCAL -j RETURN");
    return_ports(table, SELF, endpoints);
    if set.dns {
        return_ports(table, SELF, &[53]);
    }
    table.rule(SELF, format!("-p tcp -j {IN_REDIRECT}"));
}

/// The sidecar's own traffic, and what stays on the machine.
fn sidecar(table: &mut Table, family: Family, set: &Interception) {
    let (uid, gid) = (set.proxy_uid, set.proxy_gid);
    let loopback = IpNet::from(family.loopback());
    table.rule(OUTPUT, format!("-s {} -o lo -j RETURN", family.spare()));
    if set.mode != Mode::Tproxy {
        for owner in owners(set) {
            table.rule(OUTPUT, format!("! -d {loopback} -o lo -p tcp {owner} -j {SELF}"));
        }
    }
    if !names_loopback(family, &set.include_outbound_cidrs) {
        let but_dns = if set.dns {
            "-p tcp -m tcp ! --dport 53 "
        } else {
            ""
        };
        table.rule(
            OUTPUT,
            format!("-o lo {but_dns}-m owner ! --uid-owner {uid} ! --gid-owner {gid} -j RETURN"),
        );
    }
    for owner in owners(set) {
        table.rule(OUTPUT, format!("{owner} -j RETURN"));
    }
}

/// True if the list names a loopback network: then local connections go on to the list's rules, too.
fn names_loopback(family: Family, cidrs: &Cidrs) -> bool {
    let loopback = |net: &IpNet| family.has(net) && net.addr().is_loopback();
    cidrs.listed().iter().any(loopback)
}

pub(super) fn link_local(table: &mut Table, chain: &str, family: Family) {
    if family == Family::V6 {
        table.rule(chain, "-d fe80::/10 -j RETURN");
    }
}

fn left_alone(table: &mut Table, set: &Interception) {
    for name in &set.exclude_interfaces.0 {
        table.rule(OUTPUT, format!("{}-j RETURN", interface("-o", name)));
    }
    let ports = set.exclude_outbound_ports.listed();
    return_ports(table, OUTPUT, ports);
    if set.dns && ports.contains(&53) {
        table.rule(OUTPUT, "-p udp -m udp --dport 53 -j RETURN");
    }
}

/// Before the exemption of the loopback address: a resolver often listens there. A redirected datagram does not tell
/// whom it was sent to, so each resolver has a port of its own; queries to others are left alone.
fn dns(table: &mut Table, family: Family, set: &Interception) {
    table.rule(OUTPUT, format!("-j {OUTPUT_DNS}"));
    table.rule(
        OUTPUT_DNS,
        format!("-p tcp -m tcp --dport 53 -j REDIRECT --to-ports {}", set.dns_port),
    );
    for (port, server) in family.dns_listeners(set) {
        table.rule(
            OUTPUT_DNS,
            format!("-d {server} -p udp -m udp --dport 53 -j REDIRECT --to-ports {port}"),
        );
    }
}

fn destinations(table: &mut Table, family: Family, set: &Interception) {
    let listed = |cidrs: &Cidrs| -> Vec<IpNet> {
        cidrs
            .listed()
            .iter()
            .filter(|net| family.has(net))
            .copied()
            .collect()
    };
    for net in listed(&set.exclude_outbound_cidrs) {
        table.rule(OUTPUT, format!("{}-j RETURN", to(net)));
    }
    for port in set.include_outbound_ports.listed() {
        table.rule(OUTPUT, format!("-p tcp -m tcp --dport {port} -j {REDIRECT}"));
    }
    if set.include_outbound_cidrs == Cidrs::All {
        table.rule(OUTPUT, format!("-j {REDIRECT}"));
    }
    for net in listed(&set.include_outbound_cidrs) {
        table.rule(OUTPUT, format!("{}-j {REDIRECT}", to(net)));
    }
}

/// Leaves these TCP ports alone; 0 stands for an endpoint that is not served.
pub(super) fn return_ports(table: &mut Table, chain: &str, ports: &[u16]) {
    for port in ports.iter().filter(|port| **port != 0) {
        table.rule(chain, format!("-p tcp -m tcp --dport {port} -j RETURN"));
    }
}

/// A match on the destination, with a blank after it; nothing where every address matches, as iptables-save has it.
pub(super) fn to(net: IpNet) -> String {
    match net.prefix_len() {
        0 => String::new(),
        _ => format!("-d {net} "),
    }
}

/// The same for an interface.
pub(super) fn interface(option: &str, name: &str) -> String {
    match name {
        "+" => String::new(),
        _ => format!("{option} {name} "),
    }
}
