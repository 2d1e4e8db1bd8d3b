//! A request is heard to its end before it is answered.
//!
//! Who is refused early (too large a body, no token, no such route) may still be sending. Closing the connection then
//! resets it, and the client sees a broken pipe in place of the problem that says what to do. So what a handler left
//! unread is read and thrown away first, within bounds; a client that waits for leave to send (`Expect: 100-continue`,
//! RFC 9110, section 10.1.1) is answered at once.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use futures::{StreamExt as _, stream};
use tokio::time;

/// Middleware: the handlers' answer, once the rest of the request's body is out of the way.
pub(super) async fn hear_out(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body.into_data_stream()));
    let read = move || {
        let body = Arc::clone(&body);
        stream::poll_fn(move |cx| {
            let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
            body.poll_next_unpin(cx)
        })
    };
    let body = Body::from_stream(read());
    let response = next.run(Request::from_parts(parts, body)).await;
    // Whoever sends more, or too slowly, may see the connection end: that is their loss.
    let _ = time::timeout(REST_WAIT, throw_away(read())).await;
    response
}

async fn throw_away(mut rest: impl stream::Stream<Item = Result<Bytes, axum::Error>> + Unpin) {
    let mut left = REST_BYTES_MAX;
    while let Some(Ok(bytes)) = rest.next().await {
        match left.checked_sub(bytes.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Most that is read to be thrown away.
const REST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest time that this takes.
const REST_WAIT: Duration = Duration::from_secs(10);
