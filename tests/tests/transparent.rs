//! What the modes promise that leave a connection's addresses as they are: the application sees its client, and the
//! sidecar has no more than the one capability that this takes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use weir_config::{SPARE_V4, SPARE_V6};
use weir_lab::{Node, binary};
use weir_tests::{
    many::{First, Ports, Server, Talk, churn},
    peer::{accept, assert_end, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, init, install, local, wait_for},
};

const PORT: u16 = 8080;
/// CAP_NET_RAW (13) alone, as `/proc/PID/status` has it.
const NET_RAW: &str = "0000000000002000";
const NOTHING: &str = "0000000000000000";

/// Runs each case over both families. The cases of `with` find Weir running in the mode; those of `without` install it
/// themselves.
macro_rules! promises {
    ($mode:ident: with { $($weight:ident $direction:ident $case:ident;)* } without { $($bare:ident;)* }) => {
        $(mod $case {
            use super::*;
            promises!(@ v4 V4 $weight $direction $case $mode |stage, _| super::super::$case(stage));
            promises!(@ v6 V6 $weight $direction $case $mode |stage, _| super::super::$case(stage));
        })*
        $(mod $bare {
            use super::*;
            promises!(@ v4 V4 Light Inbound $bare Direct |stage, _| super::super::$bare(stage, Mode::$mode));
            promises!(@ v6 V6 Light Inbound $bare Direct |stage, _| super::super::$bare(stage, Mode::$mode));
        })*
    };
    (@ $name:ident $family:ident $weight:ident $direction:ident $case:ident $mode:ident $run:expr) => {
        #[test]
        fn $name() {
            let run: fn(&Stage, ()) = $run;
            play(
                stringify!($case),
                Weight::$weight,
                (Mode::$mode, Direction::$direction, Family::$family),
                |stage| run(stage, ()),
            );
        }
    };
}

/// All of them in one mode.
macro_rules! mode {
    ($module:ident $mode:ident) => {
        mod $module {
            use super::*;
            promises! { $mode:
                with {
                    Light Inbound application_sees_its_clients_address;
                    Light Outbound server_outside_sees_the_pods_address;
                    Light Inbound strict_and_loose_reverse_path_filters_do_no_harm;
                    Light Inbound syn_cookies_do_no_harm;
                    Light Inbound documents_carry_the_mode;
                    Light Inbound port_that_clients_use_themselves_harms_nobody;
                    Heavy Inbound no_short_connection_of_a_hundred_thousand_fails_when_servers_close_first;
                }
                without {
                    sidecar_keeps_net_raw_and_nothing_else;
                    no_capability_is_left_where_the_address_is_not_kept;
                    file_capability_is_enough;
                    user_0_is_enough_with_the_group_and_net_raw;
                    missing_net_raw_is_told_and_outbound_connections_work;
                    mode_is_learned_from_a_later_installation;
                    own_call_of_the_sidecar_reaches_the_application_once;
                    dial_that_gets_no_answer_is_made_from_a_spare_address;
                    connection_without_a_port_for_its_client_is_made_from_a_spare_address;
                    connections_from_before_go_on;
                    change_of_mode_under_load_loses_nothing;
                    removal_leaves_nothing;
                }
            }
        }
    };
}

mode! { tproxy Tproxy }
mode! { ebpf Ebpf }

fn sidecar(stage: &Stage) -> &Sidecar {
    stage.sidecar.as_ref().unwrap()
}

fn set_up(stage: &Stage, mode: Mode) {
    install(&stage.pod, &["--mode", mode.name().unwrap()]).unwrap();
}

/// The address that the application sees, and the client's.
fn seen(stage: &Stage) -> (IpAddr, IpAddr) {
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    converse(&client, &server, b"who am I?");
    converse(&server, &client, b"you tell me");
    let seen = server.peer_addr().unwrap().ip();
    let own = client.local_addr().unwrap().ip();
    drop(client);
    assert_end(&server);
    (seen, own)
}

fn is_spare(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPARE_V4.contains(&ip),
        IpAddr::V6(ip) => SPARE_V6.contains(&ip),
    }
}

fn not_kept(sidecar: &Sidecar) -> u64 {
    sidecar.metric("weir_source_not_kept_total", &[])
}

fn assert_kept(stage: &Stage, sidecar: &Sidecar) {
    let (seen, client) = seen(stage);
    assert_eq!(seen, client, "{}", sidecar.process.output());
    assert_eq!(not_kept(sidecar), 0, "{}", sidecar.metrics());
    assert!(sidecar.connections(Direction::Inbound) > 0, "it was not relayed");
}

fn application_sees_its_clients_address(stage: &Stage) {
    for _ in 0..3 {
        assert_kept(stage, sidecar(stage));
    }
}

fn server_outside_sees_the_pods_address(stage: &Stage) {
    let (seen, own) = seen(stage);
    assert_eq!(seen, own);
}

fn strict_and_loose_reverse_path_filters_do_no_harm(stage: &Stage) {
    for filter in ["0", "1", "2"] {
        let interfaces = stage
            .pod
            .enter(|| {
                let all = fs::read_dir("/proc/sys/net/ipv4/conf").unwrap();
                all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect::<Vec<_>>()
            })
            .unwrap();
        for interface in interfaces {
            stage
                .pod
                .sysctl(&format!("ipv4/conf/{interface}/rp_filter"), filter)
                .unwrap();
        }
        assert_kept(stage, sidecar(stage));
    }
}

fn syn_cookies_do_no_harm(stage: &Stage) {
    stage.pod.sysctl("ipv4/tcp_syncookies", "2").unwrap();
    for _ in 0..5 {
        assert_kept(stage, sidecar(stage));
    }
}

fn talk_http(stage: &Stage, count: u32) {
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
    let tally = churn(
        &stage.client,
        address,
        count,
        Ports::Given,
        Talk::HTTP,
        First::Server,
    );
    assert_eq!(tally.succeeded, u64::from(count), "{tally}");
}

fn documents_carry_the_mode(stage: &Stage) {
    talk_http(stage, 5);
    let sidecar = sidecar(stage);
    wait_for("five documents", || sidecar.documents().len() == 5);
    let mode = sidecar.stats()["mode"].clone();
    let client = stage.link.a.at(0)[usize::from(stage.family == Family::V6)].ip();
    for document in sidecar.documents() {
        assert_eq!(document["weir"]["mode"], mode, "{document}");
        assert_ne!(mode, "unknown");
        assert_eq!(document["source"]["ip"], client.to_string(), "{document}");
    }
}

/// Clients outside may use any port, also those that the sidecar dials from in their name.
fn port_that_clients_use_themselves_harms_nobody(stage: &Stage) {
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Client);
    let tally = churn(
        &stage.client,
        address,
        2_000,
        Ports::InTurn(20_000..=32_047),
        Talk::PLAIN,
        First::Client,
    );
    println!("{tally}");
    assert_eq!(tally.succeeded, 2_000, "{tally}");
}

fn no_short_connection_of_a_hundred_thousand_fails_when_servers_close_first(stage: &Stage) {
    const COUNT: u32 = 100_000;
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::PLAIN, First::Server);
    let tally = churn(
        &stage.client,
        address,
        COUNT,
        Ports::Given,
        Talk::PLAIN,
        First::Server,
    );
    println!("{tally}; address not kept: {}", not_kept(sidecar(stage)));
    assert_eq!(tally.succeeded, u64::from(COUNT), "{tally}");
}

fn assert_capabilities(sidecar: &Sidecar, kept: &str) {
    for (field, expected) in [
        ("CapPrm", kept),
        ("CapEff", kept),
        ("CapInh", NOTHING),
        ("CapAmb", NOTHING),
        ("NoNewPrivs", "1"),
    ] {
        let values = sidecar.status(field);
        assert!(values.len() > 1, "the data threads are looked at too");
        assert!(
            values.iter().all(|value| value == expected),
            "{field}: {values:?}"
        );
    }
}

fn sidecar_keeps_net_raw_and_nothing_else(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    assert_capabilities(&sidecar, NET_RAW);
    assert!(sidecar.status("CapBnd").iter().all(|set| set == NOTHING));
    assert!(
        sidecar
            .status("Uid")
            .iter()
            .all(|ids| ids == "1337 1337 1337 1337")
    );
    assert_kept(stage, &sidecar);
}

fn no_capability_is_left_where_the_address_is_not_kept(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &["--source-address", "proxy"]).unwrap();
    assert_capabilities(&sidecar, NOTHING);
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
    assert_eq!(not_kept(&sidecar), 0, "it was not asked for");
}

/// `setpriv` with these options, and then the program.
fn by_setpriv(node: &Node, options: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = node.command("setpriv");
    command.args(options.split(' ')).arg(program);
    command
}

fn file_capability_is_enough(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("weir-sidecar");
    fs::copy(binary("weir-sidecar").unwrap(), &program).unwrap();
    let set = Command::new("setcap")
        .arg("cap_net_raw=+p")
        .arg(&program)
        .status()
        .unwrap();
    assert!(set.success(), "setcap: {set}");
    let command = by_setpriv(&stage.pod, "--reuid 1337 --regid 1337 --clear-groups", &program);
    let sidecar = Sidecar::start_by(&stage.pod, command, &[]).unwrap();
    assert_capabilities(&sidecar, NET_RAW);
    assert_kept(stage, &sidecar);
}

fn user_0_is_enough_with_the_group_and_net_raw(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let command = by_setpriv(
        &stage.pod,
        "--regid 1337 --clear-groups --no-new-privs --bounding-set -all,+net_raw --inh-caps -all",
        binary("weir-sidecar").unwrap(),
    );
    let sidecar = Sidecar::start_by(&stage.pod, command, &[]).unwrap();
    assert!(sidecar.status("Uid").iter().all(|ids| ids == "0 0 0 0"));
    assert_capabilities(&sidecar, NET_RAW);
    assert_kept(stage, &sidecar);
    assert_outbound(stage, &sidecar);
}

/// A connection of the pod's, seen once.
fn assert_outbound(stage: &Stage, sidecar: &Sidecar) {
    let before = sidecar.connections(Direction::Outbound);
    let outside: SocketAddr = stage.pick(stage.link.a.at(PORT)[0], stage.link.a.at(PORT)[1]);
    let listener = listen(&stage.client, outside);
    let (client, server) = pair(&stage.pod, &listener);
    converse(&client, &server, b"hello, outside");
    converse(&server, &client, b"hello, inside");
    assert_eq!(sidecar.connections(Direction::Outbound), before + 1);
}

fn missing_net_raw_is_told_and_outbound_connections_work(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let command = by_setpriv(
        &stage.pod,
        "--bounding-set -net_raw --inh-caps -all",
        binary("weir-sidecar").unwrap(),
    );
    let sidecar = Sidecar::spawn(&stage.pod, command, &[]).unwrap();
    wait_for("what is missing", || {
        sidecar.process.output().contains("cap_net_raw=+p")
    });
    wait_for("an answer about readiness", || {
        let answer = stage.pod.http_get(local(15021), "/healthz/ready");
        answer.is_ok_and(|(status, text)| status == 503 && text.contains("NET_RAW"))
    });
    assert_capabilities(&sidecar, NOTHING);
    assert_outbound(stage, &sidecar);
    // The mode that needs nothing is one command away.
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    wait_for("readiness", || {
        let answer = stage.pod.http_get(local(15021), "/healthz/ready");
        answer.is_ok_and(|(status, _)| status == 200)
    });
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
}

fn mode_is_learned_from_a_later_installation(stage: &Stage, mode: Mode) {
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    assert_eq!(sidecar.stats()["mode"], "unknown");
    assert_capabilities(&sidecar, NET_RAW);
    set_up(stage, mode);
    let name = mode.name().unwrap();
    wait_for("the mode to be learned", || sidecar.stats()["mode"] == name);
    assert_kept(stage, &sidecar);
    install(&stage.pod, &["--mode", "redirect"]).unwrap();
    wait_for("the other mode to be learned", || {
        sidecar.stats()["mode"] == "redirect"
    });
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
}

/// Something on the way, such as a rule of somebody else's, may not let the client's address pass over lo.
fn dial_that_gets_no_answer_is_made_from_a_spare_address(stage: &Stage, mode: Mode) {
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let mut block = stage.pod.command(stage.pick("iptables", "ip6tables"));
    let [v4, v6] = stage.link.a.at(0);
    let client = stage.pick(v4, v6).ip().to_string();
    block.args("-w -A INPUT -i lo -p tcp --syn -j DROP -s".split(' '));
    stage
        .pod
        .run({
            block.arg(&client);
            block
        })
        .unwrap();
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
    assert_eq!(
        sidecar.metric("weir_source_not_kept_total", &["reason=\"slow\""]),
        1
    );
}

fn connection_without_a_port_for_its_client_is_made_from_a_spare_address(stage: &Stage, mode: Mode) {
    stage
        .pod
        .sysctl("ipv4/ip_local_reserved_ports", "2048-32047")
        .unwrap();
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let (address, _) = seen(stage);
    assert!(is_spare(address), "{address}");
    assert_eq!(
        sidecar.metric("weir_source_not_kept_total", &["reason=\"no_port\""]),
        1
    );
}

/// TPROXY alone: nobody else waits for a sidecar unless asked to.
#[test]
fn tproxy_connection_waits_for_a_sidecar_that_is_yet_to_come() {
    play(
        "tproxy_connection_waits_for_a_sidecar_that_is_yet_to_come",
        Weight::Light,
        (Mode::Direct, Direction::Inbound, Family::V4),
        |stage| {
            set_up(stage, Mode::Tproxy);
            let listener = listen(&stage.pod, stage.server(PORT));
            thread::scope(|scope| {
                let client = scope.spawn(|| connect(&stage.client, stage.server(PORT)).unwrap());
                // Its first packet has been dropped.
                wait_for("a dropped packet", || {
                    let mut shown = stage.pod.command("iptables-save");
                    shown.args(["-c", "-t", "mangle"]);
                    let shown = stage.pod.run(shown).unwrap();
                    shown
                        .lines()
                        .any(|line| line.contains("-j TPROXY") && !line.starts_with("[0:0]"))
                });
                let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
                let client = client.join().unwrap();
                converse(&client, &accept(&listener), b"at last");
                assert_eq!(sidecar.connections(Direction::Inbound), 1);
            });
        },
    );
}

/// What the sidecar dials for the application, and is the pod itself: inbound, once, whichever of its addresses it is
/// called from.
fn own_call_of_the_sidecar_reaches_the_application_once(stage: &Stage, mode: Mode) {
    let second = stage.pick("198.18.77.1", "fd00:198:18:77::1");
    let length = stage.pick("32", "128");
    let dad = stage.pick("", " nodad");
    stage
        .pod
        .ip(&format!("addr add {second}/{length} dev eth0{dad}"))
        .unwrap();
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let listener = listen(&stage.pod, stage.server(PORT));
    let address = stage.server(PORT);
    for source in [address.ip(), second.parse().unwrap()] {
        let mut call = by_setpriv(&stage.pod, "--reuid 1337 --regid 1337 --clear-groups", "curl");
        let url = format!("http://{address}/");
        call.args(["--silent", "--show-error", "--max-time", "60", "--interface"]);
        call.args([source.to_string(), url]);
        thread::scope(|scope| {
            let call = scope.spawn(|| stage.pod.run(call));
            let mut server = accept(&listener);
            assert!(is_spare(server.peer_addr().unwrap().ip()));
            assert!(server.read(&mut [0; 1024]).unwrap() > 0);
            server.write_all(Talk::HTTP.answer).unwrap();
            drop(server);
            assert_eq!(call.join().unwrap().unwrap(), "ok");
        });
    }
    assert_eq!(sidecar.connections(Direction::Inbound), 2);
    assert_eq!(
        sidecar.metric("weir_source_not_kept_total", &["reason=\"local_address\""]),
        2
    );
}

fn connections_from_before_go_on(stage: &Stage, mode: Mode) {
    let listener = listen(&stage.pod, stage.server(PORT));
    let [one, other] = [(); 2].map(|()| pair(&stage.client, &listener));
    let speak = || {
        converse(&one.0, &one.1, b"client speaks");
        converse(&one.1, &one.0, b"server answers");
        converse(&other.1, &other.0, b"server speaks");
        converse(&other.0, &other.1, b"client answers");
    };
    speak();
    set_up(stage, mode);
    speak();
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    speak();
    let new = pair(&stage.client, &listener);
    converse(&new.0, &new.1, b"hello");
    assert_eq!(
        sidecar.connections(Direction::Inbound),
        1,
        "the old ones went on by themselves"
    );
    speak();
    init(&stage.pod, "remove", &[]).unwrap();
    speak();
    drop(sidecar);
    speak();
}

fn change_of_mode_under_load_loses_nothing(stage: &Stage, mode: Mode) {
    const CHANGES: usize = 10;
    set_up(stage, mode);
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let address = stage.server(PORT);
    let _server = Server::short(listen(&stage.pod, address), Talk::HTTP, First::Server);
    let stop = AtomicBool::new(false);
    let mut total = 0;
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut succeeded = 0;
            while !stop.load(Ordering::Relaxed) {
                let tally = churn(
                    &stage.client,
                    address,
                    200,
                    Ports::Given,
                    Talk::HTTP,
                    First::Server,
                );
                if tally.succeeded != 200 {
                    stop.store(true, Ordering::Relaxed);
                }
                assert_eq!(tally.succeeded, 200, "{tally}");
                succeeded += tally.succeeded;
            }
            succeeded
        });
        for next in ["redirect", mode.name().unwrap()].iter().cycle().take(CHANGES) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            install(&stage.pod, &["--mode", next]).unwrap();
            // Some connections in each mode.
            let before = sidecar.connections(Direction::Inbound);
            wait_for("more connections", || {
                stop.load(Ordering::Relaxed) || sidecar.connections(Direction::Inbound) > before + 100
            });
        }
        stop.store(true, Ordering::Relaxed);
        total = load.join().unwrap();
    });
    let seen = sidecar.connections(Direction::Inbound);
    println!("{total} connections during {CHANGES} changes, {seen} relayed");
    assert!(seen >= total, "{} escaped", total - seen);
}

fn removal_leaves_nothing(stage: &Stage, mode: Mode) {
    let state = || {
        let mut command = stage.pod.command("sh");
        let script = "iptables-save; ip6tables-save; ip rule; ip -6 rule; ip route show table all; \
            ip -6 route show table all; nft list ruleset";
        command.args(["-c", &format!("({script}) 2>/dev/null")]);
        let shown = stage.pod.run(command).unwrap();
        // Link-local addresses come when they like.
        let lasting = shown.lines().filter(|line| !line.contains("fe80:"));
        lasting.map(|line| format!("{line}\n")).collect::<String>()
    };
    let before = state();
    set_up(stage, mode);
    let installed = state();
    assert!(installed.contains("fwmark 0x539 lookup 133"), "{installed}");
    let again = {
        let mut command = stage.pod.command(binary("weir-init").unwrap());
        command.args(["install", "--mode", mode.name().unwrap()]);
        command.output().unwrap()
    };
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("nothing to do"), "{said}");
    init(&stage.pod, "check", &["--mode", mode.name().unwrap()]).unwrap();
    init(&stage.pod, "remove", &[]).unwrap();
    assert_eq!(state(), before);
}
