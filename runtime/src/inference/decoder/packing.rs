//! Packs weights in the order in which a pass reads them, and caches the result in a file.
//!
//! The invariants:
//! - Packing needs memory for the packed weights and a few rows, no more.
//! - A cached file is used only if it was made from the same files with the same layout, and its checksum is right.
//! - If the cache cannot be written, for example because the disk is full, the weights are only packed again next time.

use super::config::DecoderConfig;
use super::tensor_source::{ReadBuffers, Rows, TensorSource};
use super::{DecoderError, Options};
use crate::home;
use kernels::decoder::{Arena, Biases, Layer, Matrix, TILE_ROWS};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_64;

/// All weights except the token embeddings.
pub(super) struct Packed {
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    pub(super) head: Matrix,
    pub(super) arena: Arena,
}

/// The tensor names of a file format.
pub(super) struct Names {
    pub(super) embedding: &'static str,
    head: &'static str,
    norm: &'static str,
    layer: &'static str,
    /// The projections, without `.weight` or `.bias`.
    projections: [&'static str; 7],
    /// The normalisations before attention and before the feed-forward network, and those of queries and keys.
    norms: [&'static str; 4],
    /// Whether rotary pairs lie as the architecture has them in GGUF files; otherwise they are half a head apart.
    is_gguf: bool,
}

pub(super) const SAFETENSORS: Names = Names {
    embedding: "model.embed_tokens.weight",
    head: "lm_head.weight",
    norm: "model.norm.weight",
    layer: "model.layers",
    projections: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ],
    norms: [
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
        "self_attn.q_norm.weight",
        "self_attn.k_norm.weight",
    ],
    is_gguf: false,
};

pub(super) const GGUF: Names = Names {
    embedding: "token_embd.weight",
    head: "output.weight",
    norm: "output_norm.weight",
    layer: "blk",
    projections: ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"],
    norms: ["attn_norm.weight", "ffn_norm.weight", "attn_q_norm.weight", "attn_k_norm.weight"],
    is_gguf: true,
};

/// A matrix that is to be packed.
struct Planned<'a> {
    rows: Rows<'a>,
    matrix: Matrix,
    /// The head length, if the rows of each head must be permuted.
    head_len: Option<usize>,
}

/// The layout of all matrices in the arena.
#[derive(Default)]
struct Plan<'a> {
    matrices: Vec<Planned<'a>>,
    bytes: usize,
}

/// Packs a model's weights, or maps the cached file with the packed weights.
pub(super) fn pack(
    source: &TensorSource,
    names: &Names,
    config: &DecoderConfig,
    options: &Options,
) -> Result<Packed, DecoderError> {
    let mut plan = Plan { matrices: Vec::new(), bytes: HEADER_BYTES };
    let shape = &config.shape;
    let (hidden, intermediate) = (shape.hidden, shape.intermediate);
    let (query, kv) = (shape.query_len(), shape.kv_len());
    let mut layers = Vec::new();
    let interleaved = names.is_gguf && config.architecture.gguf_interleaved;
    let turned = interleaved.then_some(shape.head_len);
    for (index, rotates) in config.rotates.iter().enumerate() {
        let name = |part: &str| format!("{}.{index}.{part}", names.layer);
        let mut add = |part: usize, rows, columns, head_len| {
            let weight = name(&format!("{}.weight", names.projections[part]));
            plan.add(source.matrix(&weight, rows, columns)?, rows, columns, head_len, options)
        };
        let bias = |part: usize, len: usize, has_it: bool| {
            let name = name(&format!("{}.bias", names.projections[part]));
            if has_it { source.vector(&name, len) } else { Ok(Vec::new()) }
        };
        let turned_bias = |part, len| {
            let numbers = bias(part, len, config.biases.query_key_value)?;
            let row = |row| turned.map_or(row, |head_len| origin(row, head_len));
            Ok::<_, DecoderError>((0..numbers.len()).map(|at| numbers[row(at)]).collect::<Vec<_>>())
        };
        let head_norm = |norm: usize| match config.architecture.head_norms {
            true => source.vector(&name(names.norms[norm]), shape.head_len),
            false => Ok(Vec::new()),
        };
        layers.push(Layer {
            query: add(0, query, hidden, turned)?,
            key: add(1, kv, hidden, turned)?,
            value: add(2, kv, hidden, None)?,
            output: add(3, hidden, query, None)?,
            gate: add(4, intermediate, hidden, None)?,
            up: add(5, intermediate, hidden, None)?,
            down: add(6, hidden, intermediate, None)?,
            attention_norm: source.vector(&name(names.norms[0]), hidden)?,
            gate_norm: source.vector(&name(names.norms[1]), hidden)?,
            biases: Biases {
                query: turned_bias(0, query)?,
                key: turned_bias(1, kv)?,
                value: bias(2, kv, config.biases.query_key_value)?,
                output: bias(3, hidden, config.biases.output)?,
                gate: bias(4, intermediate, config.biases.feed_forward)?,
                up: bias(5, intermediate, config.biases.feed_forward)?,
                down: bias(6, hidden, config.biases.feed_forward)?,
            },
            query_norm: head_norm(2)?,
            key_norm: head_norm(3)?,
            rotates: *rotates,
        });
    }
    let tied = config.tied && !source.contains(names.head);
    let head = if tied { names.embedding } else { names.head };
    let head = source.matrix(head, shape.vocabulary, hidden)?;
    let head = plan.add(head, shape.vocabulary, hidden, None, options)?;
    let norm = source.vector(names.norm, hidden)?;
    let arena = match options.packed_folder.as_deref().filter(|_| plan.bytes >= FILE_BYTES_MIN) {
        None => plan.packed(options.threads)?,
        Some(folder) => {
            let key =
                plan.key(source).map_err(|source| DecoderError::Io { path: folder.to_owned(), source })?;
            match opened(folder, &key, plan.bytes) {
                Some(arena) => arena,
                None => kept(folder, &key, plan.packed(options.threads)?),
            }
        }
    };
    Ok(Packed { layers, norm, head, arena })
}

impl<'a> Plan<'a> {
    fn add(
        &mut self,
        from: Rows<'a>,
        rows: usize,
        columns: usize,
        head_len: Option<usize>,
        options: &Options,
    ) -> Result<Matrix, DecoderError> {
        let matrix = Matrix { format: from.format(options.precision), rows, columns, offset: self.bytes };
        let end = matrix.bytes().and_then(|bytes| self.bytes.checked_add(bytes));
        let end = end.ok_or_else(|| {
            DecoderError::Config(format!("rows of {columns} numbers in {:?}", matrix.format))
        })?;
        self.bytes = end;
        self.matrices.push(Planned { rows: from, matrix: matrix.clone(), head_len });
        Ok(matrix)
    }

    /// Returns the cache key: a hash of everything that the packed bytes depend on.
    fn key(&self, source: &TensorSource) -> io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        hash.update([PACKING]);
        hash.update(source.identity()?);
        for Planned { matrix, head_len, .. } in &self.matrices {
            hash.update(format!("{matrix:?} {head_len:?}").as_bytes());
        }
        Ok(hash.finalize().into())
    }

    /// Packs all weights into memory.
    fn packed(&self, threads: usize) -> Result<Arena, DecoderError> {
        let failed = |source| DecoderError::Memory { bytes: self.bytes, source };
        let mut arena = Arena::anonymous(self.bytes).map_err(failed)?;
        let bytes = arena.bytes_mut().ok_or_else(|| failed(io::Error::other("not writable")))?;
        for planned in &self.matrices {
            let length = planned.matrix.bytes().unwrap_or(0);
            planned.pack(&mut bytes[planned.matrix.offset..][..length], threads)?;
        }
        Ok(arena)
    }
}

impl Planned<'_> {
    /// Packs all tiles with several threads.
    fn pack(&self, bytes: &mut [u8], threads: usize) -> Result<(), DecoderError> {
        let tile_bytes = self.matrix.format.tile_bytes(self.matrix.columns).unwrap_or(1);
        let part = self.matrix.tiles().div_ceil(threads.max(1)).next_multiple_of(self.unit());
        std::thread::scope(|scope| {
            let parts = bytes.chunks_mut(part * tile_bytes).enumerate();
            let packers: Vec<_> = parts
                .map(|(index, bytes)| scope.spawn(move || self.pack_part(index * part, bytes)))
                .collect();
            packers
                .into_iter()
                .try_for_each(|packer| packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn pack_part(&self, mut first: usize, bytes: &mut [u8]) -> Result<(), DecoderError> {
        let Matrix { format, rows, columns, .. } = self.matrix;
        let tile_bytes = format.tile_bytes(columns).unwrap_or(1);
        let row_bytes = format.row_bytes(columns).unwrap_or(1);
        let (mut room, mut read) = (ReadBuffers::default(), Vec::new());
        let tiles = (READ_BYTES / tile_bytes).max(1).next_multiple_of(self.unit());
        for bytes in bytes.chunks_mut(tiles * tile_bytes) {
            let start = first * TILE_ROWS;
            first += bytes.len() / tile_bytes;
            self.rows.read(start..rows.min(first * TILE_ROWS), format, &mut room, &mut read)?;
            let row = |row: usize| {
                &read[(self.head_len.map_or(row, |len| origin(row, len))) * row_bytes..][..row_bytes]
            };
            for (tile, bytes) in bytes.chunks_exact_mut(tile_bytes).enumerate() {
                let wanted = tile * TILE_ROWS..(read.len() / row_bytes).min((tile + 1) * TILE_ROWS);
                format.pack(&wanted.map(row).collect::<Vec<_>>(), columns, bytes);
            }
        }
        Ok(())
    }

    /// Returns the smallest number of tiles that consist of whole heads, which are permuted together.
    fn unit(&self) -> usize {
        self.head_len
            .map_or(1, |len| (1..=len).find(|tiles| (tiles * TILE_ROWS).is_multiple_of(len)).unwrap_or(len))
    }
}

/// Returns the row in the file for a packed row, if the file has rotary pairs adjacent.
fn origin(row: usize, head_len: usize) -> usize {
    let (head, at) = (row / head_len, row % head_len);
    let half = head_len / 2;
    head * head_len + if at < half { 2 * at } else { 2 * (at - half) + 1 }
}

/// Maps a cached file, if it exists and its checksum is right.
fn opened(folder: &Path, key: &[u8; 32], bytes: usize) -> Option<Arena> {
    let path = folder.join(file_name(key));
    let file = File::options().read(true).append(true).open(&path).ok()?;
    if file.metadata().ok()?.len() != bytes as u64 {
        return None;
    }
    let arena = Arena::open(&file).ok()?;
    let (header, tiles) = arena.bytes().split_at_checked(HEADER_BYTES)?;
    if header[..40] != [key.as_slice(), &xxh3_64(tiles).to_le_bytes()].concat() {
        let _ = fs::remove_file(&path);
        return None;
    }
    // Marks the file as used: the least recently used files are evicted first.
    let _ = file.set_modified(SystemTime::now());
    Some(arena)
}

/// Writes packed weights to the cache and maps the file, so that other processes share the memory. On failure the
/// weights stay in memory.
fn kept(folder: &Path, key: &[u8; 32], arena: Arena) -> Arena {
    let written = keep(folder, key, &arena);
    let mapped = written.and_then(|()| Arena::open(&File::open(folder.join(file_name(key)))?));
    match mapped {
        Ok(mapped) if mapped.bytes().len() == arena.bytes().len() => mapped,
        Ok(_) => arena,
        Err(error) => {
            eprintln!("the packed weights are not kept in {}: {error}", folder.display());
            arena
        }
    }
}

fn keep(folder: &Path, key: &[u8; 32], arena: &Arena) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    make_room(folder)?;
    let tiles = arena.bytes().get(HEADER_BYTES..).unwrap_or_default();
    let mut header = [0; HEADER_BYTES];
    header[..32].copy_from_slice(key);
    header[32..40].copy_from_slice(&xxh3_64(tiles).to_le_bytes());
    // Renamed when it is complete. No fsync is needed: a torn file has a wrong checksum.
    let finished = folder.join(file_name(key));
    let mut unfinished = home::draft_path(&finished)?.into_os_string();
    unfinished.push(UNFINISHED);
    let written = File::create_new(&unfinished).and_then(|mut file| {
        file.write_all(&header)?;
        file.write_all(tiles)?;
        fs::rename(&unfinished, finished)
    });
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Removes abandoned temporary files, and evicts the oldest files beyond the limit.
fn make_room(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let modified = entry.metadata()?.modified()?;
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        if name.ends_with(UNFINISHED) {
            if age > UNFINISHED_AGE_MAX {
                fs::remove_file(entry.path())?;
            }
        } else if name.ends_with(FINISHED) {
            files.push((modified, entry.path()));
        }
    }
    files.sort();
    for (_, path) in files.iter().take((files.len() + 1).saturating_sub(FILES_MAX)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn file_name(key: &[u8; 32]) -> String {
    let digits: String = key[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}{FINISHED}")
}

/// The size of the file header with key and checksum; tiles begin at a page.
const HEADER_BYTES: usize = 4096;
/// The version of the file format.
const PACKING: u8 = 1;
/// The approximate size of a read.
const READ_BYTES: usize = 1 << 20;
/// Smaller models are not cached.
const FILE_BYTES_MIN: usize = 8 << 20;
/// The maximum number of cached files.
const FILES_MAX: usize = 8;
const FINISHED: &str = ".tiles";
const UNFINISHED: &str = ".unfinished";
/// The age at which a temporary file counts as abandoned.
const UNFINISHED_AGE_MAX: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_turn_together_are_brought_half_a_head_apart() {
        let order: Vec<usize> = (0..12).map(|row| origin(row, 6)).collect();
        assert_eq!(order, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn a_kept_file_is_used_again_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = HEADER_BYTES + 640;
        let mut arena = Arena::anonymous(bytes).unwrap();
        arena.bytes_mut().unwrap()[HEADER_BYTES..bytes].fill(7);
        let key = [9; 32];
        assert!(opened(folder.path(), &key, bytes).is_none());
        let arena = kept(folder.path(), &key, arena);
        let again = opened(folder.path(), &key, bytes).unwrap();
        assert_eq!(again.bytes()[HEADER_BYTES..], arena.bytes()[HEADER_BYTES..bytes]);
        assert!(opened(folder.path(), &[8; 32], bytes).is_none());
        assert!(opened(folder.path(), &key, bytes + 1).is_none());
        let path = folder.path().join(file_name(&key));
        let mut damaged = fs::read(&path).unwrap();
        damaged[bytes - 1] ^= 1;
        drop(again);
        fs::write(&path, damaged).unwrap();
        assert!(opened(folder.path(), &key, bytes).is_none());
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_keeps_the_files_that_were_used_last() {
        let folder = tempfile::tempdir().unwrap();
        for key in 0..=FILES_MAX as u8 {
            let path = folder.path().join(file_name(&[key; 32]));
            File::create(&path)
                .unwrap()
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(key.into()))
                .unwrap();
        }
        make_room(folder.path()).unwrap();
        let left: Vec<bool> =
            (0..=FILES_MAX as u8).map(|key| folder.path().join(file_name(&[key; 32])).exists()).collect();
        assert_eq!(left, [vec![false; 2], vec![true; FILES_MAX - 1]].concat());
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_nothing_but_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let arena = kept(file.path(), &[1; 32], Arena::anonymous(HEADER_BYTES + 64).unwrap());
        assert!(arena.bytes().len() >= HEADER_BYTES + 64);
    }
}
