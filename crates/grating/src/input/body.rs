//! What a request body of another server says beside its texts.

use super::error::{InputError, InputProblem};
use super::json;
use super::object::{Object, Use};

/// What a request body asks for beside its query and texts. Null is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyOptions {
    /// `top_n` or `top_k`.
    pub top_n: Option<usize>,
    /// Whether the texts are wanted with the results: `return_documents` or `return_text`.
    pub return_text: Option<bool>,
    /// Whether the model's own outputs are wanted: `raw_scores`.
    pub raw_scores: Option<bool>,
}

const TOP: [&str; 2] = ["top_n", "top_k"];
const RETURN: [&str; 2] = ["return_documents", "return_text"];
const RAW: [&str; 1] = ["raw_scores"];

/// Which fields are looked for.
pub(super) fn uses(name: &str) -> Use {
    let known = [&TOP[..], &RETURN, &RAW].into_iter().any(|names| names.contains(&name));
    if known { Use::Wanted } else { Use::Other }
}

/// # Errors
/// What is there and cannot be used, and fields that contradict each other.
pub(super) fn options(object: &Object) -> Result<BodyOptions, InputError> {
    let whole = |value: &str| value.parse::<usize>().ok().filter(|&n| n > 0);
    let truth = |value: &str| value.parse::<bool>().ok();
    Ok(BodyOptions {
        top_n: one_of(object, &TOP, "a whole number, at least 1", whole)?,
        return_text: one_of(object, &RETURN, "true or false", truth)?,
        raw_scores: one_of(object, &RAW, "true or false", truth)?,
    })
}

/// What the fields of these names, which mean the same, say.
fn one_of<T: Copy + PartialEq>(
    object: &Object,
    names: &[&str],
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, InputError> {
    let mut said = None;
    for name in names {
        let Some(value) = object.get(name).filter(|value| json::kind(value) != "null") else {
            continue;
        };
        let found = || match json::kind(value) {
            kind @ ("an object" | "an array") => kind.to_string(),
            _ => value.to_string(),
        };
        let Some(value) = parse(value) else {
            let (field, found) = (name.to_string(), found());
            return Err(object.wrong(InputProblem::WrongField { field, found, expected }));
        };
        if said.is_some_and(|before| before != value) {
            let fields = names.iter().map(|name| name.to_string()).collect();
            return Err(object.wrong(InputProblem::Contradiction { fields }));
        }
        said = Some(value);
    }
    Ok(said)
}
