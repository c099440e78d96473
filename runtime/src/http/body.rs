//! Bodies: those of requests are buffered within a size limit and a timeout, and parsed as JSON; some of responses
//! are streams of JSON lines.

mod json_path;

use super::error::ApiError;
use crate::text::without_mark;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

/// Buffers the body of a request. Runs after the check of the token, so that only clients with the token use the node's
/// memory.
pub(super) async fn whole(request: Request, bytes_max: usize) -> Result<Request, ApiError> {
    let too_large = || {
        let message = format!("the body has more than {bytes_max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let (parts, body) = request.into_parts();
    // An announced length is rejected at once, an unannounced one when the limit is reached.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect())
        .await
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long"))?
        .map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() {
                too_large()
            } else {
                ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", "the body was cut short")
            }
        })?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

/// Parses a body as JSON; errors name the expected content as `what`.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], what: &str) -> Result<T, ApiError> {
    // Browsers send every other content type across origins without a preflight request.
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = "the body must be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type_unsupported", message));
    }
    let text = str::from_utf8(without_mark(body)).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "input_not_utf8", "the body is not UTF-8 text")
    })?;
    let malformed = |why: &str| {
        let message = format!("the body is not {what}: {why}");
        ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", message)
    };
    // serde would also accept a list of values in field order.
    if !text.trim_start().starts_with('{') {
        return Err(malformed("it must be a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| {
        let why = in_words(&error.to_string());
        let missing = why.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
        let mut end = json_path::offset(text.as_bytes(), error.line(), error.column());
        // serde reports some wrong values only at the end of the object, directly after the value.
        if missing.is_none() && text.get(end..).is_some_and(|rest| rest.trim().is_empty()) {
            end = end.saturating_sub(1);
        }
        let place = json_path::path_at(text.as_bytes(), end);
        match missing {
            _ if !place.is_empty() => malformed(&format!("{place}: {why}")).about(&place),
            Some((name, _)) => malformed(&why).about(name),
            None => malformed(&why),
        }
    })
}

/// Returns a response that sends each value as a line of JSON when it arrives.
pub(super) fn lines<T: Serialize + Send + 'static>(values: mpsc::Receiver<T>) -> Response {
    let line = |value: T| {
        let mut text = serde_json::to_vec(&value).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(text))
    };
    let lines =
        stream::unfold(values, move |mut values| async move { Some((line(values.recv().await?), values)) });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Rewrites an error of serde in terms of JSON.
fn in_words(error: &str) -> String {
    let mut text = error.to_owned();
    for term in ["lone leading surrogate in hex escape", "unexpected end of hex escape"] {
        text = text.replace(term, HALF_A_PAIR);
    }
    for (term, word) in [
        ("invalid type: map", "invalid type: object"),
        ("invalid type: sequence", "invalid type: list"),
        ("expected a map", "expected an object"),
        ("expected a sequence", "expected a list"),
        ("unknown variant", "unknown value"),
    ] {
        text = text.replace(term, word);
    }
    for (terms, word) in [
        (&["u64", "u32", "usize"][..], "a whole number from 0"),
        (&["i64"], "a whole number"),
        (&["f64", "f32"], "a number"),
    ] {
        for term in terms {
            text = text.replace(&format!("expected {term}"), &format!("expected {word}"));
        }
    }
    // The name of a Rust type tells a client nothing.
    if let Some((before, name)) = text.split_once("expected struct ") {
        let rest = name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        text = format!("{before}expected an object{rest}");
    }
    text
}

/// Error for an escape such as `\ud800` without its second half, as JavaScript writes a text cut within a character.
const HALF_A_PAIR: &str = "an escape that is half of a surrogate pair stands for no character";
/// Timeout of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "read, not looked at")]
    struct Whole {
        number: Option<u32>,
        part: Option<Part>,
        choice: Option<Choice>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "read, not looked at")]
    struct Part {
        text: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Left,
        Right,
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_without_the_names_of_types() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let read = |body: &str| json::<Whole>(&headers, body.as_bytes(), "a test");
        let why = |body| read(body).map(|_| ()).unwrap_err().body().error.message;
        assert!(read(r#" {"number": null, "part": null, "choice": null}"#).is_ok());
        assert!(read("\u{feff}{}").is_ok(), "a byte-order mark is no part of a text");
        let shown = [
            "[1, null, null]",
            r#"{"number": []}"#,
            r#"{"number": -1}"#,
            r#"{"part": 7}"#,
            r#"{"part": {}}"#,
            r#"{"choice": "up"}"#,
            r#"{"part": {"text": "\ud83d"}}"#,
            r#"{"part": {"text": "\ude00"}}"#,
        ]
        .map(why)
        .join("\n");
        insta::assert_snapshot!(shown, @r"
        the body is not a test: it must be a JSON object
        the body is not a test: number: invalid type: list, expected a whole number from 0 at line 1 column 11
        the body is not a test: number: invalid value: integer `-1`, expected a whole number from 0 at line 1 column 13
        the body is not a test: part: invalid type: integer `7`, expected an object at line 1 column 10
        the body is not a test: part: missing field `text` at line 1 column 11
        the body is not a test: choice: unknown value `up`, expected `left` or `right` at line 1 column 15
        the body is not a test: part.text: an escape that is half of a surrogate pair stands for no character at line 1 column 26
        the body is not a test: part.text: an escape that is half of a surrogate pair stands for no character at line 1 column 25
        ");
    }
}
