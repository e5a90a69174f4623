//! The model families, one file each: their names, what they read of `config.json` in their own way, and the specs that
//! they make of it. A family is added by its file and its two lines here.

mod bert;
mod bert_layers;
mod camembert;
mod deberta_v2;
mod distilbert;
mod electra;
mod gemma;
mod gemma2;
mod gte;
mod llama;
mod llama_layers;
mod minicpm;
mod modernbert;
mod qwen2;
mod qwen3;
mod roberta;
mod xlm_roberta;

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::config::{Form, ModelConfig, Raw};
use crate::error::Result;
use crate::spec::ModelSpec;
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

/// Every family, in the order in which messages list their architectures.
const FAMILIES: [Family; 16] = [
    Family(&qwen3::FAMILY),
    Family(&xlm_roberta::FAMILY),
    Family(&bert::FAMILY),
    Family(&qwen2::FAMILY),
    Family(&llama::FAMILY),
    Family(&modernbert::FAMILY),
    Family(&electra::FAMILY),
    Family(&roberta::FAMILY),
    Family(&camembert::FAMILY),
    Family(&distilbert::FAMILY),
    Family(&gte::FAMILY),
    Family(&minicpm::FAMILY),
    Family(&gemma::FAMILY),
    Family(&deberta_v2::FAMILY),
    Family(&gemma2::FAMILY),
    Family(&gemma2::LAYERWISE),
];

/// A family of models that differ in sizes and weights only.
#[derive(Clone, Copy)]
pub struct Family(&'static Definition);

/// What a family's file says of it.
pub(crate) struct Definition {
    /// As people write it.
    pub(crate) name: &'static str,
    /// `architectures` that are read, and what becomes of the last hidden state.
    pub(crate) architectures: &'static [(&'static str, Form)],
    /// How a query and a text become one sequence.
    pub(crate) input: Input,
    /// The tokenizer class in transformers where the files name none.
    pub(crate) tokenizer: TokenizerClass,
    /// Whether they always have that class, whatever the files name.
    pub(crate) always_that_tokenizer: bool,
    /// Whether there may be fewer heads of keys than of queries, and of a width that `hidden_size` does not give.
    pub(crate) free_heads: bool,
    /// Whether the language-model head is the embedding table where `config.json` does not say.
    pub(crate) tied: bool,
    /// Whether llama.cpp stores the rows of query and key matrices so that its rotary embedding turns neighbours.
    pub(crate) neighbours_in_llama_cpp: bool,
    /// Sizes that this family's `config.json` has under names of its own: the usual name, and the own one.
    pub(crate) size_names: &'static [(&'static str, &'static str)],
    /// Makes the specs of a model of these sizes, refusing what is not implemented.
    pub(crate) spec: fn(&Raw, &ModelConfig) -> Result<ModelSpec>,
    /// Whether no score depends on a tensor of this name: buffers aside, which are the same everywhere.
    pub(crate) is_unused: fn(&str) -> bool,
}

/// How a query and a text become one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// In the words of a prompt, which is the model's own.
    Prompt {
        /// The family's published reranker, whose files do not say its prompt.
        known: Option<Known>,
    },
    /// As a pair, with control tokens around them.
    Pair(PairTemplate),
}

/// A published reranker that is known by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its prompt among [`Template::NAMES`](crate::template::Template::NAMES), which is also how the model is called.
    pub(crate) template: &'static str,
    /// As its authors write it.
    pub(crate) title: &'static str,
    /// What checkpoints that go by no name are.
    pub(crate) unnamed: Unnamed,
}

/// What checkpoints of a family are that go by no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// The published reranker, as far as anybody knows.
    Assumed,
    /// The published reranker: nothing else is of this architecture.
    Certain,
    /// Anything.
    Unknown,
}

impl Known {
    /// Whether a name is of this reranker, or of a model made from it: `qwen3_reranker_8b.Q8_0`, `Qwen3 Reranker 4B`;
    /// not `Qwen3-VL-Reranker-2B`.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        name.to_lowercase().replace(['_', ' '], "-").contains(self.template)
    }
}

impl Family {
    /// The family's name as people write it.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Every family, in the order in which messages list their architectures.
    pub fn all() -> impl Iterator<Item = Family> {
        FAMILIES.into_iter()
    }

    /// The `architectures` of `config.json` that are read.
    pub fn architectures(self) -> impl Iterator<Item = &'static str> {
        self.0.architectures.iter().map(|(name, _)| *name)
    }

    /// What its file says of it.
    pub(crate) fn definition(self) -> &'static Definition {
        self.0
    }

    /// How a query and a text become one sequence.
    pub(crate) fn input(self) -> Input {
        self.0.input
    }

    /// The published reranker of a family that reads prompts.
    pub(crate) fn known(self) -> Option<Known> {
        match self.0.input {
            Input::Prompt { known } => known,
            Input::Pair(_) => None,
        }
    }

    /// Whether query and text are put into a prompt rather than read as a pair.
    pub fn reads_prompts(self) -> bool {
        matches!(self.0.input, Input::Prompt { .. })
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Family {}

impl Hash for Family {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
