//! An application in a container, somebody else in another, and Weir in containers beside the application.

use crate::engine::{Container, Engine, Network};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
};
use weir_config::{SPARE_V4, SPARE_V6};
use weir_lab::binary;
use weir_tests::{
    peer::connect,
    weir::{LIMIT, Sidecar},
};

pub const PORT: u16 = 8080;
pub const CLOSED: u16 = 8081;
/// What asks the others, and is asked.
pub const NGINX: &str = "daemon off;
master_process off;
user root;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    server {
        listen 8080;
        listen [::]:8080 ipv6only=on;
        default_type text/plain;
        keepalive_timeout 600;
        location / { return 200 \"$remote_addr\\n\"; }
    }
}
";

/// With what Weir is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Redirect,
    AutoWithNetAdmin,
    AutoWithSysAdmin,
}

impl Way {
    /// What is asked for.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::AutoWithNetAdmin | Self::AutoWithSysAdmin => "auto",
        }
    }

    /// What that must come to.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::AutoWithNetAdmin => "tproxy",
            Self::AutoWithSysAdmin => "ebpf",
        }
    }

    /// What the installer's container is given. Docker before 23 knows no CAP_BPF.
    pub fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::Redirect | Self::AutoWithNetAdmin => &["--cap-add", "NET_ADMIN"],
            Self::AutoWithSysAdmin => &["--cap-add", "NET_ADMIN", "--cap-add", "SYS_ADMIN"],
        }
    }
}

/// Whom the sidecar's container runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Uid 1337, with `cap_net_raw=+p` on the program.
    Own,
    /// Root, which the program gives up.
    Root,
}

pub struct Pod {
    /// First, so that it ends before its engine does.
    pub sidecar: Option<Sidecar>,
    pub way: Way,
    pub app: Container,
    pub client: Container,
    pub engine: Engine,
}

impl Pod {
    pub fn new(way: Way) -> Self {
        Self::with(way, Network::DUAL, &[])
    }

    /// With options of `docker run` for the application.
    pub fn with(way: Way, network: Network, options: &[&str]) -> Self {
        let mut engine = Engine::start(network);
        let file = engine.directory().join("nginx.conf");
        fs::write(&file, NGINX).unwrap();
        let file = file.display().to_string();
        let nginx = ["nginx", "-c", &file];
        let client = engine.container("client", 3, &[], &nginx);
        let app = engine.container("app", 2, options, &nginx);
        for container in [&client, &app] {
            for ip in &container.ips {
                container.node.tcp_ready((*ip, PORT), LIMIT).unwrap();
            }
        }
        Self {
            sidecar: None,
            way,
            app,
            client,
            engine,
        }
    }

    /// The client's and the application's addresses, by family.
    pub fn pairs(&self) -> Vec<(IpAddr, IpAddr)> {
        self.client
            .ips
            .iter()
            .copied()
            .zip(self.app.ips.iter().copied())
            .collect()
    }

    /// `docker run` of a container beside the application.
    pub fn beside(&self, options: &[&str]) -> Command {
        let own = ["--rm", "--network", "container:app"];
        self.engine.run(&[&own, options].concat())
    }

    /// `weir-init` in a container: whether it went well, and what it wrote.
    pub fn try_init(&self, options: &[&str], arguments: &[&str]) -> (bool, String) {
        let mut command = self.beside(options);
        command.arg(binary("weir-init").unwrap()).args(arguments);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// The same with this way's capabilities, and well.
    pub fn init(&self, arguments: &[&str]) -> String {
        let (done, said) = self.try_init(self.way.capabilities(), arguments);
        assert!(done, "weir-init {arguments:?}: {said}");
        said
    }

    pub fn install(&self, flags: &[&str]) -> String {
        self.init(
            &[
                &["install", "--sidecar-net-raw", "--mode", self.way.flag()],
                flags,
            ]
            .concat(),
        )
    }

    /// That the mode in force is this way's, proved by tokens.
    pub fn check(&self, flags: &[&str]) {
        let said = self.init(&[&["check", "--json", "--mode", self.way.flag()], flags].concat());
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["ok"], true, "{said}");
        assert_eq!(report["mode"], self.way.mode(), "{said}");
    }

    pub fn start_sidecar(&mut self, user: User, flags: &[&str]) {
        let options: &[&str] = match user {
            User::Own => &["--user", "1337:1337"],
            User::Root => &[],
        };
        let mut command = self.sidecar_command(options);
        command.arg(match user {
            User::Own => self.capable(),
            User::Root => binary("weir-sidecar").unwrap(),
        });
        self.sidecar = Some(Sidecar::start_by(&self.app.node, command, flags).unwrap());
    }

    /// A sidecar's container, up to its program.
    pub fn sidecar_command(&self, options: &[&str]) -> Command {
        self.beside(&[&["--name", "sidecar"], options].concat())
    }

    pub fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().unwrap()
    }

    /// SIGKILL, which Docker's client can't pass on.
    pub fn kill_sidecar(&mut self) {
        self.engine
            .docker(&["kill", "--signal", Signal::SIGKILL.as_str(), "sidecar"]);
        let mut sidecar = self.sidecar.take().unwrap();
        sidecar.process.wait(LIMIT).unwrap();
    }

    /// A field of the sidecar's `/proc/PID/status`, of its first thread.
    pub fn sidecar_status(&self, field: &str) -> String {
        let pid = self.engine.pid("sidecar");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The sidecar's program with the capability in its file.
    pub fn capable(&self) -> std::path::PathBuf {
        let program = self.engine.directory().join("weir-sidecar");
        if !program.exists() {
            fs::copy(binary("weir-sidecar").unwrap(), &program).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            let mut set = Command::new("setcap");
            set.arg("cap_net_raw=+p").arg(&program);
            self.app.node.run(set).unwrap();
        }
        program
    }

    /// Runs a program in the application's container.
    pub fn in_app(&self, program: &[&str]) -> String {
        self.engine.docker(&[&["exec", "app"], program].concat())
    }

    /// The application asks: whom the other side saw.
    pub fn app_asks(&self, ip: IpAddr) -> IpAddr {
        let url = format!("http://{}/", SocketAddr::new(ip, PORT));
        let said = self.in_app(&[
            "curl",
            "--silent",
            "--show-error",
            "--globoff",
            "--max-time",
            "30",
            &url,
        ]);
        said.trim().parse().unwrap()
    }

    /// The client asks the application: whom that saw.
    pub fn client_asks(&self, ip: IpAddr) -> IpAddr {
        let (status, said) = self.client.node.http_get((ip, PORT), "/").unwrap();
        assert_eq!(status, 200);
        said.trim().parse().unwrap()
    }

    /// Whom the application is to see where the client asks.
    pub fn assert_seen(&self, seen: IpAddr, client: IpAddr) {
        match self.way {
            Way::Redirect => assert!(is_spare(seen), "{seen}"),
            Way::AutoWithNetAdmin | Way::AutoWithSysAdmin => assert_eq!(seen, client),
        }
    }

    /// Connections in both directions, over both families.
    pub fn open(&self) -> Vec<Kept> {
        let open = |(client, app)| {
            [
                Kept::open(&self.client.node, (app, PORT).into()),
                Kept::open(&self.app.node, (client, PORT).into()),
            ]
        };
        self.pairs().into_iter().flat_map(open).collect()
    }

    /// Everything that `remove` must leave as it was.
    pub fn state(&self) -> String {
        let script = "iptables-save; ip6tables-save; ip rule; ip -6 rule; ip route show table all; \
            ip -6 route show table all; nft list ruleset; tc qdisc show; tc filter show dev eth0 ingress; \
            tc filter show dev lo egress; cat /proc/sys/net/ipv4/conf/*/accept_local";
        let mut command = self.app.node.command("sh");
        command.args(["-c", &format!("({script}) 2>/dev/null")]);
        let shown = self.app.node.run(command).unwrap();
        // Times and counters change, and link-local addresses come when they like.
        let lasting = shown
            .lines()
            .filter(|line| !line.contains("fe80:") && !line.starts_with(['#', ':']));
        lasting
            .map(|line| match line.split_once("counter packets") {
                Some((rule, rest)) => format!("{rule}{}\n", rest.splitn(5, ' ').last().unwrap_or_default()),
                None => format!("{line}\n"),
            })
            .collect()
    }
}

pub fn is_spare(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPARE_V4.contains(&ip),
        IpAddr::V6(ip) => SPARE_V6.contains(&ip),
    }
}

/// A connection with requests now and then.
pub struct Kept(BufReader<TcpStream>);

impl Kept {
    pub fn open(node: &weir_lab::Node, server: SocketAddr) -> Self {
        let mut kept = Self(BufReader::new(connect(node, server).unwrap()));
        kept.ask();
        kept
    }

    /// One request and its answer.
    pub fn ask(&mut self) {
        let request = b"GET /kept HTTP/1.1\r\nHost: kept\r\n\r\n";
        self.0.get_mut().write_all(request).unwrap();
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            assert!(self.0.read_line(&mut head).unwrap() > 0, "it ended: {head}");
            if let Some(value) = head[from..].strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
    }
}
