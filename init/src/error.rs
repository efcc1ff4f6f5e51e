//! What can go wrong at installation and removal, each in words that say what to do.

use crate::Family;
use std::{fmt, io};
use weir_bpf::LoadError;

/// Why nothing was changed. Whatever had been applied when the error came up has been taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not change the network.
    #[error(
        "no privilege to change this namespace's network: CAP_NET_ADMIN is missing ({0}); run as root, and in a container with `--cap-add NET_ADMIN` (Kubernetes: securityContext.capabilities.add: [NET_ADMIN], runAsUser: 0)"
    )]
    Privilege(String),
    /// No iptables at all.
    #[error(
        "none of {looked_for} was found in PATH ({path}); install the package `iptables` (Debian, Ubuntu, Alpine) or `iptables-nft` (Fedora, RHEL)"
    )]
    MissingBinary {
        /// The names that were tried.
        looked_for: String,
        /// Where.
        path: String,
    },
    /// iptables without ip6tables on a kernel that has IPv6.
    #[error(
        "this kernel has IPv6, but {0} was not found in PATH: IPv6 connections would escape, so nothing was done; install it (old Alpine: package `ip6tables`, elsewhere part of `iptables`), or boot with ipv6.disable=1"
    )]
    MissingIp6(String),
    /// Programs are there, but none does what is needed on this kernel.
    #[error("no variant of iptables works here; tried:{0}")]
    NoBackend(Attempts),
    /// iptables-restore or iptables-save failed.
    #[error("{program} failed: {message}{}", input_line(.line))]
    Restore {
        /// The program.
        program: String,
        /// What it wrote to its standard error.
        message: String,
        /// The line of its input that it complains about, where it names one.
        line: Option<String>,
    },
    /// The kernel lacks a part of what the rules of a table need.
    #[error(
        "{family}: {cause}; the kernel has no usable {family} table {table}: load what is missing of its modules on the \
         host ({modules}), use --mode ebpf, which needs none of them{}", without_family(*.family)
    )]
    Module {
        /// The address family that lacks it.
        family: Family,
        /// The table.
        table: String,
        /// What the trial of it needs.
        modules: String,
        /// What the program said.
        cause: Box<Error>,
    },
    /// Somebody's rules keep iptables from reading ours.
    #[error(
        "{program} cannot read table {table}: somebody added rules to it with nft that iptables has no words for; take those out (see `nft list ruleset`) and try again"
    )]
    Unreadable {
        /// The program.
        program: String,
        /// The table.
        table: String,
    },
    /// A program can't be run or its output can't be read.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refuses a route or a routing rule.
    #[error("{family} routing ({command}): {message}")]
    Route {
        /// The address family.
        family: Family,
        /// It as a command.
        command: String,
        /// The kernel's answer.
        message: String,
    },
    /// The kernel refuses a qdisc, a filter or an interface's setting.
    #[error("{0}: {1}")]
    TrafficControl(String, String),
    /// The eBPF programs can't be loaded.
    #[error("{cause}{}", ebpf_advice(cause))]
    Ebpf {
        /// What the kernel said.
        cause: Box<LoadError>,
    },
    /// The programs that take the place of others that are to go can't be loaded.
    #[error(
        "{cause}; connections that are open would break without the programs that carry them on: run this with the \
         privileges of the installation, or run `weir-init remove --force`, which breaks them"
    )]
    Drain {
        /// What the kernel said.
        cause: Box<LoadError>,
    },
    /// A control group can't be opened.
    #[error(
        "cannot attach the programs for this machine's own clients to {0}: {1}; mount the control groups of version 2 there \
         (in a container: --cgroupns host, with /sys/fs/cgroup mounted), name another with --cgroup, or leave those clients \
         alone with --cgroup none"
    )]
    ControlGroup(String, io::Error),
    /// An interface that is named is not there.
    #[error("there is no interface {0} here; `ip link` lists those that are")]
    NoInterface(String),
    /// What comes over a bridge would not arrive.
    #[error(
        "mode tproxy doesn't work for what comes over the bridge {0}, as iptables sees its frames one layer too early \
         (net.bridge.bridge-nf-call-iptables or -ip6tables is 1): set both to 0 if nobody needs them, leave the bridge out with \
         --exclude-interfaces {0}, or use --mode ebpf or redirect"
    )]
    Bridge(String),
    /// The namespace is not a pod's or a container's.
    #[error(
        "this is the host's own network namespace: a redirect here takes the traffic of every program of the machine, and \
         stays when the pod or container is gone; run this in the application's namespace (Kubernetes: not with \
         hostNetwork, Docker: not with --network host), or say that it is meant with --host-network"
    )]
    HostNetwork,
    /// Legacy tables are in use and can't be looked at.
    #[error(
        "{0} can't look at its tables, which are in use here: CAP_NET_RAW is missing, which it needs beside NET_ADMIN \
         (`--cap-add NET_RAW`; Kubernetes: securityContext.capabilities.add: [NET_ADMIN, NET_RAW])"
    )]
    NetRaw(String),
    /// A port map beside another mode.
    #[error("mode {0} is in force here, and {1} can't be beside it; run `weir-init remove` first")]
    OtherMode(&'static str, &'static str),
    /// A mode without an installation.
    #[error(
        "mode tap redirects nothing, so there is nothing to install or check: start `weir-sidecar --mode tap` alone; what \
         another mode has installed goes with `weir-init remove`"
    )]
    Tap,
    /// No mode works here.
    #[error("no way to redirect works here, so nothing was installed; tried:{0}")]
    NoMode(Attempts),
    /// A netlink socket failed.
    #[error("netlink: {0}")]
    Netlink(io::Error),
    /// The kernel is too old.
    #[error("{what} needs Linux {since} or later")]
    Kernel {
        /// What can't be had here.
        what: &'static str,
        /// The first version that has it.
        since: &'static str,
    },
    /// Another installer holds the namespace.
    #[error("cannot wait for another weir-init in this namespace: {0}")]
    Lock(io::Error),
    /// The installation failed and not all of it could be taken back.
    #[error("{cause}; and taking back what had been applied failed too ({rollback}): run `weir-init remove`")]
    Rollback {
        /// Why the installation failed.
        cause: Box<Error>,
        /// Why the way back failed.
        rollback: Box<Error>,
    },
}

/// Each variant of iptables that was tried, with what it said.
#[derive(Debug)]
pub struct Attempts(pub Vec<(String, String)>);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, said) in &self.0 {
            write!(f, "\n  {name}: {}", said.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

fn without_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => ", or boot with ipv6.disable=1 if nobody needs IPv6",
    }
}

fn ebpf_advice(error: &LoadError) -> String {
    if error.is_privilege() {
        return "; loading eBPF programs needs CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON beside them (before Linux 5.8 and \
         with Docker before 23: CAP_SYS_ADMIN); or use --mode tproxy or redirect"
            .to_owned();
    }
    if error.is_refused_without_perfmon() {
        return format!(
            "; before Linux 6.8, and this is {}, the programs need CAP_PERFMON beside CAP_BPF and CAP_NET_ADMIN (or \
             CAP_SYS_ADMIN); or use --mode redirect, or --mode tproxy where the sidecar has NET_RAW",
            kernel()
        );
    }
    format!(
        "; mode ebpf is known to work from Linux 5.10 on, and this is {}: use --mode redirect, or --mode tproxy where the \
         sidecar has NET_RAW",
        kernel()
    )
}

/// The kernel's name and release.
fn kernel() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "another kernel".to_owned(),
        |name| {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            format!("{} {}", text(name.sysname()), text(name.release()))
        },
    )
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        Self::Ebpf {
            cause: Box::new(error),
        }
    }
}

fn input_line(line: &Option<String>) -> String {
    line.as_ref()
        .map_or_else(String::new, |line| format!(" [input: {line}]"))
}
