//! The flags that set the configuration, grouped as `--help` shows them. Each is also a `WEIR_*` variable.
//!
//! A flag that is not given leaves the file's value alone, so every one is optional here; its default, named in the
//! help text, is that of the section's type.

use crate::{
    Bytes, Capture, Cidrs, Config, ConfigError, Decoding, Export, Interception, Interfaces, MissingProxy,
    Mode, OnFailure, Period, Pins, PortMap, Ports, Servers, SourceAddress,
};
use clap::Args;
use std::path::PathBuf;

/// Where the file is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub struct FileArgs {
    /// YAML file with the setting on_failure and the sections interception, relay, decoding, capture, flows, records, sinks [default: none]
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl FileArgs {
    /// Reads the file, or gives the defaults.
    ///
    /// # Errors
    /// As [`crate::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        crate::load(self.config.as_deref())
    }
}

/// What becomes of the application when Weir itself fails.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub struct FailureArgs {
    /// When Weir itself can't work (a privilege, a mode that can't be had): fail (with an error), or degrade (say so, touch no traffic, and never hold the application up) [default: fail]
    #[arg(long, env = "WEIR_ON_FAILURE", value_name = "fail|degrade")]
    pub on_failure: Option<OnFailure>,
}

impl FailureArgs {
    /// Puts what was given over the configuration.
    pub fn apply(self, config: &mut Config) {
        if let Some(on_failure) = self.on_failure {
            config.on_failure = on_failure;
        }
    }
}

/// Whose traffic is left alone, and where redirected connections arrive: what installer and sidecar must agree on.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Identity and ports")]
pub struct IdentityArgs {
    /// How traffic is seen: auto, ebpf, tproxy and redirect as weir-init installs it, or tap, which redirects nothing [default: redirect]
    #[arg(long, env = "WEIR_MODE", value_name = "MODE")]
    pub mode: Option<Mode>,
    /// User of the sidecar, whose own traffic is never redirected [default: 1337]
    #[arg(long, env = "WEIR_PROXY_UID", value_name = "UID")]
    pub proxy_uid: Option<u32>,
    /// Group of the sidecar, whose own traffic is never redirected [default: 1337]
    #[arg(long, env = "WEIR_PROXY_GID", value_name = "GID")]
    pub proxy_gid: Option<u32>,
    /// Where redirected outbound connections arrive [default: 15001]
    #[arg(long, env = "WEIR_OUTBOUND_PORT", value_name = "PORT")]
    pub outbound_port: Option<u16>,
    /// Where redirected inbound connections arrive [default: 15006]
    #[arg(long, env = "WEIR_INBOUND_PORT", value_name = "PORT")]
    pub inbound_port: Option<u16>,
    /// Mark of packets on their way to the sidecar; the next number marks the sidecar's own [default: 1337]
    #[arg(long, env = "WEIR_MARK", value_name = "NUMBER")]
    pub mark: Option<u32>,
    /// Ports of a host, each with the sidecar's port for it, in place of every other redirect: 8000:9000,20880:30880 [default: none]
    #[arg(long, env = "WEIR_PORT_MAP", value_name = "LIST")]
    pub port_map: Option<PortMap>,
    /// Where redirected DNS queries arrive; with NAT, the first of as many ports as there are resolvers [default: 15053]
    #[arg(long, env = "WEIR_DNS_PORT", value_name = "PORT")]
    pub dns_port: Option<u16>,
    /// Resolvers whose queries over UDP are redirected; if none is named, those of /etc/resolv.conf [default: none]
    #[arg(long, env = "WEIR_DNS_SERVERS", value_name = "LIST")]
    pub dns_servers: Option<Servers>,
}

/// What is redirected.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "What is redirected (lists are comma-separated, an empty list is none)")]
pub struct RedirectArgs {
    /// Inbound ports that are redirected, or * for all [default: *]
    #[arg(long, env = "WEIR_INCLUDE_INBOUND_PORTS", value_name = "LIST|*")]
    pub include_inbound_ports: Option<Ports>,
    /// Inbound ports that are left alone, where all are redirected [default: none]
    #[arg(long, env = "WEIR_EXCLUDE_INBOUND_PORTS", value_name = "LIST")]
    pub exclude_inbound_ports: Option<Ports>,
    /// Outbound ports that are redirected whatever the address [default: none]
    #[arg(long, env = "WEIR_INCLUDE_OUTBOUND_PORTS", value_name = "LIST")]
    pub include_outbound_ports: Option<Ports>,
    /// Outbound ports that are left alone whatever the address [default: none]
    #[arg(long, env = "WEIR_EXCLUDE_OUTBOUND_PORTS", value_name = "LIST")]
    pub exclude_outbound_ports: Option<Ports>,
    /// Destinations that are redirected, IPv4 and IPv6, or * for all [default: *]
    #[arg(long, env = "WEIR_INCLUDE_OUTBOUND_CIDRS", value_name = "LIST|*")]
    pub include_outbound_cidrs: Option<Cidrs>,
    /// Destinations that are left alone [default: none]
    #[arg(long, env = "WEIR_EXCLUDE_OUTBOUND_CIDRS", value_name = "LIST")]
    pub exclude_outbound_cidrs: Option<Cidrs>,
    /// Interfaces whose traffic is left alone [default: none]
    #[arg(long, env = "WEIR_EXCLUDE_INTERFACES", value_name = "LIST")]
    pub exclude_interfaces: Option<Interfaces>,
    /// With a port map, the interfaces whose connections are mapped; if none is named, all but the loopback interface [default: none]
    #[arg(long = "interface", env = "WEIR_INTERFACES", value_name = "LIST")]
    pub interfaces: Option<Interfaces>,
    /// With a port map, the control group whose processes' own connections are mapped: a path, auto for all processes, none for none [default: auto]
    #[arg(long, env = "WEIR_CGROUP", value_name = "PATH")]
    pub cgroup: Option<String>,
    /// A new connection where no sidecar listens, in mode ebpf: bypass (goes straight on) or hold (waits) [default: bypass]
    #[arg(long, env = "WEIR_ON_MISSING_PROXY", value_name = "bypass|hold")]
    pub on_missing_proxy: Option<MissingProxy>,
    /// Redirect DNS queries (port 53, UDP and TCP) too [default: false]
    #[arg(long, env = "WEIR_DNS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub dns: Option<bool>,
    /// The sidecar will have NET_RAW: only then mode auto tries tproxy, in which a sidecar without it leaves inbound connections hanging [default: false]
    #[arg(long, env = "WEIR_SIDECAR_NET_RAW", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub sidecar_net_raw: Option<bool>,
    /// Redirect also where this is the host's own network, with the traffic of every program there [default: false]
    #[arg(long, env = "WEIR_HOST_NETWORK", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub host_network: Option<bool>,
}

/// How connections are carried.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Relay")]
pub struct RelayArgs {
    /// Data threads; 0 for one a core that the process may use, at most 4 [default: 0]
    #[arg(long, env = "WEIR_THREADS", value_name = "N")]
    pub threads: Option<usize>,
    /// Longest wait for the destination of an outbound connection, which is then reset; 0s leaves it to the kernel [default: 10s]
    #[arg(long, env = "WEIR_CONNECT_TIMEOUT", value_name = "PERIOD")]
    pub connect_timeout: Option<Period>,
    /// Close a connection after so long without a byte; 0s for never, as without Weir [default: 0s]
    #[arg(long, env = "WEIR_IDLE_TIMEOUT", value_name = "PERIOD")]
    pub idle_timeout: Option<Period>,
    /// Whose address the application sees on inbound connections: client, where that is possible, or proxy [default: client]
    #[arg(long, env = "WEIR_SOURCE_ADDRESS", value_name = "client|proxy")]
    pub source_address: Option<SourceAddress>,
    /// On SIGTERM, how long to go on serving at most, until the application has stopped listening and nothing is open; under Kubernetes it is 25s unless given [default: 6s]
    #[arg(long, env = "WEIR_DRAIN", value_name = "PERIOD")]
    pub drain: Option<Period>,
    /// Start the relay anew after a crash, by a parent process that holds the listening sockets: on or off [default: on]
    #[arg(long, env = "WEIR_SUPERVISE", value_name = "on|off", value_parser = parse_switch)]
    pub supervise: Option<bool>,
    /// Admin endpoint (/config, /stats) on 127.0.0.1; 0 for none [default: 15000]
    #[arg(long, env = "WEIR_ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Health endpoint (/healthz/ready); 0 for none [default: 15021]
    #[arg(long, env = "WEIR_HEALTH_PORT", value_name = "PORT")]
    pub health_port: Option<u16>,
    /// Prometheus endpoint (/metrics); 0 for none [default: 15020]
    #[arg(long, env = "WEIR_METRICS_PORT", value_name = "PORT")]
    pub metrics_port: Option<u16>,
}

/// What is decoded and where it goes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Documents")]
pub struct DocumentArgs {
    /// Decode what is relayed: on or off [default: on]
    #[arg(long, env = "WEIR_DECODE", value_name = "on|off", value_parser = parse_switch)]
    pub decode: Option<bool>,
    #[command(flatten)]
    decoding: DecodingArgs,
    /// Documents about connections as a whole, beside those about what they carry: on or off [default: on]
    #[arg(long, env = "WEIR_FLOWS", value_name = "on|off", value_parser = parse_switch)]
    pub flows: Option<bool>,
    /// How often a connection that is open has such a document; 0s for only at its end [default: 1m]
    #[arg(long, env = "WEIR_FLOWS_INTERVAL", value_name = "PERIOD")]
    pub flows_interval: Option<Period>,
    /// In the modes that relay, look at packets too, for what is not redirected (needs NET_RAW; which that is, the file's section interception says, as for weir-init) [default: false]
    #[arg(long, env = "WEIR_TAP_BESIDE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub tap_beside: Option<bool>,
    /// Where documents go: ndjson:PATH, ndjson:-, sqlite:PATH, elasticsearch:URL, none, in layout pipy ndjson+pipy:PATH, elasticsearch+pipy:URL, in layout datakit lines+datakit:PATH, lines+datakit:-, datakit:URL; repeatable, and in place of the file's sinks [default: none]
    #[arg(long, env = "WEIR_EXPORT", value_name = "SINK", value_delimiter = ',')]
    pub export: Vec<Export>,
}

/// What is kept of the traffic itself.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Documents")]
pub struct CaptureArgs {
    /// Record bodies of HTTP, so many bytes of each at most: 64KiB; the file says of which types [default: 0B]
    #[arg(long, env = "WEIR_CAPTURE_BODIES", value_name = "BYTES")]
    pub capture_bodies: Option<Bytes>,
}

/// How it is decoded.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Documents")]
pub struct DecodingArgs {
    /// Protocols of servers' ports, in place of looking at what is sent: http1, http2 (or grpc, triple), dns, tls, dubbo, tcp (not decoded), as 20880:dubbo,9000-9010:http1 [default: none]
    #[arg(long, env = "WEIR_PROTOCOLS", value_name = "PORT:PROTOCOL,…")]
    pub protocols: Option<Pins>,
    /// How long a request waits for its answer before a document tells that it waits; 0s for never [default: 10s]
    #[arg(long, env = "WEIR_HUNG_AFTER", value_name = "PERIOD")]
    pub hung_after: Option<Period>,
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("allowed are on and off".into()),
    }
}

/// Overwrites each named field whose flag was given.
macro_rules! apply {
    ($args:expr => $section:expr, $($field:ident),+) => {
        $(if let Some(value) = $args.$field.clone() { $section.$field = value; })+
    };
}

impl IdentityArgs {
    /// Puts what was given over the section.
    pub fn apply(&self, section: &mut Interception) {
        apply!(self => section, mode, proxy_uid, proxy_gid, outbound_port, inbound_port, mark, port_map, dns_port, dns_servers);
    }
}

impl RedirectArgs {
    /// Puts what was given over the section.
    pub fn apply(&self, section: &mut Interception) {
        apply!(self => section, include_inbound_ports, exclude_inbound_ports, include_outbound_ports,
            exclude_outbound_ports, include_outbound_cidrs, exclude_outbound_cidrs, exclude_interfaces, interfaces, cgroup, on_missing_proxy, dns,
            sidecar_net_raw, host_network);
    }
}

impl RelayArgs {
    /// Puts what was given over the section.
    pub fn apply(&self, section: &mut crate::Relay) {
        apply!(self => section, threads, connect_timeout, idle_timeout, source_address, drain, supervise, admin_port, health_port, metrics_port);
    }
}

impl CaptureArgs {
    /// Puts what was given over the section.
    pub fn apply(&self, section: &mut Capture) {
        if let Some(max) = self.capture_bodies {
            section.bodies.max_bytes = max;
        }
    }
}

impl DecodingArgs {
    /// Puts what was given over the section.
    pub fn apply(&self, section: &mut Decoding) {
        apply!(self => section, protocols, hung_after);
    }
}

impl DocumentArgs {
    /// Puts what was given over the configuration.
    pub fn apply(&self, config: &mut Config) {
        self.decoding.apply(&mut config.decoding);
        if let Some(decode) = self.decode {
            config.decoding.enabled = decode;
        }
        if let Some(enabled) = self.flows {
            config.flows.enabled = enabled;
        }
        if let Some(interval) = self.flows_interval {
            config.flows.interval = interval;
        }
        if let Some(beside) = self.tap_beside {
            config.capture.beside = beside;
        }
        if !self.export.is_empty() {
            let sink = |export: &Export| match export {
                Export::To(sink) => Some(sink.clone()),
                Export::None => None,
            };
            config.sinks = self.export.iter().filter_map(sink).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};
    use serde_json::Value;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        _file: FileArgs,
        #[command(flatten)]
        failure: FailureArgs,
        #[command(flatten)]
        identity: IdentityArgs,
        #[command(flatten)]
        redirect: RedirectArgs,
        #[command(flatten)]
        relay: RelayArgs,
        #[command(flatten)]
        documents: DocumentArgs,
        #[command(flatten)]
        capture: CaptureArgs,
    }

    fn apply(args: &[&str], config: &mut Config) {
        let all = All::try_parse_from(std::iter::once("weir").chain(args.iter().copied())).unwrap();
        all.failure.apply(config);
        all.identity.apply(&mut config.interception);
        all.redirect.apply(&mut config.interception);
        all.relay.apply(&mut config.relay);
        all.documents.apply(config);
        all.capture.apply(&mut config.capture);
    }

    /// What the configuration says by itself for the setting of this flag.
    fn built_in(flag: &str) -> String {
        let config = serde_json::to_value(Config::default()).unwrap();
        let found = ["interception", "relay", "decoding"]
            .into_iter()
            .find_map(|section| config[section].get(flag).cloned());
        match (flag, found) {
            ("on_failure", _) => Config::default().on_failure.name().into(),
            ("decode" | "flows" | "supervise", _) => "on".into(),
            ("tap_beside", _) => Config::default().capture.beside.to_string(),
            ("flows_interval", _) => Config::default().flows.interval.to_string(),
            ("capture_bodies", _) => Config::default().capture.bodies.max_bytes.to_string(),
            ("export" | "config", _) => "none".into(),
            (_, Some(Value::String(text))) if text.is_empty() => "none".into(),
            (_, Some(Value::String(text))) => text,
            (_, Some(value)) => value.to_string(),
            (_, None) => panic!("{flag} is no setting"),
        }
    }

    #[test]
    fn the_help_gives_the_true_default_and_a_variable_for_every_flag() {
        for arg in All::command()
            .get_arguments()
            .filter(|arg| arg.get_id() != "help")
        {
            let flag = arg.get_id().as_str();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.ends_with(&format!("[default: {}]", built_in(flag))),
                "{flag}: {help}"
            );
            assert_eq!(
                arg.get_env().and_then(|v| v.to_str()),
                Some(format!("WEIR_{}", flag.to_uppercase()).as_str()),
                "{flag}"
            );
            assert!(arg.get_help_heading().is_some(), "{flag} is in no group");
        }
    }

    #[test]
    fn a_flag_goes_over_the_file_and_what_is_not_given_leaves_it_alone() {
        let mut config = Config::default();
        config.relay.threads = 7;
        config.interception.exclude_inbound_ports = Ports::List(vec![22]);
        config.sinks = vec![crate::Sink::Elasticsearch(
            crate::Elasticsearch::at("http://a").unwrap(),
        )];
        apply(
            &[
                "--exclude-inbound-ports",
                "",
                "--dns",
                "--export",
                "none",
                "--decode",
                "off",
                "--capture-bodies",
                "4KiB",
                "--flows",
                "off",
                "--tap-beside",
                "--flows-interval",
                "5s",
                "--protocols",
                "20880:dubbo",
                "--on-failure",
                "degrade",
            ],
            &mut config,
        );
        assert_eq!(
            (
                config.relay.threads,
                config.decoding.enabled,
                config.interception.dns
            ),
            (7, false, true)
        );
        assert_eq!(config.interception.exclude_inbound_ports, Ports::NONE);
        assert!(config.sinks.is_empty());
        assert_eq!(config.capture.bodies.max_bytes, Bytes(4096));
        assert_eq!(config.decoding.protocols.to_string(), "20880:dubbo");
        assert!(!config.flows.enabled && config.capture.beside);
        assert_eq!(config.flows.interval, Period::seconds(5));
        assert_eq!(config.on_failure, OnFailure::Degrade);
    }
}
