//! Random order of asking, deciding, cancelling, leaving, coming back, time, restarts and crashes between any two steps,
//! by seed, against a model that knows only what was said and what was handed out.
//!
//! `COUNTERSIGN_SEEDS=100..5000` runs other seeds than the default ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign::desk::{Asked, Decision, Detach, Parked, RunOutcome, Settings, Transaction, Wake};
use countersign::hold::{Permit, RequestId, StateKind};
use countersign::store::sqlite::Limits;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use crate::world::{MINUTE, World, needs};

const SEEDS: std::ops::Range<u64> = 0..1000;
const STEPS: usize = 60;
/// Reading every request back takes longer than a step.
const CHECK_EVERY: usize = 6;
const LIMIT: u32 = 4;
const PRINCIPALS: [&str; 2] = ["bot-a", "bot-b"];
const PEOPLE: [&str; 7] = ["dora", "dave", "eve", "olga", "carl", "anna", "root"];

/// Promise 4 for the people of this world: olga owns both agents, carl made them, bot-a acts for anna, and root is only
/// an administrator.
fn may_decide(by: &str, principal: &str) -> bool {
    matches!((by, principal), ("dora" | "dave" | "eve", _) | ("anna", "bot-b"))
}

/// What was said of a request and what was handed out for it.
#[derive(Debug, Default)]
struct Known {
    principal: String,
    needed: usize,
    approved_by: BTreeSet<String>,
    is_denied: bool,
    permits: u32,
    terminal: Option<StateKind>,
}

struct Simulation {
    seed: u64,
    random: StdRng,
    world: World,
    known: BTreeMap<RequestId, Known>,
    /// Sessions that wait, with what they sent.
    waiting: Vec<(countersign::desk::Ask, Parked)>,
    running: Vec<Permit>,
}

/// A quarter of the seeds, so that the quarters run beside each other; all of those that the environment names.
fn try_quarter(quarter: u64) {
    let named = std::env::var("COUNTERSIGN_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let seeds = named.unwrap_or(SEEDS);
    seeds.filter(|seed| seed % 4 == quarter).for_each(simulate);
}

#[test]
fn no_order_of_events_lets_a_statement_run_twice_or_without_its_approvals_1() {
    try_quarter(0);
}

#[test]
fn no_order_of_events_lets_a_statement_run_twice_or_without_its_approvals_2() {
    try_quarter(1);
}

#[test]
fn no_order_of_events_lets_a_statement_run_twice_or_without_its_approvals_3() {
    try_quarter(2);
}

#[test]
fn no_order_of_events_lets_a_statement_run_twice_or_without_its_approvals_4() {
    try_quarter(3);
}

fn simulate(seed: u64) {
    let settings = Settings {
        held_per_principal_max: LIMIT,
        ..Settings::default()
    };
    let mut simulation = Simulation {
        seed,
        random: StdRng::seed_from_u64(seed),
        world: World::with(settings, Limits::default()),
        known: BTreeMap::new(),
        waiting: Vec::new(),
        running: Vec::new(),
    };
    for step in 1..=STEPS {
        simulation.step();
        if step % CHECK_EVERY == 0 {
            simulation.check();
        }
    }
}

impl Simulation {
    fn step(&mut self) {
        if self.random.random_ratio(1, 12) {
            return self.restart();
        }
        let crash = self
            .random
            .random_ratio(1, 10)
            .then(|| self.random.random_range(0..4));
        if !self.survives(crash) {
            self.restart();
            // Learns of what was kept without an answer.
            self.check();
        }
    }

    /// One event, with a crash after so many places if it comes to that many.
    #[cfg(feature = "faults")]
    fn survives(&mut self, crash: Option<u32>) -> bool {
        countersign::desk::crash_after(crash);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.event()));
        countersign::desk::crash_after(None);
        match done {
            Ok(()) => true,
            Err(why) if why.is::<countersign::desk::Crashed>() => false,
            Err(why) => std::panic::resume_unwind(why),
        }
    }

    #[cfg(not(feature = "faults"))]
    fn survives(&mut self, _crash: Option<u32>) -> bool {
        self.event();
        true
    }

    fn event(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.ask(),
            30..55 => self.decide(),
            55..70 => self.start_run(),
            70..76 => self.finish(),
            76..84 => self.leave(),
            84..88 => self.cancel(),
            88..91 => self.vanish(),
            91..97 => self.time_passes(),
            _ => self.world.tick(),
        }
    }

    fn ask(&mut self) {
        let who = PRINCIPALS[self.random.random_range(0..PRINCIPALS.len())];
        let what = self.random.random_range(0..3);
        let mut ask = self.world.sending(who, what);
        needs(&mut ask, if what == 2 { 2 } else { 1 });
        ask.transaction = match self.random.random_range(0..6) {
            0 => Transaction::Open {
                wrote: true,
                opened_at: self.world.now.wall,
            },
            1 => Transaction::Implicit { wrote: false },
            _ => Transaction::Idle,
        };
        if self.random.random_ratio(1, 15) {
            ask.rules = [2; 32];
        }
        match self.world.ask(&ask) {
            Ok(Asked::Parked(parked)) => {
                let known = self.known.entry(parked.request).or_default();
                if known.principal.is_empty() {
                    assert!(
                        !parked.reattached,
                        "seed {}: {} re-attached, and is new",
                        self.seed, parked.request
                    );
                    known.principal = who.to_owned();
                    known.needed = ask.verdict.requirement.people() as usize;
                }
                assert_eq!(
                    known.principal, who,
                    "seed {}: {} re-attached by another",
                    self.seed, parked.request
                );
                self.waiting.push((ask, parked));
            }
            Ok(Asked::Granted(permit, request)) => {
                assert_eq!(permit.request(), Some(request));
                assert_eq!(
                    permit.attempt(),
                    ask.attempt,
                    "seed {}: the permit of another sending",
                    self.seed
                );
                self.permit(permit, who);
            }
            Err(countersign::desk::AskError::TooMany { .. }) => {}
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn decide(&mut self) {
        let Some(id) = self.any_request() else { return };
        let by = PEOPLE[self.random.random_range(0..PEOPLE.len())];
        let approves = self.random.random_ratio(4, 5);
        let decision = if approves {
            Decision::Approve
        } else {
            Decision::Deny
        };
        // Noted before it is said: a crash may keep it without an answer.
        let known = self.known.get_mut(&id).expect("known");
        let (may_decide, was_denied) = (may_decide(by, &known.principal), known.is_denied);
        let was_new = may_decide && known.terminal.is_none();
        let had_approved = known.approved_by.contains(by);
        if was_new && approves {
            known.approved_by.insert(by.to_owned());
        }
        let said = self.world.decide(id, by, decision);
        let known = self.known.get_mut(&id).expect("known");
        match said {
            Ok(_) => {
                assert!(may_decide, "seed {}: {by} decided {id}", self.seed);
                assert!(!was_denied, "seed {}: {id} decided after a denial", self.seed);
                known.is_denied = !approves;
            }
            Err(_) if approves && was_new && !had_approved => {
                known.approved_by.remove(by);
            }
            Err(_) => {}
        }
    }

    fn start_run(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.waiting.len());
        let told = self.waiting[place].1.woken.try_recv();
        // Now and then a session starts without having been told to.
        if told.is_err() && self.random.random_ratio(9, 10) {
            return;
        }
        let (ask, parked) = self.waiting.swap_remove(place);
        let known = &self.known[&parked.request];
        match told {
            Ok(Wake::Approved { .. }) => {
                assert!(known.is_approved(), "seed {}: woken without approval", self.seed)
            }
            Ok(Wake::Denied { .. }) => assert!(known.is_denied, "seed {}: told of no denial", self.seed),
            Ok(Wake::Expired | Wake::Withdrawn { .. } | Wake::Asked { .. } | Wake::Stopping) | Err(_) => {}
        }
        let who = ask.peer.principal.to_string();
        if let Ok(permit) = self.world.start_run(parked.request, &ask) {
            assert_eq!(
                permit.attempt(),
                ask.attempt,
                "seed {}: the permit of another sending",
                self.seed
            );
            self.permit(permit, &who);
        }
    }

    /// The promise itself.
    fn permit(&mut self, permit: Permit, who: &str) {
        let request = permit.request().expect("of a request");
        let seed = self.seed;
        let known = self.known.get_mut(&request).expect("known");
        known.permits += 1;
        assert_eq!(known.permits, 1, "seed {seed}: {request} runs twice");
        assert!(
            known.is_approved(),
            "seed {seed}: {request} runs with {:?} of {}",
            known.approved_by,
            known.needed
        );
        assert!(!known.is_denied, "seed {seed}: {request} runs though denied");
        assert_eq!(known.principal, who, "seed {seed}: {request} runs for another");
        assert_eq!(known.terminal, None, "seed {seed}: {request} runs after its end");
        self.running.push(permit);
    }

    fn finish(&mut self) {
        let Some(permit) = self.running.pop() else { return };
        let outcome = match self.random.random_range(0..3) {
            0 => RunOutcome::Finished {
                rows: Some(1),
                tag: "DROP TABLE".to_owned(),
            },
            1 => RunOutcome::Failed {
                sqlstate: "42P01".to_owned(),
                message: "no such table".to_owned(),
            },
            _ => RunOutcome::Unknown {
                why: "the server was lost".to_owned(),
            },
        };
        let now = self.world.now;
        let request = permit.request().expect("of a request");
        self.world.core().finish(request, outcome, now).expect("kept");
    }

    fn leave(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.waiting.len());
        let (_, parked) = self.waiting.swap_remove(place);
        let why = if self.random.random() {
            Detach::ClientLeft
        } else {
            Detach::WaitOver
        };
        let now = self.world.now;
        self.world
            .core()
            .detach(parked.request, why, now)
            .expect("an answer");
    }

    fn cancel(&mut self) {
        let Some(id) = self.any_request() else { return };
        let now = self.world.now;
        self.world
            .core()
            .withdraw(id, "cancelled", now)
            .expect("an answer");
    }

    fn vanish(&mut self) {
        if !self.waiting.is_empty() {
            let place = self.random.random_range(0..self.waiting.len());
            self.waiting.swap_remove(place);
        }
        self.world.tick();
    }

    fn time_passes(&mut self) {
        let time = MINUTE * self.random.random_range(1..20);
        match self.random.random_range(0..4) {
            // The wall clock is set, the machine's own goes on.
            0 => self.world.now.wall = self.world.now.wall.after(time),
            1 => self.world.now.boot += time,
            _ => self.world.pass(time),
        }
        self.world.pass(Duration::from_millis(1));
    }

    fn restart(&mut self) {
        self.waiting.clear();
        self.running.clear();
        self.world.restart();
    }

    fn any_request(&mut self) -> Option<RequestId> {
        let place = self.random.random_range(0..self.known.len().max(1));
        self.known.keys().nth(place).copied()
    }

    fn check(&mut self) {
        let filter = countersign::desk::RequestFilter {
            limit: 500,
            ..Default::default()
        };
        let page = self.world.core().list(&filter).expect("a list");
        let mut undecided: BTreeMap<String, u32> = BTreeMap::new();
        for held in page.items {
            let (seed, id, kind) = (self.seed, held.id, held.state.kind());
            // A crash may keep a request of which nobody was told.
            let known = self.known.entry(id).or_insert_with(|| Known {
                principal: held.peer.principal.to_string(),
                needed: held.requirement.people() as usize,
                ..Known::default()
            });
            if let Some(terminal) = known.terminal {
                assert_eq!(kind, terminal, "seed {seed}: {id} left its terminal state");
            }
            known.terminal = held.state.is_terminal().then_some(kind);
            for by in held.approved_by() {
                assert!(
                    may_decide(by.as_str(), &known.principal),
                    "seed {seed}: {by} approved {id}"
                );
                known.approved_by.insert(by.to_string());
            }
            known.is_denied |= held.decisions.iter().any(|said| !said.approves);
            let runs = matches!(kind, StateKind::Running | StateKind::Finished | StateKind::Failed);
            assert!(
                !runs || known.is_approved(),
                "seed {seed}: {id} is {kind} without approval"
            );
            if held.state.is_undecided() {
                *undecided.entry(known.principal.clone()).or_default() += 1;
            }
        }
        for (who, count) in undecided {
            assert!(count <= LIMIT, "seed {}: {who} has {count} undecided", self.seed);
        }
    }
}

impl Known {
    fn is_approved(&self) -> bool {
        self.approved_by.len() >= self.needed
    }
}
