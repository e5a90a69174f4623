//! Pruning profiles: a policy with the promise that it was certified for, and how that was found.

use std::io::Write;
use std::path::{Path, PathBuf};

use grating_engine::Readouts;
use grating_io::shown;
use grating_prune::online::Signals;
use grating_prune::{Calibration, Mode, Policy, Target, TokenPolicy};
use serde::{Deserialize, Serialize};

/// What a calibration found. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Profile {
    /// Of the file's form.
    pub version: u32,
    /// The model that it is for; any other is refused.
    pub model: ModelStamp,
    /// The K that it is for; any other is refused.
    pub k: usize,
    /// What becomes of accepted candidates; verdicts and the promise are the same in both modes.
    pub mode: Mode,
    /// The promise.
    pub promise: Target,
    /// How scores after intermediate layers are read; none is the model's own head.
    #[serde(default)]
    pub readouts: Option<Readouts>,
    /// Head and fitted readouts on the test half, layer by layer; empty where none were fitted.
    #[serde(default)]
    pub readings: Vec<LayerAgreement>,
    /// The policy, or none where nothing cheaper than the full model could be certified: nothing is pruned then.
    pub policy: Option<Policy>,
    /// Which tokens leave long texts meanwhile; the promise is for both together. None where all are computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenPolicy>,
    /// What the sample's requests showed under the policy, some hundreds of them at most: requests that look different are noticed from the
    /// first one on. Empty where there is no policy, and where tokens leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signals>,
    /// Where the sample was put together from several kinds of traffic, how many of the signals are of each, in their order. Requests that
    /// are like one of the kinds do not look different. Empty where all are of one kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<usize>,
    /// What makes the promise hold.
    pub theorem: String,
    /// What it was found on.
    pub data: DataSummary,
    /// The choice: the policy with its bound or the nearest miss, the test, and the frontier.
    pub calibration: Calibration,
    /// The same for the paper's policies alone, for comparison.
    pub paper: Calibration,
    /// The policy on the test half; none where there is no policy.
    pub measured: Option<Measured>,
    /// The paper's chosen policy on the test half.
    pub paper_measured: Option<Measured>,
}

/// A model, and the settings that its scores depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelStamp {
    /// Folder, hub id or `default`; for people only.
    pub name: String,
    /// SHA-256 of `config.json`, `grating.json` and each tensor's name, type, shape and first and last 4096 bytes.
    pub hash: String,
    /// Layers.
    pub layers: usize,
    /// See [`Precision`](crate::Precision).
    pub precision: String,
    /// In which types products with the layers' weights were taken, `int8` for instance: fast and exact precision
    /// depend on the instructions that the machine has. Files of older versions do not say it.
    #[serde(default)]
    pub products: Option<String>,
    /// Most tokens of a candidate.
    pub max_length: usize,
    /// How passages are [compressed](crate::RerankerBuilder::compress_ratio), in words; none where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// What queries are for, where it was set.
    pub instruction: Option<String>,
}

/// The sample of a calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataSummary {
    /// Name of the folder or file.
    pub name: String,
    /// Queries with more than K candidates.
    pub queries: usize,
    /// Queries left out, because they have no more.
    pub left_out: usize,
    /// Queries that chose the policy.
    pub calibration_queries: usize,
    /// Queries that did not.
    pub test_queries: usize,
    /// Fewest candidates of a query.
    pub candidates_min: usize,
    /// Mean number of candidates.
    pub candidates_mean: f64,
    /// Most candidates of a query.
    pub candidates_max: usize,
    /// How the halves were told apart.
    pub split: String,
    /// SHA-256 of the queries' keys, in hex.
    pub hash: String,
}

/// How early a way to read scores sees the final top K.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerAgreement {
    /// Counted from 0.
    pub layer: usize,
    /// Mean agreement of the top K after this layer with the final one, by the model's own head.
    pub head: f64,
    /// The same by the fitted readout.
    pub fitted: f64,
    /// Strength of the fitted readout's ridge, see [`grating_prune::readout::Fit::ridge`].
    pub ridge: f64,
}

/// A policy on queries that had no part in its choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measured {
    /// Queries.
    pub queries: usize,
    /// Mean agreement@K with the full model, 0 to 1.
    pub agreement: f64,
    /// Share of candidate-layers not computed, 0 to 1.
    pub saved: f64,
    /// Quality against judgments, where there are some.
    pub judged: Option<Judged>,
}

/// Quality against relevance judgments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Judged {
    /// Queries with a relevant text.
    pub queries: usize,
    /// Of the full model.
    pub full: Quality,
    /// Of the policy.
    pub pruned: Quality,
}

/// Means over queries, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quality {
    /// Relevant texts among the K, divided by K or by the number of relevant ones, whichever is smaller.
    pub precision: f64,
    /// nDCG@K in the order of the results. In `select` mode that is the order of acceptance, which promises nothing
    /// within the K.
    pub ndcg: f64,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// It cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// It is none.
    #[error("{name} is no pruning profile: {reason}; make one with `grating calibrate`")]
    Malformed {
        /// The file.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// It was made for another model or other settings.
    #[error(
        "the pruning profile was made for {what} {expected}, this is {found}: its promise does not hold here; \
         calibrate again with `grating calibrate`, or run without pruning (--no-prune)"
    )]
    OtherModel {
        /// What differs.
        what: &'static str,
        /// In the profile.
        expected: String,
        /// Of the reranker.
        found: String,
    },
    /// It was made for another K.
    #[error(
        "the pruning profile was made for K = {expected}, the request asks for {found}: its promise does not hold \
         here; calibrate with `--top-k {found}`, ask for {expected}, or run without pruning (--no-prune)"
    )]
    OtherK {
        /// In the profile.
        expected: usize,
        /// Of the request.
        found: usize,
    },
}

/// A model folder's own profile, or a list of them for several K.
pub(crate) const SHIPPED: &str = "grating-profile.json";

impl Profile {
    /// Of the form that this library writes.
    pub const VERSION: u32 = 1;

    /// A profile from the bytes of its JSON; `name` is what errors call them.
    ///
    /// # Errors
    /// [`ProfileError::Malformed`].
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, ProfileError> {
        let mut profiles = Self::parse(name, json)?;
        match (profiles.pop(), profiles.is_empty()) {
            (Some(profile), true) => Ok(profile),
            _ => Err(malformed(name, "it holds a list, not one")),
        }
    }

    /// Reads a profile from a file.
    ///
    /// # Errors
    /// [`ProfileError::File`], [`ProfileError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let bytes = crate::regular::read(path);
        let bytes = bytes.map_err(|reason| ProfileError::File { path: path.into(), reason })?;
        Self::from_json(&path.display().to_string(), &bytes)
    }

    /// Writes the profile to a file, as JSON.
    ///
    /// # Errors
    /// [`ProfileError::File`].
    pub fn write(&self, path: &Path) -> Result<(), ProfileError> {
        let fail = |reason| ProfileError::File { path: path.into(), reason };
        let mut json = serde_json::to_vec_pretty(self).map_err(|e| fail(e.into()))?;
        json.push(b'\n');
        replace(path, &json).map_err(fail)
    }

    /// One profile or a list.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Self>, ProfileError> {
        let list = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
        let profiles: Vec<Self> = match list {
            true => serde_json::from_slice(bytes),
            false => serde_json::from_slice(bytes).map(|profile| vec![profile]),
        }
        .map_err(|e| malformed(name, &shown(&e.to_string())))?;
        for profile in &profiles {
            if profile.version != Self::VERSION {
                let reason =
                    format!("it has version {}, this reads {}", profile.version, Self::VERSION);
                return Err(malformed(name, &reason));
            }
            let of_kinds: usize =
                profile.kinds.iter().fold(0, |sum, kind| sum.saturating_add(*kind));
            if !profile.kinds.is_empty() && of_kinds != profile.signals.len() {
                let signals = profile.signals.len();
                let reason =
                    format!("its kinds have {of_kinds} signals together, it holds {signals}");
                return Err(malformed(name, &reason));
            }
            let layers = profile.model.layers;
            if let Some(Err(error)) = profile.policy.as_ref().map(|p| p.validate_for(layers)) {
                return Err(malformed(name, &error.to_string()));
            }
            if let Some(Err(error)) = profile.tokens.as_ref().map(TokenPolicy::validate) {
                return Err(malformed(name, &error.to_string()));
            }
        }
        Ok(profiles)
    }

    /// What the sample's requests showed, kind by kind; nothing where it is not known.
    pub(crate) fn signals_by_kind(&self) -> Vec<Vec<Signals>> {
        let mut signals = self.signals.iter().copied();
        let by_kind = self.kinds.iter().map(|&kind| signals.by_ref().take(kind).collect());
        let mut kinds: Vec<Vec<Signals>> = by_kind.collect();
        // Of one kind.
        kinds.push(signals.collect());
        kinds.retain(|kind| !kind.is_empty());
        kinds
    }

    /// Refuses any weights but those of the profile's own model.
    pub(crate) fn check_weights(&self, model: &ModelStamp) -> Result<(), ProfileError> {
        match self.model.hash == model.hash {
            true => Ok(()),
            false => self.check_model(model),
        }
    }

    /// Refuses any model but the profile's own. The instruction may be another: it belongs to the traffic, not to the
    /// model.
    pub(crate) fn check_model(&self, model: &ModelStamp) -> Result<(), ProfileError> {
        let model = ModelStamp { instruction: self.model.instruction.clone(), ..model.clone() };
        match self.model.difference(&model) {
            Some((what, expected, found)) => {
                Err(ProfileError::OtherModel { what, expected, found })
            }
            None => Ok(()),
        }
    }
}

impl ModelStamp {
    /// Older files do not say it. Then it was f32, but for fast precision and for processors of AMD with instructions
    /// for bf16.
    fn kind_of_products(&self) -> &str {
        match &self.products {
            Some(products) => products,
            None if self.precision == "fast" => "an unknown type",
            None => "f32",
        }
    }

    /// The first difference that scores depend on: what, here, there.
    pub(crate) fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let text = |instruction: &Option<String>| match instruction {
            Some(text) => shown(&format!("{text:?}")),
            None => "none".into(),
        };
        if self.hash != other.hash {
            let named = |m: &Self| {
                let hash: String = m.hash.chars().take(12).collect();
                format!("{hash} ({})", shown(&m.name))
            };
            return Some(("the model", named(self), named(other)));
        }
        if self.layers != other.layers {
            let layers = |m: &Self| format!("{} layers", m.layers);
            return Some(("a model of", layers(self), layers(other)));
        }
        if self.precision != other.precision {
            return Some(("precision", shown(&self.precision), shown(&other.precision)));
        }
        let (here, there) = (self.kind_of_products(), other.kind_of_products());
        if here != there {
            return Some(("products in", shown(here), shown(there)));
        }
        if self.max_length != other.max_length {
            let length = |m: &Self| format!("{} tokens", m.max_length);
            return Some(("a maximum length of", length(self), length(other)));
        }
        if self.compression != other.compression {
            let passages = |m: &Self| match &m.compression {
                Some(how) => format!("compressed {}", shown(how)),
                None => "uncompressed".into(),
            };
            return Some(("passages", passages(self), passages(other)));
        }
        if self.instruction != other.instruction {
            return Some(("the instruction", text(&self.instruction), text(&other.instruction)));
        }
        None
    }
}

/// Writes a whole file or leaves the one that is there; what is no regular file is written to as it is.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let existing = path.symlink_metadata();
    if existing.as_ref().is_ok_and(|existing| !existing.is_file()) {
        return std::fs::write(path, bytes);
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".grating-profile-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the process's mask
    }
    let mut file = builder.tempfile_in(parent)?;
    file.write_all(bytes)?;
    if let Ok(existing) = existing {
        file.as_file().set_permissions(existing.permissions())?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn malformed(name: &str, reason: &str) -> ProfileError {
    ProfileError::Malformed { name: name.into(), reason: reason.into() }
}
