//! Where to send spans: from the setting `otlp_endpoint` and the standard environment variables.

use percent_encoding::percent_decode_str;
use std::ffi::OsString;
use std::time::Duration;

/// Where and how to send spans.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// The URL, with its path.
    pub(super) url: String,
    /// Headers of each request. They may hold secrets.
    pub(super) headers: Vec<(String, String)>,
    pub(super) service: String,
    /// Further attributes of the resource.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) timeout: Duration,
}

impl std::fmt::Debug for OtlpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpOptions")
            .field("url", &self.url)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl OtlpOptions {
    /// Reads the options. `endpoint` is the setting, which takes precedence over the variables. Returns `None` if no
    /// spans are to be sent, and a warning for each value that is ignored.
    pub fn gather(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> (Option<Self>, Vec<String>) {
        let mut warnings = Vec::new();
        let mut read = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            let text = value.into_string();
            text.inspect_err(|_| warnings.push(format!("{name} is ignored: it is not UTF-8"))).ok()
        };
        let is = |value: Option<String>, word: &str| {
            value.is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
        };
        if is(read("OTEL_SDK_DISABLED"), "true") || is(read("OTEL_TRACES_EXPORTER"), "none") {
            return (None, warnings);
        }
        let with_path = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
        let (name, url) =
            match (endpoint, read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), read("OTEL_EXPORTER_OTLP_ENDPOINT"))
            {
                (Some(base), ..) => ("otlp_endpoint", with_path(base)),
                (None, Some(url), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url.trim().to_owned()),
                (None, None, Some(base)) => ("OTEL_EXPORTER_OTLP_ENDPOINT", with_path(base.trim())),
                (None, None, None) => return (None, warnings),
            };
        let headers =
            read("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| read("OTEL_EXPORTER_OTLP_HEADERS"));
        let attributes = read("OTEL_RESOURCE_ATTRIBUTES");
        let service = read("OTEL_SERVICE_NAME");
        let protocol =
            read("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| read("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let timeout =
            read("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| read("OTEL_EXPORTER_OTLP_TIMEOUT"));
        if !is_url(&url) {
            warnings.push(format!("no spans are sent: {name} is not an http:// or https:// URL"));
            return (None, warnings);
        }
        if protocol.as_ref().is_some_and(|protocol| protocol.trim() != "http/protobuf") {
            warnings
                .push("OTEL_EXPORTER_OTLP_PROTOCOL is ignored: spans are sent as http/protobuf".to_owned());
        }
        let timeout =
            timeout.and_then(|millis| millis.trim().parse().ok()).map_or(TIMEOUT, Duration::from_millis);
        let mut pairs = |name: &str, list: Option<String>, is_valid: fn(&str, &str) -> bool| {
            let (pairs, bad) = pairs(&list.unwrap_or_default(), is_valid);
            // The values may be secrets.
            warnings.extend(
                (bad > 0).then(|| format!("{bad} entries of {name} are ignored: not of the form key=value")),
            );
            pairs
        };
        let options = Self {
            url,
            headers: pairs("OTEL_EXPORTER_OTLP_HEADERS", headers, is_header),
            service: service.unwrap_or_else(|| SERVICE.to_owned()),
            attributes: pairs("OTEL_RESOURCE_ATTRIBUTES", attributes, |key, _| !key.is_empty()),
            timeout: timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX),
        };
        (Some(options), warnings)
    }
}

/// Tells whether spans can be sent to this URL.
pub(crate) fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    url.len() <= URL_BYTES_MAX
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.parse::<ureq::http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()))
}

/// Parses `key=value` pairs, separated by commas, with percent-encoded values. Returns how many are invalid, too.
fn pairs(list: &str, is_valid: fn(&str, &str) -> bool) -> (Vec<(String, String)>, usize) {
    let (mut pairs, mut bad) = (Vec::new(), 0);
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let decoded = pair.split_once('=').and_then(|(key, value)| {
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?.into_owned();
            Some((key.trim().to_owned(), value)).filter(|(key, value)| is_valid(key, value))
        });
        match decoded {
            Some(pair) if pairs.len() < PAIRS_MAX => pairs.push(pair),
            Some(_) | None => bad += 1,
        }
    }
    (pairs, bad)
}

fn is_header(key: &str, value: &str) -> bool {
    ureq::http::HeaderName::from_bytes(key.as_bytes()).is_ok()
        && ureq::http::HeaderValue::from_str(value).is_ok()
}

/// The name of the service, unless `OTEL_SERVICE_NAME` sets another.
const SERVICE: &str = "p2p-ai-agents";
const URL_BYTES_MAX: usize = 2_048;
const PAIRS_MAX: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
