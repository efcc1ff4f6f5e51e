//! The load: wrk, and what it says.

use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use tempfile::NamedTempFile;
use weir_lab::Node;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Many requests on each connection, each as soon as the one before is answered: what is taken from the processors is
    /// taken from client and server.
    KeepAlive,
    /// The same with a rest before each request, so that processors are left over: what is added to the time of a request.
    Paced,
    /// A new connection for each request.
    NewConnection,
}

impl Workload {
    /// In the order of the report.
    pub const ALL: [Self; 3] = [Self::KeepAlive, Self::Paced, Self::NewConnection];

    /// As the report shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive, 1 KiB",
            Self::Paced => "keep-alive with rests of 1 to 6 ms, 1 KiB",
            Self::NewConnection => "new connection for each request, 1 KiB",
        }
    }
}

/// wrk asks this before each request how many ms to wait. (The time of a request begins after it.)
const RESTS: &str = "function delay() return math.random(1, 6) end";

/// What a run of wrk found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Answered requests.
    pub requests: u64,
    /// Answered requests a second.
    pub rate: f64,
    /// Failed connections, timeouts and answers other than 2xx or 3xx.
    pub errors: u64,
    /// Latency in µs that half of the requests had at most, and 99 of 100.
    pub p50: f64,
    pub p99: f64,
}

/// Loads a server for some seconds.
///
/// # Errors
/// wrk fails, or no request was answered.
pub fn run(
    client: &Node,
    server: SocketAddr,
    workload: Workload,
    seconds: u32,
    connections: u32,
) -> Result<Outcome> {
    let mut wrk = client.command("wrk");
    wrk.args([
        "--threads",
        "2",
        "--latency",
        "--connections",
        &connections.to_string(),
    ]);
    wrk.args(["--duration", &format!("{seconds}s")]);
    if workload == Workload::NewConnection {
        wrk.args(["--header", "Connection: close"]);
    }
    // (There until wrk has ended.)
    let script = (workload == Workload::Paced).then(rests).transpose()?;
    if let Some(script) = &script {
        wrk.arg("--script").arg(script.path());
    }
    wrk.arg(format!("http://{server}/"));
    let said = client.run(wrk)?;
    let outcome = parse(&said).with_context(|| format!("wrk said something unexpected:\n{said}"))?;
    ensure!(outcome.requests > 0, "no request was answered; wrk said:\n{said}");
    Ok(outcome)
}

/// A file with wrk's script.
fn rests() -> Result<NamedTempFile> {
    let script = NamedTempFile::new().context("cannot make a temporary file")?;
    std::fs::write(&script, RESTS).context("cannot write wrk's script")?;
    Ok(script)
}

fn parse(text: &str) -> Option<Outcome> {
    let mut outcome = Outcome::default();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [requests, "requests", "in", ..] => outcome.requests = requests.parse().ok()?,
            ["Requests/sec:", rate] => outcome.rate = rate.parse().ok()?,
            ["50%", latency] => outcome.p50 = microseconds(latency)?,
            ["99%", latency] => outcome.p99 = microseconds(latency)?,
            ["Socket", "errors:", ..] => {
                let numbers = words
                    .iter()
                    .filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok());
                outcome.errors += numbers.sum::<u64>();
            }
            ["Non-2xx", "or", "3xx", "responses:", number] => outcome.errors += number.parse::<u64>().ok()?,
            _ => {}
        }
    }
    Some(outcome)
}

fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "Running 4s test @ http://198.18.0.2:8080/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms    2.10ms  50.00ms   95.00%
    Req/Sec    40.00k     2.00k   45.00k    70.00%
  Latency Distribution
     50%  650.00us
     75%    0.90ms
     90%    1.50ms
     99%    1.02s
  318042 requests in 4.00s, 380.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  79510.50
Transfer/sec:     95.00MB
";
        let expected = Outcome {
            requests: 318_042,
            rate: 79_510.5,
            errors: 15,
            p50: 650.0,
            p99: 1_020_000.0,
        };
        assert_eq!(parse(text), Some(expected));
    }
}
