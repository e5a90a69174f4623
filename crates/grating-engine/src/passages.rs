//! Candidates that are passages of texts: their scores make the text's, and they share its fate.

use std::ops::Range;
use std::sync::Arc;

use grating_model::Logit;
use grating_prune::PassageScore;

use crate::scoring::Score;

/// Which candidates of a job are passages of which text: those of a text follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPassages {
    /// Where the passages of each text begin, and the end of the last.
    starts: Vec<u32>,
    score: PassageScore,
}

impl TextPassages {
    /// Texts of so many passages, whose scores become the text's in this way.
    ///
    /// # Panics
    /// Where a text has none, or all have more than 2^32 - 1.
    pub fn new(counts: impl IntoIterator<Item = usize>, score: PassageScore) -> Self {
        let mut starts = vec![0];
        let mut end = 0_usize;
        for count in counts {
            assert!(count > 0, "a text has at least one passage");
            end += count;
            starts.push(u32::try_from(end).expect("a job has fewer candidates than 2^32"));
        }
        TextPassages { starts, score }
    }

    /// How many texts there are.
    pub fn texts(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many passages all of them have.
    pub fn passages(&self) -> usize {
        self.starts.last().map_or(0, |&end| end as usize)
    }

    /// The passages of a text.
    pub fn of(&self, text: usize) -> Range<usize> {
        self.starts[text] as usize..self.starts[text + 1] as usize
    }

    /// The text of a passage.
    pub fn text_of(&self, passage: usize) -> usize {
        self.starts.partition_point(|&start| start as usize <= passage) - 1
    }
}

/// The latest scores of a job's passages.
pub(crate) struct PassageScores {
    texts: Arc<TextPassages>,
    latest: Vec<Logit>,
}

impl PassageScores {
    pub(crate) fn new(texts: Arc<TextPassages>) -> Self {
        let latest = vec![Logit(f32::NAN); texts.passages()];
        PassageScores { texts, latest }
    }

    /// Takes scores of passages in; those of the texts that they are of. Of a text all passages come, or none.
    pub(crate) fn observe(&mut self, scores: &[Score]) -> Vec<Score> {
        scores.iter().for_each(|&(passage, logit)| self.latest[passage] = logit);
        let mut texts: Vec<usize> =
            scores.iter().map(|&(passage, _)| self.texts.text_of(passage)).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut of_text = Vec::new();
        let combined = |text: usize| {
            of_text.clear();
            of_text.extend(self.latest[self.texts.of(text)].iter().map(|logit| logit.0));
            (text, Logit(self.texts.score.of(&of_text)))
        };
        texts.into_iter().map(combined).collect()
    }

    /// What holds of the texts, by passage.
    pub(crate) fn by_passage(&self, of_texts: &[bool]) -> Vec<bool> {
        let of_text = |text: usize| std::iter::repeat_n(of_texts[text], self.texts.of(text).len());
        (0..self.texts.texts()).flat_map(of_text).collect()
    }

    pub(crate) fn into_latest(self) -> Vec<Logit> {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_are_found_by_text_and_texts_by_passage() {
        let texts = TextPassages::new([1, 3, 2], PassageScore::Max);
        assert_eq!((texts.texts(), texts.passages()), (3, 6));
        assert_eq!([0, 1, 2].map(|text| texts.of(text)), [0..1, 1..4, 4..6]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|passage| texts.text_of(passage)), [0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_text_has_its_best_passages_score_and_passages_its_fate() {
        let mut scores = PassageScores::new(TextPassages::new([1, 3, 2], PassageScore::Max).into());
        let all = [(0, 0.5), (3, -1.0), (1, -2.0), (2, -1.5), (5, 7.0), (4, 6.0)];
        let all: Vec<Score> = all.map(|(passage, score)| (passage, Logit(score))).to_vec();
        let texts = [(0, Logit(0.5)), (1, Logit(-1.0)), (2, Logit(7.0))];
        assert_eq!(scores.observe(&all), texts);
        // Text 1 has left.
        let later = [(5, Logit(1.0)), (0, Logit(0.25)), (4, Logit(2.0))];
        assert_eq!(scores.observe(&later), [(0, Logit(0.25)), (2, Logit(2.0))]);
        let running = [true, true, true, true, false, false];
        assert_eq!(scores.by_passage(&[true, true, false]), running);
        assert_eq!(scores.into_latest(), [0.25, -2.0, -1.5, -1.0, 2.0, 1.0].map(Logit));
    }
}
