//! Ways by which secrets are known to have left programs that record traffic, one by one.

use crate::places::{Put, shown};

fn header(name: &str, value: &str) -> String {
    shown(&Put::Header(name.into(), value.into()))
}

fn target(target: &str) -> String {
    shown(&Put::Target(target.into()))
}

#[test]
fn credentials_among_subprotocols() {
    let offer = "base64url.bearer.authorization.k8s.io.ZXlKaGJHY2lP, v4.channel.k8s.io";
    let clean = r#"{"sec-websocket-protocol":"<redacted>, v4.channel.k8s.io"}"#;
    assert_eq!(header("sec-websocket-protocol", offer), clean);
    assert_eq!(
        shown(&Put::Text(offer.into())),
        r#""<redacted>, v4.channel.k8s.io""#
    );
}

#[test]
fn keys_without_a_kind() {
    let key = format!("AIza{}", "Sy0123456789".repeat(3));
    let clean = r#""/maps/api/geocode/json?address=x&key=<redacted>""#;
    assert_eq!(
        target(&format!("/maps/api/geocode/json?address=x&key={key}")),
        clean
    );
    for name in [
        "fastly-key",
        "aeg-sas-key",
        "x-license-key",
        "dd-application-key",
        "x-app-key",
    ] {
        assert_eq!(header(name, "abc"), format!("{{\"{name}\":\"<redacted>\"}}"));
    }
}

#[test]
fn names_of_many_protocols() {
    for name in [
        "api_key",
        "application_key",
        "license_key",
        "id_token_hint",
        "client_assertion",
        "assertion",
        "SAMLResponse",
        "pw",
        "user_pass",
        "db_pass",
    ] {
        assert_eq!(
            target(&format!("/a?{name}=A&b=c")),
            format!("\"/a?{name}=<redacted>&b=c\"")
        );
        assert_eq!(
            shown(&Put::Form(format!("{name}=A&b=c"))),
            format!("\"{name}=<redacted>&b=c\"")
        );
        assert_eq!(
            shown(&Put::Argument(Some(name.into()), "A".into())),
            format!("[{{\"{name}\":\"<redacted>\"}}]")
        );
    }
    assert_eq!(
        target("/a?ticket=ST-1856339-aA5Yuvrxzpv8Tau1cYQ7"),
        r#""/a?ticket=<redacted>""#
    );
    for name in [
        "cf-access-jwt-assertion",
        "x-goog-iap-jwt-assertion",
        "x-amzn-oidc-data",
        "x-honeycomb-team",
        "x-jfrog-art-api",
        "x-github-otp",
        "x-zumo-auth",
        "authentication",
        "x-amz-server-side-encryption-customer-key",
    ] {
        assert_eq!(header(name, "abc"), format!("{{\"{name}\":\"<redacted>\"}}"));
    }
}

#[test]
fn json_outside_of_bodies() {
    let clean = r#"{"x-user-context":"{\"accessToken\":\"<redacted>\"}"}"#;
    assert_eq!(header("x-user-context", r#"{"accessToken":"abc"}"#), clean);
    assert_eq!(
        target(r#"/a?filter={"password":"hunter2"}"#),
        r#""/a?filter=<redacted>""#
    );
}

#[test]
fn what_is_encoded_once_and_twice() {
    for query in [
        "query=%7Blogin(password%3A%22x%22)%7D",
        "next=%252Fl%253Ftoken%253Dabc",
    ] {
        let name = query.split('=').next().unwrap();
        assert_eq!(
            target(&format!("/a?{query}")),
            format!("\"/a?{name}=<redacted>\"")
        );
    }
}

#[test]
fn targets_that_begin_with_an_authority() {
    let clean = r#""<redacted>@b/?password=<redacted>""#;
    assert_eq!(target("a@b/?password=hunter2"), clean);
    assert_eq!(header("host", "u:p@h:80"), r#"{"host":"<redacted>@h:80"}"#);
}

#[test]
fn texts_among_arguments() {
    for (text, clean) in [
        (
            "<login><password>x</password></login>",
            "<login><password><redacted></password></login>",
        ),
        ("password: x", "password: <redacted>"),
        ("{'password': 'x'}", "{'password': '<redacted>'}"),
        ("password:x", "password:<redacted>"),
    ] {
        assert_eq!(shown(&Put::Argument(None, text.into())), format!("[\"{clean}\"]"));
        assert_eq!(shown(&Put::Body(text.into())), format!("\"{clean}\""));
    }
}

#[test]
fn parts_of_paths() {
    let token = "AAE3x9Kq7Lm2Np4Rs6Tv8Wy0Zb1Cd5Ef7Gh";
    for (before, behind) in [
        ("/bot123456:", "/sendMessage"),
        ("/services/T0ABCDEFG/B0ABCDEFG/", ""),
        ("/api/webhooks/1/", "?wait=true"),
        ("/account/reset/", ""),
    ] {
        assert_eq!(
            target(&format!("{before}{token}{behind}")),
            format!("\"{before}<redacted>{behind}\"")
        );
    }
}

#[test]
fn messages_of_grpc() {
    for message in [
        "no access with token: a1b2c3",
        "no access with password%3A hunter2",
    ] {
        let seen = header("grpc-message", message);
        assert!(!seen.contains("a1b2c3") && !seen.contains("hunter2"), "{seen}");
    }
}
