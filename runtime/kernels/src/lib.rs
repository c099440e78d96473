//! Arithmetic of neural networks on a CPU: the only crate of the workspace with `unsafe`.
//!
//! Each operation exists in several variants, one for each set of instructions, behind one safe face that picks what
//! the processor has when the program runs. The invariant: every variant computes what the portable one does.

pub mod llama;
