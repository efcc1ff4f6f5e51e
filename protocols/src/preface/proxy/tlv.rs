//! What version 2 says beside the addresses: values with their type and length before them (the specification's section 2.2.4).

use weir_records::{Document, Policy, WeirProxy};

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
/// Within [`SSL`], behind its flags and what was verified.
const SSL_VERSION: u8 = 0x21;
const SSL_CIPHER: u8 = 0x23;
/// The flags, in one byte, and what was verified, in four.
const SSL_HEADER: usize = 5;
/// Longest value that is kept: host names have at most 255 bytes.
const LONGEST: usize = 256;

/// Values that are told. The name in a client's certificate, identities and what vendors add are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The proxy speaks for itself.
    pub local: bool,
    authority: Option<Box<[u8]>>,
    alpn: Option<Box<[u8]>>,
    tls_version: Option<Box<[u8]>>,
    tls_cipher: Option<Box<[u8]>>,
}

impl Said {
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut said = Self::default();
        while let Some((kind, value)) = next(&mut bytes) {
            match kind {
                ALPN => said.alpn = kept(value),
                AUTHORITY => said.authority = kept(value),
                SSL => {
                    let mut within = value.get(SSL_HEADER..).unwrap_or_default();
                    while let Some((kind, value)) = next(&mut within) {
                        match kind {
                            SSL_VERSION => said.tls_version = kept(value),
                            SSL_CIPHER => said.tls_cipher = kept(value),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        said
    }

    pub fn held(&self) -> usize {
        let all = [&self.authority, &self.alpn, &self.tls_version, &self.tls_cipher];
        all.into_iter().flatten().map(|value| value.len()).sum()
    }

    /// Puts the values into a document, in place of those that were there.
    pub fn tell(&self, document: &mut Document, policy: &Policy) {
        let weir = &mut document.weir;
        let mut text = |value: &Option<Box<[u8]>>, field: &str| {
            let text = policy.text(value.as_deref()?);
            weir.truncated |= text.is_cut();
            Some(text.keep(&mut weir.original_sizes, || format!("weir.proxy.{field}")))
        };
        let proxy = WeirProxy {
            local: self.local,
            authority: text(&self.authority, "authority"),
            alpn: text(&self.alpn, "alpn"),
            tls_version: text(&self.tls_version, "tls_version"),
            tls_cipher: text(&self.tls_cipher, "tls_cipher"),
        };
        document.weir.proxy = (proxy != WeirProxy::default()).then(|| Box::new(proxy));
    }
}

/// The next value; nothing where it is not whole.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<3>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
    *bytes = rest;
    Some((*kind, value))
}

fn kept(value: &[u8]) -> Option<Box<[u8]>> {
    (!value.is_empty() && value.len() <= LONGEST).then(|| value.into())
}
