//! Makes a [`Json`] out of what a decoder reads, within bounds and without secrets.

mod nesting;

use super::{Json, Node, Span};
use crate::policy::Told;
use crate::{Policy, REDACTED};

/// Lists right within each other that are kept. OpenSearch refuses a document with more than 20.
const MAX_LISTS: usize = 16;

/// Memory is not taken in advance for more than this.
const USUAL: usize = 4 << 10;

/// How much of a value is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Values, with everything in lists and maps.
    pub values: usize,
    /// Bytes of all texts, with those of keys and types.
    pub text: usize,
    /// Bytes of one text, and of one binary value before it is encoded.
    pub one_text: usize,
    /// Lists and maps within each other.
    pub depth: usize,
}

/// A name that several maps have as a key.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    span: Span,
    told: Told,
    /// It looks like one of our own (`@type`).
    ours: bool,
    /// Bytes that it had before it was cut.
    size: u32,
}

/// Where a list or a map stands in the value; nowhere, if it was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub(super) Option<u32>);

impl Place {
    /// Not in the value.
    pub const NOWHERE: Self = Self(None);
}

/// Makes a value from its parts in order: `begin_list`, its items, `end`; `begin_map`, keys and values in turn, `end`.
///
/// What stands at a password-like key is replaced. Past a bound parts are left out; [`Self::finish`] says which.
#[derive(Debug)]
pub struct Builder<'p> {
    policy: &'p Policy,
    bounds: Bounds,
    pub(super) json: Json,
    open: Vec<Open>,
    /// Lists and maps that have begun within one that is left out, that one included.
    muted: usize,
    /// Bytes of names that were put aside, each time that one is used.
    named: usize,
    /// What stands for a list or map that is too deep, and how many values there were in that.
    too_deep: Option<Cut>,
    pub(super) cuts: Vec<Cut>,
    pub(super) pointers: bool,
}

/// A list or a map that has not ended.
#[derive(Debug)]
struct Open {
    node: u32,
    map: bool,
    /// Lists right within each other that end with this one.
    lists: usize,
    /// Items; of a map keys and values.
    seen: u64,
    /// Items that were left out.
    dropped: u64,
    /// Of a map: its current key, and what is known of it.
    key: u32,
    told: Told,
    dropping: bool,
    entries: bool,
    unique: bool,
}

/// Something that was cut.
#[derive(Debug)]
pub(super) struct Cut {
    pub node: u32,
    pub size: u64,
    /// The size is a number of items.
    pub items: bool,
}

impl<'p> Builder<'p> {
    /// For one value. Bounds beyond what the policy's settings allow are the caller's to choose.
    pub fn new(policy: &'p Policy, bounds: Bounds) -> Self {
        Self::for_bytes(policy, bounds, 0)
    }

    /// The same for a value of about so many bytes on the wire: for those the memory is there at once.
    pub fn for_bytes(policy: &'p Policy, bounds: Bounds, size: usize) -> Self {
        let size = size.min(USUAL);
        Self {
            policy,
            bounds,
            json: Json {
                nodes: Vec::with_capacity(size / 8),
                text: String::with_capacity(size),
            },
            open: Vec::new(),
            muted: 0,
            named: 0,
            too_deep: None,
            cuts: Vec::new(),
            pointers: false,
        }
    }

    /// The policy that it was made with.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// Puts a name aside that will be the key or the type of several maps.
    pub fn name(&mut self, name: &str) -> Name {
        Name {
            span: self.push(&name[..name.floor_char_boundary(self.bounds.one_text)]),
            told: self.policy.tells(name),
            ours: name.starts_with('@'),
            size: place(name.len()),
        }
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.scalar(Node::Null);
    }

    /// True or false.
    pub fn bool(&mut self, value: bool) {
        self.scalar(Node::Bool(value));
    }

    /// A whole number.
    pub fn int(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) if self.policy.is_secret_number(value) => self.redacted(),
            _ => self.scalar(Node::Int(value)),
        }
    }

    /// A whole number that is not negative.
    pub fn unsigned(&mut self, value: u64) {
        match self.policy.is_secret_number(value) {
            true => self.redacted(),
            false => self.scalar(Node::Unsigned(value)),
        }
    }

    /// A number; one that JSON has no way to write becomes text.
    pub fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.scalar(Node::Double(value));
        } else if value.is_nan() {
            self.plain("NaN");
        } else if value > 0.0 {
            self.plain("Infinity");
        } else {
            self.plain("-Infinity");
        }
    }

    /// A text that can hold no secret: a date, a number.
    pub fn plain(&mut self, text: &str) {
        if self.admit() {
            let span = self.push(text);
            self.json.nodes.push(Node::Text(span));
        }
    }

    /// A text, or the beginning of one that had so many bytes.
    pub fn text(&mut self, text: &str, size: u64) {
        if self.at_key() {
            return self.key(text);
        }
        if !self.admit() {
            return;
        }
        if self.is_doubtful() && Policy::is_secret_value(text) {
            return self.place_redacted();
        }
        let clean = self.policy.clean(text);
        let room = self.room();
        let mut kept = clean.len().min(self.bounds.one_text).min(room);
        kept = clean.floor_char_boundary(kept);
        if kept < clean.len() || size > text.len() as u64 {
            self.cut(size, false);
        }
        let span = self.push(&clean[..kept]);
        self.json.nodes.push(Node::Text(span));
    }

    /// Binary data: these bytes are its beginning, of so many.
    pub fn binary(&mut self, bytes: &[u8], size: u64) {
        if !self.admit() {
            return;
        }
        let room = self.room() / 4 * 3;
        let kept = bytes.len().min(self.bounds.one_text).min(room);
        let node = self.json.nodes.len();
        if (kept as u64) < size {
            self.cut(size, false);
        }
        self.json.nodes.push(Node::Null);
        self.own_key("@binary");
        let start = self.json.text.len();
        base64::Engine::encode_string(
            &base64::engine::general_purpose::STANDARD,
            &bytes[..kept],
            &mut self.json.text,
        );
        let span = self.since(start);
        self.json.nodes.push(Node::Encoded(span));
        self.own_key("size");
        self.json.nodes.push(Node::Unsigned(size));
        self.close_own(node);
    }

    /// A list or a map that stands elsewhere in this value.
    pub fn reference(&mut self, place: Place) {
        if !self.admit() {
            return;
        }
        let node = self.json.nodes.len();
        self.json.nodes.push(Node::Null);
        self.own_key("@ref");
        self.json.nodes.push(place.0.map_or(Node::Null, Node::Pointer));
        self.pointers |= place.0.is_some();
        self.close_own(node);
    }

    /// A reference in words of its own, for formats that name places by path.
    pub fn reference_to(&mut self, pointer: &str) {
        if !self.admit() {
            return;
        }
        let node = self.json.nodes.len();
        self.json.nodes.push(Node::Null);
        self.own_key("@ref");
        let span = self.push(pointer);
        self.json.nodes.push(Node::Encoded(span));
        self.close_own(node);
    }

    /// Bytes of text that may still come.
    fn room(&self) -> usize {
        self.bounds.text.saturating_sub(self.json.text.len() + self.named)
    }

    fn scalar(&mut self, node: Node) {
        if self.admit() {
            self.json.nodes.push(node);
        }
    }

    /// A value that is a secret.
    fn redacted(&mut self) {
        if self.admit() {
            self.place_redacted();
        }
    }

    pub(super) fn place_redacted(&mut self) {
        let span = self.push(REDACTED);
        self.json.nodes.push(Node::Encoded(span));
    }

    /// The value that comes next is cut.
    fn cut(&mut self, size: u64, items: bool) {
        let node = place(self.json.nodes.len());
        self.cuts.push(Cut { node, size, items });
    }

    fn own_key(&mut self, key: &str) {
        let span = self.push(key);
        self.json.nodes.push(Node::Text(span));
    }

    /// Makes an object of ours out of the placeholder at `node` and what came behind it.
    fn close_own(&mut self, node: usize) {
        let end = place(self.json.nodes.len());
        if let Some(begun) = self.json.nodes.get_mut(node) {
            *begun = Node::Map {
                end,
                typed: false,
                entries: false,
            };
        }
    }

    fn push(&mut self, text: &str) -> Span {
        let start = self.json.text.len();
        self.json.text.push_str(text);
        self.since(start)
    }

    fn since(&self, start: usize) -> Span {
        Span {
            start: place(start),
            end: place(self.json.text.len()),
        }
    }
}

/// Bounds keep it far below the end of the range.
pub(super) fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
