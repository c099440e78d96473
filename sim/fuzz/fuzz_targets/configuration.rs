//! Whatever a configuration file contains, in either format, it yields settings or an error that can be printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    for name in ["node_config.json", "node_config.toml"] {
        if let Err(error) = runtime::config::check(Path::new(name), bytes) {
            assert!(error.to_string().len() < 1 << 20);
        }
    }
});
