//! What is written a line at a time.

/// A kind of lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// The kind of sink.
    pub(crate) kind: &'static str,
    /// How every line begins. A last line without its end that begins so was cut by a crash.
    pub(super) beginnings: &'static [&'static str],
}

/// One JSON document a line.
pub(crate) const NDJSON: Format = Format {
    kind: "ndjson",
    beginnings: &["{\"@timestamp\":"],
};

/// One point a line.
pub(crate) const LINE_PROTOCOL: Format = Format {
    kind: "lines",
    beginnings: &["netflow,", "httpflow,", "dnsflow,"],
};

impl Format {
    /// True for what is left of a line of this kind that was cut.
    pub(super) fn is_cut(&self, line: &[u8]) -> bool {
        let begins = |beginning: &&str| {
            let beginning = beginning.as_bytes();
            line.starts_with(beginning) || beginning.starts_with(line)
        };
        self.beginnings.iter().any(begins)
    }
}
