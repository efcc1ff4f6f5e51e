//! The socket that redirected queries arrive at.
//!
//! Where NAT redirects, a datagram's destination is this socket's address, and each resolver has a socket of its own.
//! Where a datagram is assigned to this socket (TPROXY, eBPF), its destination is still the resolver; the answer is sent
//! from that address, with this socket's port, which the redirect turns into the resolver's. To send from an address that
//! is another machine's the socket must be transparent, which takes CAP_NET_RAW.
#![allow(unsafe_code)] // one socket option and one registration, each with its reason

use crate::own::Own;
use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    },
};
use socket2::Socket;
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Asked for as the socket's buffer; the kernel gives at most net.core.rmem_max.
const BUFFER: usize = 4 << 20;

/// A bound socket for queries.
#[derive(Debug)]
pub struct QuerySocket {
    socket: UdpSocket,
    local: SocketAddr,
    transparent: bool,
}

/// What was received into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of it.
    pub length: usize,
    /// Who sent it.
    pub client: SocketAddr,
    /// Whom it was sent to, if that is not this socket.
    pub asked: Option<SocketAddr>,
    /// Datagrams that the kernel has dropped so far because this socket's buffer was full.
    pub overflow: u32,
}

impl QuerySocket {
    /// Binds to this address, transparently if the process may.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn bind(address: SocketAddr, own: Own) -> io::Result<Self> {
        let socket = own.udp(address)?;
        let transparent = match address {
            SocketAddr::V4(_) => {
                setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?;
                setsockopt(&socket, sockopt::IpTransparent, &true)
            }
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?;
                set_transparent_v6(&socket)
            }
        };
        match transparent {
            Ok(()) | Err(Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        }
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        // A burst waits in the buffer while this thread does something else; less than was asked for is no failure.
        let _ = socket.set_recv_buffer_size(BUFFER);
        socket.bind(&address.into())?;
        Ok(Self {
            socket: socket.into(),
            local: address,
            transparent: transparent.is_ok(),
        })
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            local: self.local,
            transparent: self.transparent,
        })
    }

    /// Has the runtime watch it for datagrams.
    ///
    /// # Errors
    /// The descriptor can't be watched: too many are.
    pub fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the socket owns its descriptor, which stays open and the same until it is dropped, and that is with the AsyncFd.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// Answers can be sent from addresses of other machines.
    pub fn is_transparent(&self) -> bool {
        self.transparent
    }

    /// Its address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next datagram.
    ///
    /// # Errors
    /// As recvmsg(2).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = cmsg_space!(libc::sockaddr_in6, u32);
        let mut pieces = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut pieces,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let client = message.address.as_ref().and_then(address);
        let client = client.ok_or(io::ErrorKind::InvalidData)?;
        let (mut asked, mut overflow) = (None, 0);
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::Ipv4OrigDstAddr(to) => {
                    let ip = Ipv4Addr::from(u32::from_be(to.sin_addr.s_addr));
                    asked = Some((ip, u16::from_be(to.sin_port)).into());
                }
                ControlMessageOwned::Ipv6OrigDstAddr(to) => {
                    let ip = Ipv6Addr::from(to.sin6_addr.s6_addr);
                    asked = Some((ip, u16::from_be(to.sin6_port)).into());
                }
                ControlMessageOwned::RxqOvfl(dropped) => overflow = dropped,
                _ => {}
            }
        }
        Ok(Received {
            length: message.bytes,
            client,
            asked: asked.filter(|asked| *asked != self.local),
            overflow,
        })
    }

    /// Sends, from another address if one is given.
    ///
    /// # Errors
    /// As sendmsg(2).
    pub fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        let (v4, v6);
        let control = match from {
            None => None,
            Some(IpAddr::V4(ip)) => {
                v4 = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(ip).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                Some(ControlMessage::Ipv4PacketInfo(&v4))
            }
            Some(IpAddr::V6(ip)) => {
                v6 = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: 0,
                };
                Some(ControlMessage::Ipv6PacketInfo(&v6))
            }
        };
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control.as_slice(),
            MsgFlags::empty(),
            Some(&SockaddrStorage::from(to)),
        )?;
        Ok(())
    }
}

impl AsRawFd for QuerySocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// IPV6_TRANSPARENT (include/uapi/linux/in6.h), which no library has.
fn set_transparent_v6(socket: &Socket) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as `socket` is, and the kernel reads one int from `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_TRANSPARENT,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn asker(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    #[test]
    fn a_datagram_to_the_socket_itself_was_sent_to_nobody_else() {
        for loopback in ["127.0.0.1", "::1"] {
            let any_port = SocketAddr::new(loopback.parse().unwrap(), 0);
            let port = UdpSocket::bind(any_port).unwrap().local_addr().unwrap().port();
            let socket = QuerySocket::bind(SocketAddr::new(any_port.ip(), port), Own::default()).unwrap();
            let client = asker(loopback);
            client.send_to(b"query", socket.local()).unwrap();
            // On loopback it is there when send_to returns.
            let mut buffer = [0; 64];
            let received = socket.receive(&mut buffer).unwrap();
            assert_eq!(&buffer[..received.length], b"query");
            assert_eq!(received.client, client.local_addr().unwrap());
            assert_eq!((received.asked, received.overflow), (None, 0));
            socket.send(b"answer", received.client, None).unwrap();
            assert_eq!(client.recv_from(&mut buffer).unwrap(), (6, socket.local()));
        }
    }

    fn free_port() -> u16 {
        UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    }

    #[test]
    fn an_answer_can_come_from_another_address_and_the_same_port() {
        let port = free_port();
        let socket = QuerySocket::bind(([127, 0, 0, 1], port).into(), Own::default()).unwrap();
        let client = asker("127.0.0.1");
        let from = Ipv4Addr::new(127, 0, 0, 53);
        socket
            .send(b"answer", client.local_addr().unwrap(), Some(from.into()))
            .unwrap();
        assert_eq!(client.recv_from(&mut [0; 64]).unwrap(), (6, (from, port).into()));
    }

    #[test]
    fn what_the_buffer_could_not_hold_is_counted() {
        let port = free_port();
        let socket = QuerySocket::bind(([127, 0, 0, 1], port).into(), Own::default()).unwrap();
        let client = asker("127.0.0.1");
        let sent = 4096;
        for _ in 0..sent {
            client.send_to(&[0; 8192], socket.local()).unwrap();
        }
        let mut buffer = [0; 8192];
        let mut received = 0;
        while socket.receive(&mut buffer).is_ok() {
            received += 1;
        }
        assert!(received < sent, "the buffer held everything");
        client.send_to(&[0], socket.local()).unwrap();
        assert_eq!(socket.receive(&mut buffer).unwrap().overflow, sent - received);
    }
}
