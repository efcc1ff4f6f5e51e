//! `weir-init`: the command line.

use clap::{Args, Parser, Subcommand};
use std::{
    io::IsTerminal as _,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};
use tracing_subscriber::EnvFilter;
use weir_config::{
    Config, Mode, OnFailure, Period,
    args::{FailureArgs, FileArgs, IdentityArgs, RedirectArgs},
};
use weir_init::{
    apply::Outcome,
    check,
    modes::{self, Removal},
    trial,
};

/// Redirects this network namespace's traffic to weir-sidecar.
///
/// Every setting can also come from the environment (`WEIR_*`) or from the file; a flag wins over a variable, a
/// variable over the file. Exit status: 0 done, 1 failed, 2 wrong command line.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put the redirect in force; the same again changes nothing, another configuration replaces the old one at once
    Install {
        /// Print what would be applied, and touch nothing; needs no privilege
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        failure: FailureArgs,
        #[command(flatten)]
        settings: Settings,
    },
    /// Take everything away that was installed, with whatever settings
    ///
    /// Rules, routes, and the nft tables that were created for them go; what others have added stays. Legacy iptables
    /// alone leaves something behind: the kernel instantiates an empty table on first use and takes it back only with
    /// the namespace. Nothing new is redirected from the start. Connections that go through the sidecar go on: as long
    /// as there are any, what carries them stays, and the next `remove` takes it away.
    Remove {
        /// Print what would be removed, and touch nothing
        #[arg(long)]
        dry_run: bool,
        /// How long to wait for connections through the sidecar to end; what those need that are open then stays
        #[arg(long, value_name = "PERIOD", default_value = "5s")]
        drain: Period,
        /// Don't wait for open connections, and break them
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Prove that these settings are in force: rules, routes, and random tokens through real connections
    ///
    /// Without any setting, what is in force is proved as it describes itself. With settings, it is compared with them; where
    /// those name no mode, with the mode in force.
    Check {
        /// Report as one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Tries mode ebpf with the configuration on standard input, for mode auto, which runs this apart
    #[command(hide = true)]
    Trial,
    /// Sends one token, for `check`, which runs this as the sidecar's user
    #[command(hide = true)]
    Probe {
        source: IpAddr,
        destination: SocketAddr,
        token: String,
    },
}

#[derive(Args)]
struct Settings {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    redirect: RedirectArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

impl Settings {
    /// True if any flag, variable or file gives a setting.
    fn is_given(&self) -> bool {
        self.file.config.is_some()
            || self.redirect != RedirectArgs::default()
            || self.identity != IdentityArgs::default()
    }

    fn config(&self) -> anyhow::Result<Config> {
        let mut config = self.file.load()?;
        self.redirect.apply(&mut config.interception);
        self.identity.apply(&mut config.interception);
        if config.interception.dns {
            config.interception.find_dns_servers()?;
        }
        Ok(config.validated()?)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter.with_env_var("WEIR_LOG").from_env_lossy())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let ended = run(Cli::parse().command).await;
    tracing::debug!("peak memory: {}", peak_memory());
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-init: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Weir's own failure is not the application's: it goes on without being seen.
async fn degrade(config: &Config, error: weir_init::Error) {
    let mut said = format!("{error:#}");
    if let weir_init::Error::Rollback { .. } = error
        && let Err(error) = modes::remove(config, std::time::Duration::ZERO, true).await
    {
        said = format!("{said}; {error}");
    }
    let said: Vec<&str> = said.lines().map(str::trim).collect();
    tracing::error!(
        "degraded: this installation failed, nothing of it is left, and the application goes on without it (on_failure: \
         degrade): {}",
        said.join(" ")
    );
}

/// The most memory that this process has had at one time, in the kernel's words.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap_or("unknown").trim().to_owned()
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Install {
            dry_run,
            failure,
            settings,
        } => {
            let mut config = settings.config()?;
            failure.apply(&mut config);
            if dry_run {
                print!("{}", modes::describe(&config).await?);
                return Ok(ExitCode::SUCCESS);
            }
            match modes::install(&config).await {
                Ok((mode, Outcome::Changed)) => tracing::info!("installed, mode {}", mode.name()),
                Ok(_) => {}
                Err(error) if config.on_failure == OnFailure::Degrade => degrade(&config, error).await,
                Err(error) => return Err(error.into()),
            }
        }
        Command::Remove { dry_run: true, .. } => print!("{}", modes::describe_removal().await?),
        Command::Remove {
            settings,
            drain,
            force,
            ..
        } => match modes::remove(&settings.config()?, drain.0, force).await? {
            Removal::Done => tracing::info!("removed"),
            Removal::Nothing => tracing::info!("nothing was installed here"),
            Removal::Waiting(open) => tracing::warn!(
                "nothing new is redirected, but {open} sockets of connections through the sidecar are open, and what they need \
                 stays so that they go on: run `weir-init remove` again when they have ended, or with --force to break them"
            ),
        },
        Command::Check { json, settings } => {
            let mut config = settings.config()?;
            let described = match settings.is_given() {
                true => None,
                false => modes::described().await.ok().flatten(),
            };
            let is_named = settings.identity.mode.is_some() || config.interception.mode != Mode::default();
            if let Some(mode) = modes::in_force().await?
                && !is_named
            {
                config.interception.mode = mode;
            }
            if let Some(described) = described {
                config = described.validated()?;
            }
            let report = check::check(&config).await?;
            match json {
                true => println!("{}", serde_json::to_string(&report)?),
                false => print!("{report}"),
            }
            if !report.is_ok() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Trial => {
            let settings = std::io::read_to_string(std::io::stdin())?;
            let config = weir_config::parse(&settings)
                .map_err(anyhow::Error::msg)?
                .validated()?;
            trial::ebpf(&config).await.map_err(anyhow::Error::msg)?;
        }
        Command::Probe {
            source,
            destination,
            token,
        } => print!("{}", check::ask(Some(source), destination, &token).await?),
    }
    Ok(ExitCode::SUCCESS)
}
