//! Prompts of decoders: prefix and suffix as ids, the body as a string or several per text.

use std::ops::Range;

use tokenizers::AddedToken;

use super::control::control_tokens;
use super::vocabulary::Tokenizer;
use super::{Encoding, TokenizeError, ids};
use crate::head::Answers;
use crate::template::{Answer, BodyPart, YesNoTemplate};

/// A yes/no template in one tokenizer's terms.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
    pub(super) default_instruction: String,
    /// Looked at only where the model's head needs them.
    pub(super) answers: Result<Answers, TokenizeError>,
    /// Up to the run that holds the text.
    before: Vec<Piece>,
    /// Of that run what stands before the text.
    lead: Vec<BodyPart>,
    /// And what stands behind it.
    tail: Vec<BodyPart>,
    /// From there to the suffix.
    after: Vec<Piece>,
}

/// Instruction and query in their places, encoded as far as that does not depend on the text.
#[derive(Debug, Clone)]
pub(super) struct PromptQuery {
    /// Ids with which every candidate begins, the prefix among them.
    pub(super) certain: Vec<u32>,
    /// Which of a candidate's tokens are the query's; none where it stands behind the text.
    query: Range<u32>,
    /// Words before the text, tokenized together with it because a token may span the seam.
    pub(super) lead: String,
    /// Tokens that are left for `lead` and the text.
    pub(super) room: usize,
    /// Words behind the text, tokenized together with it.
    pub(super) tail: String,
    /// Their ids by themselves: behind a text that is cut.
    pub(super) tail_ids: Vec<u32>,
    /// Ids with which every candidate ends, the suffix among them.
    pub(super) after: Vec<u32>,
    /// Tokens of the body without any text.
    pub(super) tokens: usize,
    /// Of those, the ones of `lead`.
    lead_tokens: usize,
    /// Whether `lead` is the template's alone.
    plain_lead: bool,
    /// Whether those are too many, so that of no text anything is left.
    pub(super) truncated: bool,
}

/// Gives a user text's ids.
type Ids<'a> = &'a dyn Fn(&str) -> Result<Vec<u32>, TokenizeError>;

/// A stretch of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// A control token among the template's own words; a hard seam for the tokenizer.
    Control(u32),
    /// Tokenized as one string.
    Run(Vec<BodyPart>),
}

impl Prompt {
    /// `whole` knows control tokens. With `seams`, those in the body's own words are found here, since the tokenizer
    /// for user text will not find them.
    pub(super) fn new(
        whole: &Tokenizer,
        template: YesNoTemplate,
        seams: bool,
    ) -> Result<Self, TokenizeError> {
        let parts = template.body_parts()?;
        let own = template.body.strings().iter().chain([&template.prefix, &template.suffix]);
        own.into_iter().try_for_each(|words| check_control_tokens(whole, words))?;
        let control = if seams { control_tokens(whole) } else { Vec::new() };
        let mut before = parts.into_iter().fold(Vec::new(), |mut pieces, parts| {
            cut_at_control(&control, parts, &mut pieces);
            pieces
        });
        let (at, place) = place_of_text(&before).expect("a body with a place for the text");
        let after = before.split_off(at + 1);
        let Some(Piece::Run(mut lead)) = before.pop() else { unreachable!("the text is in a run") };
        let tail = lead.split_off(place + 1);
        lead.pop();
        Ok(Prompt {
            prefix: ids(whole, &template.prefix)?,
            suffix: ids(whole, &template.suffix)?,
            answers: answers(whole, &template),
            default_instruction: template.default_instruction,
            before,
            lead,
            tail,
            after,
        })
    }

    /// Tokens of prefix and suffix.
    pub(super) fn frame(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// Whether there is a place for an instruction.
    pub(super) fn has_instruction(&self) -> bool {
        let is_it = |part: &BodyPart| *part == BodyPart::Instruction;
        of_runs(&self.before).chain(&self.lead).any(is_it) || self.behind().any(is_it)
    }

    /// Whether what a request asks stands behind the text, so that it cannot be cut without losing what follows it.
    pub(super) fn asks_behind_text(&self) -> bool {
        self.behind().any(|part| matches!(part, BodyPart::Query | BodyPart::Instruction))
    }

    /// The body's parts behind the text.
    fn behind(&self) -> impl Iterator<Item = &BodyPart> {
        self.tail.iter().chain(of_runs(&self.after))
    }

    /// The body less the text, of which with it `room` tokens are kept at most, and of a text at most `text_tokens`.
    pub(super) fn query(
        &self,
        ids: Ids<'_>,
        (instruction, query): (&str, &str),
        room: usize,
        text_tokens: usize,
    ) -> Result<PromptQuery, TokenizeError> {
        let of_body = |pieces| of_pieces(ids, pieces, instruction, query);
        let (lead, tail) =
            (fill(&self.lead, instruction, query), fill(&self.tail, instruction, query));
        let (before, after, tail_ids) =
            (of_body(&self.before)?, of_body(&self.after)?, ids(&tail)?);
        let behind = tail_ids.len() + after.len();
        let lead_tokens = ids(&lead)?.len();
        let tokens = before.len() + lead_tokens + behind;
        let room_before = room.saturating_sub(behind);
        let room_left = room_before.saturating_sub(before.len());
        let kept = &before[..before.len().min(room_before)];
        let query_at = self.place_of_query(ids, (instruction, query))?;
        Ok(PromptQuery {
            query: query_at,
            certain: [&self.prefix, kept].concat(),
            lead,
            room: room_left.min(lead_tokens.saturating_add(text_tokens)),
            tail,
            tail_ids,
            after: [after.as_slice(), &self.suffix].concat(),
            tokens,
            lead_tokens,
            plain_lead: self.lead.iter().all(|part| matches!(part, BodyPart::Literal(_))),
            truncated: tokens > room,
        })
    }

    /// Which tokens are the query's before the text, those of the words up to it and with it told apart by their number.
    fn place_of_query(
        &self,
        ids: Ids<'_>,
        (instruction, query): (&str, &str),
    ) -> Result<Range<u32>, TokenizeError> {
        let count = |parts: &[BodyPart]| -> Result<usize, TokenizeError> {
            Ok(ids(&fill(parts, instruction, query))?.len())
        };
        let mut at = self.prefix.len();
        let lead = Piece::Run(self.lead.clone());
        for piece in self.before.iter().chain([&lead]) {
            let Piece::Run(parts) = piece else {
                at += 1;
                continue;
            };
            if let Some(place) = parts.iter().position(|part| *part == BodyPart::Query) {
                let (start, end) = (count(&parts[..place])?, count(&parts[..=place])?);
                return Ok((at + start) as u32..(at + end) as u32);
            }
            at += count(parts)?;
        }
        Ok(0..0)
    }
}

impl PromptQuery {
    /// The candidate of a text, and whether that was cut. `text_ids` are the first ids of lead and text, [`Self::MARGIN`]
    /// more than there is room for, if there are so many, and `more` says whether there are others. `whole` gives the
    /// ids of lead, text and tail as one, where they are at most so many.
    pub(super) fn candidate(
        &self,
        (mut text_ids, more): (Vec<u32>, bool),
        whole: impl FnOnce(usize) -> Result<Option<Vec<u32>>, TokenizeError>,
    ) -> Result<(Vec<u32>, bool), TokenizeError> {
        if !self.tail.is_empty()
            && !more
            && let Some(whole) = whole(self.room + self.tail_ids.len())?
        {
            return Ok(([&self.certain, whole.as_slice(), &self.after].concat(), false));
        }
        let cut = text_ids.len() > self.room;
        text_ids.truncate(self.room);
        Ok(([&self.certain, text_ids.as_slice(), &self.tail_ids, &self.after].concat(), cut))
    }

    /// The [candidate](Self::candidate) of these ids, with its stretches.
    pub(super) fn encoding(&self, ids: Vec<u32>, truncated: bool) -> Encoding {
        Encoding {
            query: self.query.clone(),
            text: self.text_of(ids.len()),
            passage: self.passage_of(ids.len()),
            ids,
            type_ids: Vec::new(),
            truncated,
            query_truncated: self.truncated,
        }
    }

    /// Which tokens of a candidate of so many are the text's.
    fn text_of(&self, tokens: usize) -> Range<u32> {
        let end = tokens.saturating_sub(self.after.len() + self.tail_ids.len());
        let start = (self.certain.len() + self.lead_tokens).min(end);
        start as u32..end as u32
    }

    /// Which tokens of a candidate of so many are the passage's: the text's with the template's words right before it.
    fn passage_of(&self, tokens: usize) -> Range<u32> {
        let text = self.text_of(tokens);
        match self.plain_lead {
            true => (self.certain.len() as u32).min(text.start)..text.end,
            false => text,
        }
    }

    /// Tokens by which a text may be longer than its room by itself, and yet fit with what follows it: the last ones
    /// may merge with the first ones behind.
    pub(super) const MARGIN: usize = 8;
}

/// Where the text is: the number of its run, and its place in that.
fn place_of_text(pieces: &[Piece]) -> Option<(usize, usize)> {
    pieces.iter().enumerate().find_map(|(at, piece)| match piece {
        Piece::Run(parts) => Some((at, parts.iter().position(|p| *p == BodyPart::Document)?)),
        Piece::Control(_) => None,
    })
}

fn of_runs(pieces: &[Piece]) -> impl Iterator<Item = &BodyPart> {
    let runs = pieces.iter().filter_map(|piece| match piece {
        Piece::Run(parts) => Some(parts),
        Piece::Control(_) => None,
    });
    runs.flatten()
}

/// Ids of pieces with instruction and query in their places.
fn of_pieces(
    ids: Ids<'_>,
    pieces: &[Piece],
    instruction: &str,
    query: &str,
) -> Result<Vec<u32>, TokenizeError> {
    let mut found = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Control(id) => found.push(*id),
            Piece::Run(parts) => found.extend(ids(&fill(parts, instruction, query))?),
        }
    }
    Ok(found)
}

fn fill(parts: &[BodyPart], instruction: &str, query: &str) -> String {
    parts.iter().map(|part| part.fill(instruction, query)).collect()
}

impl BodyPart {
    fn fill<'a>(&'a self, instruction: &'a str, query: &'a str) -> &'a str {
        match self {
            BodyPart::Literal(words) => words,
            BodyPart::Instruction => instruction,
            BodyPart::Query => query,
            BodyPart::Document => "",
        }
    }
}

/// The ids whose rows of the head make the score.
fn answers(whole: &Tokenizer, template: &YesNoTemplate) -> Result<Answers, TokenizeError> {
    let id = |answer: &Answer| match answer {
        Answer::Id(id) => Ok(*id),
        Answer::Word(word) => answer_id(whole, word),
    };
    let yes = id(&template.yes)?;
    let Some(word) = &template.no else { return Ok(Answers { yes, no: None }) };
    let no = id(word)?;
    if yes == no {
        let (yes, no) = (template.yes.to_string(), word.to_string());
        return Err(TokenizeError::AnswersEqual { yes, no });
    }
    Ok(Answers { yes, no: Some(no) })
}

/// The id of an answer: the one token that it is as text, or the token of that name (`Ġyes`).
pub(super) fn answer_id(tokenizer: &Tokenizer, answer: &str) -> Result<u32, TokenizeError> {
    let as_text = ids(tokenizer, answer)?;
    let by_name = || tokenizer.token_to_id(answer);
    match as_text.as_slice() {
        [id] => Ok(*id),
        many => by_name().ok_or_else(|| TokenizeError::AnswerNotOneToken {
            answer: answer.into(),
            tokens: many.len(),
        }),
    }
}

/// `<|name|>` in a template is a control token; a tokenizer that does not know it belongs to another model and would
/// take it for text without a word.
fn check_control_tokens(whole: &Tokenizer, words: &str) -> Result<(), TokenizeError> {
    // `<s>`, `<bos>`: a string that is one.
    let is_one = words.starts_with('<')
        && words.ends_with('>')
        && words.chars().all(|c| c.is_alphanumeric() || matches!(c, '<' | '>' | '_'));
    if is_one && whole.token_to_id(words).is_none() {
        return Err(TokenizeError::MissingToken { token: words.into() });
    }
    let mut rest = words;
    while let Some(start) = rest.find("<|") {
        let Some(end) = rest[start..].find("|>") else { return Ok(()) };
        let token = &rest[start..start + end + 2];
        if whole.token_to_id(token).is_none() && !token.contains(char::is_whitespace) {
            return Err(TokenizeError::MissingToken { token: token.into() });
        }
        rest = &rest[start + end + 2..];
    }
    Ok(())
}

/// Appends a string of the body, its own words cut at these control tokens.
fn cut_at_control(control: &[(u32, AddedToken)], parts: Vec<BodyPart>, pieces: &mut Vec<Piece>) {
    let mut run = Vec::new();
    for part in parts {
        let BodyPart::Literal(words) = part else {
            run.push(part);
            continue;
        };
        let mut rest = words.as_str();
        // The leftmost one, and of those that begin there the longest, as the tokenizer itself has it.
        while let Some((at, (id, token))) = control
            .iter()
            .filter_map(|entry| Some((rest.find(&entry.1.content)?, entry)))
            .min_by_key(|(at, (_, token))| (*at, usize::MAX - token.content.len()))
        {
            let (before, after) = (&rest[..at], &rest[at + token.content.len()..]);
            let before = if token.lstrip { before.trim_end() } else { before };
            rest = if token.rstrip { after.trim_start() } else { after };
            push_literal(&mut run, before);
            if !run.is_empty() {
                pieces.push(Piece::Run(std::mem::take(&mut run)));
            }
            pieces.push(Piece::Control(*id));
        }
        push_literal(&mut run, rest);
    }
    if !run.is_empty() {
        pieces.push(Piece::Run(run));
    }
}

fn push_literal(run: &mut Vec<BodyPart>, words: &str) {
    if !words.is_empty() {
        run.push(BodyPart::Literal(words.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::wordlevel::WordLevel;

    use super::super::vocabulary::Vocabulary;

    use super::*;

    #[test]
    fn a_body_is_cut_at_its_control_tokens() {
        let mut tokenizer = Tokenizer::new(Vocabulary::Other(WordLevel::default().into()));
        let tokens = [
            AddedToken::from("<a>", true),
            AddedToken::from("<a><b>", true),
            AddedToken::from("<r>", true).rstrip(true),
            AddedToken::from("<l>", true).lstrip(true),
            AddedToken::from("word", false),
        ];
        tokenizer.add_special_tokens(tokens).unwrap();
        let id = |name: &str| Piece::Control(tokenizer.token_to_id(name).unwrap());
        let literal = |words: &str| BodyPart::Literal(words.into());
        let cut = |words: &str| {
            let mut pieces = Vec::new();
            let parts = vec![literal(words), BodyPart::Query];
            cut_at_control(&control_tokens(&tokenizer), parts, &mut pieces);
            pieces
        };

        let run = |parts: &[BodyPart]| Piece::Run(parts.to_vec());
        assert_eq!(cut("a word "), [run(&[literal("a word "), BodyPart::Query])]);
        let pieces = cut("x<a><b>y <l><r> z");
        let own = |words| run(&[literal(words)]);
        let last = run(&[literal("z"), BodyPart::Query]);
        assert_eq!(pieces, [own("x"), id("<a><b>"), own("y"), id("<l>"), id("<r>"), last]);
    }
}
