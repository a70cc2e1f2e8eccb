//! Every decoder of a client's commands is total, and what it accepts encodes to the very bytes it read: none is ignored,
//! none made up. A length in more bytes than it needs is the one thing that becomes shorter.
//!
//! Input: bit 0 of the first byte is QUERY_ATTRIBUTES; the next is how many parameters a prepared statement has, in its low
//! bits, and whether their kinds are remembered; the next is which of them were sent before; then the message.
#![no_main]

use countersign::wire::mysql::capability::Capabilities;
use countersign::wire::mysql::command::{
    Code, Fetch, FieldList, LongData, MultiStatements, Query, bare, id, prepared_text, put_id, put_text,
    schema,
};
use countersign::wire::mysql::execute::{Execute, Head, Remembered};
use countersign::wire::mysql::parameter::{Kind, Parameter, Value, kind};
use libfuzzer_sys::fuzz_target;

const KINDS: [u8; 8] = [
    kind::VAR_STRING,
    kind::LONGLONG,
    kind::TINY,
    kind::DOUBLE,
    kind::DATETIME,
    kind::TIME,
    kind::NULL,
    kind::NEWDECIMAL,
];

fuzz_target!(|bytes: &[u8]| {
    let Some(([flags, parameters, long], payload)) = bytes.split_first_chunk() else {
        return;
    };
    let capabilities = if flags & 1 == 0 {
        Capabilities(0)
    } else {
        Capabilities::QUERY_ATTRIBUTES
    };
    query(payload, capabilities);
    let kinds: Vec<_> = (0..usize::from(parameters & 0x1f))
        .map(|number| Kind {
            code: KINDS[number % KINDS.len()],
            is_unsigned: number % 2 == 1,
        })
        .collect();
    let is_long: Vec<_> = (0..8).map(|bit| long >> bit & 1 == 1).collect();
    let remembered = Remembered {
        parameters: kinds.len(),
        kinds: if parameters & 0x20 == 0 { &kinds } else { &[] },
        is_long: &is_long,
    };
    execute(payload, capabilities, remembered);
    of_one_shape(payload);
});

fn query(payload: &[u8], capabilities: Capabilities) {
    let encode = |query: &Query<'_>| {
        let mut out = Vec::new();
        query.encode(capabilities, &mut out);
        out
    };
    let Ok(query) = Query::decode(payload, capabilities) else {
        return;
    };
    assert!(payload.ends_with(query.text));
    look_at(&query.attributes);
    let out = encode(&query);
    check(payload, &out, || {
        encode(&Query::decode(&out, capabilities).expect("its own bytes"))
    });
}

fn execute(payload: &[u8], capabilities: Capabilities, remembered: Remembered<'_>) {
    let encode = |execute: &Execute<'_>| {
        let mut out = Vec::new();
        execute.encode(capabilities, remembered.parameters, &mut out);
        out
    };
    let Ok(execute) = Execute::decode(payload, capabilities, remembered) else {
        return;
    };
    assert_eq!(Head::decode(payload), Ok(execute.head));
    assert!(execute.parameters.len() >= remembered.parameters);
    look_at(&execute.parameters);
    let out = encode(&execute);
    check(payload, &out, || {
        encode(&Execute::decode(&out, capabilities, remembered).expect("its own bytes"))
    });
}

/// What a person is shown can be shown.
fn look_at(parameters: &[Parameter<'_>]) {
    for parameter in parameters {
        if let Value::DateTime { date, clock } = parameter.value {
            assert!(format!("{date} {clock}").len() >= "0000-00-00 00:00:00".len());
        }
    }
}

/// As long means the same; a shorter one stays as it is from then on.
fn check(payload: &[u8], out: &[u8], again: impl Fn() -> Vec<u8>) {
    if out.len() == payload.len() {
        assert_eq!(out, payload);
    } else {
        assert!(out.len() < payload.len());
        assert_eq!(again(), out);
    }
}

fn of_one_shape(payload: &[u8]) {
    let mut out = Vec::new();
    let mut same = |put: &mut dyn FnMut(&mut Vec<u8>)| {
        out.clear();
        put(&mut out);
        assert_eq!(out, payload);
    };
    if let Ok(text) = prepared_text(payload) {
        same(&mut |out| put_text(out, Code::StmtPrepare, text));
    }
    if let Ok(name) = schema(payload) {
        same(&mut |out| put_text(out, Code::InitDb, name));
    }
    if let Ok(data) = LongData::decode(payload) {
        same(&mut |out| data.encode(out));
    }
    if let Ok(fetch) = Fetch::decode(payload) {
        same(&mut |out| fetch.encode(out));
    }
    if let Ok(list) = FieldList::decode(payload) {
        same(&mut |out| list.encode(out));
    }
    if let Ok(option) = MultiStatements::decode(payload) {
        same(&mut |out| option.encode(out));
    }
    for code in Code::ALL {
        if let Ok(number) = id(payload, *code) {
            same(&mut |out| put_id(out, *code, number));
        }
        if bare(payload, *code).is_ok() {
            assert_eq!(payload, [*code as u8]);
        }
    }
}
