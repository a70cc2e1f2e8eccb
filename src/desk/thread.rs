//! The thread that owns the desk's core, and the handle through which everybody else speaks to it.
//! Never decides anything. Read `core.rs` next.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{broadcast, oneshot};

use crate::audit::RulesChange;
use crate::catalog::impact::Impact;
use crate::clock::Timestamp;
use crate::desk::core::Core;
use crate::desk::record::forget_logged;
use crate::desk::{
    Act, ActError, Ask, AskError, Asked, BreakGlass, CredentialEnded, Decide, DecideError, DeskError,
    DeskEvent, Detach, EndGrantError, ForgetError, GrantEvent, GrantShown, LiveSessions, ManageError, Moment,
    NewAgent, NewPerson, NewToken, NotStarted, RequestFilter, RequestPage, ReviewError, ReviewFilter,
    ReviewPage, RunOutcome, Settings, SignReview,
};
use crate::hold::{
    Digest, HeldRequest, Permit, Presented, RequestId, Review, StandingGrantId, StandingKind, State,
};
use crate::identity::certificate::CertificateName;
use crate::identity::directory::{Agent, Hands, Person, SignedIn};
use crate::identity::principal::{PersonName, PrincipalName, SessionId};
use crate::identity::secret::{NativePassword, Secret, TokenHash};
use crate::journal::{Journal, TreeNews};
use crate::store::sqlite::{ServingLock, Store, StoreError};
use crate::store::{Issued, KeptAnswer, PeopleError};

/// How often deadlines and other processes' changes are looked at; both are promised within 250 ms.
const TICK: Duration = Duration::from_millis(100);

/// The desk's lane of the journal; wire threads count theirs from 1.
pub const LANE: u16 = 0;

/// Events that a slow listener may lag behind before it is told that it has missed some.
const EVENTS_KEPT: usize = 1024;

type Work = Box<dyn FnOnce(&mut Core, Moment) + Send>;

enum Message {
    Do(Work),
    Stop(oneshot::Sender<()>),
}

/// Cheap handle on the desk thread.
#[derive(Clone)]
pub struct Desk {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    messages: mpsc::Sender<Message>,
    events: broadcast::Sender<DeskEvent>,
    ended: broadcast::Sender<CredentialEnded>,
    grants: broadcast::Sender<GrantEvent>,
    sessions: LiveSessions,
    pub(super) tree: TreeNews,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// Now, on the wall clock and on the one that counts suspension.
pub fn now() -> Moment {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(boot.tv_nsec).unwrap_or(0);
    Moment {
        wall: Timestamp::now(),
        boot: Duration::new(seconds, nanos),
    }
}

impl Desk {
    /// Takes over what an earlier process left: pending becomes detached, approved becomes a grant, running becomes
    /// `outcome_unknown`.
    pub fn start(mut store: Store, journal: Journal, settings: Settings) -> Result<Self, DeskError> {
        let lock = store.lock_for_serving()?.ok_or(DeskError::AlreadyServed)?;
        let (messages, inbox) = mpsc::channel();
        let (events, ended) = (
            broadcast::Sender::new(EVENTS_KEPT),
            broadcast::Sender::new(EVENTS_KEPT),
        );
        if let Err(error) = forget_logged(&mut store, &journal.reader()) {
            tracing::warn!("what an earlier process logged last may be in the log twice: {error}");
        }
        let lane = journal.lane(LANE);
        let core = Core::open(
            store,
            lane,
            settings,
            events.clone(),
            ended.clone(),
            rand::random(),
            now(),
        )?;
        let grants = core.grant_events();
        std::thread::Builder::new()
            .name("desk".to_owned())
            .spawn(move || run(core, &inbox, lock))
            .map_err(|error| DeskError::from(StoreError::Failed(error.to_string())))?;
        Ok(Self {
            inner: Arc::new(Inner {
                messages,
                events,
                ended,
                grants,
                sessions: LiveSessions::default(),
                tree: journal.tree_news(),
            }),
        })
    }

    pub async fn agent(&self, name: &str) -> Result<Option<Agent>, DeskError> {
        let name = name.to_owned();
        self.read(move |store, _| store.agent(&name)).await
    }

    pub async fn ask(&self, ask: Ask) -> Result<Asked, AskError> {
        self.call_or(
            move |core, now| core.ask(&ask, now),
            |core, now, asked| {
                if let Ok(asked) = asked {
                    core.take_back_ask(asked, now);
                }
            },
        )
        .await
        .unwrap_or(Err(AskError::Stopping))
    }

    /// `names` and `rules` are those in force now; the permit runs the bytes of the request's newest attempt.
    pub async fn start_run(
        &self,
        request: RequestId,
        digest: Digest,
        names: &str,
        rules: [u8; 32],
    ) -> Result<Permit, NotStarted> {
        let names = names.to_owned();
        self.call_or(
            move |core, now| {
                core.start_run(
                    request,
                    Presented {
                        digest,
                        names: &names,
                        rules,
                    },
                    now,
                )
            },
            |core, now, permit| {
                if let Ok(permit) = permit {
                    core.take_back_permit(permit, now);
                }
            },
        )
        .await
        .unwrap_or(Err(NotStarted::Stopping))
    }

    /// Gives back a permit on which nothing was sent, since its guards could not be set.
    pub async fn not_sent(&self, permit: Permit, why: &str) {
        let why = why.to_owned();
        // If the thread has ended, the next start finds a claim without an outcome and says so.
        let _ = self.call(move |core, now| core.not_sent(permit, &why, now)).await;
    }

    pub async fn finish(&self, request: RequestId, outcome: RunOutcome) -> Result<State, DeskError> {
        self.call(move |core, now| core.finish(request, outcome, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// Gives the state that it has now: a decision may have come first.
    pub async fn detach(&self, request: RequestId, why: Detach) -> Result<State, DeskError> {
        self.call(move |core, now| core.detach(request, why, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// Gives the state that it has now. A grant lapses.
    pub async fn withdraw(&self, request: RequestId, why: &str) -> Result<State, DeskError> {
        let why = why.to_owned();
        self.call(move |core, now| core.withdraw(request, &why, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// What has been found out of a request while it waits.
    pub async fn set_impact(&self, request: RequestId, impact: Impact) -> Result<(), DeskError> {
        self.call(move |core, now| core.set_impact(request, &impact, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    pub async fn list(&self, filter: RequestFilter) -> Result<RequestPage, DeskError> {
        self.call(move |core, _| core.list(&filter))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    pub async fn show(&self, request: RequestId) -> Result<HeldRequest, DeskError> {
        self.call(move |core, _| core.show(request))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// Waits until the request is no longer undecided, at most for `wait`; gives it as it is then.
    pub async fn wait_for(&self, request: RequestId, wait: Duration) -> Result<HeldRequest, DeskError> {
        let mut events = self.events();
        let end = tokio::time::Instant::now() + wait;
        loop {
            let held = self.show(request).await?;
            if !held.state.is_undecided() {
                return Ok(held);
            }
            loop {
                match tokio::time::timeout_at(end, events.recv()).await {
                    Err(_) => return Ok(held),
                    Ok(Err(broadcast::error::RecvError::Closed)) => return Err(DeskError::Stopping),
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) => break,
                    Ok(Ok(event)) if event.request == request => break,
                    Ok(Ok(_)) => {}
                }
            }
        }
    }

    pub async fn decide(&self, request: RequestId, decide: Decide) -> Result<HeldRequest, DecideError> {
        self.call(move |core, now| {
            let said = core.decide(request, &decide, now);
            if let Err(DecideError::NotPermitted(why)) = &said {
                core.record_refused_decision(request, &decide, why, now);
            }
            said
        })
        .await
        .unwrap_or(Err(DecideError::Stopping))
    }

    /// One person approves alone, whatever the rule asks for.
    pub async fn break_glass(
        &self,
        request: RequestId,
        said: BreakGlass,
    ) -> Result<HeldRequest, DecideError> {
        self.call(move |core, now| core.break_glass(request, &said, now))
            .await
            .unwrap_or(Err(DecideError::Stopping))
    }

    /// Somebody else signs what they found of that.
    pub async fn sign_review(&self, request: RequestId, sign: SignReview) -> Result<Review, ReviewError> {
        self.call(move |core, now| core.sign_review(request, &sign, now))
            .await
            .unwrap_or(Err(ReviewError::Stopping))
    }

    /// Newest first.
    pub async fn reviews(&self, filter: ReviewFilter) -> Result<ReviewPage, ReviewError> {
        self.call(move |core, _| core.reviews(&filter))
            .await
            .unwrap_or(Err(ReviewError::Stopping))
    }

    pub async fn review(&self, request: RequestId) -> Result<Option<Review>, DeskError> {
        self.read(move |store, _| store.review(request)).await
    }

    /// How many reviews nobody has signed yet.
    pub async fn open_reviews(&self) -> Result<u64, DeskError> {
        self.read(|store, _| store.open_reviews()).await
    }

    /// Whatever people do with a request besides deciding it.
    pub async fn act(&self, request: RequestId, act: Act) -> Result<HeldRequest, ActError> {
        self.call(move |core, now| core.act(request, &act, now))
            .await
            .unwrap_or(Err(ActError::Stopping))
    }

    /// Newest first; of every principal and in every state where none is named.
    pub async fn standing_grants(
        &self,
        principal: Option<String>,
        standing: Option<StandingKind>,
    ) -> Result<Vec<GrantShown>, DeskError> {
        self.call(move |core, _| core.standing_grants(principal.as_deref(), standing))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    pub async fn standing_grant(&self, id: StandingGrantId) -> Result<GrantShown, DeskError> {
        self.call(move |core, _| core.standing_grant(id))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    pub async fn revoke_standing(
        &self,
        id: StandingGrantId,
        by: PersonName,
        reason: String,
    ) -> Result<GrantShown, EndGrantError> {
        self.call(move |core, now| core.revoke_standing(id, &by, &reason, now))
            .await
            .unwrap_or(Err(EndGrantError::Stopping))
    }

    /// The agents' sessions that are connected now.
    pub fn sessions(&self) -> &LiveSessions {
        &self.inner.sessions
    }

    /// A connection has closed. Nobody waits for what that does.
    pub fn session_ended(&self, session: SessionId) {
        let work: Work = Box::new(move |core, now| core.session_ended(session, now));
        // If the thread has ended, the next start sees to it.
        let _ = self.inner.messages.send(Message::Do(work));
    }

    /// A transaction in which held statements ran has ended. Nobody waits for what that does.
    pub fn transaction_ended(&self, session: SessionId) {
        let work: Work = Box::new(move |core, now| core.transaction_ended(session, now));
        // If the thread has ended, the next start sees to it.
        let _ = self.inner.messages.send(Message::Do(work));
    }

    /// News of standing grants from now on, each when it is in store and log.
    pub fn grant_events(&self) -> broadcast::Receiver<GrantEvent> {
        self.inner.grants.subscribe()
    }

    /// Moves of requests from now on, each when it is in store and log.
    pub fn events(&self) -> broadcast::Receiver<DeskEvent> {
        self.inner.events.subscribe()
    }

    /// Credentials that end from now on; their sessions are to be ended.
    pub fn sessions_to_end(&self) -> broadcast::Receiver<CredentialEnded> {
        self.inner.ended.subscribe()
    }

    pub async fn authenticate_token(&self, hash: TokenHash) -> Result<Option<SignedIn>, DeskError> {
        self.read(move |store, now| store.authenticate(hash, now)).await
    }

    pub async fn record_log_query(&self, by: PersonName, query: String) -> Result<(), DeskError> {
        self.call(move |core, now| core.record_log_query(by.as_str(), &query, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// `generation` is that of the rules that are in force from now on, and `text` what stands in their file, if it is to
    /// be kept; `by` is a person, `start` or `signal`.
    pub async fn record_rules_change(
        &self,
        file: String,
        generation: [u8; 32],
        text: Arc<str>,
        by: String,
    ) -> Result<(), DeskError> {
        self.call(move |core, now| {
            let change = RulesChange {
                change: "loaded",
                file: &file,
                generation,
                by: &by,
                detail: "",
                text: &text,
            };
            core.record_rules_change(change, now)
        })
        .await
        .unwrap_or(Err(DeskError::Stopping))
    }

    /// The rules in force stay; `detail` says what is wrong with the file.
    pub async fn record_rules_rejected(
        &self,
        file: String,
        detail: String,
        by: String,
    ) -> Result<(), DeskError> {
        self.call(move |core, now| {
            let generation = [0; 32];
            let change = RulesChange {
                change: "rejected",
                file: &file,
                generation,
                by: &by,
                detail: &detail,
                text: "",
            };
            core.record_rules_change(change, now)
        })
        .await
        .unwrap_or(Err(DeskError::Stopping))
    }

    /// `section` of the settings names the files; `rejected` says why they are not in force.
    pub async fn record_certificates_change(
        &self,
        section: &'static str,
        rejected: Option<String>,
        by: String,
    ) -> Result<(), DeskError> {
        self.call(move |core, now| core.record_certificates_change(section, rejected.as_deref(), &by, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// What was answered to a person under this key within the last day.
    pub async fn kept_answer(
        &self,
        person: PersonName,
        key: String,
    ) -> Result<Option<KeptAnswer>, DeskError> {
        self.read(move |store, now| store.kept_answer(&person, &key, now))
            .await
    }

    /// Keeps an answer, to be given again if the call comes again.
    pub async fn keep_answer(
        &self,
        person: PersonName,
        key: String,
        answer: KeptAnswer,
    ) -> Result<(), DeskError> {
        self.read(move |store, now| store.keep_answer(&person, &key, &answer, now))
            .await
    }

    /// Puts it on record that the values of an attempt are erased, and erases those of its request; the caller erases those
    /// in the log then.
    pub async fn forget_values(
        &self,
        request: Option<RequestId>,
        by: PersonName,
        record: String,
        reason: String,
    ) -> Result<(), ForgetError> {
        self.call(move |core, now| core.forget_values(request, &by, &record, &reason, now))
            .await
            .unwrap_or(Err(ForgetError::Desk(DeskError::Stopping)))
    }

    pub async fn people(&self) -> Result<Vec<Person>, DeskError> {
        self.read(|store, _| store.people()).await
    }

    pub async fn person_add(&self, new: NewPerson, by: Hands) -> Result<Person, ManageError> {
        self.manage(move |store, now| store.person_add(&new, by, now))
            .await
    }

    /// The token is shown this once.
    pub async fn token_issue(&self, new: NewToken, by: Hands) -> Result<Issued, ManageError> {
        self.manage(move |store, now| store.token_issue(&new, by, now))
            .await
    }

    /// Revokes every token of a person; gives how many there were.
    pub async fn tokens_revoke(&self, person: PersonName, by: PersonName) -> Result<usize, ManageError> {
        self.manage(move |store, now| Ok(store.tokens_revoke(&person, &by, now)?))
            .await
    }

    /// A person who is not active neither signs in nor decides.
    pub async fn person_set_active(
        &self,
        person: PersonName,
        active: bool,
        by: Hands,
    ) -> Result<(), ManageError> {
        self.manage(move |store, now| store.person_set_active(&person, active, by, now))
            .await
    }

    pub async fn agents(&self) -> Result<Vec<Agent>, DeskError> {
        self.read(|store, _| store.agents()).await
    }

    /// The secret is shown this once.
    pub async fn agent_add(&self, new: NewAgent, by: Hands) -> Result<(Agent, Secret), ManageError> {
        self.manage(move |store, now| store.agent_add(&new, by, now))
            .await
    }

    /// An agent that logs in by its certificate alone.
    pub async fn agent_add_certified(
        &self,
        new: NewAgent,
        certificate: CertificateName,
        by: Hands,
    ) -> Result<Agent, ManageError> {
        self.manage(move |store, now| store.agent_add_certified(&new, &certificate, by, now))
            .await
    }

    /// From now on the agent logs in by its certificate alone.
    pub async fn agent_certify(
        &self,
        name: PrincipalName,
        certificate: CertificateName,
        by: Hands,
    ) -> Result<(), ManageError> {
        self.manage(move |store, now| store.agent_certify(&name, &certificate, by, now))
            .await
    }

    pub async fn agent_rotate(
        &self,
        name: PrincipalName,
        native: NativePassword,
        by: Hands,
    ) -> Result<Secret, ManageError> {
        self.manage(move |store, now| store.agent_rotate(&name, native, by, now))
            .await
    }

    pub async fn agent_revoke(&self, name: PrincipalName, by: PersonName) -> Result<(), ManageError> {
        self.manage(move |store, now| store.agent_revoke(&name, &by, now))
            .await
    }

    /// Wakes every waiting session with `Wake::Stopping`, detaches what is undecided, and ends the thread.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.inner.messages.send(Message::Stop(done)).is_ok() {
            // An error means that the thread has ended already.
            let _ = stopped.await;
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, DeskError> {
        self.call(move |core, now| work(core.store(), now.wall).map_err(DeskError::from))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    pub(super) async fn manage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store, Timestamp) -> Result<T, PeopleError> + Send + 'static,
    ) -> Result<T, ManageError> {
        let done = self.call(move |core, now| {
            let done = work(core.store(), now.wall).map_err(ManageError::from);
            core.people_changed(now);
            done
        });
        done.await.unwrap_or(Err(ManageError::Stopping))
    }

    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core, Moment) -> T + Send + 'static,
    ) -> Option<T> {
        self.call_or(work, |_, _, _| {}).await
    }

    /// Does `work` on the desk thread; `undo` gets its result back if the caller has gone meanwhile.
    /// `None` if the thread has ended.
    async fn call_or<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core, Moment) -> T + Send + 'static,
        undo: Undo<T>,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |core, now| {
            let done = work(core, now);
            if let Err(unheard) = reply.send(done) {
                undo(core, now, unheard);
            }
        });
        self.inner.messages.send(Message::Do(work)).ok()?;
        let mut awaited = Awaited {
            answer,
            undo,
            messages: &self.inner.messages,
        };
        (&mut awaited.answer).await.ok()
    }
}

type Undo<T> = fn(&mut Core, Moment, T);

/// An answer on its way. A caller that is dropped while it arrives gives it back to the desk.
struct Awaited<'a, T: Send + 'static> {
    answer: oneshot::Receiver<T>,
    undo: Undo<T>,
    messages: &'a mpsc::Sender<Message>,
}

impl<T: Send + 'static> Drop for Awaited<'_, T> {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(unheard) = self.answer.try_recv() {
            let undo = self.undo;
            // If the thread has ended, the next start sees to it.
            let _ = self
                .messages
                .send(Message::Do(Box::new(move |core, now| undo(core, now, unheard))));
        }
    }
}

impl From<PeopleError> for ManageError {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Exists(name) => Self::Exists(name),
            PeopleError::Unknown(name) => Self::Unknown(name),
            PeopleError::Revoked(name) => Self::Revoked(name),
            PeopleError::GivesOneself(name) => Self::GivesOneself(name),
            PeopleError::Store(error) => {
                tracing::warn!("store unavailable: {error}");
                Self::StoreUnavailable
            }
        }
    }
}

/// The desk thread: work as it comes, a tick in between. It ends with the last handle, or when told.
fn run(mut core: Core, inbox: &mpsc::Receiver<Message>, lock: ServingLock) {
    let mut next_tick = Instant::now() + TICK;
    let told = loop {
        match inbox.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
            Ok(Message::Do(work)) => work(&mut core, now()),
            Ok(Message::Stop(done)) => break Some(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break None,
        }
        if next_tick <= Instant::now() {
            core.tick(now());
            next_tick = Instant::now() + TICK;
        }
    };
    core.stop(now());
    drop(core);
    drop(lock);
    if let Some(done) = told {
        // Whoever asked may have gone.
        let _ = done.send(());
    }
}
