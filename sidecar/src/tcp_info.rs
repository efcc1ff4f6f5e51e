//! `TCP_INFO`: what the kernel has counted of a connection (linux/tcp.h, `struct tcp_info`).
//!
//! The kernel gives as much of the structure as it knows, so each figure is read only where it was given. What can't be had
//! is left out: nothing that is asked here may ever matter to the traffic.
#![allow(unsafe_code)] // one getsockopt, with its reason

use nix::libc;
use std::os::fd::{AsFd, AsRawFd};

/// Longer than the part that is read.
const LENGTH: usize = 232;

// Places in the structure.
const RTT: usize = 68;
const RTT_VARIATION: usize = 72;
const TOTAL_RETRANS: usize = 100;
const SEGS_IN: usize = 140;
const RCV_OOOPACK: usize = 224;

/// What one end of a connection knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Packets that came from the peer, from the end of the handshake on.
    pub received: Option<u64>,
    /// Of those, packets that came behind others which were sent after them (Linux 5.4).
    pub out_of_order: Option<u64>,
    /// Packets that this end sent again.
    pub retransmits: Option<u64>,
    /// Smoothed round-trip time to the peer, in ns; nothing before the first is measured.
    pub rtt: Option<u64>,
    /// Its variation, in ns.
    pub rtt_variation: Option<u64>,
}

impl TcpInfo {
    /// Asks the kernel; nothing if it does not answer.
    pub fn of(socket: &impl AsFd) -> Option<Self> {
        let mut buffer = [0; LENGTH];
        let mut length = libc::socklen_t::try_from(LENGTH).ok()?;
        // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel writes no more than `length` bytes
        // to `buffer`, which has that many, and how many it wrote to `length`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let given = buffer.get(..usize::try_from(length).ok()?)?;
        (result == 0).then(|| Self::read(given))
    }

    /// From as much of the structure as the kernel gave.
    fn read(given: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = given.get(at..at + 4)?;
            Some(u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)))
        };
        let rtt = number(RTT).filter(|rtt| *rtt > 0);
        Self {
            received: number(SEGS_IN),
            out_of_order: number(RCV_OOOPACK),
            retransmits: number(TOTAL_RETRANS),
            rtt: rtt.map(|micros| micros * 1000),
            rtt_variation: rtt.and(number(RTT_VARIATION)).map(|micros| micros * 1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream, UdpSocket},
    };

    #[test]
    fn the_kernel_tells_of_a_connection_and_of_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        let info = TcpInfo::of(&server).unwrap();
        assert!(info.received >= Some(1), "{info:?}");
        assert_eq!(info.retransmits, Some(0));
        assert!(info.rtt > Some(0) && info.rtt < Some(60_000_000_000), "{info:?}");
        assert_eq!(TcpInfo::of(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
    }

    #[test]
    fn a_shorter_answer_gives_what_is_in_it() {
        let mut whole = [0; LENGTH];
        for (at, value) in [
            (RTT, 7u32),
            (RTT_VARIATION, 3),
            (TOTAL_RETRANS, 2),
            (SEGS_IN, 9),
            (RCV_OOOPACK, 1),
        ] {
            whole[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let all = TcpInfo {
            received: Some(9),
            out_of_order: Some(1),
            retransmits: Some(2),
            rtt: Some(7000),
            rtt_variation: Some(3000),
        };
        assert_eq!(TcpInfo::read(&whole), all);
        // Linux before 5.4, before 4.2, and none.
        let older = TcpInfo {
            out_of_order: None,
            ..all
        };
        assert_eq!(TcpInfo::read(&whole[..RCV_OOOPACK]), older);
        assert_eq!(
            TcpInfo::read(&whole[..104]),
            TcpInfo {
                received: None,
                ..older
            }
        );
        assert_eq!(TcpInfo::read(&[]), TcpInfo::default());
    }
}
