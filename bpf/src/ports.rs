//! Sets of ports, as the programs read them: one bit a port.

/// A set of ports.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet([u8; 8192]);

impl PortSet {
    /// No port.
    pub const NONE: Self = Self([0; 8192]);
    /// Every port.
    pub const ALL: Self = Self([0xff; 8192]);

    /// These ports.
    pub fn of(ports: &[u16]) -> Self {
        let mut set = Self::NONE;
        ports
            .iter()
            .for_each(|port| set.0[usize::from(port >> 3)] |= 1 << (port & 7));
        set
    }

    /// The same without these.
    #[must_use]
    pub fn without(mut self, ports: &[u16]) -> Self {
        ports
            .iter()
            .for_each(|port| self.0[usize::from(port >> 3)] &= !(1 << (port & 7)));
        self
    }

    /// True if the port is in it.
    pub fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 3)] & 1 << (port & 7) != 0
    }

    /// Bit n of word m is port 64 m + n.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        let word = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        self.0.chunks(8).map(word)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports = (0..=u16::MAX).filter(|port| self.contains(*port));
        write!(f, "{} ports", ports.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_in_and_nothing_else() {
        let set = PortSet::of(&[0, 7, 8, 65535]);
        let inside: Vec<u16> = (0..=u16::MAX).filter(|port| set.contains(*port)).collect();
        assert_eq!(inside, [0, 7, 8, 65535]);
        let words: Vec<u64> = set.words().collect();
        assert_eq!(
            (words.len(), words[0], words[1023]),
            (1024, 0b1_1000_0001, 1 << 63)
        );
        let set = PortSet::ALL.without(&[80]);
        assert!(!set.contains(80) && set.contains(79) && set.contains(81));
    }
}
