//! From a client's first byte to what it says of itself: the greeting, and what encrypts the connection.
//! Never asks who the client is. Read `prove.rs` next.

use std::io;

use tokio::net::TcpStream;
use tracing::warn;

use crate::proxy::ListenTls;
use crate::proxy::mysql::Side;
use crate::proxy::mysql::exchange::Exchange;
use crate::proxy::mysql::prove::fresh_scramble;
use crate::proxy::mysql::refused::{error, no_server};
use crate::proxy::mysql::upstream::{DialError, ServerError};
use crate::proxy::socket::Socket;
use crate::wire::bytes::Malformed;
use crate::wire::mysql::auth::{CACHING_SHA2, Scramble};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake::{First, Greeting, HandshakeResponse};

/// `utf8mb4_general_ci`
const COLLATION: u8 = 45;

/// Autocommit, as every session of a server begins.
const STATUS: u16 = 2;

/// What any client may use, whatever the server is: it ends at this proxy.
const OWN: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::PLUGIN_AUTH_LENENC_DATA.0
        | Capabilities::CONNECT_ATTRS.0,
);

/// What a client may use if the server offers it too. Not among them: what would hide bytes from the proxy (compression), what
/// changes how statements or answers read and is not spoken here (MariaDB's bulks and COM_MULTI, results without their
/// metadata), what changes how a statement means (IGNORE_SPACE, NO_SCHEMA), and what lets in somebody whose password has
/// expired.
const OFFERED: Capabilities = Capabilities(
    Capabilities::LONG_PASSWORD.0
        | Capabilities::FOUND_ROWS.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::ODBC.0
        | Capabilities::LOCAL_FILES.0
        | Capabilities::INTERACTIVE.0
        | Capabilities::IGNORE_SIGPIPE.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::RESERVED.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::SESSION_TRACK.0
        | Capabilities::DEPRECATE_EOF.0
        | Capabilities::QUERY_ATTRIBUTES.0
        | Capabilities::MARIADB_PROGRESS.0
        | Capabilities::MARIADB_EXTENDED_METADATA.0
        | Capabilities::MARIADB_CACHE_METADATA.0,
);

/// A client that wants a session.
pub struct Arrived {
    pub exchange: Exchange,
    pub response: HandshakeResponse,
    /// Of what it was offered, what it has chosen.
    pub capabilities: Capabilities,
    pub scramble: Scramble,
    pub connection_id: i32,
}

/// Greets a client as the server behind would, and reads what it says. Refuses what cannot be read, in words if it can.
pub async fn first_packets(side: &Side, stream: TcpStream) -> Option<Arrived> {
    let mut exchange = Exchange::new(Socket::Plain(stream), 0);
    let of_server = match side.dialler.greeting().await {
        Ok(greeting) => greeting,
        Err(error) => {
            warn!(%error, "no greeting for a client");
            let told = match error {
                DialError::Refused(error) => error,
                _ => no_server(),
            };
            return turn_away(exchange, &told, false).await;
        }
    };
    let mut offered = OWN | (OFFERED & of_server.capabilities);
    if side.listener.is_some() {
        offered = offered | Capabilities::SSL;
    }
    let greeting = Greeting {
        version: of_server.version.clone(),
        connection_id: u32::try_from(side.registry.draw()).ok()?,
        scramble: fresh_scramble(),
        capabilities: offered,
        collation: COLLATION,
        status: STATUS,
        method: CACHING_SHA2.to_owned(),
    };
    exchange.write(&greeting.encode()).await.ok()?;
    let packet = exchange.read().await.ok()?;
    let response = match First::decode(&packet) {
        Ok(First::Response(response)) => Ok(response),
        Ok(First::SslRequest) => {
            let Some(listener) = &side.listener else {
                return turn_away(exchange, &bad(Malformed("TLS is not offered")), false).await;
            };
            let encrypt = async |stream| {
                let accepted = listener.accept(stream).await?;
                Ok::<_, io::Error>(Socket::Accepted(Box::new(accepted.stream)))
            };
            exchange = exchange.encrypted(encrypt).await.ok()?;
            let packet = exchange.read().await.ok()?;
            HandshakeResponse::decode(&packet)
        }
        Err(error) => Err(error),
    };
    let response = match response {
        Ok(response) => response,
        Err(error) => return turn_away(exchange, &bad(error), true).await,
    };
    if matches!(side.front.tls, ListenTls::Required { .. }) && !exchange.socket.is_encrypted() {
        let why = "this proxy requires TLS: connect with --ssl-mode=REQUIRED";
        return turn_away(exchange, &error(3159, b"HY000", why), true).await;
    }
    Some(Arrived {
        exchange,
        capabilities: response.capabilities & offered,
        response,
        scramble: greeting.scramble,
        connection_id: i32::try_from(greeting.connection_id).ok()?,
    })
}

fn bad(why: Malformed) -> ServerError {
    error(1043, b"08S01", &format!("Bad handshake: {}", why.0))
}

async fn turn_away<T>(mut exchange: Exchange, told: &ServerError, knows_sqlstate: bool) -> Option<T> {
    // Whoever does not read this gets a closed connection, which says the same.
    let _gone = exchange.write(&told.packet(knows_sqlstate)).await;
    None
}
