//! What parent and worker say to each other: one byte a message.

use std::{io::Write, os::unix::net::UnixStream};
use weir_config::Mode;

/// What the parent tells its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// End when nobody needs the sidecar any more.
    Drain,
    /// End at once.
    Now,
    /// The parent's listening sockets are closed.
    Closed,
}

impl Order {
    const ALL: [Self; 3] = [Self::Drain, Self::Now, Self::Closed];

    fn byte(self) -> u8 {
        match self {
            Self::Drain => b'd',
            Self::Now => b'n',
            Self::Closed => b'c',
        }
    }

    /// What this byte says.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.byte() == byte)
    }

    pub(super) fn send(self, link: &UnixStream) {
        send(link, self.byte());
    }
}

/// What a worker tells its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It carries traffic.
    Started,
    /// The mode of redirection that is in force.
    Mode(Option<Mode>),
    /// It closes its listening sockets, and the parent must close them first.
    Closing,
}

impl Word {
    /// Modes are told by their codes, which are small.
    const MODE: u8 = b'0';

    fn byte(self) -> u8 {
        match self {
            Self::Started => b's',
            Self::Closing => b'x',
            Self::Mode(mode) => {
                Self::MODE + mode.and_then(|mode| u8::try_from(mode.code()).ok()).unwrap_or(0)
            }
        }
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        match byte {
            b's' => Some(Self::Started),
            b'x' => Some(Self::Closing),
            b'0'..=b'9' => Some(Self::Mode(Mode::from_code((byte - Self::MODE).into()))),
            _ => None,
        }
    }

    pub(crate) fn send(self, link: &UnixStream) {
        send(link, self.byte());
    }
}

/// The socket holds far more bytes than are ever sent; a partner that is gone needs none.
fn send(mut link: &UnixStream, byte: u8) {
    let _ = link.write(&[byte]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_understood() {
        for order in Order::ALL {
            assert_eq!(Order::of(order.byte()), Some(order));
        }
        let modes = [
            None,
            Some(Mode::Redirect),
            Some(Mode::Tproxy),
            Some(Mode::Ebpf),
            Some(Mode::PortMap),
        ];
        for word in modes
            .into_iter()
            .map(Word::Mode)
            .chain([Word::Started, Word::Closing])
        {
            assert_eq!(Word::of(word.byte()), Some(word));
        }
    }
}
