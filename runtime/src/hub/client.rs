//! Requests to the hub: paths, redirects, the token, and the meaning of answers.
//!
//! Redirects are followed here and not by the library, for three reasons. The token goes to the hub's own address only.
//! An encrypted request never becomes an unencrypted one. And the headers of the hub are read before its storage
//! answers.

use super::Hub;
use crate::text::origin;
use std::io::{self, Read};
use std::time::Duration;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

/// A client of the hub.
pub(super) struct Client<'a> {
    agent: Agent,
    hub: &'a Hub,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The hub requires authentication, or denies access.
    #[error("the hub denies access to {what}: {}", if *.with_token { "the token in use may not read it" } else { "it is private, gated, or does not exist" })]
    Forbidden {
        /// A description of the request.
        what: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// It does not exist.
    #[error("the hub has no {what}")]
    NotFound {
        /// A description of the request.
        what: String,
    },
    /// The node is offline.
    #[error("nothing may be fetched in offline mode")]
    Offline,
    /// The redirect is not followed.
    #[error("the hub redirects to {0:?}, which is not allowed")]
    Redirected(String),
    /// The hub failed.
    #[error("the hub answers with status {status}{}", .retry_after.map_or_else(String::new, |after| format!(", retry after {} s", after.as_secs())))]
    Status {
        /// The status.
        status: u16,
        /// When to retry.
        retry_after: Option<Duration>,
    },
    /// The answer is too long.
    #[error("the hub's answer about {what} is longer than {bytes_max} bytes")]
    TooLong {
        /// A description of the request.
        what: String,
        /// The limit.
        bytes_max: u64,
    },
    /// The hub cannot be reached, or stopped answering.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// Its address.
        endpoint: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl RequestError {
    /// Tells whether a retry may succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 408 || *status == 429 || *status >= 500,
            Self::Unreachable { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
            ),
            Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Offline
            | Self::Redirected(_)
            | Self::TooLong { .. } => false,
        }
    }

    /// Returns the delay that the hub asks for before a retry.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let Self::Status { retry_after, .. } = self else { return None };
        *retry_after
    }
}

/// The hub's statement about a file, before its storage sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stated {
    /// The hash, possibly in quotation marks.
    pub(super) etag: Option<String>,
    /// The size.
    pub(super) bytes: Option<u64>,
}

impl<'a> Client<'a> {
    /// Prepares a client. Sends nothing.
    pub(super) fn new(hub: &'a Hub) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_per_read(Some(hub.stall_timeout))
            .timeout_per_write(Some(hub.stall_timeout))
            .timeout_resolve(Some(hub.stall_timeout))
            .timeout_connect(Some(hub.stall_timeout))
            .user_agent(concat!("p2p-ai-agents/", env!("CARGO_PKG_VERSION")))
            // The size of the file is needed, not that of a compressed transfer.
            .accept_encoding("identity")
            .build();
        Self { agent: Agent::new_with_config(config), hub }
    }

    /// Reads a short answer about `what` at a path of the hub.
    pub(super) fn read(&self, path: &str, what: &str, bytes_max: u64) -> Result<Vec<u8>, RequestError> {
        let (response, _) = self.follow(path, what, Method::Get { from: 0 })?;
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader();
        body.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| self.unreachable(source))?;
        if bytes.len() as u64 > bytes_max {
            return Err(RequestError::TooLong { what: what.to_owned(), bytes_max });
        }
        Ok(bytes)
    }

    /// Requests the metadata of a file, without its content.
    pub(super) fn stated(&self, path: &str, what: &str) -> Result<Stated, RequestError> {
        self.follow(path, what, Method::Head).map(|(_, stated)| stated)
    }

    /// Opens a file at the byte `from`.
    pub(super) fn open(&self, path: &str, what: &str, from: u64) -> Result<Response<Body>, RequestError> {
        self.follow(path, what, Method::Get { from }).map(|(response, _)| response)
    }

    fn follow(
        &self,
        path: &str,
        what: &str,
        method: Method,
    ) -> Result<(Response<Body>, Stated), RequestError> {
        if self.hub.offline {
            return Err(RequestError::Offline);
        }
        let mut address = format!("{}{path}", self.hub.endpoint);
        let mut stated = Stated::default();
        for _ in 0..=REDIRECTS_MAX {
            let to_hub = origin(&address) == origin(&self.hub.endpoint);
            let response = self.send(&address, method, to_hub)?;
            if to_hub {
                stated.note(&response);
            }
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return self.judge(response, what).map(|response| (response, stated));
            }
            // The hub has already stated this, so its storage is not asked.
            if matches!(method, Method::Head) && stated.etag.is_some() && stated.bytes.is_some() {
                return Ok((response, stated));
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            address = next_address(&address, location.unwrap_or_default())?;
        }
        Err(RequestError::Redirected("too many places".to_owned()))
    }

    fn send(&self, address: &str, method: Method, to_hub: bool) -> Result<Response<Body>, RequestError> {
        let mut request = match method {
            Method::Get { .. } => self.agent.get(address),
            Method::Head => self.agent.head(address),
        };
        if let (true, Some(token)) = (to_hub, &self.hub.token) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.0));
        }
        if let Method::Get { from: from @ 1.. } = method {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| self.unreachable(into_io(error)))
    }

    fn judge(&self, response: Response<Body>, what: &str) -> Result<Response<Body>, RequestError> {
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let what = what.to_owned();
        Err(match status {
            // A range at the end of a file is empty. The caller handles that.
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(response),
            _ if status.is_success() => return Ok(response),
            StatusCode::NOT_FOUND => RequestError::NotFound { what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if header("x-error-code") == Some("RepoNotFound") =>
            {
                match &self.hub.token {
                    Some(_) => RequestError::NotFound { what },
                    None => RequestError::Forbidden { what, with_token: false },
                }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RequestError::Forbidden { what, with_token: self.hub.token.is_some() }
            }
            _ => {
                let seconds = header("retry-after").and_then(|value| value.parse().ok());
                let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
                RequestError::Status { status: status.as_u16(), retry_after }
            }
        })
    }

    pub(super) fn unreachable(&self, source: io::Error) -> RequestError {
        RequestError::Unreachable { endpoint: self.hub.endpoint.clone(), source }
    }
}

#[derive(Clone, Copy)]
enum Method {
    Get { from: u64 },
    Head,
}

impl Stated {
    fn note(&mut self, response: &Response<Body>) {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("x-linked-etag").or_else(|| {
            // Only the hub's own headers describe the file. Those of a redirect do not.
            header("etag").filter(|_| !response.status().is_redirection())
        });
        let bytes = header("x-linked-size")
            .or_else(|| header("content-length").filter(|_| response.status().is_success()));
        if let Some(etag) = etag {
            self.etag = Some(etag.trim_start_matches("W/").trim_matches('"').to_owned());
        }
        self.bytes = bytes.and_then(|bytes| bytes.parse().ok()).or(self.bytes);
    }
}

/// Returns the target of a redirect.
fn next_address(from: &str, location: &str) -> Result<String, RequestError> {
    let refused = || RequestError::Redirected(location.chars().take(200).collect());
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(format!("{}{location}", origin(from)));
    }
    let encrypted = location.starts_with("https://");
    let open = location.starts_with("http://") && from.starts_with("http://");
    if encrypted || open { Ok(location.to_owned()) } else { Err(refused()) }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "all others say it as well as we could")]
fn into_io(error: ureq::Error) -> io::Error {
    let (kind, reason) = match &error {
        ureq::Error::Timeout(_) => (io::ErrorKind::TimedOut, "it does not answer".to_owned()),
        ureq::Error::HostNotFound => (io::ErrorKind::NotFound, "there is no host of this name".to_owned()),
        ureq::Error::BadUri(reason) => (io::ErrorKind::InvalidInput, format!("this is no address: {reason}")),
        _ => return error.into_io(),
    };
    io::Error::new(kind, reason)
}

/// Percent-encodes a segment of a path, or a value of a query.
pub fn escape(piece: &str) -> String {
    piece
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

const REDIRECTS_MAX: usize = 5;
/// The longest retry delay that a hub can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_never_leave_encryption_and_relative_ones_stay() {
        let next = |from, location| next_address(from, location).ok();
        let here = "https://hub.example:444/a/b?c";
        assert_eq!(next(here, "/x/y").as_deref(), Some("https://hub.example:444/x/y"));
        assert_eq!(next(here, "https://cdn.example/z").as_deref(), Some("https://cdn.example/z"));
        for bad in ["http://cdn.example/z", "file:///etc/passwd", "", "//cdn.example/z", "x"] {
            assert_eq!(next(here, bad), None, "{bad:?}");
        }
        assert_eq!(next("http://a/", "http://b/z").as_deref(), Some("http://b/z"));
    }

    #[test]
    fn addresses_are_written_so_that_every_name_fits() {
        assert_eq!(escape("refs/pr/1 ü?"), "refs%2Fpr%2F1%20%C3%BC%3F");
        assert_eq!(escape("owner/a-b_1.5"), "owner%2Fa-b_1.5");
        assert_eq!(escape("é &=?"), "%C3%A9%20%26%3D%3F");
        assert_eq!(origin("http://127.0.0.1:8?x"), "http://127.0.0.1:8");
        assert_eq!(origin("https://hub.example"), "https://hub.example");
    }
}
