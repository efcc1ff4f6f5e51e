//! DNS over UDP: redirected queries go on to the resolver that was asked, unchanged, and its answers come back from that
//! resolver's address, byte for byte. (Over TCP a query is a connection as any other, accepted at the same port.)
//!
//! [`listen`] opens the sockets, [`socket`] knows how a datagram tells whom it was sent to and how an answer gets that
//! address, [`relay`] carries. One data thread does all of it: a container asks for hundreds of names a second, not for
//! hundreds of thousands, and with one socket a port every datagram of a client is seen by the table that knows it.

pub mod listen;
pub mod relay;
pub mod socket;
