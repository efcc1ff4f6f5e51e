//! The port map of a host before a port that Docker publishes.

use crate::{
    engine::{Engine, Network},
    pod::{Kept, NGINX, PORT},
};
use std::{fs, net::SocketAddr};
use weir_lab::Node;
use weir_tests::{
    stage::Direction,
    weir::{LIMIT, Sidecar, init, install, local},
};

const MAP: [&str; 2] = ["--port-map", "8080:9080"];

/// A host whose container publishes a port, and another machine.
struct Host {
    outside: Node,
    addresses: [SocketAddr; 2],
    neighbour: Node,
    container: SocketAddr,
    engine: Engine,
}

impl Host {
    fn new() -> Self {
        let mut engine = Engine::start(Network::DUAL);
        let (outside, link) = engine.outside();
        let file = engine.directory().join("nginx.conf");
        fs::write(&file, NGINX).unwrap();
        let file = file.display().to_string();
        let nginx = ["nginx", "-c", &file];
        let published = format!("{PORT}:{PORT}");
        let app = engine.container("app", 2, &["--publish", &published], &nginx);
        let neighbour = engine.container("neighbour", 3, &[], &nginx);
        let container = SocketAddr::new(app.ips[0], PORT);
        app.node.tcp_ready(container, LIMIT).unwrap();
        Self {
            outside,
            addresses: link.b.at(PORT),
            neighbour: neighbour.node,
            container,
            engine,
        }
    }

    /// Everybody asks for the published port: another machine, the host itself by each of its addresses, a container. How
    /// many that were.
    fn everybody_asks(&self) -> u64 {
        let mut asked = 0;
        let mut ask = |node: &Node, address: SocketAddr| {
            let (status, _) = node.http_get(address, "/").unwrap();
            assert_eq!(status, 200, "{} asks {address}", node.name());
            asked += 1;
        };
        for address in self.addresses {
            ask(&self.outside, address);
            ask(self.engine.host(), address);
        }
        ask(self.engine.host(), local(PORT));
        ask(self.engine.host(), ([0, 0, 0, 0, 0, 0, 0, 1_u16], PORT).into());
        ask(&self.neighbour, self.addresses[0]);
        asked
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Programs of control groups do not go with the namespace.
        if let Err(error) = init(self.engine.host(), "remove", &["--force"]) {
            eprintln!("the port map's programs may be left: {error}");
        }
    }
}

pub fn published_port_comes_to_the_sidecar_first() {
    let host = Host::new();
    let own = host.engine.host();
    host.everybody_asks();
    let mut before = [&host.outside, own].map(|node| Kept::open(node, host.addresses[0]));
    install(own, &MAP).unwrap();
    // Without a sidecar nothing changes.
    host.everybody_asks();
    let mut sidecar = Sidecar::start(own, &MAP).unwrap();
    let asked = host.everybody_asks();
    assert_eq!(sidecar.connections(Direction::Inbound), asked);
    before.iter_mut().for_each(Kept::ask);
    // What goes to the container's own address passes the host.
    assert_eq!(host.neighbour.http_get(host.container, "/").unwrap().0, 200);
    assert_eq!(sidecar.connections(Direction::Inbound), asked);
    sidecar.process.kill().unwrap();
    host.everybody_asks();
    before.iter_mut().for_each(Kept::ask);
    let sidecar = Sidecar::start(own, &MAP).unwrap();
    assert_eq!(host.everybody_asks(), sidecar.connections(Direction::Inbound));
    let said = init(own, "check", &MAP).unwrap();
    assert!(said.contains("there for 8080:9080"), "{said}");
    init(own, "remove", &[]).unwrap();
    host.everybody_asks();
    assert_eq!(sidecar.connections(Direction::Inbound), asked, "nothing new");
    before.iter_mut().for_each(Kept::ask);
}
