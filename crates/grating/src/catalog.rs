//! Published rerankers that go by short names, and what `docs/models.md` says of them.

/// A published reranker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedModel {
    /// Short names that [`crate::ModelSource::parse`] knows.
    pub names: &'static [&'static str],
    /// On the Hugging Face hub.
    pub id: &'static str,
    /// As [`crate::ModelInfo`] names it.
    pub family: &'static str,
    /// About how many.
    pub parameters: &'static str,
    /// As its card has it; "unknown here" where that was not at hand.
    pub licence: &'static str,
    /// Most tokens of query and text where nobody sets another limit.
    pub tokens: usize,
    /// That it was made for; "unknown here" where its card was not at hand.
    pub languages: &'static str,
    /// Checkpoints of its shape that tests hold against transformers.
    pub goldens: &'static [&'static str],
}

use PublishedModel as Row;

/// Small ones first, line by line.
#[rustfmt::skip]
const PUBLISHED: &[PublishedModel] = &[
    Row { names: &["minilm", "minilm-l6"], id: "cross-encoder/ms-marco-MiniLM-L6-v2", family: "BERT", parameters: "23 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["bert-gelu-f32"] },
    Row { names: &["minilm-l12"], id: "cross-encoder/ms-marco-MiniLM-L12-v2", family: "BERT", parameters: "33 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["bert-gelu-f32"] },
    Row { names: &["tinybert"], id: "cross-encoder/ms-marco-TinyBERT-L2-v2", family: "BERT", parameters: "4.4 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["bert-gelu-f32"] },
    Row { names: &["minilm-multilingual"], id: "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", family: "XLM-RoBERTa", parameters: "118 M", licence: "Apache-2.0", tokens: 512, languages: "14 and more", goldens: &["xlm-roberta-f32", "bert-sentencepiece-f32"] },
    Row { names: &["electra"], id: "cross-encoder/ms-marco-electra-base", family: "ELECTRA", parameters: "109 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["electra-one-width-bf16", "electra-f32"] },
    Row { names: &["bge-base"], id: "BAAI/bge-reranker-base", family: "XLM-RoBERTa", parameters: "278 M", licence: "MIT", tokens: 512, languages: "English, Chinese", goldens: &["xlm-roberta-f32"] },
    Row { names: &["bge-large"], id: "BAAI/bge-reranker-large", family: "XLM-RoBERTa", parameters: "560 M", licence: "MIT", tokens: 512, languages: "English, Chinese", goldens: &["xlm-roberta-f32"] },
    Row { names: &["bge", "bge-v2-m3"], id: "BAAI/bge-reranker-v2-m3", family: "XLM-RoBERTa", parameters: "568 M", licence: "Apache-2.0", tokens: 8192, languages: "100 and more", goldens: &["xlm-roberta-f32"] },
    Row { names: &["modernbert", "gte-modernbert"], id: "Alibaba-NLP/gte-reranker-modernbert-base", family: "ModernBERT", parameters: "150 M", licence: "Apache-2.0", tokens: 8192, languages: "English", goldens: &["modernbert-mean-f32"] },
    Row { names: &["granite"], id: "ibm-granite/granite-embedding-reranker-english-r2", family: "ModernBERT", parameters: "149 M", licence: "Apache-2.0", tokens: 8192, languages: "English", goldens: &["modernbert-f32"] },
    Row { names: &["gte", "gte-multilingual"], id: "Alibaba-NLP/gte-multilingual-reranker-base", family: "GTE", parameters: "306 M", licence: "Apache-2.0", tokens: 8192, languages: "70 and more", goldens: &["gte-ntk-f16", "gte-f32"] },
    Row { names: &["mxbai-v1-xsmall"], id: "mixedbread-ai/mxbai-rerank-xsmall-v1", family: "DeBERTa-v2", parameters: "71 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["deberta-v3-f32"] },
    Row { names: &["mxbai-v1", "mxbai-v1-base"], id: "mixedbread-ai/mxbai-rerank-base-v1", family: "DeBERTa-v2", parameters: "184 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["deberta-v3-f32"] },
    Row { names: &["mxbai-v1-large"], id: "mixedbread-ai/mxbai-rerank-large-v1", family: "DeBERTa-v2", parameters: "435 M", licence: "Apache-2.0", tokens: 512, languages: "English", goldens: &["deberta-v3-f32"] },
    Row { names: &["qwen3-0.6b", "qwen3-reranker-0.6b"], id: "Qwen/Qwen3-Reranker-0.6B", family: "Qwen3", parameters: "596 M", licence: "Apache-2.0", tokens: 8192, languages: "100 and more", goldens: &["qwen3-tied-f32"] },
    Row { names: &["qwen3-4b", "qwen3-reranker-4b"], id: "Qwen/Qwen3-Reranker-4B", family: "Qwen3", parameters: "4.0 B", licence: "Apache-2.0", tokens: 8192, languages: "100 and more", goldens: &["qwen3-tied-f32"] },
    Row { names: &["qwen3-8b", "qwen3-reranker-8b"], id: "Qwen/Qwen3-Reranker-8B", family: "Qwen3", parameters: "8.2 B", licence: "Apache-2.0", tokens: 8192, languages: "100 and more", goldens: &["qwen3-untied-bf16-sharded"] },
    Row { names: &["zerank-1-small"], id: "zeroentropy/zerank-1-small", family: "Qwen3", parameters: "1.7 B", licence: "Apache-2.0", tokens: 8192, languages: "English", goldens: &["qwen3-tied-f32"] },
    Row { names: &["zerank-1"], id: "zeroentropy/zerank-1", family: "Qwen3", parameters: "4 B", licence: "CC-BY-NC-4.0", tokens: 8192, languages: "English", goldens: &["qwen3-tied-f32"] },
    Row { names: &["zerank", "zerank-2"], id: "zeroentropy/zerank-2", family: "Qwen3", parameters: "4 B", licence: "CC-BY-NC-4.0", tokens: 8192, languages: "unknown here", goldens: &["qwen3-tied-f32"] },
    Row { names: &["ctxl-1b", "ctxl-rerank-v2-1b"], id: "ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b", family: "Qwen3", parameters: "1 B", licence: "CC-BY-NC-SA-4.0", tokens: 8192, languages: "100 and more", goldens: &["qwen3-tied-f32"] },
    Row { names: &["ctxl-2b", "ctxl-rerank-v2-2b"], id: "ContextualAI/ctxl-rerank-v2-instruct-multilingual-2b", family: "Qwen3", parameters: "2 B", licence: "unknown here", tokens: 8192, languages: "100 and more", goldens: &["qwen3-tied-f32"] },
    Row { names: &["ctxl-6b", "ctxl-rerank-v2-6b"], id: "ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b", family: "Qwen3", parameters: "6 B", licence: "unknown here", tokens: 8192, languages: "100 and more", goldens: &["qwen3-tied-f32"] },
    Row { names: &["mxbai", "mxbai-v2-base", "mxbai-rerank-base-v2"], id: "mixedbread-ai/mxbai-rerank-base-v2", family: "Qwen2", parameters: "494 M", licence: "Apache-2.0", tokens: 8192, languages: "100 and more", goldens: &["qwen2-f32"] },
    Row { names: &["mxbai-v2-large", "mxbai-rerank-large-v2"], id: "mixedbread-ai/mxbai-rerank-large-v2", family: "Qwen2", parameters: "1.5 B", licence: "Apache-2.0", tokens: 8192, languages: "100 and more", goldens: &["qwen2-f32"] },
    Row { names: &["bge-gemma", "bge-reranker-v2-gemma"], id: "BAAI/bge-reranker-v2-gemma", family: "Gemma", parameters: "2.5 B", licence: "unknown here", tokens: 8192, languages: "multilingual", goldens: &["gemma-f32"] },
    Row { names: &["bge-minicpm", "bge-reranker-v2-minicpm-layerwise"], id: "BAAI/bge-reranker-v2-minicpm-layerwise", family: "MiniCPM", parameters: "2.7 B", licence: "unknown here", tokens: 2048, languages: "multilingual", goldens: &["minicpm-layerwise-f32"] },
    Row { names: &["bge-gemma2", "bge-reranker-v2.5-gemma2-lightweight"], id: "BAAI/bge-reranker-v2.5-gemma2-lightweight", family: "Gemma 2 layerwise", parameters: "9 B", licence: "Gemma", tokens: 8192, languages: "multilingual", goldens: &["gemma2-lightweight-f32"] },
];

/// Published rerankers that go by short names.
///
/// ```
/// let minilm = grating::published_models().iter().find(|model| model.names.contains(&"minilm")).unwrap();
/// assert_eq!(minilm.id, "cross-encoder/ms-marco-MiniLM-L6-v2");
/// ```
pub fn published_models() -> &'static [PublishedModel] {
    PUBLISHED
}

/// The hub id of a short name.
pub(crate) fn id_of(name: &str) -> Option<&'static str> {
    PUBLISHED.iter().find(|model| model.names.contains(&name)).map(|model| model.id)
}

/// Short names of some models, for messages.
pub(crate) const SOME: [&str; 4] = ["minilm", "bge", "modernbert", "qwen3-0.6b"];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use grating_model::Family;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn family(name: &str) -> Family {
        let found = Family::all().find(|family| family.name() == name);
        found.unwrap_or_else(|| panic!("no family is called {name}"))
    }

    fn input(family: Family) -> &'static str {
        if family.reads_prompts() { "its own prompt" } else { "a pair" }
    }

    /// The tables of `docs/models.md`.
    fn tables() -> String {
        let code = |names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let mut out = String::from("| family | `architectures` | reads |\n| --- | --- | --- |\n");
        for family in Family::all() {
            let names = code(&mut family.architectures());
            writeln!(out, "| {} | {names} | {} |", family.name(), input(family)).unwrap();
        }
        out += "\n| short names | model | family | parameters | licence | tokens | languages | reads | goldens of its shape |\n";
        out += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for model in PUBLISHED {
            let PublishedModel { id, parameters, licence, tokens, languages, .. } = model;
            let (names, goldens) =
                (code(&mut model.names.iter().copied()), code(&mut model.goldens.iter().copied()));
            let (name, reads) = (model.family, input(family(model.family)));
            writeln!(out, "| {names} | {id} | {name} | {parameters} | {licence} | {tokens} | {languages} | {reads} | {goldens} |").unwrap();
        }
        out
    }

    #[test]
    fn the_document_has_what_the_code_knows() {
        const MARKS: [&str; 2] = [
            "<!-- tables: made by the tests of crates/grating/src/catalog.rs -->\n",
            "<!-- end -->",
        ];
        let document = std::fs::read_to_string(root().join("docs/models.md")).unwrap();
        let start = document.find(MARKS[0]).unwrap() + MARKS[0].len();
        let end = document.find(MARKS[1]).unwrap();
        if document[start..end] != tables() {
            let new = [&document[..start], &tables(), &document[end..]].concat();
            let path = std::env::temp_dir().join("grating-models.md");
            std::fs::write(&path, new).unwrap();
            panic!("docs/models.md is not up to date; {} is", path.display());
        }
    }

    #[test]
    fn names_are_distinct_and_what_they_stand_for_is_there() {
        let names: Vec<&str> = PUBLISHED.iter().flat_map(|m| m.names).copied().collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(SOME.iter().all(|name| names.contains(name)));
        for model in PUBLISHED {
            let id = crate::ModelSource::parse(model.id).unwrap();
            for name in model.names {
                assert_eq!(crate::ModelSource::parse(name).unwrap(), id, "{name}");
            }
            assert!(!model.goldens.is_empty(), "{}", model.id);
            for golden in model.goldens {
                let folder = root().join("crates/grating-model/tests/goldens").join(golden);
                let json = std::fs::read(folder.join("config.json")).unwrap();
                let config = grating_model::ModelConfig::from_json(&json).unwrap();
                let bert = golden.starts_with("bert-sentencepiece");
                assert!(bert || config.family == family(model.family), "{} {golden}", model.id);
            }
        }
    }
}
