//! One HTTP request to a server on loopback, as small as a test can do with.

use anyhow::Context;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; text if it is not JSON.
    pub body: Value,
}

/// Sends a request and waits for its answer.
///
/// # Errors
/// The server can't be reached or does not speak HTTP.
pub fn request(port: u16, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    // HTTP/1.0 keeps the answer free of chunks and ends it with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.into()));
    Ok(Answer { status, body })
}
