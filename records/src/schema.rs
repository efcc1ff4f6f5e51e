//! The document's fields as data, walked out of the types: one source for the reference in `docs/fields.md` and for the
//! Elasticsearch mapping.

mod mapping;
mod reference;
mod walk;

pub(crate) use mapping::LONGEST_KEYWORD;
pub use mapping::mapping;
pub use reference::reference;
pub use walk::{Field, Kind, fields};
