//! What the sinks that deliver to a server share: one HTTP request at a time, given up when the sink must be done.

mod connector;
mod tls;

use crate::{
    ExportError,
    runner::{Failure, FailureKind},
    stop::Stop,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use connector::Connector;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::Client as Http,
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error, path::Path, sync::Arc, time::Duration};
use tokio::runtime::Runtime;
use weir_config::Secret;

/// From the first byte of a request to the last one of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that has been idle for longer is not used again: a proxy on the way may have dropped it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// An answer has a line a document at most.
const LONGEST_ANSWER: usize = 64 << 20;
const AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));
/// How much of an answer that nobody understands goes into the log.
const EXCERPT: usize = 200;

/// Where a server is and who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The kind of sink.
    pub(crate) sink: &'static str,
    pub(crate) url: &'a str,
    /// Whom to trust in place of the system's authorities.
    pub(crate) ca_file: Option<&'a Path>,
    pub(crate) credentials: Credentials<'a>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credentials<'a> {
    Nobody,
    User(&'a str, Option<&'a Secret>),
    ApiKey(&'a Secret),
}

impl Target<'_> {
    /// Refuses what can never work, whatever the system and the network are like.
    pub(crate) fn check(&self) -> Result<(), ExportError> {
        let valid = || {
            let (_, uri) = self.address()?;
            if self.ca_file.is_some() && !is_secure(&uri) {
                return Err("ca_file is of use only with https://".into());
            }
            authorization(self.credentials).map(drop)
        };
        valid().map_err(|reason| self.unusable(reason))
    }

    /// The address with one `/` at its end, as text and understood.
    fn address(&self) -> Result<(String, Uri), String> {
        let base = format!("{}/", self.url.trim_end_matches('/'));
        let uri = base.parse().map_err(|error| format!("not an address: {error}"))?;
        Ok((base, uri))
    }

    fn unusable(&self, reason: String) -> ExportError {
        ExportError::Target {
            sink: self.sink,
            target: self.url.into(),
            reason,
        }
    }
}

fn is_secure(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// A server, and the thread's runtime in which it is spoken to.
#[derive(Debug)]
pub(crate) struct Server {
    client: Client,
    stop: Arc<Stop>,
    /// Only the sink's thread runs it.
    runtime: Runtime,
}

impl Server {
    /// Nothing is connected yet.
    pub(crate) fn new(target: Target<'_>, stop: Arc<Stop>) -> Result<Self, ExportError> {
        target.check()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| target.unusable(format!("cannot start a runtime: {error}")))?;
        Ok(Self {
            client: Client::new(target).map_err(|reason| target.unusable(reason))?,
            stop,
            runtime,
        })
    }

    /// Sends a request, unless the sink's time runs out before the answer.
    pub(crate) fn send(&self, request: Request) -> Result<Response, Failure> {
        self.runtime.block_on(async {
            tokio::select! {
                response = self.client.send(request) => response,
                () = self.stop.over() => Err(Failure::new(FailureKind::Retry, "the sink was stopped")),
            }
        })
    }
}

/// How to speak to it.
#[derive(Debug)]
struct Client {
    http: Http<HttpsConnector<Connector>, Full<Bytes>>,
    /// The address with one `/` at its end.
    base: String,
    authorization: Option<HeaderValue>,
}

/// What is sent.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below the server's address.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// The body is compressed already.
    pub(crate) gzipped: bool,
}

/// What came back.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Client {
    fn new(target: Target<'_>) -> Result<Self, String> {
        let (base, uri) = target.address()?;
        let secure = is_secure(&uri);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(target.ca_file, secure)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector);
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self {
            http,
            base,
            authorization: authorization(target.credentials)?,
        })
    }

    /// Sends a request and waits for the whole answer, whatever it says.
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let request = self.build(request).map_err(|error| {
            Failure::new(
                FailureKind::Slow,
                format!("not a possible request: {error}; look at the sink's settings"),
            )
        })?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER)
                .collect()
                .await
                .map_err(|error| chain(error.as_ref()))?;
            Ok::<_, String>(Response {
                status: head.status,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(reason)) => Err(Failure::new(FailureKind::Retry, reason)),
            Err(_) => Err(Failure::new(
                FailureKind::Congested,
                format!("no answer within {REQUEST_TIMEOUT:?}"),
            )),
        }
    }

    fn build(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let mut builder = hyper::Request::builder()
            .method(request.method)
            .uri(format!("{}{}", self.base, request.path))
            .header(CONTENT_TYPE, request.content_type)
            .header(USER_AGENT, AGENT);
        if request.gzipped {
            builder = builder.header(CONTENT_ENCODING, "gzip");
        }
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        builder.body(Full::new(request.body))
    }
}

fn authorization(credentials: Credentials<'_>) -> Result<Option<HeaderValue>, String> {
    let text = match credentials {
        Credentials::ApiKey(key) => format!("ApiKey {}", key.0),
        Credentials::User(user, password) => {
            let password = password.map_or("", |password| &password.0);
            format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
        }
        Credentials::Nobody => return Ok(None),
    };
    let mut value =
        HeaderValue::try_from(text).map_err(|_| "api_key holds characters that no header can carry")?;
    // No debug output shows it.
    value.set_sensitive(true);
    Ok(Some(value))
}

/// An error with its causes: the outermost alone says no more than that something went wrong.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The beginning of an answer, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]);
    let words: Vec<_> = text.split_whitespace().collect();
    match words.is_empty() {
        true => "(empty)".into(),
        false => words.join(" "),
    }
}
