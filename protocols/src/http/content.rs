//! From what was kept of a body to what its document says of it: decoded, in its character set, without secrets.

use super::Cuts;
use super::coding::{Coding, DEEPEST, End};
use super::kept::Kept;
use crate::Side;
use crate::http1::{Field, note, quote};
use base64::{Engine, engine::general_purpose::STANDARD};
use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};
use std::borrow::Cow;
use weir_records::{Body, Policy};

/// Output that is decoded to find out how large a body is, in multiples of the most that is shown of one.
const LOOKED_AT: usize = 8;
/// And at least this.
const LOOKED_AT_LEAST: usize = 64 << 10;

/// A body as a decoder saw it.
pub(crate) struct Seen<'a> {
    pub side: Side,
    /// Bytes that it had, without framing.
    pub bytes: u64,
    /// Its end was seen.
    pub whole: bool,
    pub kept: Option<&'a Kept>,
    /// The message's headers.
    pub fields: &'a [Field<'a>],
    /// There were other headers.
    pub more_fields: bool,
}

/// What a body's headers say of it.
#[derive(Default)]
struct Media {
    /// In lower case, without parameters.
    name: String,
    charset: Option<&'static Encoding>,
    boundary: Option<Vec<u8>>,
}

/// What a document says of a body.
pub(crate) fn body(seen: &Seen<'_>, policy: &Policy, cuts: &mut Cuts, anomalies: &mut Vec<String>) -> Body {
    Body {
        bytes: seen.bytes,
        content: seen
            .kept
            .filter(|_| seen.bytes > 0)
            .and_then(|kept| content(seen, kept, policy, cuts, anomalies)),
    }
}

fn content(
    seen: &Seen<'_>,
    kept: &Kept,
    policy: &Policy,
    cuts: &mut Cuts,
    anomalies: &mut Vec<String>,
) -> Option<String> {
    let (name, who) = match seen.side {
        Side::Client => ("http.request.body.content", "request"),
        Side::Server => ("http.response.body.content", "response"),
    };
    let mut left_out = |why: &str| note(anomalies, &format!("{who}_body_not_decoded"), why);
    let codings = match codings(seen.fields) {
        Ok(codings) => codings,
        Err(unknown) => {
            left_out(&quote(&unknown));
            return None;
        }
    };
    let complete = seen.whole && !kept.is_cut();
    let (bytes, end, culprit) = decoded(&codings, kept);
    let is_short = kept.is_cut() || end == End::Limit || bytes.len() > kept.max();
    let shown = &bytes[..bytes.len().min(kept.max())];
    let media = Media::of(seen.fields);
    let text = text(shown, &media, is_short || !complete || end != End::Whole, policy);
    if text.is_none() && seen.more_fields && codings.is_empty() {
        left_out("not all of its headers were seen");
        return None;
    }
    match (end, culprit) {
        (End::Damaged, Some(coding)) => note(anomalies, &format!("{who}_body_damaged"), coding.name()),
        (End::Early, Some(coding)) if complete => {
            let seen = format!("{} that has not ended", coding.name());
            note(anomalies, &format!("{who}_body_damaged"), &seen);
        }
        _ => {}
    }
    if is_short {
        let is_known = !codings.is_empty() && complete && end == End::Whole;
        cuts.cut(
            name.to_owned(),
            if is_known { bytes.len() as u64 } else { seen.bytes },
        );
    }
    if shown.is_empty() {
        return None;
    }
    Some(text.unwrap_or_else(|| {
        cuts.base64.push(name);
        let clean = media.without_secrets(shown, policy);
        STANDARD.encode(&clean)
    }))
}

/// The codings of a body in the order in which they were applied, or one that is not known. Transfer codings come last.
fn codings(fields: &[Field<'_>]) -> Result<Vec<Coding>, Vec<u8>> {
    let mut codings = Vec::new();
    for name in [&b"content-encoding"[..], b"transfer-encoding"] {
        let fields = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        for field in fields {
            for coding in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let is = |own: &[u8]| coding.eq_ignore_ascii_case(own);
                if coding.is_empty() || is(b"identity") || name.len() == 17 && is(b"chunked") {
                    continue;
                }
                match Coding::named(coding) {
                    Some(known) if codings.len() < DEEPEST && !field.cut => codings.push(known),
                    _ => return Err(coding.to_vec()),
                }
            }
        }
    }
    Ok(codings)
}

/// A body without its codings; how that ended, and by which coding it was not whole.
fn decoded<'a>(codings: &[Coding], kept: &'a Kept) -> (Cow<'a, [u8]>, End, Option<Coding>) {
    let limit = (LOOKED_AT * kept.max()).max(LOOKED_AT_LEAST);
    let mut bytes = Cow::Borrowed(kept.bytes());
    let (mut end, mut culprit) = (End::Whole, None);
    for coding in codings.iter().rev() {
        let (output, how) = coding.decode(&bytes, limit);
        bytes = Cow::Owned(output);
        if end == End::Whole && how != End::Whole {
            (end, culprit) = (how, Some(*coding));
        }
    }
    (bytes, end, culprit)
}

impl Media {
    fn of(fields: &[Field<'_>]) -> Self {
        let Some(field) = fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(b"content-type"))
        else {
            return Self::default();
        };
        let mut parts = field.value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let mut media = Self {
            name: String::from_utf8_lossy(name).to_ascii_lowercase(),
            ..Self::default()
        };
        for part in parts {
            let equals = memchr::memchr(b'=', part).unwrap_or(0);
            let (key, value) = part.split_at(equals);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let value = value.strip_suffix(b"\"").unwrap_or(value);
            match key.trim_ascii().to_ascii_lowercase().as_slice() {
                b"charset" => media.charset = Encoding::for_label(value).filter(|it| *it != REPLACEMENT),
                b"boundary" => media.boundary = Some(value.to_vec()),
                _ => {}
            }
        }
        media
    }

    fn is_form(&self) -> bool {
        self.name == "application/x-www-form-urlencoded"
    }

    /// Bodies of this type are text, whatever is in them.
    fn is_text(&self) -> bool {
        let ends = ["json", "xml", "yaml", "graphql", "javascript"];
        self.name.starts_with("text/") || self.is_form() || ends.iter().any(|end| self.name.ends_with(end))
    }

    /// Parts of a form that are text lose their secrets; of anything else that is binary nothing is known.
    fn without_secrets<'a>(&self, bytes: &'a [u8], policy: &Policy) -> Cow<'a, [u8]> {
        if !self.name.starts_with("multipart/") {
            return Cow::Borrowed(bytes);
        }
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next();
        let begun = line.and_then(|line| line.strip_prefix(b"--"));
        match self.boundary.as_deref().or(begun) {
            Some(boundary) if !boundary.is_empty() => policy.multipart_body(bytes, boundary),
            _ => Cow::Borrowed(bytes),
        }
    }
}

/// A body as text without secrets, if it is one. Of a short one the last character may be cut.
fn text(bytes: &[u8], media: &Media, short: bool, policy: &Policy) -> Option<String> {
    let clean = media.without_secrets(bytes, policy);
    let text = read(&clean, media, short)?;
    Some(if media.is_form() {
        policy.form_body(&text).into_owned()
    } else {
        policy.body(&text).into_owned()
    })
}

fn read<'a>(bytes: &'a [u8], media: &Media, short: bool) -> Option<Cow<'a, str>> {
    let bom = Encoding::for_bom(bytes);
    let (charset, bytes) = match bom {
        Some((charset, length)) => (Some(charset), &bytes[length..]),
        None => (media.charset.or_else(|| utf16(bytes, media)), bytes),
    };
    if let Some(charset) = charset.filter(|charset| *charset != UTF_8) {
        let (text, _) = charset.decode_without_bom_handling(bytes);
        let whole = text.strip_suffix('\u{fffd}').filter(|_| short);
        return Some(match whole {
            Some(whole) => Cow::Owned(whole.to_owned()),
            None => text,
        });
    }
    let odd = |c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n');
    let plain = |text: &str| media.is_text() || charset.is_some() || !text.contains(odd);
    match std::str::from_utf8(bytes) {
        Ok(text) => plain(text).then_some(Cow::Borrowed(text)),
        Err(error) => {
            let text = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            if short && error.error_len().is_none() {
                return plain(text).then_some(Cow::Borrowed(text));
            }
            media.is_text().then(|| {
                bytes
                    .iter()
                    .map(|byte| char::from(*byte))
                    .collect::<String>()
                    .into()
            })
        }
    }
}

/// UTF-16 that does not say so: of the first character, which is an ASCII one, one byte is zero.
fn utf16(bytes: &[u8], media: &Media) -> Option<&'static Encoding> {
    match bytes {
        _ if !media.is_text() => None,
        [0, low, ..] if *low != 0 => Some(UTF_16BE),
        [low, 0, ..] if *low != 0 => Some(UTF_16LE),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
