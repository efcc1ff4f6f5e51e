//! What becomes of a body that was kept.

use super::*;
use weir_config::{Bodies, Bytes, MediaRange, Records};

/// What came of a body of these headers.
struct Made {
    content: Option<String>,
    cuts: Cuts,
    anomalies: Vec<String>,
}

fn make(headers: &[(&str, &str)], bytes: &[u8], max: u64) -> Made {
    make_of(headers, bytes, max, true, false)
}

fn make_of(headers: &[(&str, &str)], bytes: &[u8], max: u64, whole: bool, more_fields: bool) -> Made {
    let bodies = Bodies {
        max_bytes: Bytes(max),
        content_types: vec!["*/*".parse::<MediaRange>().unwrap()],
    };
    let mut kept = Kept::wanted(&bodies, || None).unwrap();
    kept.take(bytes);
    let fields: Vec<_> = headers
        .iter()
        .map(|(name, value)| Field {
            name: (*name).into(),
            value: (*value).into(),
            cut: false,
        })
        .collect();
    let seen = Seen {
        side: Side::Server,
        bytes: bytes.len() as u64,
        whole,
        kept: Some(&kept),
        fields: &fields,
        more_fields,
    };
    let (mut cuts, mut anomalies) = (Cuts::default(), Vec::new());
    let body = body(
        &seen,
        &Policy::new(&Records::default()),
        &mut cuts,
        &mut anomalies,
    );
    Made {
        content: body.content,
        cuts,
        anomalies,
    }
}

fn content(headers: &[(&str, &str)], bytes: &[u8]) -> String {
    let made = make(headers, bytes, 1000);
    assert_eq!(made.anomalies, Vec::<String>::new());
    assert!(!made.cuts.truncated);
    made.content.unwrap()
}

fn typed(content_type: &str, bytes: &[u8]) -> String {
    content(&[("Content-Type", content_type)], bytes)
}

const NAME: &str = "http.response.body.content";

/// `{"a":1}` in gzip.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x54\xb2\x32\xac\x05\x00\xaf\xac\x1b\x56\x07\x00\x00\x00";

#[test]
fn text_is_read_in_its_character_set() {
    for (content_type, bytes, text) in [
        ("text/plain; charset=utf-8", "é".as_bytes(), "é"),
        ("text/plain; charset=ISO-8859-1", b"caf\xe9", "café"),
        ("text/plain", b"caf\xe9", "café"),
        ("TEXT/PLAIN;Charset=\"GBK\"", b"\xc4\xe3\xba\xc3", "你好"),
        (
            "application/json; charset=shift_jis",
            b"{\"a\":\"\x83\\\"}",
            "{\"a\":\"ソ\"}",
        ),
        ("application/json", b"\xef\xbb\xbf{}", "{}"),
        ("application/json", b"\xff\xfe{\0}\0", "{}"),
        ("application/json", b"\0{\0}", "{}"),
        ("application/json", b"{\0}\0", "{}"),
        ("text/plain; charset=no-such", b"a", "a"),
        ("application/octet-stream", b"plain\r\n", "plain\r\n"),
    ] {
        assert_eq!(typed(content_type, bytes), text, "{content_type}");
    }
    assert_eq!(content(&[], b"a"), "a");
}

#[test]
fn what_is_no_text_is_in_base64_and_says_so() {
    for (content_type, bytes) in [
        ("image/png", &b"\x89PNG\r\n"[..]),
        ("application/grpc", b"\0\0\0\0\x01a"),
        ("application/octet-stream", b"a\0"),
    ] {
        let made = make(&[("content-type", content_type)], bytes, 1000);
        assert_eq!(made.content, Some(STANDARD.encode(bytes)));
        assert_eq!(made.cuts.base64, [NAME]);
    }
}

#[test]
fn secrets_are_replaced_whatever_the_body_is() {
    let form = "application/x-www-form-urlencoded";
    for (content_type, bytes) in [
        ("application/json", &br#"{"password":"hunter2"}"#[..]),
        (
            "application/json",
            b"{\0\"\0t\0o\0k\0e\0n\0\"\0:\0\"\0h\0u\0n\0t\0e\0r\x002\0\"\0}\0",
        ),
        ("text/plain", br#"{"password":"hunter2"}"#),
        (form, b"a=b&password=hunter2 hunter2"),
        (form, br#"{"password":"hunter2"}"#),
        ("application/soap+xml", b"<Password>hunter2</Password>"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=pwd\r\n\r\nhunter2\r\n--x--",
        ),
        (
            "multipart/form-data",
            b"--x\r\nContent-Disposition: form-data; name=\"pwd\"\r\n\r\nhunter2\r\n--x--",
        ),
        (
            "multipart/mixed",
            b"--x\r\n\r\n\xff{\"token\":\"hunter2\"}\r\n--x--",
        ),
        // GBK's second bytes may look like a backslash before a quote.
        (
            "application/json; charset=gbk",
            b"{\"a\":\"\x83\\\",\"password\":\"hunter2\"}",
        ),
    ] {
        let text = typed(content_type, bytes);
        assert!(text.contains("<redacted>") && !text.contains("hunter2"), "{text}");
    }
    let binary =
        b"--x\r\nContent-Disposition: form-data; name=pwd\r\n\r\nhunter2\r\n--x\r\n\r\n\xff\0\r\n--x--";
    let made = make(
        &[("content-type", "multipart/form-data; boundary=x")],
        binary,
        1000,
    );
    let bytes = STANDARD.decode(made.content.unwrap()).unwrap();
    assert!(!bytes.windows(7).any(|it| it == b"hunter2"));
    assert!(bytes.ends_with(b"\xff\0\r\n--x--"));
}

#[test]
fn codings_are_taken_off_in_their_order() {
    let json = [("content-type", "application/json")];
    for codings in [
        &[("content-encoding", "gzip")][..],
        &[("Content-Encoding", " X-GZIP , identity")],
        &[("transfer-encoding", "gzip, chunked")],
    ] {
        assert_eq!(content(&[&json, codings].concat(), GZIP), r#"{"a":1}"#);
    }
    let (twice, end) = {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(GZIP).unwrap();
        (encoder.finish().unwrap(), r#"{"a":1}"#)
    };
    assert_eq!(
        content(&[json[0], ("content-encoding", "gzip, deflate")], &twice),
        end
    );
    let headers = [
        json[0],
        ("content-encoding", "gzip"),
        ("content-encoding", "deflate"),
    ];
    assert_eq!(content(&headers, &twice), end);
    let headers = [
        json[0],
        ("transfer-encoding", "deflate, chunked"),
        ("content-encoding", "gzip"),
    ];
    assert_eq!(content(&headers, &twice), end);
}

#[test]
fn what_cannot_be_decoded_is_left_out_and_said() {
    let made = make(&[("content-encoding", "gzip, compress")], b"\x1f\x9d", 1000);
    assert_eq!(made.content, None);
    assert_eq!(made.anomalies, ["response_body_not_decoded: \"compress\""]);
    let made = make(&[("content-encoding", "gzip,gzip,gzip,gzip,gzip")], GZIP, 1000);
    assert_eq!((made.content, made.anomalies.len()), (None, 1));
    // Headers that were not seen may have named a coding.
    let made = make_of(&[("content-type", "application/json")], GZIP, 1000, true, true);
    assert_eq!(
        made.content.as_deref(),
        Some(&*GZIP.iter().map(|b| char::from(*b)).collect::<String>())
    );
    let made = make_of(&[], GZIP, 1000, true, true);
    assert_eq!(made.content, None);
    assert_eq!(
        made.anomalies,
        ["response_body_not_decoded: not all of its headers were seen"]
    );
    let made = make_of(&[], b"{}", 1000, true, true);
    assert_eq!(made.content.as_deref(), Some("{}"));
}

#[test]
fn damage_is_said_and_what_could_be_read_is_shown() {
    let gzip = [("content-encoding", "gzip"), ("content-type", "text/plain")];
    let made = make(&gzip, &GZIP[..18], 1000);
    assert_eq!(made.anomalies, ["response_body_damaged: gzip that has not ended"]);
    assert!(r#"{"a":1}"#.starts_with(&made.content.unwrap()));
    let made = make(&gzip, b"not gzip at all", 1000);
    assert_eq!(
        (made.content, &*made.anomalies),
        (None, &["response_body_damaged: gzip".to_owned()][..])
    );
    let trailing = [GZIP, b"something else"].concat();
    let made = make(&gzip, &trailing, 1000);
    assert_eq!(made.content.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(made.anomalies, ["response_body_damaged: gzip"]);
    // A body that was not seen to its end is not damaged.
    let made = make_of(&gzip, &GZIP[..18], 1000, false, false);
    assert_eq!(made.anomalies, Vec::<String>::new());
}

#[test]
fn what_is_cut_says_how_large_it_was() {
    let plain = [("content-type", "text/plain")];
    let made = make(&plain, "aé".as_bytes(), 2);
    assert_eq!(made.content.as_deref(), Some("a"));
    assert_eq!(made.cuts.sizes[NAME], 3);
    let utf16 = [("content-type", "text/plain; charset=utf-16be")];
    let made = make(&utf16, b"\0a\0b", 3);
    assert_eq!(made.content.as_deref(), Some("a"));
    // Of an encoded one its decoded size, where all of it was decoded.
    let gzip = [("content-encoding", "gzip"), ("content-type", "text/plain")];
    let many = |bytes: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let made = make(&gzip, &many(&[b'a'; 5000]), 100);
    assert_eq!(made.content.unwrap().len(), 100);
    assert_eq!((made.cuts.truncated, made.cuts.sizes[NAME]), (true, 5000));
    // Beyond what is looked at, its size on the wire.
    let huge = many(&vec![b'a'; 10 << 20]);
    let made = make(&gzip, &huge, 20_000);
    assert_eq!(made.content.unwrap().len(), 20_000);
    assert_eq!(made.cuts.sizes[NAME], huge.len() as u64);
    assert_eq!(made.anomalies, Vec::<String>::new());
    let noise: Vec<u8> = (0..9000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let noise = many(&noise);
    let made = make(&gzip, &noise, 1000);
    assert_eq!(made.cuts.sizes[NAME], noise.len() as u64);
    assert_eq!(made.anomalies, Vec::<String>::new());
}

#[test]
fn wherever_a_body_is_cut_nothing_of_a_secret_is_left() {
    for (content_type, text) in [
        (
            "application/json",
            r#"{"é":1,"password":"hunter2","b":{"token":["hunter2"]}}"#,
        ),
        ("application/x-ndjson", "{\"a\":1}\n{\"pwd\":\"hunter2\"}\n"),
        (
            "application/x-www-form-urlencoded",
            "a=b&password=hunter2&c=%7B%22token%22%3A%22hunter2%22%7D",
        ),
        (
            "application/xml",
            "<a password='hunter2'><b:Token>hunter2</b:Token></a>",
        ),
        (
            "text/plain",
            "see http://user:hunter2@host/?token=hunter2 or password = \"hunter2 hunter2\"",
        ),
    ] {
        for end in 0..=text.len() {
            let made = make(
                &[("content-type", content_type)],
                text.as_bytes(),
                end.max(1) as u64,
            );
            let content = made.content.unwrap_or_default();
            assert!(!content.contains("hu"), "{content}");
        }
    }
}
