//! The `mangle` table, in mode `tproxy` only: inbound connections are given to the sidecar's socket with their addresses
//! as they are, and the application's answers to the sidecar find their way although they are addressed to the client.
//!
//! The verdicts are those of Istio's TPROXY mode, the means differ where ours harm less:
//! - What is decided for a connection's SYN is remembered in its connection mark: `mark` for one that the inbound
//!   listener gets, `own_mark` for the sidecar's dial to the application from the client's address. So a connection from
//!   before the installation, whose SYN nobody saw, has no mark and goes on undisturbed.
//! - Later packets of a taken connection pass TPROXY too, because the kernel would look for the ACK that answers a SYN
//!   cookie at the application's listener.
//! - The sidecar's dial is told from its call to the pod's own service by its source, which is no local address: nothing
//!   depends on a mark that the sidecar would need a privilege to set.
//! - That dial shares addresses and ports with whatever the client itself sends from there. Where both exist at one time,
//!   the later one's SYN is dropped rather than the earlier connection disturbed.
//! - Answers to such a dial get `mark`, by which the routing rule sends them to lo instead of to the client.

use super::{
    LISTENED_AT, invalid,
    nat::{PASSING, endpoints, interface, link_local, owners, return_ports, to, trials},
};
use crate::{Family, ruleset::Table};
use weir_config::{Config, Interception, Ports};

/// Connections that begin.
const INBOUND: &str = "WEIR_INBOUND";
/// Gives to the inbound listener.
const TPROXY: &str = TAKEN;
/// The chain that is there for as long as connections are that came by TPROXY.
pub const TAKEN: &str = "WEIR_TPROXY";
/// Connections that begin here and stay here.
const OUTPUT: &str = "WEIR_OUTPUT";
/// Those of the sidecar.
const SELF: &str = "WEIR_SELF";
/// What answers a dial from the client's address.
const ANSWER: &str = "WEIR_ANSWER";
/// A connection's first packet, as iptables-save writes `--syn`.
const SYN: &str = "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN";
/// The others.
const NOT_SYN: &str = "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN";

pub fn table(family: Family, config: &Config) -> Table {
    let set = &config.interception;
    let mut table = lasting(family, set);
    inbound(&mut table, family, set, &endpoints(config));
    table
        .jumps
        .insert(0, ("PREROUTING".into(), format!("{SYN} -j {INBOUND}")));
    own(&mut table, family, set, &endpoints(config));
    table.jump("OUTPUT", format!("-o lo {SYN} -j {OUTPUT}"));
    table
}

/// What connections need that have begun: with this alone they go on, and no other is taken.
pub fn lasting(family: Family, set: &Interception) -> Table {
    let mut table = Table::default();
    let mark = set.mark;
    let any = match family {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    };
    table.rule(TPROXY, format!("-p tcp -j CONNMARK {}", assign(mark)));
    table.rule(
        TPROXY,
        format!(
            "-p tcp -j TPROXY --on-port {} --on-ip {any} --tproxy-mark {mark:#x}/0xffffffff",
            set.inbound_port
        ),
    );
    table.rule(ANSWER, format!("-j MARK {}", assign(mark)));
    invalid::add(&mut table, set);
    table.jump(
        "PREROUTING",
        format!("{NOT_SYN} -m connmark --mark {mark:#x} -m conntrack --ctdir ORIGINAL -j {TPROXY}"),
    );
    let own = set.own_mark();
    table.jump(
        "OUTPUT",
        format!("! -o lo -p tcp -m connmark --mark {own:#x} -j {ANSWER}"),
    );
    table
}

fn inbound(table: &mut Table, family: Family, set: &Interception, endpoints: &[u16]) {
    let mark = set.mark;
    link_local(table, INBOUND, family);
    table.rule(INBOUND, PASSING);
    // Of what stays here, the sidecar's own calls, as found in OUTPUT.
    table.rule(INBOUND, format!("-i lo -m connmark ! --mark {mark:#x} -j RETURN"));
    table.rule(INBOUND, format!("-i lo -p tcp -j {TPROXY}"));
    // The client uses a port that a dial in its name has just now: its SYN comes again when that may have ended.
    table.rule(
        INBOUND,
        format!("-m connmark --mark {:#x} -j DROP", set.own_mark()),
    );
    // A SYN that is sent again is judged again: the rules may have changed in between.
    table.rule(
        INBOUND,
        format!("-m connmark --mark {mark:#x} -j CONNMARK {}", assign(0)),
    );
    for name in &set.exclude_interfaces.0 {
        table.rule(INBOUND, format!("{}-j RETURN", interface("-i", name)));
    }
    return_ports(table, INBOUND, endpoints);
    return_ports(table, INBOUND, set.exclude_inbound_ports.listed());
    match &set.include_inbound_ports {
        Ports::All => table.rule(INBOUND, format!("-p tcp{LISTENED_AT} -j {TPROXY}")),
        Ports::List(ports) => {
            for port in ports {
                table.rule(
                    INBOUND,
                    format!("-p tcp -m tcp --dport {port}{LISTENED_AT} -j {TPROXY}"),
                );
            }
        }
    }
}

fn own(table: &mut Table, family: Family, set: &Interception, endpoints: &[u16]) {
    table.rule(OUTPUT, format!("-s {} -j RETURN", family.spare()));
    for trial in trials(family) {
        table.rule(OUTPUT, format!("{trial} -j RETURN"));
    }
    table.rule(OUTPUT, format!("{}-j RETURN", to(family.loopback().into())));
    for owner in owners(set) {
        table.rule(OUTPUT, format!("{owner} -j {SELF}"));
    }
    let foreign = "-m addrtype ! --src-type LOCAL";
    // The client itself has a connection from that port: the sidecar then tries a spare address.
    table.rule(SELF, format!("{foreign} -m conntrack ! --ctstate NEW -j DROP"));
    table.rule(SELF, format!("{foreign} -j CONNMARK {}", assign(set.own_mark())));
    table.rule(SELF, format!("{foreign} -j RETURN"));
    return_ports(table, SELF, endpoints);
    if set.dns {
        return_ports(table, SELF, &[53]);
    }
    table.rule(SELF, format!("-j CONNMARK {}", assign(set.mark)));
}

fn assign(mark: u32) -> String {
    format!("--set-xmark {mark:#x}/0xffffffff")
}
