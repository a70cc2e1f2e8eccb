//! A stream cut in any places gives the same messages as the stream cut once, what is promised of a message's length is
//! kept, and a message written as packets again is the same bytes.
//!
//! Input: one byte for the size of the pieces, one for the first number, then the stream. The word FULL stands for a
//! message of so many full packets and a rest, which no small input can be; few inputs are it, because it takes long.
#![no_main]

use countersign::wire::bytes::Malformed;
use countersign::wire::mysql::packet::{Gathered, PAYLOAD_BYTES_MAX, gather, joined, put};
use libfuzzer_sys::fuzz_target;

const FULL: &[u8] = b"FULL";

fuzz_target!(|bytes: &[u8]| {
    let Some(([piece, first], stream)) = bytes.split_first_chunk() else {
        return;
    };
    if stream == FULL {
        return large(usize::from(piece % 3), usize::from(piece / 3), *first);
    }
    let whole = messages(stream, *first);
    let mut rest = Vec::new();
    let mut pieces = Vec::new();
    for chunk in stream.chunks(usize::from(*piece).max(1)) {
        rest.extend_from_slice(chunk);
        let cut = messages(&rest, *first);
        pieces.extend(cut.payloads);
        rest.drain(..cut.used);
        if cut.end.is_err() {
            break;
        }
    }
    assert_eq!(pieces, whole.payloads);
});

struct Cut {
    payloads: Vec<Vec<u8>>,
    used: usize,
    end: Result<(), Malformed>,
}

/// Every message begins with the same number.
fn messages(stream: &[u8], first: u8) -> Cut {
    let mut cut = Cut {
        payloads: Vec::new(),
        used: 0,
        end: Ok(()),
    };
    loop {
        let rest = &stream[cut.used..];
        match gather(rest, first) {
            Ok(Gathered::Whole(message)) => {
                let frames = &rest[..message.frame_bytes];
                let payload = joined(frames).into_owned();
                assert_eq!(payload.len(), message.payload_bytes);
                let mut again = Vec::new();
                assert_eq!(put(&mut again, first, &payload), message.next_sequence);
                assert_eq!(again, frames);
                for end in 0..frames.len().min(16) {
                    let part = gather(&frames[..end], first);
                    let Ok(Gathered::More { payload_bytes_min }) = part else {
                        panic!("a part is taken for {part:?}");
                    };
                    assert!(payload_bytes_min <= message.payload_bytes);
                }
                cut.payloads.push(payload);
                cut.used += message.frame_bytes;
            }
            Ok(Gathered::More { .. }) => return cut,
            Err(error) => {
                cut.end = Err(error);
                return cut;
            }
        }
    }
}

fn large(full: usize, rest: usize, first: u8) {
    let payload = vec![first; full * PAYLOAD_BYTES_MAX + rest];
    let mut frames = Vec::new();
    put(&mut frames, first, &payload);
    let cut = messages(&frames, first);
    assert_eq!(cut.payloads, [payload]);
    for end in [
        frames.len() - 1,
        frames.len() / 2,
        frames.len() - rest.min(frames.len()),
    ] {
        if end < frames.len() {
            assert!(messages(&frames[..end], first).payloads.is_empty());
        }
    }
    if full > 0 {
        // The second packet with another number than the next.
        frames[PAYLOAD_BYTES_MAX + 7] ^= 1;
        assert!(messages(&frames, first).end.is_err());
    }
}
