//! Authorization of requests: the right `Host`, no foreign `Origin`, and the bearer token of the node or the cookie of a
//! session.
//!
//! A browser sends the cookie with requests of pages from all ports of this host. Therefore a request with the cookie
//! must come from the dashboard itself, and one that changes something must say so in its `Origin`.

use super::dashboard::{Present, Sessions, Shown};
use super::error::ApiError;
use crate::home;
use api::dashboard::Access;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::fmt;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Bearer token that clients present. Its `Debug` output hides it.
pub struct Token {
    text: String,
}

impl Token {
    /// Creates a random token and writes it to a file that only the node's user can read.
    ///
    /// # Errors
    /// If there is no randomness or the file cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let token = Self::random()?;
        home::replace_file(path, token.text.as_bytes(), 0o600)?;
        Ok(token)
    }

    /// Creates a random token.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn random() -> io::Result<Self> {
        Ok(Self { text: random_hex::<32>()? })
    }

    /// Returns the token with this text.
    pub fn from_text(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// Compares in constant time whether `shown` is the token; its length is public.
    fn is(&self, shown: &[u8]) -> bool {
        let own = self.text.as_bytes();
        let add = |difference, (a, b): (&u8, &u8)| black_box(difference | (a ^ b));
        own.len() == shown.len() && own.iter().zip(shown).fold(0, add) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Returns random bytes in hexadecimal.
pub(super) fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks `Host` and `Origin` of a request to this address before everything else.
pub(super) async fn admit(
    State(address): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    check_host_and_origin(&parts, address)?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Checks that the request is meant for this API and does not come from a foreign page or name.
fn check_host_and_origin(parts: &Parts, address: SocketAddr) -> Result<(), ApiError> {
    // An absolute target takes precedence over `Host` (RFC 9112, section 3.2.2).
    let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let Some(host) = target.or_else(|| host.map(|value| value.as_bytes())) else {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "host_missing", "the request names no host"));
    };
    if second.is_some() || !is_own_host(host) {
        return Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_not_allowed",
            "this API answers to localhost only",
        )
        .hint(format!("use http://127.0.0.1:{}", address.port())));
    }
    let foreign = parts
        .headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !origin.as_bytes().strip_prefix(b"http://").is_some_and(is_own_host));
    if foreign {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "pages of other origins may not use this API",
        ));
    }
    Ok(())
}

/// Checks that the request presents the token, or the cookie of a session that may do this.
pub(super) fn check(
    method: &Method,
    headers: &HeaderMap,
    token: &Token,
    sessions: &Sessions,
) -> Result<(), ApiError> {
    if headers.contains_key(header::AUTHORIZATION) {
        return check_token(headers, token);
    }
    let Present { access, .. } = match sessions.shown(headers) {
        Shown::Nothing => return check_token(headers, token),
        Shown::Ended => {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "session_ended",
                "this browser is no longer logged in",
            )
            .hint("log in again with: p2p-ai-agents dashboard open".to_owned()));
        }
        Shown::Session(present) => present,
    };
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if !is_from_dashboard(headers, changes) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "only the dashboard itself may use its login",
        ));
    }
    if changes && access == Access::Read {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "session_read_only", "this login can only read")
            .hint("get one that may do all with: p2p-ai-agents dashboard open".to_owned()));
    }
    Ok(())
}

/// Returns whether a browser sent the request for a page of exactly this origin. A browser that does not say from where
/// a request comes may only read.
fn is_from_dashboard(headers: &HeaderMap, changes: bool) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return false;
    }
    match (headers.get(header::ORIGIN), headers.get(header::HOST)) {
        (None, _) => !changes,
        (Some(origin), Some(host)) => origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes()),
        (Some(_), None) => false,
    }
}

/// Checks that the request presents the token.
pub(super) fn check_token(headers: &HeaderMap, token: &Token) -> Result<(), ApiError> {
    let Some(shown) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("token_missing", "this request needs the node's token"));
    };
    let bytes = shown.as_bytes();
    let is_bearer = bytes.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "));
    match bytes.get(7..) {
        Some(shown) if is_bearer && token.is(shown) => Ok(()),
        Some(_) | None => Err(unauthorized("token_wrong", "that is not this node's token")),
    }
}

fn unauthorized(code: &'static str, message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, message).hint(
        "send \"Authorization: Bearer TOKEN\" with the content of run/token in the node's home".to_owned(),
    )
}

/// Returns whether this is a name of the loopback interface, with any port or none. The name prevents DNS rebinding;
/// the port may be that of a tunnel or of a container's published port.
fn is_own_host(host: &[u8]) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    OWN_NAMES.iter().any(|name| {
        let Some(start) = host.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)) else {
            return false;
        };
        let port = &host[start.len()..];
        port.is_empty() || port.strip_prefix(':').is_some_and(is_port)
    })
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_all_of_itself() {
        let token = Token::from_text("secret");
        assert!(token.is(b"secret"));
        for shown in ["", "secre", "secrets", "Secret", "secreT", "tecres"] {
            assert!(!token.is(shown.as_bytes()), "{shown}");
        }
    }
}
