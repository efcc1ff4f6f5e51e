//! Protocols of lines whose server speaks first: SMTP (RFC 3207), FTP (RFC 4217), NNTP (RFC 4642), IMAP (RFC 9051), POP3
//! (RFC 2595), ManageSieve (RFC 5804).

use super::{Answer, Asked, Kind, Message, Talk};
use crate::Side;
use crate::detect::Verdict;
use memchr::memchr;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Server,
    begins: |bytes| greeting(bytes).0,
    talk: |bytes| {
        Box::new(Lines {
            family: greeting(bytes).1,
            ..Lines::default()
        })
    },
};

/// How the server's first line begins.
const GREETINGS: &[(&[u8], Family)] = &[
    (b"220 ", Family::Replies),
    (b"220-", Family::Replies),
    (b"200 ", Family::News),
    (b"201 ", Family::News),
    (b"* OK", Family::Imap),
    (b"+OK", Family::Pop),
    (b"\"IMPLEMENTATION\"", Family::Sieve),
];

/// Commands that a client may give before it asks for TLS. With any other it has begun to do what it came for.
const BEFORE: &[&str] = &[
    "EHLO",
    "HELO",
    "LHLO",
    "NOOP",
    "RSET",
    "HELP",
    "XCLIENT",
    "XFORWARD",
    "FEAT",
    "SYST",
    "OPTS",
    "CLNT",
    "HOST",
    "CAPABILITIES",
    "MODE",
    "DATE",
    "CAPABILITY",
    "ID",
    "CAPA",
    "LANG",
    "UTF8",
];

/// Longest tag of IMAP that is remembered.
const TAG: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Replies with three digits: SMTP or FTP, as the client's commands tell.
    Replies,
    News,
    Imap,
    Pop,
    Sieve,
}

/// The lines of both sides.
#[derive(Debug, Default)]
struct Lines {
    family: Option<Family>,
    /// By the command that asked for TLS.
    preface: Option<Preface>,
    /// Of that command, in IMAP.
    tag: Vec<u8>,
}

fn greeting(bytes: &[u8]) -> (Verdict, Option<Family>) {
    let mut verdict = Verdict::No;
    for (begins, family) in GREETINGS {
        let length = bytes.len().min(begins.len());
        if !bytes[..length].eq_ignore_ascii_case(&begins[..length]) {
            continue;
        }
        match length == begins.len() {
            true => return (Verdict::Yes, Some(*family)),
            false => verdict = Verdict::More,
        }
    }
    (verdict, None)
}

/// The preface that a command leads to, if it asks for TLS.
fn asks(family: Family, command: &str, argument: &str) -> Option<Preface> {
    let is = |name: &str| command.eq_ignore_ascii_case(name);
    let preface = match family {
        Family::Replies if is("STARTTLS") => Preface::StartTlsSmtp,
        Family::Replies if is("AUTH") => {
            let mut mechanisms = ["TLS", "TLS-C", "TLS-P", "SSL"].into_iter();
            mechanisms.find(|name| argument.eq_ignore_ascii_case(name))?;
            Preface::StartTlsFtp
        }
        Family::News if is("STARTTLS") => Preface::StartTlsNntp,
        Family::Imap if is("STARTTLS") => Preface::StartTlsImap,
        Family::Pop if is("STLS") => Preface::StartTlsPop3,
        Family::Sieve if is("STARTTLS") => Preface::StartTlsSieve,
        _ => return None,
    };
    Some(preface)
}

impl Talk for Lines {
    fn message(&self, _: Side, bytes: &[u8]) -> Message {
        memchr(b'\n', bytes).map_or(Message::More, |end| Message::Whole(end + 1))
    }

    fn client(&mut self, line: &[u8]) -> Asked {
        let (Some(family), Ok(line)) = (self.family, std::str::from_utf8(line)) else {
            return Asked::Other;
        };
        let mut words = line.split_ascii_whitespace();
        let tag = match family {
            Family::Imap => words.next().unwrap_or_default(),
            _ => "",
        };
        let command = words.next().unwrap_or_default();
        if let Some(preface) = asks(family, command, words.next().unwrap_or_default()) {
            self.preface = Some(preface);
            self.tag = tag.as_bytes()[..tag.len().min(TAG)].to_vec();
            return Asked::Tls;
        }
        match BEFORE.iter().any(|name| command.eq_ignore_ascii_case(name)) {
            true => Asked::Something,
            false => Asked::Other,
        }
    }

    fn server(&mut self, line: &[u8]) -> Answer {
        let digits = |code: &[u8; 3]| match line {
            // Another line of the reply follows.
            [_, _, _, b'-', ..] => Answer::Something,
            _ if line.starts_with(code) => Answer::Agreed,
            [b'4' | b'5', ..] => Answer::Refused,
            _ => Answer::Something,
        };
        let word = |line: &[u8], yes: &[u8], no: &[&[u8]]| {
            let is = |word: &[u8]| {
                line.get(..word.len())
                    .is_some_and(|it| it.eq_ignore_ascii_case(word))
            };
            match is(yes) {
                true => Answer::Agreed,
                false if no.iter().any(|word| is(word)) => Answer::Refused,
                false => Answer::Something,
            }
        };
        match self.preface {
            Some(Preface::StartTlsFtp) => digits(b"234"),
            Some(Preface::StartTlsNntp) => digits(b"382"),
            Some(Preface::StartTlsPop3) => word(line, b"+OK", &[b"-ERR"]),
            Some(Preface::StartTlsSieve) => word(line, b"OK", &[b"NO", b"BYE"]),
            Some(Preface::StartTlsImap) => match line.strip_prefix(&*self.tag) {
                Some([b' ', rest @ ..]) => word(rest, b"OK", &[b"NO", b"BAD"]),
                _ => Answer::Something,
            },
            _ => digits(b"220"),
        }
    }

    fn preface(&self) -> Preface {
        self.preface.unwrap_or(Preface::StartTlsSmtp)
    }
}
