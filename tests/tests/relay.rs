//! What a connection may rely on, whichever way it is opened and over whichever family. Every promise is kept by the
//! plain network first (`direct_…`), which proves the test, and then by Weir, in every mode
//! (`redirected_…`, `tproxy_…`, `ebpf_…`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};
use weir_tests::{
    many::{EPHEMERAL, First, Ports, Server, Talk, Tally, churn, hold, how_many, raise_descriptor_limit},
    peer::{
        GUARD, Noise, assert_end, assert_reset, connect, converse, finish, listen, offer, pair, receive,
        reset, send, wait,
    },
    stage::{Direction, Family, Mode, Stage, Weight, play},
};

const MIB: u64 = 1 << 20;
const PORT: u16 = 8080;
/// Nobody listens here.
const CLOSED: u16 = 8081;

macro_rules! matrix {
    ($($(#[$doc:meta])* $weight:ident $case:ident;)*) => {$(
        $(#[$doc])*
        mod $case {
            use super::*;
            matrix!(@ $weight $case direct_inbound_v4 Direct Inbound V4);
            matrix!(@ $weight $case direct_inbound_v6 Direct Inbound V6);
            matrix!(@ $weight $case direct_outbound_v4 Direct Outbound V4);
            matrix!(@ $weight $case direct_outbound_v6 Direct Outbound V6);
            matrix!(@ $weight $case redirected_inbound_v4 Redirected Inbound V4);
            matrix!(@ $weight $case redirected_inbound_v6 Redirected Inbound V6);
            matrix!(@ $weight $case redirected_outbound_v4 Redirected Outbound V4);
            matrix!(@ $weight $case redirected_outbound_v6 Redirected Outbound V6);
            matrix!(@ $weight $case tproxy_inbound_v4 Tproxy Inbound V4);
            matrix!(@ $weight $case tproxy_inbound_v6 Tproxy Inbound V6);
            matrix!(@ $weight $case tproxy_outbound_v4 Tproxy Outbound V4);
            matrix!(@ $weight $case tproxy_outbound_v6 Tproxy Outbound V6);
            matrix!(@ $weight $case ebpf_inbound_v4 Ebpf Inbound V4);
            matrix!(@ $weight $case ebpf_inbound_v6 Ebpf Inbound V6);
            matrix!(@ $weight $case ebpf_outbound_v4 Ebpf Outbound V4);
            matrix!(@ $weight $case ebpf_outbound_v6 Ebpf Outbound V6);
        }
    )*};
    (@ $weight:ident $case:ident $name:ident $mode:ident $direction:ident $family:ident) => {
        #[test]
        fn $name() {
            play(
                stringify!($case),
                Weight::$weight,
                (Mode::$mode, Direction::$direction, Family::$family),
                super::cases::$case,
            );
        }
    };
}

matrix! {
    Light bytes_are_exact_both_ways_at_once;
    Light client_that_has_finished_sending_still_hears_the_server;
    Light server_that_has_finished_sending_still_hears_the_client;
    Light reset_by_the_client_is_a_reset_for_the_server;
    Light reset_by_the_server_is_a_reset_for_the_client;
    Light reset_after_the_end_still_arrives;
    Light answer_to_an_upload_that_is_refused_early_always_arrives;
    Light server_that_speaks_first_is_heard_at_once;
    Light slow_reader_stops_the_sender_and_loses_nothing;
    Light refused_destination_is_refused_and_nothing_else;
    Light unreachable_destination_is_an_error_and_nothing_else;
    Heavy five_thousand_connections_at_once_are_all_served;
    Heavy no_short_connection_fails_when_clients_close_first;
    Heavy no_short_connection_fails_when_servers_close_first;
}

mod cases {
    use super::*;

    pub fn bytes_are_exact_both_ways_at_once(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        thread::scope(|scope| {
            let up = scope.spawn(|| send(&client, Noise::new(1, 64 * MIB)));
            let down = scope.spawn(|| send(&server, Noise::new(2, 64 * MIB)));
            let at_client = scope.spawn(|| receive(&client));
            assert_eq!(receive(&server), up.join().unwrap());
            assert_eq!(at_client.join().unwrap(), down.join().unwrap());
        });
    }

    pub fn client_that_has_finished_sending_still_hears_the_server(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        one_way_after_the_other(&client, &server);
    }

    pub fn server_that_has_finished_sending_still_hears_the_client(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        one_way_after_the_other(&server, &client);
    }

    /// The first ends its half; only then the second, which has seen that end, begins.
    fn one_way_after_the_other(first: &TcpStream, second: &TcpStream) {
        thread::scope(|scope| {
            let sent = scope.spawn(|| send(first, Noise::new(3, MIB)));
            assert_eq!(receive(second), sent.join().unwrap());
            let sent = scope.spawn(|| send(second, Noise::new(4, 4 * MIB)));
            assert_eq!(receive(first), sent.join().unwrap());
        });
    }

    pub fn reset_by_the_client_is_a_reset_for_the_server(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        converse(&client, &server, b"hello");
        reset(client);
        assert_reset(&server);
    }

    pub fn reset_by_the_server_is_a_reset_for_the_client(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        converse(&client, &server, b"hello");
        reset(server);
        assert_reset(&client);
    }

    /// Also where the one that learns of it has nothing to send and nothing left to read.
    pub fn reset_after_the_end_still_arrives(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        for client_ends in [true, false] {
            let (client, server) = pair(stage.caller(), &listener);
            converse(&client, &server, b"hello");
            converse(&server, &client, b"hello to you");
            let (ends, stays) = if client_ends {
                (client, server)
            } else {
                (server, client)
            };
            ends.shutdown(Shutdown::Write).unwrap();
            assert_end(&stays);
            reset(ends);
            // No event is asked for: only an error or a hang-up ends this wait.
            assert!(
                wait(&stays, nix::poll::PollFlags::empty(), GUARD),
                "the reset did not arrive"
            );
            let error = (&stays).write(b"anybody?").unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "{error}"
            );
        }
    }

    pub fn answer_to_an_upload_that_is_refused_early_always_arrives(stage: &Stage) {
        const TIMES: u32 = 60;
        const ANSWER: &[u8] = b"HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n\r\n";
        let listener = listen(stage.callee(), stage.server(PORT));
        let lost = (0..TIMES).filter(|_| {
            let (mut client, mut server) = pair(stage.caller(), &listener);
            let upload = thread::spawn(move || {
                let body = [7; 64 << 10];
                while client.write_all(&body).is_ok() {}
                let mut answer = Vec::new();
                // The reset comes after the answer, or has been told to the writer.
                let _ = client.read_to_end(&mut answer);
                answer
            });
            server.read_exact(&mut [0; 100]).unwrap();
            server.write_all(ANSWER).unwrap();
            // With unread bytes: the reset follows the answer at once.
            drop(server);
            upload.join().unwrap() != ANSWER
        });
        assert_eq!(lost.count(), 0, "answers lost of {TIMES}");
    }

    pub fn server_that_speaks_first_is_heard_at_once(stage: &Stage) {
        let listener = listen(stage.callee(), stage.server(PORT));
        let (client, server) = pair(stage.caller(), &listener);
        converse(&server, &client, b"220 ready\r\n");
        converse(&client, &server, b"EHLO client\r\n");
        converse(&server, &client, b"250 server\r\n");
    }

    pub fn slow_reader_stops_the_sender_and_loses_nothing(stage: &Stage) {
        const READERS: u64 = 4;
        /// More than all of the kernel's buffers on the way take: at most 4 + 4 MiB a hop.
        const OFFERED: u64 = 24 * MIB;
        /// The sidecar's own part: two buffers of 256 KiB a connection, and what the allocator keeps.
        const GROWTH: u64 = 16 * MIB;
        for node in [&stage.client, &stage.pod] {
            // Also for IPv6.
            node.sysctl("ipv4/tcp_rmem", "4096 131072 4194304").unwrap();
            node.sysctl("ipv4/tcp_wmem", "4096 16384 4194304").unwrap();
        }
        let rss = || {
            stage
                .sidecar
                .as_ref()
                .map_or(0, |sidecar| sidecar.usage().peak_rss)
        };
        let listener = listen(stage.callee(), stage.server(PORT));
        let before = rss();
        thread::scope(|scope| {
            for seed in 0..READERS {
                let (client, server) = pair(stage.caller(), &listener);
                scope.spawn(move || {
                    let mut noise = Noise::new(seed, OFFERED);
                    let left = offer(&client, &mut noise).expect("the sender was never stopped");
                    thread::scope(|scope| {
                        let sent = scope.spawn(|| finish(&client, left, noise));
                        assert_eq!(receive(&server), sent.join().unwrap());
                    });
                });
            }
        });
        let grown = rss() - before;
        assert!(grown < GROWTH, "the sidecar has grown by {grown} bytes");
    }

    pub fn refused_destination_is_refused_and_nothing_else(stage: &Stage) {
        match connect(stage.caller(), stage.server(CLOSED)) {
            Err(error) => {
                // A connection that is reset before connect(2) has returned has never been seen open.
                let expected = match stage.sidecar {
                    None => [ErrorKind::ConnectionRefused].as_slice(),
                    Some(_) => &[ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset],
                };
                assert!(expected.contains(&error.kind()), "{error}");
            }
            Ok(stream) => assert_reset(&stream),
        }
        stage.assert_serves(PORT);
    }

    pub fn unreachable_destination_is_an_error_and_nothing_else(stage: &Stage) {
        // The callee is a router that knows no way to these destinations, and says so.
        let callee = stage.callee();
        callee
            .sysctl(stage.pick("ipv4/ip_forward", "ipv6/conf/all/forwarding"), "1")
            .unwrap();
        callee
            .ip(stage.pick(
                "route add unreachable 198.19.0.0/16",
                "route add unreachable fd00:198:18:ff::/64",
            ))
            .unwrap();
        let nowhere = stage
            .pick("198.19.0.1:80", "[fd00:198:18:ff::1]:80")
            .parse()
            .unwrap();
        match connect(stage.caller(), nowhere) {
            Err(error) => {
                let expected = [
                    ErrorKind::HostUnreachable,
                    ErrorKind::NetworkUnreachable,
                    ErrorKind::ConnectionReset,
                ];
                assert!(expected.contains(&error.kind()), "{error}");
            }
            Ok(stream) => assert_reset(&stream),
        }
        stage.assert_serves(PORT);
    }

    pub fn five_thousand_connections_at_once_are_all_served(stage: &Stage) {
        const CONNECTIONS: u32 = 5_000;
        raise_descriptor_limit();
        let address = stage.server(PORT);
        let _server = Server::echo(listen(stage.callee(), address));
        let tally = hold(stage.caller(), address, CONNECTIONS);
        assert_all(&tally, CONNECTIONS);
    }

    pub fn no_short_connection_fails_when_clients_close_first(stage: &Stage) {
        short_connections(stage, First::Client);
    }

    pub fn no_short_connection_fails_when_servers_close_first(stage: &Stage) {
        short_connections(stage, First::Server);
    }

    fn short_connections(stage: &Stage, first: First) {
        // Whoever closes first keeps the connection's port for a minute. A client outside may use nearly all of its
        // ports; one in the pod has the 28 232 that the kernel gives out, and shares them with nobody.
        let (count, ports) = match (stage.direction, first) {
            // More than one address of the sidecar's has ports for.
            (Direction::Inbound, First::Client) => (how_many(32_000, 60_000), Ports::InTurn(2_000..=65_535)),
            (Direction::Inbound, First::Server) => (how_many(32_000, 60_000), Ports::Given),
            // More than both legs could share.
            (Direction::Outbound, First::Client) => (how_many(16_000, 28_000), Ports::InTurn(EPHEMERAL)),
            (Direction::Outbound, First::Server) => (how_many(16_000, 28_000), Ports::Given),
        };
        let address = stage.server(PORT);
        let _server = Server::short(listen(stage.callee(), address), Talk::PLAIN, first);
        let tally = churn(stage.caller(), address, count, ports, Talk::PLAIN, first);
        assert_all(&tally, count);
    }

    fn assert_all(tally: &Tally, count: u32) {
        println!("{tally}");
        assert_eq!(tally.succeeded, u64::from(count), "{tally}");
    }
}
