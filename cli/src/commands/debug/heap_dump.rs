//! `debug heap-dump`: shows where the memory of the node and its models is.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{MappingKind, Memory, ProcessRole};
use clap::Args;
use runtime::home::Home;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let memory: Memory = client.get("/api/v1/debug/memory").await?;
    if arguments.format.json {
        return output::json(&memory);
    }
    let processes: Vec<[String; 4]> = memory
        .processes
        .iter()
        .map(|process| {
            let role = match process.role {
                ProcessRole::Model => "model",
                ProcessRole::Node => "node",
            };
            [
                role.to_owned(),
                output::bytes(process.resident_bytes),
                output::bytes(process.anonymous_bytes),
                output::bytes(process.resident_bytes_max),
            ]
        })
        .collect();
    output::table(["PROCESS", "RESIDENT", "ANONYMOUS", "MOST RESIDENT"], &processes)?;
    let mappings: Vec<[String; 4]> = memory
        .mappings
        .iter()
        .map(|of| {
            [
                name(of.kind).to_owned(),
                output::bytes(of.resident_bytes),
                output::bytes(of.dirty_bytes),
                output::bytes(of.swapped_bytes),
            ]
        })
        .collect();
    output::line("")?;
    output::table(["MEMORY OF THE NODE", "RESIDENT", "DIRTY", "SWAPPED"], &mappings)?;
    let models: Vec<[String; 3]> = memory
        .models
        .iter()
        .map(|model| {
            let memory = model.memory_bytes.map_or_else(|| "-".to_owned(), output::bytes);
            [model.name.to_string(), output::bytes(model.bytes), memory]
        })
        .collect();
    output::line("")?;
    output::table(["MODEL", "FILES", "MEMORY"], &models)?;
    let filled = memory.collections.iter().filter(|collection| collection.current > 0);
    let collections: Vec<[String; 3]> =
        filled.map(|of| [of.name.to_string(), of.current.to_string(), of.limit.to_string()]).collect();
    output::line("")?;
    output::table(["COLLECTION", "ENTRIES", "LIMIT"], &collections)?;
    output::line(&format!("\nData file: {}", output::bytes(memory.storage.file_bytes)))
}

const fn name(kind: MappingKind) -> &'static str {
    match kind {
        MappingKind::Anonymous => "allocations and threads",
        MappingKind::Heap => "heap of the main thread",
        MappingKind::Library => "libraries",
        MappingKind::OtherFile => "other files",
        MappingKind::Program => "program",
        MappingKind::Stack => "stack of the main thread",
    }
}
