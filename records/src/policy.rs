//! What may leave the process: redaction of secrets and caps on captured text.
//!
//! Every text of a document that a peer wrote goes through a [`Policy`] on its way into the document, so that no sink
//! ever holds a secret. Secrets are replaced before texts are cut, so that a cut can't bare one.

mod assignments;
mod body;
mod json_text;
mod multipart;
mod redact;
mod xml_text;

use crate::Octets;
use std::{borrow::Cow, collections::BTreeMap};
use weir_config::Records;

/// What stands where a secret stood.
pub const REDACTED: &str = "<redacted>";

/// The compiled `records` section. Cheap to share; made once a process.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: Records,
    /// Further header names, in lower case.
    headers: Vec<String>,
    /// Further query keys, in lower case.
    query_keys: Vec<String>,
}

/// A text that may leave the process. [`Self::keep`] takes it into a document, so that a cut is always told there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a text is made to be kept in a document"]
pub struct Text<'a> {
    /// UTF-8 as it was; what was not UTF-8 is read as ISO 8859-1, a character a byte (RFC 9110, 5.5).
    pub value: Cow<'a, str>,
    /// Bytes it had, if it was cut.
    pub original: Option<u64>,
}

impl<'a> Text<'a> {
    /// The text. The size of a text that was cut goes to `sizes` (`weir.original_sizes`), by the name of its field.
    pub fn keep<T: From<Cow<'a, str>>>(
        self,
        sizes: &mut BTreeMap<String, u64>,
        field: impl FnOnce() -> String,
    ) -> T {
        if let Some(size) = self.original {
            sizes.insert(field(), size);
        }
        self.value.into()
    }
}

impl Policy {
    /// The policy that these settings describe.
    pub fn new(settings: &Records) -> Self {
        let lower = |names: &[String]| {
            names
                .iter()
                .map(|name| name.trim().to_ascii_lowercase())
                .collect()
        };
        Self {
            settings: settings.clone(),
            headers: lower(&settings.redact_headers),
            query_keys: lower(&settings.redact_query_keys),
        }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Records {
        &self.settings
    }

    /// A header's value; `name` in lower case. Values that hold URLs lose the secrets in them.
    pub fn header<'a>(&self, name: &str, value: impl Into<Octets<'a>>) -> Text<'a> {
        if self.settings.redact && self.is_secret_header(name) {
            return Text {
                value: REDACTED.into(),
                original: None,
            };
        }
        self.text(value)
    }

    /// A text of any other kind, as long as a header's value may be. URLs in it lose their secrets.
    pub fn text<'a>(&self, value: impl Into<Octets<'a>>) -> Text<'a> {
        let value = value.into();
        let size = value.len();
        self.cut(self.redact(value), size, self.settings.max_header_value)
    }

    /// A request's target.
    pub fn url<'a>(&self, url: impl Into<Octets<'a>>) -> Text<'a> {
        let url = url.into();
        let size = url.len();
        self.cut(self.redact_url(url), size, self.settings.max_url)
    }

    /// A part of a target that has been through [`Self::redact_url`] as a whole.
    pub fn url_part<'a>(&self, part: impl Into<Octets<'a>>) -> Text<'a> {
        let part = part.into();
        let size = part.len();
        self.cut(part, size, self.settings.max_url)
    }

    /// A request's target without its secrets: userinfo, and values of password-like keys.
    pub fn redact_url<'a>(&self, url: impl Into<Octets<'a>>) -> Octets<'a> {
        let url = url.into();
        if !self.settings.redact {
            return url;
        }
        match redact::authority(&url) {
            Some(authority) => Octets::Bytes(authority.into()),
            None => self.redact(url),
        }
    }

    /// Text that may hold URLs, without the secrets in them.
    fn redact<'a>(&self, text: Octets<'a>) -> Octets<'a> {
        if self.settings.redact
            && let Cow::Owned(clean) = redact::url(&text, &self.query_keys)
        {
            return Octets::Bytes(clean.into());
        }
        text
    }

    /// A text of any length without the secrets in it, which may be JSON or hold URLs.
    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.settings.redact
            && let Some(clean) = json_text::without_secrets(text, &|key| self.is_secret_key(key))
        {
            return Cow::Owned(match self.clean_urls(&clean) {
                Cow::Owned(clean) => clean,
                Cow::Borrowed(_) => clean,
            });
        }
        self.clean_urls(text)
    }

    fn clean_urls<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact(text.into()) {
            Octets::Text(text) => Cow::Borrowed(text),
            Octets::Bytes(clean) => String::from_utf8_lossy(&clean).into_owned().into(),
        }
    }

    /// What stands at this key of an object is a credential.
    pub fn is_secret_key(&self, key: &str) -> bool {
        self.settings.redact && redact::is_secret_name(key, &self.query_keys)
    }

    fn is_secret_header(&self, name: &str) -> bool {
        redact::is_secret_header(name) || self.headers.iter().any(|header| header == name)
    }

    fn cut<'a>(&self, text: Octets<'a>, size: usize, max: usize) -> Text<'a> {
        let mut value = text.into_text();
        let mut original = None;
        if value.len() > max {
            original = Some(size as u64);
            let end = value.floor_char_boundary(max);
            match &mut value {
                Cow::Borrowed(value) => *value = &value[..end],
                Cow::Owned(value) => {
                    value.truncate(end);
                    value.shrink_to_fit();
                }
            }
        }
        Text { value, original }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut Records)) -> Policy {
        let mut settings = Records::default();
        change(&mut settings);
        Policy::new(&settings)
    }

    #[test]
    fn secret_headers_are_replaced_by_default() {
        let policy = policy(|_| ());
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "set-cookie2",
            "x-api-key",
            "api-key",
            "x-auth-token",
            "x-access-token",
            "x-amz-security-token",
            "x-vault-token",
            "private-token",
            "x-csrf-token",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x-session-id",
            "x-password",
            "x-client-secret",
            "x-access-token-bin",
        ] {
            assert_eq!(policy.header(name, b"abc").value, REDACTED, "{name}");
        }
        for name in [
            "host",
            "accept",
            "sec-websocket-key",
            "grpc-trace-bin",
            "idempotency-key",
            "www-authenticate",
            "content-type",
        ] {
            assert_eq!(policy.header(name, b"abc").value, "abc", "{name}");
        }
    }

    #[test]
    fn named_headers_and_keys_are_replaced_too() {
        let policy = policy(|s| {
            s.redact_headers = vec!["X-Customer".into()];
            s.redact_query_keys = vec!["Iban".into()];
        });
        assert_eq!(policy.header("x-customer", b"abc").value, REDACTED);
        assert_eq!(policy.url(b"/?IBAN=DE1&a=b").value, "/?IBAN=<redacted>&a=b");
    }

    #[test]
    fn keys_of_objects_are_secret_by_their_names() {
        let open = policy(|s| s.redact_query_keys = vec!["iban".into()]);
        for key in [
            "password",
            "userPassWord",
            "accessToken",
            "PWD",
            "apiKey",
            "IBAN",
            "sessionId",
            "client_secret",
        ] {
            assert!(open.is_secret_key(key), "{key}");
        }
        for key in [
            "",
            "id",
            "passenger",
            "key",
            "author",
            "remote.application",
            "tokens",
            &"x".repeat(100),
        ] {
            assert!(!open.is_secret_key(key), "{key}");
        }
        assert!(!policy(|s| s.redact = false).is_secret_key("password"));
    }

    #[test]
    fn urls_in_headers_lose_their_secrets() {
        let policy = policy(|_| ());
        assert_eq!(
            policy
                .header("referer", b"http://u:p@a/b?token=1&x=2#access_token=3")
                .value,
            "http://<redacted>@a/b?token=<redacted>&x=2#access_token=<redacted>"
        );
    }

    #[test]
    fn nothing_is_replaced_where_that_is_switched_off() {
        let policy = policy(|s| s.redact = false);
        assert_eq!(policy.header("cookie", b"a=b").value, "a=b");
        assert_eq!(
            policy.url(b"http://u:p@a/?token=1").value,
            "http://u:p@a/?token=1"
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_keep_their_size() {
        let policy = policy(|s| s.max_header_value = 4);
        assert_eq!(
            policy.header("a", b"abcd"),
            Text {
                value: "abcd".into(),
                original: None
            }
        );
        assert_eq!(
            policy.header("a", "abc\u{e9}f".as_bytes()),
            Text {
                value: "abc".into(),
                original: Some(6)
            }
        );
    }

    #[test]
    fn a_text_that_is_kept_tells_of_its_cut() {
        let policy = policy(|s| s.max_header_value = 4);
        let mut sizes = BTreeMap::new();
        let mut keep =
            |text: &str| -> String { policy.text(text).keep(&mut sizes, || "error.message".to_owned()) };
        assert_eq!(keep("abcd"), "abcd");
        assert_eq!(keep("abcde"), "abcd");
        assert_eq!(sizes, BTreeMap::from([("error.message".to_owned(), 5)]));
    }

    #[test]
    fn what_is_not_utf8_is_read_as_latin1() {
        assert_eq!(policy(|_| ()).header("a", b"caf\xe9").value, "caf\u{e9}");
    }

    #[test]
    fn a_cut_bares_no_secret() {
        let policy = policy(|s| s.max_url = 12);
        assert_eq!(policy.url(b"/?password=hunter2").value, "/?password=<");
    }
}
