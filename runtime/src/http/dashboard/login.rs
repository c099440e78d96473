//! The login of a browser: a code for the address that it opens, and the session that the code starts.
//!
//! These routes need no node, so that a server in front of a node, or of one that starts, has them too.

use crate::clock;
use crate::http::auth::{self, Token};
use crate::http::body;
use crate::http::control::answer::{JsonResult, QueryOf};
use crate::http::dashboard::{Present, Sessions, Shown};
use crate::http::error::ApiError;
use crate::http::node_client::internal;
use crate::http::state::Api;
use api::dashboard::{Access, Code, NewCode, Session};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRef, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a login needs of a server.
#[derive(Clone, Debug)]
pub(in crate::http) struct Door {
    pub(in crate::http) token: Arc<Token>,
    pub(in crate::http) sessions: Arc<Sessions>,
    pub(in crate::http) address: SocketAddr,
}

impl Door {
    /// Checks that the client of a request may send it.
    pub(in crate::http) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        auth::check(method, headers, &self.token, &self.sessions)
    }
}

impl FromRef<Api> for Door {
    fn from_ref(api: &Api) -> Self {
        Self {
            token: Arc::clone(&api.token),
            sessions: Arc::clone(&api.dashboard.sessions),
            address: api.address,
        }
    }
}

/// Returns the routes of the login.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Door: FromRef<S>,
{
    Router::new()
        .route("/open", get(open))
        .route("/api/v1/dashboard/session", get(session))
        .route("/api/v1/dashboard/codes", post(create_code))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

#[derive(Deserialize)]
struct Open {
    code: Option<String>,
}

/// `GET /open?code=`: exchanges a code for a session, and goes to the page. The page says what to do without a session.
async fn open(State(door): State<Door>, query: QueryOf<Open>) -> Result<Response, ApiError> {
    let code = query.ok().and_then(|Query(Open { code })| code).unwrap_or_default();
    let cookie = door.sessions.redeem(&code).map_err(|error| no_randomness(&error))?;
    let place = if cookie.is_some() { "/" } else { "/#code-invalid" };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    // The code must not appear in the headers of later requests.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// `GET /api/v1/dashboard/session`: what the client may do.
async fn session(State(door): State<Door>, headers: HeaderMap) -> JsonResult<Session> {
    door.check(&Method::GET, &headers)?;
    let Present { access, expires } = match door.sessions.shown(&headers) {
        Shown::Session(present) => present,
        // The token may do everything, as long as the node runs.
        Shown::Nothing | Shown::Ended => Present { access: Access::Full, expires: clock::wall() },
    };
    Ok(Json(Session { access, expires_at: expires.to_string() }))
}

/// `POST /api/v1/dashboard/codes`: creates a code. A session cannot create further ones.
async fn create_code(State(door): State<Door>, headers: HeaderMap, bytes: Bytes) -> JsonResult<Code> {
    auth::check_token(&headers, &door.token)?;
    let NewCode { read_only } = body::json(&headers, &bytes, "a request for a code")?;
    let access = if read_only { Access::Read } else { Access::Full };
    let (code, expires) = door.sessions.create_code(access).map_err(|error| no_randomness(&error))?;
    let url = Sessions::url(door.address, &code);
    Ok(Json(Code { url, expires_at: expires.to_string() }))
}

fn no_randomness(error: &std::io::Error) -> ApiError {
    tracing::error!(%error, "cannot create a login");
    internal("internal_error", "this machine has no randomness for a login".to_owned())
}

/// Maximum size of a request for a code.
const BODY_BYTES_MAX: usize = 4 << 10;
