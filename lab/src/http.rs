//! Just enough HTTP to ask a health endpoint and to read metrics.

use crate::{LabError, error::Context, patience::patience};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// One GET on the calling thread: the status and the body, which ends with the connection.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String), LabError> {
    let answer = exchange(address, path).context(|| format!("GET http://{address}{path}"))?;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|s| s.parse().ok());
    match (status, text.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.into())),
        _ => Err(LabError::NotHttp {
            address,
            got: text.chars().take(80).collect(),
        }),
    }
}

fn exchange(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, patience(PATIENCE))?;
    stream.set_read_timeout(Some(patience(PATIENCE)))?;
    stream.set_write_timeout(Some(patience(PATIENCE)))?;
    // HTTP/1.0: the answer is never chunked and the connection ends with it.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
