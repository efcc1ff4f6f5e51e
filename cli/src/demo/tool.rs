//! The programs of others that the demo runs.

use anyhow::{Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};
use weir_lab::Node;

/// Where the program is: on the search path, or where administrators' programs are, which is not on everybody's.
///
/// # Errors
/// It is not installed; says by which package it would be.
pub fn find(name: &str, package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file());
    match found {
        Some(program) => Ok(program),
        None => bail!("{name} is not installed: apt-get install {package} (`make demo` does that)"),
    }
}

/// A command in a namespace, without the user's settings of Weir: the demo says all of its own.
pub fn command(node: &Node, program: &Path) -> Command {
    let mut command = node.command(program);
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"WEIR_") {
            command.env_remove(name);
        }
    }
    command
}
