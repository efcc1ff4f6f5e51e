//! Remembers which nft tables and base chains an installation brought into being, so that removal takes exactly
//! those away (see [`crate::nftables`]).

use crate::{
    Error, Family,
    backend::{Kind, Tool},
    nftables::{self, Object},
    ruleset::{OWN, OWN_TABLE, Ruleset},
};
use std::collections::BTreeSet;

/// What was there before, and what is there since.
pub struct Created {
    before: Vec<(Family, BTreeSet<Object>)>,
    new: Vec<(Family, BTreeSet<Object>)>,
}

impl Created {
    /// Looks at what is there before anything is changed.
    pub fn before(families: &[Family]) -> Result<Self, Error> {
        let look = |family: &Family| Ok((*family, nftables::snapshot(*family)?));
        Ok(Self {
            before: families.iter().map(look).collect::<Result<_, Error>>()?,
            new: Vec::new(),
        })
    }

    /// Looks again after the trial, which needs the same tables and base chains as the rules.
    pub fn look_again(&mut self) -> Result<(), Error> {
        for (family, before) in &self.before {
            let now = nftables::snapshot(*family)?;
            self.new
                .push((*family, now.difference(before).cloned().collect()));
        }
        Ok(())
    }

    fn of(&self, family: Family) -> impl Iterator<Item = &Object> {
        self.new
            .iter()
            .filter(move |(new, _)| *new == family)
            .flat_map(|(_, objects)| objects)
    }

    /// Puts the marks into the rules that are about to be applied.
    pub fn mark(&self, family: Family, wanted: &mut Ruleset) {
        for object in self.of(family) {
            let (table, mark) = match object {
                Object::Table(table) => (table, OWN_TABLE.to_owned()),
                Object::Chain(table, chain) => (table, format!("{OWN}{chain}")),
            };
            if let Some(table) = wanted.tables.get_mut(table) {
                table.chain(mark);
            }
        }
    }

    /// Takes back what was created, as far as it is empty.
    pub fn discard(&self, family: Family) -> Result<(), Error> {
        // Chains first: a set has tables before chains.
        let objects: Vec<&Object> = self.of(family).collect();
        for object in objects.into_iter().rev() {
            nftables::delete(family, std::slice::from_ref(object))?;
        }
        Ok(())
    }
}

/// Deletes what the marks name in tables that hold nothing else of ours, and the marks.
pub fn clean(tool: &Tool, family: Family) -> Result<(), Error> {
    if tool.kind() == Kind::Legacy {
        return Ok(());
    }
    for (name, table) in tool.read(family)?.tables {
        let marks: Vec<&String> = table
            .chains
            .keys()
            .filter(|chain| chain.starts_with(OWN))
            .collect();
        if marks.is_empty() || marks.len() < table.chains.len() || !table.jumps.is_empty() {
            continue;
        }
        clean_table(family, &name, &marks)?;
    }
    Ok(())
}

fn clean_table(family: Family, table: &str, marks: &[&String]) -> Result<(), Error> {
    let chain = |name: &str| Object::Chain(table.to_owned(), name.to_owned());
    for mark in marks.iter().filter(|mark| **mark != OWN_TABLE) {
        let base = mark.trim_start_matches(OWN);
        if !nftables::delete(family, &[chain(base)])? {
            tracing::info!("{family}: chain {base} of table {table} is used by others now: left in place");
        }
    }
    let marks: Vec<Object> = marks.iter().map(|mark| chain(mark)).collect();
    if marks.contains(&chain(OWN_TABLE)) {
        let mut all = marks.clone();
        all.push(Object::Table(table.to_owned()));
        if nftables::delete(family, &all)? {
            tracing::info!("{family}: removed the empty table {table}");
            return Ok(());
        }
        tracing::info!("{family}: table {table} is used by others now: left in place");
    }
    nftables::delete(family, &marks).map(drop)
}
