//! `GET /api/v1/dashboard/events`: the stream that keeps a page up to date.

use super::hub::{Cursor, Hub, Next, PAGES_MAX};
use crate::driver::Handle;
use crate::http::control::answer::{QueryOf, query_malformed};
use crate::http::error::ApiError;
use crate::http::state::Api;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    after: Option<String>,
}

pub(super) async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
    from: QueryOf<From>,
) -> Result<Response, ApiError> {
    let Query(From { after }) = from.map_err(query_malformed)?;
    let last = || headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    // Another text is the cursor of no event, so the stream begins with the topology.
    let after = after.or_else(last).and_then(|text| Cursor::parse(&text));
    let page = Page::open(&api.dashboard.hub, &api.handle, after).ok_or_else(|| {
        let message = format!("{PAGES_MAX} pages of this dashboard are open");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_pages", message)
            .retry_after(Duration::from_secs(10))
            .hint("close some of the other pages".to_owned())
    })?;
    let events = futures::stream::unfold(page, |mut page| async move {
        let event = page.next().await;
        Some((Ok::<_, Infallible>(event), page))
    });
    Ok(stream(Body::from_stream(events)))
}

/// Returns a response with server-sent events.
pub(super) fn stream(body: Body) -> Response {
    let kind = HeaderValue::from_static("text/event-stream");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// One open page.
struct Page {
    hub: Arc<Hub>,
    newest: watch::Receiver<u64>,
    after: Option<Cursor>,
    _permit: OwnedSemaphorePermit,
}

impl Page {
    fn open(hub: &Arc<Hub>, handle: &Handle, after: Option<Cursor>) -> Option<Self> {
        let newest = hub.newest();
        let permit = hub.open_page(handle)?;
        Some(Self { hub: Arc::clone(hub), newest, after, _permit: permit })
    }

    async fn next(&mut self) -> Bytes {
        loop {
            self.newest.borrow_and_update();
            match self.hub.next(self.after.as_ref()) {
                Next::Frame(text, number) => {
                    self.after = Some(self.hub.cursor(number));
                    return text;
                }
                Next::Wait => {
                    if tokio::time::timeout(KEEP_ALIVE, self.newest.changed()).await.is_err() {
                        return Bytes::from_static(COMMENT);
                    }
                }
            }
        }
    }
}

const LAST_EVENT_ID: &str = "last-event-id";
/// Longest silence. After it a comment is sent, so that the page knows that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const COMMENT: &[u8] = b":\n\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observers::PageFeed;
    use api::dashboard::FeedKind;

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_news_is_not_silent() {
        // The node takes requests, but answers none.
        let (handle, _asks) = Handle::new();
        let hub = Arc::new(Hub::new(PageFeed::default(), Arc::default(), FeedKind::Node));
        let mut page = Page::open(&hub, &handle, Cursor::parse("foreign-1")).unwrap();
        let first = page.next().await;
        assert!(first.starts_with(b"event: state\ndata: {\"state\":\"unreachable\""), "{first:?}");
        for _ in 0..3 {
            let begin = tokio::time::Instant::now();
            assert_eq!(page.next().await, COMMENT);
            assert_eq!(begin.elapsed(), KEEP_ALIVE);
        }
    }
}
