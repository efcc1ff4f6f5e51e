//! What the targets share.

use weir_records::{Capture, Direction, DocumentId, Flow, Timestamp};

/// A connection to this port.
pub fn flow(server: u16) -> Flow {
    Flow {
        id: DocumentId(1),
        capture: Capture::Relay,
        mode: None,
        direction: Direction::Egress,
        client: ([198, 18, 0, 2], 40000).into(),
        server: ([198, 18, 0, 1], server).into(),
        opened: Timestamp(0),
        connect: None,
        host: None,
        wrapping: None,
    }
}
