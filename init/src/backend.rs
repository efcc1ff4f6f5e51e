//! Which iptables: nft or legacy, chosen by what works here rather than by the name of a program.

mod program;
mod trial;

pub use program::{Kind, Tool, installed};

use crate::{Error, Family, error::Attempts, ruleset::Ruleset};
use weir_config::Interception;

/// Rules of ours that a tool shows, by family.
pub struct InForce {
    /// The tool that shows them.
    pub tool: Tool,
    /// By family, in the order asked for.
    pub rules: Vec<(Family, Ruleset)>,
}

impl InForce {
    /// True if there is nothing of ours.
    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(|(_, rules)| rules.is_empty())
    }

    /// The rules of one family.
    pub fn of(&self, family: Family) -> Ruleset {
        let found = self.rules.iter().find(|(read, _)| *read == family);
        found.map(|(_, rules)| rules.clone()).unwrap_or_default()
    }
}

/// What each tool shows of ours. A tool that can't read (its kernel part is missing) shows nothing.
///
/// # Errors
/// [`Error::Privilege`].
pub fn in_force(tools: &[Tool], families: &[Family]) -> Result<Vec<InForce>, Error> {
    let mut all = Vec::new();
    for tool in tools {
        let mut rules = Vec::new();
        for family in families {
            match tool.read(*family) {
                Ok(read) => rules.push((*family, read)),
                Err(error @ Error::Privilege(_)) => return Err(error),
                Err(error) => tracing::debug!("{tool} shows no {family} rules: {error}"),
            }
        }
        all.push(InForce {
            tool: tool.clone(),
            rules,
        });
    }
    Ok(all)
}

/// The tool that already holds rules of ours, else legacy where somebody uses it in this namespace, else nft, else
/// legacy, else whatever `iptables` is: the first of them with which a trial rule works in every family.
///
/// # Errors
/// [`Error::NoBackend`] with what each said; [`Error::Privilege`].
pub fn choose(present: &[InForce], wanted: &[(Family, Ruleset)], set: &Interception) -> Result<Tool, Error> {
    let families: Vec<Family> = wanted.iter().map(|(family, _)| *family).collect();
    let rank = |shown: &InForce| match (shown.is_empty(), shown.tool.kind()) {
        (false, _) => 0,
        (true, Kind::Legacy) if shown.tool.is_in_use(&families) => 1,
        (true, Kind::Nft) => 2,
        (true, Kind::Legacy) => 3,
    };
    let mut order: Vec<&InForce> = present.iter().collect();
    order.sort_by_cached_key(|shown| rank(shown));
    let mut failed = Vec::new();
    for shown in order {
        match trial::run(&shown.tool, wanted, set) {
            Ok(()) => return Ok(shown.tool.clone()),
            Err(error @ Error::Privilege(_)) => return Err(error),
            Err(error) => failed.push((shown.tool.to_string(), error.to_string())),
        }
    }
    Err(Error::NoBackend(Attempts(failed)))
}
