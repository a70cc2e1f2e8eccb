//! Every decoder is total, and what it accepts encodes to the very bytes it read: none is ignored, none made up.
#![no_main]

use countersign::wire::postgres::frame;
use countersign::wire::postgres::message::{
    Bind, Fields, Parse, Target, client, data_row, execute_portal, parameter_status, parameter_types,
    query_text,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let same = |out: Vec<u8>| {
        let (_, again) = frame::cut(&out).expect("well formed").expect("whole");
        assert_eq!(again, body);
    };
    if let Ok(parse) = Parse::decode(body) {
        let mut out = Vec::new();
        parse.encode(&mut out);
        same(out);
    }
    if let Ok(bind) = Bind::decode(body) {
        let mut out = Vec::new();
        bind.encode(&mut out);
        same(out);
        assert_eq!(Bind::names(body), Ok((bind.portal, bind.statement)));
    }
    if let Ok(target) = Target::decode(body) {
        let mut out = Vec::new();
        target.encode(client::DESCRIBE, &mut out);
        same(out);
    }
    if let Ok(text) = query_text(body) {
        assert_eq!(text.len() + 1, body.len());
    }
    let _total = (execute_portal(body), Fields::decode(body), data_row(body));
    let _total = (parameter_status(body), parameter_types(body));
});
