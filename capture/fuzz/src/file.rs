//! Any file: read to its end or its damage, and its packets tracked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_capture::Reader;
use weir_capture_fuzz::Watched;

fuzz_target!(|input: &[u8]| {
    let Ok(mut reader) = Reader::new(input) else {
        return;
    };
    let mut tracker = Watched::default();
    while let Ok(Some(packet)) = reader.next_packet() {
        assert!(packet.bytes.len() <= input.len());
        tracker.packet(&packet);
    }
    assert!(reader.cut() <= input.len());
    tracker.finish();
});
