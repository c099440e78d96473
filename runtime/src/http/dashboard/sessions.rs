//! Logins of browsers: one-time codes, and the sessions that they start.
//!
//! A browser cannot send the node's token. `dashboard open` gets a code with it, and the browser exchanges the code for
//! a cookie. The cookie's name has the port, because browsers share cookies between all ports of a host. Only hashes of
//! session ids are kept, in memory and in a file, so that a page stays logged in while its node restarts.

use crate::clock;
use crate::home;
use crate::http::auth::random_hex;
use api::dashboard::Access;
use axum::http::{HeaderMap, HeaderValue, header};
use engine::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The codes and sessions of one server.
#[derive(Debug, Default)]
pub struct Sessions {
    file: Option<PathBuf>,
    port: u16,
    logins: Mutex<Logins>,
}

#[derive(Debug, Default)]
struct Logins {
    codes: Vec<Login>,
    sessions: Vec<Login>,
}

/// A code or a session, known by the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Login {
    hash: String,
    access: Access,
    /// Milliseconds since 1970.
    expires: u64,
}

/// A session of the client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Present {
    pub(in crate::http) access: Access,
    pub(in crate::http) expires: UnixMillis,
}

/// What the cookies of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Shown {
    /// There is no cookie of this server.
    Nothing,
    /// The cookie is of no session, or of one that has ended.
    Ended,
    /// The cookie is of this session.
    Session(Present),
}

impl Sessions {
    /// Creates the sessions of a server on this port. Reads earlier sessions from the file, and keeps them there.
    pub fn open(port: u16, file: Option<PathBuf>) -> Self {
        let sessions = file.as_deref().map(read).unwrap_or_default();
        Self { file, port, logins: Mutex::new(Logins { codes: Vec::new(), sessions }) }
    }

    /// Creates a code that starts one session within a minute. Returns it and when it ends.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn create_code(&self, access: Access) -> io::Result<(String, UnixMillis)> {
        let (secret, now) = (random_hex::<SECRET_BYTES>()?, clock::wall());
        let login = Login::new(&secret, access, now, CODE_LIFE);
        let expires = UnixMillis(login.expires);
        self.lock().codes.admit(login, CODES_MAX, now);
        Ok((secret, expires))
    }

    /// Returns the address that a browser opens with a code.
    pub fn url(address: SocketAddr, code: &str) -> String {
        format!("http://{address}/open?code={code}")
    }

    /// Exchanges a code for a session. Returns the cookie, or `None` if the code was used, has ended or is wrong.
    pub(in crate::http) fn redeem(&self, code: &str) -> io::Result<Option<HeaderValue>> {
        let now = clock::wall();
        let access = {
            let mut logins = self.lock();
            let hash = hash(code);
            let found = logins.codes.iter().position(|login| login.hash == hash);
            match found.map(|at| logins.codes.remove(at)) {
                Some(login) if now.0 < login.expires => login.access,
                Some(_) | None => return Ok(None),
            }
        };
        let secret = random_hex::<SECRET_BYTES>()?;
        let mut logins = self.lock();
        logins.sessions.admit(Login::new(&secret, access, now, SESSION_LIFE), SESSIONS_MAX, now);
        if let Some(file) = &self.file
            && let Err(error) = write(file, &logins.sessions)
        {
            tracing::warn!(%error, "browsers must log in again after a restart of the node");
        }
        let life = SESSION_LIFE.as_secs();
        let cookie =
            format!("{}={secret}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict", self.cookie_name());
        HeaderValue::from_str(&cookie).map(Some).map_err(io::Error::other)
    }

    /// Returns the session of the client of a request.
    pub(in crate::http) fn shown(&self, headers: &HeaderMap) -> Shown {
        let name = self.cookie_name();
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| {
            let (key, value) = cookie.trim().split_once('=')?;
            (key == name).then_some(value)
        });
        // Other servers of this host can set cookies of the same name, and the browser may send theirs first.
        let hashes: Vec<String> = cookies.take(COOKIES_MAX).map(hash).collect();
        if hashes.is_empty() {
            return Shown::Nothing;
        }
        let now = clock::wall();
        let logins = self.lock();
        let found =
            logins.sessions.iter().find(|login| hashes.contains(&login.hash) && now.0 < login.expires);
        found.map_or(Shown::Ended, |login| {
            Shown::Session(Present { access: login.access, expires: UnixMillis(login.expires) })
        })
    }

    fn cookie_name(&self) -> String {
        format!("p2p_ai_session_{}", self.port)
    }

    fn lock(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login {
    fn new(secret: &str, access: Access, now: UnixMillis, life: Duration) -> Self {
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        Self { hash: hash(secret), access, expires: now.0.saturating_add(life) }
    }
}

/// A bounded list of logins.
trait Admit {
    /// Adds a login. Drops those that have ended, and the oldest beyond the maximum.
    fn admit(&mut self, login: Login, max: usize, now: UnixMillis);
}

impl Admit for Vec<Login> {
    fn admit(&mut self, login: Login, max: usize, now: UnixMillis) {
        self.retain(|login| now.0 < login.expires);
        if self.len() >= max {
            self.remove(0);
        }
        self.push(login);
    }
}

/// Reads the sessions of a file. A file that is missing, foreign or damaged has none.
fn read(file: &Path) -> Vec<Login> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    let mut sessions: Vec<Login> =
        read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
    let latest = clock::wall().0.saturating_add(u64::try_from(SESSION_LIFE.as_millis()).unwrap_or(u64::MAX));
    sessions.retain(|login| login.expires <= latest);
    sessions.truncate(SESSIONS_MAX);
    sessions
}

fn write(file: &Path, sessions: &[Login]) -> io::Result<()> {
    let text = serde_json::to_vec(sessions).map_err(io::Error::other)?;
    home::replace_file(file, &text, 0o600)
}

/// Returns the hash of a secret. Secrets are random, so that the time of a comparison of hashes tells nothing.
fn hash(secret: &str) -> String {
    let key = blake3::derive_key("p2p-ai-agents 2026 dashboard login", secret.as_bytes());
    blake3::Hash::from(key).to_hex().to_string()
}

/// Bytes of a code and of a session's id.
const SECRET_BYTES: usize = 16;
/// Maximum cookies of one name that are tried.
const COOKIES_MAX: usize = 32;
/// How long a code can be used.
const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a session lasts.
const SESSION_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Maximum codes that wait for their use.
const CODES_MAX: usize = 16;
/// Maximum sessions; a new one replaces the oldest.
const SESSIONS_MAX: usize = 64;
const FILE_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let sent = format!("theme=dark; {pair}; p2p_ai_session_1=other");
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&sent).unwrap())])
    }

    fn access(sessions: &Sessions, headers: &HeaderMap) -> Option<Access> {
        match sessions.shown(headers) {
            Shown::Session(present) => Some(present.access),
            Shown::Nothing | Shown::Ended => None,
        }
    }

    #[test]
    fn a_code_starts_one_session() {
        let sessions = Sessions::open(8080, None);
        let (code, _) = sessions.create_code(Access::Read).unwrap();
        let cookie = sessions.redeem(&code).unwrap().unwrap();
        let text = cookie.to_str().unwrap();
        assert!(text.starts_with("p2p_ai_session_8080="), "{text}");
        assert!(text.ends_with("; HttpOnly; SameSite=Strict") && text.contains("; Path=/;"), "{text}");
        assert_eq!(access(&sessions, &with_cookie(&cookie)), Some(Access::Read));
        assert_eq!(sessions.redeem(&code).unwrap(), None, "a code works once");
        assert_eq!(sessions.redeem("").unwrap(), None);
        assert_eq!(sessions.shown(&HeaderMap::new()), Shown::Nothing);
        let wrong = HeaderValue::from_static("p2p_ai_session_8080=guess");
        assert_eq!(sessions.shown(&HeaderMap::from_iter([(header::COOKIE, wrong)])), Shown::Ended);
    }

    #[test]
    fn a_cookie_of_another_server_does_not_hide_the_session() {
        let sessions = Sessions::open(8080, None);
        let (code, _) = sessions.create_code(Access::Full).unwrap();
        let cookie = sessions.redeem(&code).unwrap().unwrap();
        let own = cookie.to_str().unwrap().split(';').next().unwrap();
        let behind = |foreign: usize| {
            let sent = "p2p_ai_session_8080=foreign; ".repeat(foreign) + own;
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&sent).unwrap())]);
            access(&sessions, &headers)
        };
        assert_eq!(behind(1), Some(Access::Full));
        assert_eq!(behind(COOKIES_MAX), None, "their number is bounded");
    }

    #[test]
    fn the_oldest_code_gives_way_after_another_one_was_used() {
        let sessions = Sessions::open(8080, None);
        let codes: Vec<String> =
            (0..CODES_MAX).map(|_| sessions.create_code(Access::Full).unwrap().0).collect();
        assert!(sessions.redeem(&codes[0]).unwrap().is_some());
        for _ in 0..2 {
            sessions.create_code(Access::Full).unwrap();
        }
        assert_eq!(sessions.redeem(&codes[1]).unwrap(), None);
        assert!(sessions.redeem(&codes[CODES_MAX - 1]).unwrap().is_some());
    }

    #[test]
    fn codes_and_sessions_end() {
        let sessions = Sessions::open(8080, None);
        let (code, expires) = sessions.create_code(Access::Full).unwrap();
        assert!(expires.0 <= clock::wall().0 + 60_000);
        sessions.lock().codes[0].expires = clock::wall().0;
        assert_eq!(sessions.redeem(&code).unwrap(), None);
        let (code, _) = sessions.create_code(Access::Full).unwrap();
        let cookie = with_cookie(&sessions.redeem(&code).unwrap().unwrap());
        assert_eq!(access(&sessions, &cookie), Some(Access::Full));
        sessions.lock().sessions[0].expires = clock::wall().0;
        assert_eq!(sessions.shown(&cookie), Shown::Ended);
    }

    #[test]
    fn logins_are_bounded_and_the_oldest_gives_way() {
        let sessions = Sessions::open(8080, None);
        let codes: Vec<String> =
            (0..=CODES_MAX).map(|_| sessions.create_code(Access::Full).unwrap().0).collect();
        assert_eq!(sessions.redeem(&codes[0]).unwrap(), None);
        let oldest = with_cookie(&sessions.redeem(&codes[1]).unwrap().unwrap());
        for _ in 0..SESSIONS_MAX {
            let (code, _) = sessions.create_code(Access::Full).unwrap();
            sessions.redeem(&code).unwrap().unwrap();
        }
        assert_eq!(sessions.lock().sessions.len(), SESSIONS_MAX);
        assert_eq!(sessions.shown(&oldest), Shown::Ended);
    }

    #[test]
    fn a_session_survives_a_restart_and_its_secret_is_not_stored() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sessions.json");
        let sessions = Sessions::open(8080, Some(file.clone()));
        let (code, _) = sessions.create_code(Access::Full).unwrap();
        let cookie = sessions.redeem(&code).unwrap().unwrap();
        let text = cookie.to_str().unwrap();
        let secret = text.split(['=', ';']).nth(1).unwrap();
        assert!(!std::fs::read_to_string(&file).unwrap().contains(secret));
        let after = Sessions::open(8080, Some(file.clone()));
        assert_eq!(access(&after, &with_cookie(&cookie)), Some(Access::Full));
        assert_eq!(after.redeem(&code).unwrap(), None);
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(access(&Sessions::open(8080, Some(file)), &with_cookie(&cookie)), None, "a damaged file");
    }
}
