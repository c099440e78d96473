//! Ids of nodes, tasks and messages, and the handles that connect an output with its later input.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A node's id: the first 128 bits of the SHA-256 of its Ed25519 public key.
///
/// Printed and parsed as 32 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

/// A task's id, printed and parsed as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub [u8; 16]);

/// A routed message's id, printed and parsed as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

/// A W3C trace id that connects all steps of a task, printed as 32 hexadecimal characters.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A model's identity: the first 128 bits of a BLAKE3 hash over everything that affects its output. That is its
/// weights, configuration, tokenizer, pooling, prompts and precision. Two models are the same if and only if their
/// fingerprints are equal, whatever their names. Printed as 32 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// An authenticated connection. The driver chooses its number and never reuses one while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// An attempt to open a connection, numbered by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DialId(pub u64);

/// A user's request, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// An atomic group of records to write, numbered by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WriteId(pub u64);

/// An inference job, numbered by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// A read of a piece of a file, numbered by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadId(pub u64);

/// Text that is not an id of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// It should be the hash of a file.
    Hash,
    /// It should be an id in hexadecimal, as of a node.
    Hex,
    /// It should be a UUID, as of a task.
    Uuid,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "expected 64 lower-case hexadecimal characters",
            Self::Hex => "expected 32 lower-case hexadecimal characters",
            Self::Uuid => "expected a UUID: 32 lower-case hexadecimal characters in groups of 8-4-4-4-12",
        })
    }
}

impl core::error::Error for IdError {}

/// The text form of an id's 16 bytes.
enum Form {
    Hex,
    Uuid,
}

fn write_id(f: &mut fmt::Formatter<'_>, bytes: &[u8; 16], form: &Form) -> fmt::Result {
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(form, Form::Uuid) && matches!(position, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn parse_id(text: &str, form: &Form) -> Result<[u8; 16], IdError> {
    let (digits, error): (Vec<u8>, IdError) = match form {
        Form::Hex => (text.bytes().collect(), IdError::Hex),
        Form::Uuid => {
            let hyphens_right =
                text.len() == 36 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes().get(at) == Some(&b'-'));
            if !hyphens_right {
                return Err(IdError::Uuid);
            }
            (text.bytes().filter(|&byte| byte != b'-').collect(), IdError::Uuid)
        }
    };
    if digits.len() != 32 {
        return Err(error);
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let mut value = 0;
        for &digit in pair {
            value = value << 4
                | match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(error),
                };
        }
        *byte = value;
    }
    Ok(bytes)
}

macro_rules! sixteen_bytes {
    ($name:ident, $form:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id(f, &self.0, &$form)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id(f, &self.0, &$form)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_id(text, &$form).map(Self)
            }
        }

        // Human-readable formats get the text, the wire and the disk get the 16 bytes.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

sixteen_bytes!(Fingerprint, Form::Hex);
sixteen_bytes!(NodeId, Form::Hex);
sixteen_bytes!(TraceId, Form::Hex);
sixteen_bytes!(TaskId, Form::Uuid);
sixteen_bytes!(MessageId, Form::Uuid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_in_their_own_form() {
        let bytes = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 0xff];
        assert_eq!(NodeId(bytes).to_string(), "0123456789abcdef00010203040506ff");
        assert_eq!(TaskId(bytes).to_string(), "01234567-89ab-cdef-0001-0203040506ff");
        assert_eq!(NodeId(bytes).to_string().parse(), Ok(NodeId(bytes)));
        assert_eq!(TaskId(bytes).to_string().parse(), Ok(TaskId(bytes)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "0123", "0123456789ABCDEF00010203040506ff", "zz23456789abcdef00010203040506ff"] {
            assert_eq!(text.parse::<NodeId>(), Err(IdError::Hex), "{text:?}");
        }
        for text in ["0123456789abcdef00010203040506ff", "01234567-89ab-cdef-0001-0203040506fé"] {
            assert_eq!(text.parse::<TaskId>(), Err(IdError::Uuid), "{text:?}");
        }
    }
}
