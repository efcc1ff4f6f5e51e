use super::*;
use hickory_resolver::{
    config::ConnectionConfig,
    proto::{
        op::{Message, ResponseCode},
        rr::{RData, Record, RecordType, rdata},
    },
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket as StdUdpSocket},
    sync::mpsc,
    thread,
};

const NAME: &str = "sink.weir.test.";
const FOUND: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 7);

/// A name server that knows one name only, and answers `truncated` over UDP; with whether each socket that it was asked from was
/// known by then.
fn server(truncated: bool) -> (SocketAddr, mpsc::Receiver<bool>) {
    let (udp, tcp) = loop {
        let udp = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let at = udp.local_addr().unwrap();
    let (known, asked) = mpsc::channel();
    let known_too = known.clone();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, client)) = udp.recv_from(&mut query) {
            // (Nobody may want to know.)
            let _ = known.send(is_own_lookup(client.port(), at));
            udp.send_to(&answer(&query[..len], truncated), client).unwrap();
        }
    });
    thread::spawn(move || {
        while let Ok((stream, client)) = tcp.accept() {
            let _ = known_too.send(is_own_lookup(client.port(), at));
            thread::spawn(|| serve(stream));
        }
    });
    (at, asked)
}

/// Answers until nobody asks any more.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query)?;
        let answer = answer(&query, false);
        let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&len[..], &answer].concat())?;
    }
}

fn answer(query: &[u8], truncated: bool) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap().into_response();
    let asked = message.queries[0].clone();
    message.metadata.truncation = truncated;
    if asked.name().to_string() != NAME {
        message.metadata.response_code = ResponseCode::NXDomain;
    } else if asked.query_type() == RecordType::A && !truncated {
        let address = RData::A(rdata::A(FOUND));
        message.add_answer(Record::from_rdata(asked.name().clone(), 60, address));
    }
    message.to_vec().unwrap()
}

/// What is found by asking there.
fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port);
    let known = NameServerConfig::new(server.ip(), true, connections.to_vec());
    let (_, mut options) = settings();
    options.attempts = 1;
    options.timeout = Duration::from_secs(30);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ResolverConfig::from_name_servers(vec![known]);
    runtime.block_on(look_up(name, config, options))
}

#[test]
fn a_socket_is_known_before_anything_comes_from_it() {
    let (at, asked) = server(false);
    assert_eq!(ask(at, NAME).unwrap(), [IpAddr::from(FOUND)]);
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [true; 2]);
}

#[test]
fn so_is_that_of_a_connection_which_a_truncated_answer_makes_necessary() {
    let (at, asked) = server(true);
    assert_eq!(ask(at, NAME).unwrap(), [IpAddr::from(FOUND)]);
    let known: Vec<_> = asked.try_iter().collect();
    assert!(known.len() > 2 && known.iter().all(|known| *known), "{known:?}");
}

#[test]
fn sockets_of_others_are_not_taken_for_its_own() {
    let server = SocketAddr::from(([127, 0, 0, 1], 53));
    remember(40_001, server);
    assert!(is_own_lookup(40_001, server));
    assert!(!is_own_lookup(40_002, server));
    assert!(!is_own_lookup(40_001, SocketAddr::from(([127, 0, 0, 2], 53))));
}

#[test]
fn a_name_that_there_is_not_is_told_as_such() {
    let (at, _asked) = server(false);
    let error = ask(at, "missing.weir.test.").unwrap_err().to_string();
    assert!(error.contains("missing.weir.test."), "{error}");
}

#[test]
fn what_the_hosts_file_has_is_not_asked_for() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let found = ask(nobody, "localhost").unwrap();
    assert!(found.iter().all(|address| address.is_loopback()), "{found:?}");
    assert!(!found.is_empty());
}
