//! Messages of client and server interleaved as the input says: the bookkeeping never panics, a rewind forgets exactly
//! what was noted since its mark, and an answer that belongs to nothing is an error.
#![no_main]

use countersign_fuzz::wire::postgres::conversation::{Change, Conversation, NameChange, Origin, Sent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut talk = Conversation::<u8>::default();
    let mut news = Vec::new();
    for (run, step) in (0u64..).zip(bytes.chunks(3)) {
        let [what, name, detail] = [step[0], step.get(1).copied().unwrap_or(0), step.get(2).copied().unwrap_or(0)];
        let origin = if what & 0x40 == 0 { Origin::Client } else { Origin::Proxy };
        if what & 0x80 != 0 {
            let body: &[u8] = match what & 0x3f {
                b'Z' | 0x1a => &[b'I', b'T', b'E'][usize::from(detail % 3)..][..1],
                _ => b"VERROR\0C42601\0\0",
            };
            if talk.server(name, body, &mut news).is_err() {
                return;
            }
            continue;
        }
        let sent = sent(run, what & 0x0f, name, detail);
        let before = (talk.in_flight(), talk.has_open_pipeline(), talk.has_pending_names());
        let mark = talk.mark();
        talk.sent(origin, sent.clone());
        talk.rewind(mark);
        assert_eq!(before, (talk.in_flight(), talk.has_open_pipeline(), talk.has_pending_names()));
        talk.sent(origin, sent);
        let _total = (talk.statement("a"), talk.portal("b"));
    }
});

fn sent(run: u64, kind: u8, name: u8, detail: u8) -> Sent<u8> {
    let name = char::from(b'a' + name % 3).to_string();
    let change = match detail % 4 {
        0 => Change::Set(name.clone(), detail),
        1 => Change::Remove(name.clone()),
        2 => Change::RemoveAll,
        _ => Change::ForgetAll,
    };
    let changes = vec![NameChange { statement: usize::from(detail % 2), change }];
    let may_copy_in = detail > 200;
    match kind {
        0 => Sent::Query { run, changes, may_copy_in },
        1 => Sent::Parse { run: Some(run), name, statement: detail },
        2 => Sent::Bind { run: Some(run), portal: name, statement: detail },
        3 => Sent::DescribeStatement { name },
        4 => Sent::DescribePortal,
        5 => Sent::CloseStatement { name },
        6 => Sent::ClosePortal { name },
        7 => Sent::Execute { run, changes, may_copy_in },
        8 => Sent::Flush,
        9 => Sent::CopyData,
        10 => Sent::CopyEnd,
        _ => Sent::Sync,
    }
}
