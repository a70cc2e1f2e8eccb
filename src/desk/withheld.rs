//! Values that are withheld from the log and from people, for as long as somebody may still ask to see them: in memory alone.
//! Never on disk, and never longer than the request is undecided. Read `act.rs` for who may ask.
//!
//! Why not in the store: what was written once stands in its pages, in its log and in every copy of either. What a restart
//! costs is little: the statement is sent again, or denied.

use std::collections::{BTreeMap, BTreeSet};

use crate::desk::act::{Act, ActError, ActKind};
use crate::desk::core::Core;
use crate::desk::{Ask, DecideError, Desk, Moment};
use crate::hold::{HeldRequest, Parameter, RequestId};
use crate::identity::directory::Hands;
use crate::identity::principal::PersonName;

/// All that is kept, in bytes of values: as many as the longest statement has, many times over. What comes on top is not
/// kept, and then cannot be approved.
const WITHHELD_BYTES_MAX: usize = 64 << 20;

/// The values of requests that are undecided.
#[derive(Default)]
pub(super) struct Withheld {
    values: BTreeMap<RequestId, Values>,
    bytes: usize,
}

struct Values {
    parameters: Vec<Parameter>,
    facts: BTreeMap<String, String>,
    bytes: usize,
    /// Who has them from here, with that on record.
    shown_to: BTreeSet<PersonName>,
}

impl Withheld {
    /// Keeps what one request withholds.
    pub fn keep(&mut self, request: RequestId, ask: &Ask) {
        if !ask.parameters.iter().any(Parameter::is_redacted) && ask.withheld_facts.is_empty() {
            return;
        }
        let length = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        let parameters = ask.parameters.iter();
        let bytes = parameters
            .map(|parameter| length(&parameter.value) + length(&parameter.hex))
            .chain(ask.withheld_facts.values().map(String::len))
            .sum();
        if self.bytes.saturating_add(bytes) > WITHHELD_BYTES_MAX {
            return;
        }
        // Sent again, it is the same statement with the same values.
        let shown_to = self
            .values
            .get_mut(&request)
            .map(|values| std::mem::take(&mut values.shown_to));
        self.forget(request);
        self.bytes += bytes;
        let values = Values {
            parameters: ask.parameters.clone(),
            facts: ask.withheld_facts.clone(),
            bytes,
            shown_to: shown_to.unwrap_or_default(),
        };
        self.values.insert(request, values);
    }

    pub fn forget(&mut self, request: RequestId) {
        if let Some(values) = self.values.remove(&request) {
            self.bytes -= values.bytes;
        }
    }

    fn has(&self, request: RequestId) -> bool {
        self.values.contains_key(&request)
    }

    fn was_shown_to(&self, request: RequestId, person: &PersonName) -> bool {
        let values = self.values.get(&request);
        values.is_some_and(|values| values.shown_to.contains(person))
    }

    /// The request with everything that it withholds, for a person. `None`: it is not here any more.
    fn show(&mut self, mut held: HeldRequest, to: &PersonName) -> Option<HeldRequest> {
        let values = self.values.get_mut(&held.id)?;
        values.shown_to.insert(to.clone());
        held.parameters.clone_from(&values.parameters);
        held.facts.extend(values.facts.clone());
        Some(held)
    }
}

impl Core {
    /// Shows one person what is withheld; in store and log when it returns.
    pub fn reveal(&mut self, request: RequestId, act: &Act, now: Moment) -> Result<HeldRequest, ActError> {
        let act = Act {
            what: ActKind::Reveal,
            ..act.clone()
        };
        let held = self.act(request, &act, now)?;
        // Not before: what could not be recorded is shown to nobody, and counts for nobody's approval.
        self.withheld.show(held, &act.by).ok_or(ActError::ValuesGone)
    }

    /// There is something to show, it is still here, and the person is one of those who may decide, or may break glass.
    pub(super) fn may_reveal(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        now: Moment,
    ) -> Result<(), ActError> {
        if !held.has_withheld() {
            return Err(ActError::NothingWithheld);
        }
        match self.may_act(held, hands, now) {
            Err(ActError::NotPermitted(why)) if self.may_break_glass(held, hands, now)?.is_err() => {
                return Err(ActError::NotPermitted(why));
            }
            Err(ActError::NotPermitted(_)) | Ok(()) => {}
            Err(other) => return Err(other),
        }
        match self.withheld.has(held.id) {
            true => Ok(()),
            false => Err(ActError::ValuesGone),
        }
    }

    /// As sure as what comes of it: an approval by those who decide, and two log-ins of whoever may break glass alone.
    pub(super) fn is_sure_to_see(
        &mut self,
        held: &HeldRequest,
        act: &Act,
        now: Moment,
    ) -> Result<(), ActError> {
        let sure = match self.may_act(held, &act.hands(), now) {
            Ok(()) => self.is_sure_enough(held, &act.by, act.assurance, now)?,
            Err(ActError::NotPermitted(_)) => {
                self.has_logged_in_twice(&act.by, act.assurance, act.signed_in_at, now)?
            }
            Err(other) => return Err(other),
        };
        sure.map_err(ActError::NotSure)
    }

    /// Promise 1: nobody approves values that were not shown to them.
    pub(super) fn was_shown_whole(&self, held: &HeldRequest, by: &PersonName) -> Result<(), DecideError> {
        if !held.has_withheld() {
            Ok(())
        } else if !self.withheld.has(held.id) {
            Err(DecideError::ValuesGone)
        } else if self.withheld.was_shown_to(held.id, by) {
            Ok(())
        } else {
            Err(DecideError::NotRevealed)
        }
    }
}

impl Desk {
    /// Shows a person what is withheld of a request that waits; on record when it returns.
    pub async fn reveal(&self, request: RequestId, act: Act) -> Result<HeldRequest, ActError> {
        self.call(move |core, now| core.reveal(request, &act, now))
            .await
            .unwrap_or(Err(ActError::Stopping))
    }
}
