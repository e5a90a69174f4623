//! Where the token goes, and where it must not.

use super::*;

#[test]
fn it_goes_to_the_hub_and_not_to_the_storage() {
    let mut setup = Setup::new();
    setup.options = setup.options.token("hf_secret\n");
    setup.fetch().unwrap();
    let seen = setup.server.seen();
    assert!(seen.iter().any(|request| request.storage));
    for request in seen {
        let expected = (!request.storage).then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
}

#[test]
fn none_is_sent_when_there_is_none() {
    let setup = Setup::new();
    // The file that a login leaves beside the cache is for `from_env` to find.
    fs::create_dir(setup.cache.path().join("hub")).unwrap();
    fs::write(setup.cache.path().join("token"), "from_file").unwrap();
    let options = setup.options.clone().cache_dir(setup.cache.path().join("hub"));
    hub::fetch(ID, None, &options, |_| {}).unwrap();
    assert!(setup.server.seen().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn it_follows_a_renamed_repository_on_the_hub_only() {
    let mut setup = Setup::new();
    setup.options = setup.options.token("hf_secret");
    let renamed = format!("/{ID}/resolve/main/config.json");
    setup.server.fault(
        "HEAD",
        &format!("{COMMIT}/config.json"),
        1,
        Fault::Redirect(renamed.clone()),
    );
    let elsewhere = format!("{}/bucket/config.json", setup.server.storage());
    setup.server.fault("GET", &format!("{COMMIT}/config.json"), 1, Fault::Redirect(elsewhere));
    setup.check(&setup.fetch().unwrap());
    let seen = setup.server.seen();
    let redirected: Vec<_> =
        seen.iter().filter(|r| r.path == renamed || r.path == "/bucket/config.json").collect();
    assert_eq!(redirected.len(), 2);
    for request in redirected {
        assert_eq!(request.authorization.is_some(), !request.storage, "{request:?}");
    }
}
