use super::*;
use crate::packet::Payload;
use weir_protocols::Side::{Client, Server};

const SCALED: &[u8] = &[3, 3, 7, 0];

fn segment(sequence: u32, acknowledged: Option<u32>, options: &[u8]) -> Segment<'_> {
    Segment {
        source_port: 1,
        destination_port: 2,
        sequence,
        acknowledged,
        syn: false,
        fin: false,
        rst: false,
        window: 1000,
        header: 20 + options.len(),
        options,
        payload: Payload { bytes: &[], len: 0 },
    }
}

/// A connection whose SYNs have these options, and whose numbers wrap.
fn opened(client: &[u8], server: &[u8]) -> Receivers {
    let mut receivers = Receivers::default();
    let (syn, fin) = (true, false);
    let of = |segment| Segment { syn, fin, ..segment };
    receivers.take(Client, &of(segment(u32::MAX, None, client)), false);
    receivers.take(Server, &of(segment(u32::MAX, Some(0), server)), false);
    receivers.take(Client, &segment(0, Some(0), &[]), false);
    receivers.take(Server, &segment(0, Some(0), &[]), false);
    receivers
}

/// The largest distance at which a segment of the server is taken.
fn reach(receivers: &Receivers) -> i64 {
    let is_taken = |at: i64| receivers.judge(Server, &segment(at as u32, None, &[])) == Judgement::Taken;
    let (mut taken, mut refused) = (0, 1 << 31);
    while refused - taken > 1 {
        let middle = (taken + refused) / 2;
        match is_taken(middle) {
            true => taken = middle,
            false => refused = middle,
        }
    }
    taken
}

#[test]
fn windows_are_scaled_where_both_syns_say_so() {
    assert_eq!(reach(&opened(SCALED, SCALED)), 1000 << 7);
    for (client, server) in [(SCALED, &[][..]), (&[], SCALED), (&[], &[])] {
        assert_eq!(reach(&opened(client, server)), 1000);
    }
    // The largest shift that there is.
    assert_eq!(reach(&opened(&[3, 3, 200, 0], SCALED)), 1000 << 14);
}

#[test]
fn windows_of_a_late_join_may_be_scaled_by_anything() {
    let mut receivers = Receivers::default();
    receivers.take(Server, &segment(0, Some(0), &[]), false);
    assert_eq!(reach(&receivers), LARGEST, "nothing was announced");
    receivers.take(Client, &segment(0, Some(0), &[]), false);
    assert_eq!(reach(&receivers), 1000 << 14);
    // A SYN whose options were not captured says nothing either.
    let cut = Segment {
        syn: true,
        header: 32,
        ..segment(u32::MAX, None, &[])
    };
    let mut receivers = Receivers::default();
    receivers.take(Client, &cut, false);
    receivers.take(Server, &segment(0, Some(0), &[]), false);
    receivers.take(Client, &segment(0, Some(0), &[]), false);
    assert_eq!(reach(&receivers), 1000 << 14);
}

#[test]
fn an_acknowledgement_that_is_taken_back_is_forgotten() {
    let mut receivers = opened(SCALED, SCALED);
    receivers.take(Client, &segment(0, Some(5000), &[]), false);
    assert_eq!(receivers.expected(Server), Some(5000));
    receivers.take(Client, &segment(0, Some(10), &[]), false);
    assert_eq!(receivers.expected(Server), Some(10));
    // An old one, of what was sent, is only late.
    let data = Segment {
        payload: Payload { bytes: &[], len: 10 },
        ..segment(0, Some(0), &[])
    };
    receivers.take(Server, &data, false);
    receivers.take(Client, &segment(0, Some(5), &[]), false);
    assert_eq!(receivers.expected(Server), Some(10));
}
