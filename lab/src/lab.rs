//! The lab: the namespaces of one test or demo and the links between them.

use crate::{
    LabError, Line, Node, Quality,
    error::Output,
    namespace::{self, Namespace, ip},
    patience::patience,
    require_root,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Once},
    time::{Duration, Instant},
};

/// veth pairs come up within milliseconds; this is for a machine under load.
const LINK_UP: Duration = Duration::from_secs(10);

/// Namespaces that live and die together.
#[derive(Debug)]
pub struct Lab {
    name: String,
    links: u8,
    full: bool,
    namespaces: Vec<Arc<Namespace>>,
}

/// A node's addresses on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// From 198.18.0.0/15 (RFC 2544).
    pub v4: Ipv4Addr,
    /// From fd00:198:18::/48.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Both, with this port.
    pub fn at(&self, port: u16) -> [SocketAddr; 2] {
        [IpAddr::from(self.v4), IpAddr::from(self.v6)].map(|ip| SocketAddr::new(ip, port))
    }
}

/// A veth pair.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The first node's addresses.
    pub a: Addresses,
    /// The second node's.
    pub b: Addresses,
}

impl Lab {
    /// An empty lab. The first one of a process sweeps what killed runs left.
    ///
    /// # Errors
    /// The process is not root, or the name has other characters than letters, digits and hyphens.
    pub fn new(name: &str) -> Result<Self, LabError> {
        static SWEEP: Once = Once::new();
        require_root()?;
        check(name)?;
        SWEEP.call_once(namespace::sweep);
        Ok(Self {
            name: name.into(),
            links: 0,
            full: false,
            namespaces: Vec::new(),
        })
    }

    /// A new namespace, with nothing in it but `lo`, which is up.
    ///
    /// # Errors
    /// The name is not one, or `ip` is missing or may not make namespaces.
    pub fn node(&mut self, name: &str) -> Result<Node, LabError> {
        check(name)?;
        let namespace = Arc::new(Namespace::new(&format!("{}-{name}", self.name))?);
        self.namespaces.push(namespace.clone());
        let node = Node::new(name.into(), namespace);
        node.ip("link set lo up")?;
        Ok(node)
    }

    /// The namespace that another program made and a process of it is in, such as a container's. When the lab is dropped,
    /// what still runs in it is killed, as in the lab's own.
    ///
    /// # Errors
    /// The name is not one, or there is no such process.
    pub fn adopt(&mut self, name: &str, pid: u32) -> Result<Node, LabError> {
        check(name)?;
        let label = format!("{}-{name}", self.name);
        let namespace = Arc::new(Namespace::of_process(&label, pid)?);
        self.namespaces.push(namespace.clone());
        Ok(Node::new(name.into(), namespace))
    }

    /// Joins two nodes by a veth pair, `ethK` at both ends for the lab's Kth link from 0. Each has a fresh IPv4 /24 and
    /// IPv6 /64 on it; a node's first link also has its default routes, so every destination has a route.
    ///
    /// # Errors
    /// `ip` fails, or the link does not come up.
    pub fn join(&mut self, a: &Node, b: &Node) -> Result<Link, LabError> {
        let k = self.next_link()?;
        let interface = format!("eth{k}");
        // Both ends are born in their namespaces: nothing to clean up elsewhere.
        ip(&[
            "link",
            "add",
            &interface,
            "netns",
            a.namespace_name(),
            "type",
            "veth",
            "peer",
            "name",
            &interface,
            "netns",
            b.namespace_name(),
        ])?;
        let link = address(a, b, k, &interface)?;
        for node in [a, b] {
            await_up(node, &interface)?;
        }
        route(a, b, &link)?;
        Ok(link)
    }

    /// Joins two nodes as [`Self::join`] does, by a line of this quality, `lineK` at both ends. It lasts until it is dropped.
    ///
    /// # Errors
    /// There is no `/dev/net/tun`, or `ip` fails.
    pub fn join_by_line(&mut self, a: &Node, b: &Node, quality: Quality) -> Result<(Link, Line), LabError> {
        let k = self.next_link()?;
        let interface = format!("line{k}");
        let line = Line::open(a, b, &interface, quality)?;
        let link = address(a, b, k, &interface)?;
        route(a, b, &link)?;
        Ok((link, line))
    }

    fn next_link(&mut self) -> Result<u8, LabError> {
        if self.full {
            return Err(LabError::TooManyLinks);
        }
        let k = self.links;
        match k.checked_add(1) {
            Some(next) => self.links = next,
            None => self.full = true,
        }
        Ok(k)
    }
}

/// Gives both ends of the Kth link their addresses.
fn address(a: &Node, b: &Node, k: u8, interface: &str) -> Result<Link, LabError> {
    let [first, second] = [1u8, 2].map(|host| Addresses {
        v4: Ipv4Addr::new(198, 18, k, host),
        v6: Ipv6Addr::new(0xfd00, 0x198, 0x18, k.into(), 0, 0, 0, host.into()),
    });
    for (node, own) in [(a, first), (b, second)] {
        node.ip(&format!("link set {interface} up"))?;
        node.ip(&format!("addr add {}/24 dev {interface}", own.v4))?;
        // Without duplicate address detection the address can be used at once.
        node.ip(&format!("addr add {}/64 dev {interface} nodad", own.v6))?;
    }
    Ok(Link { a: first, b: second })
}

/// A node's first link has its default routes.
fn route(a: &Node, b: &Node, link: &Link) -> Result<(), LabError> {
    for (node, peer) in [(a, link.b), (b, link.a)] {
        if node.take_default_route() {
            node.ip(&format!("route add default via {}", peer.v4))?;
            node.ip(&format!("route add default via {}", peer.v6))?;
        }
    }
    Ok(())
}

fn await_up(node: &Node, interface: &str) -> Result<(), LabError> {
    let start = Instant::now();
    loop {
        let last = node.ip(&format!("-o link show dev {interface}"))?;
        if last.contains("state UP") {
            return Ok(());
        }
        if start.elapsed() > patience(LINK_UP) {
            return Err(LabError::NotReady {
                what: format!("{interface} of {}", node.name()),
                waited: patience(LINK_UP),
                last,
                output: Output::default(),
            });
        }
    }
}

fn check(name: &str) -> Result<(), LabError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if (1..=40).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(LabError::Name(name.into()))
    }
}
