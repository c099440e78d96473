//! Report of truncated inputs: in headers of every response, and in a field if the response has one.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use engine::task::Truncation;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt::Write as _;

/// Truncated inputs of a request, in input order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct TruncationReport(Vec<TruncatedInput>);

/// A truncated input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct TruncatedInput {
    /// Index of the input, from 0; none for a query.
    index: Option<usize>,
    dropped_tokens: u32,
}

impl TruncationReport {
    /// Adds the inputs of a task with `before` inputs in front of it.
    pub(super) fn add(&mut self, before: usize, truncated: &[Truncation]) {
        let cut = |truncation: &Truncation| TruncatedInput {
            index: Some(before + truncation.input as usize),
            dropped_tokens: truncation.dropped,
        };
        self.0.extend(truncated.iter().map(cut));
    }

    /// Marks the input with this index as the query of a reranking.
    pub(super) fn set_query(&mut self, number: usize) {
        self.0.iter_mut().filter(|cut| cut.index == Some(number)).for_each(|cut| cut.index = None);
    }

    /// Returns whether no input was truncated.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the headers: the inputs as a list of RFC 9651, `3;dropped=17, 5;dropped=2`, and the total of dropped
    /// tokens.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.is_empty() {
            return headers;
        }
        let mut list = String::new();
        for TruncatedInput { index, dropped_tokens } in self.0.iter().take(INPUTS_LISTED) {
            let comma = if list.is_empty() { "" } else { ", " };
            let input = index.map_or_else(|| "query".to_owned(), |index| index.to_string());
            let _ = write!(list, "{comma}{input};dropped={dropped_tokens}");
        }
        let dropped: u64 = self.0.iter().map(|cut| u64::from(cut.dropped_tokens)).sum();
        for (name, value) in
            [(INPUTS, list), (COUNT, self.0.len().to_string()), (TOKENS, dropped.to_string())]
        {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        headers
    }

    /// Returns a response with the headers.
    pub(super) fn attach_to(&self, answer: impl IntoResponse) -> Response {
        (self, answer).into_response()
    }
}

impl IntoResponseParts for &TruncationReport {
    type Error = Infallible;

    fn into_response_parts(self, parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        self.headers().into_response_parts(parts)
    }
}

/// Truncated inputs, with the dropped tokens of each.
const INPUTS: HeaderName = HeaderName::from_static("x-truncated-inputs");
/// Number of truncated inputs.
const COUNT: HeaderName = HeaderName::from_static("x-truncated-count");
/// Total of dropped tokens.
const TOKENS: HeaderName = HeaderName::from_static("x-truncated-tokens");
/// Maximum inputs in the header, because clients limit its size.
const INPUTS_LISTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_told_by_their_numbers_in_the_request() {
        let mut truncated = TruncationReport::default();
        assert!(truncated.headers().is_empty());
        truncated.add(0, &[Truncation { input: 3, dropped: 17 }]);
        truncated.add(16, &[Truncation { input: 0, dropped: 1 }, Truncation { input: 2, dropped: 5 }]);
        let headers = truncated.headers();
        let header = |name: HeaderName| headers[name].to_str().unwrap();
        assert_eq!(header(INPUTS), "3;dropped=17, 16;dropped=1, 18;dropped=5");
        assert_eq!((header(COUNT), header(TOKENS)), ("3", "23"));
        let shown = serde_json::to_string(&truncated).unwrap();
        assert!(shown.starts_with(r#"[{"index":3,"dropped_tokens":17},"#), "{shown}");
        truncated.set_query(18);
        assert_eq!(truncated.headers()[INPUTS], "3;dropped=17, 16;dropped=1, query;dropped=5");
        assert!(
            serde_json::to_string(&truncated).unwrap().ends_with(r#"{"index":null,"dropped_tokens":5}]"#)
        );
    }

    #[test]
    fn the_header_is_bounded() {
        let mut truncated = TruncationReport::default();
        let all = (0..2_048).map(|input| Truncation { input, dropped: 100_000 });
        truncated.add(0, &all.collect::<Vec<_>>());
        let headers = truncated.headers();
        assert_eq!(headers[COUNT], "2048");
        assert!(headers[INPUTS].len() < 2_048, "{:?}", headers[INPUTS]);
    }
}
