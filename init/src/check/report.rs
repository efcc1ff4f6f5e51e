//! What a check found, for people and for programs.

use crate::Family;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use std::fmt;
use weir_config::Mode;

/// How one item came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Ok(String),
    /// It can't be tried here, and that is no failure.
    NotProbed(String),
    /// It does not hold.
    Failed(String),
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `rules`, `route`, `outbound` or `inbound`.
    pub name: &'static str,
    /// Of which family, where that matters.
    pub family: Option<Family>,
    /// How it came out, and why.
    pub verdict: Verdict,
}

/// Everything that was checked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The mode whose redirect was checked.
    pub mode: Mode,
    /// The items.
    pub items: Vec<Item>,
}

impl Report {
    pub(super) fn new(mode: Mode) -> Self {
        let items = Vec::new();
        Self { mode, items }
    }

    pub(super) fn add(&mut self, name: &'static str, family: impl Into<Option<Family>>, verdict: Verdict) {
        self.items.push(Item {
            name,
            family: family.into(),
            verdict,
        });
    }

    /// What failed, in words.
    pub fn failures(&self) -> Vec<String> {
        let failed = |item: &Item| match &item.verdict {
            Verdict::Failed(detail) => Some(format!("{}{}: {detail}", item.name, item.of_family())),
            _ => None,
        };
        self.items.iter().filter_map(failed).collect()
    }

    /// True if nothing failed.
    pub fn is_ok(&self) -> bool {
        !self
            .items
            .iter()
            .any(|item| matches!(item.verdict, Verdict::Failed(_)))
    }
}

impl Item {
    fn of_family(&self) -> String {
        self.family
            .map_or_else(String::new, |family| format!(" {family}"))
    }
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::NotProbed(_) => "not probed",
            Self::Failed(_) => "failed",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Ok(detail) | Self::NotProbed(detail) | Self::Failed(detail) => detail,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            let (word, detail) = (item.verdict.word(), item.verdict.detail());
            writeln!(f, "{word:<10} {:<8}{}: {detail}", item.name, item.of_family())?;
        }
        Ok(())
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut object = s.serialize_struct("Report", 3)?;
        object.serialize_field("ok", &self.is_ok())?;
        object.serialize_field("mode", self.mode.name())?;
        object.serialize_field("items", &self.items)?;
        object.end()
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut object = s.serialize_struct("Item", 4)?;
        object.serialize_field("name", self.name)?;
        object.serialize_field("family", &self.family)?;
        object.serialize_field("result", self.verdict.word())?;
        object.serialize_field("detail", self.verdict.detail())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_makes_the_report_fail() {
        let mut report = Report::new(Mode::Redirect);
        report.add("outbound", Family::V6, Verdict::NotProbed("no route".into()));
        assert!(report.is_ok());
        report.add("inbound", Family::V4, Verdict::Failed("no answer".into()));
        assert!(!report.is_ok());
        assert_eq!(
            report.to_string(),
            "not probed outbound IPv6: no route\nfailed     inbound  IPv4: no answer\n"
        );
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({"ok": false, "mode": "redirect", "items": [
                {"name": "outbound", "family": "IPv6", "result": "not probed", "detail": "no route"},
                {"name": "inbound", "family": "IPv4", "result": "failed", "detail": "no answer"},
            ]})
        );
    }
}
