//! Client frames that go, wait or are refused together: a Query, or the messages of one portal.
//! Never changes a byte of them. Read `park.rs` next.

use std::rc::Rc;

use crate::hold::{Parameter, Permit};
use crate::policy::{Outcome, Verdict};
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::postgres::parameters;
use crate::proxy::postgres::runs::NameOrigin;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::statements::{BIND_BYTES_MAX, looks_up_late, named_execute, served_name};
use crate::proxy::postgres::turn::{Batch, Next, Step};
use crate::proxy::refusal::Refusal;
use crate::wire::postgres::conversation::{Lookup, Origin, RunId, Sent};
use crate::wire::postgres::frame::{HEADER_BYTES, Header};
use crate::wire::postgres::message::{Bind, Parse, Target, client, execute_portal};

/// Client frames that go, wait or are refused together: a Query, or the messages of one portal.
#[derive(Debug)]
pub struct Unit {
    /// The frames as they came.
    pub frames: Vec<u8>,
    pub simple: bool,
    pub judged: Rc<Judged>,
    pub verdict: Option<Rc<Verdict>>,
    pub parameters: Vec<Parameter>,
    /// Of the Bind, if there is one: formats of the results, for the digest.
    pub bound: Vec<u8>,
    /// Bytes of its last frame that are still to come and are dropped.
    pub to_drop: usize,
}

/// How much of a unit the inbox holds.
pub enum Gathered {
    /// Its end has not come yet.
    More,
    /// Bytes from its head, and where in them its Bind begins.
    Whole { bytes: usize, bind_at: Option<usize> },
}

impl Session {
    /// A unit with a Bind that is held or denied.
    pub(super) fn stop_bound(
        &mut self,
        frames: &[u8],
        bind_at: usize,
        judged: Rc<Judged>,
        verdict: Rc<Verdict>,
        types: &[u32],
        batch: &mut Batch,
    ) -> Result<Step, End> {
        let header = Header::cut(&frames[bind_at..]).map_err(|error| End::Violation(error.to_string()))?;
        let Some(header) = header else {
            return Ok(Step::Stop(Next::Wait));
        };
        if header.body_bytes > BIND_BYTES_MAX
            && let Ok(Some(first)) = Header::cut(frames)
        {
            return Ok(self.too_large_to_hold(first, frames, batch));
        }
        let body = &frames[bind_at + HEADER_BYTES..bind_at + header.frame_bytes()];
        let bind = Bind::decode(body).map_err(|error| End::Violation(error.to_string()))?;
        if let Some(own) = self.own_cancel(&judged, &bind.values) {
            return Ok(self.let_cancel_bound(&own, &judged, frames, batch));
        }
        if served_name(bind.portal).is_none_or(|portal| looks_up_late(portal, &judged))
            && let Ok(Some(first)) = Header::cut(frames)
        {
            return Ok(self.refused(named_execute(), first, frames, batch, false));
        }
        let mut parameters = parameters::decode(&bind, types);
        self.thread.redact(&judged, &mut parameters);
        let unit = Unit {
            frames: frames.to_vec(),
            simple: false,
            parameters,
            bound: body.to_vec(),
            judged,
            verdict: Some(verdict),
            to_drop: 0,
        };
        Ok(self.stop_with(unit, batch))
    }

    /// Ends the turn with a unit that must wait or be refused; what is under way is answered first.
    pub(super) fn stop_with(&mut self, unit: Unit, batch: &mut Batch) -> Step {
        if !self.talk.is_settled() || !batch.pending.is_empty() {
            return Step::Stop(Next::Settle);
        }
        batch.consumed += unit.frames.len();
        let Some(verdict) = &unit.verdict else {
            return Step::Stop(Next::Wait);
        };
        if verdict.outcome() == Outcome::Deny {
            let refusal = Refusal::DeniedByRule {
                rule: verdict.rule.to_string(),
                reason: unit.judged.reason(verdict),
            };
            return Step::Stop(Next::Refuse(refusal, Box::new(unit)));
        }
        // Inside a failed transaction the server runs nothing but its end, so there is nothing to decide.
        if self.talk.is_failed() && unit.judged.judgement.actions.len() == 1 {
            return Step::Stop(Next::Refuse(Refusal::TransactionFailed, Box::new(unit)));
        }
        Step::Stop(Next::Hold(Box::new(unit)))
    }

    /// Puts an approved unit's frames, unchanged, and notes what they are.
    pub(super) fn send_unit(&mut self, unit: &Unit, run: RunId, permit: Permit) {
        let request = permit.request();
        if unit.simple {
            self.send_query(run, &unit.judged, request);
        } else {
            self.begin_run(run, &unit.judged, request);
            self.note_frames(unit, run, &unit.judged);
        }
        self.pipe.to_server.approved(permit, &unit.frames);
    }

    /// `prepared`: what its Parse, if it has one, leaves behind under its name.
    pub(super) fn note_frames(&mut self, unit: &Unit, run: RunId, prepared: &Rc<Judged>) {
        let mut rest = unit.frames.as_slice();
        let judged = &unit.judged;
        // Its frames were decoded when the unit was gathered.
        while let Ok(Some(header)) = Header::cut(rest) {
            let Some(body) = rest.get(HEADER_BYTES..header.frame_bytes()) else {
                return;
            };
            match header.tag {
                client::PARSE => {
                    if let Ok(parse) = Parse::decode(body) {
                        let meaning = self.meaning(prepared, NameOrigin::Text);
                        *meaning.types.borrow_mut() = parse.types;
                        let name = served_name(parse.name).unwrap_or_default().to_owned();
                        let sent = Sent::Parse {
                            run: Some(run),
                            name,
                            statement: Rc::new(meaning),
                        };
                        self.talk.sent(Origin::Client, sent);
                    }
                }
                client::BIND => {
                    if let Ok((portal, _)) = Bind::names(body) {
                        let portal = served_name(portal).unwrap_or_default();
                        self.send_bind(run, portal, judged, Vec::new(), NameOrigin::Approved);
                    }
                }
                client::EXECUTE => {
                    if let Some(portal) = execute_portal(body).ok().and_then(served_name)
                        && let Lookup::Known(meaning) = self.talk.portal(portal)
                    {
                        meaning.run.set(None);
                    }
                    if let Some(run) = self.runs.get_mut(&run) {
                        run.bound = None;
                    }
                    self.note_execute(run, judged);
                }
                tag => {
                    if let Ok(target) = Target::decode(body) {
                        self.note_target(tag, target);
                    }
                }
            }
            rest = &rest[header.frame_bytes()..];
        }
    }

    fn note_target(&mut self, tag: u8, target: Target<'_>) {
        let (Target::Statement(name) | Target::Portal(name)) = target;
        let name = served_name(name).unwrap_or_default().to_owned();
        let sent = match (tag, target) {
            (client::CLOSE, Target::Statement(_)) => Sent::CloseStatement { name },
            (client::CLOSE, Target::Portal(_)) => Sent::ClosePortal { name },
            (_, Target::Statement(_)) => Sent::DescribeStatement { name },
            (_, Target::Portal(_)) => Sent::DescribePortal,
        };
        self.talk.sent(Origin::Client, sent);
    }
}

/// How far the messages of one portal go. With `parse`, the first frame is a Parse of that name, and its Bind is looked
/// for; else the first frame is the Bind. Only its own statement and portal are described and executed in it: whatever
/// other portal a message behind it names was let through by itself, and is looked at by itself.
pub fn gather(rest: &[u8], parse: Option<&str>) -> Result<Gathered, End> {
    let mut at = 0;
    let mut bind_at = None;
    let mut names = Names {
        statement: parse,
        portal: None,
    };
    loop {
        let header = Header::cut(&rest[at..]).map_err(|error| End::Violation(error.to_string()))?;
        let Some(header) = header else {
            return Ok(Gathered::More);
        };
        let is_read = at == 0 && parse.is_some();
        if !is_read && !matches!(header.tag, client::BIND | client::DESCRIBE | client::EXECUTE) {
            return Ok(Gathered::Whole { bytes: at, bind_at });
        }
        let Some(body) = rest.get(at + HEADER_BYTES..at + header.frame_bytes()) else {
            return Ok(Gathered::More);
        };
        if header.tag == client::BIND && bind_at.is_none() && names.take_bind(body) {
            bind_at = Some(at);
        } else if !is_read && !names.is_own(header.tag, body) {
            return Ok(Gathered::Whole { bytes: at, bind_at });
        }
        at += header.frame_bytes();
    }
}

/// Whose messages a unit is made of.
struct Names<'a> {
    statement: Option<&'a str>,
    /// As soon as there is a Bind.
    portal: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// Whether a Bind is of the unit's statement, and names a portal that can be told from all others.
    fn take_bind(&mut self, body: &'a [u8]) -> bool {
        let Ok((portal, statement)) = Bind::names(body) else {
            return false;
        };
        let (Some(portal), Some(statement)) = (served_name(portal), served_name(statement)) else {
            return false;
        };
        let is_own = self.statement.is_none_or(|own| own == statement);
        if is_own {
            (self.portal, self.statement) = (Some(portal), Some(statement));
        }
        is_own
    }

    fn is_own(&self, tag: u8, body: &[u8]) -> bool {
        let (own, named) = match (tag, Target::decode(body)) {
            (client::EXECUTE, _) => (self.portal, execute_portal(body).ok()),
            (client::DESCRIBE, Ok(Target::Statement(name))) => (self.statement, Some(name)),
            (client::DESCRIBE, Ok(Target::Portal(name))) => (self.portal, Some(name)),
            _ => return false,
        };
        own.is_some() && own == named.and_then(served_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres::frame::put;
    use crate::wire::postgres::message::put_execute;

    fn parse(name: &[u8]) -> Vec<u8> {
        let (text, types) = (b"DROP TABLE t".as_slice(), Vec::new());
        let mut frame = Vec::new();
        Parse { name, text, types }.encode(&mut frame);
        frame
    }

    fn bind(portal: &[u8], statement: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Bind {
            portal,
            statement,
            formats: Vec::new(),
            values: Vec::new(),
            result_formats: Vec::new(),
        }
        .encode(&mut frame);
        frame
    }

    fn execute(portal: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_execute(&mut frame, portal);
        frame
    }

    fn target(tag: u8, target: Target<'_>) -> Vec<u8> {
        let mut frame = Vec::new();
        target.encode(tag, &mut frame);
        frame
    }

    /// How many of the frames belong to the unit at their head, and which of them is its Bind.
    fn gathered(frames: &[Vec<u8>], parse: Option<&str>) -> Option<(usize, Option<usize>)> {
        let count = |bytes: usize| {
            let ends = (0..=frames.len()).find(|count| frames[..*count].concat().len() == bytes);
            ends.expect("between two frames")
        };
        let mut sync = Vec::new();
        put(&mut sync, client::SYNC, |_| {});
        match gather(&[frames.concat(), sync].concat(), parse).expect("whole frames") {
            Gathered::More => None,
            Gathered::Whole { bytes, bind_at } => Some((count(bytes), bind_at.map(count))),
        }
    }

    #[test]
    fn a_unit_is_made_of_its_own_statement_and_portal_alone() {
        let own = [
            parse(b"s"),
            target(client::DESCRIBE, Target::Statement(b"s")),
            bind(b"p", b"s"),
            target(client::DESCRIBE, Target::Portal(b"p")),
            target(client::DESCRIBE, Target::Statement(b"s")),
            execute(b"p"),
            execute(b"p"),
        ];
        assert_eq!(gathered(&own, Some("s")), Some((7, Some(2))));
        assert_eq!(gathered(&own[2..], None), Some((5, Some(0))));
        let long = [b'p'; 64];
        let others = [
            execute(b"other"),
            execute(b""),
            execute(b"\xff"),
            execute(&long),
            target(client::DESCRIBE, Target::Portal(b"other")),
            target(client::DESCRIBE, Target::Statement(b"other")),
            target(client::DESCRIBE, Target::Statement(b"\xff")),
            target(client::CLOSE, Target::Portal(b"p")),
            target(client::CLOSE, Target::Statement(b"s")),
            target(client::CLOSE, Target::Statement(b"\xff")),
            bind(b"p", b"s"),
            bind(b"other", b"s"),
            parse(b"s"),
        ];
        for other in others {
            let frames = [parse(b"s"), bind(b"p", b"s"), other.clone(), execute(b"p")];
            assert_eq!(gathered(&frames, Some("s")), Some((2, Some(1))), "{other:?}");
            assert_eq!(gathered(&frames[1..], None), Some((1, Some(0))), "{other:?}");
        }
    }

    #[test]
    fn a_bind_of_another_statement_or_to_a_portal_without_a_served_name_is_in_no_unit() {
        let long = [b'p'; 64];
        let binds = [
            bind(b"p", b"other"),
            bind(b"p", b"\xff"),
            bind(b"\xff", b"s"),
            bind(&long, b"s"),
            bind(b"_countersign_p", b"s"),
        ];
        for bind in binds {
            let frames = [parse(b"s"), bind.clone(), execute(b"p")];
            assert_eq!(gathered(&frames, Some("s")), Some((1, None)), "{bind:?}");
        }
        let frames = [parse(b"s"), execute(b""), bind(b"", b"s")];
        assert_eq!(gathered(&frames, Some("s")), Some((1, None)));
    }
}
