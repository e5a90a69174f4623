//! What the hub refuses, what is not a hub, and what is not asked for at all.

use super::*;

/// The error with this fault on the listing, without a token and with one.
fn listing_refused(status: u16, headers: &'static str) -> [HubError; 2] {
    let setup = Setup::new();
    setup.server.fault("GET", "/revision/main", usize::MAX, Fault::Status(status, headers));
    let with_token = setup.options.clone().token("hf_very_secret");
    let errors =
        [setup.fetch().unwrap_err(), hub::fetch(ID, None, &with_token, |_| {}).unwrap_err()];
    let shown = format!("{} {:?}", errors[1], errors[1]);
    assert!(!shown.contains("secret"), "{shown}");
    errors
}

#[test]
fn no_such_repository_or_revision() {
    let setup = Setup::new();
    let error = hub::fetch("no/such", None, &setup.options, |_| {}).unwrap_err();
    assert!(matches!(&error, HubError::RepoNotFound { id, .. } if id == "no/such"), "{error:?}");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    let error = hub::fetch(ID, Some("nope"), &setup.options, |_| {}).unwrap_err();
    assert!(
        matches!(&error, HubError::RevisionNotFound { revision, .. } if revision == "nope"),
        "{error:?}"
    );
    assert!(!setup.repo().exists(), "an error leaves no traces");
}

#[test]
fn no_access() {
    let [anonymous, known] =
        listing_refused(401, "X-Error-Message: Invalid username or password.\r\n");
    assert!(matches!(anonymous, HubError::RepoNotFound { token_sent: false, .. }), "{anonymous:?}");
    assert!(matches!(&known, HubError::AccessDenied { status: 401, .. }), "{known:?}");
    assert!(
        known.to_string().contains("Invalid username")
            && known.to_string().contains("token is valid")
    );
    let [anonymous, known] = listing_refused(403, "X-Error-Message: not for hf_very_secret\r\n");
    assert!(anonymous.to_string().contains("HF_TOKEN"), "{anonymous}");
    assert!(known.to_string().contains("not for ***"), "{known}");
    let [anonymous, known] = listing_refused(401, "X-Error-Code: GatedRepo\r\n");
    for (error, hint) in [(anonymous, "HF_TOKEN"), (known, "account of your token")] {
        assert!(matches!(error, HubError::Gated { .. }), "{error:?}");
        assert!(
            error.to_string().contains("accept its terms") && error.to_string().contains(hint),
            "{error}"
        );
    }
}

#[test]
fn a_gated_repository_lists_its_files_but_does_not_give_them() {
    let setup = Setup::new();
    let gated = Fault::Status(403, "X-Error-Code: GatedRepo\r\n");
    setup.server.fault("HEAD", "config.json", usize::MAX, gated);
    assert!(matches!(setup.fetch(), Err(HubError::Gated { .. })));
}

#[test]
fn a_hub_out_of_order_or_out_of_patience() {
    for error in listing_refused(500, "") {
        assert!(matches!(error, HubError::Server { status: 500, attempts: 6, .. }), "{error:?}");
    }
    for error in listing_refused(429, "Retry-After: 300\r\n") {
        assert!(matches!(error, HubError::RateLimited { seconds: Some(300) }), "{error:?}");
        assert!(error.to_string().contains("300 s"), "{error}");
    }
}

#[test]
fn answers_that_are_not_the_hubs() {
    let setup = Setup::new();
    setup.server.fault("GET", "/revision/main", 1, Fault::LoginPage);
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, HubError::BadResponse { .. }), "{error:?}");
    assert!(error.to_string().contains("login page"), "{error}");
    setup.server.fault("HEAD", "config.json", 1, Fault::LoginPage);
    assert!(matches!(setup.fetch(), Err(HubError::BadResponse { .. })));
    setup.server.commit("../../outside");
    assert!(matches!(setup.fetch(), Err(HubError::BadResponse { .. })));
}

#[test]
fn repositories_that_lack_what_is_needed() {
    let setup = Setup::new();
    setup.server.remove(WEIGHTS);
    setup.server.file("pytorch_model.bin", vec![1], true);
    let error = setup.fetch().unwrap_err();
    assert!(
        matches!(&error, HubError::NoSafetensors { found, .. } if found == "pytorch_model.bin"),
        "{error:?}"
    );
    assert!(error.to_string().contains("safe_serialization"), "{error}");
    for file in ["tokenizer.json", "config.json"] {
        setup.server.remove(file);
        let error = setup.fetch().unwrap_err();
        assert!(matches!(&error, HubError::MissingFile { file: f, .. } if f == file), "{error:?}");
    }
    assert!(!setup.repo().exists());
}

#[test]
fn an_index_that_names_files_outside_is_refused() {
    let server = Server::with_model();
    server.remove(WEIGHTS);
    server.file(
        "model.safetensors.index.json",
        br#"{"weight_map": {"a": "../../../x"}}"#.to_vec(),
        false,
    );
    assert!(matches!(Setup::with(server).fetch(), Err(HubError::BadIndex { .. })));
}

#[test]
fn bad_arguments_make_no_request() {
    let setup = Setup::new();
    let try_one = |id: &str, revision, options: &HubOptions| {
        hub::fetch(id, revision, options, |_| {}).unwrap_err()
    };
    assert!(matches!(try_one("../x", None, &setup.options), HubError::InvalidId { .. }));
    assert!(matches!(try_one(ID, Some("../x"), &setup.options), HubError::InvalidRevision { .. }));
    let options = setup.options.clone().token("a\tb secret");
    let error = try_one(ID, None, &options);
    assert!(matches!(error, HubError::InvalidToken), "{error:?}");
    let options = setup.options.clone().endpoint("huggingface.co");
    assert!(matches!(try_one(ID, None, &options), HubError::InvalidEndpoint { .. }));
    assert!(setup.server.seen().is_empty());
}
