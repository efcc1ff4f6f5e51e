//! Mode `ebpf`: TC programs that assign packets to the sidecar's sockets (see the crate `weir-bpf`).
//!
//! Programs are replaced one by one, each in one step. While some are old and some are new every connection is still
//! taken by the one or the other: they share the listeners, the marks and the way through lo.

mod settings;
mod tc;

use crate::{
    Error, Family,
    routes::{self, Changes, Plumbing},
};
use tc::{Filter, Found, Interface, PRIORITY, Tc, word};
use weir_bpf::{Kind, Redirect, Side};
use weir_config::{Config, Mode};

pub use settings::settings;

/// What a filter's name ends with while it only lets open connections end.
const DRAINING: &str = ":draining";

/// The interfaces of a namespace, and what of ours is on them.
struct Scene {
    tc: Tc,
    interfaces: Vec<Interface>,
    /// Those that have a clsact qdisc.
    clsact: Vec<u32>,
    filters: Vec<Filter>,
    accepts_local: bool,
}

impl Scene {
    async fn look() -> Result<Self, Error> {
        let tc = Tc::open()?;
        let interfaces = tc.interfaces().await?;
        let clsact = tc.with_clsact().await?;
        let on = |interface: &&Interface| clsact.contains(&interface.index);
        let filters = tc.filters(interfaces.iter().filter(on)).await?;
        Ok(Self {
            tc,
            interfaces,
            clsact,
            filters,
            accepts_local: accepts_local(),
        })
    }

    fn at(&self, interface: &Interface, side: Side) -> Option<&Filter> {
        self.filters
            .iter()
            .find(|filter| filter.index == interface.index && filter.side == side)
    }

    /// What was there before the first of our filters on this interface.
    fn found(&self, interface: &Interface) -> Found {
        let ours = self.filters.iter().find(|filter| filter.index == interface.index);
        ours.map_or_else(
            || Found {
                qdisc: self.clsact.contains(&interface.index),
                accept_local: self.accepts_local,
            },
            |filter| filter.found,
        )
    }

    fn loopback(&self) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.kind == Some(Kind::Loopback))
    }
}

/// True if lo takes packets from this machine's own addresses; where that can't be read, as if it did not.
fn accepts_local() -> bool {
    ["lo", "all"].iter().any(|name| {
        let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/accept_local"));
        value.is_ok_and(|value| value.trim() != "0")
    })
}

fn is_excluded(config: &Config, interface: &Interface) -> bool {
    let names = &config.interception.exclude_interfaces.0;
    names.iter().any(|name| match name.strip_suffix('+') {
        Some(prefix) => interface.name.starts_with(prefix),
        None => *name == interface.name,
    })
}

/// The interfaces that get programs, lo first: what the others send there must be expected.
fn wanted<'a>(scene: &'a Scene, config: &Config) -> Vec<(&'a Interface, Kind)> {
    let mut wanted: Vec<_> = scene
        .interfaces
        .iter()
        .filter(|interface| interface.kind == Some(Kind::Loopback) || !is_excluded(config, interface))
        .filter_map(|interface| Some((interface, interface.kind?)))
        .collect();
    wanted.sort_by_key(|(_, kind)| *kind != Kind::Loopback);
    wanted
}

fn name(kind: Kind, side: Side, fingerprint: u64) -> String {
    format!("{}:{fingerprint:016x}", weir_bpf::program(kind, side))
}

/// Puts the configuration in force. True if anything had to be changed.
///
/// # Errors
/// Nothing is left behind where nothing was before; where an older installation was, some of it may be replaced.
pub async fn install(config: &Config, families: &[Family]) -> Result<bool, Error> {
    let scene = Scene::look().await?;
    let routing = Plumbing::open()?;
    let pieces = routes::pieces(Mode::Ebpf, &config.interception);
    if differences(&scene, config).is_empty() && routing.is_exactly(families, &pieces).await? {
        tracing::info!("this configuration is in force already: nothing to do");
        return Ok(false);
    }
    let programs = Redirect::load(&settings(config))?;
    match programs.loss() {
        None => tracing::info!("eBPF programs loaded"),
        Some(reason) => tracing::warn!(
            "eBPF programs loaded without the part that needs CAP_PERFMON ({reason}): a connection whose addresses and \
             ports are those of one that ended within the last minute is served, but not seen"
        ),
    }
    let mut changes = Changes::default();
    match put(&scene, &routing, families, config, &programs, &mut changes).await {
        Ok(()) => {
            routing.trim(families, &pieces, &mut changes).await?;
            Ok(true)
        }
        Err(cause) if scene.filters.is_empty() => {
            tracing::warn!("installation failed, taking back what was applied");
            let undone = take_away().await.map(drop).and(routing.take_back(&changes).await);
            Err(match undone {
                Ok(()) => cause,
                Err(rollback) => Error::Rollback {
                    cause: Box::new(cause),
                    rollback: Box::new(rollback),
                },
            })
        }
        Err(cause) => Err(cause),
    }
}

async fn put(
    scene: &Scene,
    routing: &Plumbing,
    families: &[Family],
    config: &Config,
    programs: &Redirect,
    changes: &mut Changes,
) -> Result<(), Error> {
    let pieces = routes::pieces(Mode::Ebpf, &config.interception);
    routing.complete(families, &pieces, changes).await?;
    if let Some(lo) = scene.loopback().filter(|_| !scene.accepts_local) {
        scene.tc.accept_local(lo, true).await?;
    }
    let fingerprint = settings(config).fingerprint();
    let wanted = wanted(scene, config);
    for (interface, kind) in &wanted {
        attach(scene, interface, *kind, programs, |side| {
            name(*kind, side, fingerprint)
        })
        .await?;
    }
    for interface in &scene.interfaces {
        if interface.kind.is_none() {
            tracing::warn!(
                "{}: an interface of a kind that is not known here: left alone",
                interface.name
            );
        }
        if !wanted.iter().any(|(other, _)| *other == interface) {
            clear(scene, interface).await?;
        }
    }
    Ok(())
}

async fn attach(
    scene: &Scene,
    interface: &Interface,
    kind: Kind,
    programs: &Redirect,
    name: impl Fn(Side) -> String,
) -> Result<(), Error> {
    let found = scene.found(interface);
    if !scene.clsact.contains(&interface.index) {
        scene.tc.add_clsact(interface).await?;
    }
    for side in [Side::Ingress, Side::Egress] {
        let filter = Filter {
            index: interface.index,
            side,
            found,
            name: name(side),
        };
        let program = programs.descriptor(kind, side)?;
        scene.tc.attach(interface, &filter, program).await?;
    }
    tracing::info!("{}: programs attached", interface.name);
    Ok(())
}

/// Takes our filters off an interface, and the qdisc if it was made for them and nobody else uses it by now.
async fn clear(scene: &Scene, interface: &Interface) -> Result<(), Error> {
    let ours = [Side::Ingress, Side::Egress].map(|side| scene.at(interface, side));
    let Some(found) = ours.iter().flatten().map(|filter| filter.found).next() else {
        return Ok(());
    };
    for filter in ours.into_iter().flatten() {
        scene.tc.detach(interface, filter).await?;
    }
    if !found.qdisc && !scene.tc.has_filters(interface).await? {
        scene.tc.delete_clsact(interface).await?;
    }
    if interface.kind == Some(Kind::Loopback) && !found.accept_local {
        scene.tc.accept_local(interface, false).await?;
    }
    tracing::info!("{}: programs removed", interface.name);
    Ok(())
}

/// Takes all programs away, with what was made for them. True if there were any.
///
/// # Errors
/// Those of the kernel.
pub async fn take_away() -> Result<bool, Error> {
    let scene = Scene::look().await?;
    // lo last: what is sent there is expected until nobody sends any more.
    let mut interfaces: Vec<_> = scene.interfaces.iter().collect();
    interfaces.sort_by_key(|interface| interface.kind == Some(Kind::Loopback));
    for interface in interfaces {
        clear(&scene, interface).await?;
    }
    Ok(!scene.filters.is_empty())
}

/// Whether programs of ours are attached anywhere.
///
/// # Errors
/// Those of looking.
async fn is_present() -> Result<bool, Error> {
    Ok(!Scene::look().await?.filters.is_empty())
}

/// Programs that take nothing new, and carry on what has been taken.
pub struct Draining(Redirect);

impl Draining {
    /// Loads them; nothing where no programs are attached.
    ///
    /// # Errors
    /// [`Error::Drain`].
    pub async fn load(config: &Config) -> Result<Option<Self>, Error> {
        if !is_present().await? {
            return Ok(None);
        }
        match Redirect::load(&settings(config).draining()) {
            Ok(programs) => Ok(Some(Self(programs))),
            Err(cause) => Err(Error::Drain {
                cause: Box::new(cause),
            }),
        }
    }

    /// Puts them in the place of those that are attached.
    ///
    /// # Errors
    /// Those of the kernel.
    pub async fn put(self) -> Result<(), Error> {
        let scene = Scene::look().await?;
        for interface in &scene.interfaces {
            if let (Some(kind), Some(_)) = (interface.kind, scene.at(interface, Side::Ingress)) {
                attach(&scene, interface, kind, &self.0, |side| {
                    format!("{}{DRAINING}", weir_bpf::program(kind, side))
                })
                .await?;
            }
        }
        Ok(())
    }
}

/// What is not as the configuration has it, in words.
fn differences(scene: &Scene, config: &Config) -> Vec<String> {
    let fingerprint = settings(config).fingerprint();
    let wanted = wanted(scene, config);
    let mut wrong = Vec::new();
    for (interface, kind) in &wanted {
        for side in [Side::Ingress, Side::Egress] {
            match scene.at(interface, side) {
                None => wrong.push(format!("{} has no program for {side:?}", interface.name)),
                Some(filter) if filter.name.ends_with(DRAINING) => {
                    wrong.push(format!("{} is being drained", interface.name));
                }
                Some(filter) if filter.name != name(*kind, side, fingerprint) => {
                    wrong.push(format!("{} has other settings for {side:?}", interface.name));
                }
                Some(_) => {}
            }
        }
    }
    for filter in &scene.filters {
        if !wanted
            .iter()
            .any(|(interface, _)| interface.index == filter.index)
        {
            wrong.push(format!("interface {} has a program and should not", filter.index));
        }
    }
    if !scene.accepts_local {
        wrong.push("lo does not accept local packets (net.ipv4.conf.lo.accept_local)".into());
    }
    wrong
}

/// What is wrong with the programs in force, in words; where nothing is, on which interfaces they are.
///
/// # Errors
/// Those of looking.
pub async fn check(config: &Config) -> Result<Result<String, String>, Error> {
    let scene = Scene::look().await?;
    if scene.filters.is_empty() {
        return Ok(Err("no programs are attached; run `weir-init install`".into()));
    }
    let wrong = differences(&scene, config);
    if !wrong.is_empty() {
        return Ok(Err(format!(
            "not as configured: {}; run `weir-init install`",
            wrong.join("; ")
        )));
    }
    let names: Vec<&str> = wanted(&scene, config)
        .iter()
        .map(|(interface, _)| interface.name.as_str())
        .collect();
    Ok(Ok(format!("attached to {}", names.join(", "))))
}

/// What an installation would do, as commands of iproute2.
pub async fn describe(config: &Config, families: &[Family]) -> Result<String, Error> {
    use std::fmt::Write as _;
    let scene = Scene::look().await?;
    let mut text = String::from("# Routing; the metric tells the sidecar the mode\n");
    for family in families {
        for piece in routes::pieces(Mode::Ebpf, &config.interception) {
            let _ = writeln!(text, "{}", routes::command(*family, &piece));
        }
    }
    text.push_str(
        "# By netlink, as /proc/sys can't be written in containers\nsysctl net.ipv4.conf.lo.accept_local=1\n",
    );
    let fingerprint = settings(config).fingerprint();
    text.push_str("# Programs\n");
    for (interface, kind) in wanted(&scene, config) {
        let _ = writeln!(text, "tc qdisc add dev {} clsact", interface.name);
        for side in [Side::Ingress, Side::Egress] {
            let _ = writeln!(
                text,
                "tc filter replace dev {} {} pref {PRIORITY} bpf direct-action {}",
                interface.name,
                word(side),
                name(kind, side, fingerprint)
            );
        }
    }
    Ok(text)
}

/// What [`take_away`] would do now, as commands of iproute2.
///
/// # Errors
/// Those of looking.
pub async fn describe_removal() -> Result<String, Error> {
    use std::fmt::Write as _;
    let scene = Scene::look().await?;
    let mut text = String::new();
    for interface in &scene.interfaces {
        for side in [Side::Ingress, Side::Egress] {
            let Some(filter) = scene.at(interface, side) else {
                continue;
            };
            let _ = writeln!(
                text,
                "tc filter del dev {} {} pref {PRIORITY}  # {}",
                interface.name,
                word(side),
                filter.name
            );
            if side == Side::Egress && !filter.found.qdisc {
                let _ = writeln!(text, "tc qdisc del dev {} clsact", interface.name);
            }
            if side == Side::Egress && interface.kind == Some(Kind::Loopback) && !filter.found.accept_local {
                text.push_str("sysctl net.ipv4.conf.lo.accept_local=0\n");
            }
        }
    }
    Ok(text)
}
