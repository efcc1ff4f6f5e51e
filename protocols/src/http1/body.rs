//! Bodies: where they end. They are counted, and their content is handed to the message.

use super::exchange::Message;
use super::framing::{CrWatch, note, note_lines};
use memchr::memchr;

/// How the end of a body is known, and how far it is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// So many bytes are left.
    Length(u64),
    /// Chunks tell.
    Chunked(Chunked),
    /// It ends with the connection.
    UntilClose,
}

/// Where in the chunked coding the stream is.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    place: Place,
    /// Size of the chunk that is being read, then what is left of it.
    size: u64,
    /// Bytes of the current trailer line so far.
    line: u64,
    /// The current trailer line began with CR.
    began_with_cr: bool,
    crs: CrWatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the size; no digit yet.
    Size,
    /// In the size.
    Digits,
    /// In white space after the size.
    Space,
    /// In an extension.
    Extension,
    /// After the CR of the size's line.
    SizeCr,
    Data,
    /// After a chunk's data.
    DataEnd,
    /// After the CR behind a chunk's data.
    DataCr,
    /// In the trailer section.
    Trailer,
}

/// What came of feeding a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// All was taken, more is to come.
    More,
    /// The body ended after so many bytes.
    Done(usize),
    /// Where it ends can't be known, for a reason that was noted; so many bytes are certain.
    Doubtful(usize),
}

/// Where a gap left the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// Still in the body.
    Within,
    /// The body ended with the gap.
    Ended,
    /// The body ended within the gap.
    Passed,
    /// Nobody knows.
    Lost,
}

impl Body {
    pub fn chunked() -> Self {
        Self::Chunked(Chunked {
            place: Place::Size,
            size: 0,
            line: 0,
            began_with_cr: false,
            crs: CrWatch::default(),
        })
    }

    /// Takes bytes of the body and counts them in `message`; keeps at most `max_trailers` bytes of trailers.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        message: &mut Message,
        anomalies: &mut Vec<String>,
        max_trailers: usize,
    ) -> Fed {
        match self {
            Self::UntilClose => {
                message.take(bytes.len(), bytes);
                Fed::More
            }
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                message.take(taken, &bytes[..taken]);
                *left -= taken as u64;
                if *left == 0 { Fed::Done(taken) } else { Fed::More }
            }
            Self::Chunked(chunked) => chunked.feed(bytes, message, anomalies, max_trailers),
        }
    }

    /// Steps over bytes that were missed.
    pub fn skip(&mut self, missed: Option<u64>, message: &mut Message) -> Skipped {
        let (left, ends) = match self {
            Self::UntilClose => {
                message.skip(missed.unwrap_or(0));
                return Skipped::Within;
            }
            Self::Length(left) => (left, true),
            Self::Chunked(chunked) if chunked.place == Place::Data => (&mut chunked.size, false),
            Self::Chunked(_) => return Skipped::Lost,
        };
        match missed {
            Some(missed) if missed < *left => {
                message.skip(missed);
                *left -= missed;
                Skipped::Within
            }
            Some(missed) if ends => {
                message.skip(*left);
                if missed == *left {
                    Skipped::Ended
                } else {
                    Skipped::Passed
                }
            }
            _ => Skipped::Lost,
        }
    }
}

impl Chunked {
    fn feed(&mut self, bytes: &[u8], message: &mut Message, anomalies: &mut Vec<String>, max: usize) -> Fed {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.place {
                Place::Data => {
                    let taken = usize::try_from(self.size).unwrap_or(usize::MAX).min(rest.len());
                    message.take(taken, &rest[..taken]);
                    self.size -= taken as u64;
                    at += taken;
                    if self.size == 0 {
                        self.place = Place::DataEnd;
                    }
                }
                Place::Trailer => {
                    let taken = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    at += taken;
                    message.take(taken, b"");
                    if self.trailer(&rest[..taken], message, max) {
                        note_lines(anomalies, &message.trailers);
                        if self.crs.bare {
                            note(anomalies, "bare_cr", "");
                            return Fed::Doubtful(at);
                        }
                        return Fed::Done(at);
                    }
                }
                _ => {
                    if let Err((kind, seen)) = self.step(rest[0], anomalies) {
                        note(anomalies, kind, &seen);
                        return Fed::Doubtful(at);
                    }
                    message.take(1, b"");
                    at += 1;
                }
            }
        }
        Fed::More
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8, anomalies: &mut Vec<String>) -> Result<(), (&'static str, String)> {
        use Place::{Data, DataCr, DataEnd, Digits, Extension, Size, SizeCr, Space, Trailer};
        self.place = match (self.place, byte) {
            (Size | Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                let size = self.size.checked_mul(16).map(|size| size | u64::from(digit));
                self.size = size
                    .filter(|size| i64::try_from(*size).is_ok())
                    .ok_or_else(|| ("chunk_size_invalid", "too large".to_owned()))?;
                Digits
            }
            (Digits | Space, b' ' | b'\t') => {
                note(anomalies, "space_after_chunk_size", "");
                Space
            }
            (Digits | Space, b';') => Extension,
            (Digits | Space | Extension, b'\r') => SizeCr,
            (Digits | Space | SizeCr, b'\n') => {
                if self.place != SizeCr {
                    note(anomalies, "bare_lf", "");
                }
                if self.size == 0 { Trailer } else { Data }
            }
            // Readers differ on whether this LF ends the extension.
            (Extension, b'\n') => return Err(("bare_lf_in_chunk_extension", String::new())),
            (Extension, _) => Extension,
            (SizeCr, _) => return Err(("bare_cr", String::new())),
            (DataEnd, b'\r') => DataCr,
            (DataEnd | DataCr, b'\n') => {
                if self.place == DataEnd {
                    note(anomalies, "bare_lf", "");
                }
                Size
            }
            (DataEnd | DataCr, _) => return Err(("chunk_longer_than_its_size", hex(byte))),
            (_, _) => return Err(("chunk_size_invalid", hex(byte))),
        };
        Ok(())
    }

    /// A piece of the trailer section, at most one line; true when it was its last.
    fn trailer(&mut self, piece: &[u8], message: &mut Message, max: usize) -> bool {
        self.crs.see(piece);
        if self.line == 0 {
            self.began_with_cr = piece[0] == b'\r';
            if piece == b"\r" {
                // Kept back: with an LF after it this is the end and not a trailer.
                self.line = 1;
                return false;
            }
        }
        let before = self.line;
        self.line += piece.len() as u64;
        let ended = piece.last() == Some(&b'\n');
        if ended && (self.line == 1 || self.line == 2 && self.began_with_cr) {
            return true;
        }
        if before == 1 && self.began_with_cr {
            message.trailer(b"\r", max);
        }
        message.trailer(piece, max);
        if ended {
            self.line = 0;
        }
        false
    }
}

fn hex(byte: u8) -> String {
    format!("0x{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::fields::fields;

    fn run(pieces: &[&[u8]]) -> (Fed, Message, Vec<String>) {
        let (mut body, mut message, mut anomalies) = (Body::chunked(), Message::default(), Vec::new());
        let mut fed = Fed::More;
        for piece in pieces {
            fed = body.feed(piece, &mut message, &mut anomalies, 64);
        }
        (fed, message, anomalies)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_framing() {
        let bytes = b"5;a=bcdef\r\nhello\r\n006\r\n world\r\n0;x=\"y\"\r\nA: b\r\nC: d\r\n\r\nNEXT";
        let (fed, message, anomalies) = run(&[bytes]);
        assert_eq!(fed, Fed::Done(bytes.len() - 4));
        assert_eq!((message.body, message.wire), (11, bytes.len() as u64 - 4));
        assert_eq!(fields(&message.trailers).count(), 2);
        assert_eq!(anomalies, Vec::<String>::new());
        let single: Vec<&[u8]> = bytes[..bytes.len() - 4].chunks(1).collect();
        let (fed, split, _) = run(&single);
        assert_eq!(
            (fed, split.body, split.trailers),
            (Fed::Done(1), 11, message.trailers)
        );
    }

    #[test]
    fn bad_chunks_are_never_guessed() {
        for (bytes, anomaly) in [
            (&b"g\r\n"[..], "chunk_size_invalid: 0x67"),
            (b"\r\n", "chunk_size_invalid: 0x0d"),
            (b"-1\r\n", "chunk_size_invalid: 0x2d"),
            (b"0x5\r\n", "chunk_size_invalid: 0x78"),
            (b"5 5\r\n", "space_after_chunk_size"),
            (b"8000000000000000\r\n", "chunk_size_invalid: too large"),
            (b"1\r\nab", "chunk_longer_than_its_size: 0x62"),
            (b"1\r\na\rb", "chunk_longer_than_its_size: 0x62"),
            (b"1\rab", "bare_cr"),
            (b"1;a\nb", "bare_lf_in_chunk_extension"),
            (b"0\r\nA: b\rC: d\r\n\r\n", "bare_cr"),
        ] {
            let (fed, _, anomalies) = run(&[bytes]);
            assert!(matches!(fed, Fed::Doubtful(_)), "{}", bytes.escape_ascii());
            assert_eq!(anomalies[0], anomaly, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn line_feeds_alone_are_taken_and_noted() {
        let (fed, message, anomalies) = run(&[b"1\na\n0\n\n"]);
        assert_eq!(
            (fed, message.body, anomalies),
            (Fed::Done(7), 1, vec!["bare_lf".to_owned()])
        );
    }

    #[test]
    fn trailers_are_kept_up_to_the_limit() {
        let mut bytes = b"0\r\n".to_vec();
        bytes.extend_from_slice("Name: value\r\n".repeat(100).as_bytes());
        bytes.extend_from_slice(b"\r\n");
        let (fed, message, _) = run(&[&bytes]);
        assert_eq!(fed, Fed::Done(bytes.len()));
        assert_eq!((message.trailers.len(), message.trailer_size), (64, 1300));
    }

    #[test]
    fn a_gap_within_a_known_length_is_stepped_over() {
        let mut message = Message::default();
        assert_eq!(Body::Length(10).skip(Some(9), &mut message), Skipped::Within);
        assert_eq!(message.body, 9);
        assert_eq!(Body::Length(10).skip(Some(10), &mut message), Skipped::Ended);
        assert_eq!(Body::Length(10).skip(Some(11), &mut message), Skipped::Passed);
        assert_eq!(Body::Length(10).skip(None, &mut message), Skipped::Lost);
        assert_eq!(Body::chunked().skip(Some(1), &mut message), Skipped::Lost);
    }
}
