//! Beginnings of protocols, and what only looks like them.

/// A frame of Dubbo.
pub fn dubbo(flags: u8, status: u8, id: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, id];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

/// A call of Dubbo 2 in Hessian 2, two-way or not.
pub fn call(id: u8, two_way: bool) -> Vec<u8> {
    let texts = ["2.0.2", "lab.Echo", "0.0.0", "echo", ""];
    let mut body: Vec<u8> = texts
        .iter()
        .flat_map(|text| [&[text.len() as u8][..], text.as_bytes()].concat())
        .collect();
    body.extend(b"HZ");
    dubbo(if two_way { 0xc2 } else { 0x82 }, 0, id, &body)
}

/// The answer to it: null.
pub fn reply(id: u8) -> Vec<u8> {
    dubbo(2, 20, id, &[0x92])
}

/// A query of DNS over TCP for `a`, with so many additional records announced, and these bytes in their place.
pub fn query(id: u8, additional: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
    message.extend(b"\x01a\x00\x00\x01\x00\x01");
    message.extend(rest);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

/// The answer to [`query`]: no such name.
pub fn no_such_name(id: u8) -> Vec<u8> {
    let mut message = query(id, 0, b"");
    message[4..6].copy_from_slice(&[0x81, 0x83]);
    message
}

/// An empty SETTINGS of HTTP/2.
pub const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A record of TLS that begins a hello and holds none.
pub const NO_HELLO: &[u8] = b"\x16\x03\x01\x00\x08\x01\x00\x00\x04abcd";
