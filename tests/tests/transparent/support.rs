//! What the tests of the transparent modes share.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
};
use weir_config::{SPARE_V4, SPARE_V6};
use weir_lab::Node;
use weir_tests::{
    peer::{assert_end, converse, listen, pair},
    stage::{Direction, Mode, Stage},
    weir::{Sidecar, install},
};

pub const PORT: u16 = 8080;
/// CAP_NET_RAW (13) alone, as `/proc/PID/status` has it.
pub const NET_RAW: &str = "0000000000002000";
pub const NOTHING: &str = "0000000000000000";

pub fn sidecar(stage: &Stage) -> &Sidecar {
    stage.sidecar.as_ref().unwrap()
}

pub fn set_up(stage: &Stage, mode: Mode) {
    install(&stage.pod, &["--mode", mode.name().unwrap()]).unwrap();
}

/// The address that the application sees, and the client's.
pub fn seen(stage: &Stage) -> (IpAddr, IpAddr) {
    let listener = listen(stage.callee(), stage.server(PORT));
    let (client, server) = pair(stage.caller(), &listener);
    converse(&client, &server, b"who am I?");
    converse(&server, &client, b"you tell me");
    let seen = server.peer_addr().unwrap().ip();
    let own = client.local_addr().unwrap().ip();
    drop(client);
    assert_end(&server);
    (seen, own)
}

pub fn is_spare(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPARE_V4.contains(&ip),
        IpAddr::V6(ip) => SPARE_V6.contains(&ip),
    }
}

pub fn not_kept(sidecar: &Sidecar) -> u64 {
    sidecar.metric("weir_source_not_kept_total", &[])
}

pub fn assert_kept(stage: &Stage, sidecar: &Sidecar) {
    let (seen, client) = seen(stage);
    assert_eq!(seen, client, "{}", sidecar.process.output());
    assert_eq!(not_kept(sidecar), 0, "{}", sidecar.metrics());
    assert!(sidecar.connections(Direction::Inbound) > 0, "it was not relayed");
}

pub fn assert_capabilities(sidecar: &Sidecar, kept: &str) {
    for (field, expected) in [
        ("CapPrm", kept),
        ("CapEff", kept),
        ("CapInh", NOTHING),
        ("CapAmb", NOTHING),
        ("NoNewPrivs", "1"),
    ] {
        let values = sidecar.status(field);
        assert!(values.len() > 1, "the data threads are looked at too");
        assert!(
            values.iter().all(|value| value == expected),
            "{field}: {values:?}"
        );
    }
}

/// `setpriv` with these options, and then the program.
pub fn by_setpriv(node: &Node, options: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = node.command("setpriv");
    command.args(options.split(' ')).arg(program);
    command
}

/// A connection of the pod's, seen once.
pub fn assert_outbound(stage: &Stage, sidecar: &Sidecar) {
    let before = sidecar.connections(Direction::Outbound);
    let outside: SocketAddr = stage.pick(stage.link.a.at(PORT)[0], stage.link.a.at(PORT)[1]);
    let listener = listen(&stage.client, outside);
    let (client, server) = pair(&stage.pod, &listener);
    converse(&client, &server, b"hello, outside");
    converse(&server, &client, b"hello, inside");
    assert_eq!(sidecar.connections(Direction::Outbound), before + 1);
}
