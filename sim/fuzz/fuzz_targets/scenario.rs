//! Whatever a scenario file contains, it yields a scenario or an error that can be printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sim::Scenario;

fuzz_target!(|text: &str| {
    if let Err(error) = Scenario::parse("fuzzed.toml", text) {
        assert!(error.to_string().len() < 1 << 20);
    }
});
