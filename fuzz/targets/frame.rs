//! A stream cut in any places gives the same frames as the stream cut once, and nothing is read past its end.
#![no_main]

use countersign::wire::postgres::frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = cut_all(bytes);
    let mut rest = Vec::new();
    let mut pieces = Vec::new();
    for chunk in bytes.chunks(usize::from(bytes.first().copied().unwrap_or(1)).max(1)) {
        rest.extend_from_slice(chunk);
        let (frames, used, failed) = cut_all(&rest);
        pieces.extend(frames);
        rest.drain(..used);
        if failed {
            break;
        }
    }
    assert_eq!(pieces, whole.0);
});

fn cut_all(bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize, bool) {
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        match frame::cut(&bytes[at..]) {
            Ok(Some((header, body))) => {
                assert_eq!(header.body_bytes, body.len());
                frames.push((header.tag, body.to_vec()));
                at += header.frame_bytes();
            }
            Ok(None) => return (frames, at, false),
            Err(_) => return (frames, at, true),
        }
    }
}
