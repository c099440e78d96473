//! Authenticated byte streams.
