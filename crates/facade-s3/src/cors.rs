//! CORS: which web pages may use a bucket from a browser.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use model::storage::CorsRule;
use s3s::dto::CORSRule;
use s3s::{Body, S3ErrorCode, S3Result};

use crate::operations::Operations;
use crate::words;

pub(crate) fn read(rule: CORSRule) -> CorsRule {
    CorsRule {
        id: rule.id.unwrap_or_default(),
        origins: rule.allowed_origins,
        methods: rule.allowed_methods,
        headers: rule.allowed_headers.unwrap_or_default(),
        exposed_headers: rule.expose_headers.unwrap_or_default(),
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
    }
}

pub(crate) fn written(rule: &CorsRule) -> CORSRule {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    CORSRule {
        id: (!rule.id.is_empty()).then(|| rule.id.clone()),
        allowed_origins: rule.origins.clone(),
        allowed_methods: rule.methods.clone(),
        allowed_headers: some(&rule.headers),
        expose_headers: some(&rule.exposed_headers),
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
    }
}

/// Whether a browser asks what a page may do.
pub(crate) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
}

/// Answers a browser that asks before a page's request.
pub(crate) async fn preflight(s3: &Operations, head: &Parts) -> S3Result<Response<Body>> {
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let forbidden = |message: &'static str| {
        let code = S3ErrorCode::from_bytes(b"AccessForbidden").unwrap_or(S3ErrorCode::AccessDenied);
        let mut error = s3s::S3Error::with_message(code, message);
        error.set_status_code(http::StatusCode::FORBIDDEN);
        error
    };
    let (Some(origin), Some(method)) = (text(ORIGIN), text(ACCESS_CONTROL_REQUEST_METHOD)) else {
        return Err(forbidden("a preflight needs Origin and Access-Control-Request-Method"));
    };
    let asked: Vec<String> = text(ACCESS_CONTROL_REQUEST_HEADERS)
        .unwrap_or("")
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    let bucket = s3.bucket_anywhere(&words::bucket_of(head)).await?;
    let rules = bucket.map(|bucket| bucket.spec.cors).unwrap_or_default();
    let rule = rules.iter().find(|rule| matches(rule, origin, method, &asked));
    let rule =
        rule.ok_or_else(|| forbidden("This CORS request is not allowed by the bucket's CORS rules."))?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    describe(rule, origin, headers);
    put(headers, ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
    put(headers, ACCESS_CONTROL_ALLOW_HEADERS, &asked.join(", "));
    if let Some(seconds) = rule.max_age_seconds {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// Says on an answer whether the page that asked may read it.
pub(crate) async fn allow(
    s3: &Operations,
    bucket: &str,
    origin: &HeaderValue,
    method: &Method,
    headers: &mut HeaderMap,
) {
    let Ok(origin) = origin.to_str() else { return };
    let Ok(Some(bucket)) = s3.bucket_anywhere(bucket).await else { return };
    if let Some(rule) = bucket.spec.cors.iter().find(|rule| matches(rule, origin, method.as_str(), &[])) {
        describe(rule, origin, headers);
        put(headers, ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
    }
}

fn describe(rule: &CorsRule, origin: &str, headers: &mut HeaderMap) {
    if rule.origins.iter().any(|allowed| allowed == "*") {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        put(headers, ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    put(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &rule.exposed_headers.join(", "));
    let varies = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    headers.insert(VARY, HeaderValue::from_static(varies));
}

fn put(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn matches(rule: &CorsRule, origin: &str, method: &str, headers: &[String]) -> bool {
    rule.origins.iter().any(|pattern| fits(pattern, origin))
        && rule.methods.iter().any(|allowed| allowed == method)
        && headers.iter().all(|name| rule.headers.iter().any(|p| fits(&p.to_ascii_lowercase(), name)))
}

/// A star is any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_origins_methods_and_headers() {
        let rule = CorsRule {
            origins: vec!["https://*.example.com".into()],
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["X-Amz-*".into()],
            ..CorsRule::default()
        };
        let asked = |name: &str| vec![name.to_owned()];
        assert!(matches(&rule, "https://a.example.com", "GET", &asked("x-amz-date")));
        assert!(!matches(&rule, "http://a.example.com", "GET", &[]));
        assert!(!matches(&rule, "https://example.com", "GET", &[]));
        assert!(!matches(&rule, "https://a.example.com", "DELETE", &[]));
        assert!(!matches(&rule, "https://a.example.com", "GET", &asked("authorization")));
        // The parts before and behind the star do not overlap.
        assert!(!fits("aba*aba", "ababa"));
    }
}
