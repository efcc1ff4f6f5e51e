//! The stage: a client and a pod, each in a namespace of its own, with a real application in the pod, a real server for
//! it to call, the redirect and the sidecar.

use super::{go_on, tool, workdir::Workdir};
use crate::signals::Signals;
use anyhow::{Context, Result, bail};
use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use weir_config::{Interception, Relay, args::CaptureArgs};
use weir_lab::{Addresses, Lab, Link, Node, Process};

/// Where the application listens.
pub const SHOP: u16 = 8080;
/// Where the server listens that it calls.
pub const BANK: u16 = 9090;
const READY: Duration = Duration::from_secs(15);

/// Everything that the demo has set up. Fields are dropped in their order: programs, namespaces, files.
pub struct Stage {
    sidecar: Process,
    _shop: Process,
    _bank: Process,
    /// Outside.
    pub client: Node,
    /// What is observed.
    pub pod: Node,
    link: Link,
    _lab: Lab,
    directory: Workdir,
}

impl Stage {
    /// Sets everything up, or nothing.
    ///
    /// # Errors
    /// Not root, a program is missing or does not start.
    pub fn build(exports: &[String], capture: CaptureArgs, signals: &Signals) -> Result<Self> {
        weir_lab::require_root()?;
        let nginx = tool::find("nginx", "nginx-light")?;
        tool::find("curl", "curl")?;
        tool::find("iptables", "iptables")?;
        tool::find("ip", "iproute2")?;
        let [init, sidecar] = [weir_lab::binary("weir-init")?, weir_lab::binary("weir-sidecar")?];

        let directory = Workdir::new()?;
        let mut lab = Lab::new("demo")?;
        let (client, pod) = (lab.node("client")?, lab.node("pod")?);
        let link = lab.join(&client, &pod)?;
        go_on(signals)?;
        let bank = start_nginx(&nginx, &client, &directory, "bank", BANK, BANK_LOCATIONS)?;
        let locations = shop_locations(&link.a, &directory)?;
        let shop = start_nginx(&nginx, &pod, &directory, "shop", SHOP, &locations)?;
        go_on(signals)?;

        let mut install = tool::command(&pod, &init);
        install.arg("install");
        pod.run(install)
            .context("the redirect can't be installed in the pod's namespace")?;
        go_on(signals)?;
        let user = Interception::default().proxy_uid;
        let store = directory.directory_of("store", user)?.join("weir.db");
        let sidecar = start_sidecar(&sidecar, &pod, &store, exports, capture)?;
        go_on(signals)?;
        Ok(Self {
            sidecar,
            _shop: shop,
            _bank: bank,
            client,
            pod,
            link,
            _lab: lab,
            directory,
        })
    }

    /// The sidecar's embedded store.
    pub fn store(&self) -> PathBuf {
        self.directory.join("store").join("weir.db")
    }

    /// The client's addresses, where the pod's server listens.
    pub fn client_addresses(&self) -> Addresses {
        self.link.a
    }

    /// The pod's addresses.
    pub fn pod_addresses(&self) -> Addresses {
        self.link.b
    }

    /// Fails if the sidecar has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.sidecar.try_wait()? {
            Some(status) => bail!("weir-sidecar ended with {status}\n{}", self.sidecar_output()),
            None => Ok(()),
        }
    }

    /// What the sidecar has written.
    pub fn sidecar_output(&self) -> String {
        match self.sidecar.output() {
            text if text.is_empty() => "weir-sidecar wrote nothing".into(),
            text => format!("weir-sidecar wrote:\n{text}"),
        }
    }

    /// What users of a held demo may do.
    pub fn invitation(&self) -> String {
        format!(
            "Held until Ctrl-C; further requests appear here. As root:\n  \
             into the pod:    {}curl http://{}:{SHOP}/\n  \
             out of the pod:  {}curl http://{}:{BANK}/v1/price\n  \
             all documents:   weir tail --store {}\n",
            prefix(&self.client),
            self.link.b.v4,
            prefix(&self.pod),
            self.link.a.v4,
            self.store().display(),
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Two network namespaces, joined by a cable; nothing else of this machine is touched:\n"
        )?;
        let line = |f: &mut fmt::Formatter<'_>, name, address: Addresses, what| {
            writeln!(f, "  {name:<7} {:<11} {:<15} {what}", address.v4, address.v6)
        };
        line(
            f,
            "client",
            self.link.a,
            "nginx as bank.example:9090, which the pod calls",
        )?;
        line(
            f,
            "pod",
            self.link.b,
            "nginx as shop.example:8080, the application; weir-init's redirect; weir-sidecar",
        )
    }
}

fn prefix(node: &Node) -> String {
    let words = node.command("");
    let words = std::iter::once(words.get_program()).chain(words.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ").trim_end().to_owned() + " "
}

fn start_sidecar(
    program: &Path,
    pod: &Node,
    store: &Path,
    exports: &[String],
    capture: CaptureArgs,
) -> Result<Process> {
    let mut command = tool::command(pod, program);
    command.arg("--export").arg(format!("sqlite:{}", store.display()));
    for export in exports {
        command.arg("--export").arg(export);
    }
    if let Some(max) = capture.capture_bodies {
        command.arg("--capture-bodies").arg(max.to_string());
    }
    // Nobody waits for the connections of a demo.
    command.args(["--drain", "1s"]);
    let mut sidecar = pod.spawn(command)?;
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, Relay::default().health_port));
    sidecar.wait_http(health, "/healthz/ready", READY)?;
    Ok(sidecar)
}

fn start_nginx(
    nginx: &Path,
    node: &Node,
    directory: &Workdir,
    name: &str,
    port: u16,
    locations: &str,
) -> Result<Process> {
    let scratch = directory.directory_of(name, 0)?;
    let configuration = scratch.join("nginx.conf");
    let text = nginx_configuration(&scratch, port, locations, &temp_paths(nginx, &scratch)?);
    fs::write(&configuration, text).with_context(|| format!("cannot write {}", configuration.display()))?;
    let mut command = tool::command(node, nginx);
    command.arg("-c").arg(&configuration);
    let mut process = node.spawn(command)?;
    for address in [
        SocketAddr::from(([127, 0, 0, 1], port)),
        (std::net::Ipv6Addr::LOCALHOST, port).into(),
    ] {
        process.wait_ready(address, READY)?;
    }
    Ok(process)
}

/// One process in the foreground, with every file that it writes in `scratch`.
fn nginx_configuration(scratch: &Path, port: u16, locations: &str, temp_paths: &str) -> String {
    let scratch = scratch.display();
    format!(
        "daemon off;
master_process off;
pid {scratch}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type text/plain;
    gzip_types text/plain;
    gzip_min_length 1;
    {temp_paths}
    server {{
        listen {port};
        listen [::]:{port};
        {locations}
    }}
}}
"
    )
}

/// Where nginx would put temporary files: each of its modules has a directory, but not every build has each module.
fn temp_paths(nginx: &Path, scratch: &Path) -> Result<String> {
    let build = std::process::Command::new(nginx)
        .arg("-V")
        .output()
        .context("cannot run nginx -V")?;
    let build = String::from_utf8_lossy(&build.stderr);
    let modules = ["proxy", "fastcgi", "uwsgi", "scgi"];
    let built = modules
        .iter()
        .filter(|name| !build.contains(&format!("--without-http_{name}_module")));
    Ok(["client_body"]
        .iter()
        .chain(built)
        .map(|name| format!("{name}_temp_path {}/{name}; ", scratch.display()))
        .collect())
}

const BANK_LOCATIONS: &str = r#"
        location = /v1/price { return 200 "{\"price\": 42}\n"; }
        location = /v1/payments { return 202 "accepted\n"; }
        location / { return 404 "no such thing\n"; }"#;

/// The application. `/checkout` and `/stock` call the bank themselves, over IPv4 and IPv6.
fn shop_locations(bank: &Addresses, directory: &Workdir) -> Result<String> {
    let files = directory.directory_of("files", 0)?;
    // 4 KiB go out at once, the rest a moment later.
    fs::write(files.join("report"), "slowly\n".repeat(900))
        .context("cannot write the application's files")?;
    let proxied =
        "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host bank.example:9090;";
    Ok(format!(
        r#"
        location = / {{ return 200 "welcome\n"; }}
        location = /catalog {{ gzip on; return 200 "apples pears plums apples pears plums\n"; }}
        location = /orders {{ return 201 "ordered\n"; }}
        location = /login {{ return 302 /; }}
        location = /report {{ root {files}; limit_rate 4k; }}
        location = /broken {{ return 503 "out of order\n"; }}
        location = /checkout {{ {proxied} proxy_pass http://{v4}:{BANK}/v1/payments; }}
        location = /stock {{ {proxied} proxy_pass http://[{v6}]:{BANK}/v1/price; }}
        location / {{ return 404 "no such page\n"; }}"#,
        files = files.display(),
        v4 = bank.v4,
        v6 = bank.v6,
    ))
}
