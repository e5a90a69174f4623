//! Cutting long text where it pauses.

/// About as many tokens as a text has: four characters each, as English has with common vocabularies.
pub fn approximate_tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

/// Cuts `text` into segments of at most about `tokens` tokens, at the ends of paragraphs where that is
/// possible, else of sentences, else of words. Nothing but white space is lost.
pub fn segments(text: &str, tokens: usize) -> Vec<String> {
    let mut segments: Vec<String> = Vec::new();
    let mut open = String::new();
    for sentence in sentences(text) {
        let paragraph_ends = sentence.ends_with("\n\n");
        for piece in pieces(sentence, tokens) {
            if !open.is_empty() && approximate_tokens(&open) + approximate_tokens(piece) > tokens {
                segments.push(std::mem::take(&mut open).trim().to_owned());
            }
            open.push_str(piece);
        }
        // A paragraph that has half filled its segment ends it.
        if paragraph_ends && approximate_tokens(&open) * 2 > tokens {
            segments.push(std::mem::take(&mut open).trim().to_owned());
        }
    }
    segments.push(open.trim().to_owned());
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// Sentences with the white space behind them.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let (mut start, mut ended) = (0, false);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if ended && !c.is_whitespace() {
            sentences.push(&text[start..at]);
            (start, ended) = (at, false);
        }
        ended |= c.is_whitespace() && ".!?".contains(before) || c == '\n' && before == '\n';
        before = c;
    }
    sentences.push(&text[start..]);
    sentences
}

/// A sentence that is too long, cut between words.
fn pieces(sentence: &str, tokens: usize) -> Vec<&str> {
    if approximate_tokens(sentence) <= tokens {
        return vec![sentence];
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    let words = sentence.split_inclusive(char::is_whitespace);
    let mut at = 0;
    for word in words {
        if at > start && approximate_tokens(&sentence[start..at + word.len()]) > tokens {
            pieces.push(&sentence[start..at]);
            start = at;
        }
        at += word.len();
    }
    pieces.push(&sentence[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_end_where_sentences_do_and_lose_nothing() {
        let text = "One two three. Four five six! Seven?\n\nEight nine ten eleven. Twelve.";
        let cut = segments(text, 8);
        assert!(cut.len() > 2, "{cut:?}");
        assert!(cut.iter().all(|s| approximate_tokens(s) <= 8 && s.ends_with(['.', '!', '?'])));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&cut.join(" ")), words(text));
    }

    #[test]
    fn a_sentence_without_end_is_cut_between_words() {
        let text = "word ".repeat(100);
        let cut = segments(&text, 10);
        assert!(cut.len() >= 12 && cut.iter().all(|s| approximate_tokens(s) <= 10), "{cut:?}");
        assert!(segments("", 10).is_empty());
        assert_eq!(segments("x".repeat(100).as_str(), 10).len(), 1, "one word stays whole");
    }
}
