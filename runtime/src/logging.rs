//! JSON lines for machines, plain lines for people.
