//! Whether queries for the resolvers come to the redirect with the addresses that its rules name.
//!
//! A program on connect(2) or sendmsg(2) of a control group may write another address in its place before any rule sees the
//! packet: load balancers for services do so (Cilium's for one). It hides that from the asking process, but not from
//! `/proc/net/udp`, which shows the kernel's own view of a socket.

use super::Verdict;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};
use weir_config::{Interception, Mode};

const PORT: u16 = 53;

/// Nothing where every query comes as it was meant.
pub(super) fn rewritten(set: &Interception) -> Option<Verdict> {
    if !set.dns {
        return None;
    }
    let found: Vec<String> = set
        .dns_listeners()
        .map(|(_, server)| SocketAddr::new(server, PORT))
        .filter_map(|meant| Some((meant, real_destination(meant).ok()?)))
        .filter(|(meant, real)| is_missed(set.mode, *meant, *real))
        .map(|(meant, real)| format!("{meant} is made {real}"))
        .collect();
    (!found.is_empty()).then(|| {
        Verdict::Failed(format!(
            "a program of a control group rewrites where queries go ({}): the redirect does not take them over UDP. With \
             Cilium set socketLB.hostNamespaceOnly=true; or name what they are made with --dns-servers, here and to the \
             sidecar; mode ebpf takes any query to port 53",
            found.join(", ")
        ))
    })
}

/// Mode `ebpf` looks at the port alone, the rules of the others at the address.
fn is_missed(mode: Mode, meant: SocketAddr, real: SocketAddr) -> bool {
    match mode {
        Mode::Ebpf => real.port() != meant.port(),
        _ => real != meant,
    }
}

/// Where a socket that asks there really sends. Connecting it sends nothing.
fn real_destination(meant: SocketAddr) -> io::Result<SocketAddr> {
    let any: IpAddr = match meant {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(meant)?;
    let local = socket.local_addr()?;
    let table = match meant {
        SocketAddr::V4(_) => "/proc/thread-self/net/udp",
        SocketAddr::V6(_) => "/proc/thread-self/net/udp6",
    };
    let sockets = fs::read_to_string(table)?;
    let found = sockets.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (own, far) = (address(words.next()?)?, address(words.next()?)?);
        (own == local).then_some(far)
    });
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// An address as the kernel's tables show it: 32-bit numbers as the machine reads them from the network's order, and the
/// port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |n: usize| {
        let digits = ip.get(8 * n..8 * n + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_view_of_a_socket_is_found() {
        for meant in ["127.0.0.1:53", "[::1]:53"] {
            let meant: SocketAddr = meant.parse().unwrap();
            if let Ok(real) = real_destination(meant) {
                assert_eq!(real, meant);
            } else {
                assert!(meant.is_ipv6(), "IPv4 is there");
            }
        }
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let little = cfg!(target_endian = "little");
        let (v4, v6) = match little {
            true => ("020712C6:0035", "120000FD:00000718:00000000:02000000"),
            false => ("C6120702:0035", "FD000012:18070000:00000000:00000002"),
        };
        assert_eq!(address(v4), Some("198.18.7.2:53".parse().unwrap()));
        let v6 = format!("{}:0035", v6.replace(':', ""));
        assert_eq!(address(&v6), Some("[fd00:12:1807::2]:53".parse().unwrap()));
        assert_eq!(address("rem_address"), None);
    }

    #[test]
    fn mode_ebpf_misses_other_ports_alone() {
        let meant: SocketAddr = "198.18.0.1:53".parse().unwrap();
        let (pod, port): (SocketAddr, SocketAddr) = (
            "198.18.9.9:53".parse().unwrap(),
            "198.18.9.9:1053".parse().unwrap(),
        );
        assert!(is_missed(Mode::Redirect, meant, pod) && is_missed(Mode::Tproxy, meant, port));
        assert!(!is_missed(Mode::Ebpf, meant, pod) && is_missed(Mode::Ebpf, meant, port));
        assert!(!is_missed(Mode::Redirect, meant, meant));
    }
}
