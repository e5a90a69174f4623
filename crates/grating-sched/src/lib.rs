//! grating-sched
