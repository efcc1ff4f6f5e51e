//! A connection that is not decoded, or no longer, says why.

use crate::{support::*, wire::*};
use std::sync::Arc;
use weir_config::Pinned;
use weir_protocols::{Close, Decoder, Side, Undecoded};

#[track_caller]
fn why(mut seen: Observer, steps: &[Step], expected: Option<Undecoded>) {
    seen = seen.steps(steps);
    if seen.decoder.is_opaque() {
        assert_eq!(seen.decoder.undecoded(), expected, "{steps:?}");
    }
    seen.step(&Step::Close(Close::Finished));
    assert_eq!(seen.decoder.undecoded(), expected, "{steps:?}");
}

#[test]
fn each_has_its_reason() {
    let upgrade = "GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: private\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: private\r\n\r\n";
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    let unknown = Some(Undecoded::UnknownProtocol);
    for (steps, expected) in [
        (vec![], None),
        (vec![client(GET), server(OK)], None),
        (vec![client(GET), server("+OK\r\n")], None),
        (vec![client("SET a b\r\n")], unknown),
        (vec![client("SET a b\r\n"), server("+OK\r\n")], unknown),
        (vec![server("\x4a\0\0\0\x0a8.0.36\0")], unknown),
        (vec![client(NO_HELLO), server("welcome\r\n")], unknown),
        (vec![client(upgrade), server(switch)], Some(Undecoded::Upgraded)),
        (
            vec![
                client(connect),
                server(OK),
                client("hello\r\n"),
                server("+OK\r\n"),
            ],
            unknown,
        ),
    ] {
        why(Observer::new(), &steps, expected);
    }
    let limits = limits();
    let pinned = Decoder::pinned(&limits, Pinned::Tcp, false);
    why(Observer::of(pinned), &[client(GET)], Some(Undecoded::Pinned));
    let noise = vec![Step::Data(Side::Server, vec![0x55; 1 << 20]); 17];
    why(
        Observer::of(Decoder::late(&Arc::clone(&limits))),
        &noise,
        Some(Undecoded::Bound),
    );
}
