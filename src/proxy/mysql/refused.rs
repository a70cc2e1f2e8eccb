//! Why a client is not let in, for the log and for the client. Never tells a client more than it may know.
//! Read `login.rs` next.

use std::net::IpAddr;
use std::time::Duration;

use crate::identity::directory::Ended;
use crate::proxy::mysql::upstream::ServerError;
use crate::proxy::refusal::one_line;
use crate::wire::mysql::answer::ErrPacket;

/// Why there is no session. `None`: the client went, or wanted none.
pub type NoSession = Option<Box<ServerError>>;

/// Why a client is not let in.
#[derive(Debug)]
pub enum Refused {
    /// The log learns that there is no such name, the client does not.
    NoSuchAgent,
    WrongPassword,
    /// Made before MySQL was spoken, or without the verifier that this client's method needs. The client learns no more
    /// than after a wrong password.
    NoVerifier,
    /// It logs in by its certificate alone, and none was shown. The client is told no more than after a wrong password.
    NoCertificate,
    /// The certificate that was shown is good, but somebody else's.
    OtherCertificate,
    Ended(Ended),
    Database,
    /// A password that the server would take, outside TLS.
    NotEncrypted,
    /// In the server's own words.
    ByServer(ServerError),
    /// The server would let anybody in as this user.
    NotAsked,
    NoServer,
    /// The server is another one than the one the client was greeted for.
    Changed,
    TooLate(Duration),
}

/// Whether the client has brought a password; the servers' own message says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsingPassword {
    Yes,
    No,
}

/// Who is refused, as far as its message says so.
pub struct About<'a> {
    pub user: &'a str,
    pub source: IpAddr,
    pub database: &'a str,
    pub using: UsingPassword,
}

impl Refused {
    /// Whether the client must not see that nothing it could send would help.
    pub const fn is_hidden(&self) -> bool {
        matches!(self, Self::NoCertificate | Self::OtherCertificate)
    }

    /// For the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchAgent => "no such agent",
            Self::WrongPassword => "wrong password",
            Self::NoVerifier => "no verifier for this client's method: rotate the credential",
            Self::NoCertificate => "no client certificate",
            Self::OtherCertificate => "the client certificate is not that of the agent",
            Self::Ended(Ended::Revoked) => "credential revoked",
            Self::Ended(Ended::Expired) => "credential expired",
            Self::Database => "database not allowed",
            Self::NotEncrypted => "a password is taken inside TLS only",
            Self::ByServer(_) => "refused by the database server",
            Self::NotAsked => "the database server asks for no password",
            Self::NoServer => "the database server cannot be reached",
            Self::Changed => "the database server is another one than before",
            Self::TooLate(_) => "it took too long",
        }
    }

    /// For the client.
    pub fn error(self, about: &About<'_>) -> ServerError {
        let About {
            user,
            source,
            database,
            using,
        } = about;
        match self {
            Self::NoSuchAgent
            | Self::WrongPassword
            | Self::NoVerifier
            | Self::NoCertificate
            | Self::OtherCertificate
            | Self::NotAsked => {
                let using = match using {
                    UsingPassword::Yes => "YES",
                    UsingPassword::No => "NO",
                };
                let why = format!("Access denied for user '{user}'@'{source}' (using password: {using})");
                error(1045, b"28000", &why)
            }
            Self::Ended(_) => error(1045, b"28000", &format!("agent '{user}': {}", self.reason())),
            Self::Database => error(
                1049,
                b"42000",
                &format!("agent '{user}' may not connect to database '{database}'"),
            ),
            Self::NotEncrypted => error(
                3159,
                b"HY000",
                &format!(
                    "the password of '{user}' is taken inside TLS only: connect with --ssl-mode=REQUIRED"
                ),
            ),
            Self::ByServer(error) => error,
            Self::NoServer => no_server(),
            Self::Changed => error(
                1053,
                b"08S01",
                "countersign: the database server is another one than before. Connect again.",
            ),
            Self::TooLate(within) => error(
                1159,
                b"08S01",
                &format!(
                    "countersign: the log-in took longer than {} s. Retry later.",
                    within.as_secs()
                ),
            ),
        }
    }
}

/// What a client is told that gets no session; one line of ASCII, of bounded length.
pub fn error(number: u16, sqlstate: &[u8; 5], message: &str) -> ServerError {
    ServerError {
        number,
        sqlstate: *sqlstate,
        message: one_line(message),
    }
}

pub fn told(number: u16, sqlstate: &[u8; 5], message: &str) -> NoSession {
    Some(Box::new(error(number, sqlstate, message)))
}

pub fn malformed(why: &str) -> NoSession {
    told(1043, b"08S01", &format!("Bad handshake: {why}"))
}

pub fn no_server() -> ServerError {
    error(
        1158,
        b"08S01",
        "countersign: the database server cannot be reached; see the proxy's log.",
    )
}

impl ServerError {
    /// As a packet. A client that has not said yet what it can do gets no SQLSTATE, as from a server.
    pub fn packet(&self, knows_sqlstate: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let packet = ErrPacket {
            number: self.number,
            sqlstate: knows_sqlstate.then_some(self.sqlstate),
            message: self.message.as_bytes(),
        };
        packet.encode(&mut out);
        out
    }
}
