//! Any first packet decodes or fails, and what decodes as a start-up packet encodes to the same bytes.
#![no_main]

use countersign_fuzz::wire::postgres::scram::{ServerScram, StoredKeys};
use countersign_fuzz::wire::postgres::startup::{First, decode, first_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(length)) = first_bytes(bytes) {
        if let Some(packet) = bytes.get(..length) {
            if let Ok(First::Startup(startup)) = decode(packet) {
                assert_eq!(startup.encode(), packet);
            }
        }
    }
    let keys = StoredKeys { iterations: 1, salt: vec![0; 16], stored_key: [0; 32], server_key: [0; 32] };
    if let Ok((scram, _)) = ServerScram::first(bytes, keys, "nonce") {
        assert!(scram.finish(bytes).is_err(), "nobody guesses a proof");
    }
});
