//! Settings of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use grating::Mode;

use crate::api_key::ApiKey;

/// Settings of a [`Server`](crate::Server); every one has a default. How long a model's queue is, its
/// [`RerankerBuilder`](grating::RerankerBuilder) says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where to listen; by default port 8080 of this machine alone.
    pub bind: SocketAddr,
    /// What requests must carry; by default nothing.
    pub api_key: Option<ApiKey>,
    /// Largest body of a request, bytes; by default 32 MiB.
    pub max_body_bytes: usize,
    /// Most bytes of bodies and answers at one time; by default 128 MiB.
    pub max_held_bytes: usize,
    /// Most connections at one time; further ones wait. By default 1024.
    pub max_connections: usize,
    /// Most tokens that may wait in a model's queue before further requests are refused; by default 4 Mi.
    pub max_queued_tokens: usize,
    /// Within which a request's head, and then its body, must be there; idle connections are closed after it, too. By
    /// default 30 s.
    pub read_timeout: Duration,
    /// Within which a client must take some of an answer; by default 30 s.
    pub write_timeout: Duration,
    /// Within which a request must be answered, where it does not say so itself; by default no limit.
    pub deadline: Option<Duration>,
    /// How many texts matter where a request does not say: the others may be dropped early, and come last. By default as
    /// many as the answer has.
    pub top_k_hint: Option<usize>,
    /// What becomes of texts that are accepted early, where a request does not say: by default they run to the end, so
    /// that the best have exact scores and order.
    pub mode: Mode,
    /// Whether scores are the model's own outputs where a request does not say; by default probabilities.
    pub raw_scores: bool,
    /// How long new connections are still taken after the server was told to stop: those that were on their way.
    pub drain: Duration,
    /// Whether queries are logged.
    pub log_queries: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            api_key: None,
            max_body_bytes: 32 << 20,
            max_held_bytes: 128 << 20,
            max_connections: 1024,
            max_queued_tokens: 4 << 20,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            deadline: None,
            top_k_hint: None,
            mode: Mode::Rank,
            raw_scores: false,
            drain: Duration::from_millis(250),
            log_queries: false,
        }
    }
}
