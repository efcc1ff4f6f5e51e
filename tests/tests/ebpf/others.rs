//! Beside other people's programs: what can't be seen is said.

use super::*;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Loads a program of two or more instructions and attaches it: `tcx INTERFACE` and `filter INTERFACE` one that ends every
/// packet's way at the interface's ingress (TCX_PASS, TC_ACT_OK), `connect4 GROUP FROM TO` one that has a connect(2) to one address go to another.
const ATTACH: &str = r#"
import ctypes, os, platform, socket, struct, sys
bpf = lambda cmd, attr: ctypes.CDLL(None, use_errno=True).syscall(
    {"x86_64": 321, "aarch64": 280}[platform.machine()], cmd, ctypes.create_string_buffer(attr), len(attr))
i = lambda code, dst=0, src=0, off=0, imm=0: struct.pack("=BBhi", code, dst | src << 4, off, imm)
number = lambda ip: struct.unpack("=i", socket.inet_aton(ip))[0]
def load(kind, expected, code):
    code, gpl = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("=IIQQIIQII16sII", kind, (len(code) - 1) // 8, ctypes.addressof(code), ctypes.addressof(gpl),
                       0, 0, 0, 0, 0, b"foreign", 0, expected)
    fd = bpf(5, attr)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd
if sys.argv[1] == "filter":
    attribute = lambda kind, value: struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    word = lambda n: struct.pack("=I", n)
    options = attribute(6, word(load(3, 0, i(0xb7) + i(0x95)))) + attribute(7, b"foreign\0") + attribute(8, word(1))
    body = struct.pack("=BBHiIII", 0, 0, 0, socket.if_nametoindex(sys.argv[2]), 0, 0xfffffff2, 1 << 16 | socket.htons(3))
    body += attribute(1, b"bpf\0") + attribute(2, options)
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.send(struct.pack("=IHHII", 16 + len(body), 44, 0x605, 1, 0) + body)
    error = struct.unpack("=i", s.recv(4096)[16:20])[0]
    assert error == 0, os.strerror(-error)
    sys.exit(0)
if sys.argv[1] == "tcx":
    fd = load(3, 0, i(0xb7) + i(0x95))
    target, where = socket.if_nametoindex(sys.argv[2]), 46
else:
    meant, real = sys.argv[3:5]
    # if ctx->user_ip4 == meant: ctx->user_ip4 = real; return 1
    fd = load(18, 10, i(0x61, 2, 1, 4) + i(0xb7, 3, imm=number(meant)) + i(0x67, 3, imm=32) + i(0x77, 3, imm=32) +
              i(0x5d, 2, 3, 2) + i(0xb7, 3, imm=number(real)) + i(0x63, 1, 3, 4) + i(0xb7, 0, imm=1) + i(0x95))
    target, where = os.open(sys.argv[2], os.O_RDONLY), 10
result = bpf(8, struct.pack("=IIIIII", target, fd, where, 0, 0, 0))
if result and ctypes.get_errno() == 22:
    print("unknown here"); sys.exit(0)
assert result == 0, os.strerror(ctypes.get_errno())
"#;

fn attach(node: &Node, arguments: &[&str]) -> String {
    let mut command = node.command("python3");
    command.args(["-c", ATTACH]).args(arguments);
    node.run(command).unwrap()
}

/// One item of a check: how it came out, and why.
fn item(report: &Value, name: &str) -> Option<(String, String)> {
    let items = report["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["name"] == name)?;
    let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
    Some((text("result"), text("detail")))
}

fn check(node: &Node, before: &str, flags: &str) -> Value {
    let mut command = node.command("sh");
    let program = binary("weir-init").unwrap();
    command.args([
        "-c",
        &format!("{before}exec {} check --json {flags}", program.display()),
    ]);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn what_comes_before_the_programs_is_named() {
    on_stage("others", Family::V4, |stage| {
        install(&stage.pod, &["--mode", "ebpf"]).unwrap();
        assert_eq!(item(&check(&stage.pod, "", "--mode ebpf"), "others"), None);
        attach(&stage.pod, &["filter", "eth0"]);
        let (verdict, detail) = item(&check(&stage.pod, "", "--mode ebpf"), "others").unwrap();
        assert_eq!(verdict, "not probed");
        assert!(
            detail.contains("eth0 ingress: filter pref 1 bpf foreign"),
            "{detail}"
        );
        if !attach(&stage.pod, &["tcx", "eth0"]).contains("unknown here") {
            let (_, detail) = item(&check(&stage.pod, "", "--mode ebpf"), "others").unwrap();
            assert!(detail.contains("eth0 ingress: tcx program foreign"), "{detail}");
        }
        let said = install_without(&stage.pod, "+all", "ebpf");
        assert!(said.contains("nothing to do"), "{said}");
        stage
            .pod
            .run({
                let mut command = stage.pod.command(binary("weir-init").unwrap());
                command.args(["remove", "--force"]);
                command
            })
            .unwrap();
        let said = install_without(&stage.pod, "+all", "ebpf");
        assert!(
            said.contains("eth0 ingress: filter pref 1 bpf foreign comes before"),
            "{said}"
        );
    });
}

/// A control group that goes when this is dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let place = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(place))
        });
        let name = format!("weir-others-{}", std::process::id());
        let path = root.expect("control groups of version 2").join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_resolver_whose_address_is_rewritten_before_the_rules_is_named() {
    on_stage("resolvers", Family::V4, |stage| {
        let (service, real) = ("198.18.255.53", stage.link.a.at(53)[0].ip().to_string());
        stage.pod.ip(&format!("route add {service} dev eth0")).unwrap();
        let flags = format!("--dns --dns-servers {service} --mode ");
        let group = Group::new();
        let inside = format!("echo $$ >{}/cgroup.procs; ", group.0.display());
        for mode in ["redirect", "ebpf"] {
            let wanted = ["--dns", "--dns-servers", service, "--mode", mode];
            install(&stage.pod, &wanted).unwrap();
            let flags = format!("{flags}{mode}");
            assert_eq!(
                item(&check(&stage.pod, &inside, &flags), "resolvers"),
                None,
                "{mode}"
            );
        }
        attach(
            &stage.pod,
            &["connect4", group.0.to_str().unwrap(), service, &real],
        );
        // Any query to port 53 is taken there.
        let report = check(&stage.pod, &inside, &format!("{flags}ebpf"));
        assert_eq!(item(&report, "resolvers"), None);
        install(
            &stage.pod,
            &["--dns", "--dns-servers", service, "--mode", "redirect"],
        )
        .unwrap();
        let report = check(&stage.pod, &inside, &format!("{flags}redirect"));
        let (verdict, detail) = item(&report, "resolvers").unwrap();
        assert_eq!((verdict.as_str(), &report["ok"]), ("failed", &Value::Bool(false)));
        assert!(
            detail.contains(&format!("{service}:53 is made {real}:53")),
            "{detail}"
        );
    });
}
