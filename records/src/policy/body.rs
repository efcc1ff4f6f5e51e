//! Bodies: what is looked for in each kind of them.

use super::assignments::{self, Look};
use super::{Policy, cards, json_text, multipart, redact, tokens, xml_text};
use std::borrow::Cow;

/// A shorter text has no name with a value.
const SHORTEST: usize = 4;

impl Policy {
    /// A body that is a text, or what was kept of it, without the secrets in it: what stands at password-like keys in JSON,
    /// in elements and attributes of XML, what is assigned to password-like names, the secrets of URLs, and what is
    /// unmistakable: tokens, private keys, numbers of cards.
    pub fn body<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        if !self.settings.redact {
            return clean;
        }
        self.clean_named(&mut clean);
        apply(&mut clean, |text| {
            assignments::without_secrets(text, &self.names, Look::Deep)
        });
        clean_unnamed(&mut clean);
        clean
    }

    /// Any other text of any length, without the secrets in it: as a body, and where it is a query, with values that go on to
    /// the next pair.
    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.settings.redact || text.len() < SHORTEST {
            return Cow::Borrowed(text);
        }
        if text.trim_start().starts_with(['{', '[', '<']) {
            return self.body(text);
        }
        let mut clean = Cow::Borrowed(text);
        self.clean_named(&mut clean);
        apply(&mut clean, |text| {
            match redact::url(text.as_bytes(), &self.names) {
                Cow::Owned(clean) => Some(into_text(clean)),
                Cow::Borrowed(_) => None,
            }
        });
        apply(&mut clean, |text| {
            assignments::without_secrets(text, &self.names, Look::Deep)
        });
        clean_unnamed(&mut clean);
        clean
    }

    fn clean_named(&self, text: &mut Cow<'_, str>) {
        let tells = |key: &str| self.names.key(key.as_bytes());
        apply(text, |text| json_text::without_secrets(text, &tells));
        apply(text, |text| xml_text::without_secrets(text, &tells));
    }

    /// The same for an encoded form (`application/x-www-form-urlencoded`).
    pub fn form_body<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match text.trim_start().starts_with(['{', '[', '<']) {
            // Programs that don't say what they send are taken to send a form.
            true => self.body(text),
            false => self.clean(text),
        }
    }

    /// The same for a form of several parts (`multipart/form-data`), which need not be text.
    pub fn multipart_body<'a>(&self, body: &'a [u8], boundary: &[u8]) -> Cow<'a, [u8]> {
        if !self.settings.redact {
            return Cow::Borrowed(body);
        }
        Cow::Owned(multipart::without_secrets(body, boundary, self))
    }
}

/// What is unmistakable whatever its name.
fn clean_unnamed(text: &mut Cow<'_, str>) {
    for without_secrets in [tokens::without_secrets, cards::without_secrets] {
        apply(text, |text| without_secrets(text.as_bytes()).map(into_text));
    }
}

/// Puts what a step has made of a text in its place.
fn apply(text: &mut Cow<'_, str>, step: impl FnOnce(&str) -> Option<String>) {
    if let Some(clean) = step(text) {
        *text = Cow::Owned(clean);
    }
}

/// Of a text whose parts were replaced at ASCII characters.
pub(super) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::REDACTED;
    use weir_config::Records;

    fn policy(change: impl FnOnce(&mut Records)) -> Policy {
        let mut settings = Records::default();
        change(&mut settings);
        Policy::new(&settings)
    }

    #[test]
    fn bodies_lose_their_secrets() {
        let policy = policy(|s| s.redact_query_keys = vec!["iban".into()]);
        let text = r#"{"iban":"DE1","xml":"<a token='x'><pwd>x<\/pwd>","url":"http://u:p@h?sid=1","b":2}"#;
        let clean = r#"{"iban":"<redacted>","xml":"<a token='<redacted>'><pwd><redacted><\/pwd>","url":"http://<redacted>@h?sid=<redacted>","b":2}"#;
        assert_eq!(policy.body(text), clean);
        assert_eq!(policy.body(clean), clean);
        assert_eq!(
            policy.form_body("user=a&password=b c;d&json=%7B%22token%22%3A1%7D&x=y"),
            "user=a&password=<redacted>&json=<redacted>&x=y"
        );
        let open = Policy::new(&Records {
            redact: false,
            ..Records::default()
        });
        assert_eq!(open.body(text), text);
        assert_eq!(open.multipart_body(b"--b", b"b"), Cow::Borrowed(b"--b"));
    }

    #[test]
    fn long_texts_take_time_by_their_length_alone() {
        // Each of these takes minutes if the rest of the text is looked at from every place in it.
        let policy = policy(|_| ());
        for piece in [
            "a=",
            "a=%",
            "<token>\n",
            "<token '",
            "<token><!--",
            "\\\\\\\\\\\":",
            "\"token\":",
            "\"a\":{",
            ";token=x",
            "token: ",
            "token: \"",
            "token: \"\"",
            "/a=x",
            "a='",
            "://",
            "x://a:",
            "\"token\":{\"",
            "--b\n",
            "key=",
            "key: ",
            "\"key\":{",
            "\"key\":\"",
            "<key>",
            "code=aaaaaaaaaaaaaaaa&",
            "password:",
            "token:",
            "eyJ",
            "eyJ.",
            "bot1:",
            "Bearer ",
            "-----BEGIN PRIVATE KEY",
            "/services/T/",
            "1-",
            "4111 ",
            "'",
            "password:'\\'",
        ] {
            for begin in ["", "<a>"] {
                let text = format!("{begin}{}", piece.repeat((128 << 10) / piece.len()));
                policy.body(&text);
                policy.form_body(&text);
                policy.multipart_body(text.as_bytes(), b"b");
            }
        }
    }

    #[test]
    fn forms_of_several_parts_lose_their_secrets() {
        let part = |name: &str, content: &str| {
            format!("--b1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
        };
        let body = |content: [&str; 3]| {
            let [a, b, c] = content;
            part("user", a) + &part("Password", b) + &part("data", c) + "--b1--\r\n"
        };
        let text = body(["me\n--b12", "hunter2\r\nhunter2", r#"{"token":1}"#]);
        let clean = body(["me\n--b12", REDACTED, r#"{"token":"<redacted>"}"#]);
        let policy = policy(|_| ());
        let seen = |body: &[u8]| {
            let clean = policy.multipart_body(body, b"b1").into_owned();
            String::from_utf8_lossy(&clean).into_owned()
        };
        assert_eq!(seen(text.as_bytes()), clean);
        for end in 0..text.len() {
            let seen = seen(&text.as_bytes()[..end]);
            assert!(!seen.contains("hu"), "{seen}");
        }
        let binary = [
            part("file", "").trim_end_matches("\r\n").as_bytes(),
            b"\r\n\r\n\xff\0=\r\n--b1--",
        ]
        .concat();
        assert_eq!(policy.multipart_body(&binary, b"b1"), &binary[..]);
    }
}
