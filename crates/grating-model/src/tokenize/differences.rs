//! Where a `tokenizer.json` and the files beside it disagree.

use serde_json::{Value, json};

use super::TokenizeError;
use super::class::{Assembled, TokenizerClass, TokenizerJson};
use super::frame::{Frame, Placed};
use super::guard::guarded;
use super::settings::{Settings, TokenizerFiles};
use crate::config::ModelConfig;

/// Where a model's `tokenizer.json` and the files beside it disagree, a sentence each. The latter win, as in
/// transformers.
///
/// # Errors
/// As [`super::TextEncoder::of_model`].
pub fn tokenizer_differences(
    files: &TokenizerFiles<'_>,
    config: &ModelConfig,
) -> Result<Vec<String>, TokenizeError> {
    guarded(|| compare_parts(files, config))
}

fn compare_parts(
    files: &TokenizerFiles<'_>,
    config: &ModelConfig,
) -> Result<Vec<String>, TokenizeError> {
    let settings = Settings::read(files)?;
    let json = TokenizerJson::parse(files.tokenizer)?;
    let class = TokenizerClass::of(config, &settings, &json)?;
    let written = TokenizerJson::parse(files.tokenizer)?
        .assemble(TokenizerClass::AsWritten, &Settings::default())?;
    let used = json.assemble(class, &settings)?;
    let mut found = Vec::new();
    let mut compare = |part: &str, written: Value, used: Value| {
        if written != used {
            let (class, written, used) = (class.name(), short(&written), short(&used));
            found.push(format!("{part}: tokenizer.json has {written}, {class} uses {used}"));
        }
    };
    let value = |part: serde_json::Result<Value>| part.unwrap_or_default();
    let normalizer = |of: &Assembled| value(serde_json::to_value(of.tokenizer.get_normalizer()));
    compare("normalizer", normalizer(&written), normalizer(&used));
    let pre = |of: &Assembled| value(serde_json::to_value(of.tokenizer.get_pre_tokenizer()));
    compare("pre_tokenizer", pre(&written), pre(&used));
    let unknown = |of: &Assembled| json!(of.unknown);
    compare("the id of unknown words", unknown(&written), unknown(&used));
    compare("added tokens", added_tokens(&written), added_tokens(&used));
    let frame = |of: &Assembled| -> Result<Value, TokenizeError> {
        let own = of.frame.clone();
        let frame = match (own, &of.post_processor) {
            (Some(frame), _) => Some(frame),
            (None, Some(processor)) => Some(Frame::of(processor)?),
            (None, None) => None,
        };
        let ids = |placed: &[Placed]| -> Vec<u32> { placed.iter().map(|(id, _)| *id).collect() };
        Ok(json!(frame.map(|f| [ids(&f.start), ids(&f.between), ids(&f.end)])))
    };
    if !config.family.reads_prompts() {
        compare("tokens around a pair", frame(&written)?, frame(&used)?);
    }
    Ok(found)
}

/// Ids and contents of the added tokens that steer what a text becomes.
fn added_tokens(of: &Assembled) -> Value {
    let tokens = of.tokenizer.get_added_tokens_decoder();
    let mut tokens: Vec<(u32, String)> =
        tokens.into_iter().map(|(id, token)| (id, token.content)).collect();
    tokens.sort();
    json!(tokens)
}

/// A value in so many letters as a line has room for; tables are long.
fn short(value: &Value) -> String {
    const MOST: usize = 300;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
