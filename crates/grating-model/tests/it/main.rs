//! Integration tests, one module a subject.

mod golden;
