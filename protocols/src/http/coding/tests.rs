//! Against what other encoders made, and against anything.

use super::*;
use flate2::{Compression, write};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];
const PLENTY: usize = 1 << 20;

/// What is encoded below.
fn text() -> Vec<u8> {
    let line = |n| format!("{{\"n\":{n},\"name\":\"weir weir\"}}\n");
    (0..8).map(line).collect::<String>().into_bytes()
}

/// Made by gzip 1.12, zlib 1.2 (with its frame and without), zstd 1.5 (-19; -3 twice, one frame with a checksum and one
/// without), and Google's brotli (in Node.js).
const GOLDEN: [(Coding, &str, usize); 6] = [
    (
        Coding::Gzip,
        "1f8b0800000000000203ab56ca53b232d051ca4bcc4d55b2522a4fcd2c5200114ab55cd5202943dc5246b8a58c714b99e09632c52d65865b\
         ca1cab1400c8de4a2ed8000000",
        1,
    ),
    (
        Coding::Deflate,
        "78daab56ca53b232d051ca4bcc4d55b2522a4fcd2c5200114ab55cd5202943dc5246b8a58c714b99e09632c52d65865bca1cab1400d33141\
         f5",
        1,
    ),
    (
        Coding::Deflate,
        "ab56ca53b232d051ca4bcc4d55b2522a4fcd2c5200114ab55cd5202943dc5246b8a58c714b99e09632c52d65865bca1cab1400",
        1,
    ),
    (
        Coding::Zstd,
        "28b52ffd24d8b5010024027b226e223a302c226e616d65223a22776569722077656972227d0a313233343536370820c0e3019fd867b3b6d8\
         67335bb10b640cbcabafb1",
        1,
    ),
    (
        Coding::Zstd,
        "28b52ffd24d8a50100f07b226e223a302c226e616d65223a227765697220227d0a313233343536370900e013601fb019b005d8076c06acf0\
         290382c204bcabafb128b52ffd0058d5010074027b226e223a302c226e616d65223a22776569722077656972227d0a7b226e223a31323334\
         3536370700e013601fb019b005d8076c16b72719",
        2,
    ),
    (
        Coding::Brotli,
        "1bd700f89d07768c83443538dc1baf14f6caedae74fae0b11d4fba7b3cf897713008929a892536916815a0c21530c57903cefd62141d0313\
         0b1b576f",
        1,
    ),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = write::GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => {
            let mut encoded = Vec::new();
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: 5,
                lgwin: 24,
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &*bytes, &mut encoded, &parameters).unwrap();
            encoded
        }
        Coding::Zstd => compress_to_vec(bytes, CompressionLevel::Fastest),
    }
}

#[test]
fn what_others_encode_is_decoded() {
    for (coding, golden, times) in GOLDEN {
        let expected = text().repeat(times);
        assert_eq!(
            coding.decode(&hex(golden), PLENTY),
            (expected, End::Whole),
            "{golden}"
        );
    }
}

#[test]
fn of_a_beginning_what_there_is_of_it() {
    for (coding, golden, times) in GOLDEN {
        let (encoded, expected) = (hex(golden), text().repeat(times));
        let mut longest = 0;
        for end in 0..encoded.len() {
            let (bytes, how) = coding.decode(&encoded[..end], PLENTY);
            assert!(expected.starts_with(&bytes), "{coding:?} {end}");
            // Two frames of zstd are whole after the first.
            let is_whole = times == 2 && bytes.len() == expected.len() / 2;
            assert!(how == End::Early || is_whole, "{coding:?} {end}: {how:?}");
            longest = longest.max(bytes.len());
        }
        let blocks = coding == Coding::Zstd;
        assert!(longest >= expected.len() / 2 || blocks, "{coding:?}: {longest}");
    }
}

#[test]
fn what_is_no_encoding_is_damaged() {
    for coding in ALL {
        let (_, how) = coding.decode(
            b"<html>this was never encoded</html>".repeat(300).as_slice(),
            PLENTY,
        );
        assert_eq!(how, End::Damaged, "{coding:?}");
        assert_eq!(coding.decode(b"", PLENTY).1, End::Early, "{coding:?}");
    }
}

#[test]
fn of_much_output_little_is_made() {
    const LARGE: usize = 4 << 20;
    let zeros = vec![0; LARGE];
    for coding in ALL {
        let encoded = encode(coding, &zeros);
        assert!(encoded.len() < LARGE / 500, "{coding:?}");
        let (bytes, how) = coding.decode(&encoded, 100_000);
        assert_eq!(how, End::Limit, "{coding:?}");
        assert!(
            (100_000..400_000).contains(&bytes.len()),
            "{coding:?}: {}",
            bytes.len()
        );
    }
}

#[test]
fn a_window_beyond_the_standard_is_refused() {
    // zstd --ultra -22 --long=27: a window of 128 MiB, then blocks of a repeated byte.
    let frame = hex("28b52ffd04884c000008000100fcff391002020010000200100003001000");
    assert_eq!(Coding::Zstd.decode(&frame, PLENTY), (Vec::new(), End::Damaged));
}

#[test]
fn frames_that_say_nothing_have_an_end() {
    let skipped = hex("502a4d1803000000616263");
    let data = encode(Coding::Zstd, b"abc");
    let both = [&skipped[..], &data, &skipped].concat();
    assert_eq!(Coding::Zstd.decode(&both, PLENTY), (b"abc".to_vec(), End::Whole));
    assert_eq!(
        Coding::Zstd.decode(&skipped[..9], PLENTY),
        (Vec::new(), End::Early)
    );
    assert_eq!(Coding::Zstd.decode(&skipped.repeat(1000), PLENTY).1, End::Limit);
    let empty = encode(Coding::Zstd, b"");
    let (bytes, how) = Coding::Zstd.decode(&empty.repeat(10_000), PLENTY);
    assert_eq!((bytes.len(), how), (0, End::Limit));
}

#[test]
fn names_are_known_in_any_case() {
    for (name, coding) in [
        (&b"GZIP"[..], Some(Coding::Gzip)),
        (b"x-gzip", Some(Coding::Gzip)),
        (b"Deflate", Some(Coding::Deflate)),
        (b"br", Some(Coding::Brotli)),
        (b"zstd", Some(Coding::Zstd)),
        (b"compress", None),
        (b"", None),
    ] {
        assert_eq!(Coding::named(name), coding);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_comes_back(bytes in prop::collection::vec(0..20_u8, 0..5000), limit in 0..6000_usize) {
        for coding in ALL {
            let (decoded, how) = coding.decode(&encode(coding, &bytes), limit);
            prop_assert!(bytes.starts_with(&decoded));
            if decoded.len() < bytes.len() {
                prop_assert_eq!((coding, how), (coding, End::Limit));
            }
        }
    }

    #[test]
    fn damage_is_survived(
        bytes in prop::collection::vec(0..20_u8, 0..2000),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for coding in ALL {
            let mut encoded = encode(coding, &bytes);
            for (at, byte) in &changes {
                let at = at.index(encoded.len());
                encoded[at] = *byte;
            }
            let (decoded, _) = coding.decode(&encoded, 4000);
            prop_assert!(decoded.len() < 300_000);
        }
    }

    #[test]
    fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for coding in ALL {
            coding.decode(&bytes, 4000);
            coding.decode(&[&encode(coding, b"abc")[..6], &bytes].concat(), 4000);
        }
    }
}
