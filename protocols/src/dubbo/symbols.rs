//! The names of one value in JSONB: each is written once, and stands as a number from then on. A number costs a byte or two
//! however long its name is, so whatever is done with a name is done once.

use std::{borrow::Cow, collections::HashMap};
use weir_records::{Builder, Name};

/// Names of one value that are remembered.
const MAX_SYMBOLS: usize = 16 << 10;

/// The names so far.
#[derive(Debug)]
pub(super) struct Symbols<'a> {
    /// The first one is the one in use that is not remembered.
    symbols: Vec<Symbol<'a>>,
    /// By their numbers.
    places: HashMap<i64, usize>,
}

/// Which name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id(usize);

#[derive(Debug, Default)]
struct Symbol<'a> {
    number: i64,
    text: Cow<'a, str>,
    /// The name as a key, and as a class, in the value's builder.
    key: Option<Name>,
    class: Option<Name>,
    /// The class says more than its value itself does.
    told: Option<bool>,
}

impl<'a> Symbols<'a> {
    pub fn new() -> Self {
        Self {
            symbols: vec![Symbol::default()],
            places: HashMap::new(),
        }
    }

    /// This number stands for this text from now on.
    pub fn define(&mut self, number: i64, text: Cow<'a, str>) -> Id {
        if self.symbols.len() >= MAX_SYMBOLS {
            self.places.remove(&number);
            return self.loose(number, text);
        }
        let at = self.symbols.len();
        self.symbols.push(Symbol {
            number,
            text,
            ..Symbol::default()
        });
        self.places.insert(number, at);
        Id(at)
    }

    /// The name with this number; `#NUMBER` for a number that has none.
    pub fn find(&mut self, number: i64) -> Id {
        match self.places.get(&number) {
            Some(at) => Id(*at),
            None => self.loose(number, format!("#{number}").into()),
        }
    }

    fn loose(&mut self, number: i64, text: Cow<'a, str>) -> Id {
        self.symbols[0] = Symbol {
            number,
            text,
            ..Symbol::default()
        };
        Id(0)
    }

    pub fn number(&self, id: Id) -> i64 {
        self.symbols[id.0].number
    }

    pub fn text(&self, id: Id) -> &str {
        &self.symbols[id.0].text
    }

    /// The name as a key of maps.
    pub fn key(&mut self, id: Id, builder: &mut Builder<'_>) -> Name {
        let symbol = &mut self.symbols[id.0];
        *symbol.key.get_or_insert_with(|| builder.name(&symbol.text))
    }

    /// The name as a class.
    pub fn class(&mut self, id: Id, builder: &mut Builder<'_>) -> Name {
        let symbol = &mut self.symbols[id.0];
        *symbol
            .class
            .get_or_insert_with(|| builder.name(&class_name(&symbol.text)))
    }

    /// The class says more than its value itself does: it is none of Java's own collections, nor an array.
    pub fn is_told(&mut self, id: Id) -> bool {
        let symbol = &mut self.symbols[id.0];
        *symbol.told.get_or_insert_with(|| {
            let class = class_name(&symbol.text);
            class.contains('.') && !class.starts_with("java.util.") && !class.starts_with('[')
        })
    }
}

/// Fastjson has short names without a dot for Java's own classes; those of exceptions are in `java.lang`.
fn class_name(text: &str) -> Cow<'_, str> {
    if (text.ends_with("Exception") || text.ends_with("Error")) && !text.contains('.') {
        format!("java.lang.{text}").into()
    } else {
        text.into()
    }
}
