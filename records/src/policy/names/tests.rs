use super::table::{KINDED, Kinded};
use super::*;
use crate::{Policy, REDACTED};

/// Every name that the table says is that of a secret.
fn secret_names() -> Vec<String> {
    let mut names: Vec<String> = [ANYWHERE, ENDS, PARTS, WHOLE]
        .iter()
        .flat_map(|words| words.iter().map(|word| (*word).to_owned()))
        .collect();
    for Kinded { word, kinds, .. } in KINDED {
        for kind in *kinds {
            names.extend(["", "-", "_"].iter().map(|sign| format!("{kind}{sign}{word}")));
        }
    }
    names
}

#[test]
fn every_name_is_found_in_every_use() {
    let policy = Policy::new(&Records::default());
    for name in secret_names() {
        let header = policy.header(&name, b"abc").value;
        assert_eq!(header, REDACTED, "{name} as a header");
        let metadata = policy.header(&format!("{name}-bin"), b"abc").value;
        assert_eq!(metadata, REDACTED, "{name} as metadata");
        for (text, clean) in [
            (format!("/a?b=c&{name}=x"), format!("/a?b=c&{name}={REDACTED}")),
            (format!("/a#{name}=x"), format!("/a#{name}={REDACTED}")),
        ] {
            assert_eq!(policy.url(text.as_bytes()).value, clean);
        }
        assert_eq!(
            policy.form_body(&format!("{name}=x&b=c")),
            format!("{name}={REDACTED}&b=c")
        );
        let upper = name.to_ascii_uppercase();
        for (text, clean) in [
            (
                format!("{{\"{name}\":1}}"),
                format!("{{\"{name}\":\"{REDACTED}\"}}"),
            ),
            (
                format!("{{\"{upper}2\":1}}"),
                format!("{{\"{upper}2\":\"{REDACTED}\"}}"),
            ),
            (
                format!("<{name}>x</{name}>"),
                format!("<{name}>{REDACTED}</{name}>"),
            ),
            (
                format!("<a {name}=\"x\"/>"),
                format!("<a {name}=\"{REDACTED}\"/>"),
            ),
            (format!("a {name} = x"), format!("a {name} = {REDACTED}")),
            (format!("{name}: x"), format!("{name}: {REDACTED}")),
            (
                format!("{{'{name}': 'x'}}"),
                format!("{{'{name}': '{REDACTED}'}}"),
            ),
        ] {
            // (No name of XML begins with a digit.)
            if !text.starts_with("<2") {
                assert_eq!(policy.body(&text), clean, "{text}");
                assert_eq!(policy.clean(&text), clean, "{text}");
            }
        }
        assert_eq!(policy.tells(&name), Told::Secret, "{name} as a key of arguments");
    }
}

#[test]
fn names_of_other_things_tell_nothing() {
    let names = Names::default();
    for name in [
        "",
        "id",
        "keyboard",
        "monkey",
        "tokenizer",
        "tokens",
        "max_tokens",
        "tokens_used",
        "passenger",
        "passport_number",
        "author",
        "authority",
        "secretary",
        "secretaryName",
        "secretion",
        "passwordless",
        "compass",
        "bypass",
        "season_pass",
        "assignment",
        "sidecar",
        "account_sid",
        "consider",
        "zipcode",
        "status_code",
        "country_code",
        "postcode",
        "pincode",
        "primary_color",
        "cache_key",
        "sort_key",
        "foreignKey",
        "idempotencyKey",
        "partition-key",
        "publicKey",
        "publishable_key",
        "nextPageToken",
        "page_token",
        "continuation_token",
        "eos_token",
        "secretName",
        "withCredentials",
        "remote.application",
        "design",
        "laptop",
        "breadcrumb",
        "www-authenticate",
        "access-control-allow-credentials",
        "codec",
        "ticketing",
        "signal",
        &"x".repeat(100),
    ] {
        assert_eq!(names.key(name.as_bytes()), Told::Nothing, "{name}");
        assert_eq!(names.header(&name.to_ascii_lowercase()), Told::Nothing, "{name}");
    }
}

#[test]
fn a_header_that_ends_in_key_is_a_secret_unless_it_is_known_to_be_none() {
    let names = Names::default();
    for name in [
        "key",
        "fastly-key",
        "aeg-sas-key",
        "x-foo-key",
        "x_foo_key",
        "x-amz-server-side-encryption-customer-key",
        "x-encryption-key-bin",
    ] {
        assert_eq!(names.header(name), Told::Secret, "{name}");
    }
    for kind in HARMLESS_KEYS {
        assert_ne!(names.header(&format!("x-{kind}-key")), Told::Secret, "{kind}");
    }
    for name in ["sec-websocket-key", "xkey", "x-key-id", "x-hotkey", "x-keys"] {
        assert_eq!(names.header(name), Told::Nothing, "{name}");
    }
    for (name, told) in [
        ("key", Told::Doubtful),
        ("routing_key", Told::Doubtful),
        ("code", Told::Doubtful),
        ("ticket", Told::Doubtful),
        ("fastly-key", Told::Doubtful),
        ("foo_key", Told::Nothing),
    ] {
        assert_eq!(names.key(name.as_bytes()), told, "{name}");
    }
}

#[test]
fn settings_add_and_spare_names() {
    let names = |add: &[&str], spare: &[&str]| {
        let patterns = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Names::new(&Records {
            redact_names: patterns(add),
            spare_names: patterns(spare),
            redact_headers: vec!["X-Customer".into()],
            redact_query_keys: vec!["Iban".into()],
            ..Records::default()
        })
    };
    let own = names(
        &["*_pin", "User-Agent", "build-token"],
        &["*-token", "author*", "session"],
    );
    for (name, header, key) in [
        ("card_pin", Told::Secret, Told::Secret),
        ("card_pin2", Told::Secret, Told::Secret),
        ("user-agent", Told::Secret, Told::Secret),
        ("x-customer", Told::Secret, Told::Nothing),
        ("iban", Told::Nothing, Told::Secret),
        ("x-build-token", Told::Nothing, Told::Nothing),
        ("build-token", Told::Secret, Told::Secret),
        ("authorization", Told::Nothing, Told::Nothing),
        ("session", Told::Nothing, Told::Nothing),
        ("password", Told::Secret, Told::Secret),
    ] {
        assert_eq!(
            (own.header(name), own.key(name.as_bytes())),
            (header, key),
            "{name}"
        );
    }
}

#[test]
fn random_values_are_told_from_words_and_numbers() {
    for value in [
        "3f9a1c7be20d4a5688d1f0e7",
        "SplxlOBeZQQYbYS6WxSbIA",
        "ST-1856339-aA5Yuvrxzpv8Tau1cYQ7",
        "0.AXEAbc12Def34Ghi56Jkl78Mno90Pqr",
        "d41d8cd98f00b204e9800998ecf8427e",
        "abcdef1234567890abcdef1234567890",
    ] {
        assert!(is_random(value.as_bytes()), "{value}");
    }
    for value in [
        "",
        "page1",
        "3f9a1c7be20d4a5688d",
        "7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1",
        "user-7f0c2b9e-0d1c-4f7e-8a57-1de4cbb9d3b1",
        "my-long-document-key-name-2024-01-15",
        "MyVeryLongDocumentKeyNameIndeed",
        "a-very-long-name-of-a-document-1234567890-1234567890",
        "iphone15pro-256gb-blue-2nd-generation",
        "20240115103000000000000000",
        "2024-01-15T10:30:00.000Z",
        "images/2024/IMG_20240315_104530.jpg",
        "user:42:profile:settings:v2",
    ] {
        assert!(!is_random(value.as_bytes()), "{value}");
    }
}
