//! From a model's files to something that runs: the one place where configuration, tokenizer and weights meet.

use grating_io::Checkpoint;

use crate::compression::TokenCompression;
use crate::config::{Form, ModelConfig};
use crate::error::{ModelError, Result};
use crate::identity::{Evidence, Identity};
use crate::model::Model;
use crate::side_files::SideFiles;
use crate::template::GratingJson;
use crate::tokenize::{EncodeOptions, Settings, TextEncoder, TokenizerFiles};

/// What a caller may decide about a model.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Most tokens of a candidate. By default what `grating.json` says, or else the model's own limit
    /// (`model_max_length`), for decoders at most 8192, and never more than the model's positions.
    pub max_tokens: Option<usize>,
    /// Lets special-token strings in user text become control tokens.
    pub special_tokens_in_text: bool,
    /// Refuses a query that would have to be cut instead of cutting it.
    pub refuse_long_query: bool,
    /// Runs only so many layers and takes the score of the head after them (`cutoff_layers` of FlagEmbedding): for models
    /// with a head for each layer. By default all.
    pub cutoff_layers: Option<usize>,
    /// Compresses passages on their way through the layers: for models that were trained to read them so. By default none.
    pub compression: Option<TokenCompression>,
}

impl LoadOptions {
    /// Replaces [`LoadOptions::max_tokens`].
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: Option<usize>) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Replaces [`LoadOptions::special_tokens_in_text`].
    #[must_use]
    pub fn special_tokens_in_text(mut self, allowed: bool) -> Self {
        self.special_tokens_in_text = allowed;
        self
    }

    /// Replaces [`LoadOptions::refuse_long_query`].
    #[must_use]
    pub fn refuse_long_query(mut self, refuse: bool) -> Self {
        self.refuse_long_query = refuse;
        self
    }

    /// Replaces [`LoadOptions::cutoff_layers`].
    #[must_use]
    pub fn cutoff_layers(mut self, layers: Option<usize>) -> Self {
        self.cutoff_layers = layers;
        self
    }

    /// Replaces [`LoadOptions::compression`].
    #[must_use]
    pub fn compression(mut self, compression: Option<TokenCompression>) -> Self {
        self.compression = compression;
        self
    }
}

/// A model and the encoder of its texts.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadedModel {
    /// Bytes to scores.
    pub model: Model,
    /// Text to ids.
    pub encoder: TextEncoder,
    /// What it was taken for, and why.
    pub identity: Identity,
    /// What scores are divided by before they become [probabilities](crate::Logit::probability_at); as a rule 1.
    pub temperature: f32,
}

/// As the cards of language models say, which have more positions than anyone trained them to rank with.
const PROMPT_TOKENS: usize = 8192;

impl LoadedModel {
    /// Reads `config.json`, the tokenizer's files, `grating.json` where there is one and the side files, and checks the
    /// checkpoint against them. `tokenizer` may be a `tokenizer.json` alone.
    ///
    /// # Errors
    /// A [`ModelError`] that says which file or tensor does not fit, and what to do.
    pub fn load<'a>(
        config: &[u8],
        tokenizer: impl Into<TokenizerFiles<'a>>,
        grating: Option<&[u8]>,
        side_files: &SideFiles,
        checkpoint: &Checkpoint,
        options: LoadOptions,
    ) -> Result<Self> {
        let config_json = config;
        let (config, spec) = ModelConfig::with_spec(config_json)?;
        let grating = grating.map(GratingJson::parse).transpose()?;
        let files = tokenizer.into();
        let own = Settings::read(&files)?.max_tokens()?;
        let max_tokens = max_tokens(&config, grating.as_ref(), own, options.max_tokens)?;
        let evidence = Evidence {
            config: &config,
            config_json,
            tokenizer_json: files.tokenizer,
            side_files,
            checkpoint,
        };
        let temperature = grating.as_ref().and_then(|file| file.temperature).unwrap_or(1.0);
        let (template, identity) = evidence.identify(grating)?;
        let encode = EncodeOptions {
            max_tokens,
            special_tokens_in_text: options.special_tokens_in_text,
            refuse_long_query: options.refuse_long_query,
        };
        let encoder = TextEncoder::of_model(&files, &config, template, encode)?;
        let answers = match config.form {
            Form::YesNo => Some(encoder.answers()?),
            Form::SequenceClassification | Form::LayerHeads => None,
        };
        let model = Model::load((config, spec), checkpoint, answers, &options)?;
        Ok(LoadedModel { model, encoder, identity, temperature })
    }
}

fn max_tokens(
    config: &ModelConfig,
    grating: Option<&GratingJson>,
    own: Option<usize>,
    wanted: Option<usize>,
) -> Result<usize> {
    let positions = config.max_positions;
    match wanted {
        Some(tokens) if tokens > positions => Err(ModelError::LimitTooHigh { tokens, positions }),
        Some(tokens) => Ok(tokens),
        None => {
            let most = if config.family.reads_prompts() { PROMPT_TOKENS } else { positions };
            let own = own.unwrap_or(positions).min(most);
            Ok(grating.and_then(|g| g.max_tokens).unwrap_or(own).min(positions))
        }
    }
}
