//! A pod, and outside it two resolvers that answer, one that never does, and one that is in no resolv.conf.

use crate::MODES;
use serde_json::Value;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};
use tempfile::TempDir;
use weir_lab::{Lab, Link, Node, Process, skip_unless_root};
use weir_tests::peer::again;
use weir_tests::weir::{LIMIT, Sidecar, install, wait_for};

/// Longest wait for an answer; met only by a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The mode in which nothing is installed.
pub const TAP: &str = "tap";
/// Strings of the text that no datagram holds.
pub const LARGE: usize = 40;

pub struct Stage {
    pub mode: &'static str,
    /// First, so that it ends before the namespaces do.
    pub sidecar: Option<Sidecar>,
    _servers: Vec<Server>,
    pub outside: Node,
    pub pod: Node,
    link: Link,
    _lab: Lab,
}

/// A name server that runs.
pub struct Server {
    _process: Process,
    _directory: TempDir,
}

/// Runs a case in every mode, with Weir installed.
pub fn in_every_mode(name: &str, case: impl Fn(&Stage)) {
    in_modes(name, MODES, case);
}

/// The same, and where Weir only looks.
pub fn in_every_mode_and_tap(name: &str, case: impl Fn(&Stage)) {
    in_modes(name, &[MODES, &[TAP]].concat(), case);
}

fn in_modes(name: &str, modes: &[&'static str], case: impl Fn(&Stage)) {
    for mode in modes {
        if skip_unless_root(name) {
            return;
        }
        let mut stage = Stage::new(mode);
        stage.install();
        stage.start_sidecar(&[]);
        case(&stage);
        if let Some(sidecar) = &mut stage.sidecar {
            sidecar.assert_well();
        }
    }
}

impl Stage {
    /// Without Weir.
    pub fn new(mode: &'static str) -> Self {
        let mut lab = Lab::new("dns").unwrap();
        let (outside, pod) = (lab.node("outside").unwrap(), lab.node("pod").unwrap());
        let link = lab.join(&outside, &pod).unwrap();
        let mut stage = Self {
            mode,
            sidecar: None,
            _servers: Vec::new(),
            outside,
            pod,
            link,
            _lab: lab,
        };
        let extra = [stage.second(), stage.silent(), stage.other()];
        for [v4, v6] in extra {
            stage.outside.ip(&format!("addr add {v4}/24 dev eth0")).unwrap();
            stage
                .outside
                .ip(&format!("addr add {v6}/64 dev eth0 nodad"))
                .unwrap();
        }
        for (text, addresses) in [
            ("first", stage.first()),
            ("second", stage.second()),
            ("other", stage.other()),
        ] {
            let server = Server::start(&stage.outside, &addresses, text);
            stage._servers.push(server);
        }
        stage
    }

    pub fn install(&self) {
        if self.mode == TAP {
            return;
        }
        install(
            &self.pod,
            &["--mode", self.mode, "--dns", "--dns-servers", &self.servers()],
        )
        .unwrap();
    }

    pub fn start_sidecar(&mut self, flags: &[&str]) {
        let servers = self.servers();
        let how = match self.mode {
            TAP => ["--mode", TAP],
            _ => ["--dns-servers", &servers],
        };
        let flags = [&how, flags].concat();
        self.sidecar = Some(Sidecar::start(&self.pod, &flags).unwrap());
    }

    pub fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    fn outside_at(&self, host: u8) -> [IpAddr; 2] {
        let (v4, v6) = (self.link.a.v4.octets(), self.link.a.v6.segments());
        [
            Ipv4Addr::from([v4[0], v4[1], v4[2], host]).into(),
            Ipv6Addr::from([v6[0], v6[1], v6[2], v6[3], 0, 0, 0, host.into()]).into(),
        ]
    }

    /// A resolver that says of itself that it is `first`, IPv4 and IPv6.
    pub fn first(&self) -> [IpAddr; 2] {
        [self.link.a.v4.into(), self.link.a.v6.into()]
    }

    /// One that says `second`.
    pub fn second(&self) -> [IpAddr; 2] {
        self.outside_at(5)
    }

    /// An address where a test may listen by itself.
    pub fn silent(&self) -> [IpAddr; 2] {
        self.outside_at(6)
    }

    /// A server that the pod's resolv.conf does not have.
    pub fn other(&self) -> [IpAddr; 2] {
        self.outside_at(7)
    }

    /// What `--dns-servers` is given.
    pub fn servers(&self) -> String {
        let all = [self.first(), self.second(), self.silent()].concat();
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// A socket outside at the address of the resolver that is no program.
    pub fn silent_socket(&self, ip: IpAddr) -> UdpSocket {
        let socket = self.outside.enter(|| UdpSocket::bind((ip, 53))).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Runs dig in the pod.
    pub fn dig(&self, server: IpAddr, arguments: &str) -> String {
        let mut command = self.pod.command("dig");
        command
            .arg(format!("@{server}"))
            .args(["+tries=1", "+time=30", "+nocookie"])
            .args(arguments.split_whitespace());
        self.pod.run(command).unwrap()
    }

    /// The DNS documents, once there are at least so many.
    pub fn documents(&self, at_least: usize) -> Vec<Value> {
        let dns = || -> Vec<Value> {
            let all = self.sidecar().documents();
            all.into_iter()
                .filter(|document| document["event"]["dataset"] == "weir.dns")
                .collect()
        };
        wait_for(&format!("{at_least} documents"), || dns().len() >= at_least);
        dns()
    }

    /// What the sidecar has counted of queries over UDP.
    pub fn queries(&self) -> u64 {
        self.sidecar().metric("weir_dns_queries_total", &[])
    }
}

impl Server {
    /// Serves `weir.test`, and fails for `broken.test`.
    pub fn start(node: &Node, addresses: &[IpAddr], text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("weir.test.zone"), zone(text)).unwrap();
        let file = directory.path().join("nsd.conf");
        fs::write(&file, configuration(directory.path(), addresses)).unwrap();
        let mut command = node.command("nsd");
        command.arg("-d").arg("-c").arg(&file);
        let mut process = node.spawn(command).unwrap();
        for address in addresses {
            process.wait_ready(SocketAddr::new(*address, 53), LIMIT).unwrap();
        }
        Self {
            _process: process,
            _directory: directory,
        }
    }
}

fn configuration(directory: &Path, addresses: &[IpAddr]) -> String {
    let listen: String = addresses
        .iter()
        .map(|address| format!("  ip-address: {address}\n"))
        .collect();
    let directory = directory.display();
    format!(
        "server:\n{listen}  server-count: 1\n  zonesdir: {directory}\n  zonelistfile: {directory}/zones\n  xfrdfile: \"\"\n  \
         database: \"\"\n  pidfile: \"\"\n  username: \"\"\n  chroot: \"\"\n  rrl-ratelimit: 0\n  minimal-responses: yes\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: weir.test\n  zonefile: weir.test.zone\n\
         zone:\n  name: broken.test\n  zonefile: missing.zone\n"
    )
}

fn zone(text: &str) -> String {
    let large: String = (0..LARGE)
        .map(|i| format!("large IN TXT \"{i:02}{}\"\n", "x".repeat(100)))
        .collect();
    format!(
        "$ORIGIN weir.test.\n$TTL 60\n@ IN SOA ns hostmaster 1 60 60 60 60\n@ IN NS ns\nns IN A 198.18.9.1\n\
         who IN TXT \"{text}\"\nboth IN A 198.18.9.2\nboth IN AAAA fd00:198:18:9::2\nalias IN CNAME both\n\
         text IN TXT \"some text\" \"and more\"\n*.many IN A 198.18.9.3\n{large}"
    )
}

/// A query as a resolver library makes it, with EDNS: 1232 bytes, DO.
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    bytes
}

/// A socket of this node that takes only what comes from the server that it asks.
pub fn asker(node: &Node, server: IpAddr) -> UdpSocket {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    node.enter(|| {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect((server, 53)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    })
    .unwrap()
}

/// The next datagram.
pub fn hear(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let length = again(|| socket.recv(&mut buffer)).unwrap();
    buffer.truncate(length);
    buffer
}

/// Asks and gives the answer.
pub fn ask(node: &Node, server: IpAddr, query: &[u8]) -> Vec<u8> {
    let socket = asker(node, server);
    socket.send(query).unwrap();
    hear(&socket)
}
