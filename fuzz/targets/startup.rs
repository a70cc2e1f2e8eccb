//! Any first packet decodes or fails, and what decodes as a start-up packet encodes to the same bytes. Neither side of
//! SCRAM takes bytes that nobody who knows the password has made.
#![no_main]

use countersign::wire::postgres::scram::{
    Binding, ClientKeys, ClientScram, MECHANISM, MECHANISM_PLUS, ServerScram, StoredKeys,
};
use countersign::wire::postgres::startup::{First, decode, first_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(length)) = first_bytes(bytes) {
        if let Some(packet) = bytes.get(..length) {
            if let Ok(First::Startup(startup)) = decode(packet) {
                assert_eq!(startup.encode(), packet);
            }
        }
    }
    let keys = StoredKeys {
        iterations: 1,
        salt: vec![0; 16],
        stored_key: [0; 32],
        server_key: [0; 32],
    };
    for (mechanism, end_point) in [
        (MECHANISM, None),
        (MECHANISM, Some(&[7; 32][..])),
        (MECHANISM_PLUS, Some(&[7; 32][..])),
    ] {
        if let Ok((scram, _)) = ServerScram::first(mechanism, end_point, bytes, keys.clone(), "nonce") {
            assert!(scram.finish(bytes).is_err(), "nobody guesses a proof");
        }
    }
    let (client, _) = ClientScram::first("nonce", Binding::EndPoint(&[7; 32]));
    if let Ok(first) = client.read_server_first(bytes) {
        let keys = ClientKeys {
            client_key: [1; 32],
            server_key: [2; 32],
        };
        let (last, _) = client.prove(&first, &keys);
        assert!(last.check(bytes).is_err(), "nobody guesses a signature");
    }
});
