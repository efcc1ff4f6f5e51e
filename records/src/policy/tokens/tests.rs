use super::*;

fn clean(text: &str) -> String {
    let clean = without_secrets(text.as_bytes());
    String::from_utf8(clean.unwrap_or_else(|| text.into())).unwrap()
}

/// So many letters and digits, as a generator of keys has them.
fn random(length: usize) -> String {
    "a1B2c3D4e5F6g7H8i9J0".chars().cycle().take(length).collect()
}

fn hex(length: usize) -> String {
    "0a1b2c3d4e5f6789".chars().cycle().take(length).collect()
}

#[test]
fn shapes_are_in_order() {
    assert!(SHAPES.is_sorted_by_key(|shape| shape.prefix));
    assert!(SHAPES.iter().all(|shape| shape.prefix.len() >= 2));
}

#[test]
fn each_shape_is_found_at_the_length_that_it_has() {
    let uuid = "7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1";
    for shape in SHAPES {
        let token = |length: usize| match shape.of {
            Alphabet::Hex | Alphabet::HexExact => hex(length),
            Alphabet::Uuid => uuid[..length].to_owned(),
            _ => random(length),
        };
        let whole = format!("{}{}", shape.prefix, token(shape.least));
        for (before, after) in [
            ("", ""),
            ("a ", " b"),
            ("\"", "\""),
            ("/", "?a"),
            ("%20", ","),
            ("\\n", "\\n"),
        ] {
            let text = format!("{before}{whole}{after}");
            assert_eq!(clean(&text), format!("{before}<redacted>{after}"));
        }
        if let Some(short) = shape.least.checked_sub(1) {
            // (With other prefixes it may be a token all the same.)
            let text = format!("{}{}", shape.prefix, token(short));
            assert_eq!(shape.length(text.as_bytes()), None, "{text}");
        }
    }
}

#[test]
fn signed_tokens_are_found() {
    let part = random(40);
    for token in [
        format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{part}"),
        // Cut within the payload, encrypted, encrypted with a shared key.
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi".to_owned(),
        format!("eyJhbGciOiJkaXIifQ.{part}.{part}.{part}.{part}"),
        format!("eyJhbGciOiJkaXIifQ..{part}.{part}.{part}"),
    ] {
        for (before, after) in [("", ""), ("x-", " y"), ("Bearer ", ""), ("token_", "\"")] {
            assert_eq!(
                clean(&format!("{before}{token}{after}")),
                format!("{before}<redacted>{after}")
            );
        }
    }
    assert_eq!(clean(&format!("sk.eyJ1Ijoi.{part}")), "sk.<redacted>");
    for text in [
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJIUzI1NiJ9...",
        "eyJhbGciOiJIUzI1NiJ9.min.js",
        "eyJ",
    ] {
        assert_eq!(clean(text), text);
    }
}

#[test]
fn tokens_without_a_prefix_are_found() {
    let word = random(40);
    for (text, expected) in [
        (format!("AKIA{} b", "ABCDEFGHIJKL2345"), "<redacted> b".to_owned()),
        (
            format!("AKIA{}:{word} b", "ABCDEFGHIJKL2345"),
            "<redacted> b".into(),
        ),
        (format!("123456789:{} b", random(35)), "<redacted> b".into()),
        (
            format!("/bot123456:{}/getMe", random(35)),
            "/bot123456:<redacted>/getMe".into(),
        ),
        (
            format!("/bot123456%3A{}/getMe", random(35)),
            "/bot123456%3A<redacted>/getMe".into(),
        ),
        (format!("abc8Q~{}", random(34)), "<redacted>".into()),
        (
            format!("M{}.Gabc12.{}", random(23), random(38)),
            "<redacted>".into(),
        ),
        (format!("{}-us12", hex(32)), "<redacted>".into()),
        (format!("{}NRAL", hex(36)), "<redacted>".into()),
        (
            format!("{}.atlasv1.{}", random(14), random(67)),
            "<redacted>".into(),
        ),
        (
            format!("{}:APA91b{}", random(11), random(134)),
            "<redacted>".into(),
        ),
        (
            format!("/services/T0ABC/B0ABC/{}", random(24)),
            "/services/T0ABC/B0ABC/<redacted>".into(),
        ),
        (
            format!("/api/webhooks/123/{}?wait=1", random(68)),
            "/api/webhooks/123/<redacted>?wait=1".into(),
        ),
        (
            format!("/IncomingWebhook/{}/1", hex(32)),
            "/IncomingWebhook/<redacted>/1".into(),
        ),
        (
            format!("/password/reset/{word}"),
            "/password/reset/<redacted>".into(),
        ),
        (format!("/verify/{word}?a"), "/verify/<redacted>?a".into()),
    ] {
        assert_eq!(clean(&text), expected);
    }
}

#[test]
fn credentials_behind_their_scheme_are_found() {
    for (text, expected) in [
        ("Bearer abcdef", "Bearer <redacted>"),
        ("bearer a1b2c3d4 x", "bearer <redacted> x"),
        ("auth: Bearer a1b2c3d4==", "auth: Bearer <redacted>"),
        ("Basic dTpw", "Basic <redacted>"),
        ("see Basic dXNlcjpodW50ZXIy.", "see Basic dXNlcjpodW50ZXIy."),
        ("see Basic dXNlcjpodW50ZXIy, b", "see Basic <redacted>, b"),
        (
            "Bearer realm=\"a1b2c3d4e5\", error=\"x\"",
            "Bearer realm=\"a1b2c3d4e5\", error=\"x\"",
        ),
        ("Bearer realm=a1b2c3d4e5", "Bearer realm=a1b2c3d4e5"),
        ("Bearer of bad news", "Bearer of bad news"),
        ("Basic realm=\"a\"", "Basic realm=\"a\""),
        ("Basic information", "Basic information"),
        ("a Bearer authentication", "a Bearer authentication"),
        ("forbearer a1b2c3d4", "forbearer a1b2c3d4"),
        ("Bearer", "Bearer"),
        ("Bearer <redacted>", "Bearer <redacted>"),
    ] {
        assert_eq!(clean(text), expected, "{text}");
    }
}

#[test]
fn private_keys_are_found() {
    for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
        let key = format!("-----BEGIN {kind}PRIVATE KEY-----\nMIIE\n-----END {kind}PRIVATE KEY-----");
        assert_eq!(clean(&format!("a\n{key}\nb")), "a\n<redacted>\nb");
        assert_eq!(clean(&key.replace('\n', "\\n")), "<redacted>");
        for end in 30..key.len() {
            assert!(!clean(&key[..end]).contains("MI"), "{end}");
        }
    }
    let block = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----\n";
    assert_eq!(clean(block), "<redacted>\n");
    for text in [
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
        "BEGIN PRIVATE KEY",
    ] {
        assert_eq!(clean(text), text);
    }
}

#[test]
fn offered_credentials_are_found() {
    let offered = |text: &str| {
        let clean = offered(text.as_bytes());
        clean.map(|clean| String::from_utf8(clean).unwrap())
    };
    assert_eq!(
        offered("access_token, abc, v1").as_deref(),
        Some("access_token, <redacted>, v1")
    );
    assert_eq!(offered("graphql-ws, v1"), None);
    assert_eq!(offered("bearer"), None);
    let kubernetes = "base64url.bearer.authorization.k8s.io.ZXlK, v4.channel.k8s.io";
    assert_eq!(clean(kubernetes), "<redacted>, v4.channel.k8s.io");
}
