//! Long runs of marks, several in a word.

use proptest::prelude::*;

use super::*;

/// Whether every tokenizer gives the ids of the whole text, in pieces of several sizes.
fn check(text: &str, pieces: &[usize]) -> Result<(), TestCaseError> {
    for (kind, file) in files() {
        let all = reference(&file).encode_fast(text, false).unwrap().get_ids().to_vec();
        let ours = ours(&file);
        for &piece in pieces {
            let found = in_pieces(&ours, text, all.len(), piece);
            prop_assert_eq!(found, (all.clone(), false), "{}, {}, {:?}", kind, piece, text);
        }
    }
    Ok(())
}

/// What is kept of the first run would be composed with marks of the second, if that went on in it.
#[test]
fn a_run_does_not_go_on_in_another() {
    for base in ["ƀ", "b", "\u{13000}"] {
        for last in ["\u{302}", "\u{302}\u{303}", "\u{345}"] {
            let (low, last) = ("\u{334}".repeat(200), last.repeat(100));
            let text = ["window a", &low, base, &low, &last, "river"].concat();
            check(&text, &[150, 400, 900]).unwrap();
        }
    }
}

/// What is composed with the base stands before what is left out, where the run was said to begin.
#[test]
fn a_run_may_begin_with_what_is_left_out() {
    for left_out in ["\u{1}", "\u{1}\u{200b}", "\u{feff}"] {
        let text = ["window g", left_out, &"\u{323}\u{301}".repeat(300), "river"].concat();
        check(&text, &[150, 400, 900]).unwrap();
    }
}

/// Runs of marks of a few classes, each behind a letter that may be composed with some of them.
fn runs() -> impl Strategy<Value = String> {
    let marks = || {
        let mark = prop::sample::select(vec![
            "\u{334}", "\u{338}", "\u{327}", "\u{328}", "\u{31b}", "\u{323}", "\u{316}", "\u{301}",
            "\u{302}", "\u{308}", "\u{30a}", "\u{340}", "\u{345}", "\u{344}", "\u{358}",
        ]);
        prop_oneof![
            3 => prop::collection::vec(mark.clone(), 1..6).prop_flat_map(|few| {
                prop::collection::vec(prop::sample::select(few), 1..200)
            }),
            2 => (mark, 1..200_usize).prop_map(|(mark, times)| vec![mark; times]),
        ]
        .prop_map(|marks| marks.concat())
    };
    let base = prop::sample::select(vec![
        "a",
        "e",
        "ƀ",
        "ạ",
        "ậ",
        "α",
        "ṡ",
        "o",
        "Ⱥ",
        "東",
        "🙂",
        "g\u{1}",
        "o\u{200b}\u{1}",
        "ab",
        "ḗḗḗ",
    ]);
    prop::collection::vec((base, marks()), 1..8)
        .prop_map(|runs| runs.into_iter().map(|(base, marks)| [base, &marks].concat()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn runs_give_the_ids_of_the_whole(text in runs(), piece in 150_usize..900) {
        check(&text, &[piece])?;
    }
}
