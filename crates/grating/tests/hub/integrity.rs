//! Contents and disks that are not as announced.

use super::*;

#[test]
fn another_length_than_announced_is_an_error() {
    for by in [-1000, 1000] {
        let setup = Setup::new();
        setup.server.storage_fault(WEIGHTS, usize::MAX, Fault::Longer(by));
        let error = setup.fetch().unwrap_err();
        let HubError::WrongLength { expected: WEIGHTS_LENGTH, found, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(found, WEIGHTS_LENGTH.saturating_add_signed(by as i64));
        setup.check_nothing_partial_is_visible();
    }
}

#[test]
fn damaged_weights_are_discarded() {
    let setup = Setup::new();
    setup.server.storage_fault(WEIGHTS, 1, Fault::Damaged);
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, HubError::WrongChecksum { .. }), "{error:?}");
    setup.check_nothing_partial_is_visible();
    setup.check(&setup.fetch().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_nothing_in_the_snapshot() {
    let setup = Setup::new();
    fs::create_dir_all(setup.partial().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", setup.partial()).unwrap();
    let error = setup.fetch().unwrap_err();
    let HubError::Io { reason: source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("free some space"), "{error}");
    setup.check_nothing_partial_is_visible();
}

#[test]
fn a_cache_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut setup = Setup::new();
    setup.options = setup.options.cache_dir(file.path());
    assert!(matches!(setup.fetch(), Err(HubError::Io { .. })));
}
