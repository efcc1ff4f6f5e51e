//! JSON within JSON.

use serde::{Serialize, Serializer, ser::Error};

/// A value as the text of its JSON.
#[derive(Debug)]
pub(super) struct AsText<T>(pub T);

impl<T: Serialize> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(S::Error::custom)?;
        s.serialize_str(&text)
    }
}
