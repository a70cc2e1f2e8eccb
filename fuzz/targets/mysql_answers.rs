//! Every decoder of a server's answers is total, and what it accepts means the same after it was encoded. A client that did
//! not ask for the session's changes gets none, and no word of them.
//!
//! Input: bits of the first byte are SESSION_TRACK, MARIADB_EXTENDED_METADATA and MARIADB_CACHE_METADATA; the next is how
//! many columns a row has; then the message.
#![no_main]

use countersign::wire::mysql::answer::{
    EofPacket, ErrPacket, OkPacket, PrepareOk, Progress, Status, local_infile, put_local_infile,
};
use countersign::wire::mysql::capability::Capabilities;
use countersign::wire::mysql::rows::{Column, ResultHead, put_text_row, text_row};
use libfuzzer_sys::fuzz_target;

const BITS: [Capabilities; 3] = [
    Capabilities::SESSION_TRACK,
    Capabilities::MARIADB_EXTENDED_METADATA,
    Capabilities::MARIADB_CACHE_METADATA,
];

fuzz_target!(|bytes: &[u8]| {
    let Some(([flags, columns], payload)) = bytes.split_first_chunk() else {
        return;
    };
    let set = |bit: usize| flags >> bit & 1 == 1;
    let capabilities = (0..BITS.len())
        .filter(|bit| set(*bit))
        .fold(Capabilities(0), |all, bit| all | BITS[bit]);
    ok(payload, capabilities);
    other_answers(payload);
    rows(payload, capabilities, usize::from(*columns));
});

fn ok(payload: &[u8], capabilities: Capabilities) {
    let Ok(packet) = OkPacket::decode(payload, capabilities) else {
        return;
    };
    let mut out = Vec::new();
    packet.encode(capabilities, &mut out);
    let again = OkPacket::decode(&out, capabilities).expect("its own bytes");
    assert_eq!(again.changes, packet.changes);
    assert_eq!(
        again.status.has(Status::SESSION_STATE_CHANGED),
        !packet.changes.is_empty()
    );
    let said = |packet: &OkPacket<'_>| {
        let status = packet.status.without(Status::SESSION_STATE_CHANGED);
        (
            packet.place,
            packet.affected_rows,
            packet.last_insert_id,
            status,
            packet.warnings,
        )
    };
    assert_eq!(said(&again), said(&packet));
    assert_eq!(again.info, packet.info);

    out.clear();
    packet.encode(Capabilities(0), &mut out);
    let without = OkPacket::decode(&out, Capabilities(0)).expect("its own bytes");
    assert_eq!(said(&without), said(&packet));
    assert_eq!(without.info, packet.info);
    assert!(without.changes.is_empty() && !without.status.has(Status::SESSION_STATE_CHANGED));
}

fn other_answers(payload: &[u8]) {
    let mut out = Vec::new();
    if let Ok(packet) = ErrPacket::decode(payload) {
        assert!(!Progress::is_one(payload));
        packet.encode(&mut out);
        assert_eq!(out, payload);
    }
    out.clear();
    if let Ok(progress) = Progress::decode(payload) {
        assert!(Progress::is_one(payload));
        progress.encode(&mut out);
        assert_eq!(Progress::decode(&out), Ok(progress));
    }
    out.clear();
    if let Ok(packet) = EofPacket::decode(payload) {
        assert!(EofPacket::is_one(payload));
        packet.encode(&mut out);
        assert_eq!(out, payload);
    }
    out.clear();
    if let Ok(packet) = PrepareOk::decode(payload) {
        packet.encode(&mut out);
        assert_eq!(out, payload);
    }
    out.clear();
    if let Ok(name) = local_infile(payload) {
        put_local_infile(&mut out, name);
        assert_eq!(out, payload);
    }
}

fn rows(payload: &[u8], capabilities: Capabilities, columns: usize) {
    let mut out = Vec::new();
    if let Ok(head) = ResultHead::decode(payload, capabilities) {
        head.encode(capabilities, &mut out);
        assert_eq!(ResultHead::decode(&out, capabilities), Ok(head));
    }
    out.clear();
    if let Ok(column) = Column::decode(payload, capabilities) {
        assert_eq!(Column::decode_listed(payload, capabilities), Ok((column, None)));
        column.encode(capabilities, &mut out);
        assert_eq!(Column::decode(&out, capabilities), Ok(column));
    }
    let _total = Column::decode_listed(payload, capabilities);
    out.clear();
    if let Ok(values) = text_row(payload, columns) {
        assert_eq!(values.len(), columns);
        put_text_row(&mut out, &values);
        assert_eq!(text_row(&out, columns), Ok(values));
    }
}
