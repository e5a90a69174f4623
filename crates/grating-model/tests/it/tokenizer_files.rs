//! Folders whose files disagree about the tokenizer, token for token as `AutoTokenizer` of transformers reads them
//! (xtask/goldens/README.md has the format).

use std::path::{Path, PathBuf};

use grating_model::{
    EncodeOptions, Encoding, GratingJson, ModelConfig, PairTemplate, Template, TextEncoder,
    TokenizerFiles, tokenizer_differences, wordpiece_json,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    class: String,
    max_tokens: usize,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    document: String,
    special: bool,
    ids: Vec<u32>,
    type_ids: Vec<u8>,
}

/// The files of one case.
struct Folder(PathBuf);

impl Folder {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(name)).ok()
    }

    fn config(&self) -> ModelConfig {
        ModelConfig::from_json(&self.read("config.json").unwrap()).unwrap()
    }

    fn with_files<T>(&self, then: impl FnOnce(&TokenizerFiles<'_>) -> T) -> T {
        let tokenizer = self.read("tokenizer.json").unwrap_or_else(|| {
            wordpiece_json(&self.read("vocab.txt").unwrap(), Some("BertTokenizerFast")).unwrap()
        });
        let beside = TokenizerFiles::BESIDE.map(|name| (name, self.read(name)));
        let get = |name: &str| beside.iter().find(|(n, _)| *n == name)?.1.as_deref();
        then(&TokenizerFiles::of(&tokenizer, get))
    }

    /// Decoders get texts only: their templates are cut into parts that the reference tokenizes alone.
    fn template(&self) -> Template {
        match self.config().family.reads_prompts() {
            true => {
                let json = r#"{"template":{"body":"{query}{document}","yes":"yes","no":"no"}}"#;
                Template::YesNo(GratingJson::parse(json.as_bytes()).unwrap().template)
            }
            false => Template::Pair(PairTemplate::Bert),
        }
    }

    fn encode(&self, pair: &Pair, max_tokens: usize) -> Encoding {
        let options = EncodeOptions::new(max_tokens).special_tokens_in_text(pair.special);
        self.with_files(|files| {
            let encoder =
                TextEncoder::of_model(files, &self.config(), self.template(), options).unwrap();
            let query = encoder.encode_query(&pair.query, None).unwrap();
            encoder.encode(&query, &pair.document).unwrap()
        })
    }
}

fn folders() -> Vec<Folder> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tokenizer-files");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "only {}", folders.len());
    folders.into_iter().map(Folder).collect()
}

#[test]
fn ids_and_types_are_the_references() {
    let (mut failures, mut compared) = (Vec::new(), 0);
    for folder in folders() {
        let golden: Golden =
            serde_json::from_slice(&folder.read("golden_ids.json").unwrap()).unwrap();
        for pair in &golden.pairs {
            if pair.ids.is_empty() {
                continue; // Nothing to read; refused here.
            }
            let found = folder.encode(pair, golden.max_tokens);
            let types = (found.type_ids.iter().any(|t| *t > 0)).then_some(&found.type_ids);
            let expected = pair.type_ids.iter().any(|t| *t > 0).then_some(&pair.type_ids);
            if found.ids != pair.ids || types != expected {
                failures.push(format!(
                    "{} ({}), special {}: {:?} / {:?}\n  found    {:?} {types:?}\n  expected {:?} {expected:?}",
                    folder.0.display(),
                    golden.class,
                    pair.special,
                    pair.query,
                    pair.document.chars().take(60).collect::<String>(),
                    found.ids,
                    pair.ids,
                ));
            }
            compared += 1;
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 300, "only {compared}");
}

#[test]
fn disagreements_are_told_and_agreement_is_not() {
    let differences = |name: &str| {
        let folder = folders().into_iter().find(|f| f.0.ends_with(name)).unwrap();
        let config = folder.config();
        folder.with_files(|files| tokenizer_differences(files, &config).unwrap()).join("; ")
    };
    let cased = differences("bert-cased-by-config");
    assert!(cased.contains("normalizer") && cased.contains("\"lowercase\":false"), "{cased}");
    assert!(differences("bert-renamed").contains("tokens around a pair"));
    assert!(differences("bert-added-tokens-listed").contains("added tokens"));
    assert!(differences("xlm-roberta-no-config").contains("NFKC"));
    assert_eq!(differences("bert-as-written"), "");
    assert_eq!(differences("llama-byte-level"), "");
}
