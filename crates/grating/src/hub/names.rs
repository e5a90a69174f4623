//! What may be an id, a revision, a file of a repository: everything that becomes part of a path or an address.

use grating_io::is_model_file;

use super::HubError;

const NAME_LIMIT: usize = 96;
const REVISION_LIMIT: usize = 255;
/// Leaves room for `.incomplete` and a process id within the 255 bytes that file systems give a name.
const ETAG_LIMIT: usize = 200;

/// An id, and the file or quantization named after it: `owner/name:Q4_K_M`, `owner/name/file.gguf`.
pub(super) fn split_choice(text: &str) -> (&str, Option<&str>) {
    if let Some((id, choice)) = text.split_once(':') {
        return (id, Some(choice));
    }
    let slash = text.match_indices('/').nth(1).map(|(at, _)| at);
    match slash.filter(|_| is_model_file(text)) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// A choice becomes part of a path.
pub(super) fn check_choice(id: &str, choice: Option<&str>) -> Result<(), HubError> {
    match choice {
        Some(choice) if !is_safe_file(choice) => Err(HubError::InvalidId {
            id: format!("{id}:{choice}"),
            reason: "what follows the name is neither a quantization nor a file",
        }),
        _ => Ok(()),
    }
}

/// The rules of the hub for `name` and `owner/name`.
pub(super) fn check_id(id: &str) -> Result<(), HubError> {
    let invalid = |reason: &'static str| Err(HubError::InvalidId { id: id.to_string(), reason });
    if id.split('/').count() > 2 {
        return invalid("it has more than one `/`");
    }
    for part in id.split('/') {
        if part.is_empty() {
            return invalid("owner or name is empty");
        }
        if part.len() > NAME_LIMIT {
            return invalid("owner or name is longer than 96 characters");
        }
        if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return invalid("only ASCII letters, digits, `-`, `_` and `.` are allowed");
        }
        if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
            return invalid("owner and name neither start nor end with `-` or `.`");
        }
    }
    if id.contains("--") || id.contains("..") {
        return invalid("`--` and `..` are not allowed");
    }
    if id.ends_with(".git") {
        return invalid("it ends with `.git`; leave that out");
    }
    Ok(())
}

/// A branch, tag, pull request ref or commit that is safe in a path and an address.
pub(super) fn check_revision(revision: &str) -> Result<(), HubError> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.+/".contains(&b);
    if revision.len() <= REVISION_LIMIT && revision.bytes().all(safe) && is_plain_path(revision) {
        return Ok(());
    }
    Err(HubError::InvalidRevision { revision: revision.to_string() })
}

/// A full commit hash: immutable, and its own snapshot folder.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a server may call a commit: it becomes a folder's name.
pub(super) fn is_safe_commit(commit: &str) -> bool {
    (1..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A relative path of a file in a repository that stays in its folder on every system.
pub(super) fn is_safe_file(file: &str) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.+/".contains(&b);
    file.len() <= REVISION_LIMIT && file.bytes().all(safe) && is_plain_path(file)
}

fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// An ETag header as the blob's file name, without the weak mark and the quotes; `None` if it cannot be one.
pub(super) fn etag_name(header: &str) -> Option<String> {
    let etag = header.trim_start_matches("W/").trim_matches('"');
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.+=".contains(&b);
    let usable =
        (1..=ETAG_LIMIT).contains(&etag.len()) && etag.bytes().all(safe) && !etag.starts_with('.');
    usable.then(|| etag.to_string())
}

/// The ETag of a large file is the SHA-256 of its content.
pub(super) fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rules_of_the_hub() {
        for good in ["gpt2", "BAAI/bge-reranker-v2-m3", "a/b", "Foo-BAR_foo.bar123", "_x/y_", "0/1"]
        {
            check_id(good).unwrap();
        }
        let long = "x".repeat(97);
        let bad = [
            "", "/", "a/", "/a", "a/b/c", "a b/c", "a--b", "a..b", ".a", "a.", "-a/b", "a/b.git",
            "ä/b", "a\\b", &long,
        ];
        for bad in bad {
            assert!(matches!(check_id(bad), Err(HubError::InvalidId { .. })), "{bad}");
        }
    }

    #[test]
    fn a_choice_is_what_follows_the_id() {
        for (text, id, choice) in [
            ("a/b", "a/b", None),
            ("a/b:Q4_K_M", "a/b", Some("Q4_K_M")),
            ("a/b/c-Q8_0.gguf", "a/b", Some("c-Q8_0.gguf")),
            ("a/b/x/c.gguf", "a/b", Some("x/c.gguf")),
            ("a/b/c", "a/b/c", None),
        ] {
            assert_eq!(split_choice(text), (id, choice));
        }
        for bad in ["", "../x", "a b", "/etc"] {
            assert!(check_choice("a/b", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn revisions_and_files_cannot_leave_their_folder() {
        for good in [
            "main",
            "v1.0+x",
            "refs/pr/1",
            "feature/a_b",
            "0123456789abcdef0123456789abcdef01234567",
        ] {
            check_revision(good).unwrap();
            assert!(is_safe_file(good));
        }
        for bad in [
            "", "/etc", "../x", "a/../b", "a//b", "a/", ".", "a b", "a%2e", "a?b", "a#b", "C:\\x",
            "a\nb",
        ] {
            assert!(matches!(check_revision(bad), Err(HubError::InvalidRevision { .. })), "{bad}");
            assert!(!is_safe_file(bad), "{bad}");
        }
    }

    #[test]
    fn etags_lose_their_decoration_and_never_become_paths() {
        assert_eq!(etag_name("\"abc\"").as_deref(), Some("abc"));
        assert_eq!(etag_name("W/\"abc-1\"").as_deref(), Some("abc-1"));
        for bad in ["", "\"\"", "\"..\"", "\"a/b\"", "\".locks\"", "a b"] {
            assert_eq!(etag_name(bad), None, "{bad}");
        }
        assert_eq!(etag_name(&"a".repeat(201)), None);
        assert!(
            is_sha256(&"0f".repeat(32))
                && !is_sha256(&"0F".repeat(32))
                && !is_sha256(&"0f".repeat(20))
        );
    }

    #[test]
    fn commits_are_forty_lower_case_hex_digits() {
        assert!(is_commit(&"a1".repeat(20)) && !is_commit("main") && !is_commit(&"A1".repeat(20)));
        assert!(is_safe_commit("abc123") && !is_safe_commit("../x") && !is_safe_commit(""));
    }
}
