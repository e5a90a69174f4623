//! Where the hub and its cache are, and as whom to ask.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// An access token that never shows in messages or `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// As Python cleans it: no line ends, no blanks around; `None` when nothing is left.
    fn clean(text: &str) -> Option<Self> {
        let text = text.replace(['\r', '\n'], "");
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_string()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How [`fetch`](super::fetch) reaches the hub: endpoint, cache folder, token, offline mode, patience.
///
/// ```
/// use grating::hub::HubOptions;
///
/// let options = HubOptions::new("/data/hf/hub").token("hf_secret").offline(true);
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOptions {
    pub(super) endpoint: String,
    pub(super) cache_dir: PathBuf,
    pub(super) token: Option<Token>,
    pub(super) offline: bool,
    pub(super) retries: u32,
    pub(super) retry_delay: Duration,
    pub(super) stall_timeout: Duration,
}

impl HubOptions {
    /// The public hub, the given cache folder (the one that holds `models--owner--name`), no token, online.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        HubOptions {
            endpoint: DEFAULT_ENDPOINT.to_string(),
            cache_dir: cache_dir.into(),
            token: None,
            offline: false,
            retries: 5,
            retry_delay: Duration::from_millis(250),
            stall_timeout: Duration::from_secs(30),
        }
    }

    /// What Python's `huggingface_hub` would use, from the process environment:
    ///
    /// | | |
    /// | --- | --- |
    /// | cache folder | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME` + `/hub`, `XDG_CACHE_HOME` or `~/.cache` + `/huggingface/hub` |
    /// | token | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, the file `HF_TOKEN_PATH` or `token` in `HF_HOME`; none with `HF_HUB_DISABLE_IMPLICIT_TOKEN` |
    /// | endpoint | `HF_ENDPOINT` |
    /// | offline | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` (`1`, `on`, `yes`, `true`) |
    ///
    /// `~` and `$NAME` in the paths are expanded. This is the one function of the library that reads these.
    ///
    /// # Errors
    /// [`HubError::NoCacheFolder`] when the variables name no cache folder and there is no home;
    /// [`HubError::Io`] when the token file is there but cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(&|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_lookup(
        var: &dyn Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self, HubError> {
        let env = Environment { var, home };
        let hf_home = env.path("HF_HOME").or_else(|| {
            let cache =
                env.path("XDG_CACHE_HOME").or_else(|| Some(env.home.as_ref()?.join(".cache")))?;
            Some(cache.join("huggingface"))
        });
        let cache_dir = env
            .path("HF_HUB_CACHE")
            .or_else(|| env.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hf_home.as_ref()?.join("hub")))
            .ok_or(HubError::NoCacheFolder)?;
        let mut options = HubOptions::new(cache_dir);
        if let Some(endpoint) = env.text("HF_ENDPOINT") {
            options = options.endpoint(endpoint);
        }
        options.offline = env.flag(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]);
        if !env.flag(&["HF_HUB_DISABLE_IMPLICIT_TOKEN"]) {
            let file = env.path("HF_TOKEN_PATH").or_else(|| Some(hf_home?.join("token")));
            options.token =
                match env.text("HF_TOKEN").or_else(|| env.text("HUGGING_FACE_HUB_TOKEN")) {
                    Some(text) => Token::clean(&text),
                    None => None,
                };
            if options.token.is_none() {
                options.token = file.as_deref().map(read_token).transpose()?.flatten();
            }
        }
        Ok(options)
    }

    /// The hub's address, for a mirror or a private hub; a path in it is kept.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into().trim_end_matches('/').to_string();
        self
    }

    /// Replaces the cache folder.
    #[must_use]
    pub fn cache_dir(mut self, cache_dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = cache_dir.into();
        self
    }

    /// The token for private and gated models; an empty one is none. It is sent to the endpoint only, never to the
    /// storage servers that the hub redirects to.
    #[must_use]
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.token = Token::clean(token.as_ref());
        self
    }

    /// Whether to use the cache only and make no connection.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// How often in a row a request may fail for a passing reason before it is given up (5). A download that
    /// brought at least 1 MiB before it broke off starts the count again.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The wait before the first retry (250 ms); it doubles with each, up to 8 s.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// How long a connection may bring nothing before it counts as broken (30 s).
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    /// The cache folder, for messages.
    pub fn cache_folder(&self) -> &Path {
        &self.cache_dir
    }

    /// Whether no connection is made.
    pub fn is_offline(&self) -> bool {
        self.offline
    }
}

/// The token file, if it is there.
fn read_token(path: &Path) -> Result<Option<Token>, HubError> {
    match crate::regular::read_to_string(path) {
        Ok(text) => Ok(Token::clean(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(HubError::io("read the token file", path, e)),
    }
}

struct Environment<'a> {
    var: &'a dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
}

impl Environment<'_> {
    /// An empty variable is an unset one.
    fn raw(&self, name: &str) -> Option<OsString> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(self.raw(name)?.to_string_lossy().into_owned())
    }

    /// The first of `names` that is set decides.
    fn flag(&self, names: &[&str]) -> bool {
        let value = names.iter().find_map(|name| self.text(name));
        value.is_some_and(|value| {
            ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
        })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.raw(name)?;
        match value.to_str() {
            Some(text) => Some(self.expand(text)),
            None => Some(PathBuf::from(value)), // not Unicode: as it is
        }
    }

    /// `~/` at the start, then `$NAME` and `${NAME}`; what is not set stays as written.
    fn expand(&self, text: &str) -> PathBuf {
        let rest =
            text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(['/', '\\']));
        let home = rest.and(self.home.as_ref()).map(|home| home.to_string_lossy().into_owned());
        let mut out = match (home, rest) {
            (Some(home), Some(rest)) => self.expand_variables(&(home + rest)),
            _ => self.expand_variables(text),
        };
        if out.is_empty() {
            out.push('.');
        }
        PathBuf::from(out)
    }

    fn expand_variables(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let following = &rest[at + 1..];
            let (name, after) = match following.strip_prefix('{') {
                Some(braced) => braced.split_once('}').unwrap_or(("", following)),
                None => {
                    let end = following
                        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                        .unwrap_or(following.len());
                    following.split_at(end)
                }
            };
            match self.text(name).filter(|_| !name.is_empty()) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..rest.len() - after.len()]),
            }
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)], home: Option<&str>) -> Result<HubOptions, HubError> {
        let lookup =
            |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        HubOptions::from_lookup(&lookup, home.map(PathBuf::from))
    }

    #[test]
    fn the_cache_folder_is_where_python_has_it() {
        for (vars, expected) in [
            (&[][..], "/h/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub"),
            (&[("HF_HOME", "")], "/h/.cache/huggingface/hub"),
            (&[("HF_HOME", "~/f")], "/h/f/hub"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/g")], "/g"),
            (&[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/g")], "/c"),
            (&[("HF_HUB_CACHE", "$D/${E}x/$NO/${"), ("D", "/d"), ("E", "e")], "/d/ex/$NO/${"),
        ] {
            assert_eq!(from(vars, Some("/h")).unwrap().cache_dir, Path::new(expected), "{vars:?}");
        }
        assert!(matches!(from(&[], None), Err(HubError::NoCacheFolder)));
        assert_eq!(from(&[("HF_HUB_CACHE", "/c")], None).unwrap().cache_dir, Path::new("/c"));
    }

    #[test]
    fn the_token_comes_from_the_variable_then_from_the_file() {
        let home = tempfile::tempdir().unwrap();
        let home_text = home.path().to_str().unwrap();
        std::fs::write(home.path().join("token"), "  from_file\n").unwrap();
        let token = |vars: &[(&str, &str)]| {
            let vars: Vec<_> = vars.iter().copied().chain([("HF_HOME", home_text)]).collect();
            from(&vars, None).unwrap().token.map(|token| token.secret().to_string())
        };
        assert_eq!(token(&[]).as_deref(), Some("from_file"));
        assert_eq!(token(&[("HF_TOKEN", " a\r\n")]).as_deref(), Some("a"));
        assert_eq!(token(&[("HF_TOKEN", "\n")]).as_deref(), Some("from_file"));
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "b")]).as_deref(), Some("b"));
        assert_eq!(token(&[("HF_TOKEN_PATH", "/no/such")]), None);
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert!(matches!(
            from(&[("HF_TOKEN_PATH", home_text)], Some("/h")),
            Err(HubError::Io { .. })
        ));
    }

    #[test]
    fn offline_and_endpoint() {
        for (value, offline) in
            [("1", true), ("True", true), ("ON", true), ("0", false), ("", false), ("maybe", false)]
        {
            assert_eq!(
                from(&[("HF_HUB_OFFLINE", value)], Some("/h")).unwrap().offline,
                offline,
                "{value}"
            );
        }
        assert!(from(&[("TRANSFORMERS_OFFLINE", "yes")], Some("/h")).unwrap().offline);
        let both = [("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")];
        assert!(!from(&both, Some("/h")).unwrap().offline);
        assert_eq!(
            from(&[("HF_ENDPOINT", "http://m/x/")], Some("/h")).unwrap().endpoint,
            "http://m/x"
        );
        assert_eq!(from(&[], Some("/h")).unwrap().endpoint, DEFAULT_ENDPOINT);
    }

    #[test]
    fn the_token_does_not_show() {
        let options = HubOptions::new("c").token("hf_secret");
        assert!(!format!("{options:?} {options:#?}").contains("secret"));
    }
}
