//! A webhook: each notice is one POST with a JSON body, retried with a backoff.

use super::{Receive, Stop};
use crate::text::origin;
use std::time::Duration;
use ureq::Agent;
use ureq::http::StatusCode;

/// Posts notices to a URL.
pub(super) struct Webhook {
    agent: Agent,
    url: String,
}

impl Webhook {
    pub(super) fn new(url: String) -> Self {
        Self::with_timeout(url, TIMEOUT)
    }

    pub(super) fn with_timeout(url: String, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A notice goes to the configured host only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .user_agent(concat!("p2p-ai-agents/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: Agent::new_with_config(config), url }
    }

    /// Posts once. Returns the error, and whether a retry may help.
    fn post(&self, notice: &[u8]) -> Result<(), (String, bool)> {
        let sent = self.agent.post(&self.url).header("content-type", "application/json").send(notice);
        let status = sent.map_err(|error| (without_path(&error, &self.url), true))?.status();
        if status.is_success() {
            return Ok(());
        }
        let passes = status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS;
        Err((format!("the webhook answers with status {}", status.as_u16()), passes))
    }
}

impl Receive for Webhook {
    fn deliver(&mut self, notice: &[u8], stop: &Stop, tried: &mut dyn FnMut(String)) -> bool {
        for attempt in 0..ATTEMPTS_MAX {
            match self.post(notice) {
                Ok(()) => return true,
                Err((error, passes)) => {
                    tried(error);
                    if !passes || attempt + 1 == ATTEMPTS_MAX || stop.wait(backoff(attempt)) {
                        return false;
                    }
                }
            }
        }
        false
    }
}

/// Describes an error without the path of the URL.
fn without_path(error: &ureq::Error, url: &str) -> String {
    error.to_string().replace(url, origin(url))
}

fn backoff(attempt: u32) -> Duration {
    (BACKOFF * 2_u32.saturating_pow(attempt)).min(BACKOFF_MAX)
}

/// Maximum number of tries of one notice: about two minutes with backoffs.
const ATTEMPTS_MAX: u32 = 8;
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoffs_double_to_a_limit_and_a_url_is_shown_without_its_secret() {
        assert_eq!([0, 1, 4, 5, 31].map(|attempt| backoff(attempt).as_secs()), [1, 2, 16, 30, 30]);
        assert_eq!(
            origin("https://hooks.example.net:8443/services/SECRET?x"),
            "https://hooks.example.net:8443"
        );
        assert_eq!(origin("http://localhost"), "http://localhost");
    }
}
