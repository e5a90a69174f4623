//! Texts for planted checkpoints: as relevant as asked for, and otherwise random.

use super::{Description, MARKER_SHARE, MOST_RELEVANT, TOPIC_WORDS};
use crate::random::Random;

impl Description {
    /// `count` texts of `words` words, in random order, whose relevance is spread as the profile's
    /// final scores are.
    pub(crate) fn texts(&self, count: usize, words: usize, seed: u64) -> Vec<String> {
        let mut random = Random::new(seed);
        let mut ranks: Vec<usize> = (0..count).collect();
        random.shuffle(&mut ranks);
        let relevance = ranks.into_iter().map(|rank| self.profile.relevance_at(rank, count));
        relevance.map(|relevance| self.text(words, relevance, &mut random)).collect()
    }

    /// One text of standardised relevance `relevance`.
    fn text(&self, words: usize, relevance: f64, random: &mut Random) -> String {
        let markers = (words as f64 * MARKER_SHARE).round();
        let positive = (relevance / MOST_RELEVANT).clamp(-1.0, 1.0) * 0.5 + 0.5;
        let (markers, positive) = (markers as usize, (markers * positive).round() as usize);
        let mut topic: Vec<&str> = self.neutral.iter().map(String::as_str).collect();
        random.shuffle(&mut topic);
        topic.truncate(TOPIC_WORDS);
        let mut text: Vec<&str> = Vec::with_capacity(words);
        text.extend((0..positive).map(|i| self.plus[i % self.plus.len()].as_str()));
        text.extend((positive..markers).map(|i| self.minus[i % self.minus.len()].as_str()));
        text.extend((markers..words).map(|_| topic[random.below(topic.len())]));
        random.shuffle(&mut text);
        text.join(" ")
    }
}
