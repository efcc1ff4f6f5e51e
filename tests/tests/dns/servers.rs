//! Which server is asked, and which are left alone.

use crate::{
    MODES,
    stage::{Server, Stage, ask, in_every_mode, query},
};
use std::fs;
use tempfile::TempDir;
use weir_lab::{binary, skip_unless_root};
use weir_tests::weir::{Sidecar, init, install};

#[test]
fn each_resolver_answers_for_itself() {
    in_every_mode("each_resolver_answers_for_itself", |stage| {
        let mut asked = 0;
        for _ in 0..3 {
            for (servers, text) in [(stage.first(), "first"), (stage.second(), "second")] {
                for server in servers {
                    for flag in ["+notcp", "+tcp"] {
                        let said = stage.dig(server, &format!("who.weir.test TXT +short {flag}"));
                        assert_eq!(said.trim(), format!("\"{text}\""), "{server} {flag}");
                        asked += 1;
                        let documents = stage.documents(asked);
                        assert_eq!(documents[asked - 1]["destination"]["ip"], server.to_string());
                        let data = &documents[asked - 1]["dns"]["answers"][0]["data"];
                        assert_eq!(data, &format!("\"{text}\""));
                    }
                }
            }
        }
    });
}

/// The two queries have the same addresses and ports.
#[test]
fn a_port_that_an_application_has_asked_from_is_the_sidecars_to_ask_from() {
    in_every_mode(
        "a_port_that_an_application_has_asked_from_is_the_sidecars_to_ask_from",
        |stage| {
            for (server, any) in stage.first().into_iter().zip(["0.0.0.0", "::"]) {
                let before = stage.queries();
                for (user, redirected) in [("0", 1), ("1337", 1), ("0", 2), ("1337", 2)] {
                    let mut command = stage.pod.command("setpriv");
                    command.args(["--reuid", user, "--regid", user, "--clear-groups", "dig"]);
                    let query =
                        format!("-b {any}#20053 @{server} +short +tries=1 +time=30 who.weir.test TXT");
                    command.args(query.split_whitespace());
                    assert_eq!(stage.pod.run(command).unwrap().trim(), "\"first\"");
                    assert_eq!(stage.queries() - before, redirected, "user {user}, {server}");
                }
            }
        },
    );
}

#[test]
fn a_server_that_is_no_resolver_of_the_pods_is_asked_directly() {
    // (Without NAT every datagram tells whom it was sent to, and none need be left alone.)
    if skip_unless_root("a_server_that_is_no_resolver_of_the_pods_is_asked_directly") {
        return;
    }
    let nat = MODES.iter().filter(|mode| **mode != "ebpf");
    for mode in nat {
        let mut stage = Stage::new(mode);
        stage.install();
        stage.start_sidecar(&[]);
        for server in stage.other() {
            assert_eq!(
                stage.dig(server, "who.weir.test TXT +short +notcp").trim(),
                "\"other\""
            );
        }
        assert_eq!(stage.queries(), 0);
        // Over TCP the sidecar learns whom, and sees it all the same.
        for server in stage.other() {
            assert_eq!(
                stage.dig(server, "who.weir.test TXT +short +tcp").trim(),
                "\"other\""
            );
        }
        assert_eq!(stage.documents(2).len(), 2);
    }
}

#[test]
fn a_resolver_on_the_pods_loopback_is_asked_there() {
    if skip_unless_root("a_resolver_on_the_pods_loopback_is_asked_there") {
        return;
    }
    for mode in MODES {
        let stage = Stage::new(mode);
        let local = ["127.0.0.1", "127.0.0.53", "::1"];
        let addresses = local.map(|address| address.parse().unwrap());
        let _server = Server::start(&stage.pod, &addresses, "local");
        let servers = local.join(",");
        install(&stage.pod, &["--mode", mode, "--dns", "--dns-servers", &servers]).unwrap();
        let sidecar = Sidecar::start(&stage.pod, &["--dns-servers", &servers]).unwrap();
        for server in addresses {
            for flag in ["+notcp", "+tcp"] {
                let said = stage.dig(server, &format!("who.weir.test TXT +short {flag}"));
                assert_eq!(said.trim(), "\"local\"", "{server} {flag}");
            }
        }
        assert_eq!(sidecar.metric("weir_dns_queries_total", &[]), 3);
    }
}

#[test]
fn without_a_list_it_is_the_resolvers_of_resolv_conf() {
    if skip_unless_root("without_a_list_it_is_the_resolvers_of_resolv_conf") {
        return;
    }
    for mode in MODES {
        let stage = Stage::new(mode);
        let [v4, v6] = stage.second();
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("resolv.conf");
        fs::write(
            &file,
            format!("search weir.test\nnameserver {v6}\nnameserver {v4}\n"),
        )
        .unwrap();
        fs::set_permissions(
            directory.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let run = |program: &str, arguments: &str| {
            let mut command = stage.pod.command("unshare");
            let program = binary(program).unwrap();
            let script = format!(
                "mount --bind {} /etc/resolv.conf && exec {} {arguments}",
                file.display(),
                program.display()
            );
            command.args(["--mount", "sh", "-c", &script]);
            stage.pod.run(command).unwrap()
        };
        run("weir-init", &format!("install --mode {mode} --dns"));
        let said = run("weir-sidecar", "--print-config");
        let listed = format!("{v6},{v4}");
        assert!(said.contains(&listed), "{said}");
        let _sidecar = Sidecar::start(&stage.pod, &["--dns-servers", &listed]).unwrap();
        for server in [v4, v6] {
            assert_eq!(stage.dig(server, "who.weir.test TXT +short").trim(), "\"second\"");
        }
    }
}

#[test]
fn check_compares_the_rules_of_dns_and_remove_takes_them_away() {
    if skip_unless_root("check_compares_the_rules_of_dns_and_remove_takes_them_away") {
        return;
    }
    // Mode ebpf takes the queries to every server, and has no rules to compare.
    for mode in MODES.iter().filter(|mode| **mode != "ebpf") {
        let mut stage = Stage::new(mode);
        stage.install();
        stage.start_sidecar(&[]);
        let servers = stage.servers();
        let check = |servers: &str| {
            init(
                &stage.pod,
                "check",
                &["--mode", mode, "--dns", "--dns-servers", servers],
            )
        };
        check(&servers).unwrap();
        check("198.18.0.99").unwrap_err();
        init(&stage.pod, "remove", &[]).unwrap();
        let before = stage.queries();
        let answer = ask(&stage.pod, stage.first()[0], &query(1, "both.weir.test", 1));
        assert_eq!(answer[3] & 15, 0);
        assert_eq!(stage.queries(), before);
    }
}
