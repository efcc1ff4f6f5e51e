//! The port map: TC programs that rewrite ports on the interfaces of a host, and programs that do so at connect(2) for
//! the host's own clients (see the crate `weir-bpf`).

mod clients;

use crate::{
    Error, Family,
    attached::{self, Scene, Set, Wanted, taken_back},
    description,
    routes::{self, Changes, Plumbing},
};
use clients::Group;
use std::fmt::Write as _;
use weir_bpf::{Kind, PortMap, PortMapSettings, is_port_map_stopped, map_program, stop_port_map};
use weir_config::{Config, Interfaces, Mode};

/// What the programs are told.
fn settings(config: &Config) -> Result<PortMapSettings, Error> {
    let set = &config.interception;
    Ok(PortMapSettings {
        proxy_uid: set.proxy_uid,
        own_mark: set.own_mark(),
        ports: set
            .port_map
            .0
            .iter()
            .map(|pair| (pair.original, pair.mapped))
            .collect(),
        group: set.cgroup.clone(),
        netns: clients::namespace()?,
    })
}

/// The interfaces that get programs: those that are named, or all but lo.
fn wanted<'a>(scene: &'a Scene, config: &Config) -> Result<Wanted<'a>, Error> {
    let set = &config.interception;
    let places = scene
        .interfaces
        .iter()
        .filter(|interface| set.interfaces.0.is_empty() || interface.is_one_of(&set.interfaces))
        .filter(|interface| !interface.is_one_of(&set.exclude_interfaces))
        .filter_map(|interface| Some((interface, interface.kind?)))
        .filter(|(_, kind)| *kind != Kind::Loopback)
        .collect();
    Ok(Wanted {
        places,
        program: |kind, side| map_program(kind, side).unwrap_or_default(),
        fingerprint: settings(config)?.fingerprint(),
        description: description::suffix(config),
    })
}

fn missing(scene: &Scene, config: &Config) -> Vec<String> {
    let names = &config.interception.interfaces.0;
    let is_there = |name: &&String| {
        let only = Interfaces(vec![(*name).clone()]);
        scene
            .interfaces
            .iter()
            .any(|interface| interface.is_one_of(&only))
    };
    names.iter().filter(|name| !is_there(name)).cloned().collect()
}

/// Puts the map in force. True if anything had to be changed.
///
/// # Errors
/// Nothing is left behind where nothing was before.
pub async fn install(config: &Config, families: &[Family]) -> Result<bool, Error> {
    let scene = Scene::look(Set::PortMap).await?;
    if let Some(name) = missing(&scene, config).first() {
        return Err(Error::NoInterface(name.clone()));
    }
    let routing = Plumbing::open()?;
    let pieces = routes::pieces(Mode::PortMap, &config.interception);
    if differences(&scene, config)?.is_empty() && routing.is_exactly(families, &pieces).await? {
        tracing::info!("this port map is in force already: nothing to do");
        return Ok(false);
    }
    let group = clients::group(&config.interception.cgroup)?;
    // Before others are loaded: these are the ones to go.
    let old = clients::present()?;
    let programs = PortMap::load(&settings(config)?, group.is_some())?;
    if let Some(reason) = programs.loss() {
        tracing::warn!(
            "eBPF programs loaded without the part that needs CAP_PERFMON ({reason}): of this machine's own clients, those \
             are left alone that connect to another than a loopback address"
        );
    }
    let mut changes = Changes::default();
    match put(
        &scene,
        &routing,
        families,
        config,
        (&programs, group.as_ref()),
        &mut changes,
    )
    .await
    {
        Ok(()) => {
            clients::take(&old)?;
            routing.trim(families, &pieces, &mut changes).await?;
            Ok(true)
        }
        Err(cause) if scene.filters.is_empty() => {
            tracing::warn!("installation failed, taking back what was applied");
            drop(programs);
            let undone = take_away().await.map(drop).and(routing.take_back(&changes).await);
            Err(taken_back(cause, undone))
        }
        Err(cause) => Err(cause),
    }
}

async fn put(
    scene: &Scene,
    routing: &Plumbing,
    families: &[Family],
    config: &Config,
    (programs, group): (&PortMap, Option<&Group>),
    changes: &mut Changes,
) -> Result<(), Error> {
    let set = &config.interception;
    routing
        .complete(families, &routes::pieces(Mode::PortMap, set), changes)
        .await?;
    let wanted = wanted(scene, config)?;
    wanted
        .put(scene, |kind, side| programs.descriptor(kind, side))
        .await?;
    wanted.warn_of_others(scene).await?;
    match group {
        Some(group) => {
            clients::put(group, programs)?;
            tracing::info!("{group}: programs for this machine's own clients attached");
        }
        None => tracing::info!("connections of this machine's own clients are left alone"),
    }
    Ok(())
}

/// What others have before the programs, in words.
///
/// # Errors
/// Those of looking.
pub async fn in_the_way(config: &Config) -> Result<Vec<String>, Error> {
    let scene = Scene::look(Set::PortMap).await?;
    wanted(&scene, config)?.in_the_way(&scene).await
}

/// Takes the map away, and what was made for it. True if there was any.
///
/// # Errors
/// Those of the kernel.
pub async fn take_away() -> Result<bool, Error> {
    let programs = attached::take_away(Set::PortMap).await?;
    let clients = clients::present()?;
    clients::take(&clients)?;
    Ok(programs || !clients.is_empty())
}

/// Takes nothing new, and lets go on what has been taken.
///
/// # Errors
/// Those of the kernel.
pub fn drain() -> Result<(), Error> {
    Ok(stop_port_map(clients::namespace()?)?)
}

/// What is not as the configuration has it, in words.
fn differences(scene: &Scene, config: &Config) -> Result<Vec<String>, Error> {
    let wanted = wanted(scene, config)?;
    let mut wrong = wanted.differences(scene);
    if is_port_map_stopped(clients::namespace()?)? {
        wrong.push("it takes no new connections, as it is being removed".into());
    }
    let clients = clients::present()?;
    let in_force = clients
        .iter()
        .filter(|program| program.fingerprint == wanted.fingerprint)
        .count();
    let want = if config.interception.cgroup == "none" {
        0
    } else {
        4
    };
    if in_force != want || clients.len() != want {
        wrong.push(format!(
            "{in_force} of {} programs for this machine's own clients are this map's, {want} should be",
            clients.len()
        ));
    }
    Ok(wrong)
}

/// What is wrong with the map in force, in words; where nothing is, on which interfaces it is.
///
/// # Errors
/// Those of looking.
pub async fn check(config: &Config) -> Result<Result<String, String>, Error> {
    let scene = Scene::look(Set::PortMap).await?;
    if scene.filters.is_empty() && clients::present()?.is_empty() {
        return Ok(Err("no port map is in force; run `weir-init install`".into()));
    }
    let wrong = differences(&scene, config)?;
    if !wrong.is_empty() {
        return Ok(Err(format!(
            "not as configured: {}; run `weir-init install`",
            wrong.join("; ")
        )));
    }
    let wanted = wanted(&scene, config)?;
    Ok(Ok(match wanted.places.as_slice() {
        [] => "for local clients alone, as there is no interface".into(),
        _ => format!("attached to {}", wanted.interfaces()),
    }))
}

/// What an installation would do, as commands of iproute2 and bpftool.
///
/// # Errors
/// Those of looking.
pub async fn describe(config: &Config, families: &[Family]) -> Result<String, Error> {
    let scene = Scene::look(Set::PortMap).await?;
    let mut text = String::from("# Routing; the metric tells the sidecar the mode\n");
    for family in families {
        for piece in routes::pieces(Mode::PortMap, &config.interception) {
            let _ = writeln!(text, "{}", routes::command(*family, &piece));
        }
    }
    let _ = writeln!(text, "# Programs that map {}", config.interception.port_map);
    text.push_str(&wanted(&scene, config)?.commands());
    if let Some(group) = clients::group(&config.interception.cgroup)? {
        for hook in ["connect4", "connect6", "getpeername4", "getpeername6"] {
            let _ = writeln!(text, "bpftool cgroup attach {group} cgroup_inet_{hook} … multi");
        }
    }
    Ok(text)
}
