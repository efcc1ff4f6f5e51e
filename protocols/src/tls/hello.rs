//! ClientHello and ServerHello (RFC 8446, 4.1; RFC 5246, 7.4.1), with the extensions that tell something. Of lists only the
//! first are kept, with how many there were: a hello of 64 KiB may hold ten thousands.

use super::ja4::ja4;

/// `extension_type`s (IANA, TLS ExtensionType Values).
pub const SERVER_NAME: u16 = 0;
pub const ALPN: u16 = 16;
const SIGNATURE_ALGORITHMS: u16 = 13;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;

/// The random of a ServerHello that only asks for another ClientHello (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Names of protocols of a hello that are kept, and numbers of each list.
const NAMES: usize = 16;
const NUMBERS: usize = 256;

/// What is kept of a client's hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the client's software; none of a hello in SSL 2's form.
    pub ja4: Option<String>,
    pub versions: List<u16>,
    pub ciphers: List<u16>,
    pub alpn: List<Box<[u8]>>,
    pub server_name: Option<Box<[u8]>>,
    /// The client may send data of the application before the server has answered.
    pub early_data: bool,
}

/// The first of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T> {
    pub kept: Vec<T>,
    /// So many there were.
    pub count: usize,
}

/// All that a client offers.
#[derive(Debug, Default)]
pub struct Offer<'a> {
    /// The version in the message itself, which later versions leave at 1.2.
    pub legacy_version: u16,
    pub versions: Vec<u16>,
    pub ciphers: Vec<u16>,
    pub extensions: Vec<u16>,
    pub signature_algorithms: Vec<u16>,
    pub alpn: List<&'a [u8]>,
    pub server_name: Option<&'a [u8]>,
}

/// What a server chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerHello {
    pub version: u16,
    pub cipher: u16,
    /// Told in the open up to TLS 1.2 only.
    pub alpn: Option<Vec<u8>>,
    /// It asks for another ClientHello.
    pub is_retry: bool,
    /// It goes on with the keys of an earlier connection (TLS 1.3).
    pub pre_shared_key: bool,
}

/// Reads from the front; nothing where there is too little.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector with its length in one byte before it.
    fn short(&mut self) -> Option<Reader<'a>> {
        let length = self.byte()?;
        self.take(length.into()).map(Reader)
    }

    /// The same with two bytes.
    fn long(&mut self) -> Option<Reader<'a>> {
        let length = self.number()?;
        self.take(length.into()).map(Reader)
    }

    fn numbers(mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.number()).collect()
    }

    fn names(mut self) -> List<&'a [u8]> {
        let mut names = List::default();
        while let Some(name) = self.short() {
            names.count += 1;
            if names.kept.len() < NAMES {
                names.kept.push(name.0);
            }
        }
        names
    }

    /// Types and contents. Up to TLS 1.2 there may be none.
    fn extensions(&mut self) -> impl Iterator<Item = (u16, Reader<'a>)> {
        let mut all = self.long().unwrap_or(Reader(&[]));
        std::iter::from_fn(move || Some((all.number()?, all.long()?)))
    }
}

impl List<u16> {
    /// Without the values that mean nothing.
    fn of(values: &[u16]) -> Self {
        let values = values.iter().filter(|value| !is_grease(**value));
        Self {
            kept: values.clone().take(NUMBERS).copied().collect(),
            count: values.count(),
        }
    }
}

impl<T> List<T> {
    /// How many there were, if not all are kept.
    pub fn cut(&self) -> Option<u64> {
        (self.count > self.kept.len()).then_some(self.count as u64)
    }
}

impl<'a> Offer<'a> {
    /// From the message's body; nothing if it is none.
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let mut offer = Self {
            legacy_version: reader.number()?,
            ..Self::default()
        };
        reader.take(32)?;
        reader.short()?;
        offer.ciphers = reader.long()?.numbers();
        reader.short()?;
        for (kind, mut content) in reader.extensions() {
            offer.extensions.push(kind);
            match kind {
                SERVER_NAME => offer.server_name = server_name(content),
                ALPN => offer.alpn = content.long().map(Reader::names).unwrap_or_default(),
                SUPPORTED_VERSIONS => {
                    offer.versions = content.short().map(Reader::numbers).unwrap_or_default()
                }
                SIGNATURE_ALGORITHMS => {
                    offer.signature_algorithms = content.long().map(Reader::numbers).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(offer)
    }
}

impl ClientHello {
    /// From the message's body; nothing if it is none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let offer = Offer::read(body)?;
        let versions = match offer.versions.is_empty() {
            // Before TLS 1.3 the message itself has the only one.
            true => &[offer.legacy_version][..],
            false => &offer.versions,
        };
        Some(Self {
            ja4: Some(ja4(&offer)),
            versions: List::of(versions),
            ciphers: List::of(&offer.ciphers),
            alpn: List {
                kept: offer.alpn.kept.iter().map(|name| Box::from(*name)).collect(),
                count: offer.alpn.count,
            },
            server_name: offer.server_name.map(Box::from),
            early_data: offer.extensions.contains(&EARLY_DATA),
        })
    }

    /// The same of a hello in SSL 2's form (RFC 5246, E.2), from its version on.
    pub fn read_old(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let version = reader.number()?;
        let ciphers = usize::from(reader.number()?);
        let (session, challenge) = (reader.number()?, reader.number()?);
        let ciphers = reader.take(ciphers)?;
        let rest = usize::from(session) + usize::from(challenge);
        let whole = reader.0.len() == rest && ciphers.len() % 3 == 0 && (16..=32).contains(&challenge);
        // Suites of SSL 2 itself, whose first byte is another, have no number here.
        let ciphers = ciphers.chunks_exact(3).filter(|suite| suite[0] == 0);
        let ciphers: Vec<u16> = ciphers
            .map(|suite| u16::from_be_bytes([suite[1], suite[2]]))
            .collect();
        whole.then(|| Self {
            versions: List::of(&[version]),
            ciphers: List::of(&ciphers),
            ..Self::default()
        })
    }
}

/// The first name of type host_name (RFC 6066, 3).
fn server_name(mut content: Reader<'_>) -> Option<&[u8]> {
    let mut list = content.long()?;
    while let Some(kind) = list.byte() {
        let name = list.long()?.0;
        if kind == 0 {
            return Some(name);
        }
    }
    None
}

impl ServerHello {
    /// From the message's body; nothing if it is none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let mut hello = Self {
            version: reader.number()?,
            ..Self::default()
        };
        hello.is_retry = reader.take(32)? == RETRY;
        reader.short()?;
        hello.cipher = reader.number()?;
        reader.byte()?;
        for (kind, mut content) in reader.extensions() {
            match kind {
                SUPPORTED_VERSIONS => hello.version = content.number().unwrap_or(hello.version),
                ALPN => {
                    let chosen = content.long().and_then(|mut list| list.short());
                    hello.alpn = chosen.map(|name| name.0.to_vec());
                }
                PRE_SHARED_KEY => hello.pre_shared_key = true,
                _ => {}
            }
        }
        Some(hello)
    }
}

/// Values that clients mix in so that servers stay tolerant (RFC 8701).
pub fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}
