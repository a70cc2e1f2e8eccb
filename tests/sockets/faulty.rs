//! A real socket that cuts, pauses and splits what passes through it, at a byte that the test names.
//!
//! Never guesses whether a split was seen as one: a pause ends when the kernel says that the other side has read all
//! that was sent (`sock_diag`, which is what `ss` asks). Read `relay.rs` next.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Between two looks at the other side's queue.
const LOOK_AGAIN: Duration = Duration::from_micros(40);

/// A reader that has not read for so long waits for something else than these bytes.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// After so many bytes the connection is closed in both directions.
    CutAfter(usize),
    /// The same, by a reset.
    ResetAfter(usize),
    /// The bytes behind so many others come once those have been read.
    PauseAfter(usize),
    /// Every byte comes alone.
    ByteByByte,
}

/// How a faulty socket ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Close,
    Reset,
}

/// A socket with a fault in each direction. Counts what passes.
#[derive(Debug)]
pub struct FaultySocket {
    real: TcpStream,
    writing: Fault,
    reading: Fault,
    pub written: usize,
    pub read: usize,
}

impl FaultySocket {
    pub fn new(real: TcpStream, writing: Fault, reading: Fault) -> Self {
        Self {
            real,
            writing,
            reading,
            written: 0,
            read: 0,
        }
    }

    /// Whether a fault has ended the connection.
    pub fn is_cut(&self) -> bool {
        is_over(self.writing, self.written) || is_over(self.reading, self.read)
    }

    /// How this socket's connection ends, if it ends now.
    pub fn ending(&self) -> Ending {
        match (self.is_cut(), self.writing) {
            (true, Fault::ResetAfter(_)) => Ending::Reset,
            _ => Ending::Close,
        }
    }

    /// Ends the connection for whoever holds it, here and on the other side.
    pub fn end(&self) {
        end(&self.real, self.ending());
    }

    fn refuse_if_cut(&self) -> io::Result<()> {
        if self.is_cut() {
            self.end();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Ends a connection of which others may hold clones. A reset is sent when the last of them is gone.
pub fn end(stream: &TcpStream, how: Ending) {
    // What is closed already needs no end.
    let _closed = match how {
        Ending::Close => stream.shutdown(Shutdown::Both),
        Ending::Reset => SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .and_then(|()| stream.shutdown(Shutdown::Read)),
    };
}

fn is_over(fault: Fault, passed: usize) -> bool {
    match fault {
        Fault::CutAfter(bytes) | Fault::ResetAfter(bytes) => passed >= bytes,
        Fault::None | Fault::PauseAfter(_) | Fault::ByteByByte => false,
    }
}

/// How many of `wanted` bytes may pass at once.
fn allowance(fault: Fault, passed: usize, wanted: usize) -> usize {
    match fault {
        Fault::None => wanted,
        Fault::CutAfter(bytes) | Fault::ResetAfter(bytes) => wanted.min(bytes - passed),
        Fault::PauseAfter(bytes) if passed < bytes => wanted.min(bytes - passed),
        Fault::PauseAfter(_) => wanted,
        Fault::ByteByByte => wanted.min(1),
    }
}

impl Write for FaultySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.refuse_if_cut()?;
        let count = allowance(self.writing, self.written, bytes.len());
        let count = self.real.write(&bytes[..count])?;
        self.written += count;
        let pauses = match self.writing {
            Fault::PauseAfter(bytes) => self.written == bytes,
            Fault::ByteByByte => true,
            Fault::None | Fault::CutAfter(_) | Fault::ResetAfter(_) => false,
        };
        if pauses {
            until_read(&self.real)?;
        }
        if is_over(self.writing, self.written) {
            self.end();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.real.flush()
    }
}

impl Read for FaultySocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.refuse_if_cut()?;
        let count = allowance(self.reading, self.read, into.len());
        let count = self.real.read(&mut into[..count])?;
        self.read += count;
        Ok(count)
    }
}

/// Waits until the other side has read everything that was written here; on this machine only.
fn until_read(writer: &TcpStream) -> io::Result<()> {
    let (reader, writer) = (writer.peer_addr()?, writer.local_addr()?);
    let mut kernel = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    let question = question(reader, writer)?;
    let deadline = Instant::now() + READ_WITHIN;
    while Instant::now() < deadline {
        kernel.write_all(&question)?;
        let mut answer = [0; 1024];
        let length = kernel.read(&mut answer)?;
        if unread(&answer[..length])? == 0 {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NETLINK_HEADER_BYTES: usize = 16;

/// Which socket: `inet_diag_req_v2` for the one at `local` whose other end is `remote`.
/// Shape: nlmsghdr (u32 length, u16 type, u16 flags, u32 number, u32 port), then u8 family, u8 protocol, u8 extensions,
///        u8 pad, u32 states, and the socket: u16 + u16 ports and 4 + 4 words of addresses in network order, u32
///        interface, u32 + u32 cookie.
/// Source: sock_diag(7)
fn question(local: SocketAddr, remote: SocketAddr) -> io::Result<Vec<u8>> {
    const BYTES: u32 = 72;
    let (IpAddr::V4(local_ip), IpAddr::V4(remote_ip)) = (local.ip(), remote.ip()) else {
        return Err(io::Error::other("only for IPv4"));
    };
    let mut out = Vec::new();
    out.extend(BYTES.to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend(NLM_F_REQUEST.to_ne_bytes());
    out.extend([0; 8]);
    out.extend([2, 6, 0, 0]);
    out.extend(u32::MAX.to_ne_bytes());
    out.extend(local.port().to_be_bytes());
    out.extend(remote.port().to_be_bytes());
    for ip in [local_ip, remote_ip] {
        out.extend(ip.octets());
        out.extend([0; 12]);
    }
    out.extend(0_u32.to_ne_bytes());
    out.extend([0xff; 8]);
    Ok(out)
}

/// Bytes that the socket's owner has not read; none if there is no such socket any more.
/// Shape: nlmsghdr, then `inet_diag_msg`: 4 bytes, the socket (48 bytes), u32 expires, u32 receive queue, …
fn unread(answer: &[u8]) -> io::Result<u32> {
    const QUEUE_AT: usize = NETLINK_HEADER_BYTES + 4 + 48 + 4;
    let kind = answer
        .get(4..6)
        .map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (kind, answer.get(QUEUE_AT..QUEUE_AT + 4)) {
        (Some(SOCK_DIAG_BY_FAMILY), Some(queue)) => {
            Ok(u32::from_ne_bytes([queue[0], queue[1], queue[2], queue[3]]))
        }
        (Some(NLMSG_ERROR), _) => match answer.get(16..20) {
            Some(code) if i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) == -2 => Ok(0),
            code => Err(io::Error::other(format!("sock_diag: error {code:?}"))),
        },
        _ => Err(io::Error::other("sock_diag: an answer of unknown shape")),
    }
}
