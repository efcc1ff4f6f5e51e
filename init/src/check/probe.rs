//! The asking side of a probe.

use super::{LIMIT, Verdict, answer::Answerer};
use crate::{Family, routes};
use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};
use weir_config::{Interception, probe};

/// As an application would: to an address that nobody has.
pub async fn outbound(family: Family, set: &Interception, port: u16, answerer: &Answerer) -> Verdict {
    let destination = family.outbound_probe(port);
    if let Err(error) = find_route(destination) {
        return Verdict::NotProbed(format!("no route to {destination}: {error}"));
    }
    let uid = nix::unistd::geteuid().as_raw();
    if uid == set.proxy_uid || nix::unistd::getegid().as_raw() == set.proxy_gid {
        return Verdict::Failed(format!(
            "this check runs as user {uid}, whose connections are never redirected; run it as root"
        ));
    }
    let answer = match token() {
        Ok(token) => ask(None, destination, &token).await.map(|reply| (token, reply)),
        Err(error) => Err(error),
    };
    judge(
        "outbound",
        destination,
        answer,
        answerer.describe(set.outbound_port),
    )
}

/// As the sidecar would call the application that it stands beside, but from an address that is not a spare one: a
/// child process with the sidecar's user and group connects to a spare address.
pub async fn inbound(family: Family, set: &Interception, port: u16, answerer: &Answerer) -> Verdict {
    if family == Family::V6 && routes::ipv6_is_off() {
        return Verdict::NotProbed("IPv6 is switched off on the loopback interface".into());
    }
    let destination = family.inbound_probe(port);
    let answer = match token() {
        Ok(token) => {
            as_sidecar(
                family.loopback(),
                destination,
                token,
                set.proxy_uid,
                set.proxy_gid,
            )
            .await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &answer
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        return Verdict::NotProbed(error.to_string());
    }
    judge(
        "inbound",
        destination,
        answer,
        answerer.describe(set.inbound_port),
    )
}

fn judge(
    name: &str,
    destination: SocketAddr,
    answer: io::Result<(String, String)>,
    answerer: String,
) -> Verdict {
    match answer {
        Ok((token, reply)) if reply == probe::reply(&token, name, destination) => {
            Verdict::Ok(format!("a token for {destination} was answered by {answerer}"))
        }
        Ok((token, reply)) => Verdict::Failed(format!(
            "a token for {destination} should have come back as {:?}, but it was {reply:?}, from {answerer}",
            probe::reply(&token, name, destination)
        )),
        Err(error) => Verdict::Failed(format!(
            "a token for {destination} was not answered: {error}; it should have been by {answerer}"
        )),
    }
}

/// Connecting a UDP socket looks the route up and sends nothing.
fn find_route(destination: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = match destination {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    UdpSocket::bind(any)?.connect(destination)
}

fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Sends a token and gives the reply.
///
/// # Errors
/// Those of the connection; [`io::ErrorKind::TimedOut`] after [`LIMIT`].
pub async fn ask(source: Option<IpAddr>, destination: SocketAddr, token: &str) -> io::Result<String> {
    let conversation = async {
        let socket = if destination.is_ipv6() {
            TcpSocket::new_v6()?
        } else {
            TcpSocket::new_v4()?
        };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let mut stream = socket.connect(destination).await?;
        stream.write_all(format!("{token}\n").as_bytes()).await?;
        let mut reply = String::new();
        stream.take(4096).read_to_string(&mut reply).await?;
        Ok(reply)
    };
    tokio::time::timeout(LIMIT, conversation)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LIMIT:?}")))?
}

/// Lets a child with the sidecar's identity ask; this program again, by the hidden command `probe`.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] where that identity is not to be had, as in a container that was given NET_ADMIN
/// alone; others where the token was not answered.
async fn as_sidecar(
    source: IpAddr,
    destination: SocketAddr,
    token: String,
    uid: u32,
    gid: u32,
) -> io::Result<(String, String)> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["probe", &source.to_string(), &destination.to_string(), &token])
        .uid(uid)
        .gid(gid)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(io::Error::other)?;
    let output = output.map_err(|error| match error.kind() {
        kind @ io::ErrorKind::PermissionDenied => io::Error::new(
            kind,
            format!(
                "no token can be sent as user {uid} and group {gid} ({error}): that takes SETUID and SETGID"
            ),
        ),
        _ => error,
    })?;
    if output.status.success() {
        return Ok((token, String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
