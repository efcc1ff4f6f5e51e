//! The least that the containers of installer and sidecar can do with.

use crate::pod::{Pod, User, Way, is_spare};
use weir_lab::binary;
use weir_tests::weir::Sidecar;

/// CAP_NET_RAW (13) alone, as `/proc/PID/status` has it.
const NET_RAW: &str = "0000000000002000";
const NOTHING: &str = "0000000000000000";

/// What all of this is about: `/proc/sys` can't be written, and Docker's seccomp profile is in force.
pub fn containers_are_confined_as_by_default() {
    let pod = Pod::new(Way::AutoWithSysAdmin);
    let mut command = pod.beside(pod.way.capabilities());
    command.args(["cat", "/proc/self/mounts", "/proc/self/status"]);
    let said = pod.app.node.run(command).unwrap();
    assert!(said.contains("proc /proc/sys proc ro,"), "{said}");
    assert!(said.contains("Seccomp:\t2\n"), "{said}");
    let capabilities = said.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = u64::from_str_radix(capabilities.unwrap().trim(), 16).unwrap();
    let [net_admin, sys_admin, bpf, perfmon] = [12, 21, 39, 38].map(|bit| capabilities >> bit & 1);
    assert_eq!([net_admin, sys_admin, bpf, perfmon], [1, 1, 0, 0]);
}

/// As an init container is commonly given it.
pub fn auto_works_where_all_capabilities_but_net_admin_are_dropped() {
    let pod = Pod::new(Way::AutoWithNetAdmin);
    let least = [
        "--cap-drop",
        "ALL",
        "--cap-add",
        "NET_ADMIN",
        "--read-only",
        "--security-opt",
        "no-new-privileges",
    ];
    let (done, said) = pod.try_init(&least, &["install", "--sidecar-net-raw", "--mode", "auto"]);
    assert!(done && said.contains("installed, mode tproxy"), "{said}");
    let (done, said) = pod.try_init(&least, &["check", "--mode", "auto"]);
    assert!(done && said.contains("SETUID"), "{said}");
    pod.check(&[]);
    let with_programs = [&least[..], &["--cap-add", "SYS_ADMIN"]].concat();
    let (done, said) = pod.try_init(
        &with_programs,
        &["install", "--sidecar-net-raw", "--mode", "auto"],
    );
    assert!(done && said.contains("installed, mode ebpf"), "{said}");
    let (done, said) = pod.try_init(&["--user", "1000", "--cap-add", "NET_ADMIN"], &["install"]);
    assert!(!done && said.contains("CAP_NET_ADMIN is missing"), "{said}");
}

pub fn sidecar_works_with_the_least_privileges() {
    let mut pod = Pod::new(Way::AutoWithNetAdmin);
    pod.install(&[]);
    let plain = binary("weir-sidecar").unwrap();
    let capable = pod.capable();
    let only_net_raw = ["--cap-drop", "ALL", "--cap-add", "NET_RAW", "--read-only"];
    let unprivileged = ["--security-opt", "no-new-privileges"];
    for (user, options, program) in [
        ("1337:1337", &only_net_raw[..], &capable),
        ("0:1337", &[&only_net_raw[..], &unprivileged].concat(), &plain),
    ] {
        start(&mut pod, user, options, program);
        assert_eq!(pod.sidecar_status("CapEff"), NET_RAW);
        assert_eq!(pod.sidecar_status("CapPrm"), NET_RAW);
        assert_kept(&pod);
        pod.sidecar = None;
    }
    let (done, said) = pod.try_init(pod.way.capabilities(), &["install", "--mode", "redirect"]);
    assert!(done, "{said}");
    let nothing = [&["--cap-drop", "ALL", "--read-only"][..], &unprivileged].concat();
    for program in [&plain, &capable] {
        start(&mut pod, "1337:1337", &nothing, program);
        assert_eq!(pod.sidecar_status("CapPrm"), NOTHING);
        for (_, app) in pod.pairs() {
            assert!(is_spare(pod.client_asks(app)));
        }
        pod.sidecar = None;
    }
}

fn start(pod: &mut Pod, user: &str, options: &[&str], program: &std::path::Path) {
    let mut command = pod.sidecar_command(&[&["--user", user], options].concat());
    command.arg(program);
    pod.sidecar = Some(Sidecar::start_by(&pod.app.node, command, &[]).unwrap());
}

fn assert_kept(pod: &Pod) {
    for (client, app) in pod.pairs() {
        assert_eq!(pod.client_asks(app), client);
        assert_eq!(pod.app_asks(client), app);
    }
}

/// What carries connections on that go through programs is programs, too.
pub fn without_the_right_to_load_programs_their_removal_says_what_to_do() {
    let mut pod = Pod::new(Way::AutoWithSysAdmin);
    let before = pod.state();
    pod.install(&[]);
    pod.start_sidecar(User::Own, &[]);
    let lesser = ["--cap-add", "NET_ADMIN"];
    for arguments in [&["remove"][..], &["install", "--mode", "redirect"]] {
        let (done, said) = pod.try_init(&lesser, arguments);
        assert!(!done && said.contains("--force"), "{said}");
        pod.check(&[]);
        assert_kept(&pod);
    }
    let (done, said) = pod.try_init(&lesser, &["install", "--mode", "auto"]);
    assert!(done && said.contains("ebpf: works"), "{said}");
    let (done, said) = pod.try_init(&lesser, &["remove", "--force"]);
    assert!(done, "{said}");
    assert_eq!(pod.state(), before);
}
