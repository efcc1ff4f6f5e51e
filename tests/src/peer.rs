//! The two ends of a connection, in plain blocking calls. Every wait has an end, so that a hang is a failure.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};
use weir_lab::Node;
use xxhash_rust::xxh3::Xxh3;

/// Longest wait for anything; only a hang meets it.
pub const GUARD: Duration = Duration::from_secs(60);

/// Listens in a node, with room for many at once.
pub fn listen(node: &Node, address: SocketAddr) -> TcpListener {
    node.enter(|| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    })
    .unwrap()
    .unwrap_or_else(|error| panic!("{} can't listen at {address}: {error}", node.name()))
}

/// Connects from a node.
///
/// # Errors
/// As connect(2).
pub fn connect(node: &Node, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = node
        .enter(|| TcpStream::connect_timeout(&address, GUARD))
        .unwrap()?;
    guarded(stream)
}

/// The next connection.
pub fn accept(listener: &TcpListener) -> TcpStream {
    assert!(wait(listener, PollFlags::POLLIN, GUARD), "nobody connected");
    guarded(again(|| listener.accept()).unwrap().0).unwrap()
}

/// A connection through whatever is between: the caller's end and the server's.
pub fn pair(caller: &Node, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = connect(caller, listener.local_addr().unwrap()).unwrap();
    let server = accept(listener);
    (client, server)
}

fn guarded(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(GUARD))?;
    stream.set_write_timeout(Some(GUARD))?;
    Ok(stream)
}

/// Does it again where a signal came in between: even one that nobody handles, such as SIGCHLD, ends a call that has a time
/// limit (signal(7)).
pub fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Waits for an event; false if it did not come.
pub fn wait(socket: &impl AsFd, events: PollFlags, limit: Duration) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), events)];
    let limit = PollTimeout::try_from(limit).unwrap();
    again(|| Ok(poll(&mut fds, limit)?)).unwrap() > 0
}

/// Sends a line one way and sees it arrive.
pub fn converse(mut from: &TcpStream, mut to: &TcpStream, line: &[u8]) {
    from.write_all(line).unwrap();
    let mut got = vec![0; line.len()];
    to.read_exact(&mut got).unwrap();
    assert_eq!(got, line);
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// That the next read ends in a reset and gives no byte before.
pub fn assert_reset(mut stream: &TcpStream) {
    let mut buffer = [0; 1];
    match again(|| stream.read(&mut buffer)) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("instead of a reset: {other:?}"),
    }
}

/// That everything was read and the other end has closed its half.
pub fn assert_end(mut stream: &TcpStream) {
    let read = again(|| stream.read(&mut [0; 1])).unwrap();
    assert_eq!(read, 0, "bytes instead of the end");
}

/// What passed one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many bytes.
    pub bytes: u64,
    /// Their hash.
    pub hash: u64,
}

/// Bytes that no compression and no shift can imitate; the same for the same seed.
pub struct Noise {
    state: u64,
    total: u64,
    left: u64,
    digest: Xxh3,
}

impl Noise {
    /// So many bytes.
    pub fn new(seed: u64, bytes: u64) -> Self {
        Self {
            state: seed,
            total: bytes,
            left: bytes,
            digest: Xxh3::new(),
        }
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next piece, of any size up to 128 KiB; empty at the end.
    pub fn piece(&mut self) -> Vec<u8> {
        let size = (self.next() % (128 << 10) + 1).min(self.left);
        self.left -= size;
        let mut piece: Vec<u8> = (0..size.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .collect();
        piece.truncate(usize::try_from(size).unwrap());
        self.digest.update(&piece);
        piece
    }
}

/// Sends noise and closes this half.
pub fn send(stream: &TcpStream, noise: Noise) -> Passed {
    finish(stream, Vec::new(), noise)
}

/// Offers noise without ever waiting for room, until there has been none for two seconds. Gives what was left over.
pub fn offer(mut stream: &TcpStream, noise: &mut Noise) -> Option<Vec<u8>> {
    stream.set_nonblocking(true).unwrap();
    let mut stuck = None;
    'pieces: loop {
        let mut piece = noise.piece();
        if piece.is_empty() {
            break;
        }
        while !piece.is_empty() {
            match stream.write(&piece) {
                Ok(written) => drop(piece.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !wait(&stream, PollFlags::POLLOUT, Duration::from_secs(2)) {
                        stuck = Some(piece);
                        break 'pieces;
                    }
                }
                Err(error) => panic!("offering: {error}"),
            }
        }
    }
    stream.set_nonblocking(false).unwrap();
    stuck
}

/// Sends what [`offer`] left over and the rest, and closes this half.
pub fn finish(mut stream: &TcpStream, left_over: Vec<u8>, mut noise: Noise) -> Passed {
    let mut piece = left_over;
    loop {
        stream.write_all(&piece).unwrap();
        piece = noise.piece();
        if piece.is_empty() {
            break;
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
    Passed {
        bytes: noise.total,
        hash: noise.digest.digest(),
    }
}

/// Reads to the end.
pub fn receive(mut stream: &TcpStream) -> Passed {
    let mut digest = Xxh3::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match again(|| stream.read(&mut buffer)) {
            Ok(0) => break,
            Ok(n) => {
                digest.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(error) => panic!("after {bytes} bytes: {error}"),
        }
    }
    Passed {
        bytes,
        hash: digest.digest(),
    }
}
