//! What a connection carries beside its calls: events, plain text, bytes of no frame, gaps. Each kind is counted, so that the
//! counts take the same memory however much of a kind there is.

use super::framing::Skipped;
use crate::Side;

/// Counts since the exchange before.
#[derive(Debug, Default)]
pub(super) struct Asides {
    /// Heartbeats and other events.
    events: u64,
    /// Bytes of plain text.
    text: u64,
    client: Odd,
    server: Odd,
}

/// What is odd about the bytes of one side.
#[derive(Debug, Default)]
struct Odd {
    /// How often bytes were missed between frames.
    gaps: u64,
    /// How often something else than a frame stood between frames, and bytes of that.
    places: u64,
    bytes: u64,
}

/// The counts as one exchange carries them.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub events: u64,
    pub text: u64,
    pub anomalies: Vec<String>,
}

impl Asides {
    /// An event came.
    pub fn event(&mut self) {
        self.events += 1;
    }

    /// Something stood between two frames of this side.
    pub fn skipped(&mut self, side: Side, skipped: Skipped) {
        let odd = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if skipped.gap {
            odd.gaps += 1;
        } else if skipped.binary {
            odd.places += 1;
            odd.bytes += skipped.bytes;
        } else {
            self.text += skipped.bytes;
        }
    }

    /// Gives the counts to an exchange; they begin anew.
    pub fn take(&mut self) -> Told {
        let asides = std::mem::take(self);
        let mut anomalies = Vec::new();
        for (side, odd) in [(Side::Client, asides.client), (Side::Server, asides.server)] {
            odd.note(side.name(), &mut anomalies);
        }
        Told {
            events: asides.events,
            text: asides.text,
            anomalies,
        }
    }
}

impl Odd {
    fn note(&self, who: &str, anomalies: &mut Vec<String>) {
        let Self { gaps, places, bytes } = self;
        let times = if *gaps > 1 {
            format!(", {gaps} times")
        } else {
            String::new()
        };
        if *gaps > 0 {
            anomalies.push(format!("gap: bytes of the {who} before this were missed{times}"));
        }
        let places_told = if *places > 1 {
            format!(", in {places} places")
        } else {
            String::new()
        };
        if *places > 0 {
            anomalies.push(format!(
                "resynchronised: {bytes} bytes of the {who} belong to no frame{places_told}"
            ));
        }
    }
}
