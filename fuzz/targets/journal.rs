//! Any bytes are a record of the log or an error, and a record is found by every word that it says. Any segment file is
//! recovered, or refused with its place; what was recovered once opens again and reads the same.
//!
//! Input: one byte; if it is even, the bytes of a record follow. If it is odd, a segment file is made of what follows:
//! one byte for the damage done to it in the end, then records, each with two bytes of length.
#![no_main]

use countersign::audit::Record;
use countersign::journal::{Journal, LogFilter, Order, Page, Settings};
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 64;
/// No segment before this one.
const NONE: u64 = u64::MAX;

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [kind, rest @ ..] if kind % 2 == 0 => record(rest),
        [_, damage, rest @ ..] => segment(*damage, rest),
        _ => {}
    }
});

fn record(bytes: &[u8]) {
    let plain = LogFilter::default().may_want(bytes);
    let Ok(record) = Record::decode(bytes) else { return };
    assert_eq!(plain, Ok(true), "an empty filter wants every record");
    let shown = serde_json::to_value(&record).expect("a record is shown as JSON");
    assert_eq!(shown["kind"], record.kind.as_str());
    let fields = &record.fields;
    let filter = |change: &dyn Fn(&mut LogFilter)| {
        let mut filter = LogFilter::default();
        change(&mut filter);
        assert_eq!(
            filter.may_want(bytes),
            Ok(true),
            "{filter:?} does not find {record:?}"
        );
    };
    filter(&|filter| filter.kind = Some(record.kind));
    filter(&|filter| filter.principal.clone_from(&fields.principal));
    filter(&|filter| filter.class.clone_from(&fields.class));
    filter(&|filter| filter.verdict.clone_from(&fields.verdict));
    filter(&|filter| filter.request.clone_from(&fields.request));
    filter(&|filter| filter.approver.clone_from(&fields.approver));
    filter(&|filter| filter.table = fields.tables.first().cloned());
    filter(&|filter| filter.session = fields.session);
    filter(&|filter| filter.fingerprint = fields.fingerprint);
}

fn segment(damage: u8, records: &[u8]) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = file(damage, records);
    std::fs::write(folder.path().join("lane-00000-000000000000.seg"), file).expect("written");
    let settings = Settings {
        segment_bytes: 16 << 10,
        ..Settings::in_dir(folder.path())
    };
    let Ok(first) = look(&settings) else { return };
    let Ok(first) = first else { return };
    let second = look(&settings).expect("what was recovered once opens again");
    let second = second.expect("and reads the same");
    let own = |page: &Page| {
        page.records
            .iter()
            .filter(|record| record.id.is_some_and(|id| id.lane == 0))
            .count()
    };
    assert_eq!(own(&first), own(&second));
}

/// Opens the log as `serve` does, and reads its first page.
fn look(settings: &Settings) -> Result<Result<Page, String>, String> {
    let journal = Journal::open(settings.clone()).map_err(|error| error.to_string())?;
    let filter = LogFilter {
        order: Order::OldestFirst,
        limit: 1000,
        ..LogFilter::default()
    };
    Ok(journal.reader().query(&filter).map_err(|error| error.to_string()))
}

/// A header, and frames in an unbroken chain; then the damage.
fn file(damage: u8, mut records: &[u8]) -> Vec<u8> {
    let mut file = vec![0; HEADER_BYTES];
    file[..8].copy_from_slice(b"csjrnl\x00\x01");
    file[24..32].copy_from_slice(&NONE.to_be_bytes());
    let mut checksum = crc32c::crc32c(&file);
    file[12..16].copy_from_slice(&checksum.to_be_bytes());
    while let Some((length, rest)) = records.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length) % 512).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        let head = u32::try_from(length).expect("at most 511").to_be_bytes();
        checksum = crc32c::crc32c_append(crc32c::crc32c_append(checksum, &head), payload);
        file.extend(head);
        file.extend(checksum.to_be_bytes());
        file.extend(payload);
        records = rest;
    }
    match damage % 4 {
        0 => {}
        1 => file.extend([0; 4096]),
        2 => file.truncate(file.len().saturating_sub(usize::from(damage / 4))),
        _ => {
            let at = usize::from(damage / 4) * 7 % file.len();
            file[at] ^= 1;
        }
    }
    file
}
