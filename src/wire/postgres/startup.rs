//! The first packet of a connection, which has no type byte. Never answers it. Read `message.rs` next.

use crate::wire::bytes::{Malformed, Reader};

/// The server's own limit for a start-up packet.
pub const STARTUP_BYTES_MAX: usize = 10_000;

pub const PROTOCOL_3_0: u32 = 3 << 16;
pub const PROTOCOL_3_2: u32 = (3 << 16) | 2;
/// Bytes of a cancel key before protocol 3.2, and since.
const KEY_BYTES_3_0: usize = 4;
const KEY_BYTES_3_2: usize = 32;
const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;
const SSL_REQUEST: u32 = (1234 << 16) | 5679;
const GSSENC_REQUEST: u32 = (1234 << 16) | 5680;

/// The version that is spoken with a client that asked for `asked`: the newest of major version 3 that both know.
pub fn agreed(asked: u32) -> u32 {
    asked.min(PROTOCOL_3_2)
}

/// How long the cancel key is that a server gives in this version.
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-BACKENDKEYDATA
pub fn cancel_key_bytes(protocol: u32) -> usize {
    if protocol >= PROTOCOL_3_2 {
        KEY_BYTES_3_2
    } else {
        KEY_BYTES_3_0
    }
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    SslRequest,
    GssEncRequest,
    Cancel { process: i32, key: Vec<u8> },
    Startup(Startup),
}

/// Start-up parameters in the order they came, duplicates kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    pub protocol: u32,
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// The last value of a parameter, as the server takes it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Shape: i32 length, u32 protocol, (name\0 value\0)*, \0.
    /// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-STARTUPMESSAGE
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.protocol.to_be_bytes());
        for (name, value) in &self.parameters {
            for text in [name, value] {
                body.extend(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        with_length(&body)
    }
}

/// How many bytes the first packet has in all.
/// Errors: `Malformed` for a length under 8 or over `STARTUP_BYTES_MAX`; `Ok(None)` under 4 bytes.
pub fn first_bytes(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(Malformed("length of the first packet out of range"));
    }
    Ok(Some(length))
}

/// Decodes one whole first packet.
/// Errors: `Malformed` for an unknown request, text that is not UTF-8, or left-over bytes.
/// Source: PostgreSQL docs, protocol-message-formats.html (CancelRequest, SSLRequest, GSSENCRequest, StartupMessage)
pub fn decode(packet: &[u8]) -> Result<First, Malformed> {
    let mut reader = Reader::new(packet);
    reader.u32()?;
    match reader.u32()? {
        SSL_REQUEST => reader.end().map(|()| First::SslRequest),
        GSSENC_REQUEST => reader.end().map(|()| First::GssEncRequest),
        CANCEL_REQUEST => {
            let process = reader.i32()?;
            // Protocol 3.2 has keys of 4 to 256 bytes.
            let key = reader.rest();
            if !(4..=256).contains(&key.len()) {
                return Err(Malformed("cancel key of a wrong length"));
            }
            Ok(First::Cancel {
                process,
                key: key.to_vec(),
            })
        }
        protocol if protocol >> 16 == 3 => decode_parameters(protocol, reader),
        _ => Err(Malformed("unknown protocol version")),
    }
}

/// Shape: i32 16 or more, u32 code, i32 process, key.
pub fn encode_cancel(process: i32, key: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(CANCEL_REQUEST.to_be_bytes());
    body.extend(process.to_be_bytes());
    body.extend(key);
    with_length(&body)
}

pub fn encode_ssl_request() -> Vec<u8> {
    with_length(&SSL_REQUEST.to_be_bytes())
}

fn decode_parameters(protocol: u32, mut reader: Reader<'_>) -> Result<First, Malformed> {
    let mut parameters = Vec::new();
    loop {
        let name = reader.c_str()?;
        if name.is_empty() {
            reader.end()?;
            return Ok(First::Startup(Startup { protocol, parameters }));
        }
        parameters.push((name.to_owned(), reader.c_str()?.to_owned()));
    }
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a start-up packet is short");
    [&length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn startup_survives_a_round_trip(parameters in prop::collection::vec(("[a-z_.]{1,12}", "[^\0]{0,20}"), 0..6)) {
            let startup = Startup { protocol: PROTOCOL_3_0, parameters };
            prop_assert_eq!(decode(&startup.encode()), Ok(First::Startup(startup)));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _total = decode(&bytes);
        }
    }

    #[test]
    fn bytes_behind_a_request_are_malformed() {
        let mut packet = encode_ssl_request();
        packet.push(0);
        assert!(decode(&packet).is_err());
    }

    #[test]
    fn a_cancel_request_survives_a_round_trip() {
        for key in [vec![1, 2, 3, 4], vec![7; 32], vec![9; 256]] {
            assert_eq!(
                decode(&encode_cancel(7, &key)),
                Ok(First::Cancel { process: 7, key })
            );
        }
        assert!(decode(&encode_cancel(7, &[1, 2, 3])).is_err());
        assert!(decode(&encode_cancel(7, &[0; 257])).is_err());
    }

    #[test]
    fn a_version_above_3_2_is_spoken_as_3_2_and_has_its_keys() {
        let minor = |minor: u32| PROTOCOL_3_0 | minor;
        let spoken = [0, 1, 2, 3, 9999].map(|asked| agreed(minor(asked)));
        assert_eq!(spoken, [0, 1, 2, 2, 2].map(minor));
        assert_eq!(spoken.map(cancel_key_bytes), [4, 4, 32, 32, 32]);
    }
}
