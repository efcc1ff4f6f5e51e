//! `weir-sidecar`: reads the configuration and runs the sidecar.

use anyhow::Context;
use clap::{Parser, ValueEnum};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;
use weir_config::{
    Config,
    args::{CaptureArgs, DocumentArgs, FailureArgs, FileArgs, IdentityArgs, RelayArgs},
};

/// Relays redirected connections and exports one document for each request that passes.
#[derive(Parser, Debug)]
#[command(name = "weir-sidecar", version)]
struct Args {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    failure: FailureArgs,
    #[command(flatten)]
    documents: DocumentArgs,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    relay: RelayArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Print the configuration in force as YAML, and exit
    #[arg(long, help_heading = "Configuration")]
    print_config: bool,
    /// What to log, on standard error: error, warn, info, debug, trace, or a filter such as weir_sidecar=debug
    #[arg(long, env = "WEIR_LOG", default_value = "info", help_heading = "Logging")]
    log: String,
    /// How to log
    #[arg(
        long,
        env = "WEIR_LOG_FORMAT",
        default_value = "text",
        help_heading = "Logging"
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match start(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> anyhow::Result<ExitCode> {
    let config = configuration(args)?;
    if args.print_config {
        print!("{}", config.to_yaml().map_err(anyhow::Error::msg)?);
        return Ok(ExitCode::SUCCESS);
    }
    start_log(args)?;
    tracing::debug!(?config, "configuration");
    weir_sidecar::app::run(&config)
}

fn configuration(args: &Args) -> anyhow::Result<Config> {
    let mut config = args.file.load()?;
    args.failure.apply(&mut config);
    args.identity.apply(&mut config.interception);
    args.relay.apply(&mut config.relay);
    args.documents.apply(&mut config);
    args.capture.apply(&mut config.capture);
    if let Err(error) = config.interception.find_dns_servers()
        && config.interception.dns
    {
        return Err(error.into());
    }
    Ok(config.validated()?)
}

fn start_log(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(&args.log)
        .with_context(|| format!("--log {}", args.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
