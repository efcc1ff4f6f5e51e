//! Running `weir demo` so that whatever it leaves behind is found.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};
use tempfile::TempDir;
use weir_lab::binary;

/// A demo whose traces can be told from those of others: its files are in a directory of its own, which all of its
/// programs name in their environment.
pub struct Demo {
    pub temporary: TempDir,
    pub command: Command,
}

impl Demo {
    pub fn new(args: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(binary("weir").unwrap());
        command.arg("demo").args(args).env("TMPDIR", temporary.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { temporary, command }
    }

    /// Runs it to its end, after which there is nothing left of it.
    pub fn run(&mut self) -> Output {
        let child = self.command.spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        self.assert_nothing_is_left(pid);
        output
    }

    /// Starts it and waits for a line that begins so.
    pub fn start_until(&mut self, begin: &str) -> Running {
        let mut child = self.command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.lines().last().is_some_and(|line| line.starts_with(begin)) {
            if stdout.read_line(&mut said).unwrap() == 0 {
                let mut error = String::new();
                child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("the demo ended early: {said}{error}");
            }
        }
        Running { child, stdout }
    }

    pub fn assert_nothing_is_left(&self, pid: u32) {
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "files: {left:?}");
        assert_eq!(processes_of(self.temporary.path()), [], "programs");
        assert_eq!(namespaces_of(pid), Vec::<String>::new(), "namespaces");
    }
}

/// A demo under way.
pub struct Running {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Its exit code and what else it wrote.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        (
            output.status.code(),
            said + &String::from_utf8_lossy(&output.stderr),
        )
    }

    /// Waits for its end alone, since programs of a killed demo may still hold its outputs.
    pub fn child_ended(mut self) {
        self.child.wait().unwrap();
    }

    /// The argument of nsenter that enters the client's namespace.
    pub fn client(&self) -> String {
        let names = namespaces_of(self.pid());
        let name = names.iter().find(|name| name.ends_with("-demo-client")).unwrap();
        format!("--net=/run/netns/{name}")
    }
}

/// The network namespaces that this process has made.
pub fn namespaces_of(pid: u32) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&format!("weir-lab-{pid}-")))
        .collect()
}

/// The processes that have this TMPDIR, with their command lines.
pub fn processes_of(temporary: &Path) -> Vec<(Pid, String)> {
    let mark = format!("TMPDIR={}", temporary.display());
    let text = |path: PathBuf| {
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default())
            .split('\0')
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let process = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let own = text(entry.path().join("environ")).contains(&mark);
        own.then(|| (Pid::from_raw(pid), text(entry.path().join("cmdline")).join(" ")))
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(process)
        .collect()
}

/// A line of the table.
#[derive(Debug)]
pub struct Line {
    pub direction: String,
    pub v6: bool,
    pub method: String,
    pub status: String,
    pub host: String,
    pub target: String,
}

/// The table in what a demo or `weir tail` wrote.
pub fn table(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, _, direction, _, server, method, status, _, _, host, target, ..] = words[..] else {
            panic!("not a line of the table: {line}");
        };
        Line {
            direction: direction.into(),
            v6: server.starts_with('['),
            method: method.into(),
            status: status.into(),
            host: host.into(),
            target: target.into(),
        }
    };
    text.lines()
        .skip_while(|line| !line.starts_with("TIME"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(line)
        .collect()
}

/// A command in a namespace.
pub fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args([namespace, "--", program]);
    command
}

/// curl in a namespace, without the user's settings.
pub fn curl(namespace: &str) -> Command {
    let mut curl = inside(namespace, "curl");
    curl.args(["-q", "--silent", "--noproxy", "*", "--max-time", "20"]);
    curl
}

/// The body of what is answered, if something is.
pub fn get(namespace: &str, (ip, port): (Ipv4Addr, u16), path: &str) -> Option<String> {
    let output = curl(namespace)
        .arg(format!("http://{ip}:{port}{path}"))
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}
