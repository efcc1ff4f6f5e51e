//! Every command of README.md, run. A command that nothing here runs, or a code block of a kind that is not known here,
//! is a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure here is a failed test"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use weir_lab::{Lab, Node, Process, binary, skip_unless_root};

const LIMIT: Duration = Duration::from_secs(30);
/// Where the README keeps the store; the test gives it another place.
const DIRECTORY: &str = "/var/lib/weir";
const APPLICATION: u16 = 8000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The commands of each `sh` block, without their comments. Any other block must be marked as text.
fn blocks(text: &str) -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            let unfenced = line.starts_with("    ") || line.contains("~~~");
            assert!(!unfenced, "a block without a fence: {line}");
            continue;
        };
        let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let commands: Vec<_> = block.map(command).filter(|line| !line.is_empty()).collect();
        match language {
            "sh" => blocks.push(commands),
            "text" => {}
            other => panic!("a block of `{other}`: commands are `sh`, everything else is `text`"),
        }
    }
    blocks
}

/// The line without its comment.
fn command(line: &str) -> String {
    let end = match line.starts_with('#') {
        true => 0,
        false => line.find(" #").unwrap_or(line.len()),
    };
    line[..end].trim().into()
}

/// A pod with the block's programs in it, and a client outside.
struct Stage {
    running: Vec<Process>,
    client: Node,
    pod: Node,
    address: SocketAddr,
    _lab: Lab,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let mut lab = Lab::new("readme").unwrap();
        let (client, pod) = (lab.node("client").unwrap(), lab.node("pod").unwrap());
        let link = lab.join(&client, &pod).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(directory.path(), Some(1337), Some(1337)).unwrap();
        let listener = pod
            .enter(|| TcpListener::bind(("0.0.0.0", APPLICATION)))
            .unwrap()
            .unwrap();
        thread::spawn(move || serve(&listener));
        Self {
            running: Vec::new(),
            client,
            pod,
            address: (link.b.v4, APPLICATION).into(),
            _lab: lab,
            directory,
        }
    }

    fn run(&mut self, line: &str) {
        let place = self.directory.path().display().to_string();
        let words: Vec<_> = line
            .split_whitespace()
            .map(|word| word.replace(DIRECTORY, &place))
            .collect();
        let mut program = match words[0].starts_with("weir") {
            true => self.pod.command(binary(&words[0]).unwrap()),
            false => unknown(line),
        };
        program.args(&words[1..]).env_remove("WEIR_STORE");
        match words[0].as_str() {
            "weir-init" => {
                self.pod
                    .run(program)
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
            }
            "weir-sidecar" => {
                let mut sidecar = self.pod.spawn(program).unwrap();
                let health = ([127, 0, 0, 1], 15021);
                sidecar.wait_http(health, "/healthz/ready", LIMIT).unwrap();
                self.running.push(sidecar);
            }
            "weir" if words[1] == "decode" => {
                program.current_dir(root());
                let said = self
                    .pod
                    .run(program)
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
                assert!(said.contains("/orders"), "{line}: {said}");
            }
            "weir" if words[1] == "doctor" => {
                let said = self
                    .pod
                    .run(program)
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
                assert!(said.contains("nothing was lost"), "{line}: {said}");
            }
            "weir" if words[1] == "top" && line.contains("--once") => {
                let said = self
                    .pod
                    .run(program)
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
                let counted = if words[2] == "sources" {
                    " packets in "
                } else {
                    " requests in "
                };
                assert!(said.contains(counted), "{line}: {said}");
            }
            "weir" if ["tail", "tap", "top"].contains(&&*words[1]) => {
                let tail = self.pod.spawn(program).unwrap();
                match &*words[1] {
                    "tap" => await_text(&tail, "looking"),
                    "top" => await_text(&tail, " requests in "),
                    _ => {}
                }
                assert_eq!(self.client.http_get(self.address, "/readme").unwrap().0, 200);
                await_text(&tail, "/readme");
                self.running.push(tail);
            }
            _ => unknown(line),
        }
    }

    /// What was started ends well.
    fn finish(mut self) {
        for mut process in self.running.drain(..).rev() {
            let status = process.terminate(LIMIT).unwrap();
            assert!(status.success(), "{status}: {}", process.output());
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Programs of control groups do not go with the namespace.
        let mut remove = self.pod.command(binary("weir-init").unwrap());
        remove.args(["remove", "--force"]);
        if let Err(error) = self.pod.run(remove) {
            eprintln!("a port map's programs may be left: {error}");
        }
    }
}

fn unknown(line: &str) -> ! {
    panic!("README.md has a command that no test runs: {line}")
}

/// An application that answers every request with 200.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            line.clear();
        }
        let _ = reader
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

fn await_text(process: &Process, text: &str) {
    let start = Instant::now();
    while !process.output().contains(text) {
        assert!(start.elapsed() < LIMIT, "no {text} came: {}", process.output());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs make, or asks it what it would run.
fn make(target: &str, dry: bool) -> String {
    let mut make = Command::new("make");
    make.current_dir(root()).arg(target).stdin(Stdio::null());
    if dry {
        make.arg("--dry-run");
    }
    // The make that runs this test is none of that one's business.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "WEIR_BIN_DIR"] {
        make.env_remove(name);
    }
    // Nor is what cargo tells a test of its own package: build scripts look at it, and would all run again.
    let told = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "LD_LIBRARY_PATH"]
            .iter()
            .any(|begin| name.starts_with(begin))
    };
    for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
        make.env_remove(name);
    }
    let output = make.output().unwrap();
    assert!(output.status.success(), "make {target}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_of_the_readme_works() {
    if skip_unless_root("every_command_of_the_readme_works") {
        return;
    }
    let blocks = blocks(&readme());
    assert!(blocks.len() >= 2, "the README's commands were not found");
    for block in blocks {
        let mut stage = None;
        for line in &block {
            match line.as_str() {
                "make demo" => {
                    let said = make("demo", false);
                    assert!(said.contains("as Weir saw them"), "{said}");
                }
                // It is what runs this test: here only that it is there.
                "make test" => assert!(make("test", true).contains("scripts/test")),
                // A suite of its own beside that one.
                "make test-kernels" => {
                    assert!(make("test-kernels", true).contains("scripts/test-kernels"));
                }
                _ => stage.get_or_insert_with(Stage::new).run(line),
            }
        }
        if let Some(stage) = stage {
            stage.finish();
        }
    }
}

#[test]
fn commands_stand_in_blocks_and_not_in_sentences() {
    let text = readme();
    let known: Vec<String> = blocks(&text).concat();
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if !fenced && !fence {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    let spans = prose.split('`').skip(1).step_by(2);
    for span in spans.filter(|span| span.contains(' ')) {
        assert!(
            known.iter().any(|command| command.starts_with(span)),
            "`{span}` looks like a command, and no test runs it: put it into a block"
        );
    }
}

#[test]
fn files_that_the_readme_names_are_there() {
    let text = readme();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(root().join(link).is_file(), "README.md links to {link}");
    }
}
