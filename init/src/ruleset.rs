//! The part of a namespace's iptables rules that is Weir's: the chains named `WEIR_*` and the jumps to them.
//!
//! The same type serves for what is wanted and for what is in force, so that installing, changing, rolling back and
//! removing are all one operation: the [`transition`] from one ruleset to another.

mod canonical;
mod parse;
mod transition;

pub use parse::parse;
pub use transition::{differences, transition};

use std::collections::{BTreeMap, BTreeSet};

/// How the names of all chains of ours begin.
pub const PREFIX: &str = "WEIR_";
/// How the names of the empty chains begin that remember what was created at installation, see [`OWN_TABLE`].
pub const OWN: &str = "WEIR_OWN_";
/// Nothing jumps to this chain and it holds no rule; that it is there says that the (nft) table was created by the
/// installation. `WEIR_OWN_OUTPUT` says the same of the base chain `OUTPUT`. Removal needs to know: tables that were
/// there before stay.
pub const OWN_TABLE: &str = "WEIR_OWN_TABLE";

/// Our rules of one address family, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables that hold something of ours.
    pub tables: BTreeMap<String, Table>,
}

/// Our rules in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Our chains with their rules, each rule as iptables-save prints it after `-A CHAIN `.
    pub chains: BTreeMap<String, Vec<String>>,
    /// The rules of other chains that jump to ours, as (chain, rule), in their order.
    pub jumps: Vec<(String, String)>,
    /// Those of the jumps that come before other people's rules. What is in force doesn't tell.
    pub first: BTreeSet<(String, String)>,
}

impl Table {
    /// Adds a chain that may stay empty.
    pub fn chain(&mut self, name: impl Into<String>) {
        self.chains.entry(name.into()).or_default();
    }

    /// Appends a rule to a chain of ours.
    pub fn rule(&mut self, chain: &str, rule: impl Into<String>) {
        self.chains.entry(chain.into()).or_default().push(rule.into());
    }

    /// Appends a jump to a chain that is not ours.
    pub fn jump(&mut self, chain: &str, rule: impl Into<String>) {
        self.jumps.push((chain.into(), rule.into()));
    }

    /// The same before other people's rules; to be called before [`Table::jump`].
    pub fn jump_first(&mut self, chain: &str, rule: impl Into<String>) {
        let rule = rule.into();
        self.first.insert((chain.into(), rule.clone()));
        self.jump(chain, rule);
    }

    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }
}

impl Ruleset {
    /// True if there is nothing of ours.
    pub fn is_empty(&self) -> bool {
        self.tables.values().all(Table::is_empty)
    }

    /// The same without the chains that only remember what was created.
    pub fn without_marks(&self) -> Self {
        let mut copy = self.clone();
        for table in copy.tables.values_mut() {
            table.chains.retain(|name, _| !name.starts_with(OWN));
        }
        copy.tables.retain(|_, table| !table.is_empty());
        copy
    }

    /// The chains that remember what was created, as (table, chain).
    pub fn marks(&self) -> Vec<(String, String)> {
        let mut marks = Vec::new();
        for (name, table) in &self.tables {
            let own = table.chains.keys().filter(|chain| chain.starts_with(OWN));
            marks.extend(own.map(|chain| (name.clone(), chain.clone())));
        }
        marks
    }

    /// Nothing but the chains that remember what was created: what is left to do after the rules are gone.
    pub fn only_marks(&self) -> Self {
        let mut rest = Self::default();
        for (table, chain) in self.marks() {
            rest.tables.entry(table).or_default().chain(chain);
        }
        rest
    }
}
