//! The only now().
