//! What is opened before the first thread exists: who the process is, its endpoints' ports, and the sockets that
//! connections are redirected to. A parent keeps all of it for the workers that it starts.

use super::{crew::Share, relay};
use crate::{
    admin::{self, Endpoint},
    drain::OwnListeners,
    identity::{self, Identity},
    mode,
    own::Known,
};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread::sleep,
    time::Duration,
};
use weir_config::{Config, Mode, SourceAddress};

/// How often a port that is taken is tried again before that is believed: another sidecar may just be ending.
const TRIES: u32 = 10;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What data threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// They carry redirected connections.
    Relay,
    /// They only look.
    Tap,
}

impl Role {
    fn of(config: &Config, installed: Option<Mode>) -> Self {
        match config.interception.mode {
            Mode::Tap => Self::Tap,
            Mode::Auto if installed.is_none() => Self::Tap,
            _ => Self::Relay,
        }
    }
}

/// The sockets that connections and queries are redirected to.
#[derive(Debug)]
pub(super) struct Sockets {
    /// One share for each data thread.
    pub(super) shares: Vec<Share>,
    /// They take connections whatever their destination.
    pub(super) transparent: bool,
}

/// What was opened.
#[derive(Debug)]
pub(crate) struct Ground {
    role: Role,
    /// Who relays; nothing where this process can only look.
    identity: Option<Identity>,
    endpoints: Vec<(Endpoint, TcpListener)>,
    missing: Vec<String>,
    sockets: Option<Sockets>,
}

impl Ground {
    /// Opens all of it, and gives up what no later worker needs. Starts no thread.
    ///
    /// # Errors
    /// Something that was asked for can't be had; the error says what to do.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let files = identity::raise_open_files();
        tracing::debug!(files, "the limit of open files");
        let installed = installed();
        let role = Role::of(config, installed);
        let identity = assume(config, role)?;
        let (endpoints, missing) = open_endpoints(config, role)?;
        let mut ground = Self {
            role,
            identity,
            endpoints,
            missing,
            sockets: None,
        };
        if role == Role::Relay {
            ground.open_sockets(config)?;
        }
        if identity.is_some_and(|identity| !keeps_net_raw(config, identity, role, installed)) {
            identity::give_up_net_raw()?;
        }
        Ok(ground)
    }

    /// Finds out anew what the next worker is to do, and opens what that needs and is not open.
    ///
    /// # Errors
    /// A port is taken.
    pub(crate) fn renew(&mut self, config: &Config) -> anyhow::Result<()> {
        if self.role == Role::Tap && self.can_relay() {
            self.role = Role::of(config, installed());
        }
        if self.role == Role::Relay && self.sockets.is_none() {
            self.open_sockets(config)?;
        }
        Ok(())
    }

    fn open_sockets(&mut self, config: &Config) -> anyhow::Result<()> {
        let Some(identity) = self.identity else {
            anyhow::bail!("this process cannot relay");
        };
        self.sockets = Some(relay::open_sockets(config, identity)?);
        Ok(())
    }

    /// Closes what connections are redirected to. Where the redirect lets pass what nobody listens for, traffic then goes
    /// straight on.
    pub(crate) fn close_sockets(&mut self) {
        self.sockets = None;
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether it relays, or may have to.
    pub(crate) fn can_relay(&self) -> bool {
        self.identity.is_some()
    }

    /// Endpoints that have no port, each with the reason.
    pub(super) fn missing_endpoints(&self) -> &[String] {
        &self.missing
    }

    pub(super) fn take_sockets(&mut self, config: &Config) -> anyhow::Result<Sockets> {
        if self.sockets.is_none() {
            self.open_sockets(config)?;
        }
        self.sockets
            .take()
            .ok_or_else(|| anyhow::anyhow!("this process cannot relay"))
    }

    pub(super) fn into_endpoints(self) -> Vec<(Endpoint, TcpListener)> {
        self.endpoints
    }

    /// For a worker: takes everything, and leaves nothing but what it was.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            role: self.role,
            identity: self.identity,
            endpoints: std::mem::take(&mut self.endpoints),
            missing: std::mem::take(&mut self.missing),
            sockets: self.sockets.take(),
        }
    }

    /// The listening sockets, by which those of others are told.
    pub(super) fn own(&self) -> OwnListeners {
        let mut own = OwnListeners::default();
        let mut add = |socket: &TcpListener| {
            own.add(socket, socket.local_addr().map_or(0, |address| address.port()));
        };
        self.endpoints.iter().for_each(|(_, socket)| add(socket));
        let shares = self.sockets.iter().flat_map(|sockets| &sockets.shares);
        shares
            .flat_map(|share| &share.listeners)
            .for_each(|listener| add(&listener.socket));
        own
    }
}

fn installed() -> Option<Mode> {
    mode::look()
        .inspect_err(|error| tracing::warn!(%error, "cannot ask which mode is installed"))
        .ok()
        .flatten()
}

/// Who this process is from now on; nothing where it can only look.
fn assume(config: &Config, role: Role) -> anyhow::Result<Option<Identity>> {
    let set = &config.interception;
    if set.mode == Mode::Tap {
        identity::for_tap(set.proxy_uid, set.proxy_gid)?;
        return Ok(None);
    }
    match identity::assume(set.proxy_uid, set.proxy_gid, set.own_mark()) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) if role == Role::Tap => {
            tracing::warn!(
                "this process can look, and could not relay if traffic were redirected later: {error:#}"
            );
            identity::for_tap(set.proxy_uid, set.proxy_gid)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether a relay keeps NET_RAW: where it dials from addresses of other machines or marks its connections, or may have
/// to, since nobody knows the mode before an installation.
pub(crate) fn relay_keeps_net_raw(config: &Config, identity: Identity, installed: Option<Mode>) -> bool {
    let for_clients = config.relay.source_address == SourceAddress::Client
        && config.interception.mode != Mode::PortMap
        && installed != Some(Mode::Redirect);
    // Marks are needed whatever the mode is now, for it may change.
    identity.net_raw && (identity.known == Known::Mark || for_clients)
}

/// Whether the process keeps it, for itself or for the workers that it starts: each opens its own packet sockets.
fn keeps_net_raw(config: &Config, identity: Identity, role: Role, installed: Option<Mode>) -> bool {
    identity.net_raw
        && (role == Role::Tap || config.capture.beside || relay_keeps_net_raw(config, identity, installed))
}

type Endpoints = (Vec<(Endpoint, TcpListener)>, Vec<String>);

/// Opens the endpoints. Their ports are exclusive, so that a second sidecar in the same namespace ends here and not beside
/// the first one's listeners, which can be shared. A port that something else has taken is no reason to leave the
/// traffic alone.
fn open_endpoints(config: &Config, role: Role) -> anyhow::Result<Endpoints> {
    let relay = &config.relay;
    let wanted = [
        (Endpoint::Admin, relay.admin_port),
        (Endpoint::Health, relay.health_port),
        (Endpoint::Metrics, relay.metrics_port),
    ];
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for (endpoint, port) in wanted.into_iter().filter(|(_, port)| *port != 0) {
        match with_patience(|| admin::listen(endpoint, port)) {
            Ok(listener) => opened.push((endpoint, listener)),
            Err(error) if role == Role::Relay && !is_relayed(config) => missing.push(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    if role == Role::Relay
        && with_patience(|| match is_relayed(config) {
            true => Err(anyhow::anyhow!("taken")),
            false => Ok(()),
        })
        .is_err()
    {
        anyhow::bail!(
            "somebody listens on {} already; does a sidecar run here? Choose other ports with --inbound-port and --outbound-port, or in --port-map",
            ports(config)
                .map(|port| port.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    Ok((opened, missing))
}

/// Tries again for a while.
fn with_patience<T>(mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    for _ in 1..TRIES {
        if let Ok(result) = attempt() {
            return Ok(result);
        }
        sleep(PAUSE);
    }
    attempt()
}

fn ports(config: &Config) -> impl Iterator<Item = u16> {
    let set = &config.interception;
    let mapped: Vec<_> = set.port_map.0.iter().map(|pair| pair.mapped).collect();
    match mapped.is_empty() {
        true => vec![set.inbound_port, set.outbound_port],
        false => mapped,
    }
    .into_iter()
}

/// True if somebody listens where connections are redirected to.
fn is_relayed(config: &Config) -> bool {
    ports(config).any(|port| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let bind = || {
            let socket = crate::socket::tcp(address)?;
            // Without SO_REUSEPORT, so that no listener shares its port with this socket.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())
        };
        bind().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    })
}
