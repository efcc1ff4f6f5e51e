//! One HTTP request at a time to one server.

use super::tls;
use crate::{
    lookup::Resolver,
    runner::{Failure, FailureKind},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error, time::Duration};
use weir_config::Elasticsearch as Settings;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first byte of a request to the last one of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that has been idle for longer is not used again: a proxy on the way may have dropped it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// An answer has a line a document at most.
const LONGEST_ANSWER: usize = 64 << 20;
const AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// A server and how to speak to it.
#[derive(Debug)]
pub(super) struct Client {
    http: Http<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    /// The address with one `/` at its end.
    base: String,
    authorization: Option<HeaderValue>,
}

/// What is sent.
pub(super) struct Request {
    pub(super) method: Method,
    /// Below the server's address.
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// The body is compressed already.
    pub(super) gzipped: bool,
}

/// What came back.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Client {
    /// Nothing is connected yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let base = format!("{}/", settings.url.trim_end_matches('/'));
        let uri: Uri = base.parse().map_err(|error| format!("not an address: {error}"))?;
        let secure = uri.scheme_str() == Some("https");
        if settings.ca_file.is_some() && !secure {
            return Err("ca_file is of use only with https://".into());
        }
        let mut connector = HttpConnector::new_with_resolver(Resolver);
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(settings.ca_file.as_deref(), secure)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self {
            http,
            base,
            authorization: authorization(settings)?,
        })
    }

    /// Sends a request and waits for the whole answer, whatever it says.
    pub(super) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let request = self.build(request).map_err(|error| {
            Failure::new(
                FailureKind::Slow,
                format!("not a possible request: {error}; look at url and index"),
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

fn authorization(settings: &Settings) -> Result<Option<HeaderValue>, String> {
    let text = match (&settings.api_key, &settings.username) {
        (Some(key), _) => format!("ApiKey {}", key.0),
        (None, Some(user)) => {
            let password = settings.password.as_ref().map_or("", |password| &password.0);
            format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
        }
        (None, None) => return Ok(None),
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
