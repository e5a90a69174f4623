//! Requests to the hub: which commit, which files, how long, and their bytes from an offset.

use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body, BodyReader};

use super::options::Token;
use super::plan::Listing;
use super::{HubError, HubOptions, names};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(8);
const MAX_REDIRECTS: usize = 10;
/// A listing names every file of a repository; more bytes than this are no listing.
const LISTING_LIMIT: u64 = 64 << 20;
/// Characters of the server's own words in a message.
const REASON_LIMIT: usize = 300;

/// What the hub says about a file.
#[derive(Debug)]
pub(super) struct FileMeta {
    /// Path in the repository.
    pub(super) file: String,
    /// The blob's name; the SHA-256 of the content for large files.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
}

/// An open download.
pub(super) struct Content {
    /// Where in the file it starts; 0 when the server ignores the offset asked for.
    pub(super) offset: u64,
    /// Length of the whole file, if the server says so.
    pub(super) total: Option<u64>,
    pub(super) reader: BodyReader<'static>,
}

/// How far redirects are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// To the last answer that comes from the hub itself: only that one has the metadata.
    Head,
    /// To the end.
    Get,
}

/// One repository at one revision.
pub(super) struct Client {
    id: String,
    revision: String,
    endpoint: String,
    /// `scheme://host:port` of the endpoint: the only place the token goes to.
    origin: String,
    token: Option<Token>,
    retries: u32,
    retry_delay: Duration,
    stall_timeout: Duration,
    /// hf-hub's part: addresses and the listing.
    api: Api,
    agent: Agent,
}

impl Client {
    pub(super) fn new(id: &str, revision: &str, options: &HubOptions) -> Result<Self, HubError> {
        let origin = endpoint_origin(&options.endpoint)?;
        let visible = |token: &Token| token.secret().bytes().all(|b| b.is_ascii_graphic());
        if !options.token.as_ref().is_none_or(visible) {
            return Err(HubError::InvalidToken);
        }
        let api = ApiBuilder::from_cache(Cache::new(options.cache_dir.clone()))
            .with_endpoint(options.endpoint.clone())
            .with_token(options.token.as_ref().map(|token| token.secret().to_string()))
            .with_user_agent("grating", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| HubError::Unreachable {
                endpoint: options.endpoint.clone(),
                reason: e.to_string(),
            })?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // followed here, because the token must not follow
            .max_redirects_will_error(false)
            .user_agent(concat!("grating/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(options.stall_timeout))
            .timeout_per_read(Some(options.stall_timeout))
            .build()
            .into();
        Ok(Client {
            id: id.to_string(),
            revision: revision.to_string(),
            endpoint: options.endpoint.clone(),
            origin,
            token: options.token.clone(),
            retries: options.retries,
            retry_delay: options.retry_delay,
            stall_timeout: options.stall_timeout,
            api,
            agent,
        })
    }

    /// How many failures in a row are forgiven.
    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    /// Waits before the retry that follows failure number `failures`.
    pub(super) fn back_off(&self, failures: u32) {
        let doubled = self.retry_delay.saturating_mul(1 << failures.saturating_sub(1).min(16));
        std::thread::sleep(doubled.min(LONGEST_DELAY));
    }

    /// The commit that the revision names, and its files.
    pub(super) fn listing(&self) -> Result<Listing, HubError> {
        // No network is common and has its answer (the cache): one retry, not all of them.
        let mut unreachable = 0;
        self.retry(|| {
            let listing = self.listing_once();
            unreachable += u32::from(matches!(listing, Err(HubError::Unreachable { .. })));
            (listing, unreachable < 2)
        })
    }

    fn listing_once(&self) -> Result<Listing, HubError> {
        let repo = self.repo(&self.revision);
        let url = format!("{}/api/{}", self.endpoint, repo.api_url());
        let mut response = self
            .api
            .repo(repo)
            .info_request()
            .config()
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(self.stall_timeout))
            .timeout_per_read(Some(self.stall_timeout))
            .build()
            .call()
            .map_err(|e| self.no_answer(&url, &e))?;
        if !response.status().is_success() {
            return Err(self.refusal(&url, response.status(), response.headers()));
        }
        let text = response
            .body_mut()
            .with_config()
            .limit(LISTING_LIMIT)
            .read_to_string()
            .map_err(|e| self.no_answer(&url, &e))?;
        let bad = |reason: String| HubError::BadResponse { url: url.clone(), reason };
        let info: RepoInfo =
            serde_json::from_str(&text).map_err(|e| bad(format!("not a model's listing: {e}")))?;
        if !names::is_safe_commit(&info.sha) {
            return Err(bad("it names no commit".to_string()));
        }
        Ok(Listing {
            commit: info.sha,
            files: info.siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }

    /// Size and ETag of `file`, as the hub (not the storage behind it) gives them.
    pub(super) fn describe(&self, commit: &str, file: &str) -> Result<FileMeta, HubError> {
        self.retry(|| (self.describe_once(commit, file), true))
    }

    fn describe_once(&self, commit: &str, file: &str) -> Result<FileMeta, HubError> {
        let url = self.file_url(commit, file);
        let response = self.call(Method::Head, &url, 0)?;
        let headers = response.headers();
        let bad =
            |reason: &str| HubError::BadResponse { url: url.clone(), reason: reason.to_string() };
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let etag = etag.and_then(names::etag_name).ok_or_else(|| bad("it has no usable ETag"))?;
        let size = match text(headers, "x-linked-size") {
            Some(size) => Some(size),
            None if response.status().is_success() => text(headers, "content-length"),
            None => None, // the length of a redirect's own body
        };
        let size =
            size.and_then(|size| size.parse().ok()).ok_or_else(|| bad("it gives no size"))?;
        Ok(FileMeta { file: file.to_string(), etag, size })
    }

    /// Opens `file` at byte `offset`. Not retried here: the transfer keeps that account.
    pub(super) fn open(&self, commit: &str, file: &str, offset: u64) -> Result<Content, HubError> {
        let url = self.file_url(commit, file);
        let response = self.call(Method::Get, &url, offset)?;
        let (offset, total) = match response.status() {
            StatusCode::PARTIAL_CONTENT => text(response.headers(), "content-range")
                .and_then(content_range)
                .ok_or_else(|| HubError::BadResponse {
                    url,
                    reason: "its Content-Range makes no sense".to_string(),
                })?,
            _ => (0, response.body().content_length()),
        };
        Ok(Content { offset, total, reader: response.into_body().into_reader() })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_string())
    }

    fn file_url(&self, commit: &str, file: &str) -> String {
        self.api.repo(self.repo(commit)).url(file)
    }

    /// Repeats `attempt` while it fails for a passing reason and allows another go.
    fn retry<T>(
        &self,
        mut attempt: impl FnMut() -> (Result<T, HubError>, bool),
    ) -> Result<T, HubError> {
        let mut failures = 0;
        loop {
            let (outcome, again) = attempt();
            match outcome {
                Err(error) if error.is_transient() && again && failures < self.retries => {
                    failures += 1;
                    self.back_off(failures);
                }
                Err(HubError::Server { status, url, .. }) => {
                    return Err(HubError::Server { status, url, attempts: failures + 1 });
                }
                outcome => return outcome,
            }
        }
    }

    /// A request to the hub and, with [`Method::Get`], to the storage it redirects to. The token goes with it only
    /// as long as scheme, host and port are the endpoint's.
    fn call(&self, method: Method, hub_url: &str, offset: u64) -> Result<Response<Body>, HubError> {
        let bad = |reason: &str| HubError::BadResponse {
            url: hub_url.to_string(),
            reason: reason.to_string(),
        };
        let mut url = hub_url.to_string();
        for _ in 0..MAX_REDIRECTS {
            let at_hub = origin(&url) == Some(self.origin.as_str());
            let mut request =
                if method == Method::Head { self.agent.head(&url) } else { self.agent.get(&url) };
            // A compressed answer would have another length.
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| at_hub) {
                request =
                    request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
            }
            if offset > 0 {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            let response = request.call().map_err(|e| self.no_answer(hub_url, &e))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Err(bad("it does not have the range asked for"));
            }
            if !status.is_redirection() {
                return Err(match at_hub {
                    true => self.refusal(hub_url, status, response.headers()),
                    // Signed addresses expire: the next attempt gets a new one.
                    false => HubError::Server {
                        status: status.as_u16(),
                        url: hub_url.to_string(),
                        attempts: 1,
                    },
                });
            }
            let next =
                text(response.headers(), "location").and_then(|location| resolve(&url, location));
            let next = next.ok_or_else(|| bad("it redirects to nowhere"))?;
            let described = response.headers().contains_key("x-linked-etag")
                || origin(&next) != Some(&self.origin);
            if method == Method::Head && described {
                return Ok(response);
            }
            url = next;
        }
        Err(bad("it redirects in circles"))
    }

    fn no_answer(&self, url: &str, error: &ureq::Error) -> HubError {
        use ureq::Error;
        match error {
            // These quote addresses, which may be signed.
            Error::BadUri(_) | Error::Http(_) => HubError::BadResponse {
                url: url.to_string(),
                reason: "it redirects to nowhere".to_string(),
            },
            Error::Protocol(_)
            | Error::TooManyRedirects
            | Error::RedirectFailed
            | Error::BodyExceedsLimit(_) => HubError::BadResponse {
                url: url.to_string(),
                reason: self.clean(&error.to_string()),
            },
            _ => HubError::Unreachable {
                endpoint: self.endpoint.clone(),
                reason: self.clean(&error.to_string()),
            },
        }
    }

    /// What a status above 399 means; the hub tells the cases apart in headers.
    fn refusal(&self, url: &str, status: StatusCode, headers: &HeaderMap) -> HubError {
        let token_sent = self.token.is_some();
        let (id, endpoint) = (self.id.clone(), self.endpoint.clone());
        let code = text(headers, "x-error-code").unwrap_or_default();
        let said = self.clean(text(headers, "x-error-message").unwrap_or_default());
        match (status.as_u16(), code) {
            (_, "RevisionNotFound") => {
                HubError::RevisionNotFound { id, revision: self.revision.clone(), endpoint }
            }
            (_, "GatedRepo") => HubError::Gated { id, endpoint, token_sent },
            (_, "RepoNotFound") => HubError::RepoNotFound { id, endpoint, token_sent },
            // Without a token the hub does not say whether a repository is private or not there.
            (401, _) if !token_sent => HubError::RepoNotFound { id, endpoint, token_sent },
            (status @ (401 | 403), _) => {
                HubError::AccessDenied { id, status, token_sent, reason: said }
            }
            (404, "") if url.contains("/api/") => {
                HubError::RepoNotFound { id, endpoint, token_sent }
            }
            (429, _) => HubError::RateLimited {
                seconds: text(headers, "retry-after").and_then(|wait| wait.parse().ok()),
            },
            (status @ (408 | 500..), _) => {
                HubError::Server { status, url: url.to_string(), attempts: 1 }
            }
            (status, _) => HubError::BadResponse {
                url: url.to_string(),
                reason: format!("status {status}{}{said}", if said.is_empty() { "" } else { ", " }),
            },
        }
    }

    /// Words from outside for a message: one line, bounded, no control characters, no token.
    fn clean(&self, words: &str) -> String {
        let words: String = words
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(REASON_LIMIT)
            .collect();
        match &self.token {
            Some(token) => words.replace(token.secret(), "***"),
            None => words,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `bytes 5-9/10`: where it starts, and the whole length unless that is `*`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

/// `scheme://host:port` of an absolute http address.
fn origin(url: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let authority = &url[scheme.len()..];
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    (end > 0).then(|| &url[..scheme.len() + end])
}

/// Where a redirect from `url` leads; `None` if it is not an http address.
fn resolve(url: &str, location: &str) -> Option<String> {
    if origin(location).is_some() {
        return Some(location.to_string());
    }
    let base = origin(url)?;
    if let Some(rest) = location.strip_prefix("//") {
        let scheme = base.split_once("//")?.0;
        return Some(format!("{scheme}//{rest}"));
    }
    location.starts_with('/').then(|| format!("{base}{location}"))
}

/// Checks the endpoint and gives its origin.
fn endpoint_origin(endpoint: &str) -> Result<String, HubError> {
    let invalid = |reason| {
        let shown = endpoint.rsplit_once('@').map_or(endpoint, |(_, rest)| rest);
        Err(HubError::InvalidEndpoint { endpoint: shown.escape_debug().to_string(), reason })
    };
    if !endpoint.bytes().all(|b| b.is_ascii_graphic()) {
        return invalid("it has blanks or characters outside ASCII");
    }
    let Some(origin) = origin(endpoint) else {
        return invalid("it does not start with https:// or http:// and a host");
    };
    if endpoint.contains('@') {
        return invalid("it has a user name; use HF_TOKEN instead");
    }
    if endpoint.contains(['?', '#']) {
        return invalid("it has a query");
    }
    Ok(origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_redirects() {
        assert_eq!(origin("https://h:1/a?b"), Some("https://h:1"));
        assert_eq!(origin("http://h"), Some("http://h"));
        assert_eq!((origin("/a"), origin("https://"), origin("ftp://h/")), (None, None, None));
        let from = "https://h:1/a/b";
        assert_eq!(resolve(from, "/c?d").as_deref(), Some("https://h:1/c?d"));
        assert_eq!(resolve(from, "http://o/c").as_deref(), Some("http://o/c"));
        assert_eq!(resolve(from, "//o/c").as_deref(), Some("https://o/c"));
        assert_eq!(
            (resolve(from, "c"), resolve(from, "file:///etc/passwd"), resolve(from, "")),
            (None, None, None)
        );
    }

    #[test]
    fn endpoints_are_checked_and_never_show_a_password() {
        assert_eq!(endpoint_origin("https://h/mirror/api").unwrap(), "https://h");
        for bad in
            ["", "h", "ftp://h", "http://", "http://h/ x", "http://h?x", "https://user:secret@h"]
        {
            let error = endpoint_origin(bad).unwrap_err();
            assert!(matches!(error, HubError::InvalidEndpoint { .. }), "{bad}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(
            (content_range("bytes */10"), content_range("items 1-2/3"), content_range("")),
            (None, None, None)
        );
    }
}
