//! ClientHello and ServerHello (RFC 8446, 4.1; RFC 5246, 7.4.1), with the extensions that tell something.

/// `extension_type`s (IANA, TLS ExtensionType Values).
pub const SERVER_NAME: u16 = 0;
pub const ALPN: u16 = 16;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;

/// The random of a ServerHello that only asks for another ClientHello (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The version in the message itself, which later versions leave at 1.2.
    pub legacy_version: u16,
    pub versions: Vec<u16>,
    pub ciphers: Vec<u16>,
    pub extensions: Vec<u16>,
    pub signature_algorithms: Vec<u16>,
    pub alpn: Vec<Vec<u8>>,
    pub server_name: Option<Vec<u8>>,
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

    fn names(mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| Some(self.short()?.0.to_vec())).collect()
    }

    /// Types and contents. Up to TLS 1.2 there may be none.
    fn extensions(&mut self) -> impl Iterator<Item = (u16, Reader<'a>)> {
        let mut all = self.long().unwrap_or(Reader(&[]));
        std::iter::from_fn(move || Some((all.number()?, all.long()?)))
    }
}

impl ClientHello {
    /// From the message's body; nothing if it is none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let mut hello = Self {
            legacy_version: reader.number()?,
            ..Self::default()
        };
        reader.take(32)?;
        reader.short()?;
        hello.ciphers = reader.long()?.numbers();
        reader.short()?;
        for (kind, mut content) in reader.extensions() {
            hello.extensions.push(kind);
            match kind {
                SERVER_NAME => hello.server_name = server_name(content),
                ALPN => hello.alpn = content.long().map(Reader::names).unwrap_or_default(),
                SUPPORTED_VERSIONS => {
                    hello.versions = content.short().map(Reader::numbers).unwrap_or_default()
                }
                SIGNATURE_ALGORITHMS => {
                    hello.signature_algorithms = content.long().map(Reader::numbers).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The first name of type host_name (RFC 6066, 3).
fn server_name(mut content: Reader<'_>) -> Option<Vec<u8>> {
    let mut list = content.long()?;
    while let Some(kind) = list.byte() {
        let name = list.long()?.0;
        if kind == 0 {
            return Some(name.to_vec());
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
                ALPN => hello.alpn = content.long().and_then(|list| list.names().into_iter().next()),
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
