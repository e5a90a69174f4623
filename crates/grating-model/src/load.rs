//! From a model's files to something that runs: the one place where configuration, tokenizer and weights meet.

use grating_io::Checkpoint;

use crate::config::{Family, Form, ModelConfig};
use crate::error::{ModelError, Result};
use crate::model::Model;
use crate::template::{GratingJson, PairTemplate, Template};
use crate::tokenize::{EncodeOptions, TextEncoder};

/// What a caller may decide about a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Most tokens of a candidate; by default 8192 for decoders and 512 for encoders, or what `grating.json` says,
    /// or the model's positions where those are fewer.
    pub max_tokens: Option<usize>,
    /// Lets special-token strings in user text become control tokens.
    pub special_tokens_in_text: bool,
    /// Refuses a query that would have to be cut instead of cutting it.
    pub refuse_long_query: bool,
}

/// A model and the encoder of its texts.
#[derive(Debug)]
pub struct LoadedModel {
    /// Bytes to scores.
    pub model: Model,
    /// Text to ids.
    pub encoder: TextEncoder,
}

/// As the models' cards say.
const DECODER_TOKENS: usize = 8192;
const ENCODER_TOKENS: usize = 512;

impl LoadedModel {
    /// Reads `config.json`, `tokenizer.json` and, where there is one, `grating.json`, and checks the checkpoint
    /// against them.
    ///
    /// # Errors
    /// A [`ModelError`] that says which file or tensor does not fit, and what to do.
    pub fn load(
        config: &[u8],
        tokenizer: &[u8],
        grating: Option<&[u8]>,
        checkpoint: &Checkpoint,
        options: LoadOptions,
    ) -> Result<Self> {
        let config = ModelConfig::from_json(config)?;
        let grating = grating.map(GratingJson::parse).transpose()?;
        let max_tokens = max_tokens(&config, grating.as_ref(), options.max_tokens)?;
        let template = template(&config, grating)?;
        let encode = EncodeOptions {
            max_tokens,
            special_tokens_in_text: options.special_tokens_in_text,
            refuse_long_query: options.refuse_long_query,
        };
        let encoder = TextEncoder::new(tokenizer, template, encode)?;
        let answers = match config.form {
            Form::YesNo => Some(encoder.answers()?),
            Form::SequenceClassification => None,
        };
        let model = Model::load(config, checkpoint, answers)?;
        Ok(LoadedModel { model, encoder })
    }
}

fn max_tokens(
    config: &ModelConfig,
    grating: Option<&GratingJson>,
    wanted: Option<usize>,
) -> Result<usize> {
    let positions = config.max_positions;
    match wanted {
        Some(tokens) if tokens > positions => Err(ModelError::TooManyTokens { tokens, positions }),
        Some(tokens) => Ok(tokens),
        None => {
            let default = if config.family.is_decoder() { DECODER_TOKENS } else { ENCODER_TOKENS };
            Ok(grating.and_then(|g| g.max_tokens).unwrap_or(default).min(positions))
        }
    }
}

/// The family's own template, or the one of `grating.json`, which wins.
fn template(config: &ModelConfig, grating: Option<GratingJson>) -> Result<Template> {
    if let (true, Some(grating)) = (config.family.is_decoder(), grating) {
        return Ok(Template::YesNo(grating.template));
    }
    match config.family {
        Family::Qwen3 => Ok(Template::qwen3_reranker()),
        Family::Bert => Ok(Template::Pair(PairTemplate::Bert)),
        Family::XlmRoberta => Ok(Template::Pair(PairTemplate::XlmRoberta)),
        Family::Qwen2 | Family::Llama => {
            Err(ModelError::NoTemplate { architecture: config.architecture.clone() })
        }
    }
}
