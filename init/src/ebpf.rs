//! Mode `ebpf`: TC programs that assign packets to the sidecar's sockets (see the crate `weir-bpf`).
//!
//! Programs are replaced one by one, each in one step. While some are old and some are new every connection is still
//! taken by the one or the other: they share the listeners, the marks and the way through lo.

mod settings;

use crate::{
    Error, Family,
    attached::{DRAINING, Scene, Set, Wanted, take_away, taken_back},
    description,
    routes::{self, Changes, Plumbing},
};
use weir_bpf::{Kind, Redirect, Side};
use weir_config::{Config, Mode};

pub use settings::settings;

/// The interfaces that get programs, lo first: what the others send there must be expected.
pub fn wanted<'a>(scene: &'a Scene, config: &Config) -> Wanted<'a> {
    let excluded = &config.interception.exclude_interfaces;
    let mut places: Vec<_> = scene
        .interfaces
        .iter()
        .filter(|interface| interface.kind == Some(Kind::Loopback) || !interface.is_one_of(excluded))
        .filter_map(|interface| Some((interface, interface.kind?)))
        .collect();
    places.sort_by_key(|(_, kind)| *kind != Kind::Loopback);
    Wanted {
        places,
        program: weir_bpf::program,
        fingerprint: settings(config).fingerprint(),
        description: description::suffix(config),
    }
}

/// Puts the configuration in force. True if anything had to be changed.
///
/// # Errors
/// Nothing is left behind where nothing was before; where an older installation was, some of it may be replaced.
pub async fn install(config: &Config, families: &[Family]) -> Result<bool, Error> {
    let scene = Scene::look(Set::Redirect).await?;
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
            let undone = take_away(Set::Redirect)
                .await
                .map(drop)
                .and(routing.take_back(&changes).await);
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
    programs: &Redirect,
    changes: &mut Changes,
) -> Result<(), Error> {
    let pieces = routes::pieces(Mode::Ebpf, &config.interception);
    routing.complete(families, &pieces, changes).await?;
    if let Some(lo) = scene.loopback().filter(|_| !scene.accepts_local) {
        scene.tc.accept_local(lo, true).await?;
    }
    let wanted = wanted(scene, config);
    wanted
        .put(scene, |kind, side| programs.descriptor(kind, side))
        .await?;
    wanted.warn_of_others(scene).await
}

/// What others have before the programs, in words.
///
/// # Errors
/// Those of looking.
pub async fn in_the_way(config: &Config) -> Result<Vec<String>, Error> {
    let scene = Scene::look(Set::Redirect).await?;
    wanted(&scene, config).in_the_way(&scene).await
}

/// Whether programs of ours are attached anywhere.
///
/// # Errors
/// Those of looking.
async fn is_present() -> Result<bool, Error> {
    Ok(!Scene::look(Set::Redirect).await?.filters.is_empty())
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
        let scene = Scene::look(Set::Redirect).await?;
        for interface in &scene.interfaces {
            if let (Some(kind), Some(_)) = (interface.kind, scene.at(interface, Side::Ingress)) {
                let name = |side| format!("{}{DRAINING}", weir_bpf::program(kind, side));
                let program = |side| self.0.descriptor(kind, side);
                scene.attach(interface, program, name).await?;
            }
        }
        Ok(())
    }
}

/// What is not as the configuration has it, in words.
fn differences(scene: &Scene, config: &Config) -> Vec<String> {
    let mut wrong = wanted(scene, config).differences(scene);
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
    let scene = Scene::look(Set::Redirect).await?;
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
    Ok(Ok(format!("attached to {}", wanted(&scene, config).interfaces())))
}

/// What an installation would do, as commands of iproute2.
pub async fn describe(config: &Config, families: &[Family]) -> Result<String, Error> {
    use std::fmt::Write as _;
    let scene = Scene::look(Set::Redirect).await?;
    let mut text = String::from("# Routing; the metric tells the sidecar the mode\n");
    for family in families {
        for piece in routes::pieces(Mode::Ebpf, &config.interception) {
            let _ = writeln!(text, "{}", routes::command(*family, &piece));
        }
    }
    text.push_str(
        "# By netlink, as /proc/sys can't be written in containers\nsysctl net.ipv4.conf.lo.accept_local=1\n",
    );
    text.push_str("# Programs\n");
    text.push_str(&wanted(&scene, config).commands());
    Ok(text)
}
