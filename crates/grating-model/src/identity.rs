//! What a model is by its own files: which prompt its texts go into and which tokens answer, or that it is another
//! kind of model. Nothing is guessed from an architecture's name alone.

mod chat_template;
mod names;
mod sentence_transformers;

use grating_io::{Checkpoint, GgufValue};
use serde_json::Value;

use self::chat_template::ChatTemplate;
use self::names::Named;
use self::sentence_transformers::{Input, Modules, Settings, other_model};
use crate::config::{Form, ModelConfig, traps};
use crate::error::{ModelError, Result};
use crate::families::{Input as ModelInput, Known, Unnamed};
use crate::side_files::{ADAPTER, MODULES, ModelName, SideFiles};
use crate::template::{Answer, GratingJson, PairTemplate, Template, YesNoTemplate};

/// What a model was taken for, and which of its files say so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The prompt, in words: `Qwen3-Reranker's prompt`.
    pub prompt: String,
    /// What says that it is the model's.
    pub reason: String,
    /// What kind of thing that is.
    pub source: PromptSource,
    /// What sentence-transformers turns scores into, where the files say it: `Sigmoid`, `Identity` or another.
    pub activation: Option<String>,
    /// What a user should look at.
    pub warnings: Vec<String>,
}

/// What decides which prompt is a model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// `grating.json`.
    GratingJson,
    /// sentence-transformers' files or a chat template.
    Files,
    /// A name of the model alone. Under another name it needs the `grating.json` that is here.
    Name {
        /// The file's content.
        grating_json: String,
    },
    /// The architecture: pairs of encoders.
    Architecture,
    /// Nothing; there is a warning.
    Nothing,
}

/// A model's files as far as they say what it is.
pub(crate) struct Evidence<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) config_json: &'a [u8],
    pub(crate) tokenizer_json: &'a [u8],
    pub(crate) side_files: &'a SideFiles,
    pub(crate) checkpoint: &'a Checkpoint,
}

/// A prompt and why it is the model's.
struct PromptChoice {
    template: Template,
    prompt: String,
    reason: String,
    source: PromptSource,
    warnings: Vec<String>,
}

const GRATING_JSON: &str = "if you know the model's prompt, put a grating.json beside the weights, which wins over its \
     other files: `{\"template\": \"qwen3-reranker\"}` for Qwen3-Reranker's, or one that is spelled";
const QWEN3_RERANKER: &str = "Qwen3-Reranker's prompt";

impl Evidence<'_> {
    /// The template of the model and what it is taken for. `grating` wins over every other file.
    ///
    /// # Errors
    /// [`ModelError::OtherModel`] naming the file that describes something else, [`ModelError::NoTemplate`].
    pub(crate) fn identify(&self, grating: Option<GratingJson>) -> Result<(Template, Identity)> {
        refuse_adapter(self.side_files)?;
        let config: Value = serde_json::from_slice(self.config_json).unwrap_or_default();
        let settings = Settings::read(self.side_files)?;
        let choice = match (self.config.family.input(), grating) {
            (ModelInput::Prompt { .. }, Some(grating)) => PromptChoice {
                template: Template::YesNo(grating.template),
                prompt: "the prompt of grating.json".into(),
                reason: "it wins over the model's other files".into(),
                source: PromptSource::GratingJson,
                warnings: Vec::new(),
            },
            (ModelInput::Prompt { .. }, None) => self.of_prompt(&settings, &config)?,
            (ModelInput::Pair(pair), _) => self.of_pair(pair, &settings)?,
        };
        let PromptChoice { template, prompt, reason, source, warnings } = choice;
        let activation = settings.activation(&config);
        Ok((template, Identity { prompt, reason, source, activation, warnings }))
    }

    fn of_pair(&self, template: PairTemplate, settings: &Settings) -> Result<PromptChoice> {
        let mut warnings = Vec::new();
        if let Some(modules) = Modules::read(self.side_files)? {
            if !is_cross_encoder(settings, &modules) {
                warnings.push(format!(
                    "modules.json describes a model of texts, not of pairs ({}); the classification head is run all \
                     the same, as sentence-transformers' CrossEncoder does",
                    modules.names()
                ));
            } else if !modules.is_lone_transformer() {
                return Err(other_modules(
                    &modules,
                    "only a lone Transformer with a classification head",
                ));
            } else {
                settings.refuse_prompt()?;
            }
        }
        Ok(PromptChoice {
            template: Template::Pair(template),
            prompt: "a pair of texts".into(),
            reason: format!(
                "a {} with a classification head reads pairs",
                self.config.family.name()
            ),
            source: PromptSource::Architecture,
            warnings,
        })
    }

    fn of_prompt(&self, settings: &Settings, config: &Value) -> Result<PromptChoice> {
        let known = self.config.family.known();
        let named = names::named(known, self.side_files, config, self.checkpoint);
        let gguf_template = match self.checkpoint.metadata().get("tokenizer.chat_template") {
            Some(GgufValue::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let input = Input::read(self.side_files)?;
        let Some(modules) = Modules::read(self.side_files)? else {
            let input = Input::default(); // sentence-transformers does not read the file then
            let template = input.chat_template(self.side_files, gguf_template)?;
            return self.without_modules(named, template);
        };
        let template = input.chat_template(self.side_files, gguf_template)?;
        match self.config.form {
            Form::YesNo => self.of_logit_score(&modules, settings, &input, template, &named),
            Form::SequenceClassification | Form::LayerHeads => {
                self.of_classifier(&modules, settings, &input, template, named)
            }
        }
    }

    /// A language model and a `LogitScore` after it.
    fn of_logit_score(
        &self,
        modules: &Modules,
        settings: &Settings,
        input: &Input,
        template: Option<ChatTemplate>,
        named: &Named,
    ) -> Result<PromptChoice> {
        let wanted =
            "only a Transformer and a LogitScore, or a lone Transformer with a classification head";
        let Some((file, score)) = modules.logit_score(self.side_files)? else {
            return Err(other_modules(modules, wanted));
        };
        if !is_cross_encoder(settings, modules) {
            return Err(other_modules(modules, "only a CrossEncoder"));
        }
        let (yes, no) = (Answer::Id(score.yes), score.no.map(Answer::Id));
        let asks = match score.no {
            Some(no) => format!("{file} asks for token {} less token {no}", score.yes),
            None => format!("{file} asks for token {}", score.yes),
        };
        let why = match (&template, input.is_message()) {
            (_, false) => other_model(
                sentence_transformers::TRANSFORMER,
                "knows no messages, so that query and text meet without a prompt",
                GRATING_JSON,
            ),
            (None, true) => other_model(
                "chat_template.jinja",
                "is missing, which modules.json asks for",
                GRATING_JSON,
            ),
            (Some(template), true) => {
                match self.own_template(template, settings, yes.clone(), no.clone()) {
                    Ok((own, prompt)) => {
                        let reason = format!("{asks}, and {} makes that prompt", template.file);
                        return Ok(PromptChoice::of_files(own, prompt, reason));
                    }
                    Err(error) => error,
                }
            }
        };
        // Older copies of Qwen3-Reranker have a chat's template beside the new files.
        let (Named::Known(name), Some(known)) = (named, self.config.family.known()) else {
            return Err(why);
        };
        if template.is_some_and(|template| template.is_for_pairs()) {
            return Err(why);
        }
        let reason = format!("{asks}, and {} is `{}`", name.stated_by, name.name);
        let mut choice = PromptChoice::by_name(known, reason);
        if let Template::YesNo(template) = &mut choice.template {
            (template.yes, template.no) = (yes, no);
            let grating_json = serde_json::json!({ "template": template }).to_string();
            choice.source = PromptSource::Name { grating_json };
        }
        choice.warnings.push(format!("sentence-transformers cannot run it as it is: {why}"));
        Ok(choice)
    }

    /// A decoder with a classification head, as sentence-transformers stores one.
    fn of_classifier(
        &self,
        modules: &Modules,
        settings: &Settings,
        input: &Input,
        template: Option<ChatTemplate>,
        named: Named,
    ) -> Result<PromptChoice> {
        if !modules.is_lone_transformer() {
            return Err(other_modules(
                modules,
                "only a lone Transformer with a classification head",
            ));
        }
        if !is_cross_encoder(settings, modules) {
            return Err(other_modules(modules, "only a CrossEncoder"));
        }
        match template {
            Some(template) if input.is_message() && template.is_for_pairs() => {
                let (own, prompt) = self.own_template(&template, settings, "yes".into(), None)?;
                let reason = format!("{} makes it", template.file);
                Ok(PromptChoice::of_files(own, prompt, reason))
            }
            template => {
                settings.refuse_prompt()?;
                self.without_modules(named, template)
            }
        }
    }

    /// Files without a list of modules: a chat template for pairs decides, then names.
    fn without_modules(
        &self,
        named: Named,
        template: Option<ChatTemplate>,
    ) -> Result<PromptChoice> {
        let classifier = self.config.form == Form::SequenceClassification;
        let architecture = &self.config.architecture;
        let known = self.config.family.known();
        if let Some(known) = known.filter(|known| known.unnamed == Unnamed::Certain) {
            return Ok(PromptChoice::certain(known, architecture));
        }
        if let Some(template) = template.as_ref().filter(|template| template.is_for_pairs()) {
            let settings = Settings::default();
            let own = self.own_template(template, &settings, "yes".into(), Some("no".into()));
            let (own, prompt) = own?;
            // Which tokens answer is the prompt's choice; only of this one it is known.
            if !classifier && prompt != QWEN3_RERANKER {
                let says = "asks for another prompt than the known ones, and no module of \
                            sentence-transformers says which tokens answer";
                return Err(other_model(&template.file, says, GRATING_JSON));
            }
            let reason = format!("{} makes it", template.file);
            return Ok(PromptChoice::of_files(own, prompt, reason));
        }
        let no_template = || ModelError::NoTemplate { architecture: architecture.clone() };
        let known = known.ok_or_else(no_template)?;
        let another = |name: &ModelName| format!("{} is {}", name.stated_by, quoted(&name.name));
        match (named, template) {
            (Named::Known(name), _) => Ok(PromptChoice::by_name(known, another(&name))),
            (Named::Nothing, None) if known.unnamed == Unnamed::Assumed => {
                Ok(PromptChoice::assumed(known))
            }
            (Named::Nothing, None) => Err(no_template()),
            (named, template) => {
                let (file, says) = match (&named, &template) {
                    (Named::Otherwise(name), _) => (
                        name.stated_by.clone(),
                        format!("is {}, not a {}", quoted(&name.name), known.title),
                    ),
                    (_, Some(template)) => {
                        (template.file.clone(), "is for chats and not for pairs".into())
                    }
                    (_, None) => unreachable!("silence is above"),
                };
                if classifier && known.unnamed == Unnamed::Assumed {
                    return Ok(PromptChoice::of_classifier_by_guess(
                        known,
                        architecture,
                        &file,
                        &says,
                    ));
                }
                let says = format!(
                    "{says}: which prompt makes this {architecture} a reranker is not known"
                );
                Err(other_model(&file, &says, GRATING_JSON))
            }
        }
    }

    /// The prompt that a chat template makes, and what it is called.
    fn own_template(
        &self,
        template: &ChatTemplate,
        settings: &Settings,
        yes: Answer,
        no: Option<Answer>,
    ) -> Result<(YesNoTemplate, &'static str)> {
        let failed = |says: String| other_model(&template.file, &says, GRATING_JSON);
        let prompt = template.prompt(settings.default_prompt.as_deref()).map_err(failed)?;
        let own = prompt.template(&control_tokens(self.tokenizer_json), yes, no).map_err(failed)?;
        let name = match prompt.is_qwen3_reranker() {
            true => QWEN3_RERANKER,
            false => "the model's own prompt",
        };
        Ok((own, name))
    }
}

impl PromptChoice {
    fn of_files(template: YesNoTemplate, prompt: &str, reason: String) -> Self {
        PromptChoice {
            template: Template::YesNo(template),
            prompt: prompt.into(),
            reason,
            source: PromptSource::Files,
            warnings: Vec::new(),
        }
    }

    fn by_name(known: Known, reason: String) -> Self {
        PromptChoice {
            template: Template::named(known.template)
                .expect("families name templates that are there"),
            prompt: prompt_of(known),
            reason,
            source: PromptSource::Name {
                grating_json: serde_json::json!({ "template": known.template }).to_string(),
            },
            warnings: Vec::new(),
        }
    }

    /// Of an architecture that nothing but the known reranker has.
    fn certain(known: Known, architecture: &str) -> Self {
        let reason = format!("a {architecture} is a {}", known.title);
        PromptChoice { source: PromptSource::Architecture, ..PromptChoice::by_name(known, reason) }
    }

    /// No name, no card, no chat template, no modules: bare weights.
    fn assumed(known: Known) -> Self {
        let reason = "no file says anything else";
        let warning = format!(
            "no file of the model says which prompt is its own; {}'s is taken. If that is right, put a grating.json \
             beside the weights: {{\"template\": \"{}\"}}",
            known.title, known.template
        );
        let warnings = vec![warning];
        let source = PromptSource::Nothing;
        PromptChoice { source, warnings, ..PromptChoice::by_name(known, reason.into()) }
    }

    /// The head of a classifier is certain; its prompt is not.
    fn of_classifier_by_guess(known: Known, architecture: &str, file: &str, says: &str) -> Self {
        let warning = format!(
            "{file} {says}, and no file says which prompt its classification head was trained with; {}'s is taken. \
             {GRATING_JSON}",
            known.title
        );
        let reason = format!("it is the only known prompt of a {architecture}");
        let source = PromptSource::Nothing;
        PromptChoice { source, warnings: vec![warning], ..PromptChoice::by_name(known, reason) }
    }
}

/// What a known reranker's prompt is called.
fn prompt_of(known: Known) -> String {
    format!("{}'s prompt", known.title)
}

/// A LoRA adapter changes the weights that lie beside it: transformers loads it along with them.
///
/// # Errors
/// [`ModelError::OtherModel`] with how to merge it.
pub fn refuse_adapter(files: &SideFiles) -> Result<()> {
    let adapter = std::iter::once(ADAPTER).chain(SideFiles::ADAPTER_WEIGHTS);
    let Some(file) = adapter.into_iter().find(|file| files.get(file).is_some()) else {
        return Ok(());
    };
    let config = files.json(ADAPTER).ok().flatten().unwrap_or_default();
    let base = config.get("base_model_name_or_path").and_then(Value::as_str);
    let base = base.filter(|base| !base.is_empty() && *base != ".");
    let base = base.map(|base| format!(" to {}", quoted(base))).unwrap_or_default();
    let says = format!("belongs to an adapter (LoRA){base} that is not merged into the weights");
    let remedy = "merge it first, in Python: \
                  `AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(merged)` \
                  (peft; AutoPeftModelForSequenceClassification for a classification head), save the tokenizer there \
                  too, and name that folder. To run the base model without it, remove the adapter's files";
    Err(other_model(file, &says, remedy))
}

/// Files of older releases do not say; their modules do.
fn is_cross_encoder(settings: &Settings, modules: &Modules) -> bool {
    match settings.model_type.as_deref() {
        Some(model_type) => model_type == "CrossEncoder",
        None => modules.is_lone_transformer() || modules.end_with_logit_score(),
    }
}

fn other_modules(modules: &Modules, wanted: &str) -> ModelError {
    let names = modules.names();
    let (kind, instead) = match names.contains("Pooling") {
        true => {
            let instead = format!("take a reranker, for example {}; ", traps::instead("Qwen"));
            ("an embedding model", instead)
        }
        false => ("another kind of model", String::new()),
    };
    let says = format!("lists {}, {kind}", quoted(&names));
    let remedy = format!("{instead}{wanted} can be run as its files say; {GRATING_JSON}");
    other_model(MODULES, &says, &remedy)
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// Names of the tokenizer's added tokens that end a tokenizer's run of text.
fn control_tokens(tokenizer_json: &[u8]) -> Vec<String> {
    let tokenizer: Value = serde_json::from_slice(tokenizer_json).unwrap_or_default();
    let tokens = tokenizer.get("added_tokens").and_then(Value::as_array);
    let name = |token: &Value| {
        let name = token.get("content")?.as_str()?;
        let special = token.get("special").and_then(Value::as_bool) == Some(true);
        let markup = name.starts_with('<') && name.ends_with('>');
        ((special || markup) && !name.is_empty()).then(|| name.to_string())
    };
    tokens.map(|tokens| tokens.iter().filter_map(name).collect()).unwrap_or_default()
}
