//! What can go wrong in a lab, each with what to do about it.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

/// A failure of the lab or of a program in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Not root.
    #[error("network namespaces need root: run this again with sudo")]
    NotRoot,
    /// A name that can't be part of a namespace's.
    #[error("`{0}` can't name a lab or a node: use 1 to 40 letters, digits and hyphens")]
    Name(String),
    /// There is no address left for another pair.
    #[error("a lab joins at most 256 pairs of nodes")]
    TooManyLinks,
    /// A system call or a file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// How it failed.
        source: io::Error,
    },
    /// A command of the lab itself failed.
    #[error("{command} failed: {output}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote.
        output: String,
    },
    /// Something did not get ready in time.
    #[error("{what} was not ready within {waited:?}: {last}{output}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What the last try said.
        last: String,
        /// What the program wrote, if a program was waited for.
        output: Output,
    },
    /// A program ended that should run, or ended in the wrong way.
    #[error("{program} ended with {status}{output}")]
    Exited {
        /// Its name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote.
        output: Output,
    },
    /// A program of Weir is not built.
    #[error(
        "{name} was not found in {}: run `make build`, or set WEIR_BIN_DIR to the directory that has it",
        tried.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotBuilt {
        /// The program's name.
        name: String,
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// An HTTP peer answered with something else than HTTP.
    #[error("{address} answered with something that is not HTTP: {got:?}")]
    NotHttp {
        /// The peer.
        address: SocketAddr,
        /// How its answer begins.
        got: String,
    },
}

/// What a program wrote, shown below the message that it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Output(pub(crate) String);

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.trim().is_empty() {
            return Ok(());
        }
        write!(f, "; it wrote:\n{}", self.0.trim_end())
    }
}

/// Gives an I/O error its context.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|error| LabError::Io {
            what: what(),
            source: error.into(),
        })
    }
}
