use super::fields::Field;
use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn show(fields: &Fields) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let show = |field: Field<'_>| {
        let name = field.name.map_or("?".into(), text);
        let value = field.value.map_or_else(|index| format!("?{index}"), text);
        format!("{name}: {value}")
    };
    fields.iter().map(show).collect()
}

fn decode(hpack: &mut Hpack, block: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut fields = Fields::new(1 << 16, 100);
    hpack.decode(block, &mut fields, &mut Rules::default())?;
    Ok(show(&fields))
}

/// Decodes blocks one after the other and compares each; then the table, the newest entry first, and its size.
fn check(hpack: &mut Hpack, steps: &[(&str, &[&str], &[&str], usize)]) {
    for (block, expected, table, size) in steps {
        assert_eq!(decode(hpack, &hex(block)).unwrap(), *expected);
        let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap()).into_owned();
        let entries: Vec<_> = hpack
            .table
            .iter()
            .map(|entry| format!("{}: {}", text(entry.name()), text(entry.value())))
            .collect();
        assert_eq!(entries, *table);
        assert_eq!(hpack.size, *size);
    }
}

#[test]
fn integers_are_those_of_c1() {
    for (bytes, prefix, value) in [
        (&[0x0a][..], 5, 10),
        (&[0x1f, 0x9a, 0x0a], 5, 1337),
        (&[0x2a], 8, 42),
    ] {
        assert_eq!(integer(&mut &bytes[..], prefix), Ok(value));
    }
    for bytes in [
        &[][..],
        &[0x1f],
        &[0x1f, 0x80],
        &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert_eq!(integer(&mut &bytes[..], 5), Err(Malformed));
    }
}

#[test]
fn fields_are_those_of_c2() {
    let fresh = || Hpack::new(true);
    check(
        &mut fresh(),
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &["custom-key: custom-header"],
            &["custom-key: custom-header"],
            55,
        )],
    );
    check(
        &mut fresh(),
        &[(
            "040c 2f73 616d 706c 652f 7061 7468",
            &[":path: /sample/path"],
            &[],
            0,
        )],
    );
    check(
        &mut fresh(),
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            &["password: secret"],
            &[],
            0,
        )],
    );
    check(&mut fresh(), &[("82", &[":method: GET"], &[], 0)]);
}

#[test]
fn requests_are_those_of_c3_and_c4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        check(
            &mut Hpack::new(true),
            &[
                (
                    blocks[0],
                    &[
                        ":method: GET",
                        ":scheme: http",
                        ":path: /",
                        ":authority: www.example.com",
                    ],
                    &[":authority: www.example.com"],
                    57,
                ),
                (
                    blocks[1],
                    &[
                        ":method: GET",
                        ":scheme: http",
                        ":path: /",
                        ":authority: www.example.com",
                        "cache-control: no-cache",
                    ],
                    &["cache-control: no-cache", ":authority: www.example.com"],
                    110,
                ),
                (
                    blocks[2],
                    &[
                        ":method: GET",
                        ":scheme: https",
                        ":path: /index.html",
                        ":authority: www.example.com",
                        "custom-key: custom-value",
                    ],
                    &[
                        "custom-key: custom-value",
                        "cache-control: no-cache",
                        ":authority: www.example.com",
                    ],
                    164,
                ),
            ],
        );
    }
}

#[test]
fn responses_are_those_of_c5_and_c6() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
         3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let date = |second: u8| format!("date: Mon, 21 Oct 2013 20:13:{second} GMT");
    let (first, second) = (date(21), date(22));
    let location = "location: https://www.example.com";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    for blocks in [plain, coded] {
        let mut hpack = Hpack::new(true);
        hpack.resize(256, &mut Rules::default());
        check(
            &mut hpack,
            &[
                (
                    blocks[0],
                    &[":status: 302", "cache-control: private", &first, location],
                    &[location, &first, "cache-control: private", ":status: 302"],
                    222,
                ),
                (
                    blocks[1],
                    &[":status: 307", "cache-control: private", &first, location],
                    &[":status: 307", location, &first, "cache-control: private"],
                    222,
                ),
                (
                    blocks[2],
                    &[
                        ":status: 200",
                        "cache-control: private",
                        &second,
                        location,
                        "content-encoding: gzip",
                        cookie,
                    ],
                    &[cookie, "content-encoding: gzip", &second],
                    215,
                ),
            ],
        );
    }
}

#[test]
fn a_table_joined_late_knows_what_came_since() {
    let mut hpack = Hpack::new(false);
    // An unknown one; a literal with an unknown name, which is inserted; one with a name of its own; and both by index.
    let block = [&b"\xbe\x7f\x05\x03abc\x40\x01k\x01v"[..], b"\xbe\xbf\xc0"].concat();
    let seen = decode(&mut hpack, &block).unwrap();
    assert_eq!(seen, ["?: ?62", "?: abc", "k: v", "k: v", "?: abc", "?: ?64"]);
    hpack.lose();
    assert_eq!(decode(&mut hpack, b"\xbe").unwrap(), ["?: ?62"]);
}

#[test]
fn a_whole_table_has_no_unknown_entries() {
    let mut hpack = Hpack::new(true);
    assert_eq!(decode(&mut hpack, b"\xbe"), Err(Malformed));
    assert_eq!(decode(&mut hpack, b"\x80"), Err(Malformed));
    assert_eq!(decode(&mut hpack, b"\x41\x05ab"), Err(Malformed));
}

#[test]
fn sizes_are_kept_to() {
    let mut hpack = Hpack::new(true);
    decode(&mut hpack, b"\x40\x01a\x01b\x40\x01c\x01d").unwrap();
    assert_eq!(hpack.size, 68);
    // 34 bytes leave room for one of them; the other is gone for certain.
    assert_eq!(decode(&mut hpack, b"\x3f\x03\xbe").unwrap(), ["c: d"]);
    assert_eq!(decode(&mut hpack, b"\xbf"), Err(Malformed));
    // An entry that does not fit empties the table.
    decode(&mut hpack, b"\x40\x02ab\x01b").unwrap();
    assert_eq!((hpack.table.len(), hpack.size), (0, 0));
}

#[test]
fn a_table_larger_than_is_kept_becomes_unknown_at_its_end() {
    let mut hpack = Hpack::new(true);
    // Four megabytes are allowed and used.
    let mut block = b"\x3f\xe1\xff\xff\x01".to_vec();
    let value = [&b"\x40\x01n\x7f\x81\x07"[..], &[b'v'; 1024]].concat();
    for _ in 0..1000 {
        block.extend(&value);
    }
    let mut fields = Fields::new(100, 100);
    hpack.decode(&block, &mut fields, &mut Rules::default()).unwrap();
    assert!(
        hpack.size <= MAX_TABLE && hpack.size > MAX_TABLE - 2048,
        "{}",
        hpack.size
    );
    assert_eq!(fields.count, 1000);
    assert!(fields.stored() < 4096);
    let newest = decode(&mut hpack, b"\xbe").unwrap();
    assert_eq!(newest[0].len(), 1027);
    assert_eq!(decode(&mut hpack, b"\xff\x80\x01").unwrap(), ["?: ?255"]);
    // One that is larger than all that is kept has its place all the same.
    let large = [
        &b"\x40\x01n\x7f\x81\x7f\x04"[..],
        &vec![b'v'; 0x13f80 + 127 - 0x7f],
    ]
    .concat();
    let length = (large.len() - 7) as u32;
    let mut exact = b"\x40\x01n\x7f".to_vec();
    let mut rest = length - 127;
    while rest >= 128 {
        exact.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    exact.push(rest as u8);
    exact.extend(&large[7..]);
    decode(&mut hpack, &exact).unwrap();
    assert_eq!(
        decode(&mut hpack, b"\xbe\x40\x01a\x01b\xbe").unwrap(),
        ["?: ?62", "a: b", "a: b"]
    );
}

#[test]
fn lists_keep_to_their_bounds() {
    let mut fields = Fields::new(10, 2);
    fields.push(Some(b"abc"), b"defghijkl");
    fields.push(Some(b"x"), b"y");
    fields.push_unknown(None, 70);
    fields.push_unknown(None, 71);
    assert_eq!(show(&fields), ["abc: defghij", "?: ?70"]);
    assert_eq!((fields.count, fields.size, fields.unknown), (4, 14, 2));
    assert!(fields.is_cut());
}
