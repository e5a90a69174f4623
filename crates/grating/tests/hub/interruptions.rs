//! Downloads that break off, and servers that resume badly or not at all.

use super::*;

#[test]
fn a_download_that_is_cut_goes_on_where_it_stopped() {
    let setup = Setup::new();
    setup.server.storage_fault(WEIGHTS, 2, Fault::Cut(100_000));
    setup.check(&setup.fetch().unwrap());
    let ranges: Vec<_> = setup
        .bodies()
        .into_iter()
        .filter(|(path, _)| path == "/bucket/model.safetensors")
        .map(|r| r.1)
        .collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".into()), Some("bytes=200000-".into())]);
}

#[test]
fn a_download_that_is_always_cut_ends_with_an_error_and_the_next_call_goes_on() {
    let setup = Setup::new();
    setup.server.storage_fault(WEIGHTS, 6, Fault::Cut(10_000));
    let error = setup.fetch().unwrap_err();
    let HubError::Interrupted {
        file, received: 60_000, expected: WEIGHTS_LENGTH, attempts: 6, ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(file, WEIGHTS);
    assert!(error.to_string().contains("goes on"), "{error}");
    setup.check_nothing_partial_is_visible();
    assert_eq!(fs::metadata(setup.partial()).unwrap().len(), 60_000);
    setup.server.seen();
    let mut first = None;
    let folder =
        hub::fetch(ID, None, &setup.options, |p| first = first.or(Some(p.done_bytes))).unwrap();
    setup.check(&folder);
    assert_eq!(first, Some(60_000), "what is there counts as done");
    let bodies = setup.bodies();
    assert!(bodies.iter().all(|(_, range)| range.as_deref() == Some("bytes=60000-")), "{bodies:?}");
    assert!(!setup.partial().exists());
}

#[test]
fn attempts_that_bring_much_do_not_count() {
    let server = Server::with_model();
    server.file(WEIGHTS, content(WEIGHTS, 4_500_000), true);
    server.storage_fault(WEIGHTS, 4, Fault::Cut(1 << 20));
    let mut setup = Setup::with(server);
    setup.options = setup.options.retries(1);
    let folder = setup.fetch().unwrap();
    assert!(fs::read(folder.join(WEIGHTS)).unwrap() == content(WEIGHTS, 4_500_000));
}

#[test]
fn a_server_that_ignores_the_range_starts_the_file_over() {
    let setup = Setup::new();
    setup.server.storage_fault(WEIGHTS, 1, Fault::Cut(100_000));
    setup.server.storage_fault(WEIGHTS, 1, Fault::WholeFile);
    setup.check(&setup.fetch().unwrap());
}

#[test]
fn a_server_that_always_starts_over_and_is_cut_does_not_go_on_for_ever() {
    let server = Server::with_model();
    server.file(WEIGHTS, content(WEIGHTS, 3_000_000), true);
    server.storage_fault(WEIGHTS, usize::MAX, Fault::WholeFileCut(2_000_000));
    let setup = Setup::with(server);
    assert!(matches!(setup.fetch(), Err(HubError::Interrupted { .. })));
    setup.check_nothing_partial_is_visible();
}

#[test]
fn connections_that_hang_up_or_fall_silent_are_retried() {
    let setup = Setup::new();
    setup.server.storage_fault(WEIGHTS, 1, Fault::HangUp);
    setup.server.storage_fault(WEIGHTS, 1, Fault::Silence);
    setup.server.fault("HEAD", "config.json", 1, Fault::HangUp);
    setup.check(&setup.fetch().unwrap());
    let seen = setup.server.seen();
    let asked = |method: &str, end: &str, storage: bool| {
        let same = |r: &&Seen| r.method == method && r.path.ends_with(end) && r.storage == storage;
        seen.iter().filter(same).count()
    };
    assert_eq!(asked("GET", WEIGHTS, true), 3, "one hung up, one was silent, one answered");
    assert_eq!(asked("HEAD", "config.json", false), 2);
}

#[test]
fn a_partial_file_that_is_longer_or_complete_or_foreign() {
    let right = content(WEIGHTS, WEIGHTS_LENGTH as usize);
    for (left, downloads) in
        [(vec![0; 400_000], 1), (right.clone(), 0), (vec![0; 1000], 2), (vec![0; 300_000], 1)]
    {
        let setup = Setup::new();
        fs::create_dir_all(setup.partial().parent().unwrap()).unwrap();
        fs::write(setup.partial(), &left).unwrap();
        setup.check(&setup.fetch().unwrap());
        let bodies = setup
            .bodies()
            .into_iter()
            .filter(|(path, _)| path.starts_with("/bucket/model"))
            .count();
        assert_eq!(bodies, downloads, "{} bytes were there", left.len());
    }
}

#[test]
fn a_passing_503_is_retried_at_every_step() {
    let setup = Setup::new();
    setup.server.fault("GET", "/revision/main", 2, Fault::Status(503, ""));
    setup.server.fault("HEAD", "config.json", 2, Fault::Status(502, ""));
    setup.server.fault("GET", "config.json", 2, Fault::Status(500, ""));
    setup.server.fault("GET", "tokenizer.json", 1, Fault::Status(429, "Retry-After: 1\r\n"));
    setup.server.storage_fault(WEIGHTS, 2, Fault::Status(403, ""));
    setup.check(&setup.fetch().unwrap());
}
