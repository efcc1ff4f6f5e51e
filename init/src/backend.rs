//! Which iptables: nft or legacy, chosen by what works here rather than by the name of a program.

mod program;
mod trial;

pub use program::{Kind, Tool, installed};

use crate::{Error, Family, error::Attempts, nftables, ruleset::Ruleset};
use weir_config::Interception;

/// Rules of ours that a tool shows, by family.
pub struct InForce {
    /// The tool that shows them.
    pub tool: Tool,
    /// By family, in the order asked for.
    pub rules: Vec<(Family, Ruleset)>,
    /// Why the tool can't read; then it is of no use here.
    pub unreadable: Option<Error>,
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

/// What each tool shows of ours. A tool that can't read (its kernel part is missing) shows nothing, unless the kernel
/// says that there is something to see.
///
/// # Errors
/// [`Error::Privilege`], [`Error::Unreadable`].
pub fn in_force(tools: &[Tool], families: &[Family]) -> Result<Vec<InForce>, Error> {
    let mut all = Vec::new();
    for tool in tools {
        let (mut rules, mut unreadable) = (Vec::new(), None);
        for family in families {
            match tool.read(*family) {
                Ok(read) => rules.push((*family, read)),
                Err(error @ Error::Privilege(_)) => return Err(error),
                // Nothing of ours may be there, and other people's rules are none of our business.
                Err(error @ Error::NetRaw(_)) => {
                    tracing::debug!("{error}");
                    unreadable = Some(error);
                }
                Err(error) if nftables::holds_chains_of_ours(*family)? => return Err(error),
                Err(error) => unreadable = Some(error),
            }
        }
        all.push(InForce {
            tool: tool.clone(),
            rules,
            unreadable,
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
    for InForce { tool, unreadable, .. } in order {
        if let Some(error) = unreadable {
            failed.push((tool.to_string(), error.to_string()));
            continue;
        }
        match trial::run(tool, wanted, set) {
            Ok(()) => return Ok(tool.clone()),
            Err(error @ Error::Privilege(_)) => return Err(error),
            Err(error) => failed.push((tool.to_string(), error.to_string())),
        }
    }
    Err(Error::NoBackend(Attempts(failed)))
}
