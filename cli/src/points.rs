//! Documents of a capture to points: as time goes there, and not here.

use std::io::{self, Write};
use weir_config::Points;
use weir_records::{
    Document, Timestamp,
    datakit::{Aggregate, Measurement, seen_until},
};

/// Sums documents up by the time at which the last of each was seen. Intervals are whole ones since the epoch, so that
/// the same capture gives the same points.
pub struct Timeline {
    settings: Points,
    sums: Aggregate,
    /// When the interval that is open ends, of each measurement; 0 before the first document.
    due: [u64; Measurement::ALL.len()],
}

impl Default for Timeline {
    fn default() -> Self {
        let settings = Points::default();
        Self {
            settings,
            sums: Aggregate::new(&settings),
            due: Default::default(),
        }
    }
}

impl Timeline {
    /// Adds a document, after writing the points of intervals that are over. False if it has no place in the layout.
    pub fn add(&mut self, document: &Document, out: &mut impl Write) -> io::Result<bool> {
        let now = seen_until(document).0;
        for (measurement, place) in Measurement::ALL.into_iter().zip(0..) {
            if now >= self.due[place] {
                self.write(measurement, self.due[place], out)?;
                let interval = measurement.interval(&self.settings).as_nanos().max(1);
                let next = (u128::from(now) / interval + 1) * interval;
                self.due[place] = u64::try_from(next).unwrap_or(u64::MAX);
            }
        }
        Ok(self.sums.add(document))
    }

    /// Writes what is open.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        for (measurement, due) in Measurement::ALL.into_iter().zip(std::mem::take(&mut self.due)) {
            self.write(measurement, due, out)?;
        }
        Ok(())
    }

    fn write(&mut self, measurement: Measurement, at: u64, out: &mut impl Write) -> io::Result<()> {
        let mut lines = Vec::new();
        for point in self.sums.drain(measurement, Timestamp(at)) {
            point.write(&mut lines);
        }
        out.write_all(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_records::{Capture, Direction, DocumentId, Event, Flow, Http};

    /// One whose last byte was seen so many seconds after the epoch.
    fn ended(second: u64) -> Document {
        let flow = Flow {
            id: DocumentId(1),
            capture: Capture::Pcap,
            mode: None,
            direction: Direction::Unknown,
            client: "198.18.0.1:40000".parse().unwrap(),
            server: "198.18.0.2:80".parse().unwrap(),
            opened: Timestamp(0),
            connect: None,
            host: None,
            wrapping: None,
        };
        let event = Event {
            id: DocumentId(2),
            dataset: "weir.http",
            category: &[],
            kind: &[],
            outcome: None,
            duration: Some(1_000_000_000),
            start: None,
            end: None,
        };
        let begun = Timestamp((second - 1) * 1_000_000_000);
        let mut document = Document::of(&flow, begun, event, "tcp", "http");
        document.http = Some(Http::default());
        document
    }

    #[test]
    fn a_document_is_of_the_interval_in_which_it_ended() {
        let (mut timeline, mut out) = (Timeline::default(), Vec::new());
        for second in [61, 119, 120, 181, 179, 600] {
            assert!(timeline.add(&ended(second), &mut out).unwrap());
        }
        timeline.finish(&mut out).unwrap();
        timeline.finish(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let points = text.lines().map(|line| {
            let count = line.split_once("count=").unwrap().1.split_once('i').unwrap().0;
            (count, line.rsplit(' ').next().unwrap())
        });
        let points: Vec<_> = points.collect();
        let expected = [
            ("2", "120000000000"),
            ("1", "180000000000"),
            // One of them came late.
            ("2", "240000000000"),
            ("1", "660000000000"),
        ];
        assert_eq!(points, expected);
    }
}
