//! Completions and manual pages.

use crate::grating;

#[test]
fn completions_and_pages_know_every_command_and_option() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = grating(&["completions", shell], b"");
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("memory-budget") && script.contains("calibrate"), "{shell}");
    }
    let page = String::from_utf8(grating(&["man"], b"").stdout).unwrap();
    assert!(page.contains(".TH grating 1") && page.contains("rerank"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    assert!(grating(&["man", "--out", out.to_str().unwrap()], b"").status.success());
    let page = std::fs::read_to_string(out.join("grating-rerank.1")).unwrap();
    assert!(page.contains("top\\-k") && out.join("grating.1").is_file());
}
