#!/usr/bin/env bash
# redb 4.6.0, file format 3 (a crate)
#
# Believed: a file that two-phase commits wrote gives the committed values or an error. A bit that flipped on the disk is
# noticed when the database is opened, or at the latest when the page is read, for pages carry checksums.
#
# Seen: 1. After a clean close, opening verifies no page and reading does not either: a flipped bit of a value is returned
# as the value. check_integrity() notices it. 2. After a kill, one bit of the header chooses which of the two last commits
# counts. With that bit flipped the file opens without an error and holds the older one: an acknowledged commit is gone.
#
# Output:
#   closed, one bit of the value flipped: The value that was committed
#   closed, check_integrity(): an error
#   killed, as it is: newer
#   killed, the lowest flag of the header flipped: older
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm --recursive --force "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "checks"
version = "0.0.0"
edition = "2024"
[dependencies]
redb = "=4.6.0"
TOML
cat > src/main.rs <<'RUST'
use redb::{Database, ReadableDatabase, TableDefinition};
use std::fs::{copy, read, write};

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("table");

fn put(database: &Database, value: &[u8]) {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    transaction.open_table(TABLE).unwrap().insert(1, value).unwrap();
    transaction.commit().unwrap();
}

fn get(path: &str) -> String {
    let database = Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
    String::from_utf8_lossy(table.get(1).unwrap().unwrap().value()).into_owned()
}

fn main() {
    if std::env::args().nth(1).is_some() {
        let database = Database::create("killed").unwrap();
        put(&database, b"older");
        put(&database, b"newer");
        std::process::exit(0); // Nothing is closed.
    }
    let value = b"the value that was committed";
    put(&Database::create("closed").unwrap(), value);
    let mut bytes = read("closed").unwrap();
    for at in 0..bytes.len() - value.len() {
        if bytes[at..].starts_with(value) {
            bytes[at] ^= 32;
        }
    }
    write("closed", &bytes).unwrap();
    println!("closed, one bit of the value flipped: {}", get("closed"));
    let checked = Database::open("closed").unwrap().check_integrity();
    println!("closed, check_integrity(): {}", if checked.is_err() { "an error" } else { "nothing" });
    copy("killed", "copy").unwrap();
    println!("killed, as it is: {}", get("copy"));
    let mut bytes = read("killed").unwrap();
    bytes[9] ^= 1;
    write("killed", &bytes).unwrap();
    println!("killed, the lowest flag of the header flipped: {}", get("killed"));
}
RUST
cargo build --quiet
./target/debug/checks kill
./target/debug/checks > seen
cat seen
diff - seen <<'EXPECTED'
closed, one bit of the value flipped: The value that was committed
closed, check_integrity(): an error
killed, as it is: newer
killed, the lowest flag of the header flipped: older
EXPECTED
