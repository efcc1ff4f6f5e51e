//! Headers that nearly every message has: what they tell is found with a few instructions.

use super::Told::{self, Nothing, Secret};

/// In no order.
const COMMON: &[(&str, Told)] = &[
    ("accept", Nothing),
    ("accept-charset", Nothing),
    ("accept-encoding", Nothing),
    ("accept-language", Nothing),
    ("accept-ranges", Nothing),
    ("access-control-allow-origin", Nothing),
    ("age", Nothing),
    ("alt-svc", Nothing),
    ("authorization", Secret),
    ("cache-control", Nothing),
    ("connection", Nothing),
    ("content-disposition", Nothing),
    ("content-encoding", Nothing),
    ("content-language", Nothing),
    ("content-length", Nothing),
    ("content-location", Nothing),
    ("content-range", Nothing),
    ("content-security-policy", Nothing),
    ("content-type", Nothing),
    ("cookie", Secret),
    ("date", Nothing),
    ("dnt", Nothing),
    ("etag", Nothing),
    ("expect", Nothing),
    ("expires", Nothing),
    ("grpc-accept-encoding", Nothing),
    ("grpc-encoding", Nothing),
    ("grpc-message", Nothing),
    ("grpc-status", Nothing),
    ("grpc-timeout", Nothing),
    ("host", Nothing),
    ("if-modified-since", Nothing),
    ("if-none-match", Nothing),
    ("keep-alive", Nothing),
    ("last-modified", Nothing),
    ("link", Nothing),
    ("location", Nothing),
    ("origin", Nothing),
    ("pragma", Nothing),
    ("priority", Nothing),
    ("range", Nothing),
    ("referer", Nothing),
    ("referrer-policy", Nothing),
    ("retry-after", Nothing),
    ("sec-ch-ua", Nothing),
    ("sec-ch-ua-mobile", Nothing),
    ("sec-ch-ua-platform", Nothing),
    ("sec-fetch-dest", Nothing),
    ("sec-fetch-mode", Nothing),
    ("sec-fetch-site", Nothing),
    ("sec-fetch-user", Nothing),
    ("server", Nothing),
    ("set-cookie", Secret),
    ("strict-transport-security", Nothing),
    ("te", Nothing),
    ("traceparent", Nothing),
    ("tracestate", Nothing),
    ("transfer-encoding", Nothing),
    ("upgrade", Nothing),
    ("upgrade-insecure-requests", Nothing),
    ("user-agent", Nothing),
    ("vary", Nothing),
    ("via", Nothing),
    ("x-cache", Nothing),
    ("x-content-type-options", Nothing),
    ("x-correlation-id", Nothing),
    ("x-forwarded-for", Nothing),
    ("x-forwarded-host", Nothing),
    ("x-forwarded-port", Nothing),
    ("x-forwarded-proto", Nothing),
    ("x-frame-options", Nothing),
    ("x-powered-by", Nothing),
    ("x-real-ip", Nothing),
    ("x-request-id", Nothing),
    ("x-requested-with", Nothing),
];

/// Places for them, so many that few names share one.
const PLACES: usize = 256;

/// A name at its place, with its first and last bytes as numbers.
#[derive(Clone, Copy)]
struct Place {
    ends: (u64, u64),
    name: &'static str,
    told: Told,
}

static TABLE: [Place; PLACES] = table();

const fn table() -> [Place; PLACES] {
    let mut table = [Place {
        ends: (0, 0),
        name: "",
        told: Nothing,
    }; PLACES];
    let mut at = 0;
    while at < COMMON.len() {
        let (name, told) = COMMON[at];
        let ends = ends(name.as_bytes());
        let mut place = place(ends);
        while !table[place].name.is_empty() {
            place = (place + 1) % PLACES;
        }
        table[place] = Place { ends, name, told };
        at += 1;
    }
    table
}

/// The first and the last eight or four bytes, which may overlap: with the length they are all that names of 4 to 16 bytes have.
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (
            u32::from_le_bytes(*first) as u64,
            u32::from_le_bytes(*last) as u64,
        )
    } else {
        (0, 0)
    }
}

/// (Multiplied by an odd number, every bit counts in the upper ones.)
const fn place(ends: (u64, u64)) -> usize {
    let mixed = (ends.0 ^ ends.1.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize % PLACES
}

/// What a header's name, in lower case, tells, if it is one of these.
#[inline]
pub(super) fn told(name: &[u8]) -> Option<Told> {
    let ends = ends(name);
    let mut at = place(ends);
    loop {
        let place = TABLE.get(at)?;
        if place.name.is_empty() {
            return None;
        }
        let is_same = place.ends == ends && place.name.len() == name.len();
        if is_same && ((4..=16).contains(&name.len()) || place.name.as_bytes() == name) {
            return Some(place.told);
        }
        at = (at + 1) % PLACES;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{is_header_key, judge};
    use super::*;

    #[test]
    fn each_tells_what_the_table_of_names_says() {
        for (name, said) in COMMON {
            assert_eq!(told(name.as_bytes()), Some(*said), "{name}");
            assert_eq!(judge(name.as_bytes()), *said, "{name}");
            assert!(!is_header_key(name.as_bytes()), "{name}");
            let mut other = name.as_bytes().to_vec();
            other.push(b's');
            assert_eq!(told(&other), None);
        }
        for name in ["", "x", "x-api-key", "authorizatiom"] {
            assert_eq!(told(name.as_bytes()), None, "{name}");
        }
    }
}
