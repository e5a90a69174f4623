//! The page for people, and the description for programs.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

const PAGE: &str = include_str!("assets/page.html");
const OPENAPI: &str = include_str!("assets/openapi.json");
/// What the page may load: nothing from elsewhere, and it may be shown in no other page.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A query, texts, their ranking, and what became of each over the layers.
pub(crate) async fn page() -> Response {
    let mut response = text(PAGE, "text/html; charset=utf-8");
    let policy = HeaderValue::from_static(POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// The interface as OpenAPI 3.1.
pub(crate) async fn openapi() -> Response {
    text(OPENAPI, "application/json")
}

fn text(text: &'static str, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_has_the_version_of_the_server() {
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(super::OPENAPI.contains(&version), "openapi.json lacks {version}");
    }
}
