use super::*;
use crate::{
    Way,
    packet::{Payload, Segment},
};
use weir_protocols::Side::{Client, Server};
use weir_records::Sent;

const MS: u64 = 1_000_000;
/// Sequence numbers wrap after 20 bytes of the client's.
const CLIENT: u32 = u32::MAX - 20;
const SERVER: u32 = 1000;

/// A segment that is nothing special.
#[derive(Clone, Copy, Default)]
struct Say {
    from: i64,
    len: usize,
    ack: Option<i64>,
    syn: bool,
    fin: bool,
    rst: bool,
    full: bool,
    stamps: Option<(u32, u32)>,
    block: Option<(i64, i64)>,
    /// The largest segment, of a SYN.
    largest: Option<u16>,
}

/// A connection of which segments are told by places, and time by ms.
#[derive(Default)]
struct Line {
    measure: Measure,
    late: bool,
}

fn number(side: Side, place: i64) -> u32 {
    let base = if side == Client { CLIENT } else { SERVER };
    // Truncation is meant.
    base.wrapping_add(1).wrapping_add(place as u32)
}

impl Line {
    fn say(&mut self, ms: u64, side: Side, say: Say) -> &mut Self {
        let other = if side == Client { Server } else { Client };
        let mut options = Vec::new();
        if let Some(largest) = say.largest {
            options.extend([2, 4]);
            options.extend(largest.to_be_bytes());
        }
        if let Some((value, echo)) = say.stamps {
            options.extend([1, 1, 8, 10]);
            options.extend([value, echo].map(u32::to_be_bytes).concat());
        }
        if let Some((from, to)) = say.block {
            options.extend([1, 1, 5, 10]);
            options.extend([from, to].map(|at| number(other, at).to_be_bytes()).concat());
        }
        let [source, destination] = [40000, 80].map(|port| ([198, 18, 0, 1], port).into());
        let header = 20 + options.len();
        self.measure.take(
            side,
            &Seen {
                at: Timestamp(ms * MS),
                source,
                destination,
                segment: Segment {
                    source_port: 0,
                    destination_port: 0,
                    sequence: number(side, say.from - i64::from(say.syn)),
                    acknowledged: say.ack.map(|place| number(other, place)),
                    syn: say.syn,
                    fin: say.fin,
                    rst: say.rst,
                    window: u16::from(!say.full),
                    header,
                    options: &options,
                    payload: Payload {
                        bytes: &[],
                        len: say.len,
                    },
                },
                wire_len: 20 + header + say.len,
                way: Way::Unknown,
                interface: 0,
            },
            self.late,
        );
        self
    }

    /// Payload of the client.
    fn data(&mut self, ms: u64, from: i64, len: usize) -> &mut Self {
        let say = Say {
            from,
            len,
            ack: Some(0),
            ..Say::default()
        };
        self.say(ms, Client, say)
    }

    /// The same with the client's clock, in ms.
    fn stamped(&mut self, ms: u64, from: i64, len: usize, stamp: u32) -> &mut Self {
        let say = Say {
            from,
            len,
            ack: Some(0),
            stamps: Some((stamp, 0)),
            ..Say::default()
        };
        self.say(ms, Client, say)
    }

    /// The server has so much of it.
    fn ack(&mut self, ms: u64, place: i64) -> &mut Self {
        let say = Say {
            ack: Some(place),
            ..Say::default()
        };
        self.say(ms, Server, say)
    }

    fn handshake(&mut self, ms: u64) -> &mut Self {
        let [syn, answer, ack] = [
            Say {
                syn: true,
                largest: Some(1460),
                ..Say::default()
            },
            Say {
                syn: true,
                ack: Some(0),
                largest: Some(1400),
                ..Say::default()
            },
            Say {
                ack: Some(0),
                ..Say::default()
            },
        ];
        self.say(ms, Client, syn)
            .say(ms + 30, Server, answer)
            .say(ms + 31, Client, ack)
    }

    fn client(&self) -> Sent {
        self.measure.progress(false).source
    }

    fn last(&self) -> Sent {
        self.measure.progress(true).source
    }
}

/// Bytes, retransmits, out of order, missed.
fn counts(sent: &Sent) -> (u64, u64, u64, u64) {
    let [again, late, missed] = [sent.retransmits, sent.out_of_order, sent.missed_bytes].map(Option::unwrap);
    (sent.bytes, again, late, missed)
}

#[test]
fn a_connection_in_order() {
    let mut line = Line::default();
    line.handshake(0);
    let progress = line.measure.progress(false);
    assert!(progress.established);
    assert_eq!(progress.handshake, Some(31 * MS));
    // Both SYNs are samples: seen beside the client.
    assert_eq!(progress.source.rtt, Some(30 * MS));
    assert_eq!(progress.destination.rtt, Some(MS));
    // Numbers wrap on the way.
    line.data(40, 0, 10).data(41, 10, 30).ack(70, 40);
    let fin = |from, ack| Say {
        from,
        fin: true,
        ack: Some(ack),
        ..Say::default()
    };
    line.say(80, Client, fin(40, 0));
    assert!(!line.measure.is_through());
    line.say(110, Server, fin(0, 41)).say(
        111,
        Client,
        Say {
            from: 41,
            ack: Some(1),
            ..Say::default()
        },
    );
    assert!(line.measure.is_through());
    let end = line.measure.end(Close::Finished, FlowEnd::Unobserved);
    assert_eq!(end, FlowEnd::Finished(Some(Party::Source)));
    let progress = line.measure.progress(true);
    assert_eq!(counts(&progress.source), (40, 0, 0, 0));
    assert_eq!(counts(&progress.destination), (0, 0, 0, 0));
    assert_eq!((progress.source.packets, progress.destination.packets), (6, 3));
    assert_eq!(progress.source.rtt, Some(30 * MS));
    // The SYN alone has options.
    assert_eq!(progress.source.wire_bytes, Some(6 * 40 + 4 + 40));
}

#[test]
fn of_a_late_join_the_first_byte_that_is_seen_is_the_first() {
    let mut line = Line {
        late: true,
        ..Line::default()
    };
    // What the server acknowledged before may lie far behind.
    line.ack(0, 5_000);
    assert_eq!(line.client().bytes, 0);
    line.data(1, 9_000, 10);
    assert_eq!(counts(&line.client()), (10, 0, 0, 0));
    line.data(2, 9_010, 10).ack(3, 9_020);
    assert_eq!(counts(&line.client()), (20, 0, 0, 0));
}

#[test]
fn what_was_lost_before_and_is_sent_again_is_told_by_its_time_stamp() {
    let mut line = Line::default();
    line.handshake(0);
    line.stamped(40, 0, 10, 40)
        .stamped(42, 20, 10, 42)
        .stamped(43, 30, 10, 43);
    // Nobody has acknowledged it: it may still come.
    assert_eq!(counts(&line.client()), (40, 0, 0, 0));
    line.stamped(90, 10, 10, 90);
    assert_eq!(counts(&line.client()), (40, 1, 0, 0));
    // As old as what came before it: it only took another way.
    line.stamped(91, 50, 10, 91).stamped(92, 40, 10, 91).ack(100, 60);
    assert_eq!(counts(&line.last()), (60, 1, 1, 0));
}

#[test]
fn without_time_stamps_what_comes_soon_only_came_late() {
    let mut line = Line::default();
    line.handshake(0);
    line.data(40, 10, 10).data(41, 0, 10);
    line.data(50, 30, 10).data(90, 20, 10);
    assert_eq!(counts(&line.client()), (40, 1, 1, 0));
}

#[test]
fn what_was_seen_already_is_sent_again() {
    let mut line = Line::default();
    line.handshake(0);
    line.data(40, 0, 10).data(41, 10, 10).data(240, 0, 20);
    assert_eq!(counts(&line.client()), (20, 1, 0, 0));
    // Karn: it can't be told which of the two is answered.
    let before = line.client().rtt;
    line.ack(270, 20);
    assert_eq!(line.client().rtt, before);
    // Old and new together is not only sent again.
    line.data(300, 10, 20);
    assert_eq!(counts(&line.client()), (30, 1, 0, 0));
}

#[test]
fn a_syn_and_an_end_can_be_sent_again() {
    let mut line = Line::default();
    let syn = Say {
        syn: true,
        ..Say::default()
    };
    line.say(0, Client, syn);
    assert!(line.measure.is_unanswered());
    let end = |line: &Line, otherwise| line.measure.end(Close::Abandoned, otherwise);
    assert_eq!(end(&line, FlowEnd::Unobserved), FlowEnd::Unobserved);
    assert_eq!(end(&line, FlowEnd::Idle), FlowEnd::Unanswered);
    line.say(1000, Client, syn).say(3000, Client, syn);
    assert_eq!(end(&line, FlowEnd::Unobserved), FlowEnd::Unanswered);
    assert_eq!(line.client().retransmits, Some(2));
    line.say(3030, Server, Say { ack: Some(0), ..syn });
    // From the first try on; and no sample of what was asked three times.
    line.data(3031, 0, 10);
    let progress = line.measure.progress(false);
    assert_eq!(progress.handshake, Some(3031 * MS));
    assert_eq!(progress.source.rtt, None);
    for ms in [3100, 3300] {
        line.say(
            ms,
            Client,
            Say {
                from: 10,
                fin: true,
                ack: Some(0),
                ..Say::default()
            },
        );
    }
    assert_eq!(counts(&line.client()), (10, 3, 0, 0));
}

#[test]
fn bytes_that_were_not_seen_are_counted_by_their_numbers() {
    let mut line = Line::default();
    line.handshake(0);
    line.data(40, 0, 10).data(41, 20, 10).ack(70, 30);
    assert_eq!(counts(&line.client()), (30, 0, 0, 10));
    // The end of what was acknowledged may be an end.
    line.ack(80, 41);
    assert_eq!(counts(&line.client()), (40, 0, 0, 20));
    line.data(90, 41, 9);
    assert_eq!(counts(&line.client()), (50, 0, 0, 21));
    // A hole that nobody acknowledges is waited for until the end.
    line.data(91, 60, 10);
    assert_eq!(counts(&line.client()), (70, 0, 0, 21));
    assert_eq!(counts(&line.last()), (70, 0, 0, 31));
}

#[test]
fn one_direction_alone_tells_of_the_other() {
    let mut line = Line::default();
    line.say(
        0,
        Client,
        Say {
            syn: true,
            ..Say::default()
        },
    );
    for (ms, place) in [(30, 0), (60, 500), (90, 900)] {
        line.say(
            ms,
            Client,
            Say {
                ack: Some(place),
                ..Say::default()
            },
        );
    }
    let server = line.measure.progress(true).destination;
    assert_eq!(
        (server.bytes, server.packets, server.missed_bytes),
        (899, 0, Some(899))
    );
}

#[test]
fn probes_of_a_quiet_connection_are_not_sent_again() {
    let mut line = Line::default();
    line.handshake(0);
    line.data(40, 0, 10).ack(70, 10);
    // Without a byte, and with one that is no part of the stream.
    line.data(7000, 9, 0).ack(7030, 10).data(8000, 9, 1).ack(8030, 10);
    assert_eq!(counts(&line.client()), (10, 0, 0, 0));
    assert_eq!(line.client().packets, 5);
    // While nobody has acknowledged it, one byte is one that was sent again.
    line.data(9000, 10, 1).data(9200, 10, 1);
    assert_eq!(counts(&line.client()), (11, 1, 0, 0));
}

#[test]
fn windows_of_zero_and_resets_are_counted() {
    let mut line = Line::default();
    line.handshake(0);
    for (ms, full) in [(40, true), (41, true), (42, false), (43, true)] {
        line.say(
            ms,
            Server,
            Say {
                ack: Some(0),
                full,
                ..Say::default()
            },
        );
    }
    let server = |line: &Line| line.measure.progress(false).destination;
    assert_eq!(
        (server(&line).zero_windows, server(&line).resets),
        (Some(2), Some(0))
    );
    // (A reset has no window.)
    line.say(
        44,
        Client,
        Say {
            rst: true,
            full: true,
            ..Say::default()
        },
    );
    assert_eq!(
        (line.client().zero_windows, line.client().resets),
        (Some(0), Some(1))
    );
    let end = line.measure.end(Close::Reset(Client), FlowEnd::Unobserved);
    assert_eq!(end, FlowEnd::Reset(Party::Source));
}

#[test]
fn a_reset_in_answer_to_a_syn_is_a_refusal() {
    let mut line = Line::default();
    line.say(
        0,
        Client,
        Say {
            syn: true,
            ..Say::default()
        },
    );
    line.say(
        30,
        Server,
        Say {
            rst: true,
            ack: Some(0),
            ..Say::default()
        },
    );
    let end = line.measure.end(Close::Reset(Server), FlowEnd::Unobserved);
    assert_eq!(end, FlowEnd::Refused);
    assert!(!line.measure.progress(true).established);
    let mut line = Line::default();
    line.handshake(0);
    let end = line.measure.end(Close::Reset(Server), FlowEnd::Unobserved);
    assert_eq!(end, FlowEnd::Reset(Party::Destination));
}

#[test]
fn what_the_network_card_cuts_counts_as_what_passes_the_network() {
    let mut line = Line::default();
    line.handshake(0); // 1400 is what both take
    line.data(40, 0, 14_000).data(41, 14_000, 1401);
    let sent = line.client();
    assert_eq!(sent.packets, 2 + 10 + 2);
    assert_eq!(sent.wire_bytes, Some(84 + 14_000 + 10 * 40 + 1401 + 2 * 40));
    line.data(240, 0, 2800);
    assert_eq!(counts(&line.client()), (15_401, 2, 0, 0));
    // Put together of what was sent again and what is new.
    line.data(241, 15_401 - 2800, 5600);
    assert_eq!(counts(&line.client()), (18_201, 4, 0, 0));
    // Time stamps take their part of every segment.
    line.stamped(250, 18_201, 1389, 7);
    assert_eq!(line.client().packets, sent.packets + 2 + 4 + 2);
}

#[test]
fn nothing_grows_and_no_number_is_too_far() {
    let mut line = Line::default();
    line.handshake(0);
    for n in 0..5000 {
        line.data(40, n * 20 + 10, 10);
    }
    assert_eq!(counts(&line.last()), (100_000, 0, 0, 50_000));
    // Numbers of something else.
    let before = line.client().bytes;
    line.data(50, 1 << 31, 10).data(51, (1 << 31) + 10, 10);
    assert_eq!(line.client().bytes, before + 20);
    // All that an adversary can say.
    for n in 0..5000_i64 {
        let from = n.wrapping_mul(0x5bd1_e995) % (1 << 32);
        line.stamped(60, from, (n % 70_000) as usize, n as u32)
            .ack(61, from);
        line.say(
            62,
            Server,
            Say {
                ack: Some(n),
                block: Some((from, from + n)),
                ..Say::default()
            },
        );
    }
    line.last();
}
