//! What the relay promises, between two ordinary loopback connections and without any redirect.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use nix::poll::{PollFd, PollFlags, poll};
use socket2::SockRef;
use std::{
    cell::{Cell, RefCell},
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
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

/// What a receiver reads: ordinary bytes as they are, an urgent one in brackets at its place, behind "before".
fn read_with_urgent(mut socket: &TcpStream, expected: usize) -> String {
    let mut text = String::new();
    let mut seen = 0;
    while seen < expected {
        if text.ends_with("before") {
            // A read at the mark would pass the urgent byte over, so that nothing is read before that byte is here.
            let mut waits = [PollFd::new(socket.as_fd(), PollFlags::POLLPRI)];
            assert_eq!(
                poll(&mut waits, 30_000_u16),
                Ok(1),
                "no urgent byte came after {text}"
            );
            let mut urgent = [std::mem::MaybeUninit::uninit()];
            SockRef::from(socket).recv_out_of_band(&mut urgent).unwrap();
            text.push_str("[!]");
            seen += 1;
            continue;
        }
        let mut buffer = [0; 64];
        let wanted = if text.len() < 6 { 6 - text.len() } else { 64 };
        let read = socket.read(&mut buffer[..wanted]).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        seen += read;
    }
    text
}

fn send_with_urgent(mut socket: &TcpStream) {
    socket.write_all(b"before").unwrap();
    SockRef::from(socket).send_out_of_band(b"!").unwrap();
}

#[test]
fn urgent_byte_is_read_as_urgent_and_is_not_in_the_stream() {
    let (mut plain_client, plain_server) = connected();
    let (mut client, server, relay) = relayed(None);
    for (client, server) in [(&mut plain_client, &plain_server), (&mut client, &server)] {
        send_with_urgent(client);
        // The urgent byte comes without anything after it.
        assert_eq!(read_with_urgent(server, 7), "before[!]");
        client.write_all(b"after").unwrap();
        assert_eq!(read_with_urgent(server, 5), "after");
        // Again, on the same connection.
        send_with_urgent(client);
        assert_eq!(read_with_urgent(server, 7), "before[!]");
    }
    drop((client, server));
    let (_, seen) = relay.join().unwrap();
    assert_eq!(seen.client, b"beforeafterbefore");
}

#[test]
fn receiver_that_ignores_urgent_bytes_reads_what_it_reads_directly() {
    let (mut plain_client, plain_server) = connected();
    let (mut client, server, relay) = relayed(None);
    for (client, server) in [(&mut plain_client, &plain_server), (&mut client, &server)] {
        send_with_urgent(client);
        client.write_all(b"after").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(server), b"beforeafter");
    }
    drop((client, server));
    relay.join().unwrap();
}

#[test]
fn receiver_that_wants_urgent_bytes_in_line_finds_them_there() {
    let (mut client, server, relay) = relayed(None);
    SockRef::from(&server).set_out_of_band_inline(true).unwrap();
    send_with_urgent(&client);
    client.write_all(b"after").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&server), b"before!after");
    drop((client, server));
    relay.join().unwrap();
}

/// Sends until the other side refuses, then reads what it has said.
fn upload_until_refused(mut socket: &TcpStream) -> Vec<u8> {
    let body = [7; 64 << 10];
    while socket.write_all(&body).is_ok() {}
    let mut answer = Vec::new();
    // The reset comes after the answer, or has been told to the writer.
    let _ = socket.read_to_end(&mut answer);
    answer
}

#[test]
fn answer_to_an_upload_that_is_refused_early_always_arrives() {
    const TIMES: usize = 200;
    for uploader in [Side::Client, Side::Server] {
        for _ in 0..TIMES {
            let (client, server, relay) = relayed(None);
            let (sender, mut refuser) = match uploader {
                Side::Client => (client, server),
                Side::Server => (server, client),
            };
            let upload = thread::spawn(move || upload_until_refused(&sender));
            refuser.read_exact(&mut [0; 100]).unwrap();
            refuser.write_all(b"413 too large").unwrap();
            // With unread bytes: the reset follows the answer at once.
            drop(refuser);
            assert_eq!(upload.join().unwrap(), b"413 too large", "{uploader:?} uploads");
            relay.join().unwrap();
        }
    }
}

#[test]
fn reset_of_a_side_whose_bytes_nobody_takes_is_noticed_and_its_bytes_arrive() {
    for dead in [Side::Client, Side::Server] {
        let (client, server, relay) = relayed(None);
        let (dying, slow) = match dead {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        dying.set_nonblocking(true).unwrap();
        let mut sent = 0;
        let mut refused = 0;
        while refused < 50 {
            match { &dying }.write(&[5; 4096]) {
                Ok(n) => (sent, refused) = (sent + n, 0),
                Err(_) => {
                    refused += 1;
                    thread::park_timeout(Duration::from_millis(10));
                }
            }
        }
        reset(dying);
        // Bytes that were still the sender's own are gone with it, as they would be without a relay.
        let mut got = 0;
        let mut buffer = [0; 64 << 10];
        let error = loop {
            match { &slow }.read(&mut buffer) {
                Ok(0) => panic!("an orderly end after {got} bytes"),
                Ok(n) => got += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(got > 0 && got <= sent, "{got} of {sent}");
        let (how, seen) = relay.join().unwrap();
        assert_eq!(how, Close::Reset(dead));
        let relayed = seen.client.len().max(seen.server.len());
        assert_eq!(got, relayed, "what the relay had read has arrived");
    }
}

#[test]
fn connection_that_both_sides_reset_ends() {
    for blocked in [false, true] {
        let (client, server, relay) = relayed(None);
        if blocked {
            for side in [&client, &server] {
                side.set_nonblocking(true).unwrap();
                while { side }.write(&[3; 64 << 10]).is_ok() {}
            }
        }
        reset(client);
        reset(server);
        assert!(matches!(relay.join().unwrap().0, Close::Reset(_)));
    }
}

/// Counts what passes.
struct Counter<'a>(&'a Cell<usize>);

impl Observer for Counter<'_> {
    fn data(&mut self, _: Side, bytes: &[u8]) {
        self.0.set(self.0.get() + bytes.len());
    }

    fn end(&mut self, _: Side) {}
}

#[test]
fn bulk_lets_the_threads_other_connections_have_their_turn() {
    const SCRATCH: usize = 64 << 10;
    /// One turn, and the read that went over it.
    const LIMIT: usize = (256 << 10) + 2 * SCRATCH;
    let (mut client, from_client) = connected();
    let (server, from_server) = connected();
    let sender = thread::spawn(move || client.write_all(&vec![1; 64 << 20]).unwrap());
    let reader = thread::spawn(move || read_all(&server).len());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let passed: &'static Cell<usize> = Box::leak(Box::default());
    let most = tokio::task::LocalSet::new().block_on(&runtime, async {
        let bulk = tokio::task::spawn_local(async move {
            let scratch = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
            let streams = [from_client, from_server].map(|socket| Stream::new(socket, None).unwrap());
            let [client, server] = streams;
            Pair::new(client, server)
                .relay(&scratch, None, &mut Counter(passed))
                .await
        });
        let mut most = 0;
        while !bulk.is_finished() {
            let before = passed.get();
            tokio::task::yield_now().await;
            most = most.max(passed.get() - before);
        }
        most
    });
    sender.join().unwrap();
    assert_eq!(reader.join().unwrap(), 64 << 20);
    assert!(
        most > 0 && most <= LIMIT,
        "{most} bytes while another task waited"
    );
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
