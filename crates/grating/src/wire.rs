//! Requests and answers as other rerank servers and their clients write them, for whoever speaks to them over a wire.
//!
//! # Brief overview
//!
//! [`RerankBody::parse`] reads what clients of text-embeddings-inference, Cohere, Jina, Voyage, vLLM, Infinity and
//! llama.cpp send, [`ScoreBody::parse`] what those of vLLM's `/score` send. They are lenient where clients are careless
//! (nulls, truth values in quotes, fields of other servers) and name the field where something cannot be used
//! ([`WireError`]). [`rerank_answer`] writes what came of a request in the form that its sender reads ([`Shape`]),
//! [`ErrorBody`] an error that all of them can read. Reading texts for the command line is [`mod@crate::input`]'s, which is
//! strict and knows of line numbers.
//!
//! # Example
//!
//! ```
//! use grating::wire::{RerankBody, Shape};
//!
//! let body = RerankBody::parse(br#"{"query":"q","documents":["a",{"text":"b"}],"top_n":null,"rank":1}"#)?;
//! assert_eq!((body.shape, body.texts.len(), body.answered()), (Shape::Documents, 2, 2));
//! # Ok::<(), grating::wire::WireError>(())
//! ```

mod answer;
mod body;
mod error;
mod long;
mod score;
mod value;

pub use answer::{Wanted, rerank_answer, score_answer};
pub use body::RerankBody;
pub use error::{ErrorBody, Fault, WireError};
pub use long::LongFields;
pub use score::ScoreBody;

/// The form of a request, which its answer has, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// `texts`: an array of all texts by falling score, as text-embeddings-inference answers.
    Texts,
    /// `documents`: an object that the clients of Cohere, Jina, vLLM and others read.
    #[default]
    Documents,
    /// `documents` with `top_k`: that object with the `data` of Voyage beside.
    Data,
}
