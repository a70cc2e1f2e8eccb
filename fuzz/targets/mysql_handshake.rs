//! Any message of a log-in decodes or fails, what decodes is the same after it was encoded, and an answer that was made
//! without the password is not taken for one that was made with it.
//!
//! Input: bits of the first byte are PLUGIN_AUTH and CONNECT_ATTRS of a connection whose user changes; then the message.
#![no_main]

use countersign::wire::mysql::auth::{is_caching_sha2, is_native, is_password, scramble_of};
use countersign::wire::mysql::capability::Capabilities;
use countersign::wire::mysql::handshake::{AuthSwitch, ChangeUser, First, Greeting, HandshakeResponse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((flags, payload)) = bytes.split_first() else {
        return;
    };
    if let Ok(greeting) = Greeting::decode(payload) {
        assert_eq!(Greeting::decode(&greeting.encode()), Ok(greeting));
    }
    if let Ok(First::Response(response)) = First::decode(payload) {
        assert!(!response.capabilities.has(Capabilities::SSL));
        assert_eq!(HandshakeResponse::decode(&response.encode()), Ok(response));
    }
    // Inside TLS the response comes without a first packet before it.
    if let Ok(response) = HandshakeResponse::decode(payload) {
        assert_eq!(HandshakeResponse::decode(&response.encode()), Ok(response));
    }
    if let Ok(switch) = AuthSwitch::decode(payload) {
        assert_eq!(switch.encode(), payload);
    }
    change_of_user(*flags, payload);
    let scramble = [7; 20];
    assert!(
        !is_native(payload, &scramble, &[1; 20]),
        "nobody guesses an answer"
    );
    assert!(
        !is_caching_sha2(payload, &scramble, &[1; 32]),
        "nobody guesses an answer"
    );
    assert!(!is_password(payload, &[1; 32]), "nobody guesses a password");
    let _total = scramble_of(payload);
});

fn change_of_user(flags: u8, payload: &[u8]) {
    let capabilities = match flags & 3 {
        0 => Capabilities(0),
        1 => Capabilities::PLUGIN_AUTH,
        2 => Capabilities::CONNECT_ATTRS,
        _ => Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_ATTRS,
    };
    let change = ChangeUser::decode(payload, capabilities);
    if let Ok(change) = change {
        assert_eq!(
            ChangeUser::decode(&change.encode(capabilities), capabilities),
            Ok(change)
        );
    }
}
