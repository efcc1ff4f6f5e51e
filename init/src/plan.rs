//! What is to be in force, made from the configuration alone: no I/O, so it can be printed and tested anywhere.

mod invalid;
mod mangle;
mod nat;
mod zones;

pub use invalid::table as invalid;
pub use mangle::{TAKEN, lasting};
pub use nat::trials;

use crate::{
    Family,
    routes::{self, Piece},
    ruleset::{OWN, Ruleset, transition},
};
use std::fmt;
use weir_config::{Config, Mode};

/// The rules of each family, and what its routing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The routes and routing rules, for every family.
    pub pieces: Vec<Piece>,
    /// The families in the order in which they are applied.
    pub families: Vec<(Family, Ruleset)>,
}

impl Plan {
    /// The plan for a validated configuration.
    pub fn new(config: &Config, families: &[Family]) -> Self {
        let rules = |family: &Family| (*family, ruleset(*family, config));
        Self {
            pieces: routes::pieces(config.interception.mode, &config.interception),
            families: families.iter().map(rules).collect(),
        }
    }

    /// The same plan for kernels that lack what the rules can do without, best first, each with what is lost.
    pub fn lesser(&self) -> Vec<(Self, &'static str)> {
        let without = |change: fn(&mut Ruleset)| {
            let mut plan = self.clone();
            plan.families.iter_mut().for_each(|(_, rules)| change(rules));
            plan
        };
        vec![
            (without(forget_listeners), LISTENERS_UNKNOWN),
            (
                without(|rules| {
                    forget_listeners(rules);
                    invalid::forget(rules);
                }),
                NEITHER,
            ),
        ]
    }

    /// The rules of a family; none for one that the plan doesn't have.
    pub fn rules(&self, family: Family) -> Ruleset {
        let found = self.families.iter().find(|(planned, _)| *planned == family);
        found.map(|(_, rules)| rules.clone()).unwrap_or_default()
    }
}

/// Matches a first packet only where somebody listens at its destination, on whatever address (xt_socket, which
/// leaves out listeners on every address unless `--nowildcard` is given). Valid in PREROUTING alone.
pub const LISTENED_AT: &str = " -m socket --nowildcard";

const LISTENERS_UNKNOWN: &str = "this kernel has no `socket` match (module xt_socket): a port that nobody listens on \
    looks open to clients, so that a tcpSocket probe of Kubernetes succeeds there";
const NEITHER: &str = "this kernel has neither a `socket` match (module xt_socket) nor a usable mangle table: a port \
    that nobody listens on looks open to clients, and replies that connection tracking calls invalid may reset connections";

/// Takes every inbound connection, whether somebody listens at its destination or not.
fn forget_listeners(rules: &mut Ruleset) {
    let chains = rules
        .tables
        .values_mut()
        .flat_map(|table| table.chains.values_mut());
    for rule in chains.flatten() {
        *rule = rule.replace(LISTENED_AT, "");
    }
}

fn ruleset(family: Family, config: &Config) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let nat = nat::table(family, config);
    ruleset.tables.insert("nat".into(), nat);
    let mangle = match config.interception.mode {
        Mode::Tproxy => mangle::table(family, config),
        _ => invalid::table(&config.interception),
    };
    ruleset.tables.insert("mangle".into(), mangle);
    if config.interception.dns
        && let Some(zones) = zones::table(family, &config.interception)
    {
        ruleset.tables.insert("raw".into(), zones);
    }
    ruleset
}

/// What an installation applies where nothing of ours is in force yet.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (family, rules) in &self.families {
            let program = family.program();
            writeln!(f, "# {family}: {program}-restore --noflush")?;
            writeln!(
                f,
                "# (nft only: an empty chain {OWN}… beside these for each table and base chain that has to be created)"
            )?;
            f.write_str(&transition(&Ruleset::default(), rules).unwrap_or_default())?;
            writeln!(f)?;
        }
        writeln!(f, "# Routing; the metric tells the sidecar the mode")?;
        for (family, _) in &self.families {
            for piece in &self.pieces {
                writeln!(f, "{}", routes::command(*family, piece))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::Ports;

    fn text(edit: fn(&mut Config)) -> String {
        let mut config = Config::default();
        edit(&mut config);
        Plan::new(&config.validated().unwrap(), &[Family::V4, Family::V6]).to_string()
    }

    #[test]
    fn default_configuration() {
        assert_eq!(text(|_| {}), include_str!("../golden/default.txt"));
    }

    #[test]
    fn every_list_and_dns() {
        let text = text(|config| {
            let set = &mut config.interception;
            set.include_inbound_ports = "80,443".parse().unwrap();
            set.include_outbound_ports = "9092,3306".parse().unwrap();
            set.exclude_outbound_ports = "22,53".parse().unwrap();
            set.include_outbound_cidrs = "10.0.0.0/8,fd00::/8,198.18.0.7".parse().unwrap();
            set.exclude_outbound_cidrs = "10.1.0.0/16,fd00:1::/32".parse().unwrap();
            set.exclude_interfaces = "eth1,docker+".parse().unwrap();
            set.proxy_uid = 2001;
            set.proxy_gid = 2002;
            set.dns = true;
            set.dns_servers = "10.96.0.10,fd00::a,127.0.0.53".parse().unwrap();
        });
        assert_eq!(text, include_str!("../golden/every-list-and-dns.txt"));
    }

    #[test]
    fn tproxy() {
        let text = text(|config| config.interception.mode = Mode::Tproxy);
        assert_eq!(text, include_str!("../golden/tproxy.txt"));
    }

    #[test]
    fn tproxy_with_every_list_and_dns() {
        let text = text(|config| {
            let set = &mut config.interception;
            set.mode = Mode::Tproxy;
            set.include_inbound_ports = "80,443".parse().unwrap();
            set.exclude_outbound_ports = "22".parse().unwrap();
            set.exclude_interfaces = "eth1,docker+".parse().unwrap();
            set.mark = 0x10;
            set.route_table = 300;
            set.proxy_uid = 2001;
            set.proxy_gid = 2002;
            set.dns = true;
            set.dns_servers = "10.96.0.10,fd00::a,127.0.0.53".parse().unwrap();
        });
        assert_eq!(text, include_str!("../golden/tproxy-every-list-and-dns.txt"));
    }

    #[test]
    fn no_inbound_no_outbound_keeps_only_the_probe() {
        let text = text(|config| {
            config.interception.include_inbound_ports = Ports::NONE;
            config.interception.include_outbound_cidrs = "".parse().unwrap();
        });
        assert_eq!(text, include_str!("../golden/nothing.txt"));
    }

    #[test]
    fn networks_of_one_family_leave_the_other_alone() {
        let mut config = Config::default();
        config.interception.include_outbound_cidrs = "10.0.0.0/8".parse().unwrap();
        let plan = Plan::new(&config, &[Family::V4, Family::V6]);
        let by_network = |family| {
            let rules = plan.rules(family);
            rules.tables["nat"].chains["WEIR_OUTPUT"]
                .iter()
                .filter(|rule| rule.ends_with("-j WEIR_REDIRECT") && !rule.contains("15002"))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(by_network(Family::V4), ["-d 10.0.0.0/8 -j WEIR_REDIRECT"]);
        assert!(by_network(Family::V6).is_empty());
    }

    #[test]
    fn whole_address_space_and_any_interface_are_written_as_iptables_saves_them() {
        let text = text(|config| {
            config.interception.include_outbound_cidrs = "0.0.0.0/0,::/0".parse().unwrap();
            config.interception.exclude_interfaces = "+".parse().unwrap();
        });
        assert!(!text.contains("/0 ") && !text.contains("-o + "), "{text}");
        assert_eq!(text.matches("-A WEIR_OUTPUT -j WEIR_REDIRECT\n").count(), 2);
    }

    #[test]
    fn resolvers_of_one_family_leave_the_datagrams_of_the_other_alone() {
        let mut config = Config::default();
        config.interception.dns = true;
        config.interception.dns_servers = "fd00::a".parse().unwrap();
        let plan = Plan::new(&config, &[Family::V4, Family::V6]);
        assert!(!plan.rules(Family::V4).tables.contains_key("raw"));
        assert_eq!(
            plan.rules(Family::V4).tables["nat"].chains["WEIR_OUTPUT_DNS"],
            ["-p tcp -m tcp --dport 53 -j REDIRECT --to-ports 15053"]
        );
        assert_eq!(
            plan.rules(Family::V6).tables["nat"].chains["WEIR_OUTPUT_DNS"].len(),
            2
        );
    }

    #[test]
    fn loopback_networks_can_be_redirected_on_request() {
        let exempt = "-A WEIR_OUTPUT -o lo -m owner ! --uid-owner 1337 ! --gid-owner 1337 -j RETURN\n";
        assert_eq!(text(|_| {}).matches(exempt).count(), 2);
        let text = text(|config| {
            config.interception.include_outbound_cidrs = "127.1.0.0/16".parse().unwrap();
        });
        assert_eq!(text.matches(exempt).count(), 1, "{text}");
    }

    #[test]
    fn no_endpoint_is_exempt_where_none_is_served() {
        let text = text(|config| {
            config.relay.admin_port = 0;
            config.relay.metrics_port = 0;
        });
        assert!(
            !text.contains("--dport 15000") && !text.contains("--dport 15020") && !text.contains("--dport 0")
        );
        assert!(
            text.contains("-A WEIR_INBOUND -p tcp -m tcp --dport 15021 -j RETURN"),
            "{text}"
        );
    }
}
