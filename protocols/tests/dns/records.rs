//! Data of records as text, beside what `dig` writes for the same bytes. It differs in three things: names have no last dot here,
//! values of service bindings have quotes only where they need them, and a name that is all of the data is written as names of
//! documents are.

use crate::support::*;
use serde_json::{Value, json};

/// A type, data in hexadecimal digits, and the text.
const RECORDS: &[(u16, &str, &str)] = &[
    (1, "c6120009", r#"198.18.0.9"#),
    (28, "20010db8000000000000000000000001", r#"2001:db8::1"#),
    (2, "026e73076578616d706c6500", r#"ns.example"#),
    (
        6,
        "026e73076578616d706c650004686f7374066d6173746572076578616d706c6500000007ea00001c2000000e10001275000000012c",
        r#"ns.example host.master.example 2026 7200 3600 1209600 300"#,
    ),
    (
        6,
        "00000000000100000001000000010000000100000001",
        r#". . 1 1 1 1 1"#,
    ),
    (13, "06504320227822074c696e75782036", r#""PC \"x\"" "Linux 6""#),
    (14, "0161016200016300", r#"a.b c"#),
    (15, "000a046d61696c076578616d706c6500", r#"10 mail.example"#),
    (15, "000000", r#"0 ."#),
    (
        16,
        "076f6e65202271220874776f0a6c696e6502fffe",
        r#""one \"q\"" "two\010line" "\255\254""#,
    ),
    (16, "00", r#""""#),
    (16, "05615c623b63", r#""a\\b;c""#),
    (17, "026d65076578616d706c650000", r#"me.example ."#),
    (18, "000103616673076578616d706c6500", r#"1 afs.example"#),
    (19, "0c333131303631373030393536", r#""311061700956""#),
    (
        20,
        "0f31353038363230323830303332313703303034",
        r#""150862028003217" "004""#,
    ),
    (20, "0f313530383632303238303033323137", r#""150862028003217""#),
    (21, "00020572656c617900", r#"2 relay"#),
    (
        26,
        "0032026162046e65743202697400046f2d61620470726d6400",
        r#"50 ab.net2.it o-ab.prmd"#,
    ),
    (
        27,
        "082d33322e36383832083131362e383635320431302e30",
        r#""-32.6882" "116.8652" "10.0""#,
    ),
    (
        29,
        "0012161389172dd070be15f000988d20",
        r#"42 21 54.000 N 71 6 18.000 W -24.00m 1m 10000m 10m"#,
    ),
    (
        29,
        "0033009180000001a69fb20003266c08",
        r#"0 0 0.001 N 180 0 0.000 E 428496.72m 30m 0.00m 0.90m"#,
    ),
    (
        33,
        "0001000213c403736970076578616d706c6500",
        r#"1 2 5060 sip.example"#,
    ),
    (33, "00000000000000", r#"0 0 0 ."#),
    (
        35,
        "006400320173075349502b44325500045f736970045f756470076578616d706c6500",
        r#"100 50 "s" "SIP+D2U" "" _sip._udp.example"#,
    ),
    (
        35,
        "0064000a0175074532552b7369701b215e2e2a24217369703a696e666f406578616d706c652e636f6d2100",
        r#"100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" ."#,
    ),
    (36, "0005026b7800", r#"5 kx"#),
    (
        37,
        "0001303908000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"PKIX 12345 8 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw=="#,
    ),
    (37, "004d000000000102", r#"77 0 0 AAEC"#),
    (39, "056f74686572076578616d706c6500", r#"other.example"#),
    (
        42,
        "00011503c0a82000011c84c0a8260100020801ff",
        r#"1:192.168.32.0/21 !1:192.168.38.1/28 2:ff00::/8"#,
    ),
    (
        43,
        "ec4505012bb183af5f22588179a53b0a98631fad1a292118",
        r#"60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"#,
    ),
    (
        44,
        "0402000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        r#"4 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"#,
    ),
    (
        45,
        "0a0102c0000226000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"10 1 2 192.0.2.38 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw=="#,
    ),
    (
        45,
        "0a0302026777076578616d706c65000001020304",
        r#"10 3 2 gw.example AAECAwQ="#,
    ),
    (45, "0a00020001020304", r#"10 0 2 . AAECAwQ="#),
    (
        46,
        "00010d020000012c6955b900692cda8086c9076578616d706c6500000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"A 13 2 300 20260101000000 20251201000000 34505 example AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw=="#,
    ),
    (
        47,
        "04686f7374076578616d706c65000006400100000003041b000000000000000000000000000000000000000000000000000020",
        r#"host.example A MX RRSIG NSEC TYPE1234"#,
    ),
    (
        48,
        "0101030d000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"257 3 13 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw=="#,
    ),
    (60, "0000030000", r#"0 3 0 AA=="#),
    (59, "0000000000", r#"0 0 0 00"#),
    (
        49,
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw=="#,
    ),
    (
        50,
        "0101000c04aabbccdd14000102030405060708090a0b0c0d0e0f101112130006400100000002",
        r#"1 1 12 AABBCCDD 000G40O40K30E209185GO38E1S8124GJ A MX RRSIG"#,
    ),
    (
        50,
        "010000000014000102030405060708090a0b0c0d0e0f10111213000140",
        r#"1 0 0 - 000G40O40K30E209185GO38E1S8124GJ A"#,
    ),
    (51, "0100000000", r#"1 0 0 -"#),
    (
        52,
        "030101000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        r#"3 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"#,
    ),
    (
        53,
        "030000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"3 0 0 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F2021222324252627"#,
    ),
    (
        55,
        "10020008000102030405060708090a0b0c0d0e0f00010203040506070472767331076578616d706c65000472767332076578616d706c6500",
        r#"2 000102030405060708090A0B0C0D0E0F AAECAwQFBgc= rvs1.example rvs2.example"#,
    ),
    (
        61,
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
        r#"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw=="#,
    ),
    (62, "000000420003000460000008", r#"66 3 A NS AAAA"#),
    (
        63,
        "7848b78c0101000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000102030405060708090a0b0c0d0e0f",
        r#"2018031500 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F000102030405060708090A0B0C0D0E0F"#,
    ),
    (99, "0b763d73706631202d616c6c", r#""v=spf1 -all""#),
    (104, "000a00144fffff20ee64", r#"10 14:4fff:ff20:ee64"#),
    (105, "000a0a010200", r#"10 10.1.2.0"#),
    (106, "000a20010db811401000", r#"10 2001:db8:1140:1000"#),
    (107, "000a036c3634076578616d706c6500", r#"10 l64.example"#),
    (108, "00005e00532a", r#"00-00-5e-00-53-2a"#),
    (109, "00005eef1000002a", r#"00-00-5e-ef-10-00-00-2a"#),
    (
        256,
        "000a000168747470733a2f2f6578616d706c652e636f6d2f612262",
        r#"10 1 "https://example.com/a\"b""#,
    ),
    (
        257,
        "800569737375656c657473656e63727970742e6f72673b20783d31",
        r#"128 issue "letsencrypt.org; x=1""#,
    ),
    (260, "0a81cb00710f", r#"10 1 1 203.0.113.15"#),
    (64, "000003666f6f076578616d706c6500", r#"0 foo.example"#),
    (
        65,
        "000100000100030268320003000220fb00040004c6120707",
        r#"1 . alpn=h2 port=8443 ipv4hint=198.18.7.7"#,
    ),
    (
        65,
        "001003666f6f076578616d706c65000000000400010004000100090268320568332d31390002000000040008c0000201c000020200050028000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223242526270006002020010db800000000000000000000000120010db8000000000000000000530001000700102f646e732d71756572797b3f646e737d",
        r#"16 foo.example mandatory=alpn,ipv4hint alpn=h2,h3-19 no-default-alpn ipv4hint=192.0.2.1,192.0.2.2 ech=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw== ipv6hint=2001:db8::1,2001:db8::53:1 dohpath=/dns-query{?dns}"#,
    ),
    (
        64,
        "000103666f6f00029b000568656c6c6f029c000968656c6c6fd2716f6f029d0000",
        r#"1 foo key667=hello key668=hello\210qoo key669"#,
    ),
    (
        64,
        "001003666f6f000001000c08665c6f6f2c626172026832",
        r#"16 foo alpn=f\\\\oo\\,bar,h2"#,
    ),
    (
        12,
        "0e4d79205072696e74657220283129045f697070045f74637000",
        r#"My Printer (1)._ipp._tcp"#,
    ),
    (
        33,
        "000000000000126120623b634064246528662922675c682e69017800",
        r#"0 0 0 a\032b\;c\@d\$e\(f\)\"g\\h\.i.x"#,
    ),
    (65280, "01ab", r#"\# 2 01ab"#),
    (65280, "", r#"\# 0"#),
];

/// Data that is not of its type's form: of all of them only the bytes are told.
const MALFORMED: &[(u16, &str)] = &[
    (1, "c6120001ff"),
    (28, "c6120001"),
    (2, "016100ff"),
    (2, "0161"),
    (2, ""),
    (16, ""),
    (16, "0261"),
    (6, "0000000000010000000200000003"),
    (15, "00"),
    (29, "0112161388c8f3c07ebd0a5c00983450"),
    (29, "00a2161388c8f3c07ebd0a5c00983450"),
    (42, "0001210101"),
    (45, "0a0402c0000226"),
    (47, "0161000000"),
    (47, "0161000101800001ff"),
    (50, "0101000c00000001"),
    (257, "0000"),
    (257, "000261"),
    (257, "80026120"),
    // Parameters of service bindings: a port of three bytes, no address, an order that is wrong, a key that comes twice, a name of no
    // length, a value where there is none.
    (65, "000100000300031fd000"),
    (65, "00010000040000"),
    (65, "0001000003000201bb000100030268 32"),
    (65, "0001000003000201bb0003000201bb"),
    (65, "000100000100 0100"),
    (65, "0001000002000100"),
];

fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn document(kind: u16, data: &[u8]) -> Value {
    Observer::udp()
        .client(0, query(1, "a", kind))
        .server(1, response(1, 0, "a", kind, &[(kind, 60, data)]))
        .document()
}

#[test]
fn data_is_written_as_a_zone_file_has_it() {
    for (kind, data, text) in RECORDS {
        let document = document(*kind, &bytes(data));
        let answer = &document["dns"]["answers"][0];
        assert_eq!(answer["data"], *text, "{}", answer["type"]);
        assert_eq!(document["weir"].get("anomalies"), None);
    }
}

#[test]
fn of_malformed_data_the_bytes_are_told() {
    for (kind, digits) in MALFORMED {
        let data = bytes(digits);
        let document = document(*kind, &data);
        let digits = digits.replace(' ', "");
        let blank = if data.is_empty() { "" } else { " " };
        let expected = format!("\\# {}{blank}{digits}", data.len());
        assert_eq!(document["dns"]["answers"][0]["data"], expected, "{kind} {digits}");
    }
    // What is cut anywhere is told without a panic, and so is what goes on.
    for (kind, data, _) in RECORDS {
        let data = bytes(data);
        for end in 0..data.len() {
            document(*kind, &data[..end]);
        }
        document(*kind, &[&data[..], &data].concat());
    }
}

#[test]
fn names_in_data_may_be_compressed() {
    let point = [0xc0, 0x0c];
    for (kind, data, text) in [
        (2, [&b"\x02ns"[..], &point].concat(), "ns.shop.example"),
        (15, [&b"\x00\x05"[..], &point].concat(), "5 shop.example"),
        (
            33,
            [&b"\x00\x01\x00\x02\x00\x03\x01s"[..], &point].concat(),
            "1 2 3 s.shop.example",
        ),
    ] {
        let document = Observer::udp()
            .client(0, query(1, "shop.example", kind))
            .server(1, response(1, 0, "shop.example", kind, &[(kind, 60, &data)]))
            .document();
        assert_eq!(document["dns"]["answers"][0]["data"], text);
    }
}

#[test]
fn types_have_their_names() {
    for (kind, name) in [
        (39, "DNAME"),
        (43, "DS"),
        (52, "TLSA"),
        (65, "HTTPS"),
        (99, "SPF"),
        (108, "EUI48"),
        (252, "AXFR"),
        (255, "ANY"),
        (256, "URI"),
        (257, "CAA"),
        (32769, "DLV"),
        (0, "TYPE0"),
        (54, "TYPE54"),
        (67, "TYPE67"),
        (65280, "TYPE65280"),
    ] {
        let document = Observer::udp()
            .client(0, query(1, "a", kind))
            .tick(7000)
            .document();
        assert_eq!(document["dns"]["question"]["type"], name);
    }
}

#[test]
fn a_client_subnet_and_extended_errors_are_told() {
    let option = |code: u16, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap();
        [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
    };
    let with = |flags, options: &[u8]| {
        let mut record = opt(0, false);
        record.truncate(record.len() - 2);
        record.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        [message(1, flags, [0, 0, 1], "a", A), record, options.to_vec()].concat()
    };
    let asked = with(0x0100, &option(8, b"\x00\x01\x18\x00\xc6\x12\x07"));
    let answers = [
        option(15, b"\x00\x0fby policy"),
        option(10, b"cookie"),
        option(15, b"\x00\x16"),
        option(15, b"\xff\x00"),
    ];
    let document = Observer::udp()
        .client(0, asked)
        .server(1, with(0x8180, &answers.concat()))
        .document();
    assert_eq!(document["weir"]["dns"]["client_subnet"], "198.18.7.0/24");
    assert_eq!(
        document["weir"]["dns"]["extended_errors"],
        json!(["15 Blocked: by policy", "22 No Reachable Authority", "65280"])
    );
    // What is wrong with options harms nothing else.
    for options in [
        &b"\x00"[..],
        b"\x00\x08\x00\x09\x00\x01",
        &option(8, b"\x00\x01\x21\x00"),
        &option(15, b"\x00"),
    ] {
        let document = Observer::udp()
            .client(0, with(0x0100, options))
            .tick(7000)
            .document();
        assert_eq!(document["dns"]["question"]["name"], "a");
        assert_eq!(document["weir"]["dns"].get("client_subnet"), None);
    }
}
