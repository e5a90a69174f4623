//! Repositories of GGUF files: nothing else need be there, and one of several is named.

use super::*;

/// A hub with GGUF files alone.
fn of_gguf(names: &[&str]) -> Setup {
    let server = Server::start();
    server.file("README.md", b"# GGUF".to_vec(), false);
    for name in names {
        server.file(name, content(name, 5000), true);
    }
    Setup::with(server)
}

fn fetch(setup: &Setup, choice: &str) -> Result<PathBuf, HubError> {
    hub::fetch(&format!("{ID}{choice}"), None, &setup.options, |_| {})
}

#[test]
fn the_only_file_is_the_model_and_is_found_offline() {
    let setup = of_gguf(&["tiny-F16.gguf"]);
    let file = setup.fetch().unwrap();
    assert_eq!(file, setup.repo().join("snapshots").join(COMMIT).join("tiny-F16.gguf"));
    assert_eq!(fs::read(&file).unwrap(), content("tiny-F16.gguf", 5000));
    let offline = Setup { options: setup.options.clone().offline(true), ..setup };
    assert_eq!(offline.fetch().unwrap(), file);
    assert_eq!(fetch(&offline, ":f16").unwrap(), file);
    let error = fetch(&offline, ":Q8_0").unwrap_err();
    assert!(matches!(&error, HubError::NotCached { missing, .. } if missing == "Q8_0"), "{error}");
}

#[test]
fn one_of_several_is_named_and_the_others_are_not_fetched() {
    let setup = of_gguf(&["tiny-F16.gguf", "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]);
    let error = setup.fetch().unwrap_err();
    let words = ["tiny-F16.gguf", "tiny-Q8_0.gguf", &format!("{ID}:F16")].map(str::to_string);
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    for choice in [":Q4_K_M", "/tiny-Q4_K_M.gguf"] {
        assert!(fetch(&setup, choice).unwrap().ends_with("tiny-Q4_K_M.gguf"), "{choice}");
    }
    let folder = setup.repo().join("snapshots").join(COMMIT);
    // The model card names it.
    assert!(folder.join("README.md").exists());
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
    let error = fetch(&setup, ":Q5_0").unwrap_err().to_string();
    assert!(error.contains("Q5_0") && error.contains("tiny-Q8_0.gguf"), "{error}");
}

#[test]
fn all_parts_and_the_small_files_come_along() {
    let part = |n: usize| format!("Q8_0/tiny-Q8_0-{n:05}-of-00002.gguf");
    let setup = of_gguf(&[&part(1), &part(2)]);
    setup.server.file("config.json", b"{}".to_vec(), false);
    let file = fetch(&setup, ":Q8_0").unwrap();
    let folder = setup.repo().join("snapshots").join(COMMIT);
    assert_eq!(file, folder.join(part(1)));
    assert!(folder.join(part(2)).exists() && folder.join("config.json").exists());
    fs::remove_file(folder.join(part(2))).unwrap();
    let offline = Setup { options: setup.options.clone().offline(true), ..setup };
    let error = fetch(&offline, ":Q8_0").unwrap_err().to_string();
    assert!(error.contains(&part(2)), "{error}");
}

#[test]
fn a_lone_safetensors_file_of_another_name_is_the_model() {
    let server = Server::with_model();
    server.remove(WEIGHTS);
    server.file("model-00001-of-00001.safetensors", content("1", 1000), true);
    server.file("1_Dense/model.safetensors", content("2", 1000), true);
    let setup = Setup::with(server);
    let file = setup.fetch().unwrap();
    assert!(file.ends_with("model-00001-of-00001.safetensors"));
    assert!(file.parent().unwrap().join("tokenizer.json").exists());
}
