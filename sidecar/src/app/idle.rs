//! What is left where Weir's own failure must not hold the application up: the endpoints, which say what is missing.

use super::orders::Orders;
use crate::{
    admin::{self, Endpoint, State},
    condition::{Condition, Degraded},
    metrics::Metrics,
    mode::{self, InForce},
    privilege::Privileges,
};
use anyhow::Context;
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::net::TcpListener;
use weir_config::Config;
use weir_export::Stats;

/// Between two tries.
const PERIOD: Duration = Duration::from_secs(10);

/// Answers for a while that the sidecar does not work and why. False if it is asked to end.
///
/// # Errors
/// Not even that can be had.
pub(super) fn wait(config: &Config, why: &str) -> anyhow::Result<bool> {
    let condition = Arc::new(Condition::default());
    condition.degrade(Degraded::NotWorking, why);
    let installed = mode::look().ok().flatten();
    condition.refuse(
        mode::refuses_without_relay(installed)
            .then(|| format!("traffic is redirected here, and nobody relays it: {why}")),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the main runtime")?;
    let state = Arc::new(State {
        config: config.to_yaml().map_err(anyhow::Error::msg)?,
        metrics: Metrics::new(Vec::new(), Arc::new(Stats::default())).about(condition.clone()),
        workers: Vec::new(),
        mode: Arc::new(InForce::default()),
        privileges: Privileges::default(),
        condition,
        draining: AtomicBool::new(false),
    });
    runtime.block_on(async {
        let relay = &config.relay;
        for (endpoint, port) in [
            (Endpoint::Admin, relay.admin_port),
            (Endpoint::Health, relay.health_port),
            (Endpoint::Metrics, relay.metrics_port),
        ] {
            let opened =
                admin::listen(endpoint, port).and_then(|listener| Ok(TcpListener::from_std(listener)?));
            if let (true, Ok(listener)) = (port != 0, opened) {
                tokio::spawn(admin::serve(endpoint, listener, state.clone()));
            }
        }
        let mut orders = Orders::new(None).context("cannot wait for signals")?;
        tokio::select! {
            _ = orders.next() => Ok(false),
            () = tokio::time::sleep(PERIOD) => Ok(true),
        }
    })
}
