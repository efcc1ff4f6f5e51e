//! Addresses of servers: `http://` or `https://`, with what they name and what they must not show.

use super::Secret;

/// An address without the credentials that stood in it, so that no message that names it can show them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) url: String,
    /// User and password, where there were any.
    pub(super) credentials: Option<(String, Secret)>,
}

/// Takes `user:password@` out of an address.
///
/// # Errors
/// The address has no `http://` or `https://`, or no host.
pub(super) fn split(url: &str) -> Result<Address, String> {
    let (scheme, rest) = url
        .split_once("://")
        .filter(|(scheme, rest)| matches!(*scheme, "http" | "https") && !rest.is_empty())
        .ok_or_else(|| "the address must start with http:// or https:// and name a host".to_string())?;
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Ok(match rest[..authority_end].rfind('@') {
        Some(at) => {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            Address {
                url: format!("{scheme}://{}", &rest[at + 1..]),
                credentials: Some((percent_decode(user), Secret(percent_decode(password)))),
            }
        }
        None => Address {
            url: url.into(),
            credentials: None,
        },
    })
}

/// The port that the address names, or its scheme's.
pub(super) fn port(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[host_end..].rsplit_once(':') {
        Some((_, port)) if !port.is_empty() => port.parse().ok(),
        _ if scheme == "https" => Some(443),
        _ => Some(80),
    }
}

/// Decodes `%40` and the like (RFC 3986, 2.1); anything else stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%')
            .then(|| {
                text.get(i + 1..i + 3)
                    .and_then(|h| u8::from_str_radix(h, 16).ok())
            })
            .flatten();
        out.push(hex.unwrap_or(bytes[i]));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
