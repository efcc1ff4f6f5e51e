//! Destinations that can't be reached: a redirected connection is accepted before that is known, and still a client that has
//! another address to go to gets there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use weir_lab::Node;
use weir_tests::{
    peer::{GUARD, accept, again, assert_reset, connect, converse, listen, pair},
    stage::{Direction, Family, Mode, Stage, Weight, play},
    weir::{Sidecar, install, wait_for},
};

const PORT: u16 = 8080;

/// What is wrong with the server's IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nobody answers.
    Silent,
    /// Nobody listens.
    Closed,
}

fn ip6tables(node: &Node, rule: &str) {
    let mut command = node.command("ip6tables");
    command.args(["-w"]).args(rule.split(' '));
    node.run(command).unwrap();
}

/// Runs `test` beside a server that answers every HTTP request it gets over IPv4.
fn with_server(listener: &TcpListener, test: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let Ok((mut stream, _)) = again(|| listener.accept()) else {
                    return;
                };
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        test();
        over.store(true, Ordering::Relaxed);
        // Wakes it.
        let _ = TcpStream::connect(listener.local_addr().unwrap());
    });
}

/// How long curl takes to get an answer from a host that has both addresses.
fn fetch(stage: &Stage) -> Option<Duration> {
    let [v4, v6] = stage.link.a.at(PORT);
    let mut curl = stage.pod.command("curl");
    curl.args(["-sS", "-m", "30", "--resolve"])
        .arg(format!("both.test:{PORT}:[{}],{}", v6.ip(), v4.ip()))
        .arg(format!("http://both.test:{PORT}/"));
    let start = Instant::now();
    let answer = stage.pod.run(curl);
    answer.is_ok_and(|answer| answer == "ok").then(|| start.elapsed())
}

fn client_that_falls_back_gets_there(stage: &Stage, broken: Broken) {
    let [v4, v6] = stage.link.a.at(PORT);
    if broken == Broken::Silent {
        ip6tables(&stage.client, "-A INPUT -p tcp -j DROP");
    }
    let listener = listen(&stage.client, v4);
    stage
        .client
        .enter(|| {
            with_server(&listener, || {
                let direct = fetch(stage).expect("without Weir");
                install(&stage.pod, &["--mode", "ebpf"]).unwrap();
                let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
                // The first connection is the one by which the sidecar learns of it.
                let first = connect(&stage.pod, v6);
                wait_for("that destination to be left alone", || {
                    sidecar.metric("weir_destinations_left_alone_total", &[]) == 1
                });
                let through = fetch(stage).expect("through Weir");
                assert!(
                    through < direct + Duration::from_secs(1),
                    "{through:?}, directly {direct:?}"
                );
                // IPv4 is seen as ever.
                assert_eq!(sidecar.connections(Direction::Outbound), 2);
                if broken == Broken::Closed {
                    let refused = connect(&stage.pod, v6).unwrap_err();
                    assert_eq!(
                        refused.kind(),
                        ErrorKind::ConnectionRefused,
                        "as it is without Weir"
                    );
                }
                drop(first);
                recovered(stage, &sidecar, v6, broken);
            });
        })
        .unwrap();
}

/// Once the destination is back its connections are carried again.
fn recovered(stage: &Stage, sidecar: &Sidecar, v6: SocketAddr, broken: Broken) {
    if broken == Broken::Silent {
        ip6tables(&stage.client, "-D INPUT -p tcp -j DROP");
    }
    let listener = listen(&stage.client, v6);
    let seen = || sidecar.connections(Direction::Outbound);
    let before = seen();
    let start = Instant::now();
    while seen() == before {
        assert!(start.elapsed() < GUARD, "it is still left alone");
        // Served all the time, be it seen or not.
        let (client, server) = loop {
            let client = connect(&stage.pod, v6).unwrap();
            let server = accept(&listener);
            if server.peer_addr().unwrap() == client.local_addr().unwrap() || seen() > before {
                break (client, server);
            }
            // That was the sidecar's own try.
        };
        drop((client, server));
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn client_that_falls_back_gets_there_where_ipv6_is_silent() {
    on_stage(
        "client_that_falls_back_gets_there_where_ipv6_is_silent",
        |stage| client_that_falls_back_gets_there(stage, Broken::Silent),
    );
}

#[test]
fn client_that_falls_back_gets_there_where_ipv6_is_closed() {
    on_stage(
        "client_that_falls_back_gets_there_where_ipv6_is_closed",
        |stage| client_that_falls_back_gets_there(stage, Broken::Closed),
    );
}

fn on_stage(name: &str, test: impl FnOnce(&Stage)) {
    let stage = (Mode::Direct, Direction::Outbound, Family::V6);
    play(name, Weight::Light, stage, test);
}

/// Where addresses are translated the client is told so by a reset, and the next one sooner.
#[test]
fn destination_that_does_not_answer_is_reset_in_every_mode() {
    for mode in [Mode::Redirected, Mode::Tproxy, Mode::Ebpf] {
        on_stage("destination_that_does_not_answer_is_reset", |stage| {
            ip6tables(&stage.client, "-A INPUT -p tcp -j DROP");
            // With `hold` nothing may pass unseen, so that nothing is left alone.
            let hold = ["--mode", mode.name().unwrap(), "--on-missing-proxy", "hold"];
            install(&stage.pod, &hold[..if mode == Mode::Ebpf { 4 } else { 2 }]).unwrap();
            let sidecar = Sidecar::start(&stage.pod, &["--connect-timeout", "2s"]).unwrap();
            let v6 = stage.link.a.at(PORT)[1];
            for _ in 0..2 {
                let stream = connect(&stage.pod, v6).unwrap();
                assert_reset(&stream);
            }
            let timeouts = ["direction=\"egress\"", "reason=\"timeout\""];
            assert_eq!(
                sidecar.metric("weir_dial_failures_total", &timeouts),
                2,
                "{}",
                sidecar.metrics()
            );
            // What does answer is not concerned.
            let listener = listen(&stage.client, stage.link.a.at(PORT)[0]);
            let (client, server) = pair(&stage.pod, &listener);
            converse(&client, &server, b"hello");
        });
    }
}
