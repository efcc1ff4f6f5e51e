//! The restore and save programs of one variant of iptables.

use crate::{
    Error, Family, privilege,
    ruleset::{self, Ruleset, transition},
};
use std::{
    env, fmt,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// How long the legacy programs wait for the lock that they share with other programs, in seconds.
const WAIT: u32 = 30;

/// How often a change is computed anew when somebody else changed our rules meanwhile.
const TRIES: usize = 3;

/// The kernel's side of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nf_tables.
    Nft,
    /// ip_tables and ip6_tables.
    Legacy,
}

/// One variant of iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    suffix: &'static str,
    kind: Kind,
    waits: bool,
}

/// The variants that are installed, with what every family needs. The plain name counts only where there is none
/// that says which it is.
///
/// # Errors
/// [`Error::MissingBinary`] and [`Error::MissingIp6`].
pub fn installed(families: &[Family]) -> Result<Vec<Tool>, Error> {
    let complete = |suffix: &&str| families.iter().all(|family| is_there(*family, suffix));
    let mut suffixes: Vec<_> = ["-nft", "-legacy"].into_iter().filter(complete).collect();
    if suffixes.is_empty() && complete(&"") {
        suffixes.push("");
    }
    if !suffixes.is_empty() {
        return Ok(suffixes.into_iter().map(Tool::ask).collect());
    }
    let half = ["-nft", "-legacy", ""]
        .into_iter()
        .find(|suffix| is_there(Family::V4, suffix));
    Err(match half {
        Some(suffix) => Error::MissingIp6(name(Family::V6, suffix, "restore")),
        None => Error::MissingBinary {
            looked_for: "iptables-nft-restore, iptables-legacy-restore, iptables-restore".into(),
            path: env::var("PATH").unwrap_or_default(),
        },
    })
}

fn name(family: Family, suffix: &str, what: &str) -> String {
    format!("{}{suffix}-{what}", family.program())
}

fn is_there(family: Family, suffix: &str) -> bool {
    ["restore", "save"]
        .iter()
        .all(|what| in_path(&name(family, suffix, what)))
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

impl Tool {
    /// Asks the program what it is.
    fn ask(suffix: &'static str) -> Self {
        let version =
            run(&name(Family::V4, suffix, "restore"), &["--version".into()], "").unwrap_or_default();
        Self {
            suffix,
            kind: if version.contains("nf_tables") {
                Kind::Nft
            } else {
                Kind::Legacy
            },
            waits: can_wait(&version),
        }
    }

    /// The kernel's side.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Our rules of a family.
    ///
    /// # Errors
    /// Those of running the program, and [`Error::Unreadable`].
    pub fn read(&self, family: Family) -> Result<Ruleset, Error> {
        let program = name(family, self.suffix, "save");
        let saved = match run(&program, &[], "") {
            // It opens a raw socket; that NET_ADMIN is there has been seen before.
            Err(Error::Privilege(_)) if self.kind == Kind::Legacy => return Err(Error::NetRaw(program)),
            saved => saved?,
        };
        match unreadable(&saved) {
            Some(table) => Err(Error::Unreadable { program, table }),
            None => Ok(ruleset::parse(&saved)),
        }
    }

    /// True if anybody has rules or chains in this variant.
    pub fn is_in_use(&self, families: &[Family]) -> bool {
        let holds_something = |saved: &str| {
            let mut lines = saved.lines();
            lines.any(|line| line.starts_with("-A ") || (line.starts_with(':') && line.contains(" - ")))
        };
        families.iter().any(|family| {
            let saved = run(&name(*family, self.suffix, "save"), &[], "");
            saved.is_ok_and(|saved| holds_something(&saved))
        })
    }

    /// Turns our rules of a family into those that `wanted` makes of the ones in force. True if there was something to do.
    ///
    /// # Errors
    /// As for reading and restoring.
    pub fn bring(&self, family: Family, wanted: impl Fn(&Ruleset) -> Ruleset) -> Result<bool, Error> {
        let mut now = self.read(family)?;
        let mut tries = 1;
        loop {
            let Some(text) = transition(&now, &wanted(&now)) else {
                return Ok(false);
            };
            let Err(error) = self.restore(family, &text) else {
                return Ok(true);
            };
            let again = self.read(family)?;
            if again == now || tries == TRIES {
                return Err(error);
            }
            (now, tries) = (again, tries + 1);
        }
    }

    /// Applies the text, each table of it at once, without touching what it does not name.
    ///
    /// # Errors
    /// [`Error::Restore`] with the program's words; nothing of the failing table is applied.
    pub fn restore(&self, family: Family, text: &str) -> Result<(), Error> {
        let mut arguments = vec!["--noflush".to_owned()];
        if self.waits {
            arguments.push(format!("--wait={WAIT}"));
        }
        run(&name(family, self.suffix, "restore"), &arguments, text).map(drop)
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iptables{}", self.suffix)
    }
}

/// `--wait` came to iptables-restore with 1.6.2; the nft variant takes it and needs it not.
fn can_wait(version: &str) -> bool {
    let numbers = version.split_whitespace().find_map(|word| word.strip_prefix('v'));
    let mut numbers = numbers
        .unwrap_or_default()
        .split('.')
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= (1, 6, 2)
}

/// A table of those that we use which the program passed over with the comment "Table `nat' is incompatible".
fn unreadable(saved: &str) -> Option<String> {
    let passed_over = saved.lines().filter_map(|line| line.strip_prefix("# Table `"));
    let mut tables = passed_over.filter_map(|rest| rest.split_once("' is incompatible"));
    let found = tables.find(|(table, _)| matches!(*table, "mangle" | "nat" | "raw"));
    found.map(|(table, _)| table.to_owned())
}

fn run(program: &str, arguments: &[String], input: &str) -> Result<String, Error> {
    let failed = |source| Error::Run {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that stops reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if message.is_empty() {
        message = output.status.to_string();
    }
    if privilege::is_complaint(&message) {
        return Err(Error::Privilege(message));
    }
    Err(Error::Restore {
        program: program.into(),
        line: named_line(&message, input),
        message,
    })
}

/// The line of the input that a message such as `line 12 failed` or `Error occurred at line: 12` speaks of.
fn named_line(message: &str, input: &str) -> Option<String> {
    let number = message.split("line").skip(1).find_map(|rest| {
        let rest = rest.trim_start_matches([':', ' ']);
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<usize>().ok()
    })?;
    input.lines().nth(number.checked_sub(1)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_failed_is_shown() {
        let input = "*nat\n:WEIR_A - [0:0]\n-A WEIR_A -j RETURN\nCOMMIT\n";
        for message in [
            "iptables-restore: line 3 failed",
            "iptables-nft-restore: line 3 failed: No chain.",
            "x: unknown option \"--a\"\nError occurred at line: 3\nTry",
            "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory): rule in chain X",
        ] {
            assert_eq!(
                named_line(message, input).as_deref(),
                Some("-A WEIR_A -j RETURN"),
                "{message}"
            );
        }
        assert_eq!(named_line("out of line", input), None);
        assert_eq!(named_line("line 99 failed", input), None);
    }

    #[test]
    fn a_table_that_was_passed_over_is_noticed_if_it_is_one_that_we_use() {
        let saved = "# Table `filter' is incompatible, use 'nft' tool.\n*nat\nCOMMIT\n";
        assert_eq!(unreadable(saved), None);
        let saved = "# Table `nat' is incompatible, use 'nft' tool.\n";
        assert_eq!(unreadable(saved).as_deref(), Some("nat"));
    }

    #[test]
    fn only_versions_that_know_it_are_told_to_wait() {
        assert!(can_wait("iptables-restore v1.8.9 (legacy)"));
        assert!(can_wait("iptables-restore v1.6.2"));
        assert!(!can_wait("iptables-restore v1.6.1"));
        assert!(!can_wait("iptables-restore v1.4.21"));
        assert!(!can_wait(""));
    }
}
