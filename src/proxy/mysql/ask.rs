//! Questions of the proxy's own to a server on which nothing else is under way. Never sends a text that came from anybody.
//! Read `upstream.rs` next.

use std::io;

use crate::proxy::mysql::exchange::Exchange;
use crate::proxy::mysql::upstream::ServerError;
use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::answer::{END, ERROR, ErrPacket, OK};
use crate::wire::mysql::capability::Capabilities;

const COM_QUERY: u8 = 0x03;

#[derive(Debug)]
pub enum AskError {
    Lost(io::Error),
    Refused(ServerError),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Malformed> for AskError {
    fn from(error: Malformed) -> Self {
        Self::Lost(io::Error::other(error))
    }
}

/// A statement without rows.
pub async fn nothing(
    exchange: &mut Exchange,
    capabilities: Capabilities,
    text: &str,
) -> Result<(), AskError> {
    send(exchange, capabilities, text).await?;
    match read(exchange).await?.first() {
        Some(&OK) => Ok(()),
        _ => Err(out_of_order()),
    }
}

/// The value of a question that has one row of one column, which is not NULL.
pub async fn one_value(
    exchange: &mut Exchange,
    capabilities: Capabilities,
    text: &str,
) -> Result<String, AskError> {
    send(exchange, capabilities, text).await?;
    if read(exchange).await?.first() != Some(&1) {
        return Err(out_of_order());
    }
    let _definition = read(exchange).await?;
    let has_eof = !capabilities.has(Capabilities::DEPRECATE_EOF);
    if has_eof && read(exchange).await?.first() != Some(&END) {
        return Err(out_of_order());
    }
    let row = read(exchange).await?;
    let mut reader = Reader::new(&row);
    let value = reader.lenenc_bytes()?.to_vec();
    reader.end()?;
    let value = String::from_utf8(value).map_err(io::Error::other)?;
    match read(exchange).await?.first() {
        Some(&END) => Ok(value),
        _ => Err(out_of_order()),
    }
}

/// Text of the proxy, before which a client of query attributes has none to say.
async fn send(exchange: &mut Exchange, capabilities: Capabilities, text: &str) -> Result<(), AskError> {
    let mut payload = vec![COM_QUERY];
    if capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
        // No parameters, in one set.
        payload.extend([0, 1]);
    }
    payload.extend(text.as_bytes());
    Ok(exchange.command(&payload).await?)
}

async fn read(exchange: &mut Exchange) -> Result<Vec<u8>, AskError> {
    let packet = exchange.read().await?;
    if packet.first() == Some(&ERROR) {
        return Err(AskError::Refused(ErrPacket::decode(&packet)?.into()));
    }
    Ok(packet.to_vec())
}

fn out_of_order() -> AskError {
    AskError::Lost(io::Error::other("an answer out of order"))
}
