//! The shape of documents: all that Weir knows, or the few fields of an older tool for which dashboards exist.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How documents are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Every field, under its ECS name.
    #[default]
    Ecs,
    /// Requests of HTTP and of Dubbo 2 alone, in the few fields of Pipy's traffic-dump.
    Pipy,
    /// Points of DataKit's netflow, httpflow and dnsflow, each summing up many documents, as line protocol.
    Datakit,
}

impl Layout {
    /// As the configuration spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Pipy => "pipy",
            Self::Datakit => "datakit",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Ecs, Self::Pipy, Self::Datakit]
            .into_iter()
            .find(|layout| layout.name() == text)
            .ok_or_else(|| format!("`{text}` is not a layout; allowed are ecs, pipy and datakit"))
    }
}
