//! The stage: one client, and a pod for each variant, all up for the whole run.

use crate::{
    load::{self, Outcome, Workload},
    proxies::{Proxies, SERVER, Subject, Variant, find},
};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use weir_lab::{Lab, Link, Node, Process};

const READY: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(50);

/// Everything that was set up. Fields are dropped in their order: programs, namespaces, files.
pub struct Stage {
    /// Nothing where the variant's program is not installed.
    pods: Vec<Option<Pod>>,
    _lab: Lab,
    _directory: TempDir,
}

/// The pod of one variant.
pub struct Pod {
    proxy: Option<Process>,
    _server: Process,
    variant: Variant,
    /// The installer of this pod's build.
    installer: PathBuf,
    client: Node,
    pod: Node,
    address: SocketAddr,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What the client saw.
    pub outcome: Outcome,
    /// CPU time of the proxy for each answered request, in µs.
    pub cpu: f64,
    /// The same of the whole machine: client, server, kernel and whatever else runs on it.
    pub machine: f64,
}

impl Stage {
    /// Sets everything up.
    ///
    /// # Errors
    /// wrk or nginx is not installed, Weir is not built, or something does not start.
    pub fn build(subjects: &[Subject], envoy: Option<&Path>, baseline: Option<&Path>) -> Result<Self> {
        for (name, package) in [("wrk", "wrk"), ("nginx", "nginx-light")] {
            find(name).with_context(|| {
                format!("{name} is not installed: apt-get install {package} (`make bench` does that)")
            })?;
        }
        let directory = tempfile::Builder::new()
            .prefix("weir-bench-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("cannot make a temporary directory")?;
        let proxies = Proxies {
            directory: directory.path(),
            envoy,
            baseline,
        };
        let mut lab = Lab::new("bench")?;
        let client = lab.node("client")?;
        let mut pods = Vec::new();
        for (index, subject) in subjects.iter().enumerate() {
            let pod = lab.node(&format!("pod{index}"))?;
            let link = lab.join(&client, &pod)?;
            let pod = start(*subject, &client, &pod, &link, &proxies);
            pods.push(pod.with_context(|| format!("{subject} did not start"))?);
        }
        Ok(Self {
            pods,
            _lab: lab,
            _directory: directory,
        })
    }

    /// The pod of the subject with this number, if its program is installed.
    pub fn pod(&mut self, index: usize) -> Option<&mut Pod> {
        self.pods.get_mut(index)?.as_mut()
    }
}

impl Pod {
    /// Loads the pod and takes the proxy's CPU time.
    pub fn measure(&mut self, workload: Workload, seconds: u32, connections: u32) -> Result<Sample> {
        let (before, machine_before) = (self.cpu()?, machine_cpu()?);
        let outcome = load::run(&self.client, self.address, workload, seconds, connections)?;
        let each = |used: Duration| used.as_secs_f64() * 1e6 / outcome.requests as f64;
        Ok(Sample {
            cpu: each(self.cpu()?.saturating_sub(before)),
            machine: each(machine_cpu()?.saturating_sub(machine_before)),
            outcome,
        })
    }

    fn cpu(&mut self) -> Result<Duration> {
        let Some(proxy) = &mut self.proxy else {
            return Ok(Duration::ZERO);
        };
        if let Some(status) = proxy.try_wait()? {
            bail!("the proxy ended with {status}; it wrote:\n{}", proxy.output());
        }
        Ok(proxy.usage()?.cpu)
    }

    /// Documents that Weir made: written, and dropped because the file was slower than the requests.
    pub fn documents(&self) -> Result<Option<(u64, u64)>> {
        if !self.variant.writes_documents() {
            return Ok(None);
        }
        let admin = SocketAddr::from(([127, 0, 0, 1], weir_config::Relay::default().admin_port));
        let (_, stats) = self.pod.http_get(admin, "/stats")?;
        let stats: Value = serde_json::from_str(&stats).context("/stats is not JSON")?;
        let sink = &stats["sinks"][0];
        let dropped = sink["dropped"].as_object().into_iter().flatten();
        Ok(Some((
            sink["queued"].as_u64().unwrap_or_default(),
            dropped.filter_map(|(_, number)| number.as_u64()).sum(),
        )))
    }

    /// The most memory that the proxy ever had, in bytes.
    pub fn peak_rss(&self) -> Result<Option<u64>> {
        let usage = self.proxy.as_ref().map(Process::usage).transpose()?;
        Ok(usage.map(|usage| usage.peak_rss))
    }
}

/// What all processors have worked since the machine was started: user, nice, system, irq and softirq of the first line
/// of `/proc/stat`, in hundredths of a second.
fn machine_cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let numbers: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let worked = [0, 1, 2, 5, 6].map(|i| numbers.get(i).copied().unwrap_or_default());
    Ok(Duration::from_millis(worked.iter().sum::<u64>() * 10))
}

fn init(installer: &Path, pod: &Node, verb: &str, flags: &[&str]) -> Result<()> {
    let mut command = pod.command(installer);
    command.arg(verb).args(flags);
    pod.run(command)?;
    Ok(())
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Programs of control groups do not go with the namespace.
        if self.variant == Variant::WeirPortMap
            && let Err(error) = init(&self.installer, &self.pod, "remove", &["--force"])
        {
            eprintln!("the port map's programs are left: {error:#}");
        }
    }
}

fn start(
    subject: Subject,
    client: &Node,
    pod: &Node,
    link: &Link,
    proxies: &Proxies<'_>,
) -> Result<Option<Pod>> {
    let proxy = match proxies.command(subject, pod)? {
        Some(None) => return Ok(None),
        Some(Some(command)) => Some(command),
        None => None,
    };
    let variant = subject.variant;
    let installer = proxies.program(subject.build, "weir-init")?;
    let server = start_server(subject, pod, proxies.directory)?;
    let address = SocketAddr::from((link.b.v4, SERVER));
    if let Some(flags) = variant.redirect() {
        init(&installer, pod, "install", flags)?;
    }
    proxies.configure(subject, link.b.v4)?;
    let mut proxy = proxy.map(|command| pod.spawn(command)).transpose()?;
    if let Some(proxy) = &mut proxy
        && variant == Variant::WeirTap
    {
        // Requests are answered without it.
        let health = ([127, 0, 0, 1], weir_config::Relay::default().health_port);
        proxy.wait_http(health, "/healthz/ready", READY)?;
    }
    await_answer(client, address, proxy.as_mut())?;
    Ok(Some(Pod {
        proxy,
        _server: server,
        variant,
        installer,
        client: client.clone(),
        pod: pod.clone(),
        address,
    }))
}

/// Waits for the first request that is answered, the whole way and as the client goes it. The listener is not asked
/// directly: a proxy that dials what it takes for the original destination would dial itself, for ever.
fn await_answer(client: &Node, address: SocketAddr, mut proxy: Option<&mut Process>) -> Result<()> {
    let start = Instant::now();
    loop {
        let error = match client.http_get(address, "/") {
            Ok((200, _)) => return Ok(()),
            Ok((status, _)) => anyhow!("the first request was answered with {status}"),
            Err(error) => error.into(),
        };
        if let Some(proxy) = &mut proxy
            && let Some(status) = proxy.try_wait()?
        {
            bail!("it ended with {status}; it wrote:\n{}", proxy.output());
        }
        if start.elapsed() > READY {
            return Err(error);
        }
        sleep(RETRY);
    }
}

fn start_server(subject: Subject, pod: &Node, directory: &Path) -> Result<Process> {
    let scratch = directory.join(format!("nginx-{:?}-{:?}", subject.variant, subject.build));
    fs::create_dir(&scratch).context("cannot write to the temporary directory")?;
    let (configuration, path) = (scratch.join("nginx.conf"), scratch.display());
    let body = "x".repeat(1024);
    let text = format!(
        "daemon off;
master_process off;
pid {path}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 65536;
events {{ worker_connections 20000; multi_accept on; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {path}/body;
    server {{ listen {SERVER} backlog=65535; location / {{ return 200 \"{body}\"; }} }}
}}
"
    );
    fs::write(&configuration, text).context("cannot write nginx's configuration")?;
    let mut command = pod.command(find("nginx").context("nginx is not installed")?);
    command.arg("-c").arg(&configuration);
    let mut server = pod.spawn(command)?;
    server.wait_ready(([127, 0, 0, 1], SERVER), READY)?;
    Ok(server)
}
