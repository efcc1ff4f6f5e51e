//! Every failure has its own words, and leaves nothing half applied.

use crate::support::{ALL, Pod, Variant, assert_same, replace};
use std::{fs, path::Path};
use weir_lab::skip_unless_root;

#[test]
fn wrong_settings_are_refused_by_name() {
    if skip_unless_root("wrong_settings_are_refused_by_name") {
        return;
    }
    let pod = Pod::new("wrong", Variant::Nft);
    let before = pod.state();
    let cases: [(&str, &[&str]); 9] = [
        (
            "--include-outbound-cidrs 10.0.0.0/33",
            &["10.0.0.0/33", "not a network"],
        ),
        (
            "--exclude-outbound-cidrs 10.0.0.1/8",
            &["did you mean 10.0.0.0/8"],
        ),
        ("--exclude-inbound-ports 0", &["`0` is not a port", "1 to 65535"]),
        ("--exclude-outbound-ports 70000", &["`70000` is not a port"]),
        (
            "--include-inbound-ports 80,81 --exclude-inbound-ports 81",
            &["port 81", "include"],
        ),
        (
            "--include-outbound-cidrs 10.1.0.0/16 --exclude-outbound-cidrs 10.0.0.0/8",
            &["10.0.0.0/8 covers 10.1.0.0/16"],
        ),
        ("--exclude-interfaces eth0/1", &["eth0/1", "interface"]),
        ("--proxy-uid 0", &["proxy_uid", "root"]),
        ("--inbound-port 15001", &["must differ"]),
    ];
    for (settings, words) in cases {
        pod.weir_init(&format!("install {settings}")).failed_saying(words);
        pod.weir_init(&format!("install --dry-run {settings}"))
            .failed_saying(words);
    }
    assert_same(&pod.state(), &before);
}

#[test]
fn a_missing_privilege_says_how_to_get_it_and_a_dry_run_needs_none() {
    if skip_unless_root("a_missing_privilege_says_how_to_get_it_and_a_dry_run_needs_none") {
        return;
    }
    let pod = Pod::new("privilege", Variant::Nft);
    let before = pod.state();
    // Where user 1337 can read it, whatever the build directory's permissions are.
    let folder = tempfile::TempDir::new_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("weir-init");
    fs::copy(weir_lab::binary("weir-init").unwrap(), &program).unwrap();
    let run = |arguments: &str| -> crate::support::Run {
        let mut command = pod.pod.command("setpriv");
        command
            .args(["--reuid", "1337", "--regid", "1337", "--clear-groups"])
            .arg(&program);
        command.args(arguments.split(' ')).output().unwrap().into()
    };
    for command in ["install", "remove", "check"] {
        run(command).failed_saying(&["CAP_NET_ADMIN", "--cap-add NET_ADMIN", "root"]);
    }
    let shown = run("install --dry-run").succeeded().stdout;
    assert!(shown.contains("-j WEIR_OUTPUT\n"), "{shown}");
    assert_same(&pod.state(), &before);
}

#[test]
fn missing_programs_are_named_with_their_package() {
    if skip_unless_root("missing_programs_are_named_with_their_package") {
        return;
    }
    let pod = Pod::new("programs", Variant::Nft);
    let before = pod.state();
    pod.weir_init_with("/nonexistent", "install")
        .failed_saying(&["iptables-nft-restore", "package `iptables`"]);
    fs::remove_file(pod.path.path().join("ip6tables-nft-restore")).unwrap();
    pod.weir_init("install")
        .failed_saying(&["ip6tables-nft-restore", "IPv6", "nothing was done"]);
    assert_same(&pod.state(), &before);
}

#[test]
fn a_kernel_without_what_the_rules_need_is_told_with_the_rule() {
    if skip_unless_root("a_kernel_without_what_the_rules_need_is_told_with_the_rule") {
        return;
    }
    let pod = Pod::new("kernel", Variant::Nft);
    let before = pod.state();
    replace(
        &pod,
        "iptables-nft-restore",
        "[ \"$1\" = --version ] && exec REAL --version\ncat >/dev/null\necho 'line 4: RULE_APPEND failed (No such file or directory): rule in chain WEIR_TRIAL_OUTPUT' >&2\nexit 4\n",
    );
    pod.weir_init("install").failed_saying(&[
        "iptables-nft",
        "RULE_APPEND failed",
        "-j WEIR_TRIAL_OUTPUT",
        "IPv4 table mangle",
        "nft_compat, xt_conntrack",
        "tried",
    ]);
    assert_same(&pod.state(), &before);
}

/// Fails on the real rules, after the trial has passed.
const FAILS_ON_REAL_RULES: &str = "\
[ \"$1\" = --version ] && exec REAL --version
input=$(cat)
case \"$input\" in *:WEIR_OUTPUT*) echo 'ip6tables-restore: line 3 failed' >&2; exit 1;; esac
printf '%s\\n' \"$input\" | exec REAL \"$@\"
";

#[test]
fn a_failure_of_the_second_family_takes_the_first_back() {
    if skip_unless_root("a_failure_of_the_second_family_takes_the_first_back") {
        return;
    }
    for (variant, mode) in ALL {
        let pod = Pod::with("second", (variant, mode));
        let program = format!("ip6tables{}-restore", variant.suffix());
        let empty = pod.state();
        replace(&pod, &program, FAILS_ON_REAL_RULES);
        pod.weir_init("install --dns")
            .failed_saying(&[&program, "line 3 failed"]);
        assert_same(&pod.state(), &empty); // nothing was there before

        restore_program(&pod, &program);
        pod.weir_init("install").succeeded();
        let installed = pod.state();
        replace(&pod, &program, FAILS_ON_REAL_RULES);
        pod.weir_init("install --dns --exclude-outbound-ports 24")
            .failed_saying(&["line 3 failed"]);
        assert_same(&pod.state(), &installed); // what was in force still is
        let other = if mode == "tproxy" { "redirect" } else { "tproxy" };
        pod.weir_init(&format!("install --mode {other}"))
            .failed_saying(&["line 3 failed"]);
        // Chains that were taken out and put back are listed last.
        let sorted = |state: &str| {
            let mut lines: Vec<_> = state.lines().map(String::from).collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        assert_same(&sorted(&pod.state()), &sorted(&installed));
        restore_program(&pod, &program);
        let again = pod.weir_init("install").succeeded();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        replace(&pod, &program, FAILS_ON_REAL_RULES);

        restore_program(&pod, &program);
        pod.weir_init("remove").succeeded();
        assert_same(&pod.state(), &empty);
    }
}

fn restore_program(pod: &Pod, program: &str) {
    let own = pod.path.path().join(program);
    fs::remove_file(&own).unwrap();
    std::os::unix::fs::symlink(Path::new("/usr/sbin").join(program), own).unwrap();
}

#[test]
fn a_loopback_interface_that_is_down_is_named() {
    if skip_unless_root("a_loopback_interface_that_is_down_is_named") {
        return;
    }
    let pod = Pod::new("lo-down", Variant::Nft);
    pod.sh("ip link set lo down");
    let before = pod.state();
    pod.weir_init("install")
        .failed_saying(&["loopback interface is down", "ip link set lo up"]);
    assert_same(&pod.state(), &before);
}

#[test]
fn rules_that_iptables_cannot_read_hide_nothing() {
    if skip_unless_root("rules_that_iptables_cannot_read_hide_nothing") {
        return;
    }
    let native = "nft add table ip nat; nft add chain ip nat OUTPUT '{ type nat hook output priority -100; }'; \
        nft add rule ip nat OUTPUT meta mark set numgen random mod 2";
    let pod = Pod::new("native", Variant::Nft);
    let empty = pod.state();
    pod.weir_init("install").succeeded();
    pod.sh(native);
    for command in ["install --dns", "remove", "check"] {
        pod.weir_init(command)
            .failed_saying(&["cannot read table nat", "nft list ruleset"]);
    }
    pod.sh("nft -a list chain ip nat OUTPUT | sed -n 's/.*numgen.*# handle //p' | xargs nft delete rule ip nat OUTPUT handle");
    pod.weir_init("remove").succeeded();
    assert_same(&pod.state(), &empty);

    // Where nothing of ours is in such a table, it is only nft that can't be used.
    pod.sh(native);
    pod.weir_init("remove").succeeded();
    pod.weir_init("install").failed_saying(&["iptables-nft", "tried"]);
    let every = std::env::var("PATH").unwrap();
    let run = pod.weir_init_with(&every, "install").succeeded();
    assert!(run.stderr.contains("using iptables-legacy"), "{}", run.stderr);
}

/// `weir-init` in the pod without some capabilities, with every variant of iptables.
fn without(pod: &Pod, capabilities: &str, arguments: &str) -> crate::support::Run {
    let mut command = pod.pod.command("setpriv");
    command.args(["--bounding-set", capabilities, "--inh-caps", "-all"]);
    command.arg(weir_lab::binary("weir-init").unwrap());
    command.args(arguments.split(' ')).output().unwrap().into()
}

#[test]
fn the_hosts_own_namespace_is_refused_unless_it_is_meant() {
    let for_the_machine = Path::new("/proc/sys/net/core/netdev_max_backlog");
    if skip_unless_root("the_hosts_own_namespace_is_refused_unless_it_is_meant") || !for_the_machine.exists()
    {
        println!("skipped: this is not the host's own namespace");
        return;
    }
    // Without the privilege to change anything, in case it is not refused.
    let run = |arguments: &[&str]| -> crate::support::Run {
        let mut command = std::process::Command::new("setpriv");
        command.args([
            "--bounding-set",
            "-net_admin,-sys_admin,-bpf,-net_raw",
            "--inh-caps",
            "-all",
        ]);
        command.arg(weir_lab::binary("weir-init").unwrap()).arg("install");
        command.args(arguments).output().unwrap().into()
    };
    for mode in ["redirect", "tproxy", "ebpf", "auto"] {
        run(&["--mode", mode]).failed_saying(&["host's own network namespace", "--host-network"]);
    }
    run(&["--mode", "redirect", "--host-network"]).failed_saying(&["CAP_NET_ADMIN"]);
    run(&["--port-map", "8000:9000"]).failed_saying(&["CAP_NET_ADMIN"]);
    let degraded = run(&["--mode", "redirect", "--on-failure", "degrade"]).succeeded();
    assert!(degraded.stderr.contains("--host-network"), "{}", degraded.stderr);
}

#[test]
fn a_failure_never_holds_the_application_up_where_that_is_asked_for() {
    if skip_unless_root("a_failure_never_holds_the_application_up_where_that_is_asked_for") {
        return;
    }
    let pod = Pod::new("degrade", Variant::Nft);
    let before = pod.state();
    for (capabilities, arguments, word) in [
        ("-net_admin,-sys_admin,-bpf", "--mode redirect", "CAP_NET_ADMIN"),
        ("-sys_admin,-bpf", "--mode ebpf", "CAP_BPF"),
    ] {
        let arguments = format!("install {arguments}");
        without(&pod, capabilities, &arguments).failed_saying(&[word]);
        let run = without(&pod, capabilities, &format!("{arguments} --on-failure degrade")).succeeded();
        let said: Vec<_> = run
            .stderr
            .lines()
            .filter(|line| line.contains("degraded:"))
            .collect();
        assert!(said.len() == 1 && said[0].contains(word), "{}", run.stderr);
        assert_same(&pod.state(), &before);
    }
    // A wrong configuration is no failure of Weir's.
    without(&pod, "-net_raw", "install --proxy-uid 0 --on-failure degrade").failed_saying(&["proxy_uid"]);
}

#[test]
fn legacy_tables_of_others_are_no_hindrance_without_net_raw() {
    if skip_unless_root("legacy_tables_of_others_are_no_hindrance_without_net_raw") {
        return;
    }
    let pod = Pod::new("legacy-seen", Variant::Legacy);
    let before = pod.state();
    for mode in ["redirect", "tproxy", "ebpf", "auto"] {
        without(&pod, "-net_raw", &format!("install --mode {mode}")).succeeded();
        without(&pod, "-net_raw", "check").succeeded();
        without(&pod, "-net_raw", "remove").succeeded();
        assert_same(&pod.state(), &before);
    }
    // Where rules of ours are in them, that is what is said.
    pod.weir_init("install").succeeded();
    for command in ["remove", "install --mode ebpf"] {
        without(&pod, "-net_raw", command).failed_saying(&["tables-legacy-save", "CAP_NET_RAW"]);
    }
    pod.weir_init("check").succeeded();
    pod.weir_init("remove").succeeded();
    assert_same(&pod.state(), &before);
}

#[test]
fn a_program_without_privilege_can_not_hold_the_installers_lock() {
    if skip_unless_root("a_program_without_privilege_can_not_hold_the_installers_lock") {
        return;
    }
    let pod = Pod::new("lock", Variant::Nft);
    let mut command = pod.pod.command("python3");
    command.arg("-c");
    command.arg(
        "import os, socket\n\
         os.setgid(65534); os.setuid(65534)\n\
         held = [socket.socket(socket.AF_UNIX) for _ in range(3)]\n\
         for one, name in zip(held, ('', '-0', '-1')): one.bind('\\0weir-init' + name)\n\
         held[0].listen(1); held[1].listen(0)\n\
         full = socket.socket(socket.AF_UNIX); full.connect('\\0weir-init-0')\n\
         print('held', flush=True)\n\
         import sys; sys.stdin.read()",
    );
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    let run = pod.weir_init("install").succeeded();
    assert!(!run.stderr.contains("waiting"), "{}", run.stderr);
    pod.weir_init("remove").succeeded();
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
