//! Brings a namespace from the rules in force to those of a plan, or to none, and back again if a part fails.

mod created;
mod switch;

use crate::{
    Error, Family, Plan,
    backend::{self, InForce, Kind, Tool},
    lock, plan, privilege,
    routes::{Changes, Plumbing},
    ruleset::{Ruleset, transition},
};
pub use created::Created;
use std::fmt::Write as _;
use weir_config::Interception;

/// What an installation or a removal found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was in force (or gone) already.
    Unchanged,
    /// Rules or routes were changed.
    Changed,
}

/// Puts the plan in force. `set` is the configuration that it was made from.
///
/// # Errors
/// Every one leaves the namespace as it was, except [`Error::Rollback`].
pub async fn install(plan: &Plan, set: &Interception) -> Result<Outcome, Error> {
    privilege::check()?;
    let families: Vec<Family> = plan.families.iter().map(|(family, _)| *family).collect();
    let tools = backend::installed(&families)?;
    let _lock = lock::acquire()?;
    let routing = Plumbing::open()?;
    let present = backend::in_force(&tools, &families)?;
    if is_in_force(plan, &present) && routing.is_exactly(&families, &plan.pieces).await? {
        tracing::info!("this configuration is in force already: nothing to do");
        return Ok(Outcome::Unchanged);
    }

    let mut created = Created::before(&families)?;
    let mut changes = Changes::default();
    let chosen = choose(plan, set, &present);
    let result = match chosen {
        Ok((_, ref lesser))
            if is_in_force(lesser, &present) && routing.is_exactly(&families, &plan.pieces).await? =>
        {
            tracing::info!("this configuration is in force already: nothing to do");
            created.look_again()?;
            for family in &families {
                created.discard(*family)?;
            }
            return Ok(Outcome::Unchanged);
        }
        Ok((tool, plan)) => put(&tool, &plan, set, &present, &routing, &mut created, &mut changes).await,
        Err(cause) => created.look_again().and(Err(cause)),
    };
    match result {
        Ok(()) => Ok(Outcome::Changed),
        Err(cause) => {
            tracing::warn!("installation failed, taking back what was applied");
            match take_back(&present, &families, &routing, &created, &changes).await {
                Ok(()) => Err(cause),
                Err(rollback) => Err(Error::Rollback {
                    cause: Box::new(cause),
                    rollback: Box::new(rollback),
                }),
            }
        }
    }
}

/// What [`backend::in_force`] shows for every installed tool.
///
/// # Errors
/// As for reading.
pub fn present(families: &[Family]) -> Result<Vec<InForce>, Error> {
    backend::in_force(&backend::installed(families)?, families)
}

/// True if exactly one tool shows rules of ours and they are the plan's.
pub fn is_in_force(plan: &Plan, present: &[InForce]) -> bool {
    let mut shown = present.iter().filter(|shown| !shown.is_empty());
    let (Some(only), None) = (shown.next(), shown.next()) else {
        return false;
    };
    let same = |(family, wanted): &(Family, Ruleset)| {
        transition(&only.of(*family).without_marks(), wanted).is_none()
    };
    plan.families.iter().all(same)
}

/// The tool that works, with the plan or with the best of those that do without what the kernel lacks.
fn choose(plan: &Plan, set: &Interception, present: &[InForce]) -> Result<(Tool, Plan), Error> {
    let first = match backend::choose(present, &plan.families, set) {
        Ok(tool) => return Ok((tool, plan.clone())),
        Err(error @ Error::NoBackend(_)) => error,
        Err(error) => return Err(error),
    };
    for (lesser, lost) in plan.lesser() {
        if let Ok(tool) = backend::choose(present, &lesser.families, set) {
            tracing::debug!("{first}");
            tracing::warn!("{lost}");
            return Ok((tool, lesser));
        }
    }
    Err(first)
}

/// The tool with which rules for this plan work.
///
/// # Errors
/// As for looking and choosing.
pub fn choose_for(plan: &Plan, set: &Interception, families: &[Family]) -> Result<Tool, Error> {
    let present = backend::in_force(&backend::installed(families)?, families)?;
    choose(plan, set, &present).map(|(tool, _)| tool)
}

async fn put(
    tool: &Tool,
    plan: &Plan,
    set: &Interception,
    present: &[InForce],
    routing: &Plumbing,
    created: &mut Created,
    changes: &mut Changes,
) -> Result<(), Error> {
    created.look_again()?;
    if tool.kind() == Kind::Legacy {
        // What a failed trial of nft left.
        for (family, _) in &plan.families {
            created.discard(*family)?;
        }
    }
    tracing::info!("using {tool}: a trial rule works in every family");
    let families: Vec<Family> = plan.families.iter().map(|(family, _)| *family).collect();
    routing.complete(&families, &plan.pieces, changes).await?;
    for (family, wanted) in &plan.families {
        let mut wanted = wanted.clone();
        if tool.kind() == Kind::Nft {
            created.mark(*family, &mut wanted);
        }
        switch::prepare(tool, *family, &wanted, set, with_marks).await?;
        let changed = tool.bring(*family, |now| with_marks(&wanted, now))?;
        tracing::info!(
            "{family}: rules {}",
            if changed { "applied" } else { "were in force" }
        );
    }
    for (family, _) in &plan.families {
        created::clean(tool, *family)?;
    }
    for other in present
        .iter()
        .filter(|shown| shown.tool != *tool && !shown.is_empty())
    {
        for (family, _) in &plan.families {
            withdraw(&other.tool, *family)?;
        }
    }
    routing.trim(&families, &plan.pieces, changes).await
}

/// What remembers that a table was created stays until the table is gone.
fn with_marks(wanted: &Ruleset, now: &Ruleset) -> Ruleset {
    let mut wanted = wanted.clone();
    for (table, chain) in now.marks() {
        wanted.tables.entry(table).or_default().chain(chain);
    }
    wanted
}

/// Takes our rules out of one tool, and what was created for them.
fn withdraw(tool: &Tool, family: Family) -> Result<(), Error> {
    if tool.bring(family, Ruleset::only_marks)? {
        tracing::info!("{family}: rules removed with {tool}");
    }
    created::clean(tool, family)
}

async fn take_back(
    present: &[InForce],
    families: &[Family],
    routing: &Plumbing,
    created: &Created,
    changes: &Changes,
) -> Result<(), Error> {
    let mut first = Ok(());
    for shown in present {
        for (family, before) in &shown.rules {
            first = first.and(shown.tool.bring(*family, |_| before.clone()).map(drop));
        }
    }
    for family in families {
        first = first.and(created.discard(*family));
    }
    first.and(routing.take_back(changes).await)
}

/// Fails where rules of ours are in force, by the mode, and none are to be seen: they can only be where this process may not
/// look.
///
/// # Errors
/// [`Error::NetRaw`].
pub fn find_rules(families: &[Family]) -> Result<(), Error> {
    let all = installed(families)?;
    if all.iter().any(|shown| !shown.is_empty()) {
        return Ok(());
    }
    match all.into_iter().find_map(|shown| shown.unreadable) {
        Some(error @ Error::NetRaw(_)) => Err(error),
        _ => Ok(()),
    }
}

/// Takes our iptables rules away, whatever configuration they were installed with, but for what connections need that are
/// open. True if there were any. Where there is no iptables there is none of its rules.
///
/// # Errors
/// Those of reading and changing rules.
pub fn withdraw_rules(families: &[Family], set: &Interception) -> Result<bool, Error> {
    let mut changed = false;
    for shown in installed(families)? {
        for (family, _) in shown
            .rules
            .iter()
            .filter(|(_, rules)| !rules.without_marks().is_empty())
        {
            let tool = &shown.tool;
            if tool.bring(*family, |now| draining(*family, now, set))? {
                tracing::info!("{family}: rules removed with {tool}");
                changed = true;
            }
        }
    }
    Ok(changed)
}

/// What takes no new connection, and carries those that are open.
fn draining(family: Family, now: &Ruleset, set: &Interception) -> Ruleset {
    /// Nothing jumps there. Connections are tracked, and so translated, for as long as a rule is there that needs it.
    const TRACKED: &str = "WEIR_TRACKED";
    let mut rest = now.only_marks();
    if now.tables.contains_key("nat") {
        let rule = format!("-p tcp -j REDIRECT --to-ports {}", set.outbound_port);
        rest.tables.entry("nat".into()).or_default().rule(TRACKED, rule);
    }
    if let Some(mangle) = now.tables.get("mangle") {
        let mut lasting = match mangle.chains.contains_key(plan::TAKEN) {
            true => plan::lasting(family, set),
            false => plan::invalid(set),
        };
        let marks = rest.tables.remove("mangle").unwrap_or_default();
        lasting.chains.extend(marks.chains);
        rest.tables.insert("mangle".into(), lasting);
    }
    rest
}

/// Takes away what is left of rules, and what was created for them. True if there was any.
///
/// # Errors
/// Those of reading and changing rules.
pub fn clean(families: &[Family]) -> Result<bool, Error> {
    let mut changed = false;
    for shown in installed(families)? {
        for (family, _) in shown.rules.iter().filter(|(_, rules)| !rules.is_empty()) {
            withdraw(&shown.tool, *family)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// What is in force by every variant of iptables that is installed; nothing where none is.
fn installed(families: &[Family]) -> Result<Vec<InForce>, Error> {
    match backend::installed(families) {
        Err(Error::MissingBinary { .. } | Error::MissingIp6(_)) => Ok(Vec::new()),
        tools => backend::in_force(&tools?, families),
    }
}

/// What [`withdraw_rules`] would do now, as text. Looking at the rules needs the privilege, too.
///
/// # Errors
/// Those of reading.
pub fn removal() -> Result<String, Error> {
    privilege::check()?;
    let families = Family::of_this_kernel();
    let mut text = String::new();
    for shown in installed(&families)? {
        for (family, rules) in &shown.rules {
            if let Some(change) = transition(rules, &Ruleset::default()) {
                let tool = &shown.tool;
                let _ = write!(
                    text,
                    "# {family}, with {tool}: {}-restore --noflush\n{change}\n",
                    family.program()
                );
            }
        }
    }
    Ok(text)
}
