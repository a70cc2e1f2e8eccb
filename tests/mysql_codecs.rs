//! MySQL's commands and answers as bytes: what was recorded from servers, what another reader of the protocol makes of it,
//! and what a hostile one sends. A real server answers in `a_server_says_nothing_that_is_not_understood`.

mod support;

use countersign::wire::mysql::answer::{
    EofPacket, ErrPacket, OkPacket, Place, PrepareOk, Progress, Status, local_infile,
};
use countersign::wire::mysql::capability::Capabilities;
use countersign::wire::mysql::command::{Code, Query};
use countersign::wire::mysql::execute::{Execute, Head, Remembered};
use countersign::wire::mysql::parameter::{Clock, Date, Kind, Kinds, Parameter, Value, kind};
use countersign::wire::mysql::rows::{Column, ResultHead, put_text_row, text_row};
use countersign::wire::mysql::session_track::Change;
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets as oracle;
use mysql_common::proto::MySerialize;
use proptest::prelude::*;
use support::mariadb::Mariadb;
use support::mysql_wire::{LogIn, MysqlWire, com, flag};

const NONE: Capabilities = Capabilities(0);
const TRACK: Capabilities = Capabilities::SESSION_TRACK;
const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

/// OK packets of MariaDB 10.11; the first three are of MySQL 5.6 too, byte for byte.
const OK_RECORDED: [(Capabilities, &[u8]); 9] = [
    (NONE, b"\x00\x01\x00\x02\x00\x00\x00"),
    (NONE, b"\x00\x02\x01\x02\x00\x00\x00&Records: 2  Duplicates: 0  Warnings: 0"),
    (NONE, b"\x00\x01\x00\x02\x00\x00\x00(Rows matched: 1  Changed: 1  Warnings: 0"),
    (TRACK, b"\x00\x00\x00\x02\x40\x00\x00\x00\x09\x01\x04\x03app\x02\x011"),
    (
        TRACK,
        b"\x00\x00\x00\x02\x40\x00\x00\x00b\x00\x20\x18character_set_connection\x06latin1\x00\x1c\x14character_set_client\
          \x06latin1\x00\x1d\x15character_set_results\x06latin1\x02\x011",
    ),
    (TRACK, b"\x00\x00\x00\x02\xc0\x00\x00\x00\x1a\x00\x15\x08sql_mode\x0bANSI_QUOTES\x02\x011"),
    (TRACK, b"\x00\x00\x00\x03\xc0\x00\x00\x00\x20\x05\x09\x08T_______\x04\x13\x12START TRANSACTION;"),
    (
        TRACK,
        b"\x00\x01\x00\x03\xc0\x00\x00(Rows matched: 1  Changed: 1  Warnings: 0\x0b\x05\x09\x08T___W___",
    ),
    (TRACK, b"\xfe\x00\x00\x0a\x00\x00\x00"),
];

/// Definitions of columns, of MariaDB 10.11 and of MySQL 5.6 alike.
const COLUMNS_RECORDED: [&[u8]; 3] = [
    b"\x03def\x03app\x01t\x01t\x02id\x02id\x0c?\x00\x0b\x00\x00\x00\x03\x03B\x00\x00\x00",
    b"\x03def\x03app\x01t\x01t\x01n\x01n\x0c-\x00P\x00\x00\x00\xfd\x00\x00\x00\x00\x00",
    b"\x03def\x00\x00\x00\x011\x00\x0c?\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00",
];

/// With MARIADB_EXTENDED_METADATA, of `json_extract('{}', '$') AS j` in MariaDB 10.11.
const COLUMN_EXTENDED: &[u8] =
    b"\x03def\x00\x00\x00\x01j\x00\x06\x01\x04json\x0c-\x00\x10\x00\x00\x00\xfd\x00\x00'\x00\x00";

/// Of an ALTER TABLE in MariaDB 10.11.
const PROGRESS_RECORDED: [&[u8]; 2] = [
    b"\xff\xff\xff\x01\x01\x02N\x01\x00\x11copy to tmp table",
    b"\xff\xff\xff\x01\x02\x02\x00\x00\x00\x0dEnabling keys",
];

const ERR_RECORDED: &[u8] = b"\xff(\x04#42000You have an error in your SQL syntax";

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn recorded_answers_are_the_same_after_they_were_read() {
    for (capabilities, payload) in OK_RECORDED {
        let packet = OkPacket::decode(payload, capabilities).unwrap();
        assert_eq!(encoded(|out| packet.encode(capabilities, out)), payload);
        assert_eq!(
            packet.status.has(Status::SESSION_STATE_CHANGED),
            !packet.changes.is_empty()
        );
    }
    for payload in COLUMNS_RECORDED {
        let column = Column::decode(payload, NONE).unwrap();
        assert_eq!(encoded(|out| column.encode(NONE, out)), payload);
    }
    let extended = Capabilities::MARIADB_EXTENDED_METADATA;
    let column = Column::decode(COLUMN_EXTENDED, extended).unwrap();
    assert_eq!(column.extended, b"\x01\x04json");
    assert_eq!(encoded(|out| column.encode(extended, out)), COLUMN_EXTENDED);
    for payload in PROGRESS_RECORDED {
        let progress = Progress::decode(payload).unwrap();
        assert_eq!(encoded(|out| progress.encode(out)), payload);
    }
    let error = ErrPacket::decode(ERR_RECORDED).unwrap();
    assert_eq!(encoded(|out| error.encode(out)), ERR_RECORDED);
}

#[test]
fn recorded_changes_are_read_as_what_they_are() {
    let changes = |number: usize| {
        let (capabilities, payload) = OK_RECORDED[number];
        OkPacket::decode(payload, capabilities).unwrap().changes
    };
    assert_eq!(changes(3), [Change::Schema(b"app"), Change::State(b"1")]);
    let Some(Change::SystemVariables(pairs)) = changes(5).first().cloned() else {
        panic!("{:?}", changes(5));
    };
    assert_eq!(pairs, [(&b"sql_mode"[..], &b"ANSI_QUOTES"[..])]);
    assert_eq!(
        changes(6),
        [
            Change::TransactionState(b"T_______"),
            Change::TransactionCharacteristics(b"START TRANSACTION;")
        ]
    );
}

/// A listed column has its default behind it: none, NULL or a text.
#[test]
fn a_listed_column_has_its_default() {
    let listed = |default: &[u8]| {
        let payload = [COLUMNS_RECORDED[1], default].concat();
        assert!(default.is_empty() || Column::decode(&payload, NONE).is_err());
        Column::decode_listed(&payload, NONE).map(|(_, default)| default.map(<[u8]>::to_vec))
    };
    assert_eq!(listed(b""), Ok(None));
    assert_eq!(listed(b"\xfb"), Ok(None));
    assert_eq!(listed(b"\x01x"), Ok(Some(b"x".to_vec())));
    assert!(listed(b"\x01x\x00").is_err());
}

#[test]
fn another_reader_finds_the_same_in_an_ok() {
    for (capabilities, payload) in OK_RECORDED {
        let ours = OkPacket::decode(payload, capabilities).unwrap();
        let flags = CapabilityFlags::from_bits_truncate(capabilities.0 as u32);
        let theirs: oracle::OkPacket<'_> = match ours.place {
            Place::Answer => ParseBuf(payload)
                .parse::<oracle::OkPacketDeserializer<'_, oracle::CommonOkPacket>>(flags)
                .unwrap()
                .into(),
            Place::EndOfRows => ParseBuf(payload)
                .parse::<oracle::OkPacketDeserializer<'_, oracle::ResultSetTerminator>>(flags)
                .unwrap()
                .into(),
        };
        assert_eq!(theirs.affected_rows(), ours.affected_rows);
        assert_eq!(theirs.last_insert_id().unwrap_or(0), ours.last_insert_id);
        assert_eq!(theirs.warnings(), ours.warnings);
        assert_eq!(theirs.info_ref().unwrap_or_default(), ours.info);
        let theirs = theirs.session_state_info().unwrap();
        assert_eq!(theirs.len(), ours.changes.len());
        for (theirs, ours) in theirs.iter().zip(&ours.changes) {
            match ours {
                // It looks for a length before the text, where the servers send none.
                Change::State(text) => assert_eq!(theirs.data_ref(), *text),
                ours => assert_same_change(&theirs.decode().unwrap(), ours),
            }
        }
    }
}

fn assert_same_change(theirs: &oracle::session_state_change::SessionStateChange<'_>, ours: &Change<'_>) {
    use oracle::session_state_change::SessionStateChange as Theirs;
    match (theirs, ours) {
        (Theirs::SystemVariables(theirs), Change::SystemVariables(ours)) => {
            let theirs: Vec<_> = theirs
                .iter()
                .map(|pair| (pair.name_bytes(), pair.value_bytes()))
                .collect();
            assert_eq!(theirs, *ours);
        }
        (Theirs::Schema(theirs), Change::Schema(ours)) => assert_eq!(theirs.as_bytes(), *ours),
        (Theirs::TransactionState(theirs), Change::TransactionState(ours)) => {
            assert_eq!(theirs.as_bytes(), *ours);
        }
        (Theirs::TransactionCharacteristics(theirs), Change::TransactionCharacteristics(ours)) => {
            assert_eq!(theirs.as_bytes(), *ours);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_reader_finds_the_same_in_columns_and_errors() {
    for payload in COLUMNS_RECORDED {
        let ours = Column::decode(payload, NONE).unwrap();
        let theirs: oracle::Column = ParseBuf(payload).parse(()).unwrap();
        assert_eq!(theirs.schema_ref(), ours.schema);
        assert_eq!(theirs.table_ref(), ours.table);
        assert_eq!(theirs.name_ref(), ours.name);
        assert_eq!(theirs.character_set(), ours.character_set);
        assert_eq!(theirs.column_length(), ours.width);
        assert_eq!(theirs.column_type() as u8, ours.code);
        assert_eq!(theirs.flags().bits(), ours.flags);
    }
    let flags = CapabilityFlags::CLIENT_PROTOCOL_41 | CapabilityFlags::CLIENT_PROGRESS_OBSOLETE;
    let ours = ErrPacket::decode(ERR_RECORDED).unwrap();
    let theirs: oracle::ErrPacket<'_> = ParseBuf(ERR_RECORDED).parse(flags).unwrap();
    let theirs = theirs.server_error();
    assert_eq!(theirs.error_code(), ours.number);
    assert_eq!(theirs.message_ref(), ours.message);
    for payload in PROGRESS_RECORDED {
        let ours = Progress::decode(payload).unwrap();
        let theirs: oracle::ErrPacket<'_> = ParseBuf(payload).parse(flags).unwrap();
        let theirs = theirs.progress_report();
        assert_eq!(
            (theirs.stage(), theirs.max_stage(), theirs.progress()),
            (ours.stage, ours.stages, ours.done)
        );
        assert_eq!(theirs.stage_info_ref(), ours.info);
    }
}

fn their_value() -> impl Strategy<Value = mysql_common::Value> {
    use mysql_common::Value as Theirs;
    prop_oneof![
        Just(Theirs::NULL),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Theirs::Bytes),
        any::<i64>().prop_map(Theirs::Int),
        any::<u64>().prop_map(Theirs::UInt),
        (-1e9_f32..1e9).prop_map(Theirs::Float),
        (-1e99_f64..1e99).prop_map(Theirs::Double),
        ((0..=9999_u16, 0..=12_u8, 0..=31_u8), 0_u8..2, 0..=59_u8, 0_u32..2).prop_map(
            |((year, month, day), hour, second, micros)| {
                Theirs::Date(year, month, day, hour, 0, second, micros)
            }
        ),
        (any::<bool>(), 0..=24_u32, any::<u8>(), 0_u32..2).prop_map(|(is_negative, days, hour, micros)| {
            Theirs::Time(is_negative, days, hour, 1, 2, micros)
        }),
    ]
}

fn is_same(theirs: &mysql_common::Value, ours: &Value<'_>) -> bool {
    use mysql_common::Value as Theirs;
    let micros = |clock: &Clock| clock.micros.unwrap_or(0);
    match (theirs, ours) {
        (Theirs::NULL, Value::Null) => true,
        (Theirs::Bytes(theirs), Value::Bytes(ours)) => theirs == ours,
        (Theirs::Int(theirs), Value::Signed(ours)) => theirs == ours,
        (Theirs::UInt(theirs), Value::Unsigned(ours)) => theirs == ours,
        (Theirs::Float(theirs), Value::Float(ours)) => theirs == ours,
        (Theirs::Double(theirs), Value::Double(ours)) => theirs == ours,
        (Theirs::Date(0, 0, 0, 0, 0, 0, 0), Value::Zero) => true,
        (Theirs::Date(year, month, day, 0, 0, 0, 0), Value::Date(date)) => {
            (*year, *month, *day) == (date.year, date.month, date.day)
        }
        (Theirs::Date(year, month, day, hour, minute, second, us), Value::DateTime { date, clock }) => {
            (*year, *month, *day) == (date.year, date.month, date.day)
                && (*hour, *minute, *second, *us) == (clock.hour, clock.minute, clock.second, micros(clock))
        }
        (
            Theirs::Time(negative, theirs, hour, minute, second, us),
            Value::Time {
                is_negative,
                days,
                clock,
            },
        ) => {
            (negative, theirs) == (is_negative, days)
                && (*hour, *minute, *second, *us) == (clock.hour, clock.minute, clock.second, micros(clock))
        }
        _ => false,
    }
}

/// A value with a kind that it can have.
fn parameter() -> impl Strategy<Value = (Kind, OwnValue)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let plain = |code| Kind {
        code,
        is_unsigned: false,
    };
    prop_oneof![
        Just((plain(kind::NULL), OwnValue::Null)),
        any::<i8>().prop_map(move |number| (plain(kind::TINY), OwnValue::Signed(number.into()))),
        any::<i16>().prop_map(move |number| (plain(kind::SHORT), OwnValue::Signed(number.into()))),
        any::<i32>().prop_map(move |number| (plain(kind::LONG), OwnValue::Signed(number.into()))),
        any::<i64>().prop_map(move |number| (plain(kind::LONGLONG), OwnValue::Signed(number))),
        any::<u32>().prop_map(|number| {
            let kind = Kind {
                code: kind::LONG,
                is_unsigned: true,
            };
            (kind, OwnValue::Unsigned(number.into()))
        }),
        bytes().prop_map(move |bytes| (plain(kind::BLOB), OwnValue::Bytes(bytes))),
        "[+-]?[0-9]{1,60}([.][0-9]{0,30})?(e-?[0-9]{1,3})?".prop_map(move |number: String| (
            plain(kind::NEWDECIMAL),
            OwnValue::Decimal(number.into_bytes())
        )),
        Just((plain(kind::TIMESTAMP), OwnValue::Zero)),
        (0..=9999_u16, 0..=12_u8, 0..=31_u8).prop_map(move |(year, month, day)| {
            let date = Date { year, month, day };
            (plain(kind::DATE), OwnValue::Date(date))
        }),
        (any::<u8>(), prop::option::of(0..=999_999_u32)).prop_map(move |(hour, micros)| {
            let clock = Clock {
                hour,
                minute: 1,
                second: 2,
                micros,
            };
            (plain(kind::TIME), OwnValue::Time(clock))
        }),
    ]
}

#[derive(Clone, Debug)]
enum OwnValue {
    Null,
    Signed(i64),
    Unsigned(u64),
    Bytes(Vec<u8>),
    Decimal(Vec<u8>),
    Zero,
    Date(Date),
    Time(Clock),
}

impl OwnValue {
    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Signed(number) => Value::Signed(*number),
            Self::Unsigned(number) => Value::Unsigned(*number),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Decimal(bytes) => Value::Decimal(bytes),
            Self::Zero => Value::Zero,
            Self::Date(date) => Value::Date(*date),
            Self::Time(clock) => Value::Time {
                is_negative: true,
                days: 3,
                clock: *clock,
            },
        }
    }
}

fn parameters<'a>(values: &'a [(Kind, OwnValue)], name: &'a [u8]) -> Vec<Parameter<'a>> {
    values
        .iter()
        .map(|(kind, value)| Parameter {
            name,
            kind: *kind,
            value: value.borrow(),
        })
        .collect()
}

proptest! {
    #[test]
    fn an_execution_of_another_writer_is_read(values in prop::collection::vec(their_value(), 0..20), statement: u32) {
        let (request, is_long) = oracle::ComStmtExecuteRequestBuilder::new(statement).build(&values);
        prop_assert!(!is_long);
        let payload = encoded(|out| request.serialize(out));
        let remembered = Remembered { parameters: values.len(), ..Remembered::default() };
        let execute = Execute::decode(&payload, NONE, remembered).unwrap();
        prop_assert_eq!(execute.head.statement, statement);
        prop_assert_eq!(execute.parameters.len(), values.len());
        for (theirs, ours) in values.iter().zip(&execute.parameters) {
            prop_assert!(is_same(theirs, &ours.value), "{:?} is {:?}", theirs, ours);
        }
        prop_assert_eq!(encoded(|out| execute.encode(NONE, values.len(), out)), payload);
    }

    #[test]
    fn an_execution_survives_a_round_trip(
        values in prop::collection::vec(parameter(), 1..20), name in prop::collection::vec(any::<u8>(), 0..9),
        has_attributes: bool, is_remembered: bool, extra in 0..4_usize,
    ) {
        let capabilities = if has_attributes { ATTRIBUTES } else { NONE };
        let own = if has_attributes && !is_remembered { values.len().saturating_sub(extra) } else { values.len() };
        let name = if has_attributes && !is_remembered { &name[..] } else { &[] };
        let execute = Execute {
            head: Head { statement: 1, flags: if has_attributes { 8 } else { 0 } },
            kinds: if is_remembered { Kinds::Remembered } else { Kinds::New },
            parameters: parameters(&values, name),
        };
        let payload = encoded(|out| execute.encode(capabilities, own, out));
        let kinds: Vec<_> = values.iter().map(|(kind, _)| *kind).collect();
        let remembered = Remembered { parameters: own, kinds: &kinds, is_long: &[] };
        prop_assert_eq!(Execute::decode(&payload, capabilities, remembered), Ok(execute));
        for end in 0..payload.len() {
            prop_assert!(Execute::decode(&payload[..end], capabilities, remembered).is_err());
        }
        let longer = [&payload[..], &[0]].concat();
        prop_assert!(Execute::decode(&longer, capabilities, remembered).is_err());
    }

    #[test]
    fn a_query_survives_a_round_trip(
        values in prop::collection::vec(parameter(), 0..9), name in prop::collection::vec(any::<u8>(), 0..9),
        text in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let query = Query { attributes: parameters(&values, &name), text: &text };
        let payload = encoded(|out| query.encode(ATTRIBUTES, out));
        prop_assert_eq!(Query::decode(&payload, ATTRIBUTES), Ok(query.clone()));
        for end in 0..payload.len() - text.len() {
            prop_assert!(Query::decode(&payload[..end], ATTRIBUTES).is_err());
        }
        let plain = Query { attributes: Vec::new(), text: &text };
        let payload = encoded(|out| plain.encode(NONE, out));
        prop_assert_eq!(Query::decode(&payload, NONE), Ok(plain));
    }

    #[test]
    fn an_ok_survives_a_round_trip(
        affected_rows: u64, last_insert_id: u64, status: u16, warnings: u16,
        info in prop::collection::vec(any::<u8>(), 0..300), schema in prop::collection::vec(any::<u8>(), 0..300),
        ends_rows: bool, has_changes: bool,
    ) {
        let changes = vec![Change::SystemVariables(vec![(&b"autocommit"[..], &info[..]); 2]), Change::Schema(&schema)];
        let marked = Status(status).without(Status::SESSION_STATE_CHANGED);
        let packet = OkPacket {
            place: if ends_rows { Place::EndOfRows } else { Place::Answer },
            affected_rows, last_insert_id, warnings, info: &info,
            status: if has_changes { marked.with(Status::SESSION_STATE_CHANGED) } else { marked },
            changes: if has_changes { changes } else { Vec::new() },
        };
        let payload = encoded(|out| packet.encode(TRACK, out));
        prop_assert_eq!(OkPacket::decode(&payload, TRACK), Ok(packet.clone()));
        // Where the words about the session begin, it may end: then there are none.
        let head = encoded(|out| OkPacket { info: b"", changes: Vec::new(), ..packet.clone() }.encode(TRACK, out)).len();
        for end in (0..payload.len()).filter(|end| *end != head) {
            prop_assert!(OkPacket::decode(&payload[..end], TRACK).is_err());
        }
        prop_assert!(OkPacket::decode(&[&payload[..], &[0]].concat(), TRACK).is_err() || payload.len() == head);
        let without = encoded(|out| packet.encode(NONE, out));
        let read = OkPacket::decode(&without, NONE).unwrap();
        prop_assert_eq!((read.status, read.info, read.changes.len()), (marked, &info[..], 0));
    }

    #[test]
    fn a_row_survives_a_round_trip(row in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 1..9)) {
        let row: Vec<_> = row.iter().map(|value| value.as_deref()).collect();
        let payload = encoded(|out| put_text_row(out, &row));
        prop_assert_eq!(text_row(&payload, row.len()), Ok(row.clone()));
        prop_assert!(text_row(&payload[..payload.len() - 1], row.len()).is_err());
        prop_assert!(text_row(&payload, row.len() + 1).is_err());
        prop_assert!(text_row(&payload, row.len() - 1).is_err());
    }

    #[test]
    fn a_recorded_answer_with_a_byte_changed_is_read_or_refused(number in 0..9_usize, at in 0..40_usize, byte: u8) {
        let (capabilities, payload) = OK_RECORDED[number];
        let mut payload = payload.to_vec();
        let at = at % payload.len();
        payload[at] = byte;
        if let Ok(packet) = OkPacket::decode(&payload, capabilities) {
            let again = encoded(|out| packet.encode(capabilities, out));
            prop_assert_eq!(OkPacket::decode(&again, capabilities).map(|packet| packet.changes), Ok(packet.changes));
        }
    }
}

/// Logged in with these capabilities besides the usual ones.
fn wire(server: &Mariadb, flags: u64) -> MysqlWire {
    MysqlWire::log_in(&LogIn::of(&server.url("root", "", "app")).with(flags)).expect("a log-in")
}

/// One of a kind for each answer that there is, from the server that the run is about.
#[test]
fn a_server_says_nothing_that_is_not_understood() {
    let server = Mariadb::start();
    server.run("CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY, n VARCHAR(20) DEFAULT 'x', d DECIMAL(5,2));");
    for flags in [
        0,
        flag::SESSION_TRACK,
        flag::DEPRECATE_EOF,
        flag::SESSION_TRACK | flag::DEPRECATE_EOF,
    ] {
        let mut wire = wire(&server, flags);
        let capabilities = Capabilities(wire.flags());
        for text in [
            "SET SESSION sql_mode = 'ANSI_QUOTES'",
            "USE app",
            "SET NAMES utf8mb4",
            "START TRANSACTION",
            "REPLACE INTO t (id, d) VALUES (1, 1.5), (2, NULL)",
            "UPDATE t SET n = 'y'",
            "COMMIT",
        ] {
            wire.send(&[&[com::QUERY], text.as_bytes()].concat());
            reads_ok(&wire.read_packet(), capabilities);
        }
        reads_rows(&mut wire, capabilities);
        reads_prepared(&mut wire);
        wire.send(&[&[com::QUERY], &b"SELECT FROM"[..]].concat());
        let payload = wire.read_packet();
        let error = ErrPacket::decode(&payload).unwrap();
        assert_eq!((error.number, error.sqlstate), (1064, Some(*b"42000")));
    }
}

fn reads_ok(payload: &[u8], capabilities: Capabilities) {
    let packet =
        OkPacket::decode(payload, capabilities).unwrap_or_else(|error| panic!("{error}: {payload:02x?}"));
    assert_eq!(encoded(|out| packet.encode(capabilities, out)), payload);
}

fn reads_rows(wire: &mut MysqlWire, capabilities: Capabilities) {
    let eof = |wire: &mut MysqlWire| {
        let payload = wire.read_packet();
        let packet = EofPacket::decode(&payload).unwrap();
        assert_eq!(encoded(|out| packet.encode(out)), payload);
    };
    let is_deprecated = capabilities.has(Capabilities::DEPRECATE_EOF);
    wire.send(&[&[com::QUERY], &b"SELECT id, n, d FROM t ORDER BY id"[..]].concat());
    let head = ResultHead::decode(&wire.read_packet(), capabilities).unwrap();
    assert_eq!(head.columns, 3);
    for name in ["id", "n", "d"] {
        let payload = wire.read_packet();
        let column = Column::decode(&payload, capabilities).unwrap();
        assert_eq!((column.table, column.name), (&b"t"[..], name.as_bytes()));
        assert_eq!(encoded(|out| column.encode(capabilities, out)), payload);
    }
    if !is_deprecated {
        eof(wire);
    }
    assert_eq!(
        text_row(&wire.read_packet(), 3),
        Ok(vec![Some(&b"1"[..]), Some(b"y"), Some(b"1.50")])
    );
    assert_eq!(
        text_row(&wire.read_packet(), 3),
        Ok(vec![Some(&b"2"[..]), Some(b"y"), None])
    );
    if is_deprecated {
        reads_ok(&wire.read_packet(), capabilities);
    } else {
        eof(wire);
    }
    wire.send(b"\x04t\0%");
    let listed: Vec<_> = std::iter::repeat_with(|| wire.read_packet())
        .take_while(|payload| payload.first() != Some(&0xfe))
        .collect();
    let defaults: Vec<_> = listed
        .iter()
        .map(|payload| Column::decode_listed(payload, capabilities).unwrap().1)
        .collect();
    assert_eq!(defaults.len(), 3);
    assert_eq!(defaults[1..], [Some(&b"x"[..]), None]);
}

/// Executed with values that the server reads as they are meant.
fn reads_prepared(wire: &mut MysqlWire) {
    let is_deprecated = wire.flags() & flag::DEPRECATE_EOF != 0;
    wire.send(
        &[
            &[com::STMT_PREPARE],
            &b"UPDATE t SET n = ?, d = ? WHERE id = ?"[..],
        ]
        .concat(),
    );
    let payload = wire.read_packet();
    let prepared = PrepareOk::decode(&payload).unwrap();
    assert_eq!((prepared.columns, prepared.parameters), (0, 3));
    assert_eq!(encoded(|out| prepared.encode(out)), payload);
    for _ in 0..3 + usize::from(!is_deprecated) {
        wire.read_packet();
    }
    let parameter = |code, value| Parameter {
        name: &[],
        kind: Kind {
            code,
            is_unsigned: false,
        },
        value,
    };
    let execute = Execute {
        head: Head {
            statement: prepared.statement,
            flags: 0,
        },
        kinds: Kinds::New,
        parameters: vec![
            parameter(kind::VAR_STRING, Value::Bytes(b"z")),
            parameter(kind::NEWDECIMAL, Value::Decimal(b"2.25")),
            parameter(kind::TINY, Value::Signed(1)),
        ],
    };
    wire.send(&encoded(|out| execute.encode(NONE, 3, out)));
    let payload = wire.read_packet();
    let ok = OkPacket::decode(&payload, Capabilities(wire.flags())).unwrap();
    assert_eq!(ok.affected_rows, 1);
    wire.send(
        &[
            &[com::QUERY],
            &b"UPDATE t SET n = 'y', d = 1.5 WHERE n = 'z' AND d = 2.25"[..],
        ]
        .concat(),
    );
    let payload = wire.read_packet();
    let ok = OkPacket::decode(&payload, Capabilities(wire.flags())).unwrap();
    assert_eq!(ok.affected_rows, 1);
}

/// The file's name comes back as the statement has it, whatever characters are in it.
#[test]
fn a_server_asks_for_the_file_that_the_statement_names() {
    let server = Mariadb::start_with(&["--local-infile=1"]);
    server.run("CREATE DATABASE app; CREATE TABLE app.t (id INT);");
    let mut wire = wire(&server, flag::LOCAL_FILES);
    wire.send(b"\x03LOAD DATA LOCAL INFILE '/tmp/a b' INTO TABLE t");
    assert_eq!(local_infile(&wire.read_packet()), Ok(&b"/tmp/a b"[..]));
    wire.put_next(b"");
    reads_ok(&wire.read_packet(), Capabilities(wire.flags()));
    assert_eq!(Code::of(com::STMT_FETCH), Some(Code::StmtFetch));
}
