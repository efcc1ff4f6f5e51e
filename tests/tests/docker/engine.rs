//! A Docker engine of the test's own, in a network namespace and a mount namespace of its own: its rules, bridges,
//! sockets and mounts are nobody else's, and go with it.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use weir_lab::{Lab, Link, Node, Process, skip_unless_root};
use weir_tests::weir::wait_for;

/// The network's name.
const NETWORK: &str = "weir";

/// The engine's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    subnets: &'static [&'static str],
}

impl Network {
    pub const DUAL: Self = Self {
        subnets: &["198.18.40.0/24", "fd00:198:18:40::/64"],
    };
    /// As a network is unless IPv6 is asked for: it is switched off in its containers.
    pub const IPV4: Self = Self {
        subnets: &["198.18.41.0/24"],
    };

    fn options(self) -> impl Iterator<Item = &'static str> {
        let v6 = self.subnets.len() > 1;
        let subnets = self.subnets.iter().flat_map(|subnet| ["--subnet", *subnet]);
        v6.then_some("--ipv6").into_iter().chain(subnets)
    }
}

/// The image holds directories alone; the programs are this machine's, mounted.
pub const IMAGE: &str = "weir-test";

/// True, and says so loudly, where a test can't run.
///
/// # Panics
/// `CI` is set: there a test that can't run is a failure, not a skip.
pub fn skip(test: &str) -> bool {
    if skip_unless_root(test) {
        return true;
    }
    let missing = ["dockerd", "docker"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_err());
    let Some(program) = missing else {
        return false;
    };
    assert!(std::env::var_os("CI").is_none(), "{test} can't run: no {program}");
    eprintln!("SKIPPED {test}: there is no {program}; install Docker (Debian, Ubuntu: docker.io)");
    true
}

/// Ends when dropped, with its containers.
pub struct Engine {
    network: Network,
    containers: Vec<String>,
    daemon: Process,
    node: Node,
    lab: Lab,
    directory: TempDir,
}

/// A running container.
#[derive(Debug)]
pub struct Container {
    /// Its network namespace.
    pub node: Node,
    /// Its addresses: IPv4, and IPv6 if the network has it.
    pub ips: Vec<IpAddr>,
}

impl Engine {
    pub fn start(network: Network) -> Self {
        let mut lab = Lab::new("docker").unwrap();
        let node = lab.node("engine").unwrap();
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut engine = Self {
            network,
            containers: Vec::new(),
            daemon: node.spawn(daemon(&node, directory.path())).unwrap(),
            node,
            lab,
            directory,
        };
        engine.wait_ready();
        engine.import();
        let create = ["network", "create"].into_iter().chain(network.options());
        let create: Vec<_> = create.chain([NETWORK]).collect();
        engine.docker(&create);
        engine
    }

    fn wait_ready(&mut self) {
        wait_for("Docker", || {
            let asked = self.client().arg("version").output();
            asked.is_ok_and(|output| output.status.success())
        });
        let ended = self.daemon.try_wait().unwrap();
        assert!(ended.is_none(), "{}", self.daemon.output());
    }

    fn import(&self) {
        let root = self.directory.path().join("root");
        for directory in [
            "dev",
            "etc/alternatives",
            "proc",
            "run",
            "sys",
            "tmp",
            "usr",
            "var/log/nginx",
            "var/lib/nginx",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for link in ["bin", "lib", "lib64", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
        let archive = self.directory.path().join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
        self.node.run(tar).unwrap();
        let archive = archive.display().to_string();
        let path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        self.docker(&["import", "--change", path, &archive, IMAGE]);
    }

    /// The command line's client, without arguments.
    pub fn client(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.directory.path())
            .env_remove("DOCKER_CONTEXT");
        command
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Runs the client and gives what it wrote.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let mut command = self.client();
        command.args(arguments);
        let said = self.node.run(command);
        said.unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
    }

    /// `docker run` with the programs mounted, up to the image.
    pub fn run(&self, options: &[&str]) -> Command {
        let mut command = self.client();
        command.arg("run");
        let shared = std::env::temp_dir();
        for (folder, access) in [
            (Path::new("/usr"), "ro"),
            (Path::new("/etc/alternatives"), "ro"),
            (weir_lab::binary("weir-init").unwrap().parent().unwrap(), "ro"),
            (&shared, "rw"),
        ] {
            let folder = folder.display();
            command.arg("--volume").arg(format!("{folder}:{folder}:{access}"));
        }
        command.args(options).arg(IMAGE);
        command
    }

    /// Starts a container with addresses of its own; the last number of each is `host`.
    pub fn container(&mut self, name: &str, host: u8, options: &[&str], program: &[&str]) -> Container {
        let address = |subnet: &&str| {
            let (prefix, _) = subnet.split_once('/').unwrap();
            let prefix = prefix.strip_suffix('0').unwrap_or(prefix);
            format!("{prefix}{host}")
        };
        let addresses: Vec<_> = self.network.subnets.iter().map(address).collect();
        let mut own = vec!["--detach", "--name", name, "--network", NETWORK];
        for (option, address) in ["--ip", "--ip6"].iter().zip(&addresses) {
            own.extend([option, address.as_str()]);
        }
        let mut command = self.run(&[&own, options].concat());
        command.args(program);
        self.node.run(command).unwrap();
        self.containers.push(name.into());
        let node = self.lab.adopt(name, self.pid(name)).unwrap();
        let ips = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Container { node, ips }
    }

    /// The number of a container's first process, on this machine.
    pub fn pid(&self, name: &str) -> u32 {
        let said = self.docker(&["inspect", "--format", "{{.State.Pid}}", name]);
        said.trim().parse().unwrap()
    }

    /// The machine that the engine runs on.
    pub fn host(&self) -> &Node {
        &self.node
    }

    /// Another machine, joined to the host: `b` is the host's end.
    pub fn outside(&mut self) -> (Node, Link) {
        let outside = self.lab.node("outside").unwrap();
        let link = self.lab.join(&outside, &self.node).unwrap();
        (outside, link)
    }

    /// Where files lie that containers read.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The cgroup above the containers' own.
fn cgroup() -> String {
    format!("weir-lab-{}", std::process::id())
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut remove = self.client();
        remove.args(["rm", "--force"]).args(&self.containers);
        if let Err(error) = self.node.run(remove) {
            eprintln!("containers are left to the end of their namespaces: {error}");
        }
        // Nothing is left for it to do; its containerd ends with its namespace.
        let _ = self.daemon.kill();
        // Of version 2, and of each controller of version 1. Where another engine of this process has containers, it stays.
        let root = Path::new("/sys/fs/cgroup");
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path().join(cgroup()));
        }
        let _ = fs::remove_dir(root.join(cgroup()));
    }
}

/// Its sockets and what it finds in `/run` are in a file system of its own: another engine or containerd of this machine
/// is not to be seen, and nothing is left.
fn daemon(node: &Node, directory: &Path) -> Command {
    let mut command = node.command("unshare");
    let script = "mount -t tmpfs tmpfs /run && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh", "dockerd"]);
    for (option, file) in [
        ("--data-root", "data"),
        ("--exec-root", "exec"),
        ("--pidfile", "docker.pid"),
    ] {
        command.arg(option).arg(directory.join(file));
    }
    let socket = directory.join("docker.sock");
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    command.args(["--bridge", "none", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
    command.arg("--cgroup-parent").arg(format!("/{}", cgroup()));
    command
}
