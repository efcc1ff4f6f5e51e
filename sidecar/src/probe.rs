//! Answers `weir-init check`: a connection to the probe's address proves the redirect by its token.

use crate::{listen::Arrival, original::OriginalDestination, socket::Stream};
use std::{future::poll_fn, time::Duration};
use weir_config::probe::{MAX_TOKEN, reply};
use weir_records::Direction;

const LIMIT: Duration = Duration::from_secs(5);

/// Reads the token's line and answers it; gives up after 5 s or an overlong line.
pub async fn answer(client: &Stream, arrival: Arrival, destination: OriginalDestination) {
    let name = match arrival.direction {
        Direction::Ingress => "inbound",
        Direction::Egress | Direction::Unknown => "outbound",
    };
    let conversation = async {
        let mut buffer = [0; MAX_TOKEN + 1];
        let mut length = 0;
        while !buffer[..length].contains(&b'\n') {
            match poll_fn(|cx| client.poll_read(cx, &mut buffer[length..])).await {
                Ok(n) if n > 0 => length += n,
                _ => return,
            }
        }
        let token = String::from_utf8_lossy(&buffer[..length]);
        let text = reply(token.trim_end(), name, destination.0);
        // A few dozen bytes always fit into a fresh socket's buffer.
        let _ = poll_fn(|cx| client.poll_write(cx, text.as_bytes())).await;
        client.finish();
    };
    let _ = tokio::time::timeout(LIMIT, conversation).await;
}
