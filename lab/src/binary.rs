//! Where Weir's own programs are.

use crate::LabError;
use std::{env, path::PathBuf};

/// The program of this name: in `WEIR_BIN_DIR` if that is set; else beside the current executable (for a test: in its
/// profile's directory); else in the release and debug directories next to that one.
///
/// # Errors
/// It is in none of them.
pub fn binary(name: &str) -> Result<PathBuf, LabError> {
    let tried = match env::var_os("WEIR_BIN_DIR") {
        Some(dir) => vec![PathBuf::from(dir)],
        None => beside_this_program(),
    };
    match tried.iter().map(|dir| dir.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(LabError::NotBuilt {
            name: name.into(),
            tried,
        }),
    }
}

fn beside_this_program() -> Vec<PathBuf> {
    let Some(mut own) = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(PathBuf::from))
    else {
        return Vec::new();
    };
    if own.ends_with("deps") {
        own.pop();
    }
    let mut dirs = vec![own.clone()];
    if let Some(target) = own.parent() {
        dirs.extend(
            ["release", "debug"]
                .map(|profile| target.join(profile))
                .into_iter()
                .filter(|d| *d != own),
        );
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_what_to_do() {
        let message = binary("weir-no-such-program").unwrap_err().to_string();
        assert!(
            message.contains("make build") && message.contains("WEIR_BIN_DIR"),
            "{message}"
        );
    }
}
