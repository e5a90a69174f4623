//! Fetching from a hub: a local server plays it, faults included.
#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used)] // helpers of tests; the exemption of clippy.toml covers the tests alone

#[path = "hub/gguf.rs"]
mod gguf;
#[path = "hub/integrity.rs"]
mod integrity;
#[path = "hub/interruptions.rs"]
mod interruptions;
#[path = "hub/refusals.rs"]
mod refusals;
#[path = "hub/server.rs"]
mod server;
#[path = "hub/token.rs"]
mod token;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grating::hub::{self, DownloadPhase, HubError, HubOptions};
use server::{COMMIT, Fault, ID, Seen, Server, content, etag, sha256};
use tempfile::TempDir;

const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_LENGTH: u64 = 300_000;

/// A server with a model, an empty cache, and patience measured in milliseconds.
struct Setup {
    server: Server,
    cache: TempDir,
    options: HubOptions,
}

impl Setup {
    fn new() -> Self {
        Self::with(Server::with_model())
    }

    fn with(server: Server) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let options = HubOptions::new(cache.path())
            .endpoint(server.endpoint())
            .retry_delay(Duration::from_millis(1))
            .stall_timeout(Duration::from_millis(500));
        Setup { server, cache, options }
    }

    fn fetch(&self) -> Result<PathBuf, HubError> {
        hub::fetch(ID, None, &self.options, |_| {})
    }

    fn repo(&self) -> PathBuf {
        self.cache.path().join("models--team--tiny-reranker")
    }

    fn partial(&self) -> PathBuf {
        let etag = sha256(&content(WEIGHTS, WEIGHTS_LENGTH as usize));
        self.repo().join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The snapshot is whole and right.
    fn check(&self, folder: &Path) {
        for (name, length) in
            [("config.json", 500), ("tokenizer.json", 500), (WEIGHTS, WEIGHTS_LENGTH as usize)]
        {
            assert!(fs::read(folder.join(name)).unwrap() == content(name, length), "{name}");
        }
    }

    fn check_nothing_partial_is_visible(&self) {
        let snapshot = self.repo().join("snapshots").join(COMMIT);
        assert!(!snapshot.join(WEIGHTS).exists());
        assert!(!self.repo().join("refs").join("main").exists());
    }

    fn bodies(&self) -> Vec<(String, Option<String>)> {
        let seen = self.server.seen().into_iter();
        seen.filter(|r| r.method == "GET" && !r.path.starts_with("/api/"))
            .map(|r| (r.path, r.range))
            .collect()
    }
}

mod layout {
    use super::*;

    #[test]
    fn the_cache_is_laid_out_as_pythons() {
        let setup = Setup::new();
        let folder = setup.fetch().unwrap();
        assert_eq!(folder, setup.repo().join("snapshots").join(COMMIT));
        setup.check(&folder);
        assert_eq!(fs::read_to_string(setup.repo().join("refs/main")).unwrap(), COMMIT);
        let mut blobs: Vec<_> = fs::read_dir(setup.repo().join("blobs"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        blobs.sort();
        let mut expected =
            [("config.json", 500, false), ("tokenizer.json", 500, true), (WEIGHTS, 300_000, true)]
                .map(|(name, length, large)| etag(&content(name, length), large));
        expected.sort();
        assert_eq!(blobs, expected, "contents under their ETags, nothing partial");
        assert!(!folder.join("vocab.txt").exists(), "only what is needed");
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(folder.join("config.json")).unwrap(),
            Path::new("../../blobs").join(etag(&content("config.json", 500), false))
        );
    }

    #[test]
    fn a_second_fetch_asks_for_the_commit_and_nothing_else() {
        let setup = Setup::new();
        let first = setup.fetch().unwrap();
        setup.server.seen();
        let mut calls = 0;
        let second = hub::fetch(ID, None, &setup.options, |_| calls += 1).unwrap();
        assert_eq!((first, calls), (second, 0));
        let seen = setup.server.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].path, format!("/api/models/{ID}/revision/main"));
    }

    #[test]
    fn a_new_commit_reuses_the_blobs_that_did_not_change() {
        let setup = Setup::new();
        setup.fetch().unwrap();
        let commit = "f".repeat(40);
        setup.server.commit(&commit);
        setup.server.file("config.json", b"{}".to_vec(), false);
        setup.server.seen();
        let folder = setup.fetch().unwrap();
        assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
        let bodies = setup.bodies();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        assert_eq!(fs::read_to_string(setup.repo().join("refs/main")).unwrap(), commit);
        assert!(
            setup.repo().join("snapshots").join(COMMIT).join(WEIGHTS).exists(),
            "the old snapshot stays"
        );
    }

    #[test]
    fn branches_with_slashes_and_commits() {
        let setup = Setup::new();
        let folder = hub::fetch(ID, Some("refs/pr/1"), &setup.options, |_| {}).unwrap();
        assert_eq!(fs::read_to_string(setup.repo().join("refs/refs/pr/1")).unwrap(), COMMIT);
        assert_eq!(hub::fetch(ID, Some(COMMIT), &setup.options, |_| {}).unwrap(), folder);
        assert!(!setup.repo().join("refs").join(COMMIT).exists());
        let offline = setup.options.clone().offline(true);
        assert_eq!(hub::fetch(ID, Some(COMMIT), &offline, |_| {}).unwrap(), folder);
    }

    #[test]
    fn files_that_say_what_the_model_is_come_along() {
        let server = Server::with_model();
        let wanted = [
            "1_LogitScore/config.json",
            "README.md",
            "additional_chat_templates/reranker.jinja",
            "chat_template.jinja",
            "modules.json",
        ];
        for name in wanted.into_iter().chain(["onnx/config.json"]) {
            server.file(name, name.into(), false);
        }
        let setup = Setup::with(server);
        let folder = setup.fetch().unwrap();
        for name in wanted {
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), name);
        }
        assert!(!folder.join("onnx").exists());
    }

    #[test]
    fn shards_are_those_of_the_index() {
        let server = Server::with_model();
        server.remove(WEIGHTS);
        let index =
            r#"{"weight_map": {"a": "model-1.safetensors", "b": "parts/model-2.safetensors"}}"#;
        server.file("model.safetensors.index.json", index.into(), false);
        server.file("model-1.safetensors", content("1", 1000), true);
        server.file("parts/model-2.safetensors", content("2", 2000), true);
        server.file("other.safetensors", content("3", 1000), true);
        server.file("grating.json", b"{}".to_vec(), false);
        server.file("tokenizer_config.json", b"{}".to_vec(), false);
        let setup = Setup::with(server);
        let folder = setup.fetch().unwrap();
        assert_eq!(fs::read(folder.join("parts/model-2.safetensors")).unwrap(), content("2", 2000));
        assert!(
            folder.join("grating.json").exists() && folder.join("tokenizer_config.json").exists()
        );
        assert!(
            folder.join("model-1.safetensors").exists()
                && !folder.join("other.safetensors").exists()
        );
        let offline = setup.options.clone().offline(true);
        assert_eq!(hub::fetch(ID, None, &offline, |_| {}).unwrap(), folder);
        fs::remove_file(folder.join("model-1.safetensors")).unwrap();
        let error = hub::fetch(ID, None, &offline, |_| {}).unwrap_err().to_string();
        assert!(
            error.contains("model-1.safetensors") && error.contains("HF_HUB_OFFLINE"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_deleted_blob_is_repaired() {
        let setup = Setup::new();
        let folder = setup.fetch().unwrap();
        fs::remove_file(fs::canonicalize(folder.join(WEIGHTS)).unwrap()).unwrap();
        setup.check(&setup.fetch().unwrap());
    }

    #[test]
    fn another_process_with_the_lock_is_waited_for() {
        let setup = Setup::new();
        let etag = sha256(&content(WEIGHTS, WEIGHTS_LENGTH as usize));
        let locks = setup.cache.path().join(".locks/models--team--tiny-reranker");
        fs::create_dir_all(&locks).unwrap();
        let lock = fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
        lock.lock().unwrap();
        let mut held = Some(lock);
        let mut waited = 0;
        let folder = hub::fetch(ID, None, &setup.options, |p| {
            if p.phase == DownloadPhase::Waiting {
                assert_eq!(p.file, WEIGHTS);
                waited += 1;
                if waited == 2 {
                    held.take();
                }
            }
        });
        setup.check(&folder.unwrap());
        assert_eq!(waited, 2);
    }

    #[test]
    fn many_fetches_at_once_share_one_download() {
        let setup = Setup::new();
        std::thread::scope(|scope| {
            let fetches: Vec<_> = (0..4).map(|_| scope.spawn(|| setup.fetch().unwrap())).collect();
            for fetch in fetches {
                setup.check(&fetch.join().unwrap());
            }
        });
        let downloads =
            setup.bodies().iter().filter(|(path, _)| path == "/bucket/model.safetensors").count();
        assert_eq!(downloads, 1);
    }
}

mod progress {
    use super::*;

    #[test]
    fn bytes_are_counted_per_file_and_in_all() {
        let setup = Setup::new();
        let (mut last, mut files) = ((0, 0), Vec::new());
        hub::fetch(ID, None, &setup.options, |p| {
            assert_eq!(
                (p.phase, p.files, p.total_bytes),
                (DownloadPhase::Downloading, 3, WEIGHTS_LENGTH + 1000)
            );
            assert!(
                (p.file_number, p.done_bytes) >= last
                    && p.file_done_bytes <= p.file_total_bytes
                    && p.done_bytes <= p.total_bytes
            );
            last = (p.file_number, p.done_bytes);
            if files.last() != Some(&p.file.to_string()) {
                files.push(p.file.to_string());
            }
        })
        .unwrap();
        assert_eq!(last, (3, WEIGHTS_LENGTH + 1000));
        assert_eq!(files, ["config.json", "tokenizer.json", WEIGHTS]);
    }
}

mod offline {
    use super::*;

    fn unreachable_endpoint() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[test]
    fn offline_uses_a_complete_snapshot_and_makes_no_connection() {
        let setup = Setup::new();
        let folder = setup.fetch().unwrap();
        setup.server.seen();
        let offline = setup.options.clone().offline(true);
        assert_eq!(
            hub::fetch(ID, None, &offline, |_| panic!("nothing to report")).unwrap(),
            folder
        );
        fs::remove_file(folder.join("tokenizer.json")).unwrap();
        let error = hub::fetch(ID, None, &offline, |_| {}).unwrap_err();
        assert!(
            matches!(&error, HubError::NotCached { missing, .. } if missing == "tokenizer.json"),
            "{error:?}"
        );
        assert!(setup.server.seen().is_empty());
    }

    #[test]
    fn offline_without_the_model_says_what_to_do() {
        let setup = Setup::new();
        let offline = setup.options.clone().offline(true);
        let error = hub::fetch(ID, None, &offline, |_| {}).unwrap_err();
        assert!(matches!(error, HubError::NotCached { .. }), "{error:?}");
        assert!(error.to_string().contains("leave out --offline and HF_HUB_OFFLINE"), "{error}");
        assert_eq!(fs::read_dir(setup.cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_network_the_cache_serves_if_it_is_complete() {
        let setup = Setup::new();
        let dead = setup.options.clone().endpoint(unreachable_endpoint());
        let error = hub::fetch(ID, None, &dead, |_| {}).unwrap_err();
        assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("local folder"), "{error}");
        let folder = setup.fetch().unwrap();
        let mut phases = Vec::new();
        assert_eq!(hub::fetch(ID, None, &dead, |p| phases.push(p.phase)).unwrap(), folder);
        assert_eq!(phases, [DownloadPhase::UsingCache]);
        fs::remove_file(folder.join(WEIGHTS)).unwrap();
        assert!(matches!(hub::fetch(ID, None, &dead, |_| {}), Err(HubError::Unreachable { .. })));
    }

    #[test]
    fn a_hub_out_of_order_counts_as_no_network_but_a_refusal_does_not() {
        for (fault, cached) in [
            (Fault::Status(503, ""), true),
            (Fault::LoginPage, true),
            (Fault::HangUp, true),
            (Fault::Status(404, "X-Error-Code: RepoNotFound\r\n"), false),
            (Fault::Status(401, ""), false),
        ] {
            let setup = Setup::new();
            let folder = setup.fetch().unwrap();
            setup.server.fault("GET", "/revision/main", usize::MAX, fault.clone());
            assert_eq!(setup.fetch().ok(), cached.then_some(folder), "{fault:?}");
        }
    }
}
