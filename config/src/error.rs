//! What can be wrong with a configuration, each in the words that the user needs to mend it.

use std::path::PathBuf;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file that was named by `--config` or `WEIR_CONFIG`.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not YAML, or holds an unknown key or a wrong value. The text names line, column, key and what is allowed.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's message with its position.
        message: String,
    },
    /// Two settings contradict each other, or one is out of its range.
    #[error("{setting}: {message}")]
    Invalid {
        /// The setting's key in the file, as `section.key`.
        setting: &'static str,
        /// What is wrong and what is allowed.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(setting: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            setting,
            message: message.into(),
        }
    }
}
