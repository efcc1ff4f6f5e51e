//! What mode `redirect` and its kin are made of: listeners, and data threads that relay.

use super::{
    crew::{Handle, Planned, Share, Source, spawn},
    ground::{Sockets, relay_keeps_net_raw},
    host_name,
};
use crate::{
    dial::Dialer,
    dns,
    identity::{self, Identity},
    legs::Legs,
    limits,
    listen::{self, Listener},
    metrics::WorkerMetrics,
    mode::{self, InForce},
    own::{Known, Own},
    privilege::Privileges,
    waiting::Waiting,
    worker::{self, Parts, Settings},
};
use std::sync::Arc;
use tokio::sync::mpsc;
use weir_config::{Config, Interception, Mode};
use weir_export::Pipeline;
use weir_protocols::Decoders;
use weir_records::{Direction, Names, Policy};

/// Opens what connections and queries are redirected to. Starts no thread.
///
/// # Errors
/// A port is taken.
pub(super) fn open_sockets(config: &Config, identity: Identity) -> anyhow::Result<Sockets> {
    let set = &config.interception;
    let identity = Identity {
        // Gone where an earlier worker's mode had no use for it.
        net_raw: identity.net_raw && identity::has_net_raw(),
        ..identity
    };
    let own = Own::new(identity.known, set.own_mark());
    let threads = limits::threads(config.relay.threads);
    let mut shares: Vec<_> = listen::deal(open_listeners(config, identity, own, threads)?, threads)?
        .into_iter()
        .map(|listeners| Share {
            listeners,
            dns: Vec::new(),
        })
        .collect();
    if let Some(first) = shares.first_mut()
        && set.port_map.0.is_empty()
    {
        // One thread carries all of it.
        first.dns = open_dns(set, own)?;
    }
    Ok(Sockets {
        shares,
        transparent: identity.net_raw,
    })
}

/// Makes a relay of the sockets, and gives up what is needed no more. `legs`, if given, are told of every socket that
/// relays.
///
/// # Errors
/// A capability can't be given up, or there are no descriptors left.
pub(super) fn open(
    config: &Config,
    identity: Identity,
    sockets: Sockets,
    mode: &Arc<InForce>,
    names: &Arc<Names>,
    legs: Option<Arc<Legs>>,
) -> anyhow::Result<Source> {
    let set = &config.interception;
    let own = Own::new(identity.known, set.own_mark());
    weir_export::prepare_sockets(move |socket| own.prepare(socket));
    let Sockets {
        mut shares,
        transparent,
    } = sockets;
    let threads = shares.len();
    // The last moment: capabilities are a thread's own, and from here on there are more threads.
    let privileges = reduce(identity, transparent, mode, config)?;
    mode::advise(mode, privileges, config.relay.source_address);
    if mode.get() == Some(Mode::Ebpf) && (!privileges.transparent || privileges.unmarked) {
        // Nobody could answer from the resolver's address, or ask it unseen. Without a socket the programs let queries pass.
        shares.iter_mut().for_each(|share| share.dns.clear());
    }
    let settings = Arc::new(settings(config, mode, names, threads));
    let dialer = Dialer::new(
        config.relay.connect_timeout.non_zero(),
        config.relay.keepalive.non_zero(),
        own,
        set.outbound_port,
    );
    let dialer = Arc::new(dialer.telling(legs, identity.known != Known::User));
    let plan = |(n, share): (usize, Share)| -> anyhow::Result<Planned> {
        let (given, settings, dialer) = (share.try_clone()?, settings.clone(), dialer.clone());
        let start = move |pipeline: &Pipeline| start_worker(n, given, settings, dialer, pipeline);
        Ok(Planned {
            share,
            start: Box::new(start),
        })
    };
    Ok(Source {
        privileges,
        listens_on: listens_on(set),
        threads: shares
            .into_iter()
            .enumerate()
            .map(plan)
            .collect::<anyhow::Result<_>>()?,
    })
}

fn settings(config: &Config, mode: &Arc<InForce>, names: &Arc<Names>, threads: usize) -> Settings {
    let memory = usize::try_from(config.decoding.memory.0).unwrap_or(usize::MAX);
    Settings {
        mode: mode.clone(),
        source: config.relay.source_address,
        keepalive: config.relay.keepalive.non_zero(),
        idle: config.relay.idle_timeout.non_zero(),
        max_buffer: usize::try_from(config.relay.max_buffer.0).unwrap_or(usize::MAX),
        decoders: config.decoding.enabled.then(|| Decoders::from(config)),
        decoder_memory: limits::share(memory, threads),
        look: Waiting::period(config),
        policy: Arc::new(Policy::new(&config.records)),
        host: host_name(&config.records.host_name),
        flows: config.flows,
        names: names.clone(),
    }
}

/// Every listener that the configuration asks for, as a plain list.
fn open_listeners(
    config: &Config,
    identity: Identity,
    own: Own,
    threads: usize,
) -> anyhow::Result<Vec<Listener>> {
    let set = &config.interception;
    let net_raw = identity.net_raw;
    // In place, what leaves would come back here if its own dials can't be told from an application's.
    let takes_outbound = net_raw && !identity.is_unmarked();
    if !set.port_map.0.is_empty() {
        let mut listeners = Vec::new();
        for pair in &set.port_map.0 {
            listeners.extend(listen::mapped(*pair, own.mark(), threads)?);
        }
        return Ok(listeners);
    }
    let mut listeners = listen::listeners(Direction::Egress, set.outbound_port, takes_outbound, threads)?;
    listeners.extend(listen::listeners(
        Direction::Ingress,
        set.inbound_port,
        net_raw,
        threads,
    )?);
    match listen::listeners(Direction::Egress, set.dns_port, takes_outbound, threads) {
        Ok(opened) => listeners.extend(opened),
        Err(error) => without_dns(set, error)?,
    }
    Ok(listeners)
}

/// The listeners' ports, for people.
fn listens_on(set: &Interception) -> String {
    match set.port_map.0.is_empty() {
        true => format!("inbound {}, outbound {}", set.inbound_port, set.outbound_port),
        false => format!("port map {}", set.port_map),
    }
}

/// Keeps NET_RAW only where it is of use, or may be.
fn reduce(
    identity: Identity,
    transparent: bool,
    mode: &InForce,
    config: &Config,
) -> anyhow::Result<Privileges> {
    // An earlier worker's mode may have had no use for it, and then it is gone.
    let keep = relay_keeps_net_raw(config, identity, mode.get()) && identity::has_net_raw();
    if !keep {
        identity::give_up_net_raw()?;
    }
    Ok(Privileges {
        transparent,
        foreign_source: keep,
        unmarked: identity.is_unmarked(),
    })
}

/// The sockets for DNS over UDP. They are there whether DNS is redirected or not, for the sidecar is not told.
fn open_dns(set: &Interception, own: Own) -> anyhow::Result<Vec<dns::listen::Listener>> {
    match dns::listen::listeners(set, own) {
        Ok(opened) => Ok(opened),
        Err(error) => without_dns(set, error).map(|()| Vec::new()),
    }
}

/// A port for DNS that is taken is no failure unless DNS is known to be redirected there.
fn without_dns(
    set: &Interception,
    error: impl std::error::Error + Send + Sync + 'static,
) -> anyhow::Result<()> {
    if set.dns {
        return Err(error.into());
    }
    tracing::warn!(%error, "DNS can't be carried if it is redirected");
    Ok(())
}

fn start_worker(
    n: usize,
    share: Share,
    settings: Arc<Settings>,
    dialer: Arc<Dialer>,
    pipeline: &Pipeline,
) -> anyhow::Result<Handle> {
    let (commands, received) = mpsc::channel(16);
    let metrics = Arc::new(WorkerMetrics::default());
    let parts = Parts {
        share,
        settings,
        dialer,
        metrics: metrics.clone(),
        producer: pipeline.producer(),
        commands: received,
    };
    spawn(n, commands, metrics, move || worker::run(parts))
}
