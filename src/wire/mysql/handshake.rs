//! The messages of a log-in: greeting, response, change of method, change of user.
//! Never decides who comes in and draws no random number: scrambles are handed in. Read `auth.rs` next.
//!
//! Every byte of what a client sends is accounted for, but for reserved ones, which no server looks at either. Clients and
//! servers of before 4.1 (another password hash) and clients of a compressed protocol are refused by every decoder here.

use zeroize::Zeroizing;

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::bytes::{put_lenenc, put_lenenc_bytes};
use crate::wire::mysql::capability::Capabilities;

/// Bytes of a scramble without the NUL behind it.
pub const SCRAMBLE_BYTES: usize = 20;

/// The only version of the greeting that any server since 3.21 sends.
const PROTOCOL_VERSION: u8 = 10;

/// Capabilities, size of packets and collation, then reserved bytes.
const SSL_REQUEST_BYTES: usize = 32;

/// MariaDB's capabilities stand in the last four of them.
const RESERVED_BYTES: usize = 23;

/// First bytes of what a server sends while it authenticates.
pub const AUTH_MORE_DATA: u8 = 0x01;
pub const AUTH_SWITCH: u8 = 0xfe;

/// The first byte of COM_CHANGE_USER.
pub const CHANGE_USER: u8 = 0x11;

/// What a client says of itself: names and values, in order.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// What a server says first.
/// Shape: u8 = 10, version\0, u32 connection id, 8 bytes of scramble, \0, u16 capabilities, u8 collation, u16 status,
///        u16 capabilities, u8 length of the scramble, 6 reserved, u32 capabilities of MariaDB (reserved unless
///        LONG_PASSWORD is clear), 12 bytes of scramble, \0, method\0.
/// Units: integers are little endian.
/// Errors: `Malformed` for a server that cannot do PROTOCOL_41, SECURE_CONNECTION and PLUGIN_AUTH.
/// Source: MySQL internals, page_protocol_connection_phase_packets_protocol_handshake_v10.html; MariaDB docs, connection
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub version: String,
    pub connection_id: u32,
    pub scramble: [u8; SCRAMBLE_BYTES],
    pub capabilities: Capabilities,
    pub collation: u8,
    pub status: u16,
    /// The method that a client should begin with.
    pub method: String,
}

impl Greeting {
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != PROTOCOL_VERSION {
            return Err(Malformed("a greeting of another version"));
        }
        let version = reader.c_str()?.to_owned();
        let connection_id = reader.u32_le()?;
        let first = reader.bytes(8)?;
        reader.u8()?;
        let low = reader.u16_le()?;
        let collation = reader.u8()?;
        let status = reader.u16_le()?;
        let high = reader.u16_le()?;
        let scramble_bytes = reader.u8()?;
        reader.bytes(6)?;
        let extended = reader.u32_le()?;
        let capabilities = joined(u32::from(low) | u32::from(high) << 16, extended);
        let needed = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH;
        if !capabilities.has(needed) || usize::from(scramble_bytes) != SCRAMBLE_BYTES + 1 {
            return Err(Malformed("a greeting of a server that is too old"));
        }
        let scramble = [first, reader.bytes(12)?].concat();
        if reader.u8()? != 0 {
            return Err(Malformed("a scramble of another length"));
        }
        let method = reader.c_str()?.to_owned();
        reader.end()?;
        Ok(Self {
            version,
            connection_id,
            scramble: array(&scramble)?,
            capabilities,
            collation,
            status,
            method,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL_VERSION];
        put_c_str(&mut out, self.version.as_bytes());
        out.extend(self.connection_id.to_le_bytes());
        out.extend(&self.scramble[..8]);
        out.push(0);
        out.extend((self.capabilities.0 as u16).to_le_bytes());
        out.push(self.collation);
        out.extend(self.status.to_le_bytes());
        out.extend(((self.capabilities.0 >> 16) as u16).to_le_bytes());
        out.push(SCRAMBLE_BYTES as u8 + 1);
        out.extend([0; 6]);
        out.extend(extended(self.capabilities).to_le_bytes());
        put_c_str(&mut out, &self.scramble[8..]);
        put_c_str(&mut out, self.method.as_bytes());
        out
    }
}

/// What a client sends first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Its next byte is one of TLS.
    SslRequest,
    Response(HandshakeResponse),
}

impl First {
    /// The first packet on a connection that is not encrypted yet. One that asks for TLS says nothing else.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let capabilities = Capabilities(u64::from(Reader::new(payload).u32_le()?));
        if !capabilities.has(Capabilities::SSL) {
            return HandshakeResponse::decode(payload).map(Self::Response);
        }
        if capabilities.has(Capabilities::PROTOCOL_41) && payload.len() == SSL_REQUEST_BYTES {
            Ok(Self::SslRequest)
        } else {
            Err(Malformed("a request for TLS that says more, or less"))
        }
    }
}

/// Asks for TLS: the head of the response that will follow inside it.
/// Source: MySQL internals, page_protocol_connection_phase_packets_protocol_ssl_request.html
pub fn encode_ssl_request(capabilities: Capabilities, packet_bytes_max: u32, collation: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(SSL_REQUEST_BYTES);
    put_head(&mut out, capabilities, packet_bytes_max, collation);
    out
}

/// Who a client is, and what it can do.
/// Shape: u32 capabilities, u32 size of packets, u8 collation, 19 reserved, u32 capabilities of MariaDB (reserved if
///        LONG_PASSWORD is set), user\0, answer to the scramble (length-encoded with PLUGIN_AUTH_LENENC_DATA, else u8
///        length), with CONNECT_WITH_DB database\0, with PLUGIN_AUTH method\0, with CONNECT_ATTRS attributes.
/// Units: integers are little endian; the length of the attributes is in bytes.
/// Errors: `Malformed` for clients without PROTOCOL_41 and SECURE_CONNECTION, for names that are not UTF-8, for
///         compression, and if anything stands behind.
/// Source: MySQL internals, page_protocol_connection_phase_packets_protocol_handshake_response.html
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeResponse {
    pub capabilities: Capabilities,
    pub packet_bytes_max: u32,
    pub collation: u8,
    pub user: String,
    /// A password in plain text, where the method is `mysql_clear_password`.
    pub answer: Zeroizing<Vec<u8>>,
    /// `None` unless CONNECT_WITH_DB is set.
    pub database: Option<String>,
    /// `None` unless PLUGIN_AUTH is set.
    pub method: Option<String>,
    pub attributes: Attributes,
}

impl HandshakeResponse {
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let own = reader.u32_le()?;
        let packet_bytes_max = reader.u32_le()?;
        let collation = reader.u8()?;
        reader.bytes(RESERVED_BYTES - 4)?;
        let capabilities = joined(own, reader.u32_le()?);
        check_spoken(capabilities)?;
        let user = reader.c_str()?.to_owned();
        let answer = if capabilities.has(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            reader.lenenc_bytes()?
        } else {
            let length = reader.u8()?;
            reader.bytes(usize::from(length))?
        };
        let has = |capability| capabilities.has(capability);
        let database = optional(&mut reader, has(Capabilities::CONNECT_WITH_DB))?;
        let method = optional(&mut reader, has(Capabilities::PLUGIN_AUTH))?;
        let attributes = match has(Capabilities::CONNECT_ATTRS) {
            true => attributes(&mut reader)?,
            false => Attributes::new(),
        };
        reader.end()?;
        Ok(Self {
            capabilities,
            packet_bytes_max,
            collation,
            user,
            answer: Zeroizing::new(answer.to_vec()),
            database,
            method,
            attributes,
        })
    }

    /// The fields that the capabilities promise are written, whether there is something in them or not.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let has = |capability| self.capabilities.has(capability);
        // As large as it gets: a vector that grows leaves a copy of the password behind.
        let attributes_bytes = encoded_attributes(&self.attributes);
        let texts = [Some(&self.user), self.database.as_ref(), self.method.as_ref()];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len() + 1).sum();
        let length = SSL_REQUEST_BYTES + texts + self.answer.len() + attributes_bytes.len() + 32;
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        put_head(&mut out, self.capabilities, self.packet_bytes_max, self.collation);
        put_c_str(&mut out, self.user.as_bytes());
        if has(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            put_lenenc(&mut out, self.answer.len() as u64);
        } else {
            out.push(u8::try_from(self.answer.len()).unwrap_or(u8::MAX));
        }
        out.extend_from_slice(&self.answer);
        if has(Capabilities::CONNECT_WITH_DB) {
            put_c_str(&mut out, self.database.as_deref().unwrap_or_default().as_bytes());
        }
        if has(Capabilities::PLUGIN_AUTH) {
            put_c_str(&mut out, self.method.as_deref().unwrap_or_default().as_bytes());
        }
        if has(Capabilities::CONNECT_ATTRS) {
            put_lenenc_bytes(&mut out, &attributes_bytes);
        }
        out
    }
}

/// Asks for another method than the one that the other side has begun with.
/// Shape: u8 = 0xfe, method\0, data of the method.
/// Errors: `Malformed` for the one byte that asks for the password hash of before 4.1.
/// Source: MySQL internals, page_protocol_connection_phase_packets_protocol_auth_switch_request.html
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSwitch {
    pub method: String,
    /// For most a scramble and a NUL.
    pub data: Vec<u8>,
}

impl AuthSwitch {
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != AUTH_SWITCH {
            return Err(Malformed("no change of method"));
        }
        let method = reader.c_str()?.to_owned();
        let data = reader.rest().to_vec();
        Ok(Self { method, data })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![AUTH_SWITCH];
        put_c_str(&mut out, self.method.as_bytes());
        out.extend(&self.data);
        out
    }
}

/// A further message of the method itself, from the server.
/// Source: MySQL internals, page_protocol_connection_phase_packets_protocol_auth_more_data.html
pub fn encode_auth_more_data(data: &[u8]) -> Vec<u8> {
    [&[AUTH_MORE_DATA], data].concat()
}

/// Another user on the same connection.
/// Shape: u8 = 0x11, user\0, u8 length + answer to the scramble, database\0, then, each only with all that stand before
///        it: u16 collation, with PLUGIN_AUTH method\0, with CONNECT_ATTRS attributes.
/// Errors: `Malformed` for names that are not UTF-8, and if anything stands behind.
/// Source: MySQL internals, page_protocol_com_change_user.html
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUser {
    pub user: String,
    pub answer: Zeroizing<Vec<u8>>,
    /// Empty: none.
    pub database: String,
    pub collation: Option<u16>,
    pub method: Option<String>,
    pub attributes: Attributes,
}

impl ChangeUser {
    /// `capabilities`: those of the connection.
    pub fn decode(payload: &[u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != CHANGE_USER {
            return Err(Malformed("no change of user"));
        }
        let user = reader.c_str()?.to_owned();
        let length = reader.u8()?;
        let answer = Zeroizing::new(reader.bytes(usize::from(length))?.to_vec());
        let database = reader.c_str()?.to_owned();
        let collation = match reader.is_empty() {
            true => None,
            false => Some(reader.u16_le()?),
        };
        let has_method = capabilities.has(Capabilities::PLUGIN_AUTH) && !reader.is_empty();
        let method = optional(&mut reader, has_method)?;
        let attributes = match capabilities.has(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            true => attributes(&mut reader)?,
            false => Attributes::new(),
        };
        reader.end()?;
        Ok(Self {
            user,
            answer,
            database,
            collation,
            method,
            attributes,
        })
    }

    pub fn encode(&self, capabilities: Capabilities) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![CHANGE_USER]);
        put_c_str(&mut out, self.user.as_bytes());
        out.push(u8::try_from(self.answer.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&self.answer);
        put_c_str(&mut out, self.database.as_bytes());
        let Some(collation) = self.collation else {
            return out;
        };
        out.extend(collation.to_le_bytes());
        if capabilities.has(Capabilities::PLUGIN_AUTH) {
            let Some(method) = &self.method else {
                return out;
            };
            put_c_str(&mut out, method.as_bytes());
        }
        if capabilities.has(Capabilities::CONNECT_ATTRS) {
            put_lenenc_bytes(&mut out, &encoded_attributes(&self.attributes));
        }
        out
    }
}

/// What was not even asked for cannot be there: a client that speaks of compression would send what nobody can read.
fn check_spoken(capabilities: Capabilities) -> Result<(), Malformed> {
    if !capabilities.has(Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION) {
        return Err(Malformed("a client of before 4.1"));
    }
    let compressed = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
    if (capabilities & compressed) != Capabilities::default() {
        return Err(Malformed("a client of a compressed protocol"));
    }
    Ok(())
}

/// The lower half as it stands, the upper one only where it means something.
fn joined(own: u32, extended: u32) -> Capabilities {
    let own = Capabilities(u64::from(own));
    if own.has(Capabilities::LONG_PASSWORD) {
        own
    } else {
        own | Capabilities(u64::from(extended) << 32)
    }
}

fn extended(capabilities: Capabilities) -> u32 {
    if capabilities.has(Capabilities::LONG_PASSWORD) {
        0
    } else {
        (capabilities.0 >> 32) as u32
    }
}

fn put_head(out: &mut Vec<u8>, capabilities: Capabilities, packet_bytes_max: u32, collation: u8) {
    out.extend((capabilities.0 as u32).to_le_bytes());
    out.extend(packet_bytes_max.to_le_bytes());
    out.push(collation);
    out.extend([0; RESERVED_BYTES - 4]);
    out.extend(extended(capabilities).to_le_bytes());
}

fn optional(reader: &mut Reader<'_>, is_there: bool) -> Result<Option<String>, Malformed> {
    is_there.then(|| reader.c_str().map(str::to_owned)).transpose()
}

/// Shape: length-encoded bytes of all, then names and values in turns, each length-encoded.
fn attributes(reader: &mut Reader<'_>) -> Result<Attributes, Malformed> {
    let mut all = Reader::new(reader.lenenc_bytes()?);
    let mut attributes = Attributes::new();
    while !all.is_empty() {
        let name = all.lenenc_bytes()?.to_vec();
        attributes.push((name, all.lenenc_bytes()?.to_vec()));
    }
    Ok(attributes)
}

fn encoded_attributes(attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::new();
    for text in attributes.iter().flat_map(|(name, value)| [name, value]) {
        put_lenenc_bytes(&mut out, text);
    }
    out
}

fn put_c_str(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed("shorter than it says"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Sent by MariaDB 10.11.19.
    const GREETING: &str = "0a352e352e352d31302e31312e31392d4d6172696144422d302b646562313275310007000000627132444157704e\
                            00fef72d0200ff81150000000000001d000000772b6c607d734952402a5138006d7973716c5f6e61746976655f70\
                            617373776f726400";
    /// The answer of MariaDB's command line; the user's password is `secret`.
    const RESPONSE: &str = "8ca2bf000000100021000000000000000000000000000000000000001d0000006e61740014807d277f8fac119c14\
                            5fcfec1287a9e734131ad2617070006d7973716c5f6e61746976655f70617373776f7264007f035f6f73054c696e\
                            75780c5f636c69656e745f6e616d650a6c69626d617269616462045f7069640531323538320f5f636c69656e745f\
                            76657273696f6e06332e332e3230095f706c6174666f726d067838365f36340c70726f6772616d5f6e616d65056d\
                            7973716c0c5f7365727665725f686f7374093132372e302e302e31";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks_exact(2);
        digits
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn a_recorded_greeting_is_read_and_written_as_it_was() {
        let greeting = Greeting::decode(&bytes(GREETING)).expect("a greeting");
        assert_eq!(greeting.version, "5.5.5-10.11.19-MariaDB-0+deb12u1");
        assert_eq!(
            (greeting.connection_id, greeting.collation, greeting.status),
            (7, 45, 2)
        );
        assert_eq!(&greeting.scramble, b"bq2DAWpNw+l`}sIR@*Q8");
        assert_eq!(greeting.method, "mysql_native_password");
        let of_mariadb = Capabilities::MARIADB_PROGRESS | Capabilities::MARIADB_CACHE_METADATA;
        assert!(
            greeting
                .capabilities
                .has(of_mariadb | Capabilities::DEPRECATE_EOF)
        );
        assert!(!greeting.capabilities.has(Capabilities::LONG_PASSWORD));
        assert_eq!(greeting.encode(), bytes(GREETING));
    }

    #[test]
    fn a_recorded_response_is_read_and_written_as_it_was() {
        let Ok(First::Response(response)) = First::decode(&bytes(RESPONSE)) else {
            panic!("no response");
        };
        assert_eq!((response.user.as_str(), response.collation), ("nat", 33));
        assert_eq!(response.database.as_deref(), Some("app"));
        assert_eq!(response.method.as_deref(), Some("mysql_native_password"));
        assert!(response.capabilities.has(Capabilities::MARIADB_PROGRESS));
        let name = (b"program_name".to_vec(), b"mysql".to_vec());
        assert!(response.attributes.contains(&name), "{:?}", response.attributes);
        assert_eq!(*response.encode(), bytes(RESPONSE));
        let greeting = Greeting::decode(&bytes(GREETING)).expect("a greeting");
        let made = crate::wire::mysql::auth::native(b"secret", &greeting.scramble);
        assert_eq!(made, *response.answer);
    }

    #[test]
    fn every_byte_of_a_response_is_accounted_for() {
        let whole = bytes(RESPONSE);
        for length in 0..whole.len() {
            assert!(First::decode(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(First::decode(&[&whole[..], &[0]].concat()).is_err());
        let greeting = bytes(GREETING);
        for length in 0..greeting.len() {
            assert!(Greeting::decode(&greeting[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn clients_that_would_speak_otherwise_are_refused() {
        let response = |change: fn(u64) -> u64| {
            let mut sent = bytes(RESPONSE);
            let capabilities = u32::from_le_bytes(array(&sent[..4]).unwrap());
            sent[..4].copy_from_slice(&(change(u64::from(capabilities)) as u32).to_le_bytes());
            First::decode(&sent)
        };
        assert!(response(|bits| bits).is_ok());
        for refused in [
            |bits| bits & !Capabilities::PROTOCOL_41.0,
            |bits| bits & !Capabilities::SECURE_CONNECTION.0,
            |bits| bits | Capabilities::COMPRESS.0,
            |bits| bits | Capabilities::ZSTD_COMPRESSION.0,
            // Who asks for TLS says no more before it.
            |bits| bits | Capabilities::SSL.0,
        ] {
            assert!(response(refused).is_err());
        }
        let ssl = Capabilities::SSL | Capabilities::PROTOCOL_41;
        let request = encode_ssl_request(ssl, 1 << 24, 45);
        assert_eq!(First::decode(&request), Ok(First::SslRequest));
        assert!(First::decode(&request[..31]).is_err());
    }

    #[test]
    fn a_switch_to_the_hash_of_before_4_1_is_refused() {
        assert!(AuthSwitch::decode(&[AUTH_SWITCH]).is_err());
    }

    fn text() -> impl Strategy<Value = String> {
        "[^\0]{0,20}"
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..300)), 0..4)
    }

    proptest! {
        #[test]
        fn a_response_is_the_same_after_it_was_written(
            bits in any::<u64>(),
            user in text(),
            answer in vec(any::<u8>(), 0..250),
            database in text(),
            method in text(),
            sent in attributes(),
        ) {
            let refused = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION | Capabilities::SSL;
            let needed = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
            let mut capabilities = Capabilities(bits) & !refused | needed;
            if capabilities.has(Capabilities::LONG_PASSWORD) {
                capabilities = capabilities & Capabilities(u64::from(u32::MAX));
            }
            let has = |capability| capabilities.has(capability);
            let response = HandshakeResponse {
                capabilities,
                packet_bytes_max: 1 << 24,
                collation: 45,
                user,
                answer: answer.into(),
                database: has(Capabilities::CONNECT_WITH_DB).then_some(database),
                method: has(Capabilities::PLUGIN_AUTH).then_some(method),
                attributes: if has(Capabilities::CONNECT_ATTRS) { sent } else { Attributes::new() },
            };
            prop_assert_eq!(First::decode(&response.encode()), Ok(First::Response(response)));
        }

        #[test]
        fn a_change_of_user_is_the_same_after_it_was_written(
            user in text(),
            answer in vec(any::<u8>(), 0..250),
            database in text(),
            collation in any::<u16>(),
            method in text(),
            attributes in attributes(),
        ) {
            let capabilities = Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_ATTRS;
            let change = ChangeUser {
                user,
                answer: answer.into(),
                database,
                collation: Some(collation),
                method: Some(method),
                attributes,
            };
            prop_assert_eq!(ChangeUser::decode(&change.encode(capabilities), capabilities), Ok(change));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(sent in vec(any::<u8>(), 0..200), bits in any::<u64>()) {
            let _greeting = Greeting::decode(&sent);
            let _first = First::decode(&sent);
            let _switch = AuthSwitch::decode(&sent);
            let _change = ChangeUser::decode(&sent, Capabilities(bits));
        }
    }
}
