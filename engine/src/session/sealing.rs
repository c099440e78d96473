//! Sealing and opening of the messages in one direction: ChaCha20-Poly1305 with the message number as nonce (RFC 8439).

use super::handshake::Key;
use super::window::Window;
use crate::event::DropReason;
use crate::mutants::{Mutant, shows};
use crate::wire::{Envelope, Seal};
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use core::fmt;

/// The sender's state of one direction.
pub(super) struct Sealing {
    cipher: ChaCha20Poly1305,
    /// The number of the next message.
    pub(super) next: u64,
}

impl Sealing {
    pub(super) fn new(key: &Key) -> Self {
        Self { cipher: ChaCha20Poly1305::new(key.into()), next: 0 }
    }

    /// Seals the payload of an envelope in place. `with` makes the seal from the message's number.
    pub(super) fn seal(&mut self, envelope: &mut Envelope, with: impl FnOnce(u64) -> Seal) {
        let number = self.next;
        self.next += u64::from(!shows(Mutant::NonceReused));
        envelope.seal = with(number);
        let bound = bound(envelope);
        let bytes = &mut envelope.payload.0;
        // Encryption fails only above 256 GiB.
        if let Ok(tag) = self.cipher.encrypt_in_place_detached(&nonce(number), &bound, bytes) {
            bytes.extend_from_slice(&tag);
        } else {
            bytes.clear();
        }
    }
}

/// The receiver's state of one direction.
pub(super) struct Opening {
    cipher: ChaCha20Poly1305,
    seen: Window,
}

impl Opening {
    pub(super) fn new(key: &Key) -> Self {
        Self { cipher: ChaCha20Poly1305::new(key.into()), seen: Window::new() }
    }

    /// Opens the payload of an envelope in place, once. The payload is unusable after an error.
    pub(super) fn open(&mut self, envelope: &mut Envelope, number: u64) -> Result<(), DropReason> {
        if !self.seen.is_new(number) {
            return Err(DropReason::Replayed);
        }
        let bound = bound(envelope);
        let bytes = &mut envelope.payload.0;
        let body = bytes.len().checked_sub(TAG_BYTES).ok_or(DropReason::Unauthentic)?;
        let tag = Tag::clone_from_slice(&bytes[body..]);
        bytes.truncate(body);
        let opened = self.cipher.decrypt_in_place_detached(&nonce(number), &bound, bytes, &tag);
        opened.map_err(|_| DropReason::Unauthentic)?;
        self.seen.handle_seen(number);
        envelope.seal = Seal::None;
        Ok(())
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("next", &self.next).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

/// Returns the associated data of a seal: all fields of the envelope that relays do not change.
fn bound(envelope: &Envelope) -> Vec<u8> {
    let (kind, handshake): (u8, &[u8]) = match &envelope.seal {
        Seal::None => (0, &[]),
        Seal::First { handshake, .. } => (1, &handshake.0),
        Seal::Answer { handshake, .. } => (2, &handshake.0),
        Seal::Session { .. } => (3, &[]),
    };
    let mut bound = Vec::with_capacity(BOUND_BYTES + handshake.len());
    bound.push(kind);
    bound.extend_from_slice(&envelope.message.0);
    bound.extend_from_slice(&envelope.origin.0);
    bound.extend_from_slice(&envelope.destination.0);
    bound.extend_from_slice(&envelope.trace.id.0);
    bound.push(u8::from(envelope.trace.sampled));
    bound.extend_from_slice(&envelope.sent_at.0.to_be_bytes());
    bound.extend_from_slice(handshake);
    bound
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce.into()
}

const TAG_BYTES: usize = 16;
const BOUND_BYTES: usize = 74;
