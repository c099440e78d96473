//! Models behind the inference port.
