//! Cuts a byte stream into PostgreSQL frames by their headers. Never looks inside one. Read `message.rs` next.

use crate::wire::bytes::Malformed;

/// Bytes of a header: one of type, four of length.
pub const HEADER_BYTES: usize = 5;

/// The largest frame PostgreSQL itself accepts: 1 GiB less one.
pub const FRAME_BYTES_MAX: usize = (1 << 30) - 1;

/// The first five bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes of the body, without the header.
    pub body_bytes: usize,
}

impl Header {
    /// Reads a header from the start of `bytes`.
    /// Shape: u8 type, i32 length (which counts itself, not the type).
    /// Errors: `Malformed` for a length under 4 or over `FRAME_BYTES_MAX`; `Ok(None)` if bytes are missing.
    /// Source: PostgreSQL docs, protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS
    pub fn cut(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [tag, a, b, c, d] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(Malformed("length out of range"));
        }
        Ok(Some(Self {
            tag,
            body_bytes: length - 4,
        }))
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// Cuts one whole frame from the start of `bytes`: type, body, and what follows.
/// Errors: as `Header::cut`; `Ok(None)` if bytes are missing.
pub fn cut(bytes: &[u8]) -> Result<Option<(Header, &[u8])>, Malformed> {
    let Some(header) = Header::cut(bytes)? else {
        return Ok(None);
    };
    Ok(bytes
        .get(HEADER_BYTES..header.frame_bytes())
        .map(|body| (header, body)))
}

/// Appends a frame whose body `write` appends.
pub fn put(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - at).expect("frames we make ourselves are far under 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_lies_is_malformed() {
        for length in [0u32, 3, 1 << 30, u32::MAX] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert!(Header::cut(&bytes).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_frame_is_cut_only_when_it_is_whole() {
        let mut bytes = Vec::new();
        put(&mut bytes, b'Q', |out| out.extend(b"SELECT 1\0"));
        for end in 0..bytes.len() {
            assert_eq!(cut(&bytes[..end]), Ok(None), "cut at {end}");
        }
        let (header, body) = cut(&bytes).expect("well formed").expect("whole");
        assert_eq!((header.tag, body), (b'Q', b"SELECT 1\0".as_slice()));
    }
}
