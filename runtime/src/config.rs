//! What a user can set, checked as a whole.
