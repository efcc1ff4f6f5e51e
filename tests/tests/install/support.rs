//! A pod with a neighbour, and `weir-init` with one variant of iptables in it.

use nix::sys::socket::{Shutdown, shutdown};
use socket2::SockRef;
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::{fd::AsRawFd, unix::fs::symlink},
    path::PathBuf,
    process::Output,
    sync::Mutex,
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;
use weir_lab::{Lab, Link, Node};

/// Longer than any connection here takes on a busy machine, shorter than patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Nft,
    Legacy,
}

pub const BOTH: [Variant; 2] = [Variant::Nft, Variant::Legacy];

/// Every variant in every mode that it carries out.
pub const ALL: [(Variant, &str); 4] = [
    (Variant::Nft, "redirect"),
    (Variant::Legacy, "redirect"),
    (Variant::Nft, "tproxy"),
    (Variant::Legacy, "tproxy"),
];

impl Variant {
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Nft => "-nft",
            Self::Legacy => "-legacy",
        }
    }
}

pub struct Pod {
    pub pod: Node,
    pub peer: Node,
    pub link: Link,
    pub variant: Variant,
    /// The mode, where the command does not name another.
    pub mode: &'static str,
    pub path: TempDir,
    lab: Mutex<Lab>,
}

/// What a run of `weir-init` gave.
pub struct Run {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            ok: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Run {
    pub fn succeeded(self) -> Self {
        assert!(self.ok, "{}{}", self.stdout, self.stderr);
        self
    }

    pub fn failed_saying(self, words: &[&str]) -> Self {
        assert!(!self.ok, "should have failed: {}", self.stdout);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in: {}", self.stderr);
        }
        self
    }
}

impl Pod {
    /// Only the programs of this variant are to be found, so it is the one that is used.
    pub fn new(name: &str, variant: Variant) -> Self {
        Self::with(name, (variant, "redirect"))
    }

    /// The same, with a mode.
    pub fn with(name: &str, (variant, mode): (Variant, &'static str)) -> Self {
        let path = TempDir::new().unwrap();
        for family in ["iptables", "ip6tables"] {
            for what in ["restore", "save"] {
                let program = format!("{family}{}-{what}", variant.suffix());
                symlink(find(&program), path.path().join(program)).unwrap();
            }
        }
        let mut lab = Lab::new(name).unwrap();
        let (pod, peer) = (lab.node("pod").unwrap(), lab.node("peer").unwrap());
        // Without duplicate address detection no address appears later, while states are compared.
        for interfaces in ["all", "default"] {
            pod.sysctl(&format!("ipv6/conf/{interfaces}/accept_dad"), "0")
                .unwrap();
        }
        let link = lab.join(&pod, &peer).unwrap();
        let pod = Self {
            pod,
            peer,
            link,
            variant,
            mode,
            path,
            lab: Mutex::new(lab),
        };
        if variant == Variant::Legacy {
            // The kernel makes a legacy table when it is first looked at, and nobody can take it away again.
            for family in ["iptables", "ip6tables"] {
                for table in ["mangle", "nat", "raw"] {
                    pod.sh(&format!("{family}-legacy-save -t {table}"));
                }
            }
        }
        pod
    }

    /// A node behind the pod, which the pod forwards for, and their addresses: `a` is the new node's.
    pub fn behind(&self) -> (Node, Link) {
        let mut lab = self.lab.lock().unwrap();
        let node = lab.node("behind").unwrap();
        let link = lab.join(&node, &self.pod).unwrap();
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            self.pod.sysctl(setting, "1").unwrap();
        }
        (node, link)
    }

    pub fn weir_init(&self, arguments: &str) -> Run {
        self.weir_init_with(&self.path.path().display().to_string(), arguments)
    }

    pub fn weir_init_with(&self, path: &str, arguments: &str) -> Run {
        let mut command = self.pod.command("env");
        command
            .arg(format!("PATH={path}"))
            .arg(format!("WEIR_MODE={}", self.mode))
            .arg(weir_lab::binary("weir-init").unwrap());
        command.args(words(arguments));
        command.output().unwrap().into()
    }

    /// Runs a shell command in the pod's namespace.
    pub fn sh(&self, script: &str) -> String {
        let mut command = self.pod.command("sh");
        command.args(["-ec", script]);
        self.pod.run(command).unwrap()
    }

    /// Applies foreign rules to both families.
    pub fn foreign(&self, rules: &str) {
        for family in ["iptables", "ip6tables"] {
            let restore = format!("{family}{}-restore --noflush", self.variant.suffix());
            self.sh(&format!("{restore} <<'END'\n{rules}END"));
        }
    }

    /// Everything that `remove` must leave as it was, counters of passing packets aside.
    pub fn state(&self) -> String {
        let mut state = String::new();
        for command in [
            "iptables-nft-save",
            "ip6tables-nft-save",
            "iptables-legacy-save",
            "ip6tables-legacy-save",
            "nft list ruleset",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
        ] {
            state += &format!("== {command}\n{}", self.sh(&format!("{command} 2>/dev/null")));
        }
        state
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(without_counters)
            .collect()
    }

    /// Our part of what iptables-save prints for both families.
    pub fn rules(&self) -> String {
        let suffix = self.variant.suffix();
        let saved = self.sh(&format!("iptables{suffix}-save; ip6tables{suffix}-save"));
        let ours = saved
            .lines()
            .filter(|line| line.starts_with('*') || line.contains("WEIR_"));
        ours.map(without_counters).collect()
    }
}

/// Splits at blanks; `''` stands for an empty argument.
fn words(arguments: &str) -> impl Iterator<Item = &str> {
    arguments
        .split_whitespace()
        .map(|word| if word == "''" { "" } else { word })
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is not installed (package iptables)"))
}

fn without_counters(line: &str) -> String {
    let mut words = Vec::new();
    let mut counted = false;
    for word in line.split(' ') {
        let hidden = counted || (word.starts_with('[') && word.ends_with(']') && word.contains(':'));
        words.push(if hidden { "_" } else { word });
        counted = matches!(word, "packets" | "bytes");
    }
    words.join(" ") + "\n"
}

/// Says one thing to everybody who connects; stops when dropped.
pub struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(node: &Node, address: SocketAddr, says: &'static str) -> Self {
        Self::with(node, address, move |mut stream| {
            drop(stream.write_all(says.as_bytes()))
        })
    }

    pub fn with(node: &Node, address: SocketAddr, f: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = node.enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let accepting = listener.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                f(stream);
            }
        });
        Self {
            listener,
            thread: Some(thread),
        }
    }
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread that waits for a connection.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// In the sidecar's place: says which listener a connection came to.
pub fn listeners(pod: &Pod) -> Vec<Server> {
    // Else the IPv6 wildcard takes IPv4 as well.
    pod.pod.sysctl("ipv6/bindv6only", "1").unwrap();
    let mut servers = Vec::new();
    for any in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        for (port, says) in [(15001, "outbound"), (15006, "inbound")] {
            let server = Server::new(&pod.pod, SocketAddr::new(any, port), says);
            SockRef::from(&server.listener)
                .set_ip_transparent_v4(true)
                .unwrap();
            servers.push(server);
        }
    }
    servers
}

/// What the other side says, from a process of root in this node.
pub fn hear(node: &Node, address: SocketAddr) -> std::io::Result<String> {
    node.enter(|| {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    })
    .unwrap()
}

/// A program in place of the one of this name; `REAL` in the script is the real one.
pub fn replace(pod: &Pod, program: &str, script: &str) {
    let own = pod.path.path().join(program);
    let _ = fs::remove_file(&own);
    let script = script.replace("REAL", &find(program).display().to_string());
    fs::write(
        &own,
        format!("#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{script}"),
    )
    .unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&own, executable).unwrap();
}

/// Like `assert_eq!` for long texts: shows only the lines that one of them lacks.
#[track_caller]
pub fn assert_same(is: &str, should: &str) {
    let lacks = |a: &str, b: &str| -> Vec<String> {
        a.lines()
            .filter(|line| !b.lines().any(|other| other == *line))
            .map(String::from)
            .collect()
    };
    let (more, less) = (lacks(is, should), lacks(should, is));
    assert!(
        is == should,
        "too much: {more:#?}, missing: {less:#?} (or the order differs):\n{is}"
    );
}
