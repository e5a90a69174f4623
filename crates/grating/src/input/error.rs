//! What can be wrong with a file of texts or queries.

use grating_io::shown;
use grating_sched::mebibytes;

/// Which line cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct InputError {
    /// Counted from 1.
    pub line: usize,
    /// Why.
    pub problem: InputProblem,
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// The bytes are in another encoding.
    #[error("it is not valid UTF-8; convert the file, e.g. with iconv")]
    NotUtf8,
    /// The file is compressed.
    #[error("it is compressed ({with}): unpack it first, e.g. with {command}")]
    Compressed {
        /// By what.
        with: &'static str,
        /// That unpacks it to standard output.
        command: &'static str,
    },
    /// It begins as JSON does and is none.
    #[error("it is no JSON: {}", shown(reason))]
    NotJson {
        /// The parser's words.
        reason: String,
    },
    /// An element is neither a string nor an object.
    #[error("{found} is neither a string nor an object")]
    NotAText {
        /// What it is.
        found: &'static str,
    },
    /// An object has none of the fields that could be its text.
    #[error("{}", none_of(looked_for, fields))]
    NoText {
        /// Fields that were looked for.
        looked_for: Vec<String>,
        /// Fields that it has.
        fields: Vec<String>,
    },
    /// Several fields could be the text.
    #[error("{} could both be the text", list(fields, " and "))]
    Ambiguous {
        /// Those.
        fields: Vec<String>,
    },
    /// A field is no string.
    #[error("`{field}` is {found}, not a string")]
    NotAString {
        /// Which.
        field: String,
        /// What it is.
        found: &'static str,
    },
    /// A field that was asked for is missing.
    #[error("{}", none_of(std::slice::from_ref(field), fields))]
    NoField {
        /// Which.
        field: String,
        /// Fields that there are.
        fields: Vec<String>,
    },
    /// An array or a request body is not alone.
    #[error("an array of texts or a request body must be the only value of its file")]
    Several,
    /// `texts` or `documents` is no array, or both are there.
    #[error("`texts` or `documents` must be one array of strings or objects")]
    NotAList,
    /// An object has a field twice.
    #[error("`{}` is there twice, and nothing says which one counts", shown(field))]
    Twice {
        /// Which.
        field: String,
    },
    /// A field of a request body is not what it should be.
    #[error("`{field}` is {}, not {expected}", shown(found))]
    WrongField {
        /// Which.
        field: String,
        /// What is there, as written where it is short.
        found: String,
        /// What can be used.
        expected: &'static str,
    },
    /// Fields of a request body that mean the same say different things.
    #[error("{} say different things", list(fields, " and "))]
    Contradiction {
        /// Those.
        fields: Vec<String>,
    },
    /// The memory budget has no room for what is read.
    #[error(
        "a budget of {} is too small: what is read up to here ({texts} texts) takes {} with what is made of it, and the \
         process with that at least {}, without what follows; raise the budget, or rank fewer or shorter texts at a time",
        mebibytes(*budget),
        mebibytes(*bytes),
        mebibytes(*needed)
    )]
    OverBudget {
        /// The budget, bytes.
        budget: u64,
        /// Texts that were read.
        texts: usize,
        /// What they take, and what will be taken for them, bytes.
        bytes: u64,
        /// The least budget with which they would have been read, bytes; what follows them may need more.
        needed: u64,
    },
    /// There is not one grade for each text.
    #[error("{grades} grades for {texts} texts")]
    Grades {
        /// So many grades.
        grades: usize,
        /// So many texts.
        texts: usize,
    },
}

/// Why input cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is not as it should be.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The system's words, or those of whoever was to make room.
    #[error(transparent)]
    Io(std::io::Error),
}

fn list(names: &[String], between: &str) -> String {
    let list: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    shown(&list.join(between))
}

fn none_of(looked_for: &[String], fields: &[String]) -> String {
    let mut message = match looked_for {
        [first, others @ ..] if !others.is_empty() => {
            format!("there is no `{first}` (nor {})", list(others, ", "))
        }
        _ => format!("there is no {}", list(looked_for, "")),
    };
    if !fields.is_empty() {
        message += &format!("; the fields are {}", list(fields, ", "));
    }
    message
}
