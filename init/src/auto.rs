//! Mode `auto`: the best mode that works here, found without harm to the one that is in force.
//!
//! A mode that is not in force is [tried](crate::trial) beside the one that is, with tokens, and put in its place only if
//! they have come back. None is tried that the sidecar which listens here can't serve. Where none listens yet, `tproxy`
//! is tried only if the installer was told that the sidecar will have NET_RAW: without it a sidecar leaves the inbound
//! connections of that mode hanging. In mode `ebpf` such a sidecar harms nobody (what goes out passes unseen), and in
//! `redirect` it needs nothing. The last rung is to install nothing: see [`crate::looking`].

use crate::{
    Error,
    apply::Outcome,
    check,
    error::Attempts,
    looking,
    modes::{in_force, put, remove, with},
    trial::{self, Serves},
};
use std::time::Duration;
use weir_config::{Config, Interception, Mode, probe};

/// The modes to try, best first, and those that are left out, each with the reason.
pub fn ladder(serves: Serves, set: &Interception) -> (Vec<Mode>, Vec<(String, String)>) {
    let without = |reason: &str, modes: &[Mode]| {
        let left_out = |mode: &Mode| (mode.name().to_owned(), reason.to_owned());
        modes.iter().map(left_out).collect()
    };
    match serves {
        Serves::Nat => (
            vec![Mode::Redirect],
            without(
                "the sidecar that listens here has no NET_RAW",
                &[Mode::Ebpf, Mode::Tproxy],
            ),
        ),
        Serves::Unknown if !set.sidecar_net_raw => (
            vec![Mode::Ebpf, Mode::Redirect],
            without(
                "it needs a sidecar with NET_RAW, and none listens here yet; --sidecar-net-raw says that it will have it",
                &[Mode::Tproxy],
            ),
        ),
        _ => (vec![Mode::Ebpf, Mode::Tproxy, Mode::Redirect], Vec::new()),
    }
}

/// Finds it and puts it in force; gives the mode.
///
/// # Errors
/// [`Error::NoMode`], with the reason of each; what was in force before still is.
pub async fn install(config: &Config) -> Result<(Mode, Outcome), Error> {
    let before = in_force().await?;
    let (ladder, mut attempts) = ladder(trial::serves(config), &config.interception);
    for (mode, reason) in &attempts {
        tracing::info!("{mode}: not tried: {reason}");
    }
    for mode in ladder {
        match climb(&with(config, mode), before).await {
            Ok(outcome) => {
                tracing::info!("{}: works, proved by tokens through it", mode.name());
                return Ok((mode, outcome));
            }
            Err(reason) => {
                tracing::warn!("{}: not here: {reason}", mode.name());
                attempts.push((mode.name().to_owned(), reason));
            }
        }
    }
    match in_force().await? {
        None => {
            looking::fall_back(attempts)?;
            Ok((Mode::Tap, Outcome::Unchanged))
        }
        // What can't be replaced is not to be taken for gone.
        Some(_) => Err(Error::NoMode(Attempts(attempts))),
    }
}

/// One rung: tried, put in force, proved.
async fn climb(config: &Config, before: Option<Mode>) -> Result<Outcome, String> {
    let mode = config.interception.mode;
    if before != Some(mode) {
        trial::run(config).await?;
    }
    let outcome = put(config).await.map_err(|error| error.to_string())?;
    let report = check::probes(config, probe::PORT).await;
    if report.is_ok() {
        return Ok(outcome);
    }
    // Only where nothing was in force before: else the next rung takes its place.
    if before.is_none() {
        let removed = remove(config, Duration::ZERO, true).await;
        removed.map_err(|error| error.to_string())?;
    }
    Err(report.failures().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_tried_that_the_sidecar_can_not_serve() {
        let mut set = Interception::default();
        assert_eq!(ladder(Serves::Unknown, &set).0, [Mode::Ebpf, Mode::Redirect]);
        assert_eq!(ladder(Serves::Nat, &set).0, [Mode::Redirect]);
        let all = [Mode::Ebpf, Mode::Tproxy, Mode::Redirect];
        assert_eq!(ladder(Serves::InPlace, &set).0, all);
        set.sidecar_net_raw = true;
        assert_eq!(ladder(Serves::Unknown, &set).0, all);
        assert_eq!(ladder(Serves::Nat, &set).0, [Mode::Redirect]);
    }
}
