//! Which way of redirecting is put in force, and how one takes another's place.
//!
//! The new one is complete before the old one goes. How `auto` chooses: see [`auto`].

use crate::{
    Error, Family, Plan,
    apply::{self, Outcome},
    attached::{self, Set},
    auto, description,
    ebpf::{self, Draining},
    host, lock, looking,
    open::{self, Way},
    port_map, privilege,
    routes::{self, Changes, Piece, Plumbing},
    tc::{Interface, Tc},
    trial,
};
use std::{fmt::Write as _, time::Duration};
use weir_config::{Config, Mode};

/// How long a change of modes waits for the connections that came by the old one.
const CHANGE: Duration = Duration::from_secs(5);

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing was there.
    Nothing,
    /// All of it is gone.
    Done,
    /// Nothing new is redirected, but so many sockets of open connections need what is left.
    Waiting(usize),
}

/// The configuration with this mode.
pub(crate) fn with(config: &Config, mode: Mode) -> Config {
    let mut config = config.clone();
    config.interception.mode = mode;
    config
}

/// Puts the configuration in force; gives the mode that was chosen.
///
/// # Errors
/// Nothing is left behind, except for [`Error::Rollback`].
pub async fn install(config: &Config) -> Result<(Mode, Outcome), Error> {
    let wanted = config.interception.mode;
    host::check(&config.interception)?;
    if let Err(error) = privilege::check() {
        if wanted != Mode::Auto || !looking::is_all_that_is_left().await? {
            return Err(error);
        }
        looking::fall_back(vec![("ebpf, tproxy and redirect".to_owned(), error.to_string())])?;
        return Ok((Mode::Tap, Outcome::Unchanged));
    }
    if let Some(mode) = in_force().await?
        && (mode == Mode::PortMap) != (wanted == Mode::PortMap)
    {
        return Err(Error::OtherMode(mode.name(), wanted.name()));
    }
    match wanted {
        Mode::Auto => auto::install(config).await,
        Mode::PortMap => Ok((wanted, put_map(config).await?)),
        Mode::Tap => Err(Error::Tap),
        mode => Ok((mode, put(config).await?)),
    }
}

async fn put_map(config: &Config) -> Result<Outcome, Error> {
    let _lock = lock::acquire()?;
    match port_map::install(config, &Family::of_this_kernel()).await? {
        true => Ok(Outcome::Changed),
        false => Ok(Outcome::Unchanged),
    }
}

/// Puts one mode in force and takes the others away.
pub(crate) async fn put(config: &Config) -> Result<Outcome, Error> {
    let families = Family::of_this_kernel();
    if config.interception.mode != Mode::Ebpf {
        return put_rules(config, &families).await;
    }
    let _lock = lock::acquire()?;
    if by_rules().await? {
        apply::find_rules(&families)?;
    }
    let installed = ebpf::install(config, &families).await?;
    let withdrawn = apply::withdraw_rules(&families, &config.interception)?;
    let patience = if withdrawn { CHANGE } else { Duration::ZERO };
    let cleaned = match open::wait(Way::Nat, &config.interception, patience).await {
        0 => apply::clean(&families)?,
        open => {
            leave(open);
            false
        }
    };
    Ok(match installed || withdrawn || cleaned {
        true => Outcome::Changed,
        false => Outcome::Unchanged,
    })
}

fn leave(open: usize) {
    tracing::info!(
        "{open} sockets of connections that came by the mode before are open: what they need stays; install again when \
         they have ended"
    );
}

/// Puts a mode of iptables in force. Where programs are attached, what they need stays until they have gone.
async fn put_rules(config: &Config, families: &[Family]) -> Result<Outcome, Error> {
    if config.interception.mode == Mode::Tproxy {
        no_bridge(config).await?;
    }
    let mut plan = Plan::new(config, families);
    let pieces = plan.pieces.clone();
    // What can't be loaded is better known before anything is changed.
    let draining = Draining::load(config).await?;
    if draining.is_some() {
        let theirs = routes::pieces(Mode::Ebpf, &config.interception);
        plan.pieces.extend(theirs.into_iter().filter(|piece| {
            let is_metric = matches!(piece, Piece::Spare { .. });
            !is_metric && !pieces.contains(piece)
        }));
    }
    let outcome = apply::install(&plan, &config.interception).await?;
    let _lock = lock::acquire()?;
    let Some(draining) = draining else {
        return Ok(outcome);
    };
    draining.put().await?;
    match open::wait(Way::InPlace, &config.interception, CHANGE).await {
        0 => {
            attached::take_away(Set::Redirect).await?;
            Plumbing::open()?
                .trim(families, &pieces, &mut Changes::default())
                .await?;
        }
        open => leave(open),
    }
    Ok(Outcome::Changed)
}

/// TPROXY's choice of a socket is lost where a bridge lets iptables see its frames (br_netfilter): the connection would wait
/// in vain.
async fn no_bridge(config: &Config) -> Result<(), Error> {
    let is_seen = |family: &str| {
        let value = std::fs::read_to_string(format!("/proc/sys/net/bridge/bridge-nf-call-{family}tables"));
        value.is_ok_and(|value| value.trim() != "0")
    };
    if !is_seen("ip") && !is_seen("ip6") {
        return Ok(());
    }
    let interfaces = Tc::open()?.interfaces().await?;
    let excluded = &config.interception.exclude_interfaces;
    let met = |interface: &&Interface| interface.is_bridge && !interface.is_one_of(excluded);
    match interfaces.iter().find(met) {
        Some(bridge) => Err(Error::Bridge(bridge.name.clone())),
        None => Ok(()),
    }
}

/// The mode that is in force, from the metric of the spare route.
///
/// # Errors
/// Those of looking.
pub async fn in_force() -> Result<Option<Mode>, Error> {
    let present = Plumbing::open()?.present(Family::V4).await?;
    Ok(present.iter().find_map(|piece| match piece {
        Piece::Spare { metric } => Mode::from_code(*metric),
        _ => None,
    }))
}

/// True if a mode of iptables is in force.
async fn by_rules() -> Result<bool, Error> {
    Ok(matches!(in_force().await?, Some(Mode::Redirect | Mode::Tproxy)))
}

/// Takes everything away, whatever it was installed with. Nothing new is redirected from then on; connections that are
/// open may go on for so long. What those need that are open then stays, unless `force` is given.
///
/// # Errors
/// Those of looking and changing.
pub async fn remove(config: &Config, patience: Duration, force: bool) -> Result<Removal, Error> {
    if config.interception.mode == Mode::Auto && looking::is_all_that_is_left().await? {
        return Ok(Removal::Nothing);
    }
    privilege::check()?;
    let families = Family::of_this_kernel();
    let _lock = lock::acquire()?;
    if by_rules().await? {
        apply::find_rules(&families)?;
    }
    // Only then are there programs of the port map, and the privilege to ask for them.
    let is_map = in_force().await? == Some(Mode::PortMap);
    let draining = match force || is_map {
        true => None,
        false => Draining::load(config).await?,
    };
    let drained = draining.is_some() || is_map;
    if let Some(draining) = draining {
        draining.put().await?;
    }
    if is_map && !force {
        port_map::drain()?;
    }
    let withdrawn = apply::withdraw_rules(&families, &config.interception)?;
    let routing = Plumbing::open()?;
    if !force && (drained || withdrawn || in_force().await?.is_some()) {
        let open = open::wait(Way::Any, &config.interception, patience).await;
        if open > 0 {
            return Ok(Removal::Waiting(open));
        }
    }
    let programs = attached::take_away(Set::Redirect).await? | (is_map && port_map::take_away().await?);
    let cleaned = apply::clean(&families)?;
    let mut changes = Changes::default();
    routing.trim(&families, &[], &mut changes).await?;
    let something = programs || withdrawn || cleaned || !changes.is_empty();
    Ok(if something {
        Removal::Done
    } else {
        Removal::Nothing
    })
}

/// What an installation would do, as text.
///
/// # Errors
/// Those of looking at the interfaces.
pub async fn describe(config: &Config) -> Result<String, Error> {
    let families = Family::of_this_kernel();
    match config.interception.mode {
        Mode::Auto => {
            let mut text = String::new();
            for mode in auto::ladder(trial::serves(config), &config.interception).0 {
                let config = with(config, mode);
                let _ = writeln!(text, "### {}, if nothing before it works\n", mode.name());
                text.push_str(&Box::pin(describe(&config)).await?);
                text.push('\n');
            }
            let _ = writeln!(
                text,
                "### tap, if nothing before it works\n\n# nothing is installed: weir-sidecar looks, which needs NET_RAW"
            );
            Ok(text)
        }
        Mode::Ebpf => ebpf::describe(config, &families).await,
        Mode::PortMap => port_map::describe(config, &families).await,
        Mode::Tap => Err(Error::Tap),
        Mode::Tproxy | Mode::Redirect => Ok(Plan::new(config, &families).to_string()),
    }
}

/// What a removal would do now, as text.
///
/// # Errors
/// Those of looking.
pub async fn describe_removal() -> Result<String, Error> {
    let mut text = attached::describe_removal(Set::Redirect).await?;
    text.push_str(&attached::describe_removal(Set::PortMap).await?);
    let families = Family::of_this_kernel();
    text.push_str(&apply::removal()?);
    let routing = Plumbing::open()?;
    for family in families {
        for piece in routing.present(family).await?.iter().rev() {
            let _ = writeln!(text, "{}", routes::removal(family, piece));
        }
    }
    Ok(text)
}

/// The configuration that the installation in force says it was made with, its mode named; nothing where it does not say.
///
/// # Errors
/// Those of looking.
pub async fn described() -> Result<Option<Config>, Error> {
    privilege::check()?;
    let Some(mode) = in_force().await? else {
        return Ok(None);
    };
    let by_filters = async |set| -> Result<Option<String>, Error> {
        let scene = attached::Scene::look(set).await?;
        Ok(scene
            .filters
            .iter()
            .find_map(|filter| description::of_filter(&filter.name)))
    };
    let text = match mode {
        Mode::Ebpf => by_filters(Set::Redirect).await?,
        Mode::PortMap => by_filters(Set::PortMap).await?,
        _ => {
            let shown = apply::present(&[Family::V4])?;
            shown
                .iter()
                .find_map(|shown| description::of_rules(&shown.of(Family::V4)))
        }
    };
    Ok(text
        .and_then(|text| description::read(&text))
        .map(|config| with(&config, mode)))
}

/// The configuration that a check is to hold against what is in force: with `auto`, that of the mode in force.
///
/// # Errors
/// Those of looking.
pub async fn resolved(config: &Config) -> Result<Config, Error> {
    match config.interception.mode {
        Mode::Auto => Ok(with(config, in_force().await?.unwrap_or(Mode::Ebpf))),
        _ => Ok(config.clone()),
    }
}
