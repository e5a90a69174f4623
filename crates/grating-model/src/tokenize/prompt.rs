//! Prompts of decoders: prefix and suffix as ids, the body as one string per text.

use super::control::control_tokens;
use super::vocabulary::Tokenizer;
use super::{TokenizeError, ids};
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
    /// Up to the run that ends with the text.
    pieces: Vec<Piece>,
    /// That run, less the text.
    lead: Vec<BodyPart>,
}

/// Instruction and query in their places, encoded as far as that does not depend on the text.
#[derive(Debug, Clone)]
pub(super) struct PromptQuery {
    /// Ids with which every candidate begins, the prefix among them.
    pub(super) certain: Vec<u32>,
    /// Words before the text, tokenized together with it because a token may span the seam.
    pub(super) lead: String,
    /// Tokens that are left for `lead` and the text.
    pub(super) room: usize,
    /// Tokens of the body without any text.
    pub(super) tokens: usize,
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
        for part in [&template.prefix, &template.body, &template.suffix] {
            check_control_tokens(whole, part)?;
        }
        let mut parts = template.body_parts()?;
        parts.pop(); // the text, which `body_parts` guarantees to be the last
        let (pieces, lead) = if seams { cut_at_control(whole, parts) } else { (Vec::new(), parts) };
        Ok(Prompt {
            prefix: ids(whole, &template.prefix)?,
            suffix: ids(whole, &template.suffix)?,
            answers: answers(whole, &template),
            default_instruction: template.default_instruction,
            pieces,
            lead,
        })
    }

    /// Tokens of prefix and suffix.
    pub(super) fn frame(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// Whether there is a place for an instruction.
    pub(super) fn has_instruction(&self) -> bool {
        let of_pieces = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Run(parts) => Some(parts),
            Piece::Control(_) => None,
        });
        of_pieces.chain([&self.lead]).flatten().any(|part| *part == BodyPart::Instruction)
    }

    /// The body up to the text, of which `room` tokens are kept at most.
    pub(super) fn query(
        &self,
        ids: Ids<'_>,
        instruction: &str,
        query: &str,
        room: usize,
    ) -> Result<PromptQuery, TokenizeError> {
        let (mut certain, lead) = self.before_text(ids, instruction, query)?;
        let body = certain.len() - self.prefix.len();
        let tokens = body + ids(&lead)?.len();
        certain.truncate(self.prefix.len() + room);
        let room_left = room.saturating_sub(body);
        Ok(PromptQuery { certain, lead, room: room_left, tokens, truncated: tokens > room })
    }

    /// What precedes every text: ids that are certain, and the words that are tokenized together with the text.
    pub(super) fn before_text(
        &self,
        ids: Ids<'_>,
        instruction: &str,
        query: &str,
    ) -> Result<(Vec<u32>, String), TokenizeError> {
        let fill = |parts: &[BodyPart]| -> String {
            parts.iter().map(|part| part.fill(instruction, query)).collect()
        };
        let mut certain = self.prefix.clone();
        for piece in &self.pieces {
            match piece {
                Piece::Control(id) => certain.push(*id),
                Piece::Run(parts) => certain.extend(ids(&fill(parts))?),
            }
        }
        Ok((certain, fill(&self.lead)))
    }
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

/// The body's own words cut at control tokens, and the run after the last of them.
fn cut_at_control(whole: &Tokenizer, parts: Vec<BodyPart>) -> (Vec<Piece>, Vec<BodyPart>) {
    let control = control_tokens(whole);
    let (mut pieces, mut run) = (Vec::new(), Vec::new());
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
    (pieces, run)
}

fn push_literal(run: &mut Vec<BodyPart>, words: &str) {
    if !words.is_empty() {
        run.push(BodyPart::Literal(words.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::AddedToken;
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
        let cut = |words: &str| cut_at_control(&tokenizer, vec![literal(words), BodyPart::Query]);

        assert_eq!(cut("a word "), (vec![], vec![literal("a word "), BodyPart::Query]));
        let (pieces, lead) = cut("x<a><b>y <l><r> z");
        let run = |words| Piece::Run(vec![literal(words)]);
        assert_eq!(pieces, [run("x"), id("<a><b>"), run("y"), id("<l>"), id("<r>")]);
        assert_eq!(lead, [literal("z"), BodyPart::Query]);
    }
}
