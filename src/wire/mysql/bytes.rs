//! MySQL's numbers: little endian, or with a length before them. Never allocates by a count that it has read.
//! Read `packet.rs` next.
//!
//! Source: MySQL internals, page_protocol_basic_dt_integers.html, page_protocol_basic_dt_strings.html

use crate::wire::bytes::{Malformed, Reader};

/// Stands for NULL where a row has a length.
pub const NULL: u8 = 0xfb;
const TWO_BYTES: u8 = 0xfc;
const THREE_BYTES: u8 = 0xfd;
const EIGHT_BYTES: u8 = 0xfe;
const NO_LENGTH: u8 = 0xff;

impl<'a> Reader<'a> {
    pub fn u16_le(&mut self) -> Result<u16, Malformed> {
        Ok(self.u64_of(2)? as u16)
    }

    pub fn u24_le(&mut self) -> Result<u32, Malformed> {
        Ok(self.u64_of(3)? as u32)
    }

    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        Ok(self.u64_of(4)? as u32)
    }

    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        self.u64_of(8)
    }

    /// A number whose first byte is itself, or says how many bytes it has.
    /// Shape: u8 below 0xFB; 0xFC u16; 0xFD u24; 0xFE u64. Longer than need be is as good: servers read it so.
    /// Errors: 0xFB, which is NULL and no number, and 0xFF, which begins an error.
    pub fn lenenc(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            NULL => Err(Malformed("NULL where a number must be")),
            TWO_BYTES => self.u64_of(2),
            THREE_BYTES => self.u64_of(3),
            EIGHT_BYTES => self.u64_of(8),
            NO_LENGTH => Err(Malformed("neither a number nor NULL")),
            number => Ok(u64::from(number)),
        }
    }

    /// Shape: length as `lenenc`, so many bytes. Errors: as `lenenc`, or fewer bytes than it says.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.lenenc()?;
        let length = usize::try_from(length).map_err(|_| Malformed("shorter than it says"))?;
        self.bytes(length)
    }

    /// As `lenenc_bytes`, where 0xFB is NULL.
    pub fn lenenc_or_null(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.rest().first() == Some(&NULL) {
            self.u8()?;
            return Ok(None);
        }
        self.lenenc_bytes().map(Some)
    }

    /// What is left, to the end.
    pub fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest();
        *self = Reader::new(&[]);
        rest
    }

    /// Errors: the next byte is another one.
    pub fn must_be(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Malformed> {
        if self.u8()? == byte {
            Ok(())
        } else {
            Err(Malformed(otherwise))
        }
    }

    /// At most eight bytes.
    fn u64_of(&mut self, count: usize) -> Result<u64, Malformed> {
        let bytes = self.bytes(count)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

pub fn put_u24(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes()[..3]);
}

/// In as few bytes as can be.
pub fn put_lenenc(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_le_bytes();
    match number {
        0..=0xfa => out.push(bytes[0]),
        0xfb..=0xffff => {
            out.push(TWO_BYTES);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(THREE_BYTES);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(EIGHT_BYTES);
            out.extend_from_slice(&bytes);
        }
    }
}

pub fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_after_it_was_written() {
        for number in [
            0,
            0xfa,
            0xfb,
            0xff,
            0xffff,
            0x1_0000,
            0xff_ffff,
            0x100_0000,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_lenenc(&mut out, number);
            for end in 0..out.len() {
                assert!(Reader::new(&out[..end]).lenenc().is_err());
            }
            let mut reader = Reader::new(&out);
            assert_eq!(reader.lenenc(), Ok(number));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn null_and_the_mark_of_an_error_are_no_lengths() {
        assert!(Reader::new(&[NULL]).lenenc().is_err());
        assert!(Reader::new(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]).lenenc().is_err());
        assert_eq!(Reader::new(&[NULL]).lenenc_or_null(), Ok(None));
        assert_eq!(Reader::new(&[0]).lenenc_or_null(), Ok(Some(&b""[..])));
    }

    #[test]
    fn a_length_beyond_the_end_takes_nothing() {
        let mut reader = Reader::new(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'a']);
        assert!(reader.lenenc_bytes().is_err());
        assert!(Reader::new(&[2, b'a']).lenenc_bytes().is_err());
    }

    #[test]
    fn numbers_have_their_lowest_byte_first() {
        let mut reader = Reader::new(&[1, 2, 1, 2, 3, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(reader.u16_le(), Ok(0x0201));
        assert_eq!(reader.u24_le(), Ok(0x03_0201));
        assert_eq!(reader.u32_le(), Ok(0x0403_0201));
        assert_eq!(reader.u64_le(), Ok(0x0200_0000_0000_0001));
    }
}
