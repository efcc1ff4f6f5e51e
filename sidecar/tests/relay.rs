//! What the relay promises, between two ordinary loopback connections and without any redirect.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use socket2::SockRef;
use std::{
    cell::RefCell,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};
use weir_protocols::{Close, Side};
use weir_sidecar::{
    relay::{Observer, Pair},
    socket::Stream,
};

/// What the relay showed of a connection.
#[derive(Default)]
struct Seen {
    client: Vec<u8>,
    server: Vec<u8>,
    ends: Vec<Side>,
}

impl Observer for Seen {
    fn data(&mut self, side: Side, bytes: &[u8]) {
        match side {
            Side::Client => self.client.extend_from_slice(bytes),
            Side::Server => self.server.extend_from_slice(bytes),
        }
    }

    fn end(&mut self, side: Side) {
        self.ends.push(side);
    }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (near, listener.accept().unwrap().0)
}

/// A client's and a server's socket with a relay in between, which runs on a thread of its own.
fn relayed(idle: Option<Duration>) -> (TcpStream, TcpStream, JoinHandle<(Close, Seen)>) {
    let (client, from_client) = connected();
    let (server, from_server) = connected();
    let relay = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut seen = Seen::default();
            let scratch = RefCell::new(vec![0; 64 << 10].into_boxed_slice());
            let pair = Pair::new(
                Stream::new(from_client, None).unwrap(),
                Stream::new(from_server, None).unwrap(),
            );
            let how = { pair }.relay(&scratch, idle, &mut seen).await;
            (how, seen)
        })
    });
    (client, server, relay)
}

fn reset(socket: TcpStream) {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
}

fn read_all(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_client_that_has_finished_sending_still_gets_the_whole_answer() {
    let (mut client, mut server, relay) = relayed(None);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&server), b"question");
    for _ in 0..100 {
        server.write_all(&[7; 10_000]).unwrap();
    }
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client).len(), 1_000_000);
    let (how, seen) = relay.join().unwrap();
    assert_eq!(
        (how, seen.client.as_slice(), seen.server.len()),
        (Close::Finished, b"question".as_slice(), 1_000_000)
    );
    assert_eq!(seen.ends, [Side::Client, Side::Server]);
}

#[test]
fn a_server_that_has_finished_sending_still_gets_everything() {
    let (mut client, mut server, relay) = relayed(None);
    server.write_all(b"220 hello").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), b"220 hello");
    client.write_all(&[1; 300_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&server).len(), 300_000);
    assert_eq!(relay.join().unwrap().0, Close::Finished);
}

#[test]
fn a_reset_of_either_side_arrives_as_a_reset_after_what_was_sent_before_it() {
    for dead in [Side::Client, Side::Server] {
        let (client, server, relay) = relayed(None);
        let (mut dying, mut other) = if dead == Side::Client {
            (client, server)
        } else {
            (server, client)
        };
        dying.write_all(b"last words").unwrap();
        let mut words = [0; 10];
        other.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"last words");
        reset(dying);
        let error = other.read(&mut words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{dead:?}");
        assert_eq!(relay.join().unwrap().0, Close::Reset(dead));
    }
}

#[test]
fn bytes_that_were_sent_just_before_a_reset_are_not_lost() {
    let (mut client, mut server, relay) = relayed(None);
    // Closing with unread bytes makes the kernel send RST right after what was written, as a server does that
    // refuses a body.
    server.set_nodelay(true).unwrap();
    client.write_all(&[0; 1000]).unwrap();
    server.read_exact(&mut [0; 1]).unwrap();
    server.write_all(&[9; 20_000]).unwrap();
    drop(server);
    let mut got = Vec::new();
    let error = client.read_to_end(&mut got).unwrap_err();
    assert_eq!((got.len(), error.kind()), (20_000, ErrorKind::ConnectionReset));
    assert_eq!(relay.join().unwrap().0, Close::Reset(Side::Server));
}

#[test]
fn a_reset_after_a_half_close_is_noticed_though_nothing_flows() {
    let (client, mut server, relay) = relayed(None);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&server), b"");
    reset(client);
    assert_eq!(relay.join().unwrap().0, Close::Reset(Side::Client));
    // The server has read the end already; what is left for it to see is that writing fails.
    assert!(server.write_all(&[0; 10]).is_err());
}

#[test]
fn a_slow_reader_stops_the_writer_and_loses_nothing() {
    let (mut client, server, relay) = relayed(None);
    client.set_nonblocking(true).unwrap();
    let mut sent = 0usize;
    let mut refused = 0;
    // Full once a whole second has passed in which nothing more was taken.
    while refused < 100 {
        let block: Vec<u8> = (sent..sent + 4096).map(|n| n as u8).collect();
        match client.write(&block) {
            Ok(n) => (sent, refused) = (sent + n, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                thread::park_timeout(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 1 << 30, "nothing stops the writer");
    }
    client.shutdown(Shutdown::Write).unwrap();
    let got = read_all(&server);
    assert_eq!(got.len(), sent);
    assert!(got.iter().enumerate().all(|(n, byte)| *byte == n as u8));
    drop((client, server));
    relay.join().unwrap();
}

#[test]
fn urgent_bytes_stay_in_their_place_and_stop_nothing() {
    let (mut client, mut server, relay) = relayed(None);
    client.write_all(b"before").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"after").unwrap();
    let mut got = [0; 12];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"before!after");
    drop((client, server));
    relay.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed_only_where_a_limit_is_set() {
    let (mut client, mut server, relay) = relayed(Some(Duration::from_millis(300)));
    for _ in 0..3 {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0; 1]).unwrap();
    }
    assert_eq!(
        client.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(relay.join().unwrap().0, Close::Abandoned);
}

/// A future's size is what every connection costs, busy or not.
#[test]
fn a_connection_costs_little_while_it_is_idle() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let (near, far) = (connected().1, connected().1);
    let pair = Pair::new(Stream::new(near, None).unwrap(), Stream::new(far, None).unwrap());
    let scratch = RefCell::new(vec![0; 4096].into_boxed_slice());
    let mut seen = Seen::default();
    let size = size_of_val(&pair.relay(&scratch, None, &mut seen));
    assert!(size <= 1024, "{size} bytes");
}
