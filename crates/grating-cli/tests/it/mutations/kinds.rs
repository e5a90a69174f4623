//! The kinds of files that are damaged, each with the commands that read it.

use std::path::{Path, PathBuf};

use super::damage::Random;
use crate::{TEXTS, golden, grating};

/// Good files, made once: models, and what calibration makes and reads.
pub(super) struct Workshop {
    folder: tempfile::TempDir,
}

/// One kind of file.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Models, any of which may be taken; where the file lies in it.
    models: &'static [&'static str],
    /// The file, in the folder that a run gets.
    files: &'static [&'static str],
    /// What is run on it.
    commands: &'static [Command],
}

#[derive(Clone, Copy)]
enum Command {
    Inspect,
    Plan,
    Doctor,
    Rerank,
    RerankJsonLines,
    Profile,
    Policy,
    Quantize,
    Calibrate,
    CalibrateFolder,
}

use Command::{
    Calibrate, CalibrateFolder, Doctor, Inspect, Plan, Policy, Profile, Quantize, Rerank,
    RerankJsonLines,
};

/// What reads a model.
const OF_A_MODEL: &[Command] = &[Inspect, Plan, Doctor, Rerank, Rerank, Rerank, Quantize];
const ALL: &[&str] = &[
    "bert-gelu-f32",
    "xlm-roberta-f32",
    "qwen3-tied-f32",
    "qwen3-score-f32",
    "qwen2-f32",
    "llama-f32",
    "gguf",
];

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "config", models: ALL, files: &["config.json"], commands: OF_A_MODEL },
    Kind { name: "tokenizer", models: ALL, files: &["tokenizer.json"], commands: OF_A_MODEL },
    Kind {
        name: "tokenizer settings",
        models: ALL,
        files: &["tokenizer_config.json", "special_tokens_map.json"],
        commands: OF_A_MODEL,
    },
    Kind {
        name: "template",
        models: &["llama-f32", "qwen2-f32"],
        files: &["grating.json"],
        commands: OF_A_MODEL,
    },
    Kind {
        name: "sentence-transformers",
        models: &["sentence-transformers"],
        files: &[
            "modules.json",
            "1_LogitScore/config.json",
            "config_sentence_transformers.json",
            "sentence_bert_config.json",
            "chat_template.jinja",
        ],
        commands: OF_A_MODEL,
    },
    Kind {
        name: "adapter",
        models: &["bert-gelu-f32"],
        files: &["adapter_config.json"],
        commands: OF_A_MODEL,
    },
    Kind {
        name: "safetensors",
        models: &["bert-gelu-f32", "xlm-roberta-f32", "qwen3-tied-f32"],
        files: &["model.safetensors"],
        commands: OF_A_MODEL,
    },
    Kind {
        name: "index",
        models: &["qwen3-untied-bf16-sharded", "xlm-roberta-f16-sharded"],
        files: &["model.safetensors.index.json", "model-00001-of-00004.safetensors"],
        commands: OF_A_MODEL,
    },
    Kind { name: "gguf", models: &["gguf"], files: &["model.gguf"], commands: OF_A_MODEL },
    Kind {
        name: "profile",
        models: &["bert-gelu-f32"],
        files: &["profile.json"],
        commands: &[Profile],
    },
    Kind {
        name: "the model's profile",
        models: &["bert-gelu-f32"],
        files: &["grating-profile.json"],
        commands: &[Rerank, Inspect, Doctor],
    },
    Kind {
        name: "policy",
        models: &["bert-gelu-f32"],
        files: &["policy.json"],
        commands: &[Policy],
    },
    Kind {
        name: "traces",
        models: &["bert-gelu-f32"],
        files: &["traces.jsonl"],
        commands: &[Calibrate],
    },
    Kind {
        name: "queries",
        models: &["bert-gelu-f32"],
        files: &["queries.jsonl"],
        commands: &[Calibrate],
    },
    Kind {
        name: "BEIR",
        models: &["bert-gelu-f32"],
        files: &[
            "beir/corpus.jsonl",
            "beir/queries.jsonl",
            "beir/candidates.jsonl",
            "beir/qrels/test.tsv",
        ],
        commands: &[CalibrateFolder],
    },
    Kind {
        name: "texts",
        models: &["bert-gelu-f32", "xlm-roberta-f32"],
        files: &["texts.txt"],
        commands: &[Rerank],
    },
    Kind {
        name: "texts as JSON",
        models: &["bert-gelu-f32", "qwen3-tied-f32"],
        files: &["texts.jsonl"],
        commands: &[RerankJsonLines],
    },
];

const TOKENIZER_CONFIG: &str = r#"{"model_max_length": 64, "do_lower_case": true, "strip_accents": null,
 "tokenize_chinese_chars": true, "tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "clean_up_tokenization_spaces": true}"#;
const SPECIAL_TOKENS: &str =
    r#"{"cls_token": "[CLS]", "sep_token": {"content": "[SEP]", "lstrip": false}}"#;
const MODULES: &str = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
 {"idx": 1, "name": "1", "path": "1_LogitScore", "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}]"#;
const LOGIT_SCORE: &str = r#"{"true_token_id": 9693, "false_token_id": 2152}"#;
const CROSS_ENCODER: &str = r#"{"__version__": {"sentence_transformers": "6.2.0"}, "prompts": {},
 "activation_fn": "torch.nn.modules.activation.Sigmoid", "default_prompt_name": null, "model_type": "CrossEncoder"}"#;
const TRANSFORMER: &str =
    r#"{"transformer_task": "text-generation", "module_output_name": "causal_logits"}"#;
const CHAT: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}";
const ADAPTER: &str =
    r#"{"peft_type": "LORA", "r": 8, "target_modules": ["query"], "base_model_name_or_path": "x"}"#;

impl Workshop {
    /// Makes the good files.
    pub(super) fn new() -> Self {
        let workshop = Workshop { folder: tempfile::tempdir().unwrap() };
        let cases =
            KINDS.iter().flat_map(|kind| kind.models).filter(|model| golden(model).is_dir());
        for case in cases {
            workshop.add_model(case, &golden(case));
        }
        workshop.add_model("sentence-transformers", &golden("qwen3-tied-f32"));
        let settings = workshop.path("sentence-transformers");
        std::fs::create_dir(settings.join("1_LogitScore")).unwrap();
        for (name, text) in [
            ("modules.json", MODULES),
            ("1_LogitScore/config.json", LOGIT_SCORE),
            ("config_sentence_transformers.json", CROSS_ENCODER),
            ("sentence_bert_config.json", TRANSFORMER),
            ("chat_template.jinja", CHAT),
        ] {
            std::fs::write(settings.join(name), text).unwrap();
        }
        workshop.add_gguf();
        workshop.add_calibration();
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add_model(&self, name: &str, from: &Path) {
        let folder = self.path(name);
        if folder.exists() {
            return;
        }
        copy(from, &folder);
        _ = std::fs::remove_file(folder.join("golden.json"));
    }

    fn add_gguf(&self) {
        let (model, out) = (golden("qwen2-f32"), self.path("gguf"));
        let args = ["quantize", model.to_str().unwrap(), "--format", "q8_0", "-o"];
        let made = grating(&[&args[..], &[out.to_str().unwrap()]].concat(), b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn add_calibration(&self) {
        let model = self.path("bert-gelu-f32");
        let text = |i: usize| format!("{} {i}", ["window", "river", "layer", "glass"][i % 4]);
        let line = |q: usize| {
            let texts: Vec<String> = (0..5).map(|c| text(5 * q + c)).collect();
            format!("{}\n", serde_json::json!({ "query": text(q), "texts": texts }))
        };
        let queries: String = (0..12).map(line).collect();
        std::fs::write(model.join("queries.jsonl"), queries).unwrap();
        let beir = model.join("beir");
        std::fs::create_dir_all(beir.join("qrels")).unwrap();
        let document =
            |i: usize| format!("{{\"_id\":\"{i}\",\"title\":\"\",\"text\":\"{}\"}}\n", text(i));
        std::fs::write(beir.join("corpus.jsonl"), (0..60).map(document).collect::<String>())
            .unwrap();
        std::fs::write(beir.join("queries.jsonl"), (0..12).map(document).collect::<String>())
            .unwrap();
        let pool = |q: usize| {
            let candidates: Vec<String> = (0..5).map(|c| (5 * q + c).to_string()).collect();
            format!("{}\n", serde_json::json!({ "query": q.to_string(), "candidates": candidates }))
        };
        std::fs::write(beir.join("candidates.jsonl"), (0..12).map(pool).collect::<String>())
            .unwrap();
        let judged = |q: usize| format!("{q}\t{}\t1\n", 5 * q);
        let judged: String = (0..12).map(judged).collect();
        std::fs::write(
            beir.join("qrels/test.tsv"),
            format!("query-id\tcorpus-id\tscore\n{judged}"),
        )
        .unwrap();
        let args = Calibrate.args(&model);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let made = grating(&args, b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::copy(model.join("profile.json"), model.join("grating-profile.json")).unwrap();
    }

    /// A folder of its own with one file damaged; what is run, and what was damaged.
    pub(super) fn case(
        &self,
        kind: &Kind,
        random: &mut Random,
        into: &Path,
    ) -> (Vec<String>, String) {
        let model = *random.pick(kind.models);
        copy(&self.path(model), into);
        let policy = serde_json::to_string(&grating::Policy::paper(0.1)).unwrap();
        for (name, text) in [
            ("texts.txt", std::str::from_utf8(TEXTS).unwrap()),
            (
                "texts.jsonl",
                "{\"id\": 1, \"text\": \"a river\"}\n{\"id\": \"b\", \"text\": \"caf\\u00e9\"}\n",
            ),
            ("policy.json", policy.as_str()),
        ] {
            std::fs::write(into.join(name), text).unwrap();
        }
        let command = *random.pick(kind.commands);
        let present = |name: &&&str| into.join(name).exists();
        let choices: Vec<&&str> = kind.files.iter().filter(present).collect();
        let name = match choices.is_empty() {
            true => kind.files[random.below(kind.files.len())],
            false => **random.pick(&choices),
        };
        let path = into.join(name);
        let original = std::fs::read(&path).unwrap_or_else(|_| default_of(name).into());
        std::fs::write(&path, super::damage::damaged(&original, random)).unwrap();
        (command.args(into), format!("{name} of {model}"))
    }
}

/// What stands in files that the models here come without.
fn default_of(name: &str) -> &'static str {
    match name {
        "tokenizer_config.json" => TOKENIZER_CONFIG,
        "special_tokens_map.json" => SPECIAL_TOKENS,
        "adapter_config.json" => ADAPTER,
        _ => "{}",
    }
}

impl Command {
    fn args(self, folder: &Path) -> Vec<String> {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
        let model = folder.to_str().unwrap().to_string();
        let texts = path(if matches!(self, RerankJsonLines) { "texts.jsonl" } else { "texts.txt" });
        let data = path(if matches!(self, CalibrateFolder) { "beir" } else { "queries.jsonl" });
        let words = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
        match self {
            Inspect => words(&["inspect", &model]),
            Plan => words(&["plan", "-m", &model, "--threads", "1"]),
            Doctor => words(&["doctor", "-m", &model]),
            Quantize => words(&["quantize", &model, "--format", "q4_0", "-o", &path("out")]),
            Rerank | RerankJsonLines => words(&[
                "rerank",
                "-q",
                "window",
                "-k",
                "1",
                "--threads",
                "1",
                "-m",
                &model,
                &texts,
            ]),
            Profile | Policy => {
                let (option, file) = match self {
                    Profile => ("--profile", path("profile.json")),
                    _ => ("--policy", path("policy.json")),
                };
                let args = ["rerank", "-q", "window", "-k", "1", "--threads", "1", "-m", &model];
                [words(&args), words(&[option, &file, &texts])].concat()
            }
            Calibrate | CalibrateFolder => {
                let args =
                    ["calibrate", "-m", &model, "--data", &data, "--threads", "1", "-k", "1"];
                let promise = ["--target-agreement", "0.3", "--confidence", "0.5"];
                let traces =
                    path(if matches!(self, Calibrate) { "traces.jsonl" } else { "beir.traces" });
                let files = ["--out", &path("profile.json"), "--traces", &traces];
                [words(&args), words(&promise), words(&files)].concat()
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).unwrap(),
        }
    }
}
