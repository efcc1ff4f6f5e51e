//! `weir`: the tool for people. `tail` follows the embedded store; `decode` reads capture files, `tap`
//! what this machine sees; `top` adds up who asks what; `doctor` asks
//! the sidecar how it is; `demo` shows the whole way on this machine.
#![forbid(unsafe_code)]

mod console;
mod decode;
mod demo;
mod doctor;
mod filter;
mod output;
mod points;
mod signals;
mod store;
mod table;
mod tail;
mod tap;
mod top;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Shows every request that a container serves and makes, decoded.
#[derive(Parser)]
#[command(name = "weir", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Decode(decode::Args),
    Demo(demo::Args),
    Doctor(doctor::Args),
    Tail(tail::Args),
    Tap(tap::Args),
    Top(top::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Decode(args) => decode::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Tap(args) => tap::run(&args),
        Command::Top(args) => top::run(&args),
    };
    conclude(result)
}

/// The exit code: a reader that has gone (`weir tail | head`) is a success, and nothing to talk about.
fn conclude(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if console::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // The terminal itself may be gone.
            let _ = writeln!(io::stderr(), "weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
