//! The tokens around a pair, with their types: what a tokenizer's post-processor puts there.

use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Token};

use super::TokenizeError;
use super::vocabulary::Tokenizer;
use crate::template::PairTemplate;

/// What stands before a query, between it and the text, and after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Before the query.
    pub(super) start: Vec<Placed>,
    /// Between query and text.
    pub(super) between: Vec<Placed>,
    /// After the text.
    pub(super) end: Vec<Placed>,
    /// Type of the query's tokens.
    pub(super) query_type: u8,
    /// Type of the text's tokens.
    pub(super) text_type: u8,
}

/// A token of the frame and its type.
pub(super) type Placed = (u32, u8);

/// Ids that stand for the query and the text while a post-processor is tried; no vocabulary has so many entries.
const QUERY: u32 = u32::MAX;
const TEXT: u32 = u32::MAX - 1;

impl Frame {
    /// With types 0 up to the text and 1 from there.
    pub(super) fn typed(start: &[u32], between: &[u32], end: &[u32]) -> Self {
        let placed = |ids: &[u32], kind| ids.iter().map(|&id| (id, kind)).collect();
        Frame {
            start: placed(start, 0),
            between: placed(between, 0),
            end: placed(end, 1),
            query_type: 0,
            text_type: 1,
        }
    }

    /// With types that are 0 throughout.
    pub(super) fn untyped(start: &[u32], between: &[u32], end: &[u32]) -> Self {
        let mut frame = Frame::typed(start, between, end);
        frame.text_type = 0;
        frame.end.iter_mut().for_each(|(_, kind)| *kind = 0);
        frame
    }

    /// The frame that `processor` makes, found by letting it process a pair of one token each.
    ///
    /// # Errors
    /// [`TokenizeError::TokenizerJson`] where it does not put one query before one text.
    pub(super) fn of(processor: &PostProcessorWrapper) -> Result<Self, TokenizeError> {
        let unusable = |reason: String| TokenizeError::TokenizerJson { reason };
        let one = |id| Encoding::from_tokens(vec![Token::new(id, "a".into(), (0, 1))], 0);
        let pair = processor
            .process(one(QUERY), Some(one(TEXT)), true)
            .map_err(|error| unusable(error.to_string()))?;
        let kind = |kind: &u32| {
            u8::try_from(*kind).map_err(|_| unusable(format!("a token type is {kind}")))
        };
        let kinds = pair.get_type_ids().iter().map(kind).collect::<Result<Vec<u8>, _>>()?;
        let placed: Vec<Placed> = pair.get_ids().iter().copied().zip(kinds).collect();
        let places = |id| placed.iter().enumerate().filter(move |(_, p)| p.0 == id).map(|(i, _)| i);
        let (queries, texts): (Vec<usize>, Vec<usize>) =
            (places(QUERY).collect(), places(TEXT).collect());
        match (&queries[..], &texts[..]) {
            (&[query], &[text]) if query < text => Ok(Frame {
                start: placed[..query].to_vec(),
                between: placed[query + 1..text].to_vec(),
                end: placed[text + 1..].to_vec(),
                query_type: placed[query].1,
                text_type: placed[text].1,
            }),
            _ => Err(unusable("its post_processor does not put a query before a text".into())),
        }
    }

    /// Tokens in all.
    pub(super) fn len(&self) -> usize {
        self.start.len() + self.between.len() + self.end.len()
    }

    /// Ids and types up to the text.
    pub(super) fn around(&self, query: &[u32]) -> (Vec<u32>, Vec<u8>) {
        let query = query.iter().map(|&id| (id, self.query_type));
        let placed = self.start.iter().copied().chain(query).chain(self.between.iter().copied());
        placed.unzip()
    }

    /// A family's usual frame, for a tokenizer that says nothing of one.
    pub(super) fn usual(whole: &Tokenizer, template: PairTemplate) -> Result<Self, TokenizeError> {
        let id = |token: &str| {
            let missing = || TokenizeError::MissingToken { token: token.into() };
            whole.token_to_id(token).ok_or_else(missing)
        };
        Ok(match template {
            PairTemplate::Bert => {
                let (cls, sep) = (id("[CLS]")?, id("[SEP]")?);
                Frame::typed(&[cls], &[sep], &[sep])
            }
            PairTemplate::XlmRoberta => {
                let (start, end) = (id("<s>")?, id("</s>")?);
                Frame::untyped(&[start], &[end, end], &[end])
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(processor: &str) -> Result<Frame, TokenizeError> {
        Frame::of(&serde_json::from_str(processor).unwrap())
    }

    #[test]
    fn each_kind_of_post_processor_is_understood() {
        let bert = r#"{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]}"#;
        assert_eq!(frame(bert).unwrap(), Frame::typed(&[2], &[3], &[3]));
        let roberta = r#"{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],
            "trim_offsets":true,"add_prefix_space":false}"#;
        assert_eq!(frame(roberta).unwrap(), Frame::untyped(&[0], &[2, 2], &[2]));
        let special = |id: &str, ids: &str| {
            format!(
                r#""{id}":{{"id":"{id}","ids":[{ids}],"tokens":[{}]}}"#,
                ids.split(',').map(|i| format!("\"t{i}\"")).collect::<Vec<_>>().join(",")
            )
        };
        let template = format!(
            r#"{{"type":"TemplateProcessing","single":[],"pair":[
            {{"SpecialToken":{{"id":"a","type_id":1}}}},{{"Sequence":{{"id":"A","type_id":2}}}},
            {{"SpecialToken":{{"id":"b","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":0}}}},
            {{"SpecialToken":{{"id":"a","type_id":3}}}}],"special_tokens":{{{},{}}}}}"#,
            special("a", "7"),
            special("b", "8,9")
        );
        let expected = Frame {
            start: vec![(7, 1)],
            between: vec![(8, 0), (9, 0)],
            end: vec![(7, 3)],
            query_type: 2,
            text_type: 0,
        };
        assert_eq!(frame(&template).unwrap(), expected);
        let both = format!(
            r#"{{"type":"Sequence","processors":[{{"type":"ByteLevel","add_prefix_space":true,
            "trim_offsets":true,"use_regex":true}},{template}]}}"#
        );
        assert_eq!(frame(&both).unwrap(), expected);
        let bare =
            r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#;
        assert_eq!(frame(bare).unwrap(), Frame::typed(&[], &[], &[]));
    }

    #[test]
    fn a_post_processor_that_turns_the_pair_around_or_loses_a_part_is_refused() {
        let pair = |pieces: [&str; 2]| {
            let piece = |id: &str| format!(r#"{{"Sequence":{{"id":"{id}","type_id":0}}}}"#);
            let [first, second] = pieces.map(piece);
            frame(&format!(
                r#"{{"type":"TemplateProcessing","single":[{first}],"pair":[{first},{second}],"special_tokens":{{}}}}"#
            ))
        };
        assert!(pair(["A", "B"]).is_ok());
        assert!(pair(["B", "A"]).is_err());
    }
}
