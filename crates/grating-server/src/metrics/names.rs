//! What is counted: names in the style of Prometheus, with their unit, and what they mean.

/// Values of one name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) help: &'static str,
}

#[derive(Debug)]
pub(super) enum Form {
    Counter,
    Gauge,
    /// Upper bounds of the buckets, but for the last, which has none.
    Histogram(&'static [f64]),
}

/// Seconds, from less than a small request takes to more than anybody waits.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
const REQUESTS_OF_A_PASS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0];

macro_rules! families {
    ($($constant:ident = $name:literal, $form:expr, $help:literal;)*) => {
        $(pub(crate) static $constant: Family = Family { name: $name, form: $form, help: $help };)*
        /// All of them, in the order in which they are written.
        pub(super) static ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    UP = "grating_up", Form::Gauge, "1, with where the server is in its life: loading, ready or stopping.";
    REQUESTS = "grating_http_requests_total", Form::Counter, "HTTP requests that were answered, by path and status.";
    FAILURES = "grating_request_failures_total", Form::Counter, "Requests that were not answered as asked, by kind.";
    RERANKED = "grating_rerank_requests_total", Form::Counter, "Pools that were ranked.";
    TEXTS = "grating_texts_total", Form::Counter, "Texts that were ranked.";
    TOKENS = "grating_tokens_total", Form::Counter, "Tokens of those texts with their queries and templates.";
    TRUNCATED = "grating_texts_truncated_total", Form::Counter, "Texts that were cut at the maximum length.";
    CANDIDATE_LAYERS = "grating_candidate_layers_total", Form::Counter, "Layers computed for a text, summed over the texts.";
    SAVED = "grating_candidate_layers_saved_total", Form::Counter, "Layers that pruning left out, summed over the texts.";
    READ = "grating_weight_bytes_read_total", Form::Counter, "Bytes of weights read from the checkpoint; those of a shared pass count for each of its requests.";
    DURATION = "grating_rerank_duration_seconds", Form::Histogram(SECONDS), "From a pool's submission to its scores.";
    STAGE = "grating_stage_duration_seconds", Form::Histogram(SECONDS), "What of it each stage took.";
    PASS = "grating_requests_in_pass", Form::Histogram(REQUESTS_OF_A_PASS), "Requests that shared the pass through the layers.";
    QUEUE_LENGTH = "grating_queue_length", Form::Gauge, "Most requests that may wait.";
    QUEUED = "grating_queue_requests", Form::Gauge, "Requests that wait.";
    QUEUED_TOKENS = "grating_queue_tokens", Form::Gauge, "Tokens of the requests that wait.";
    RUNNING = "grating_running_requests", Form::Gauge, "Requests that are computed.";
    PREDICTED = "grating_backlog_predicted_seconds", Form::Gauge, "How long the requests that wait or are computed are predicted to take.";
    AUDITED = "grating_audited_requests", Form::Gauge, "Pruned requests that were run in full to see what pruning would have done.";
    AGREEMENT = "grating_audit_agreement_ratio", Form::Gauge, "Mean share of the full model's top K that pruning would have selected.";
    PRUNING = "grating_pruning_in_use", Form::Gauge, "Whether a profile, or what was learned, prunes requests for k texts: 1, or 0 while everything is computed.";
    SUSPICIONS = "grating_traffic_suspicions_total", Form::Counter, "How often requests for k texts looked so different from those before that everything was computed.";
    ALARMS = "grating_promise_alarms_total", Form::Counter, "How often audits showed the promise for k texts broken.";
    PLANNED = "grating_memory_planned_bytes", Form::Gauge, "What the last request planned of memory, by use.";
    BUDGET = "grating_memory_budget_bytes", Form::Gauge, "What the process may use.";
    RESIDENT = "grating_memory_resident_bytes", Form::Gauge, "What the process uses now.";
}
