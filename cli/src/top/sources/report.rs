//! What is shown of an interval.

use crate::{table::short_bytes, top::screen::Show};
use serde_json::{Value, json};
use std::cmp::Reverse;
use weir_bpf::{Count, Counted, Sender};
use weir_records::Timestamp;

/// An interval, the largest senders first.
pub struct Report<'a> {
    period: (Timestamp, Timestamp),
    counted: Counted,
    /// Of senders that found no room.
    other: Count,
    lost: u64,
    how: (&'a str, Option<&'a str>),
    said: &'a str,
}

impl<'a> Report<'a> {
    /// What was counted in this period, and how.
    pub fn new(
        period: (Timestamp, Timestamp),
        mut counted: Counted,
        lost: u64,
        how: (&'a str, Option<&'a str>),
        said: &'a str,
    ) -> Self {
        counted
            .senders
            .sort_by_key(|(sender, count)| (Reverse((count.bytes, count.packets)), *sender));
        let mut known = Count::default();
        counted.senders.iter().for_each(|(_, count)| known += *count);
        let other = Count {
            packets: counted.total.packets.saturating_sub(known.packets),
            bytes: counted.total.bytes.saturating_sub(known.bytes),
        };
        Self {
            period,
            counted,
            other,
            lost,
            how,
            said,
        }
    }
}

fn transport(sender: &Sender) -> String {
    match sender.protocol {
        6 => "tcp".into(),
        17 => "udp".into(),
        other => other.to_string(),
    }
}

fn line([packets, bytes, transport]: [&str; 3], source: &str) -> String {
    format!("{packets:>9} {bytes:>9}  {transport:<5} {source}")
}

impl Show for Report<'_> {
    fn json(&self, most: usize) -> Value {
        let count = |count: &Count| json!({"packets": count.packets, "bytes": count.bytes});
        let rows = self.counted.senders.iter().take(most).map(|(sender, sent)| {
            let mut row = count(sent);
            row["source"] = sender.ip.to_string().into();
            row["transport"] = transport(sender).into();
            row
        });
        let (by, why) = self.how;
        json!({
            "from": self.period.0,
            "to": self.period.1,
            "counted_by": by,
            "reason": why,
            "lost_packets": self.lost,
            "fragments": self.counted.fragments,
            "sources": self.counted.senders.len(),
            "total": count(&self.counted.total),
            "other": count(&self.other),
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    fn lines(&self, most: usize) -> Vec<String> {
        let Counted {
            senders,
            total,
            fragments,
        } = &self.counted;
        let seconds = self.period.1.since(self.period.0) as f64 / 1e9;
        let mut summary = format!(
            "{} packets in {seconds:.1} s, {}; {} of {} sources",
            total.packets,
            short_bytes(total.bytes),
            senders.len().min(most),
            senders.len(),
        );
        for (what, n) in [
            ("packets lost", self.lost),
            ("fragments without a port, not counted", *fragments),
        ] {
            if n > 0 {
                summary.push_str(&format!("; {what}: {n}"));
            }
        }
        summary.push_str(&format!("; {}", self.said));
        let mut lines = vec![summary, line(["PACKETS", "BYTES", "BY"], "SOURCE")];
        let row = |count: &Count, transport: &str, source: &str| {
            let packets = count.packets.to_string();
            line([&packets, &short_bytes(count.bytes), transport], source)
        };
        let senders = senders.iter().take(most);
        lines.extend(senders.map(|(sender, count)| row(count, &transport(sender), &sender.ip.to_string())));
        if self.other.packets > 0 {
            lines.push(row(&self.other, "-", "(other)"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stand_first_and_what_found_no_room_last() {
        let sender = |ip: &str, protocol| Sender {
            ip: ip.parse().unwrap(),
            protocol,
        };
        let count = |packets, bytes| Count { packets, bytes };
        let counted = Counted {
            senders: vec![
                (sender("198.18.0.1", 17), count(9, 900)),
                (sender("fd00:198:18::1", 6), count(2, 3000)),
            ],
            total: count(15, 4000),
            fragments: 7,
        };
        let report = Report::new(
            (Timestamp(0), Timestamp(5_000_000_000)),
            counted,
            0,
            ("ebpf", None),
            "said",
        );
        let lines = report.lines(9);
        assert_eq!(
            lines[0],
            "15 packets in 5.0 s, 3.9KiB; 2 of 2 sources; fragments without a port, not counted: 7; said"
        );
        let sources: Vec<_> = lines[2..]
            .iter()
            .map(|line| line.split_whitespace().last().unwrap())
            .collect();
        assert_eq!(sources, ["fd00:198:18::1", "198.18.0.1", "(other)"]);
        let json = report.json(1);
        assert_eq!(
            (&json["rows"][0]["transport"], &json["sources"]),
            (&"tcp".into(), &2.into())
        );
        assert_eq!(json["other"], json!({"packets": 4, "bytes": 100}));
    }
}
