//! Entries and records are each other's inverse, and no bytes make the decoder fall over.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::entry::{FIELD_BYTES_MAX, PARAMETERS_BYTES_MAX, class_word, text_sha256};
use super::record::Values;
use super::value::{Form, SALT_BYTES, commitment};
use super::*;
use crate::clock::Timestamp;
use crate::identity::principal::{AttemptId, SessionId};

/// Salts that differ from each other and are always the same.
fn seal(entry: &Entry<'_>) -> Seal {
    let mut drawn = 0_u128;
    entry.seal(|| {
        drawn += 1;
        drawn.to_be_bytes()
    })
}

fn encode(entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(entry.time, &seal(entry), &mut bytes);
    bytes
}

fn encode_values(entry: &Entry<'_>) -> Option<Vec<u8>> {
    let (seal, mut bytes) = (seal(entry), Vec::new());
    entry.values(&seal)?.encode(entry.time, &mut bytes);
    Some(bytes)
}

/// As the journal reads it: with its values.
fn read_back(entry: &Entry<'_>) -> Record {
    let mut record = Record::decode(&encode(entry)).expect("what was just encoded");
    let values = encode_values(entry).map(|bytes| Values::decode(&bytes).expect("what was just encoded"));
    record.fields.join(values).expect("its own values");
    record
}

fn entry(body: Body<'_>) -> Entry<'_> {
    Entry {
        time: Timestamp::from_micros(7),
        session: None,
        body,
    }
}

const ID: AttemptId = AttemptId {
    session: SessionId(1),
    number: 2,
};

fn bare_attempt() -> Attempt<'static> {
    Attempt {
        id: ID,
        principal: "agent-1",
        database: "shop",
        database_user: "app",
        text: b"SELECT 1",
        class: Class::Read,
        verdict: "allow",
        rule: "reads",
        tables: &[],
        column_labels: &[],
        fingerprint: [0; 32],
        parameters: &[],
        request: None,
        grant: None,
        protocol: "simple",
        claimed: &[],
        read_as: "",
    }
}

fn parameter<'a>(index: u16, value: Option<&'a str>, hex: Option<&'a str>) -> ParameterRecord<'a> {
    let bytes = value.or(hex).map_or(0, str::len) as u64;
    ParameterRecord {
        index,
        type_oid: 25,
        type_name: "text",
        format: "text",
        value,
        hex,
        bytes,
        redacted: &[],
    }
}

/// An empty text is not written, so it comes back absent.
fn written(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

prop_compose! {
    fn owned_parameter()(
        type_oid: u32,
        type_name in ".{0,12}",
        format in "text|binary",
        value in option::of(".{0,300}"),
        hex in option::of("[0-9a-f]{0,40}"),
        bytes: u64,
    ) -> Parameter {
        // A value is told as text or as hex.
        let hex = hex.filter(|_| value.is_none());
        Parameter { type_oid, type_name, format, value, hex, bytes, ..Parameter::default() }
    }
}

fn borrowed(parameter: &Parameter) -> ParameterRecord<'_> {
    ParameterRecord {
        index: parameter.index,
        type_oid: parameter.type_oid,
        type_name: &parameter.type_name,
        format: &parameter.format,
        value: parameter.value.as_deref(),
        hex: parameter.hex.as_deref(),
        bytes: parameter.bytes,
        redacted: &parameter.redacted,
    }
}

proptest! {
    #[test]
    fn an_attempt_comes_back_as_it_was(
        (time, session, number) in (0..=i64::MAX, any::<u64>(), any::<u64>()),
        words in vec(".{0,40}", 5),
        text in vec(any::<u8>(), 0..2_000),
        tables in vec(".{1,200}", 0..5),
        fingerprint: [u8; 32],
        mut parameters in vec(owned_parameter(), 0..5),
        request in option::of("[0-9A-Z]{6}"),
        grant in option::of(("G-[0-9A-Z]{6}", "[0-9A-Z]{6}")),
        claimed in vec((".{0,20}", ".{0,20}"), 0..4),
    ) {
        let session = SessionId(session);
        for (place, parameter) in parameters.iter_mut().enumerate() {
            parameter.index = place as u16 + 1;
        }
        let records: Vec<_> = parameters.iter().map(borrowed).collect();
        let claims: Vec<_> = claimed.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let attempt = Attempt {
            id: AttemptId { session, number },
            principal: &words[0],
            database: &words[1],
            database_user: &words[2],
            rule: &words[3],
            protocol: &words[4],
            text: &text,
            tables: &tables,
            column_labels: &[],
            fingerprint,
            parameters: &records,
            request: request.as_deref(),
            grant: grant.as_ref().map(|(grant, decided_in)| GrantUse { grant, decided_in }),
            claimed: &claims,
            ..bare_attempt()
        };
        let time = Timestamp::from_micros(time);
        let entry = Entry { time, session: Some(session), body: Body::Attempt(attempt) };
        let mut record = read_back(&entry);
        for parameter in &mut record.fields.parameters {
            let has_value = parameter.value.is_some() || parameter.hex.is_some();
            prop_assert_eq!(parameter.commitment.take().is_some(), has_value);
            prop_assert_eq!(parameter.salt.take().is_some(), has_value);
        }
        let expected = Fields {
            session: Some(session),
            attempt: Some(AttemptId { session, number }),
            principal: written(&words[0]),
            database: written(&words[1]),
            database_user: written(&words[2]),
            rule: written(&words[3]),
            protocol: written(&words[4]),
            class: Some(class_word(Class::Read).to_owned()),
            verdict: Some("allow".to_owned()),
            tables,
            fingerprint: Some(fingerprint),
            parameters,
            request,
            grant: grant.as_ref().map(|(grant, _)| grant.clone()),
            decided_in: grant.map(|(_, decided_in)| decided_in),
            claimed: claimed.into_iter().map(|(key, value)| Claim { key, value }).collect(),
            text_sha256: Some(text_sha256(&text)),
            text_bytes: Some(text.len() as u64),
            ..Fields::default()
        };
        prop_assert_eq!(record, Record { id: None, time, kind: Kind::Attempt, fields: expected });
    }

    #[test]
    fn an_outcome_comes_back_as_it_was(
        number: u64,
        rows in option::of(any::<u64>()),
        words in vec(".{0,300}", 3),
        request in option::of("[0-9A-Z]{6}"),
    ) {
        let outcome = StatementOutcome {
            attempt: AttemptId { session: SessionId(3), number },
            kind: OutcomeKind::Failed,
            rows,
            tag: &words[0],
            sqlstate: &words[1],
            message: &words[2],
            request: request.as_deref(),
        };
        let fields = Record::decode(&encode(&entry(Body::Outcome(outcome)))).map(|record| record.fields);
        let expected = Fields {
            attempt: Some(outcome.attempt),
            outcome: Some("failed".to_owned()),
            rows,
            tag: written(&words[0]),
            sqlstate: written(&words[1]),
            message: written(&words[2]),
            request,
            ..Fields::default()
        };
        prop_assert_eq!(fields, Ok(expected));
    }

    #[test]
    fn no_bytes_make_the_decoder_fall_over(kind in 0_u8..16, bytes in vec(any::<u8>(), 0..200)) {
        // Most random bytes stop at the version, so half the cases get past the head.
        let headed = [&[1, kind, 0, 0, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
        drop((Record::decode(&bytes), Record::decode(&headed)));
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_record(place: prop::sample::Index, change in 1_u8..) {
        let tables = ["public.orders".to_owned()];
        let parameters = [parameter(1, Some("42"), None)];
        let attempt = Attempt { tables: &tables, parameters: &parameters, ..bare_attempt() };
        let whole = encode(&entry(Body::Attempt(attempt)));
        let mut bytes = whole.clone();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        prop_assert_ne!(Record::decode(&bytes), Record::decode(&whole));
    }
}

#[test]
fn every_shorter_or_longer_record_is_an_error() {
    let parameters = [parameter(1, Some("42"), None), parameter(2, None, Some("00ff"))];
    let attempt = Attempt {
        parameters: &parameters,
        ..bare_attempt()
    };
    let whole = encode(&entry(Body::Attempt(attempt)));
    let decoded = Record::decode(&whole);
    for bytes in 0..whole.len() {
        // A cut between two parameters is a whole record of its own; the frame around it tells them apart.
        assert_ne!(Record::decode(&whole[..bytes]), decoded, "{bytes} bytes");
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(Record::decode(&longer).is_err());
}

#[test]
fn a_number_has_one_spelling_and_so_has_a_length() {
    let outcome = |rows: &[u8]| {
        let mut bytes = vec![1, Kind::Outcome as u8, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend_from_slice(&[0x11, 3]);
        bytes.extend_from_slice(b"ran");
        bytes.extend_from_slice(&[0x40, 0]);
        bytes.extend_from_slice(rows);
        bytes.extend_from_slice(&[0x81, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        Record::decode(&bytes).map(|record| record.fields.rows)
    };
    assert_eq!(outcome(&[0x42, 1, 5]), Ok(Some(5)));
    assert_eq!(outcome(&[0x42, 2, 0, 5]), Err(Malformed::Value(0x42)));
    assert_eq!(outcome(&[0x42, 0x81, 0, 5]), Err(Malformed::Value(0x42)));
    assert_eq!(
        outcome(&[0x42, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        Err(Malformed::Value(0x42))
    );
    assert_eq!(outcome(&[0x42, 1, 5, 0x42, 1, 5]), Err(Malformed::Order(0x42)));
    assert_eq!(outcome(&[0x3F, 1, 5]), Err(Malformed::Order(0x3F)));
    assert_eq!(outcome(&[0x7F, 1, 5]), Err(Malformed::Tag(0x7F)));
}

#[test]
fn a_long_parameter_is_cut_between_letters_and_marked() {
    let long = "é".repeat(FIELD_BYTES_MAX);
    let odd = format!("x{long}");
    let parameters = [parameter(1, Some(&long), None), parameter(2, Some(&odd), None)];
    let attempt = Attempt {
        parameters: &parameters,
        ..bare_attempt()
    };
    let record = read_back(&entry(Body::Attempt(attempt)));
    let kept = |place: usize| record.fields.parameters[place].value.as_deref().map(str::len);
    assert_eq!(
        (kept(0), kept(1)),
        (Some(FIELD_BYTES_MAX), Some(FIELD_BYTES_MAX - 1))
    );
    assert!(record.fields.parameters.iter().all(|parameter| parameter.cut));
    assert_eq!(record.fields.parameters[0].bytes, 2 * FIELD_BYTES_MAX as u64);
}

#[test]
fn many_long_parameters_share_one_limit() {
    let long = "x".repeat(FIELD_BYTES_MAX);
    let parameters: Vec<_> = (1..=1_000)
        .map(|index| parameter(index, Some(&long), None))
        .collect();
    let attempt = Attempt {
        parameters: &parameters,
        ..bare_attempt()
    };
    let entry = entry(Body::Attempt(attempt));
    let bytes = encode_values(&entry).map_or(0, |bytes| bytes.len());
    assert!(
        (PARAMETERS_BYTES_MAX..PARAMETERS_BYTES_MAX + 64_000).contains(&bytes),
        "{bytes} bytes"
    );
    let record = read_back(&entry);
    assert_eq!(record.fields.parameters.len(), 1_000);
    assert!(
        record
            .fields
            .parameters
            .iter()
            .skip(16)
            .all(|parameter| parameter.cut)
    );
}

#[test]
fn a_text_that_is_no_utf8_is_shown_as_hex() {
    let mut bytes = Vec::new();
    entry::encode_text(
        Timestamp::from_micros(1),
        &text_sha256(b"\xFF"),
        b"\xFF",
        &mut bytes,
    );
    let record = Record::decode(&bytes).expect("what was just encoded");
    assert_eq!(serde_json::to_value(&record).expect("JSON")["text"], "\\xff");
}

#[test]
fn a_record_tells_nothing_of_a_value_but_its_commitment() {
    let parameters = [
        parameter(1, Some("4111 1111 1111 1111"), None),
        parameter(2, None, None),
        parameter(3, Some(""), None),
        parameter(4, None, Some("00ff")),
    ];
    let entry = entry(Body::Attempt(Attempt {
        parameters: &parameters,
        ..bare_attempt()
    }));
    let bytes = encode(&entry);
    assert!(!bytes.windows(4).any(|part| part == b"4111"), "{bytes:?}");
    let mut erased = Record::decode(&bytes).expect("what was just encoded");
    erased
        .fields
        .join(None)
        .expect("values that are gone are no contradiction");
    let told: Vec<_> = erased
        .fields
        .parameters
        .iter()
        .map(|parameter| parameter.erased)
        .collect();
    assert_eq!(
        told,
        [true, false, true, true],
        "NULL has no value that could be erased"
    );
    let whole = read_back(&entry);
    let value = |place: usize| whole.fields.parameters[place].value.as_deref();
    assert_eq!(
        (value(0), value(1), value(2)),
        (Some("4111 1111 1111 1111"), None, Some(""))
    );
    assert_eq!(whole.fields.parameters[3].hex.as_deref(), Some("00ff"));
}

#[test]
fn a_value_that_was_changed_contradicts_its_record() {
    let parameters = [parameter(1, Some("10"), None), parameter(2, Some("20"), None)];
    let entry = entry(Body::Attempt(Attempt {
        parameters: &parameters,
        ..bare_attempt()
    }));
    let bytes = encode_values(&entry).expect("two values");
    let fields = Record::decode(&encode(&entry))
        .expect("what was just encoded")
        .fields;
    for place in 10..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let Ok(values) = Values::decode(&changed) else {
            continue;
        };
        let is_of_another = Some(values.attempt) != fields.attempt;
        assert!(
            is_of_another || fields.clone().join(Some(values)).is_err(),
            "byte {place}"
        );
    }
    let of_another = Entry {
        body: Body::Attempt(Attempt {
            id: AttemptId { number: 3, ..ID },
            parameters: &parameters,
            ..bare_attempt()
        }),
        ..entry
    };
    let left_behind = Values::decode(&encode_values(&of_another).expect("two values")).expect("encoded");
    let mut joined = fields;
    joined
        .join(Some(left_behind))
        .expect("it says nothing of this attempt");
    assert!(joined.parameters.iter().all(|parameter| parameter.erased));
}

#[test]
fn a_commitment_binds_salt_form_and_value() {
    let base = commitment(&[1; SALT_BYTES], Form::Text, "00");
    assert_eq!(base, commitment(&[1; SALT_BYTES], Form::Text, "00"));
    assert_ne!(base, commitment(&[2; SALT_BYTES], Form::Text, "00"));
    assert_ne!(base, commitment(&[1; SALT_BYTES], Form::Hex, "00"));
    assert_ne!(base, commitment(&[1; SALT_BYTES], Form::Text, "000"));
}
