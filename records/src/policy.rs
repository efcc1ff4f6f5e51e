//! What may leave the process: redaction of secrets and caps on captured text.
//!
//! Every text of a document that a peer wrote goes through a [`Policy`] on its way into the document, so that no sink
//! ever holds a secret. Secrets are replaced before texts are cut, so that a cut can't bare one.

mod assignments;
mod body;
mod cards;
mod edit;
mod encoded;
mod hint;
mod json_text;
mod multipart;
mod names;
mod redact;
mod tokens;
mod xml_text;

use crate::Octets;
pub(crate) use names::Told;
use names::{Names, is_random};
use std::{borrow::Cow, collections::BTreeMap};
use weir_config::Records;

/// What stands where a secret stood.
pub const REDACTED: &str = "<redacted>";

/// The compiled `records` section. Cheap to share; made once a process.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: Records,
    names: Names,
}

/// A text that may leave the process. [`Self::keep`] takes it into a document, so that a cut is always told there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a text is made to be kept in a document"]
pub struct Text<'a> {
    /// UTF-8 as it was; what was not UTF-8 is read as ISO 8859-1, a character a byte (RFC 9110, 5.5).
    value: Cow<'a, str>,
    /// Bytes it had, if it was cut.
    original: Option<u64>,
}

impl<'a> Text<'a> {
    /// The text was longer.
    pub fn is_cut(&self) -> bool {
        self.original.is_some()
    }

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
        Self {
            settings: settings.clone(),
            names: Names::new(settings),
        }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Records {
        &self.settings
    }

    /// A header's value; `name` in lower case. A value whose name tells nothing loses the secrets in it.
    pub fn header<'a>(&self, name: &str, value: impl Into<Octets<'a>>) -> Text<'a> {
        let value = value.into();
        let size = value.len();
        let max = self.settings.max_header_value;
        if !self.settings.redact {
            return self.cut(value, size, max);
        }
        let told = self.names.header(name);
        if told == Told::Secret || told == Told::Doubtful && is_random(&value) {
            return Text {
                value: REDACTED.into(),
                original: None,
            };
        }
        if !(hint::may_hide(&value) || is_text(name)) {
            return self.cut(value, size, max);
        }
        self.cut(self.header_without_secrets(name, value), size, max)
    }

    /// A text of any other kind, as long as a header's value may be, without the secrets in it.
    pub fn text<'a>(&self, value: impl Into<Octets<'a>>) -> Text<'a> {
        let value = value.into();
        let size = value.len();
        let may_hide = self.settings.redact
            && (hint::may_hide(&value) || memchr::memchr3(b':', b'<', b' ', &value).is_some());
        let value = if may_hide { self.clean_octets(value) } else { value };
        self.cut(value, size, self.settings.max_header_value)
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

    /// A request's target without its secrets: userinfo, values of password-like keys, and tokens.
    pub fn redact_url<'a>(&self, url: impl Into<Octets<'a>>) -> Octets<'a> {
        let url = url.into();
        if self.settings.redact
            && (hint::may_hide(&url) || memchr::memchr(b'%', &url).is_some())
            && let Cow::Owned(clean) = redact::target(&url, &self.names)
        {
            return Octets::Bytes(clean.into());
        }
        url
    }

    /// What a header's value is without the secrets in it.
    #[cold]
    fn header_without_secrets<'a>(&self, name: &str, value: Octets<'a>) -> Octets<'a> {
        let is_structured = matches!(*value, [b'{' | b'[', ..]);
        let value = match name {
            "host" | "x-forwarded-host" | "x-original-host" => match redact::authority(&value) {
                Some(clean) => Octets::Bytes(clean.into()),
                None => value,
            },
            "sec-websocket-protocol" => match tokens::offered(&value) {
                Some(clean) => Octets::Bytes(clean.into()),
                None => value,
            },
            _ => value,
        };
        if is_structured || is_text(name) {
            let clean = self.clean_octets(value);
            return match encoded::hides_secret(&clean, &self.names) {
                true => Octets::Text(REDACTED),
                false => clean,
            };
        }
        if value.first() == Some(&b'%') && encoded::hides_secret(&value, &self.names) {
            return Octets::Text(REDACTED);
        }
        match redact::url(&value, &self.names) {
            Cow::Owned(clean) => Octets::Bytes(clean.into()),
            Cow::Borrowed(_) => value,
        }
    }

    fn clean_octets<'a>(&self, octets: Octets<'a>) -> Octets<'a> {
        let text = octets.into_text();
        match self.clean(&text) {
            Cow::Owned(clean) => Octets::Bytes(clean.into_bytes().into()),
            Cow::Borrowed(_) => match text {
                Cow::Borrowed(text) => Octets::Text(text),
                Cow::Owned(text) => Octets::Bytes(text.into_bytes().into()),
            },
        }
    }

    /// A text that is the key of an object: a key may be a token.
    pub(crate) fn clean_key<'a>(&self, key: &'a str) -> Cow<'a, str> {
        if self.settings.redact
            && hint::has_run(key.as_bytes())
            && let Some(clean) = tokens::without_secrets(key.as_bytes())
        {
            return body::into_text(clean).into();
        }
        Cow::Borrowed(key)
    }

    /// What the key of an object tells of its value.
    pub(crate) fn tells(&self, key: &str) -> Told {
        match self.settings.redact {
            true => self.names.key(key.as_bytes()),
            false => Told::Nothing,
        }
    }

    /// A text at a key that tells little is a secret.
    pub(crate) fn is_secret_value(text: &str) -> bool {
        is_random(text.as_bytes())
    }

    /// A number is a secret: that of a card.
    pub(crate) fn is_secret_number(&self, number: u64) -> bool {
        self.settings.redact && cards::is_card_number(number)
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

/// Headers that hold text of any kind, or a list in which a credential may stand.
fn is_text(name: &str) -> bool {
    matches!(name, "grpc-message" | "sec-websocket-protocol")
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
