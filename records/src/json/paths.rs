//! Where the parts of a value stand, in words: JSON pointers (RFC 6901) for references, dotted names for what was cut.

use super::builder::{Builder, place};
use super::{Json, Node, Span};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Most cuts of one value that are told one by one.
const MAX_CUTS: usize = 16;
/// Bytes of all paths of one value. What they are made of may be used many times, so they have a bound of their own.
const MAX_PATHS: usize = 64 << 10;

/// A step from a list or map to something in it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Item(usize),
    Key(Span),
    /// Of the pairs in `@entries`: which, and its key (0) or its value (1).
    Entry(usize, usize),
}

impl Builder<'_> {
    /// The value. It stands at `field` of the document (`dubbo.args`): references are JSON pointers into the document, and
    /// the sizes of what was cut go to `sizes` by field name.
    pub fn finish(mut self, field: &str, sizes: &mut BTreeMap<String, u64>) -> Json {
        self.end_all();
        if self.pointers {
            self.resolve(field);
        }
        self.cuts.truncate(MAX_CUTS);
        if !self.cuts.is_empty() {
            let wanted = self.cuts.iter().map(|cut| cut.node).collect();
            let found = self.json.find(wanted, &mut |json, path| json.dotted(field, path));
            for cut in &self.cuts {
                if let Some(name) = found.get(&cut.node) {
                    let name = if cut.items {
                        format!("{name}.count")
                    } else {
                        name.clone()
                    };
                    sizes.insert(name, cut.size);
                }
            }
        }
        self.json
    }

    /// Puts pointers into words.
    fn resolve(&mut self, field: &str) {
        let target = |node: &Node| match node {
            Node::Pointer(target) => Some(*target),
            _ => None,
        };
        let mut wanted: Vec<u32> = self.json.nodes.iter().filter_map(target).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let root = field
            .split('.')
            .fold(String::new(), |root, part| root + "/" + part);
        let root = if field.is_empty() { String::new() } else { root };
        let found = self
            .json
            .find(wanted, &mut |json, path| json.pointer(&root, path));
        let Json { nodes, text } = &mut self.json;
        let mut spans: HashMap<u32, Span> = HashMap::new();
        for (target, pointer) in found {
            let start = place(text.len());
            text.push_str(&pointer);
            let end = place(text.len());
            spans.insert(target, Span { start, end });
        }
        for node in nodes {
            if let Node::Pointer(target) = node {
                *node = spans.get(target).map_or(Node::Null, |span| Node::Encoded(*span));
            }
        }
    }
}

impl Json {
    /// How each of these nodes is reached from the first one.
    fn find(
        &self,
        mut wanted: Vec<u32>,
        word: &mut dyn FnMut(&Self, &[Step]) -> String,
    ) -> HashMap<u32, String> {
        wanted.sort_unstable();
        let mut search = Search {
            json: self,
            wanted: &wanted,
            path: Vec::new(),
            found: HashMap::new(),
            room: MAX_PATHS,
            word,
        };
        search.at(0);
        search.found
    }

    fn pointer(&self, root: &str, path: &[Step]) -> String {
        path.iter().fold(root.to_owned(), |mut pointer, step| {
            // Writing to a string can't fail.
            let _ = match step {
                Step::Item(at) => write!(pointer, "/{at}"),
                Step::Key(key) => {
                    let key = self.at(*key);
                    if key.contains(['~', '/']) {
                        write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1"))
                    } else {
                        write!(pointer, "/{key}")
                    }
                }
                Step::Entry(at, half) => write!(pointer, "/@entries/{at}/{half}"),
            };
            pointer
        })
    }

    fn dotted(&self, root: &str, path: &[Step]) -> String {
        path.iter().fold(root.to_owned(), |mut name, step| {
            let _ = match step {
                Step::Item(at) => write!(name, ".{at}"),
                Step::Key(key) => write!(name, ".{}", self.at(*key)),
                Step::Entry(at, half) => write!(name, ".@entries.{at}.{half}"),
            };
            name
        })
    }
}

struct Search<'a, 'w> {
    json: &'a Json,
    /// In order.
    wanted: &'a [u32],
    path: Vec<Step>,
    found: HashMap<u32, String>,
    room: usize,
    word: &'w mut dyn FnMut(&Json, &[Step]) -> String,
}

impl Search<'_, '_> {
    /// Looks at a node and, where something wanted is within it, at what it holds.
    fn at(&mut self, at: usize) {
        let json = self.json;
        let here = place(at);
        let end = place(json.after(at));
        let next = self.wanted.partition_point(|wanted| *wanted < here);
        let Some(first) = self.wanted.get(next).filter(|wanted| **wanted < end) else {
            return;
        };
        if *first == here && self.room > 0 {
            let words = (self.word)(json, &self.path);
            let fits = words.len() <= self.room;
            self.room = self.room.saturating_sub(words.len());
            if fits {
                self.found.insert(here, words);
            }
        }
        match json.nodes.get(at) {
            Some(Node::List { end }) => {
                let (mut item, mut number) = (at + 1, 0);
                while item < *end as usize {
                    self.step(Step::Item(number), item);
                    (item, number) = (json.after(item), number + 1);
                }
            }
            Some(Node::Map { end, typed, entries }) => {
                let (mut key, mut number) = (at + 1 + usize::from(*typed), 0);
                while key < *end as usize {
                    let value = json.after(key);
                    match json.nodes.get(key) {
                        Some(Node::Text(span)) if !*entries => {
                            // A key that was cut has the name of its value.
                            self.step(Step::Key(*span), key);
                            self.step(Step::Key(*span), value);
                        }
                        _ => {
                            self.step(Step::Entry(number, 0), key);
                            self.step(Step::Entry(number, 1), value);
                        }
                    }
                    (key, number) = (json.after(value), number + 1);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, step: Step, to: usize) {
        self.path.push(step);
        self.at(to);
        self.path.pop();
    }
}
