use super::*;
use proptest::prelude::*;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn value(name: &str, kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), bytes].concat()
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    bytes.extend(dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

fn file(version: u32, values: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.concat());
    bytes.extend(tensors.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + data, 7);
    bytes
}

fn sound() -> Vec<u8> {
    let texts = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("a"), &text("bc")].concat();
    let floats = [&6_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &0.5_f32.to_le_bytes()].concat();
    let values = [
        value("general.architecture", 8, &text("llama")),
        value("size", 4, &300_u32.to_le_bytes()),
        value("texts", 9, &texts),
        value("floats", 9, &floats),
        value("yes", 7, &[1]),
        value("third", 6, &0.25_f32.to_le_bytes()),
    ];
    let tensors = [tensor("a", &[64, 3], 2, 0), tensor("b", &[5], 0, 128)];
    file(3, &values, &tensors, 160)
}

fn read(bytes: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::read(bytes, bytes.len() as u64)
}

#[test]
fn a_sound_file_is_read() {
    let gguf = read(&sound()).unwrap();
    assert_eq!(gguf.text("general.architecture"), Some("llama"));
    assert_eq!(gguf.number("size"), Some(300));
    assert_eq!(gguf.texts("texts"), Some(&["a".to_owned(), "bc".to_owned()][..]));
    assert_eq!(gguf.floats("floats"), Some(&[0.5][..]));
    assert_eq!(
        (gguf.truth("yes"), gguf.float("third"), gguf.number("third")),
        (Some(true), Some(0.25), None)
    );
    let data_start = sound().len() as u64 - 160;
    let [a, b] = ["a", "b"].map(|name| gguf.tensors[name].clone());
    assert_eq!((a.rows, a.columns, a.start, a.bytes), (3, 64, data_start, 108));
    assert_eq!((b.rows, b.columns, b.start, b.bytes), (1, 5, data_start + 128, 20));
}

#[test]
fn senseless_files_are_refused_with_a_reason() {
    let one = |dimensions: &[u64], kind, offset| file(3, &[], &[tensor("a", dimensions, kind, offset)], 256);
    let mut short = b"GGUF".to_vec();
    short.extend(3_u32.to_le_bytes());
    short.extend(u64::MAX.to_le_bytes());
    short.resize(57, 0xff);
    let mut claims = b"GGUF\x03\0\0\0".to_vec();
    claims.extend(0_u64.to_le_bytes());
    claims.extend(1_u64.to_le_bytes());
    claims.extend(u64::MAX.to_le_bytes());
    let endless = [&8_u32.to_le_bytes()[..], &(1_u64 << 60).to_le_bytes()].concat();
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let cases = [
        (Vec::new(), "cut short"),
        (b"PK\x03\x04PK\x03\x04".to_vec(), "no GGUF"),
        (file(1, &[], &[], 0), "version 1"),
        (file(0x0300_0000, &[], &[], 0), "big-endian"),
        (short, "claims 18446744073709551615 tensors"),
        (claims, "claims 1 values"),
        (file(3, &[value("a", 9, &endless)], &[], 0), "entries of a list"),
        (file(3, &[value("a", 9, &nested)], &[], 32), "type 9"),
        (file(3, &[value("a", 77, &[])], &[], 0), "type 77"),
        (file(3, &[value("a", 7, &[1]), value("a", 7, &[1])], &[], 0), "twice"),
        (file(3, &[value("general.alignment", 4, &0_u32.to_le_bytes())], &[], 0), "alignment"),
        (file(3, &[value("general.alignment", 4, &3_u32.to_le_bytes())], &[], 0), "alignment"),
        (one(&[], 0, 0), "dimensions []"),
        (one(&[0, 4], 0, 0), "dimensions [0, 4]"),
        (one(&[4, 0], 0, 0), "dimensions [4, 0]"),
        (one(&[33], 2, 0), "dimensions [33]"),
        (one(&[u64::MAX, u64::MAX], 0, 0), "dimensions"),
        (one(&[1, 1, 1, 1, 1], 0, 0), "5 dimensions"),
        (one(&[4], 99, 0), "type 99"),
        (one(&[4], 0, 16), "odd place"),
        (one(&[65], 0, 0), "outside"),
        (one(&[4], 0, u64::MAX / 32 * 32), "outside"),
        (file(3, &[], &[tensor("a", &[9], 0, 0), tensor("b", &[9], 0, 32)], 128), "overlap"),
        (file(3, &[], &[tensor("a", &[8], 0, 0), tensor("a", &[8], 0, 32)], 128), "twice"),
    ];
    for (bytes, reason) in cases {
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} for {reason}");
    }
}

proptest! {
    /// Cut or changed files give a result without a panic, and all tensors of an accepted file lie inside it.
    #[test]
    fn any_bytes_have_an_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = sound();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(tail);
        }
        if let Ok(gguf) = read(&bytes) {
            for tensor in gguf.tensors.values() {
                prop_assert!(tensor.start + tensor.bytes <= bytes.len() as u64 && tensor.bytes > 0);
            }
        }
    }
}
