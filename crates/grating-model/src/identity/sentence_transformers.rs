//! What sentence-transformers' files say: which modules make the score, with which prompt and activation.

use serde_json::{Map, Value};

use super::chat_template::ChatTemplate;
use crate::error::{ModelError, Result};
use crate::side_files::{MODULES, SideFiles};

const SETTINGS: &str = "config_sentence_transformers.json";
pub(super) const TRANSFORMER: &str = "sentence_bert_config.json";

/// The modules of `modules.json` by the last part of their type, in order, with their folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Modules(Vec<(String, String)>);

/// The answer tokens of a `LogitScore` module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogitScore {
    pub(super) yes: u32,
    pub(super) no: Option<u32>,
}

impl Modules {
    /// Reads `modules.json`, if it is there.
    pub(super) fn read(files: &SideFiles) -> Result<Option<Self>> {
        let Some(json) = files.json(MODULES)? else { return Ok(None) };
        let module = |module: &Value| {
            let kind = module.get("type")?.as_str()?.rsplit('.').next()?.to_string();
            let path = module.get("path").and_then(Value::as_str).unwrap_or_default();
            Some((kind, path.trim_end_matches('/').to_string()))
        };
        let modules: Option<Vec<_>> =
            json.as_array().and_then(|list| list.iter().map(module).collect());
        modules.map(|modules| Some(Modules(modules))).ok_or_else(|| {
            other_model(
                MODULES,
                "is no list of modules with their types",
                "download the file again",
            )
        })
    }

    /// The modules' names, for messages.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn kinds(&self) -> Vec<&str> {
        self.0.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    /// Whether the model alone makes the score, as with a classification head.
    pub(super) fn is_lone_transformer(&self) -> bool {
        self.kinds() == ["Transformer"]
    }

    /// Whether a `LogitScore` follows the model.
    pub(super) fn end_with_logit_score(&self) -> bool {
        self.kinds() == ["Transformer", "LogitScore"]
    }

    /// The file of a `LogitScore` after the model, and what it says; `None` where the modules are others.
    pub(super) fn logit_score(&self, files: &SideFiles) -> Result<Option<(String, LogitScore)>> {
        if !self.end_with_logit_score() {
            return Ok(None);
        }
        let file = format!("{}/config.json", self.0[1].1);
        let json = files.json(&file)?.ok_or_else(|| {
            other_model(&file, "is missing, which modules.json names", "download the file")
        })?;
        let bad = || {
            let says = "names no answer tokens (`true_token_id`, and `false_token_id` or null)";
            other_model(&file, says, "download the file again")
        };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let yes = json.get("true_token_id").and_then(id).ok_or_else(bad)?;
        let no = match json.get("false_token_id") {
            None | Some(Value::Null) => None,
            Some(value) => Some(id(value).ok_or_else(bad)?),
        };
        let other = json.get("module_input_name").and_then(Value::as_str);
        if let Some(other) = other.filter(|name| *name != "causal_logits") {
            return Err(other_model(
                &file,
                &format!("reads `{other}`, not the language model's logits"),
                "only `causal_logits` can be run",
            ));
        }
        if no == Some(yes) {
            return Err(bad());
        }
        Ok(Some((file, LogitScore { yes, no })))
    }
}

/// `config_sentence_transformers.json`; everything may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) model_type: Option<String>,
    /// What is put before each query, or is the system message of each prompt.
    pub(super) default_prompt: Option<String>,
    activation: Option<String>,
}

impl Settings {
    pub(super) fn read(files: &SideFiles) -> Result<Self> {
        let Some(json) = files.json(SETTINGS)? else { return Ok(Settings::default()) };
        let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_string);
        let default_prompt = match text("default_prompt_name") {
            None => None,
            Some(name) => {
                let prompt = json.get("prompts").and_then(|prompts| prompts.get(&name)?.as_str());
                let prompt = prompt.ok_or_else(|| {
                    let says = format!("has no prompt of the name `{name}`, its default");
                    other_model(SETTINGS, &says, "download the file again")
                })?;
                Some(prompt.to_string()).filter(|prompt| !prompt.is_empty())
            }
        };
        Ok(Settings {
            model_type: text("model_type"),
            default_prompt,
            activation: text("activation_fn"),
        })
    }

    /// Refuses a prompt that would have to be put before each query.
    pub(super) fn refuse_prompt(&self) -> Result<()> {
        let Some(prompt) = &self.default_prompt else { return Ok(()) };
        Err(other_model(
            SETTINGS,
            &format!("puts {prompt:?} before every query (`default_prompt_name`)"),
            "that is not done here: remove the default from the file, and put it before your queries yourself",
        ))
    }

    /// What turns a score into what `CrossEncoder.predict` returns, by the last part of its name, where the files say
    /// it: here, or in `config.json` in older releases.
    pub(super) fn activation(&self, config: &Value) -> Option<String> {
        let older = config.get("sentence_transformers").and_then(|s| s.get("activation_fn"));
        let oldest = || config.get("sbert_ce_default_activation_function");
        let older = older.or_else(oldest).and_then(Value::as_str);
        let name = self.activation.as_deref().or(older)?;
        Some(name.rsplit('.').next().unwrap_or(name).to_string())
    }
}

/// What `sentence_bert_config.json` says of the model's input.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Input {
    /// Names of the kinds of input, `text` and `message`; empty where the file does not say.
    modalities: Vec<String>,
    structured: bool,
    /// Arguments of the chat template.
    arguments: Map<String, Value>,
}

impl Input {
    pub(super) fn read(files: &SideFiles) -> Result<Self> {
        let Some(json) = files.json(TRANSFORMER)? else { return Ok(Input::default()) };
        let modalities = json.get("modality_config").and_then(Value::as_object);
        let format = modalities.and_then(|m| m.get("message")?.get("format")?.as_str());
        let arguments = json.get("processing_kwargs").and_then(|p| p.get("chat_template"));
        Ok(Input {
            structured: format == Some("structured"),
            modalities: modalities.map(|m| m.keys().cloned().collect()).unwrap_or_default(),
            arguments: arguments.and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }

    /// Whether pairs go through the chat template, rather than being two texts to the tokenizer.
    pub(super) fn is_message(&self) -> bool {
        self.modalities.is_empty() || self.modalities.iter().any(|m| m == "message")
    }

    /// The chat template that pairs go through, if there is one: the one that the arguments name, else the default.
    pub(super) fn chat_template(
        &self,
        files: &SideFiles,
        gguf: Option<&str>,
    ) -> Result<Option<ChatTemplate>> {
        let mut variables = special_tokens(files)?;
        variables.extend(self.arguments.clone());
        let name = variables.remove("chat_template");
        let name = name.as_ref().and_then(Value::as_str);
        let found = source(files, name)?.or_else(|| {
            gguf.map(|source| ("the GGUF file's `tokenizer.chat_template`".into(), source.into()))
        });
        Ok(found.map(|(file, source)| ChatTemplate {
            file,
            source,
            variables,
            structured: self.structured,
        }))
    }
}

/// Names of the special tokens, which templates may ask for: `bos_token` and the like.
fn special_tokens(files: &SideFiles) -> Result<Map<String, Value>> {
    let Some(Value::Object(config)) = files.json("tokenizer_config.json")? else {
        return Ok(Map::new());
    };
    let token = |(key, value): (String, Value)| {
        let content = value.get("content").cloned().unwrap_or(value);
        (key.ends_with("_token") && content.is_string()).then_some((key, content))
    };
    Ok(config.into_iter().filter_map(token).collect())
}

/// Where a chat template stands and what it is, in the order in which transformers looks.
fn source(files: &SideFiles, name: Option<&str>) -> Result<Option<(String, String)>> {
    if let Some(name) = name {
        let file = format!("{}/{name}.jinja", SideFiles::CHAT_TEMPLATES);
        if let Some(text) = files.text(&file) {
            return Ok(Some((file, text)));
        }
        // The argument may also be a template itself.
        if name.contains(['{', '\n']) {
            return Ok(Some((TRANSFORMER.into(), name.into())));
        }
    }
    if name.is_none_or(|name| name == "default")
        && let Some(text) = files.text("chat_template.jinja")
    {
        return Ok(Some(("chat_template.jinja".into(), text)));
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        let json = files.json(file)?;
        let template = json.as_ref().and_then(|json| json.get("chat_template"));
        if let Some(text) = template.and_then(|template| named_template(template, name)) {
            return Ok(Some((format!("{file}'s `chat_template`"), text.into())));
        }
    }
    Ok(None)
}

/// A template, or the one of a name in a list of them.
fn named_template<'a>(template: &'a Value, name: Option<&str>) -> Option<&'a str> {
    let wanted = name.unwrap_or("default");
    match template {
        Value::String(text) => (wanted == "default").then_some(text),
        Value::Array(list) => {
            let found = list.iter().find(|t| t.get("name").and_then(Value::as_str) == Some(wanted));
            found?.get("template")?.as_str()
        }
        _ => None,
    }
}

pub(super) fn other_model(file: &str, says: &str, remedy: &str) -> ModelError {
    ModelError::OtherModel { file: file.into(), says: says.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> SideFiles {
        let mut files = SideFiles::default();
        for (path, content) in list {
            files.insert(*path, content.as_bytes().to_vec());
        }
        files
    }

    #[test]
    fn the_named_template_wins_over_the_default_one() {
        let list = files(&[
            ("chat_template.jinja", "plain"),
            ("additional_chat_templates/reranker.jinja", "named"),
            (
                "sentence_bert_config.json",
                r#"{"processing_kwargs":{"chat_template":{"chat_template":"reranker","add_generation_prompt":true}}}"#,
            ),
            (
                "tokenizer_config.json",
                r#"{"bos_token":{"content":"<s>"},"eos_token":"</s>","x_token":1}"#,
            ),
        ]);
        let template = Input::read(&list).unwrap().chat_template(&list, None).unwrap().unwrap();
        assert_eq!(
            (&*template.source, &*template.file),
            ("named", "additional_chat_templates/reranker.jinja")
        );
        let variables = Value::Object(template.variables);
        let expected =
            serde_json::json!({"bos_token":"<s>","eos_token":"</s>","add_generation_prompt":true});
        assert_eq!(variables, expected);

        let default = Input::default().chat_template(&list, Some("gguf")).unwrap().unwrap();
        assert_eq!(default.source, "plain");
        let list = files(&[(
            "tokenizer_config.json",
            r#"{"chat_template":[{"name":"tool_use","template":"a"},{"name":"default","template":"b"}]}"#,
        )]);
        assert_eq!(Input::default().chat_template(&list, None).unwrap().unwrap().source, "b");
        let none = files(&[]);
        assert_eq!(Input::default().chat_template(&none, None).unwrap().map(|t| t.source), None);
        let gguf = Input::default().chat_template(&none, Some("gguf")).unwrap().unwrap();
        assert_eq!(gguf.source, "gguf");
    }

    #[test]
    fn a_bad_module_file_is_named() {
        let modules =
            r#"[{"type":"a.Transformer","path":""},{"type":"b.LogitScore","path":"1_LogitScore"}]"#;
        let error = |content: &str| {
            let list = files(&[("modules.json", modules), ("1_LogitScore/config.json", content)]);
            let modules = Modules::read(&list).unwrap().unwrap();
            modules.logit_score(&list).unwrap_err().to_string()
        };
        for bad in [
            "{",
            "{}",
            r#"{"true_token_id":-1}"#,
            r#"{"true_token_id":1,"false_token_id":1}"#,
            r#"{"true_token_id":1,"false_token_id":"no"}"#,
            r#"{"true_token_id":1,"module_input_name":"token_embeddings"}"#,
        ] {
            assert!(error(bad).starts_with("1_LogitScore/config.json"), "{bad}");
        }
        assert!(Modules::read(&files(&[("modules.json", "{}")])).is_err());
    }
}
