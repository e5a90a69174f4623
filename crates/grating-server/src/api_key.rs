//! The key that requests must carry.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// A secret; it is never shown.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// White space around it does not count; nothing where there is nothing else.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| ApiKey(key.to_string()))
    }

    /// Whether the key is there: after `Bearer`, alone as some clients send it, or in `x-api-key`. Takes a time that
    /// depends on lengths alone.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let values = [headers.get(AUTHORIZATION), headers.get("x-api-key")];
        let given = values.into_iter().flatten().map(|value| without_scheme(value.as_bytes()));
        given.fold(false, |admitted, given| admitted | bool::from(given.ct_eq(self.0.as_bytes())))
    }
}

fn without_scheme(value: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"bearer ";
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest.trim_ascii(),
        _ => value.trim_ascii(),
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_clients_put_it() {
        let key = ApiKey::new(" secret\n").unwrap();
        let admits = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            key.admits(&headers)
        };
        for value in ["Bearer secret", "bearer  secret", "secret"] {
            assert!(admits("authorization", value), "{value}");
        }
        assert!(admits("x-api-key", "secret"));
        for value in ["", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Basic secret"] {
            assert!(!admits("authorization", value), "{value}");
        }
        assert!(!key.admits(&HeaderMap::new()));
        assert!(ApiKey::new(" ").is_none() && !format!("{key:?}").contains("secret"));
    }
}
