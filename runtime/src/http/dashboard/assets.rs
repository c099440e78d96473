//! The page: a few files that are part of the program, sent compressed.
//!
//! The policy of the page allows its own files only: no inline script or style, no other host, no frame.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::OnceLock;

/// A file of the page.
struct Asset {
    /// Its path.
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
    sent: OnceLock<Sent>,
}

/// A file as it is sent.
struct Sent {
    compressed: Bytes,
    etag: HeaderValue,
}

macro_rules! asset {
    ($path:literal, $file:literal, $content_type:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("../../../web/", $file)),
            sent: OnceLock::new(),
        }
    };
}

static ASSETS: [Asset; 11] = [
    asset!("/", "index.html", "text/html; charset=utf-8"),
    asset!("/style.css", "style.css", "text/css; charset=utf-8"),
    asset!("/icon.svg", "icon.svg", "image/svg+xml"),
    asset!("/canvas.js", "canvas.js", "text/javascript; charset=utf-8"),
    asset!("/data.js", "data.js", "text/javascript; charset=utf-8"),
    asset!("/live.js", "live.js", "text/javascript; charset=utf-8"),
    asset!("/graph.js", "graph.js", "text/javascript; charset=utf-8"),
    asset!("/tables.js", "tables.js", "text/javascript; charset=utf-8"),
    asset!("/panels.js", "panels.js", "text/javascript; charset=utf-8"),
    asset!("/forms.js", "forms.js", "text/javascript; charset=utf-8"),
    asset!("/app.js", "app.js", "text/javascript; charset=utf-8"),
];

/// Returns the routes of the files.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async |headers: HeaderMap| asset.answer(&headers)))
    })
}

impl Asset {
    fn sent(&self) -> &Sent {
        self.sent.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing to memory does not fail.
            let compressed = encoder.write_all(self.text.as_bytes()).and_then(|()| encoder.finish());
            let hash = blake3::hash(self.text.as_bytes()).to_hex();
            let etag = HeaderValue::from_str(&format!("\"{}\"", &hash[..16]));
            Sent {
                compressed: compressed.unwrap_or_default().into(),
                etag: etag.unwrap_or(HeaderValue::from_static("\"\"")),
            }
        })
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let Sent { compressed, etag } = self.sent();
        let has = |name, word: &[u8]| {
            let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
            lines.flat_map(|line| line.split(|byte| *byte == b',')).any(|part| {
                let part = part.trim_ascii();
                part.strip_prefix(b"W/").unwrap_or(part).split(|byte| *byte == b';').next() == Some(word)
            })
        };
        let mut response = if has(header::IF_NONE_MATCH, etag.as_bytes()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if has(header::ACCEPT_ENCODING, b"gzip") {
            ([(header::CONTENT_ENCODING, "gzip")], compressed.clone()).into_response()
        } else {
            self.text.into_response()
        };
        let fixed = [
            (header::CONTENT_TYPE, self.content_type),
            // A browser asks each time whether its copy is still right.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept-encoding"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ];
        for (name, value) in fixed {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
            response.headers_mut().insert(name, HeaderValue::from_static("same-origin"));
        }
        response.headers_mut().insert(header::ETAG, etag.clone());
        response
    }
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_small_and_refer_to_each_other_only() {
        let total: usize = ASSETS.iter().map(|asset| asset.sent().compressed.len()).sum();
        assert!(total <= 60 << 10, "{total} bytes");
        let page = ASSETS[0].text;
        for asset in &ASSETS[1..] {
            let name = &asset.path[1..];
            assert!(page.contains(name), "{name} is not part of the page");
            for elsewhere in ["https://", "//cdn", "eval(", "innerHTML"] {
                assert!(!asset.text.contains(elsewhere), "{name} has {elsewhere}");
            }
        }
        assert!(!page.contains("<script>") && !page.contains(" style=") && !page.contains("onclick"));
    }
}
