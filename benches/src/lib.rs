//! Pools and models that the benches share, and the dates of what the reports are made of.
//!
//! The model is the project's default one, which has the shape of ms-marco-MiniLM-L-6 (6 layers, hidden 384): weights
//! do not change time or memory, shapes do.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use grating_io::Checkpoint;
use grating_model::{LoadOptions, LoadedModel, SideFiles};

/// Folder of the default model.
pub fn default_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/default")
}

/// The default model, opened.
///
/// # Panics
/// If the repository's own model is not in order.
pub fn load_default() -> (LoadedModel, Checkpoint) {
    let folder = default_model();
    let read = |name: &str| {
        std::fs::read(folder.join(name)).expect("the repository holds the default model")
    };
    let checkpoint = Checkpoint::open(&folder).expect("the default model's weights are in order");
    let (config, tokenizer) = (read("config.json"), read("tokenizer.json"));
    let (files, options) = (SideFiles::default(), LoadOptions::default());
    let loaded =
        LoadedModel::load(&config, tokenizer.as_slice(), None, &files, &checkpoint, options);
    (loaded.expect("the default model is in order"), checkpoint)
}

/// `n` texts of about `words` common words each (about one token a word), all different.
pub fn pool(n: usize, words: usize) -> Vec<String> {
    const WORDS: [&str; 16] = [
        "water", "light", "engine", "market", "river", "paper", "music", "school", "winter",
        "bridge", "garden", "doctor", "island", "window", "number", "forest",
    ];
    let text = |i: usize| {
        // A small multiplicative walk: deterministic, and no two texts alike.
        let word = |j: usize| WORDS[(i * 7 + j * (i % 11 + 3)) % WORDS.len()];
        let words: Vec<&str> = (0..words).map(word).collect();
        format!("{} {i}", words.join(" "))
    };
    (0..n).map(text).collect()
}

/// When files were written, as reports say when they were measured: `2026-11-21`, or `2026-11-21 to 2026-11-22`. Files
/// that are not there have no date.
pub fn dates<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> String {
    let written = |file: P| file.as_ref().metadata().and_then(|about| about.modified()).ok();
    let mut days: Vec<String> = files.into_iter().filter_map(written).map(day).collect();
    days.sort_unstable();
    match (days.first(), days.last()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (first, _) => first.cloned().unwrap_or_default(),
    }
}

/// The day of a time, in UTC, of the calendar that ISO 8601 counts by.
fn day(time: SystemTime) -> String {
    let days = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    // Years begin in March here, so that the day that some of them have more is their last, and come in eras of 400.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (year, month + 3),
        _ => (year + 1, month - 9),
    };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| day(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_399), "2000-02-28");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_709_251_199), "2024-02-29");
        assert_eq!(at(1_798_761_599), "2026-12-31");
        assert_eq!(at(4_107_542_400), "2100-03-01");
    }

    #[test]
    fn files_have_dates_and_missing_ones_none() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(dates([&manifest, &manifest]).len(), "2026-11-21".len());
        assert_eq!(dates([Path::new("no such file")]), "");
    }
}
