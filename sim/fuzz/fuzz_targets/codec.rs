//! Whatever bytes a peer sends, they decode or are rejected, and a decoded message encodes to the same bytes.
#![no_main]

use engine::wire::{Advert, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Advert::decode(bytes);
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
    }
});
