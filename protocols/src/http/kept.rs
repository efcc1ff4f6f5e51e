//! What is kept of a body while it passes: its beginning, of the types that are asked for.

use weir_config::Bodies;

/// Bytes of bodies that are kept on a connection at once, in multiples of the most that is kept of one. Past it bodies are
/// cut sooner.
pub(crate) const TOGETHER: usize = 8;

/// The beginning of a body, without framing, in its content codings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// There was more.
    cut: bool,
    max: usize,
    /// Bytes that may be kept of what comes next.
    room: usize,
}

impl Kept {
    /// Of a body that is about to come; `None` where bodies of its type are not wanted. Where bodies are off, its type is
    /// not asked for.
    pub fn wanted<'a>(bodies: &Bodies, content_type: impl FnOnce() -> Option<&'a [u8]>) -> Option<Box<Self>> {
        let max = bodies.max();
        if max == 0 || !bodies.keeps(content_type()) {
            return None;
        }
        Some(Box::new(Self {
            max,
            room: max,
            ..Self::default()
        }))
    }

    /// So much may be kept of what comes next, beside the bound of its own.
    pub fn allow(&mut self, room: usize) {
        self.room = room.min(self.max - self.bytes.len());
    }

    /// Takes the next bytes of the body. Behind some that were left out nothing is kept.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.cut || bytes.is_empty() {
            return;
        }
        let length = bytes.len().min(self.room);
        self.bytes.extend_from_slice(&bytes[..length]);
        self.room -= length;
        self.cut = length < bytes.len();
    }

    /// The next bytes of the body were missed.
    pub fn miss(&mut self) {
        self.cut = true;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// There was more of the body.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Most bytes that its document may have of it.
    pub fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::Bytes;

    fn kept(max: u64) -> Kept {
        let bodies = Bodies {
            max_bytes: Bytes(max),
            ..Bodies::default()
        };
        *Kept::wanted(&bodies, || Some(b"text/plain")).unwrap()
    }

    #[test]
    fn the_beginning_is_kept_and_nothing_behind_a_hole() {
        let mut body = kept(5);
        body.take(b"abc");
        assert!(!body.is_cut());
        body.take(b"");
        body.take(b"de");
        assert!(!body.is_cut());
        body.take(b"f");
        assert_eq!((body.bytes(), body.is_cut()), (&b"abcde"[..], true));
        let mut body = kept(5);
        body.take(b"a");
        body.miss();
        body.take(b"b");
        assert_eq!((body.bytes(), body.is_cut()), (&b"a"[..], true));
        let mut body = kept(5);
        body.allow(1);
        body.take(b"ab");
        body.allow(9);
        body.take(b"c");
        assert_eq!((body.bytes(), body.is_cut()), (&b"a"[..], true));
    }

    #[test]
    fn nothing_is_asked_or_kept_where_bodies_are_off() {
        let seen = Kept::wanted(&Bodies::default(), || panic!("the type was asked for"));
        assert!(seen.is_none());
    }
}
