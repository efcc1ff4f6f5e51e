//! Lists and maps: where they begin and end, what stands at which key, and what of it is left out.

use super::{Builder, Cut, MAX_LISTS, Name, Node, Open, Place, place};
use crate::policy::Told;
use std::collections::HashSet;

impl Builder<'_> {
    /// A list begins.
    pub fn begin_list(&mut self) -> Place {
        self.begin(Node::List { end: 0 }, false)
    }

    /// A map begins, of a named type or of none. `unique`: no key can occur twice.
    pub fn begin_map(&mut self, kind: Option<Name>, unique: bool) -> Place {
        let typed = kind.is_some();
        let place = self.begin(
            Node::Map {
                end: 0,
                typed,
                entries: false,
            },
            unique,
        );
        if let (Some(kind), Place(Some(_))) = (kind, place) {
            self.use_name(kind);
        }
        place
    }

    /// The next key of the map that was begun last. Any other value may stand in its place.
    pub fn key(&mut self, key: &str) {
        if self.admit_key() {
            let told = self.policy.tells(key);
            let clean = self.policy.clean_key(key);
            let kept = &clean[..clean.floor_char_boundary(self.bounds.one_text)];
            let span = self.push(kept);
            let node = self.json.nodes.len();
            self.json.nodes.push(Node::Text(span));
            if kept.len() < clean.len() {
                self.cuts.push(Cut {
                    node: place(node),
                    size: key.len() as u64,
                    items: false,
                });
            }
            self.note_key(told, key.starts_with('@'));
        }
    }

    /// A key that was put aside.
    pub fn named(&mut self, name: Name) {
        if self.admit_key() {
            if name.span.end - name.span.start < name.size {
                self.cut(name.size.into(), false);
            }
            self.use_name(name);
            self.note_key(name.told, name.ours);
        }
    }

    /// The list or map that was begun last ends.
    pub fn end(&mut self) {
        if self.muted > 0 {
            self.muted -= 1;
            if self.muted == 0 {
                self.cuts.extend(self.too_deep.take());
            }
            return;
        }
        let Some(open) = self.open.pop() else { return };
        if open.map && open.seen % 2 == 1 && !open.dropping {
            // A key without its value: the bytes have ended within it.
            self.json.nodes.truncate(open.key as usize);
        }
        if open.dropped > 0 {
            self.cuts.push(Cut {
                node: open.node,
                size: if open.map { open.seen / 2 } else { open.seen },
                items: true,
            });
        }
        let end = place(self.json.nodes.len());
        let repeated = open.map && !open.entries && !open.unique && self.repeats_keys(open.node as usize);
        match self.json.nodes.get_mut(open.node as usize) {
            Some(Node::List { end: at }) => *at = end,
            Some(Node::Map { end: at, entries, .. }) => {
                *at = end;
                *entries = open.entries || repeated;
            }
            _ => {}
        }
    }

    /// Whatever has begun ends here: no more of it is known.
    pub fn end_all(&mut self) {
        while self.muted > 0 || !self.open.is_empty() {
            self.end();
        }
    }

    /// How many lists and maps are open.
    pub fn depth(&self) -> usize {
        self.open.len() + self.muted
    }

    fn begin(&mut self, node: Node, unique: bool) -> Place {
        if !self.admit() {
            self.muted += 1;
            return Place(None);
        }
        let map = matches!(node, Node::Map { .. });
        let lists = match self.open.last() {
            _ if map => 0,
            Some(open) => open.lists + 1,
            None => 1,
        };
        if self.open.len() >= self.bounds.depth || lists > MAX_LISTS {
            let node = self.json.nodes.len();
            self.too_deep = Some(Cut {
                node: place(node),
                size: 0,
                items: true,
            });
            self.json.nodes.push(Node::Null);
            self.own_key("@truncated");
            let span = self.push("depth");
            self.json.nodes.push(Node::Encoded(span));
            self.close_own(node);
            self.muted = 1;
            return Place(None);
        }
        let at = place(self.json.nodes.len());
        self.open.push(Open {
            node: at,
            map,
            lists,
            seen: 0,
            dropped: 0,
            key: 0,
            told: Told::Nothing,
            dropping: false,
            entries: false,
            unique,
        });
        self.json.nodes.push(node);
        Place(Some(at))
    }

    fn use_name(&mut self, name: Name) {
        self.named += (name.span.end - name.span.start) as usize;
        self.json.nodes.push(Node::Text(name.span));
    }

    pub(super) fn at_key(&self) -> bool {
        let open = self.open.last();
        self.muted == 0 && open.is_some_and(|open| open.map && open.seen % 2 == 0)
    }

    /// Whether the next value is to be written; counts it.
    pub(super) fn admit(&mut self) -> bool {
        if self.muted > 0 {
            if let Some(deep) = &mut self.too_deep {
                deep.size += 1;
            }
            return false;
        }
        let full = self.json.nodes.len() >= self.bounds.values || self.room() == 0;
        let node = place(self.json.nodes.len());
        let Some(open) = self.open.last_mut() else {
            return true;
        };
        open.seen += 1;
        if !open.map {
            open.dropped += u64::from(full);
            return !full;
        }
        if open.seen % 2 == 1 {
            // A key that is no text.
            (open.key, open.told, open.dropping) = (node, Told::Nothing, full);
            open.dropped += u64::from(full);
            open.entries |= !full;
            return !full;
        }
        if open.told == Told::Secret && !open.dropping {
            open.told = Told::Nothing;
            self.place_redacted();
            return false;
        }
        !open.dropping
    }

    fn admit_key(&mut self) -> bool {
        let before = self.open.last().map(|open| open.entries);
        let admitted = self.admit();
        if let (Some(open), Some(before)) = (self.open.last_mut(), before)
            && self.muted == 0
        {
            open.entries = before;
        }
        admitted
    }

    /// The value that was admitted stands at a key that tells little.
    pub(super) fn is_doubtful(&self) -> bool {
        let open = self.open.last();
        self.muted == 0 && open.is_some_and(|open| open.map && open.told == Told::Doubtful)
    }

    fn note_key(&mut self, told: Told, ours: bool) {
        if let Some(open) = self.open.last_mut() {
            open.told = told;
            open.entries |= ours;
        }
    }

    fn repeats_keys(&self, map: usize) -> bool {
        let typed = matches!(self.json.nodes.get(map), Some(Node::Map { typed: true, .. }));
        let mut at = map + 1 + usize::from(typed);
        let mut keys = Vec::new();
        while at < self.json.nodes.len() {
            keys.push(self.json.text_of(at).unwrap_or_default());
            at = self.json.after(at + 1);
        }
        if keys.len() <= 8 {
            return keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key));
        }
        let different: HashSet<_> = keys.iter().collect();
        different.len() < keys.len()
    }
}
