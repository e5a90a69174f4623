//! Says in plain words what is wrong with a model: files, tensors, head, template, tokenizer, and a sanity ranking.

use grating_io::{Checkpoint, Dtype, TensorInfo};
use grating_model::{
    Identity, LoadOptions, LoadedModel, ModelConfig, ModelError, TextEncoder, tokenizer_differences,
};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files::{self, ModelFiles};
use crate::reranker::Reranker;
use crate::source::ModelSource;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// In order.
    Pass,
    /// Usable, but look at it.
    Warn,
    /// Not usable.
    Fail,
    /// Could not be tried because an earlier check failed.
    Skip,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// All checks of a model, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DoctorReport {
    /// The model.
    pub model: String,
    /// What there is to compute on beside the processor, or why there is nothing.
    pub devices: String,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Whether nothing failed.
    pub fn healthy(&self) -> bool {
        self.checks.iter().all(|check| check.status != CheckStatus::Fail)
    }

    fn add(
        &mut self,
        name: &'static str,
        status: CheckStatus,
        detail: impl Into<String>,
        remedy: Option<&str>,
    ) {
        let remedy = remedy.map(str::to_string);
        self.checks.push(Check { name, status, detail: detail.into(), remedy });
    }

    fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, CheckStatus::Pass, detail, None);
    }

    fn fail(&mut self, name: &'static str, detail: impl Into<String>, remedy: &str) {
        self.add(name, CheckStatus::Fail, detail, Some(remedy));
    }

    fn skip(&mut self, names: &[&'static str]) {
        for name in names {
            self.add(name, CheckStatus::Skip, "not tried, see above", None);
        }
    }
}

const FILES: &str = "files";
const MODEL: &str = "architecture, head and tensors";
const PROMPT: &str = "prompt";
const SCORE: &str = "score";
const WEIGHTS: &str = "weights";
const TOKENIZER: &str = "tokenizer and template";
const TOKENIZER_FILES: &str = "tokenizer's files";
const SANITY: &str = "sanity ranking";

/// Examines a model: opens its files, checks every tensor, reads all weights once for NaN and infinities, and ranks
/// a few built-in pairs whose order is beyond doubt.
pub fn doctor(source: &ModelSource) -> DoctorReport {
    let mut report = DoctorReport {
        model: source.to_string(),
        devices: crate::device::described(),
        checks: Vec::new(),
    };
    let files = match files::open(source, crate::builder::fetch_quietly) {
        Ok(files) => files,
        Err(Error::Model { reason, .. }) => {
            let (detail, remedy) = match *reason {
                ModelError::OtherModel { file, says, remedy } => (format!("{file} {says}"), remedy),
                other => (other.to_string(), "see the message".into()),
            };
            report.fail(FILES, detail, &remedy);
            report.skip(&[MODEL, PROMPT, WEIGHTS, TOKENIZER, SANITY]);
            return report;
        }
        Err(error) => {
            let remedy = match error {
                Error::NoTokenizerJson { .. } => {
                    "make tokenizer.json with that command and run again"
                }
                _ => "put the missing or damaged file in place and run again",
            };
            report.fail(FILES, error.to_string(), remedy);
            report.skip(&[MODEL, PROMPT, WEIGHTS, TOKENIZER, SANITY]);
            return report;
        }
    };
    let tensors = files.checkpoint.tensors().count();
    let beside = match files.from_metadata.as_slice() {
        [] => "config.json, tokenizer.json".to_string(),
        parts => format!("{} from the file's metadata", parts.join(", ")),
    };
    report.pass(FILES, format!("{beside} and {tensors} tensors in {}", shards(&files)));

    match files.load(LoadOptions::default()) {
        Ok(LoadedModel { model, encoder, identity, .. }) => {
            let config = model.config();
            let (family, head) = (config.family.name(), config.form.name());
            report.pass(
                MODEL,
                format!("{family}, {} layers, {head}; all tensors as configured", config.layers),
            );
            check_identity(&mut report, &identity);
            check_weights(&mut report, &files.checkpoint);
            check_tokenizer(&mut report, &encoder, config.vocab);
            check_tokenizer_files(&mut report, &files, config);
        }
        Err(error) => {
            not_loaded(&mut report, error);
            return report;
        }
    }
    check_sanity(&mut report, source);
    report
}

/// A model whose files are there and cannot be used: which check fails, and what nobody can look at then.
fn not_loaded(report: &mut DoctorReport, error: ModelError) {
    let (at, rest): (_, &[&'static str]) = match error {
        ModelError::Tokenize(_) => (TOKENIZER, &[MODEL, PROMPT, WEIGHTS, SANITY]),
        ModelError::OtherModel { .. } | ModelError::NoTemplate { .. } => {
            (PROMPT, &[MODEL, WEIGHTS, TOKENIZER, SANITY])
        }
        _ => (MODEL, &[PROMPT, WEIGHTS, TOKENIZER, SANITY]),
    };
    let (detail, remedy) = match error {
        ModelError::OtherModel { file, says, remedy } => (format!("{file} {says}"), remedy),
        other => (
            other.to_string(),
            "use a checkpoint that was published as a reranker, complete".into(),
        ),
    };
    report.fail(at, detail, &remedy);
    report.skip(rest);
}

/// What the model was taken for and why, and how its scores compare to sentence-transformers'.
fn check_identity(report: &mut DoctorReport, identity: &Identity) {
    report.pass(PROMPT, format!("{}: {}", identity.prompt, identity.reason));
    for warning in &identity.warnings {
        report.add(PROMPT, CheckStatus::Warn, warning, None);
    }
    let predict = "`CrossEncoder.predict` of sentence-transformers";
    match identity.activation.as_deref() {
        None | Some("Sigmoid") => {}
        Some("Identity") => report.pass(
            SCORE,
            format!(
                "the model's files say Identity: {predict} returns the raw score; the score is its sigmoid"
            ),
        ),
        Some(other) => {
            let detail = format!(
                "the model's files say {other}: {predict} returns that of the raw score; the score here is its sigmoid"
            );
            report.add(SCORE, CheckStatus::Warn, detail, Some("compare raw scores"));
        }
    }
}

fn shards(files: &ModelFiles) -> String {
    match files.checkpoint.shards() {
        [one] => one.name().to_string(),
        many => format!("{} shards", many.len()),
    }
}

/// Scanned a block at a time, so that a checkpoint larger than memory can be examined.
const SCAN_BYTES: u64 = 4 << 20;

fn check_weights(report: &mut DoctorReport, checkpoint: &Checkpoint) {
    let mut buffer = vec![0; SCAN_BYTES as usize];
    for tensor in checkpoint.tensors() {
        match first_not_finite(checkpoint, tensor, &mut buffer) {
            Ok(None) => {}
            Ok(Some(element)) => {
                let detail = format!(
                    "tensor `{}` holds NaN or an infinity at element {element}",
                    tensor.name
                );
                return report.fail(
                    WEIGHTS,
                    detail,
                    "the file is damaged: download or convert it again",
                );
            }
            Err(error) => {
                return report.fail(WEIGHTS, error.to_string(), "check the disk and the file");
            }
        }
    }
    report.pass(WEIGHTS, format!("{} bytes read, all numbers finite", checkpoint.data_bytes()));
}

fn first_not_finite(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    buffer: &mut [u8],
) -> Result<Option<u64>> {
    let (elements, width) = tensor.dtype.block();
    let whole_blocks = SCAN_BYTES - SCAN_BYTES % width as u64;
    let mut offset = 0;
    while offset < tensor.byte_len() {
        let bytes = &mut buffer[..whole_blocks.min(tensor.byte_len() - offset) as usize];
        checkpoint.read_range(tensor, offset, bytes)?;
        if let Some(block) = position_not_finite(tensor.dtype, bytes) {
            return Ok(Some((offset / width as u64 + block as u64) * elements as u64));
        }
        offset += bytes.len() as u64;
    }
    Ok(None)
}

/// The first block with a float whose exponent has all bits set: NaN or infinite. Quantized blocks
/// begin with their scale, some with a second for their minima; those of `Q6K` end with it.
fn position_not_finite(dtype: Dtype, bytes: &[u8]) -> Option<usize> {
    let is_set = |b: &[u8], mask: u16| u16::from_le_bytes([b[0], b[1]]) & mask == mask;
    let mut blocks = bytes.chunks_exact(dtype.block().1);
    match dtype {
        Dtype::BF16 => blocks.position(|b| is_set(b, 0x7f80)),
        Dtype::F16 | Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => {
            blocks.position(|b| is_set(b, 0x7c00))
        }
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4K | Dtype::Q5K => {
            blocks.position(|b| is_set(b, 0x7c00) || is_set(&b[2..], 0x7c00))
        }
        Dtype::Q6K => blocks.position(|b| is_set(&b[b.len() - 2..], 0x7c00)),
        Dtype::F32 => blocks.position(|b| {
            u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7f80_0000 == 0x7f80_0000
        }),
        _ => None,
    }
}

fn check_tokenizer(report: &mut DoctorReport, encoder: &TextEncoder, rows: usize) {
    let entries = encoder.vocab_size();
    if entries > rows {
        return report.fail(
            TOKENIZER,
            format!("tokenizer.json has {entries} entries, the embedding table {rows} rows"),
            "take tokenizer.json and the weights from the same repository",
        );
    }
    let probe = "Zażółć gęślą jaźń, 東京, 🙂 and plain words.";
    let encoded =
        encoder.encode_query("probe", None).and_then(|query| encoder.encode(&query, probe));
    match encoded {
        Ok(encoding) => {
            let tokens = encoding.ids.len();
            report.pass(
                TOKENIZER,
                format!("{entries} entries; a probe text becomes {tokens} tokens"),
            );
        }
        Err(error) => report.fail(TOKENIZER, error.to_string(), "download tokenizer.json again"),
    }
}

/// What the files beside `tokenizer.json` change of it; without a difference there is nothing to say.
fn check_tokenizer_files(report: &mut DoctorReport, files: &ModelFiles, config: &ModelConfig) {
    match tokenizer_differences(&files.tokenizer_files(), config) {
        Ok(found) if found.is_empty() => {}
        Ok(found) => {
            let remedy = "texts are read as transformers reads them; if that is not meant, correct \
                          tokenizer_config.json or tokenizer.json";
            report.add(TOKENIZER_FILES, CheckStatus::Warn, found.join("; "), Some(remedy));
        }
        Err(error) => report.fail(TOKENIZER_FILES, error.to_string(), "download them again"),
    }
}

/// Query, relevant text, irrelevant text. The irrelevant one is of the same kind and length.
const PAIRS: [(&str, &str, &str); 4] = [
    (
        "What is the capital of France?",
        "Paris is the capital and largest city of France.",
        "Bananas are rich in potassium and easy to peel.",
    ),
    (
        "how to reset a forgotten password",
        "To reset your password, open the sign-in page and choose \"Forgot password\".",
        "The museum opens at nine in the morning and closes at five.",
    ),
    (
        "symptoms of the flu",
        "Influenza usually causes fever, cough, sore throat, muscle aches and fatigue.",
        "The stock exchange was founded in 1792 under a buttonwood tree.",
    ),
    (
        "how do plants make energy from sunlight",
        "Photosynthesis turns light into chemical energy in the leaves of plants.",
        "The orchestra rehearsed the second movement until late at night.",
    ),
];

fn check_sanity(report: &mut DoctorReport, source: &ModelSource) {
    let reranker = match Reranker::builder().source(source.clone()).build() {
        Ok(reranker) => reranker,
        Err(error) => return report.fail(SANITY, error.to_string(), "see the message"),
    };
    let mut wrong = Vec::new();
    let mut margins = Vec::new();
    for (query, relevant, irrelevant) in PAIRS {
        match margin(&reranker, query, relevant, irrelevant) {
            Ok(margin) => {
                margins.push(margin);
                if margin <= 0.0 {
                    wrong.push(query);
                }
            }
            Err(error) => return report.fail(SANITY, error.to_string(), "see the message"),
        }
    }
    let (right, all) = (PAIRS.len() - wrong.len(), PAIRS.len());
    let list: Vec<String> = margins.iter().map(|m| format!("{m:+.2}")).collect();
    let detail = format!(
        "{right} of {all} built-in pairs in the right order, logit margins {}",
        list.join(", ")
    );
    match wrong.len() {
        0 => report.pass(SANITY, detail),
        1 => report.add(SANITY, CheckStatus::Warn, detail, Some("a weak model for this kind of text?")),
        _ => report.fail(
            SANITY,
            detail,
            "the model does not rank: untrained weights, another template than it was trained with, \
             or not a reranker",
        ),
    }
}

/// How far the relevant text's logit lies above the other's.
fn margin(
    reranker: &Reranker,
    query: &str,
    relevant: &str,
    irrelevant: &str,
) -> Result<f32, Error> {
    let selection = reranker.rerank(query, &[relevant, irrelevant], 2)?;
    let logit = |index| {
        selection.results.iter().find(|r| r.index == index).map_or(f32::NAN, |r| r.raw_score.0)
    };
    Ok(logit(0) - logit(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_tells_what_is_not_finite() {
        let f32s = [1.0f32, f32::MAX, f32::NEG_INFINITY];
        let bytes: Vec<u8> = f32s.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(position_not_finite(Dtype::F32, &bytes), Some(2));
        // 65504, the largest f16, and NaN; then 1.0 and infinity in bf16
        assert_eq!(position_not_finite(Dtype::F16, &[0xff, 0x7b, 0x01, 0x7e]), Some(1));
        assert_eq!(position_not_finite(Dtype::BF16, &[0x80, 0x3f, 0x80, 0x7f]), Some(1));
        assert_eq!(position_not_finite(Dtype::BF16, &[0x80, 0x3f]), None);
    }
}
