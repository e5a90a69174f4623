//! Reranking over HTTP, in the shapes that clients of Cohere, Jina, text-embeddings-inference, vLLM, Voyage, Infinity and
//! llama.cpp speak.
//!
//! # Brief overview
//!
//! [`Server::bind`] takes [`ServerOptions`] and the models to serve ([`ServedModel`]); [`Server::run`] answers until a
//! [`Stopper`] stops it, and then answers what it has taken on. Models are opened while the server already answers, with
//! 503. Connections are waited on by one thread; texts are read, tokenized and computed on others, so that a slow reader or
//! writer holds up nobody. Requests wait in the queue of their model's [`Reranker`](grating::Reranker), which has a length:
//! past it the answer is 429 with the time after which to try again. A connection that closes cancels its request.
//!
//! The server binds to this machine alone by default, opens no path that a request names, and logs no text.
//!
//! # Example
//!
//! ```no_run
//! use grating::Reranker;
//! use grating_server::{ServedModel, Server, ServerOptions};
//!
//! let model = ServedModel::new("default", || Ok(Reranker::builder().build()?));
//! let server = Server::bind(ServerOptions::default(), vec![model])?;
//! println!("http://{}", server.local_addr());
//! server.run()?;
//! # Ok::<(), grating_server::ServerError>(())
//! ```
#![deny(unsafe_code)]

mod api_key;
mod body;
mod connection;
mod events;
mod failure;
mod handlers;
mod info;
mod load;
mod metrics;
mod models;
mod options;
mod page;
mod reply;
mod router;
mod server;
mod state;
mod work;

pub use api_key::ApiKey;
pub use models::{OpenError, ServedModel};
pub use options::ServerOptions;
pub use server::{Server, ServerError, Stopper};
