//! A lone `pg_cancel_backend` of an agent's own session, which is a cancel like any other.
//! Never lets one through for anybody else's session. Read `registry.rs` next.

use std::rc::Rc;

use crate::hold::Permit;
use crate::policy::{Outcome, Verdict};
use crate::proxy::attempts::Pending;
use crate::proxy::judgements::Judged;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::turn::{Batch, Next, Step};
use crate::proxy::postgres::unit::Unit;
use crate::sql::action::{Action, CancelTarget, Class};
use crate::wire::postgres::conversation::RunId;

impl Session {
    /// A lone `pg_cancel_backend` of a session of the same principal is a cancel, which the proxy carries out itself;
    /// the statement then does no more than that, so it is judged as one of the session.
    pub(super) fn own_cancel(
        &self,
        judged: &Judged,
        values: &[Option<&[u8]>],
    ) -> Option<(Rc<Judged>, Rc<Verdict>, i32)> {
        let [action] = judged.judgement.actions.as_slice() else {
            return None;
        };
        // Nothing else may stand against it, such as a type or a search_path by which somebody's own code runs.
        if action.class != Class::Admin || action.reasons.len() > 1 || judged.has_foreign_types() {
            return None;
        }
        let process = match action.cancels.as_ref()? {
            CancelTarget::Pid(process) => *process,
            CancelTarget::Parameter(number) => {
                let value = values
                    .get(usize::from(*number).checked_sub(1)?)
                    .copied()
                    .flatten()?;
                match std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                {
                    Some(process) => process,
                    None => i32::from_be_bytes(value.try_into().ok()?),
                }
            }
        };
        if !self.side.registry.is_own(&self.peer.principal, process) {
            return None;
        }
        let cancel = Action {
            class: Class::Session,
            verb: "cancel own session".to_owned(),
            reasons: Vec::new(),
            ..action.clone()
        };
        let own = judged.of_action(&cancel);
        let verdict = self.verdict(&own);
        (verdict.outcome() == Outcome::Allow).then(|| (Rc::new(own), verdict, process))
    }

    pub(super) fn let_cancel(
        &mut self,
        own: &(Rc<Judged>, Rc<Verdict>, i32),
        frame: &[u8],
        batch: &mut Batch,
    ) -> Step {
        let (judged, verdict, process) = own;
        let Some(allowed) = verdict.allowed() else {
            return Step::Stop(Next::Wait);
        };
        let run = self.next_run();
        self.send_query(run, judged, None);
        self.pipe
            .to_server
            .statement(Permit::from_allow(allowed, self.attempt(run)), frame);
        self.cancelled(run, own, true, batch);
        batch.consumed += frame.len();
        self.side.registry.cancel_own(&self.peer.principal, *process);
        Step::Went
    }

    pub(super) fn let_cancel_bound(
        &mut self,
        own: &(Rc<Judged>, Rc<Verdict>, i32),
        prepared: &Rc<Judged>,
        frames: &[u8],
        batch: &mut Batch,
    ) -> Step {
        let (judged, verdict, process) = own;
        let Some(allowed) = verdict.allowed() else {
            return Step::Stop(Next::Wait);
        };
        let run = self.next_run();
        let unit = Unit {
            frames: frames.to_vec(),
            simple: false,
            judged: Rc::clone(judged),
            verdict: None,
            parameters: Vec::new(),
            bound: Vec::new(),
            to_drop: 0,
        };
        self.begin_run(run, judged, None);
        // With other values the statement cancels somebody else.
        self.note_frames(&unit, run, prepared);
        self.pipe
            .to_server
            .statement(Permit::from_allow(allowed, self.attempt(run)), frames);
        self.cancelled(run, own, false, batch);
        batch.consumed += frames.len();
        self.side.registry.cancel_own(&self.peer.principal, *process);
        Step::Went
    }

    fn cancelled(
        &mut self,
        run: RunId,
        own: &(Rc<Judged>, Rc<Verdict>, i32),
        simple: bool,
        batch: &mut Batch,
    ) {
        let (judged, verdict, _) = own;
        let (judged, verdict) = (Rc::clone(judged), Rc::clone(verdict));
        batch.pending.push(Pending {
            run,
            judged,
            verdict,
            parameters: Vec::new(),
            protocol: if simple { "simple" } else { "extended" },
        });
    }
}
