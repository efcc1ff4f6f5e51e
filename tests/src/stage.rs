//! Where a relay test plays: a client's namespace, a pod's namespace, and between them nothing or Weir.

use crate::{
    peer::{assert_end, converse, listen, pair},
    weir::{Sidecar, install},
};
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError, RwLock},
};
use weir_lab::{Lab, Link, Node};

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing. What fails here is the test's fault.
    Direct,
    /// `weir-init install --mode redirect` and a sidecar in the pod.
    Redirected,
    /// The same with `--mode tproxy`.
    Tproxy,
    /// The same with `--mode ebpf`.
    Ebpf,
    /// Nothing either, and a sidecar in the pod that looks: `--mode tap`.
    Tap,
}

impl Mode {
    /// What Weir calls it.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Redirected => Some("redirect"),
            Self::Tproxy => Some("tproxy"),
            Self::Ebpf => Some("ebpf"),
            Self::Tap => Some("tap"),
        }
    }
}

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client calls a server in the pod.
    Inbound,
    /// A client in the pod calls a server outside.
    Outbound,
}

/// The address family that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How much of the machine a case takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It may run beside others.
    Light,
    /// It has the machine for itself.
    Heavy,
}

/// Two namespaces, one link, one way, one family.
#[derive(Debug)]
pub struct Stage {
    /// Weir's part, if there is one. First, so that it ends before the namespaces do.
    pub sidecar: Option<Sidecar>,
    /// The node outside.
    pub client: Node,
    /// The observed node.
    pub pod: Node,
    /// Their addresses: `a` is the client's.
    pub link: Link,
    /// What is between them.
    pub mode: Mode,
    /// Who calls.
    pub direction: Direction,
    /// Over what.
    pub family: Family,
    lab: Mutex<Lab>,
}

impl Stage {
    /// Builds it; unless the mode is `Mode::Direct`, Weir is installed and ready.
    pub fn new(mode: Mode, direction: Direction, family: Family) -> Self {
        let mut lab = Lab::new("relay").unwrap();
        let (client, pod) = (lab.node("client").unwrap(), lab.node("pod").unwrap());
        let link = lab.join(&client, &pod).unwrap();
        let sidecar = mode.name().map(|name| {
            if mode != Mode::Tap {
                install(&pod, &["--mode", name]).unwrap();
            }
            Sidecar::start(&pod, &["--mode", name]).unwrap()
        });
        Self {
            mode,
            sidecar,
            client,
            pod,
            link,
            direction,
            family,
            lab: Mutex::new(lab),
        }
    }

    /// Another node, with a link of its own to the pod: `a` is the new node's end.
    pub fn beside(&self, name: &str) -> (Node, Link) {
        let mut lab = self.lab.lock().unwrap_or_else(PoisonError::into_inner);
        let node = lab.node(name).unwrap();
        let link = lab.join(&node, &self.pod).unwrap();
        (node, link)
    }

    /// Who connects.
    pub fn caller(&self) -> &Node {
        match self.direction {
            Direction::Inbound => &self.client,
            Direction::Outbound => &self.pod,
        }
    }

    /// Who listens.
    pub fn callee(&self) -> &Node {
        match self.direction {
            Direction::Inbound => &self.pod,
            Direction::Outbound => &self.client,
        }
    }

    /// The server's address, with this port.
    pub fn server(&self, port: u16) -> SocketAddr {
        let own = match self.direction {
            Direction::Inbound => &self.link.b,
            Direction::Outbound => &self.link.a,
        };
        let [v4, v6] = own.at(port);
        self.pick(v4, v6)
    }

    /// One of two things by family.
    pub fn pick<T>(&self, v4: T, v6: T) -> T {
        match self.family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    /// That a connection to this port, which nobody listens at, is served.
    pub fn assert_serves(&self, port: u16) {
        let listener = listen(self.callee(), self.server(port));
        let (client, server) = pair(self.caller(), &listener);
        converse(&client, &server, b"still there?");
        drop(client);
        assert_end(&server);
    }

    /// That the traffic really went through the sidecar, and that it is as well as before.
    pub fn finish(mut self) {
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.assert_well();
            let seen = match self.mode {
                Mode::Tap => sidecar.metric("weir_capture_connections_total", &[]),
                _ => sidecar.connections(self.direction),
            };
            assert!(
                seen > 0,
                "nothing was redirected, or seen:\n{}",
                sidecar.metrics()
            );
        }
    }
}

/// Runs one case of the matrix.
pub fn play(
    name: &str,
    weight: Weight,
    (mode, direction, family): (Mode, Direction, Family),
    case: impl FnOnce(&Stage),
) {
    static MACHINE: RwLock<()> = RwLock::new(());
    let name = format!("{name}::{mode:?}_{direction:?}_{family:?}");
    if weir_lab::skip_unless_root(&name) {
        return;
    }
    // A case that failed has poisoned nothing but this lock.
    let (_shared, _alone);
    match weight {
        Weight::Light => _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner),
        Weight::Heavy => _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner),
    }
    let stage = Stage::new(mode, direction, family);
    case(&stage);
    stage.finish();
}
