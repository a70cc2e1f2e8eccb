//! Cuts a byte stream into MySQL packets, and joins those that carry one message. Never looks inside one.
//! Read `capability.rs` next.

use std::borrow::Cow;

use crate::wire::bytes::Malformed;

/// Length (3 bytes, little endian) and sequence number.
pub const HEADER_BYTES: usize = 4;

/// A packet as long as this is continued by the next one, which may be empty.
/// Source: MySQL internals, page_protocol_basic_packets.html#sect_protocol_basic_packets_sending_mt_16mb
pub const PAYLOAD_BYTES_MAX: usize = 0xff_ffff;

/// The head of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub payload_bytes: usize,
    pub sequence: u8,
}

impl Header {
    /// `None`: more bytes are needed.
    pub fn cut(bytes: &[u8]) -> Option<Self> {
        let [low, middle, high, sequence] = *bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            payload_bytes: usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16,
            sequence,
        })
    }

    /// With the header itself.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes
    }

    /// Whether the next packet belongs to the same message.
    pub fn is_continued(&self) -> bool {
        self.payload_bytes == PAYLOAD_BYTES_MAX
    }
}

/// Puts one message as packets from `sequence` on; gives the number that comes next.
pub fn put(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) -> u8 {
    let (mut sequence, mut rest) = (sequence, payload);
    loop {
        let (part, behind) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
        let length = (part.len() as u32).to_le_bytes();
        out.extend_from_slice(&[length[0], length[1], length[2], sequence]);
        out.extend_from_slice(part);
        sequence = sequence.wrapping_add(1);
        if part.len() < PAYLOAD_BYTES_MAX {
            return sequence;
        }
        rest = behind;
    }
}

/// How much of one message there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// Its end has not come yet. So much of its payload is promised by the headers seen: it will be that long or longer.
    More {
        payload_bytes_min: usize,
    },
    Whole(Message),
}

/// One message at the head of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Headers included.
    pub frame_bytes: usize,
    pub payload_bytes: usize,
    /// The number that the answer to it begins with.
    pub next_sequence: u8,
}

/// Looks how far the first message goes whose packets are numbered from `first` on.
/// Errors: a packet out of order.
pub fn gather(bytes: &[u8], first: u8) -> Result<Gathered, Malformed> {
    let (mut at, mut payload_bytes, mut sequence) = (0, 0_usize, first);
    loop {
        let Some(header) = bytes.get(at..).and_then(Header::cut) else {
            return Ok(Gathered::More {
                payload_bytes_min: payload_bytes,
            });
        };
        if header.sequence != sequence {
            return Err(Malformed("a packet out of order"));
        }
        sequence = sequence.wrapping_add(1);
        payload_bytes = payload_bytes.saturating_add(header.payload_bytes);
        at = at.saturating_add(header.frame_bytes());
        if at > bytes.len() {
            return Ok(Gathered::More {
                payload_bytes_min: payload_bytes,
            });
        }
        if !header.is_continued() {
            return Ok(Gathered::Whole(Message {
                frame_bytes: at,
                payload_bytes,
                next_sequence: sequence,
            }));
        }
    }
}

/// The payload of one message that `gather` has found whole: the packets' payloads one behind the other.
pub fn joined(frames: &[u8]) -> Cow<'_, [u8]> {
    match Header::cut(frames) {
        Some(header) if header.frame_bytes() == frames.len() => Cow::Borrowed(&frames[HEADER_BYTES..]),
        _ => {
            let mut payload = Vec::with_capacity(frames.len());
            let mut rest = frames;
            while let Some(header) = Header::cut(rest) {
                let end = header.frame_bytes().min(rest.len());
                payload.extend_from_slice(&rest[HEADER_BYTES..end]);
                rest = &rest[end..];
            }
            Cow::Owned(payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_after_it_was_cut_into_packets() {
        for length in [
            0,
            1,
            250,
            PAYLOAD_BYTES_MAX - 1,
            PAYLOAD_BYTES_MAX,
            PAYLOAD_BYTES_MAX + 5,
        ] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut out = Vec::new();
            let next = put(&mut out, 254, &payload);
            let whole = Gathered::Whole(Message {
                frame_bytes: out.len(),
                payload_bytes: length,
                next_sequence: next,
            });
            assert_eq!(gather(&out, 254), Ok(whole));
            assert_eq!(joined(&out).as_ref(), payload);
            assert!(
                matches!(gather(&out[..out.len() - 1], 254), Ok(Gathered::More { .. })) || out.is_empty()
            );
        }
    }

    #[test]
    fn a_full_packet_is_continued_even_by_nothing() {
        let mut out = Vec::new();
        assert_eq!(put(&mut out, 0, &vec![7; PAYLOAD_BYTES_MAX]), 2);
        assert_eq!(&out[out.len() - HEADER_BYTES..], [0, 0, 0, 1]);
    }

    #[test]
    fn packets_out_of_order_are_no_message() {
        assert_eq!(gather(&[0, 0, 0, 1], 0), Err(Malformed("a packet out of order")));
    }
}
