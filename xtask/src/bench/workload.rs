//! Queries and texts of the timed tables.

use super::model::Model;
use crate::models::common_words;
use crate::random::Random;

/// One query with its candidates.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Workload {
    pub(super) query: String,
    pub(super) texts: Vec<String>,
    /// What it is, as part of a cell's key.
    pub(super) name: String,
}

const QUERY: &str = "which river flows through the city and where does it begin";

/// `candidates` texts that make `tokens` tokens each with the model's template: for a planted model
/// with its markers, for others of common words that take words of the query up in varying number.
pub(super) fn made(model: &Model, candidates: usize, tokens: usize, seed: u64) -> Workload {
    let words = tokens.saturating_sub(model.overhead_tokens()).max(4);
    let texts = match &model.planted {
        Some(description) => description.texts(candidates, words, seed),
        None => plain(candidates, words, seed),
    };
    let name = format!("made: {candidates} texts of {words} words, seed {seed}");
    Workload { query: QUERY.to_owned(), texts, name }
}

fn plain(candidates: usize, words: usize, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let common = common_words();
    let asked: Vec<&str> = QUERY.split(' ').collect();
    let text = |candidate: usize, random: &mut Random| {
        // From nothing of the query to a tenth of the text.
        let share = candidate * words / (10 * candidates);
        let mut text: Vec<&str> = (0..words)
            .map(|i| match i < share {
                true => asked[random.below(asked.len())],
                false => common[random.below(common.len())],
            })
            .collect();
        random.shuffle(&mut text);
        text.join(" ")
    };
    let mut texts: Vec<String> = (0..candidates).map(|i| text(i, &mut random)).collect();
    random.shuffle(&mut texts);
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_texts_have_their_length_and_depend_on_the_seed() {
        let texts = plain(20, 50, 1);
        assert_eq!(texts.len(), 20);
        assert!(texts.iter().all(|text| text.split(' ').count() == 50));
        assert_eq!(texts, plain(20, 50, 1));
        assert_ne!(texts, plain(20, 50, 2));
    }
}
