//! Against a small HTTP server in place of DataKit, which can't be had here: what it gets, and what its answers mean.

use super::*;
use crate::{Pipeline, SinkStats, samples::document};
use hyper::StatusCode;
use socket2::{Domain, Socket, Type};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
};
use weir_config::Layout;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the server got: the request line, the headers in lower case, the body.
#[derive(Debug)]
struct Got {
    request: String,
    headers: String,
    body: String,
}

/// Answers with these statuses one after the other, and with the last one for ever. 0 is no answer: it hangs up, as a server
/// does that is started anew.
struct Substitute {
    address: SocketAddr,
    got: Receiver<Got>,
}

impl Substitute {
    fn start(statuses: &[u16]) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), statuses)
    }

    fn on(listener: TcpListener, statuses: &[u16]) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, got) = channel();
        let mut statuses = statuses.to_vec();
        statuses.reverse();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &mut statuses, &sender);
            }
        });
        Self { address, got }
    }

    fn sink(&self) -> weir_config::Sink {
        weir_config::Sink::Datakit(Settings::at(&format!("http://{}", self.address)).unwrap())
    }
}

/// The requests of one connection.
fn serve(stream: TcpStream, statuses: &mut Vec<u16>, sender: &Sender<Got>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut request, mut headers) = (String::new(), String::new());
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        while !headers.ends_with("\r\n\r\n") && reader.read_line(&mut headers).unwrap() > 2 {}
        let headers = headers.to_lowercase();
        let length = headers.split_once("content-length: ").unwrap().1;
        let length = length.split_once('\r').unwrap().0.parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let status = match &statuses[..] {
            [last] => *last,
            _ => statuses.pop().unwrap(),
        };
        let _ = sender.send(Got {
            request: request.trim_end().into(),
            headers,
            body: String::from_utf8(body).unwrap(),
        });
        if status == 0 {
            return;
        }
        let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 10\r\n\r\nso it goes");
        if (&stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The counters after as many documents, each with a path of its own, were delivered to this sink.
fn delivered(sink: weir_config::Sink, documents: u64, patience: Duration) -> SinkStats {
    let pipeline = Pipeline::start(&[sink]).unwrap();
    let mut producer = pipeline.producer();
    (0..documents).for_each(|number| producer.push(&document(number)));
    drop(producer);
    let stats = pipeline.stats();
    pipeline.shutdown(patience);
    stats.snapshot().remove(0)
}

fn paths(got: &[Got]) -> Vec<String> {
    let lines = got.iter().flat_map(|got| got.body.lines());
    let path = |line: &str| {
        line.split("path=\"")
            .nth(1)?
            .split('"')
            .next()
            .map(ToOwned::to_owned)
    };
    let mut paths: Vec<_> = lines.map(|line| path(line).unwrap()).collect();
    paths.sort();
    paths
}

fn all(documents: u64) -> Vec<String> {
    let mut all: Vec<_> = (0..documents).map(|number| format!("/{number}")).collect();
    all.sort();
    all
}

#[test]
fn points_are_posted_as_datakit_takes_them() {
    let server = Substitute::start(&[200]);
    let stats = delivered(server.sink(), 5000, PATIENCE);
    let counted = SinkStats {
        sink: "datakit".into(),
        target: format!("http://{}", server.address),
        layout: Layout::Datakit,
        queued: 5000,
        sent: 5000,
        ..SinkStats::default()
    };
    assert_eq!(stats, counted);
    let got: Vec<_> = server.got.try_iter().collect();
    assert!(got.len() > 1, "more than one request can hold");
    for request in &got {
        assert_eq!(
            request.request,
            "POST /v1/write/network?input=weir&precision=n HTTP/1.1"
        );
        assert!(
            request.headers.contains("content-type: text/plain"),
            "{request:?}"
        );
        assert!(!request.headers.contains("authorization"), "{request:?}");
        assert!(request.body.len() <= BODY_BYTES && request.body.ends_with('\n'));
        assert!(request.body.lines().all(|line| line.starts_with("httpflow,")));
    }
    assert_eq!(paths(&got), all(5000));
}

#[test]
fn what_the_server_could_not_take_is_sent_again() {
    for status in [0, 429, 408, 500, 503] {
        let server = Substitute::start(&[status, status, 204]);
        let stats = delivered(server.sink(), 1, PATIENCE);
        assert_eq!((stats.sent, stats.rejected, stats.retries), (1, 0, 2), "{status}");
        let got: Vec<_> = server.got.try_iter().collect();
        assert_eq!(got.len(), 3, "{status}");
        assert!(got.iter().all(|request| request.body == got[0].body));
    }
}

#[test]
fn a_request_that_is_too_large_is_sent_in_parts() {
    let server = Substitute::start(&[413, 200]);
    let stats = delivered(server.sink(), 100, PATIENCE);
    assert_eq!((stats.sent, stats.rejected, stats.retries), (100, 0, 1));
    let got: Vec<_> = server.got.try_iter().collect();
    assert_eq!(paths(&got[1..]), all(100));
    assert!(got[1].body.len() < got[0].body.len());
}

#[test]
fn what_the_server_refuses_is_counted_and_not_sent_again() {
    for status in [400, 401, 403, 404, 422] {
        let server = Substitute::start(&[status]);
        let stats = delivered(server.sink(), 10, PATIENCE);
        assert_eq!(
            (stats.sent, stats.rejected, stats.retries),
            (0, 10, 0),
            "{status}"
        );
        assert_eq!(server.got.try_iter().count(), 1, "{status}");
    }
}

#[test]
fn points_wait_for_a_server_that_is_not_there_yet() {
    // Nobody else gets the port, and nobody listens there.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut settings = Settings::at(&format!("http://me:p%40ss@{address}")).unwrap();
    settings.points.interval = weir_config::Period::seconds(1);
    let pipeline = Pipeline::start(&[weir_config::Sink::Datakit(settings)]).unwrap();
    let stats = pipeline.stats();
    let mut producer = pipeline.producer();
    producer.push(&document(7));
    drop(producer);
    let failing = loop {
        match stats.snapshot()[0].failing.clone() {
            Some(failing) => break failing,
            None => std::thread::yield_now(),
        }
    };
    assert!(failing.contains("Connection refused"), "{failing}");
    socket.listen(8).unwrap();
    let server = Substitute::on(socket.into(), &[200]);
    let got = server.got.recv_timeout(PATIENCE).unwrap();
    assert!(got.headers.contains("authorization: basic "), "{got:?}");
    assert_eq!(paths(&[got]), ["/7"]);
    pipeline.shutdown(PATIENCE);
    let stats = &stats.snapshot()[0];
    assert_eq!((stats.sent, stats.waiting, &stats.failing), (1, 0, &None));
}

#[test]
fn what_nobody_took_until_the_end_is_counted_as_lost() {
    let server = Substitute::start(&[503]);
    let stats = delivered(server.sink(), 10, Duration::ZERO);
    assert_eq!((stats.sent, stats.queued, stats.waiting), (0, 10, 0));
    assert_eq!(stats.dropped["shutdown"], 10);
}

#[test]
fn each_answer_has_its_consequence() {
    let told = |status: u16| {
        judge(&Response {
            status: StatusCode::from_u16(status).unwrap(),
            body: "why\nnot".into(),
        })
    };
    assert_eq!(told(200).unwrap(), Verdict::Taken);
    for (status, kind) in [
        (302, FailureKind::Slow),
        (408, FailureKind::Congested),
        (413, FailureKind::Split),
        (429, FailureKind::Congested),
        (502, FailureKind::Retry),
    ] {
        assert_eq!(told(status).unwrap_err().kind, kind, "{status}");
    }
    assert_eq!(
        told(404).unwrap(),
        Verdict::Rejected("the server answers 404 Not Found: why not; is url that of DataKit?".into())
    );
}
