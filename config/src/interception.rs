//! What is redirected: the settings of `weir-init`, which the sidecar must share (ports, identity, spare addresses).

use crate::{Cidrs, ConfigError, Interfaces, PortMap, Ports, Servers, resolv};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Local addresses that nobody routes, set aside for the sidecar's own dials towards the application: part of
/// 192.0.0.0/24 (RFC 6890, IETF protocol assignments).
pub const SPARE_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 64), 26);
/// The same for IPv6: part of the discard-only prefix (RFC 6666).
pub const SPARE_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 120);

/// How traffic is redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The first of the others that works here, in the order in which they stand here. (Only the sidecar taps: where it
    /// finds nothing installed when it starts.)
    Auto,
    /// TC programs that assign packets to the sidecar's sockets, inbound and outbound: no NAT, no connection tracking.
    Ebpf,
    /// iptables TPROXY inbound, which keeps the client's address, and REDIRECT outbound.
    Tproxy,
    /// iptables REDIRECT, inbound and outbound.
    #[default]
    Redirect,
    /// Nothing is redirected: the sidecar looks at the packets of every interface.
    Tap,
    /// TC programs that map ports of a host to the sidecar's: the mode of an installation with a `port_map`.
    #[serde(rename = "port-map")]
    #[value(skip)]
    PortMap,
}

impl Mode {
    /// Its name, as in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ebpf => "ebpf",
            Self::Tproxy => "tproxy",
            Self::Redirect => "redirect",
            Self::Tap => "tap",
            Self::PortMap => "port-map",
        }
    }

    /// The number that [`Mode::metric`] gives to it, from which the sidecar learns the mode (of [`Mode::Tap`] it knows by
    /// itself). 0 for [`Mode::Auto`], which is never in force itself.
    pub fn code(self) -> u32 {
        match self {
            Self::Auto => 0,
            Self::Redirect => 1,
            Self::Tproxy => 2,
            Self::Ebpf => 3,
            Self::PortMap => 4,
            Self::Tap => 5,
        }
    }

    /// The metric where new connections wait for a sidecar (mode `ebpf` with [`MissingProxy::Hold`]).
    pub const HELD: u32 = 6;

    /// The metric of the spare local route while this mode is in force with this policy.
    pub fn metric(self, missing: MissingProxy) -> u32 {
        match (self, missing) {
            (Self::Ebpf, MissingProxy::Hold) => Self::HELD,
            _ => self.code(),
        }
    }

    /// The mode with this [code](Self::code) or [metric](Self::metric).
    pub fn from_code(code: u32) -> Option<Self> {
        if code == Self::HELD {
            return Some(Self::Ebpf);
        }
        [Self::Redirect, Self::Tproxy, Self::Ebpf, Self::PortMap, Self::Tap]
            .into_iter()
            .find(|mode| mode.code() == code)
    }

    /// True if packets reach the sidecar with their addresses as they were, by mark and routing table rather than NAT.
    pub fn is_transparent(self) -> bool {
        matches!(self, Self::Ebpf | Self::Tproxy)
    }
}

/// Marks the routes and routing rules that are Weir's own (`RTPROT_*`, numbers from 5 on are for whoever wants one:
/// include/uapi/linux/rtnetlink.h; this one has no name in iproute2's `rt_protos`).
pub const ROUTE_PROTOCOL: u8 = 87;

/// What happens to a new connection where no sidecar listens (mode `ebpf`; the others can't tell).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MissingProxy {
    /// It goes straight to where it wanted to go.
    #[default]
    Bypass,
    /// It waits, as its first packets are dropped until a sidecar listens.
    Hold,
}

/// The `interception` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interception {
    /// How traffic is redirected.
    pub mode: Mode,
    /// Inbound ports whose connections are redirected; `*` for all.
    pub include_inbound_ports: Ports,
    /// Inbound ports that are left alone; only with `include_inbound_ports: "*"`.
    pub exclude_inbound_ports: Ports,
    /// Outbound ports that are redirected whatever the address.
    pub include_outbound_ports: Ports,
    /// Outbound ports that are left alone whatever the address.
    pub exclude_outbound_ports: Ports,
    /// Destinations that are redirected; `*` for all.
    pub include_outbound_cidrs: Cidrs,
    /// Destinations that are left alone.
    pub exclude_outbound_cidrs: Cidrs,
    /// Interfaces whose traffic is left alone.
    pub exclude_interfaces: Interfaces,
    /// Ports of a host, each with the port at which the sidecar takes its connections, in place of every other redirect.
    pub port_map: PortMap,
    /// With `port_map`: the interfaces whose connections are mapped; if empty, all but the loopback interface.
    pub interfaces: Interfaces,
    /// With `port_map`: the control group whose processes' own connections are mapped; `auto` for all processes, `none`
    /// for none.
    pub cgroup: String,
    /// What happens to a new connection where no sidecar listens.
    pub on_missing_proxy: MissingProxy,
    /// The sidecar will have NET_RAW: what [`Mode::Auto`] must know before it may choose [`Mode::Tproxy`].
    pub sidecar_net_raw: bool,
    /// Redirect also where the network namespace is the host's own.
    pub host_network: bool,
    /// Mark of the packets that are delivered to the sidecar whatever their destination; the next number marks the
    /// sidecar's own.
    pub mark: u32,
    /// Routing table of the packets with that mark.
    pub route_table: u32,
    /// The sidecar's user: its own traffic is never redirected.
    pub proxy_uid: u32,
    /// The sidecar's group: its own traffic is never redirected.
    pub proxy_gid: u32,
    /// Where redirected outbound connections arrive.
    pub outbound_port: u16,
    /// Where redirected inbound connections arrive.
    pub inbound_port: u16,
    /// Redirect DNS queries (UDP and TCP port 53) to `dns_port`.
    pub dns: bool,
    /// Where redirected DNS queries arrive. With NAT, which hides whom a datagram was sent to, this is the port for
    /// queries over UDP to the first of `dns_servers`, and the next ports are those for the others.
    pub dns_port: u16,
    /// The resolvers whose queries over UDP are redirected; if empty, those of `/etc/resolv.conf`.
    pub dns_servers: Servers,
}

/// So many resolvers at most have a port of their own.
const MAX_DNS_SERVERS: usize = 8;

impl Default for Interception {
    fn default() -> Self {
        Self {
            mode: Mode::Redirect,
            include_inbound_ports: Ports::All,
            exclude_inbound_ports: Ports::NONE,
            include_outbound_ports: Ports::NONE,
            exclude_outbound_ports: Ports::NONE,
            include_outbound_cidrs: Cidrs::All,
            exclude_outbound_cidrs: Cidrs::NONE,
            exclude_interfaces: Interfaces::default(),
            port_map: PortMap::default(),
            interfaces: Interfaces::default(),
            cgroup: "auto".into(),
            on_missing_proxy: MissingProxy::Bypass,
            sidecar_net_raw: false,
            host_network: false,
            mark: 0x539,
            route_table: 133,
            proxy_uid: 1337,
            proxy_gid: 1337,
            outbound_port: 15001,
            inbound_port: 15006,
            dns: false,
            dns_port: 15053,
            dns_servers: Servers::default(),
        }
    }
}

impl Interception {
    /// A port map is a mode of its own.
    pub(crate) fn settle(&mut self) -> Result<(), ConfigError> {
        if !self.port_map.0.is_empty() {
            self.mode = Mode::PortMap;
        } else if self.mode == Mode::PortMap {
            return Err(ConfigError::invalid(
                "interception.mode",
                "`port-map` is the mode of a `port_map`, and there is none",
            ));
        }
        Ok(())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.validate_ports()?;
        self.validate_port_map()?;
        for net in self.exclude_outbound_cidrs.listed() {
            if let Some(lost) = self
                .include_outbound_cidrs
                .listed()
                .iter()
                .find(|included| net.contains(*included))
            {
                return Err(ConfigError::invalid(
                    "interception.exclude_outbound_cidrs",
                    format!(
                        "{net} covers {lost}, which include_outbound_cidrs redirects; take one of them out"
                    ),
                ));
            }
        }
        if self.exclude_outbound_cidrs == Cidrs::All {
            return Err(ConfigError::invalid(
                "interception.exclude_outbound_cidrs",
                "`*` is not allowed here; to redirect nothing, leave include_outbound_cidrs empty",
            ));
        }
        if self.mark == 0 || self.own_mark() == 0 {
            return Err(ConfigError::invalid(
                "interception.mark",
                "0 is what packets without a mark have; allowed are 1 to 4294967294",
            ));
        }
        if [0, 253, 254, 255].contains(&self.route_table) {
            return Err(ConfigError::invalid(
                "interception.route_table",
                "0, 253, 254 and 255 are the kernel's own tables; choose one that nobody uses",
            ));
        }
        if self.proxy_uid == 0 {
            return Err(ConfigError::invalid(
                "interception.proxy_uid",
                "0 would exempt every process of root from the redirect; choose a user that only the sidecar has",
            ));
        }
        Ok(())
    }

    /// Puts the resolvers of this machine in the place of an empty `dns_servers`, so that installer and sidecar mean the
    /// same ones by it.
    ///
    /// # Errors
    /// `/etc/resolv.conf` can't be read.
    pub fn find_dns_servers(&mut self) -> Result<(), ConfigError> {
        if self.dns_servers.0.is_empty() {
            self.dns_servers = resolv::resolvers()?;
        }
        Ok(())
    }

    /// Each resolver with the port at which queries to it over UDP arrive, where NAT redirects them.
    pub fn dns_listeners(&self) -> impl Iterator<Item = (u16, IpAddr)> {
        (self.dns_port..=u16::MAX).zip(self.dns_servers.0.iter().copied())
    }

    /// Marks the sidecar's own packets.
    pub fn own_mark(&self) -> u32 {
        self.mark.wrapping_add(1)
    }

    fn validate_ports(&self) -> Result<(), ConfigError> {
        let pairs = [
            (
                "interception.exclude_inbound_ports",
                &self.include_inbound_ports,
                &self.exclude_inbound_ports,
            ),
            (
                "interception.exclude_outbound_ports",
                &self.include_outbound_ports,
                &self.exclude_outbound_ports,
            ),
        ];
        for (setting, include, exclude) in pairs {
            if *exclude == Ports::All {
                return Err(ConfigError::invalid(
                    setting,
                    "`*` is not allowed here; to redirect nothing, leave the include list empty",
                ));
            }
            if let Some(port) = exclude
                .listed()
                .iter()
                .find(|port| include.listed().contains(port))
            {
                return Err(ConfigError::invalid(
                    setting,
                    format!("port {port} is also in the include list; take it out of one of them"),
                ));
            }
        }
        if self.include_outbound_ports == Ports::All {
            return Err(ConfigError::invalid(
                "interception.include_outbound_ports",
                "`*` is not allowed here; to redirect everything, set include_outbound_cidrs to `*`",
            ));
        }
        let own = [self.outbound_port, self.inbound_port, self.dns_port];
        if own.contains(&0) || own[0] == own[1] || own[0] == own[2] || own[1] == own[2] {
            return Err(ConfigError::invalid(
                "interception.outbound_port",
                "outbound_port, inbound_port and dns_port must differ and be 1 to 65535",
            ));
        }
        self.validate_dns_ports()
    }

    fn validate_port_map(&self) -> Result<(), ConfigError> {
        if !["auto", "none"].contains(&self.cgroup.as_str()) && !self.cgroup.starts_with('/') {
            return Err(ConfigError::invalid(
                "interception.cgroup",
                format!(
                    "`{}` is no absolute path; allowed are auto, none and paths",
                    self.cgroup
                ),
            ));
        }
        if self.port_map.0.is_empty() && !self.interfaces.0.is_empty() {
            return Err(ConfigError::invalid(
                "interception.interfaces",
                "only a port_map is for some interfaces; the other modes have exclude_interfaces",
            ));
        }
        Ok(())
    }

    fn validate_dns_ports(&self) -> Result<(), ConfigError> {
        let servers = self.dns_servers.0.len();
        if servers > MAX_DNS_SERVERS {
            return Err(ConfigError::invalid(
                "interception.dns_servers",
                format!(
                    "{servers} are too many; each takes a port of its own, and {MAX_DNS_SERVERS} can have one"
                ),
            ));
        }
        let last = usize::from(self.dns_port) + servers.saturating_sub(1);
        let taken = self
            .dns_listeners()
            .find(|(port, _)| [self.outbound_port, self.inbound_port].contains(port));
        if last > usize::from(u16::MAX) || taken.is_some() {
            return Err(ConfigError::invalid(
                "interception.dns_port",
                format!(
                    "the ports from it on, one for each of {servers} resolvers, must be free and at most 65535"
                ),
            ));
        }
        Ok(())
    }
}
