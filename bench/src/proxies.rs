//! The variants: what stands between client and server, and how it is started.

use anyhow::{Context, Result};
use std::{
    env, fmt, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};
use weir_config::{Interception, SPARE_V4};
use weir_lab::Node;

/// Where the server listens.
pub const SERVER: u16 = 8080;

const PORT_MAP: [&str; 2] = ["--port-map", "8080:9080"];

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// Nothing, and no redirect.
    Direct,
    /// The sidecar that only relays, in mode `redirect`.
    WeirRelay,
    /// The same in mode `tproxy`.
    WeirTproxy,
    /// The same in mode `ebpf`.
    WeirEbpf,
    /// The same by a port map.
    WeirPortMap,
    /// The sidecar that decodes and writes each document to a file.
    WeirNdjson,
    /// The sidecar that only looks, decodes and writes each document to a file.
    WeirTap,
    /// haproxy in TCP mode.
    Haproxy,
    /// Envoy's TCP proxy, with an access log: a line a connection.
    EnvoyTcp,
    /// Envoy's HTTP proxy, with an access log: a line a request.
    EnvoyHttp,
}

impl Variant {
    /// In the order of the report.
    pub const ALL: [Self; 10] = [
        Self::Direct,
        Self::WeirRelay,
        Self::WeirTproxy,
        Self::WeirEbpf,
        Self::WeirPortMap,
        Self::WeirNdjson,
        Self::WeirTap,
        Self::Haproxy,
        Self::EnvoyTcp,
        Self::EnvoyHttp,
    ];

    /// As the report shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::WeirRelay => "weir redirect, relay only",
            Self::WeirTproxy => "weir tproxy, relay only",
            Self::WeirEbpf => "weir ebpf, relay only",
            Self::WeirPortMap => "weir port map, relay only",
            Self::WeirNdjson => "weir, decode + NDJSON",
            Self::WeirTap => "weir tap, decode + NDJSON",
            Self::Haproxy => "haproxy, tcp",
            Self::EnvoyTcp => "envoy, tcp + access log",
            Self::EnvoyHttp => "envoy, http + access log",
        }
    }

    /// True if Weir's own programs stand between client and server.
    pub fn is_weir(self) -> bool {
        match self {
            Self::WeirRelay
            | Self::WeirTproxy
            | Self::WeirEbpf
            | Self::WeirPortMap
            | Self::WeirNdjson
            | Self::WeirTap => true,
            Self::Direct | Self::Haproxy | Self::EnvoyTcp | Self::EnvoyHttp => false,
        }
    }

    /// True if each request becomes a document in a file.
    pub fn writes_documents(self) -> bool {
        matches!(self, Self::WeirNdjson | Self::WeirTap)
    }

    /// How `weir-init` redirects connections to the proxy; nothing where there is none.
    pub fn redirect(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Direct | Self::WeirTap => None,
            Self::WeirTproxy => Some(&["--mode", "tproxy"]),
            Self::WeirEbpf => Some(&["--mode", "ebpf"]),
            Self::WeirPortMap => Some(&PORT_MAP),
            _ => Some(&["--mode", "redirect"]),
        }
    }
}

/// Which build of Weir's programs a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The build that this program belongs to.
    This,
    /// The build that the command line names, to compare with.
    Baseline,
}

/// What one pod measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What stands between client and server.
    pub variant: Variant,
    /// The build of Weir's programs, if the variant has any.
    pub build: Build,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.build {
            Build::This => "",
            Build::Baseline => " (baseline)",
        };
        f.pad(&format!("{}{mark}", self.variant.name()))
    }
}

const RELAY_ONLY: [&str; 4] = ["--decode", "off", "--export", "none"];

/// The commands that start proxies; all of them run as the user whose traffic is not redirected.
pub struct Proxies<'a> {
    /// Where configurations and logs go.
    pub directory: &'a Path,
    /// Envoy's program, if the user has named one.
    pub envoy: Option<&'a Path>,
    /// The directory of the build to compare with.
    pub baseline: Option<&'a Path>,
}

impl Proxies<'_> {
    /// The command for a pod with this address: outer nothing where the variant has no proxy, inner nothing where its
    /// program is not installed.
    pub fn command(&self, subject: Subject, pod: &Node) -> Result<Option<Option<Command>>> {
        let Subject { variant, build } = subject;
        let directory = self.directory_for(subject)?;
        let weir = |args: &[&str]| -> Result<Command> {
            let mut command = pod.command(self.program(build, "weir-sidecar")?);
            command.args(args);
            Ok(command)
        };
        let command = match variant {
            Variant::Direct => return Ok(None),
            Variant::WeirRelay | Variant::WeirTproxy | Variant::WeirEbpf => Some(weir(&RELAY_ONLY)?),
            Variant::WeirPortMap => Some(weir(&[&RELAY_ONLY[..], &PORT_MAP].concat())?),
            Variant::WeirNdjson | Variant::WeirTap => {
                let sink = format!("ndjson:{}", directory.join("documents.ndjson").display());
                let mode = if variant == Variant::WeirTap {
                    "tap"
                } else {
                    "redirect"
                };
                Some(weir(&["--export", &sink, "--mode", mode])?)
            }
            Variant::Haproxy => find("haproxy").map(|program| {
                let mut command = as_proxy(pod, &program);
                command.args(["-db", "-f"]).arg(directory.join("haproxy.cfg"));
                command
            }),
            Variant::EnvoyTcp | Variant::EnvoyHttp => self.find_envoy().map(|program| {
                let mut command = as_proxy(pod, &program);
                command
                    .args([
                        "--concurrency",
                        "2",
                        "--use-dynamic-base-id",
                        "--log-level",
                        "error",
                        "-c",
                    ])
                    .arg(directory.join("envoy.json"));
                command
            }),
        };
        Ok(Some(command))
    }

    /// Writes the configuration that the variant's command names.
    pub fn configure(&self, subject: Subject, pod: std::net::Ipv4Addr) -> Result<()> {
        let directory = self.directory_for(subject)?;
        let (name, text) = match subject.variant {
            Variant::Haproxy => ("haproxy.cfg", haproxy(pod)),
            Variant::EnvoyTcp => ("envoy.json", envoy(&directory, ENVOY_TCP)),
            Variant::EnvoyHttp => ("envoy.json", envoy(&directory, ENVOY_HTTP)),
            _ => return Ok(()),
        };
        fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))
    }

    /// One of Weir's programs.
    ///
    /// # Errors
    /// The build has no such program.
    pub fn program(&self, build: Build, name: &str) -> Result<PathBuf> {
        match (build, self.baseline) {
            (Build::Baseline, Some(directory)) => {
                let path = directory.join(name);
                anyhow::ensure!(path.is_file(), "the baseline has no {}", path.display());
                Ok(path)
            }
            _ => Ok(weir_lab::binary(name)?),
        }
    }

    fn directory_for(&self, subject: Subject) -> Result<PathBuf> {
        let user = Interception::default().proxy_uid;
        let path = self
            .directory
            .join(format!("{:?}-{:?}", subject.variant, subject.build));
        fs::create_dir_all(&path)
            .and_then(|()| chown(&path, Some(user), Some(user)))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    fn find_envoy(&self) -> Option<PathBuf> {
        // Made by scripts/setup, in the source tree that this program was built from.
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/envoy/envoy");
        match self.envoy {
            Some(path) => Some(path.into()),
            None => Some(installed)
                .filter(|path| path.is_file())
                .or_else(|| find("envoy")),
        }
    }
}

/// The program, on the search path or where administrators' programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

fn as_proxy(pod: &Node, program: &Path) -> Command {
    let Interception {
        proxy_uid, proxy_gid, ..
    } = Interception::default();
    let mut command = pod.command("setpriv");
    command
        .arg(format!("--reuid={proxy_uid}"))
        .arg(format!("--regid={proxy_gid}"))
        .args(["--clear-groups", "--"])
        .arg(program);
    command
}

/// A spare local address: the redirect knows by it that the connection is the proxy's own.
fn spare(n: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(SPARE_V4.addr().to_bits() + n)
}

/// It cannot dial the original destination in TCP mode, so it is told the server. Several sources, so that it does not
/// run out of ports.
fn haproxy(pod: std::net::Ipv4Addr) -> String {
    let port = Interception::default().inbound_port;
    let servers: String = (1..=16)
        .map(|n| format!("    server s{n} {pod}:{SERVER} source {}\n", spare(n)))
        .collect();
    format!(
        "global
    nbthread 2
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen inbound
    bind 0.0.0.0:{port}
    balance roundrobin
{servers}"
    )
}

const ENVOY_TCP: &str = r#"{"name": "envoy.filters.network.tcp_proxy", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "stat_prefix": "inbound", "cluster": "original", "access_log": [LOG]}}"#;

const ENVOY_HTTP: &str = r#"{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "inbound", "generate_request_id": false, "http_protocol_options": {"accept_http_10": true},
    "access_log": [LOG],
    "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "original", "timeout": "0s"}}]}]}}}"#;

/// The access log has Envoy's default format.
const ENVOY_LOG: &str = r#"{"name": "envoy.access_loggers.file", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "PATH"}}"#;

/// As in a mesh: the original destination is asked of the socket and dialled.
fn envoy(directory: &Path, filter: &str) -> String {
    let path = directory.join("access.log");
    let filter = filter.replace("LOG", &ENVOY_LOG.replace("PATH", &path.to_string_lossy()));
    let (port, source) = (Interception::default().inbound_port, spare(1));
    format!(
        r#"{{"static_resources": {{
  "listeners": [{{"name": "inbound",
    "address": {{"socket_address": {{"address": "0.0.0.0", "port_value": {port}}}}},
    "listener_filters": [{{"name": "envoy.filters.listener.original_dst", "typed_config": {{
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}}}}],
    "filter_chains": [{{"filters": [{filter}]}}]}}],
  "clusters": [{{"name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
    "connect_timeout": "5s",
    "circuit_breakers": {{"thresholds": [{{"max_connections": 100000, "max_pending_requests": 100000,
        "max_requests": 100000}}]}},
    "upstream_bind_config": {{"source_address": {{"address": "{source}", "port_value": 0}}}}}}]}}}}
"#
    )
}
