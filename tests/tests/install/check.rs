//! `weir-init check`: true where the redirect works, and false with the reason where it does not.

use crate::support::{ALL, BOTH, Pod, Run, Server, Variant, assert_same};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr},
};
use weir_lab::{Lab, skip_unless_root};

/// The results as `name family: result`.
fn results(run: &Run) -> Vec<String> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["ok"], Value::Bool(run.ok), "{report}");
    let items = report["items"].as_array().unwrap();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    items
        .iter()
        .map(|item| {
            format!(
                "{} {}: {}",
                text(item, "name"),
                text(item, "family"),
                text(item, "result")
            )
        })
        .collect()
}

fn all(mode: &str, result: &str) -> Vec<String> {
    let families = ["IPv4", "IPv6"];
    let routing: &[&str] = match mode {
        "tproxy" => &["table", "rule", "route"],
        _ => &["route"],
    };
    let mut lines = families
        .map(|family| format!("rules {family}: {result}"))
        .to_vec();
    for family in families {
        lines.extend(routing.iter().map(|name| format!("{name} {family}: {result}")));
    }
    for name in ["outbound", "inbound"] {
        lines.extend(families.map(|family| format!("{name} {family}: {result}")));
    }
    lines
}

#[test]
fn it_answers_itself_where_no_sidecar_runs() {
    if skip_unless_root("it_answers_itself_where_no_sidecar_runs") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("check", setup);
        // Whatever the lists say, the probe gets through.
        for settings in [
            "",
            "--include-inbound-ports '' --include-outbound-cidrs ''",
            "--exclude-interfaces + --dns",
        ] {
            pod.weir_init(&format!("install {settings}")).succeeded();
            let run = pod.weir_init(&format!("check --json {settings}")).succeeded();
            assert_eq!(results(&run), all(setup.1, "ok"));
        }
        let said = pod
            .weir_init("check --exclude-interfaces + --dns")
            .succeeded()
            .stdout;
        assert!(said.contains("weir-init itself"), "{said}");
    }
}

#[test]
fn a_listening_sidecar_is_asked() {
    if skip_unless_root("a_listening_sidecar_is_asked") {
        return;
    }
    let pod = Pod::new("asked", Variant::Nft);
    pod.weir_init("install").succeeded();
    let answer = |right: bool| -> Vec<Server> {
        let mut servers = Vec::new();
        for (ip, outbound, inbound) in [
            ("127.0.0.1", "198.19.255.254:15002", "192.0.0.126:15002"),
            ("::1", "[2001:db8::1337]:15002", "[100::ff]:15002"),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            for (port, name, destination) in [(15001, "outbound", outbound), (15006, "inbound", inbound)] {
                let claimed = if right { name } else { "elsewhere" };
                servers.push(Server::with(
                    &pod.pod,
                    SocketAddr::new(ip, port),
                    move |mut stream| {
                        let mut token = String::new();
                        BufReader::new(&stream).read_line(&mut token).unwrap();
                        let reply = format!("weir {} {claimed} {destination}\n", token.trim());
                        stream.write_all(reply.as_bytes()).unwrap();
                    },
                ));
            }
        }
        servers
    };
    let right = answer(true);
    let said = pod.weir_init("check").succeeded().stdout;
    assert!(
        said.contains("the listener on port 15001") && said.contains("the listener on port 15006"),
        "{said}"
    );
    drop(right);
    let _wrong = answer(false);
    let run = pod.weir_init("check");
    assert!(!run.ok && run.stdout.contains("elsewhere"), "{}", run.stdout);
}

#[test]
fn every_missing_piece_is_named() {
    if skip_unless_root("every_missing_piece_is_named") {
        return;
    }
    for variant in BOTH {
        let pod = Pod::new("missing", variant);
        let run = pod.weir_init("check");
        assert!(
            !run.ok && run.stdout.contains("none of Weir's rules are in force"),
            "{}",
            run.stdout
        );

        pod.weir_init("install").succeeded();
        let run = pod.weir_init("check --exclude-inbound-ports 22");
        assert!(
            !run.ok && run.stdout.contains("--dport 22 -j RETURN"),
            "another configuration: {}",
            run.stdout
        );

        let tool = format!("ip6tables{}", variant.suffix());
        pod.sh(&format!(
            "{tool} -t nat -F WEIR_SELF; ip -6 route del local 100::/120 dev lo table local"
        ));
        let run = pod.weir_init("check --json");
        let failed: Vec<String> = results(&run)
            .into_iter()
            .filter(|line| line.ends_with("failed"))
            .collect();
        assert_eq!(
            failed,
            ["rules IPv6: failed", "route IPv6: failed", "inbound IPv6: failed"]
        );

        pod.weir_init("install").succeeded();
        pod.sh(&format!(
            "{tool} -t nat -D PREROUTING -p tcp --syn -j WEIR_INBOUND"
        ));
        let run = pod.weir_init("check --json");
        let failed: Vec<String> = results(&run)
            .into_iter()
            .filter(|line| line.ends_with("failed"))
            .collect();
        assert_eq!(
            failed,
            ["rules IPv6: failed"],
            "what no probe from inside can see"
        );
    }
}

#[test]
fn a_family_without_a_route_is_not_probed_and_no_failure() {
    if skip_unless_root("a_family_without_a_route_is_not_probed_and_no_failure") {
        return;
    }
    let mut lab = Lab::new("no-route").unwrap();
    let node = lab.node("pod").unwrap();
    let run = |arguments: &[&str]| -> Run {
        let mut command = node.command(weir_lab::binary("weir-init").unwrap());
        command.args(arguments).output().unwrap().into()
    };
    run(&["install"]).succeeded();
    let checked = run(&["check", "--json"]).succeeded();
    let unprobed: Vec<String> = results(&checked)
        .into_iter()
        .filter(|line| line.ends_with("not probed"))
        .collect();
    assert_eq!(
        unprobed,
        ["outbound IPv4: not probed", "outbound IPv6: not probed"]
    );
    assert!(checked.stdout.contains("no route"), "{}", checked.stdout);
}

#[test]
fn without_settings_what_is_in_force_is_proved_as_it_describes_itself() {
    if skip_unless_root("without_settings_what_is_in_force_is_proved_as_it_describes_itself") {
        return;
    }
    for setup in [
        (Variant::Nft, "redirect"),
        (Variant::Legacy, "redirect"),
        (Variant::Nft, "tproxy"),
        (Variant::Nft, "ebpf"),
    ] {
        let pod = Pod::with("described", setup);
        let empty = pod.state();
        let settings = "--dns --dns-servers 198.18.0.9,fd00::9 --exclude-inbound-ports 22,9000 --inbound-port 15106 \
            --exclude-outbound-cidrs 10.0.0.0/8,fd00:1::/32 --exclude-interfaces docker+,eth7 --mark 4242";
        pod.weir_init(&format!("install {settings}")).succeeded();
        // Without a word about the mode either.
        let check = |arguments: &str| -> crate::support::Run {
            let mut command = pod.pod.command(weir_lab::binary("weir-init").unwrap());
            command.arg("check").args(arguments.split_whitespace());
            command.output().unwrap().into()
        };
        let said = check("").succeeded().stdout;
        assert!(!said.contains("failed"), "{said}");
        // What is given is compared.
        assert!(!check("--dns").ok);
        check(settings).succeeded();
        let again = pod.weir_init(&format!("install {settings}")).succeeded();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        pod.weir_init("remove").succeeded();
        assert_same(&pod.state(), &empty);
    }
}

#[test]
fn an_installation_needs_little_memory_in_every_mode() {
    if skip_unless_root("an_installation_needs_little_memory_in_every_mode") {
        return;
    }
    // A build with debug information has more pages of code.
    let program = weir_lab::binary("weir-init").unwrap();
    let most = if program.components().any(|part| part.as_os_str() == "debug") {
        20
    } else {
        16
    };
    for mode in ["redirect", "tproxy", "ebpf", "auto"] {
        let pod = Pod::new("memory", Variant::Nft);
        let mut command = pod.pod.command(weir_lab::binary("weir-init").unwrap());
        command.args(["install", "--mode", mode]).env("WEIR_LOG", "debug");
        let run: crate::support::Run = command.output().unwrap().into();
        let peak = run
            .stderr
            .split("peak memory: ")
            .nth(1)
            .unwrap_or_else(|| panic!("{}", run.stderr));
        let peak: u64 = peak.split(' ').next().unwrap().parse().unwrap();
        println!("{mode}: {peak} kB");
        assert!(peak <= most << 10, "{mode}: {peak} kB");
    }
}
