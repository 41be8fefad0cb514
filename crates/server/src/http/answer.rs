//! Answers: status codes and headers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use model::{ApiError, Reason};

use super::body::{Body, full};

pub(crate) fn json(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    with_type(code, "application/json", body)
}

pub(crate) fn text(body: impl Into<Bytes>) -> Response<Body> {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", body)
}

pub(crate) fn with_type(
    code: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    stream(code, media_type, full(body))
}

pub(crate) fn stream(code: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub fn error(error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.reason.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, error.to_json().to_string());
    if error.reason == Reason::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.reason == Reason::TooManyRequests {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
