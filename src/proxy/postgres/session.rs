//! One client and its server connection: takes the client's messages one by one, and lets each go on, wait, be parked
//! or be refused. Never forwards a statement by itself: `pipe.to_server` wants a permit and a record.
//! Read `turn.rs` for what happens to a message, `runs.rs` for what comes back, `park.rs` for the wait.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::audit::entry::{Body, Entry};
use crate::clock::Timestamp;
use crate::desk::Seat;
use crate::identity::principal::{AttemptId, Peer};
use crate::journal::Recorded;
use crate::proxy::end::{End, Happened};
use crate::proxy::judgements::{Judged, PeerKey};
use crate::proxy::pipe::{Io, Pipe};
use crate::proxy::postgres::Side;
use crate::proxy::postgres::facts::{Facts, Question};
use crate::proxy::postgres::login::LoggedIn;
use crate::proxy::postgres::own_names::OwnNames;
use crate::proxy::postgres::relay::{Relay, Walking};
use crate::proxy::postgres::runs::{Meaning, NameOrigin, Run, TransactionNotes};
use crate::proxy::postgres::sight::Sight;
use crate::proxy::postgres::statements::BIND_BYTES_MAX;
use crate::proxy::postgres::turn::Next;
use crate::proxy::refusal::{Refusal, fatal};
use crate::proxy::registry::{self, Control};
use crate::proxy::thread::WireThread;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::sql::action::Judgement;
use crate::wire::postgres::conversation::{Conversation, CopyIn, News, RunId};
use crate::wire::postgres::message::{Fields, server};

/// How long the server has to take a good-bye.
const GOOD_BYE_WITHIN: Duration = Duration::from_secs(2);

/// How often a commit is tried again while what ran before it cannot be brought to disk.
const COMMIT_RETRY: Duration = Duration::from_millis(100);

/// How long a statement that may write is followed after its client has gone.
const FOLLOW_WITHIN: Duration = Duration::from_secs(600);

/// The least an inbox holds, whatever the settings say: the longest text and the longest Bind that are read whole.
const INBOX_BYTES_MIN: usize = STATEMENT_BYTES_MAX + BIND_BYTES_MAX + (64 << 10);

/// The good-bye to a server.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

pub struct Session {
    pub(super) thread: Rc<WireThread>,
    pub(super) side: Arc<Side>,
    pub(super) peer: Arc<Peer>,
    pub(super) key: PeerKey,
    pub(super) pipe: Pipe,
    pub(super) relay: Relay,
    pub(super) talk: Conversation<Rc<Meaning>>,
    pub(super) facts: Facts,
    pub(super) sight: Sight,
    /// Statements sent whose end is not known yet.
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) runs_begun: RunId,
    news: Vec<News>,
    pub(super) transaction: TransactionNotes,
    /// Runs in flight that may change what texts mean: nothing is judged behind them.
    pub(super) meaning_in_flight: usize,
    /// A refusal skips the client's messages to their Sync, which is answered here: the server knows nothing of it.
    pub(super) skipping_alone: bool,
    /// A refusal has failed the server's transaction; its error is on the way and is not for the client.
    pub(super) failing: bool,
    /// Bytes of a client frame that go through, or are dropped, as they come.
    pub(super) passing: usize,
    pub(super) dropping: usize,
    pub(super) claimed: BTreeMap<String, String>,
    /// `SET countersign.wait`: can only shorten the wait.
    pub(super) wait_max: Option<Duration>,
    /// What the client answers to a reviewer's question, until it is sent along with a held statement.
    pub(super) reply: Option<String>,
    /// The last record written, until it is known to be on disk.
    pub(super) unsynced: Option<Recorded>,
    /// Rows that answer the proxy's own questions, and how one failed.
    pub(super) answers: Vec<Option<String>>,
    pub(super) own_failure: Option<Fields>,
    /// What failed in the segment that is being answered, as it is told of what ran before it.
    pub(super) undoing: Option<Fields>,
    /// What a name means that nobody has given one.
    pub(super) nothing: Rc<Meaning>,
    pub(super) application_name: String,
    pub(super) refuse_once: Option<Refusal>,
    /// A long text that a parser thread has judged for the next turn.
    pub(super) judged_apart: Option<Rc<Judged>>,
    process: i32,
    upstream_process: i32,
    upstream_key: Vec<u8>,
    control: UnboundedReceiver<Control>,
    /// Its place in the list that people see.
    pub(super) seat: Seat,
}

impl Session {
    pub fn begin(thread: Rc<WireThread>, side: Arc<Side>, logged_in: LoggedIn) -> Self {
        let LoggedIn {
            peer,
            client,
            upstream,
            process,
            control,
            application_name,
            seat,
        } = logged_in;
        let reported = |name: &str| {
            let found = upstream.parameters.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let catalogs = side.catalogs.as_deref();
        let keeper = catalogs.map(|catalogs| catalogs.of(&peer.database));
        let facts = Facts {
            search_path: upstream.search_path.clone(),
            at_log_in: (upstream.role.clone(), reported("session_authorization")),
            role: upstream.role.clone(),
            standard_conforming_strings: upstream.standard_conforming_strings == "on",
            client_encoding: upstream.client_encoding.clone(),
            session_authorization: reported("session_authorization"),
            reads_values: String::new(),
            values_revision: 0,
            own: OwnNames::default(),
            generation: 0,
            // A pooler may hand on a server session with temporary objects.
            stale: keeper.is_some(),
            revision: 0,
        };
        let empty = Judgement {
            actions: Vec::new(),
            depends_on_names: true,
            fingerprint: [0; 32],
            sorts: [0; 32],
        };
        let scope = thread.judgements.borrow_mut().shared_scope(facts.lexing(), None);
        let nothing = Rc::new(Meaning::new(
            Rc::new(Judged::new(Arc::from([]), empty, facts.lexing(), scope)),
            NameOrigin::Text,
            Some(0),
        ));
        let mut claimed = BTreeMap::new();
        if !application_name.is_empty() {
            claimed.insert("application_name".to_owned(), application_name.clone());
        }
        let inbox_bytes_max = thread.shared.settings.limits.session_buffer_bytes;
        let inbox_bytes_max = inbox_bytes_max.max(INBOX_BYTES_MIN);
        let key = thread.judgements.borrow_mut().key_of(&peer);
        Self {
            key,
            pipe: Pipe::new(client, upstream.socket, inbox_bytes_max),
            relay: Relay::default(),
            talk: Conversation::default(),
            facts,
            sight: Sight::new(keeper),
            runs: BTreeMap::new(),
            runs_begun: 0,
            news: Vec::new(),
            transaction: TransactionNotes::default(),
            meaning_in_flight: 0,
            skipping_alone: false,
            failing: false,
            passing: 0,
            dropping: 0,
            claimed,
            wait_max: None,
            reply: None,
            unsynced: None,
            answers: Vec::new(),
            own_failure: None,
            undoing: None,
            nothing,
            application_name,
            refuse_once: None,
            judged_apart: None,
            process,
            upstream_process: upstream.process,
            upstream_key: upstream.key,
            control,
            seat,
            thread,
            side,
            peer,
        }
    }

    /// Runs until somebody leaves.
    pub async fn run(mut self) {
        let end = match self.drive().await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        self.side.registry.remove(self.process);
        self.finish(end).await;
    }

    async fn drive(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            // A client that does not read its answers gets no more of them: they would pile up here.
            while self.pipe.is_client_behind() {
                self.wait().await?;
            }
            match self.turn().await? {
                Next::Wait => self.wait().await?,
                Next::Again => {}
                Next::Retry => self.wait_until(Some(Instant::now() + COMMIT_RETRY)).await?,
                Next::Settle => self.settle().await?,
                Next::Ask => self.refresh_facts().await?,
                Next::Catalog { wanted } => self.await_catalog(wanted).await?,
                Next::Parse { text, lexing } => self.judge_apart(text, lexing).await?,
                Next::Hold(unit) => self.hold(*unit).await?,
                Next::Refuse(refusal, unit) => {
                    self.refuse(&refusal, &unit).await?;
                    // Nothing was waited for, and there may be thousands: the thread's other sessions go on too.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Waits for anything, and carries out what others say meanwhile.
    pub(super) async fn wait(&mut self) -> Result<(), End> {
        self.wait_until(None).await
    }

    /// The same, at most until then.
    async fn wait_until(&mut self, until: Option<Instant>) -> Result<(), End> {
        match self.happened(None::<&mut std::future::Pending<()>>, until).await {
            Happened::Client | Happened::Server | Happened::Time | Happened::Woken(()) => Ok(()),
            Happened::ClientLeft => Err(End::ClientLeft),
            Happened::End(end) => Err(end),
            Happened::Control(Control::Cancel { asked, .. }) => {
                self.cancel_upstream(asked);
                Ok(())
            }
            Happened::Control(Control::Kill) => Err(End::Killed),
            Happened::Control(Control::CredentialEnded(why)) => Err(End::CredentialEnded(why)),
            Happened::Control(Control::EndedByPerson(why)) => Err(End::EndedByPerson(why)),
            Happened::Control(Control::Stop) => Err(End::Stopping),
        }
    }

    /// Waits for answers that are under way; asks the server for them if it may sit on them.
    async fn settle(&mut self) -> Result<(), End> {
        if self.talk.needs_flush() {
            self.put_flush();
        }
        self.wait().await
    }

    /// Asks the server on this very connection. Only when all is settled.
    pub(super) async fn ask_server(&mut self, question: &Question) -> Result<Option<Vec<String>>, End> {
        self.answers.clear();
        self.own_failure = None;
        let mut frames = Vec::new();
        question.put(&mut self.talk, &self.nothing, &mut frames);
        self.pipe.to_server.own(&frames);
        self.pipe.to_server.release_plain();
        while !self.talk.is_settled() {
            self.wait().await?;
        }
        let complete = self.own_failure.is_none() && self.answers.len() == question.rows();
        Ok(complete.then(|| self.answers.drain(..).map(Option::unwrap_or_default).collect()))
    }

    async fn refresh_facts(&mut self) -> Result<(), End> {
        if self.talk.is_failed() {
            // A failed transaction answers nothing: the last answer stands until it is over.
            return Ok(());
        }
        let question = Question {
            own: self.sight.has_catalog(),
            held: None,
        };
        let answers = self.ask_server(&question).await?;
        self.take_facts(&question, answers.as_deref()).map(|_| ())
    }

    /// Takes what every question asks for, and gives the answers behind it.
    pub(super) fn take_facts<'a>(
        &mut self,
        question: &Question,
        answers: Option<&'a [String]>,
    ) -> Result<&'a [String], End> {
        let unsaid =
            || End::Violation("the server does not say what its search_path and role are".to_owned());
        let Some([search_path, role, values, rest @ ..]) = answers else {
            return Err(unsaid());
        };
        let (own, rest) = match rest {
            [own, rest @ ..] if question.own => (OwnNames::read(own).ok_or_else(unsaid)?, rest),
            _ if question.own => return Err(unsaid()),
            rest => (OwnNames::default(), rest),
        };
        self.facts.told(search_path, role, values, own);
        Ok(rest)
    }

    /// The next thing that happens. `woken`: what a parked statement waits for; `until`: when to look up anyway.
    pub(super) async fn happened<W, F>(
        &mut self,
        mut woken: Option<&mut F>,
        until: Option<Instant>,
    ) -> Happened<W>
    where
        F: Future<Output = W> + Unpin,
    {
        let mut alarm = until.map(|until| Box::pin(tokio::time::sleep_until(until)));
        let thread = Rc::clone(&self.thread);
        let happened = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(control)) = self.control.poll_recv(cx) {
                return Poll::Ready(Happened::Control(control));
            }
            if let Some(woken) = &mut woken
                && let Poll::Ready(wake) = std::pin::Pin::new(&mut **woken).poll(cx)
            {
                return Poll::Ready(Happened::Woken(wake));
            }
            let mut scratch = thread.scratch.borrow_mut();
            if let Poll::Ready(io) = self.pipe.poll_io(
                cx,
                &mut scratch,
                &mut Walking {
                    relay: &mut self.relay,
                    talk: &mut self.talk,
                    news: &mut self.news,
                    registry: &self.side.registry,
                },
            ) {
                return Poll::Ready(match io {
                    Io::Client => Happened::Client,
                    Io::ClientLeft => Happened::ClientLeft,
                    Io::Server => Happened::Server,
                    Io::ServerLost => Happened::End(End::ServerLost),
                    Io::Violation(violation) => Happened::End(End::Violation(violation.to_string())),
                });
            }
            match &mut alarm {
                Some(alarm) => alarm.as_mut().poll(cx).map(|()| Happened::Time),
                None => Poll::Pending,
            }
        })
        .await;
        // What the server said counts even if it was the last it said.
        let mut news = std::mem::take(&mut self.news);
        let ended = self.take_news(&news);
        news.clear();
        self.news = news;
        match ended {
            Some(end) => Happened::End(end),
            None => happened,
        }
    }

    /// Whether a message of the proxy's own may go to the client now.
    pub(super) fn may_tell(&self) -> bool {
        self.relay.is_between()
    }

    /// The number of the next statement of this session.
    pub(super) fn next_run(&mut self) -> RunId {
        self.runs_begun += 1;
        self.runs_begun
    }

    pub(super) fn attempt(&self, run: RunId) -> AttemptId {
        AttemptId {
            session: self.peer.session,
            number: run,
        }
    }

    /// Passes a cancel on to the server, which may be running something. Whoever asked for it hears when that is done.
    pub(super) fn cancel_upstream(&self, asked: Option<registry::Asked>) {
        let (side, process, key) = (
            Arc::clone(&self.side),
            self.upstream_process,
            self.upstream_key.clone(),
        );
        tokio::task::spawn_local(async move {
            if let Err(error) = side.dialler.cancel(process, &key).await {
                warn!(%error, "a cancel cannot be passed on to the server");
            }
            drop(asked);
        });
    }

    async fn finish(mut self, end: End) {
        let (reason, fields) = last_words(&end);
        if let Some(fields) = fields
            && self.may_tell()
        {
            self.pipe.tell(|out| fields.put(server::ERROR, out));
        }
        // A client that does not read must not keep the session.
        let _timed_out = tokio::time::timeout(GOOD_BYE_WITHIN, self.pipe.flush_client()).await;
        self.pipe.give_up_client();
        if matches!(end, End::ClientLeft) && self.has_changes_to_come() {
            self.follow().await;
        }
        // Behind half a message a good-bye would be taken for the rest of it.
        let may_say_good_bye = self.passing == 0 && !matches!(end, End::ServerLost | End::ServerEnded);
        if may_say_good_bye {
            let _timed_out =
                tokio::time::timeout(GOOD_BYE_WITHIN, self.pipe.close_upstream(&TERMINATE)).await;
        }
        self.conclude_lost(&reason);
        self.thread.shared.desk.session_ended(self.peer.session);
        let body = Body::SessionEnd { reason: &reason };
        self.thread.stage(&Entry {
            time: Timestamp::now(),
            session: Some(self.peer.session),
            body,
        });
        info!(session.id = %self.peer.session, principal.name = %self.peer.principal, "session ends: {reason}");
    }

    /// The client has gone while something that changes data runs: what becomes of it must be on record.
    async fn follow(&mut self) {
        let followed = tokio::time::timeout(FOLLOW_WITHIN, async {
            while self.has_changes_to_come() {
                if self.talk.copy_in() == CopyIn::Open {
                    if self.passing > 0 {
                        return;
                    }
                    self.fail_copy("its client has left");
                    self.pipe.to_server.release_plain();
                }
                match self.happened(None::<&mut std::future::Pending<()>>, None).await {
                    Happened::End(_) => return,
                    Happened::Control(Control::Stop) => return,
                    Happened::Client
                    | Happened::ClientLeft
                    | Happened::Server
                    | Happened::Control(_)
                    | Happened::Woken(())
                    | Happened::Time => {}
                }
            }
        });
        if followed.await.is_err() {
            warn!(session.id = %self.peer.session, "a statement whose client has gone runs too long to be followed");
        }
    }
}

/// What the log says of an end, and what the client is told.
fn last_words(end: &End) -> (String, Option<Fields>) {
    match end {
        End::ClientLeft => ("client left".to_owned(), None),
        End::ServerEnded => ("server ended the connection".to_owned(), None),
        End::ServerLost => (
            "server connection lost".to_owned(),
            Some(fatal(
                "57P01",
                "countersign: the server connection was lost. Reconnect.",
            )),
        ),
        End::Violation(what) => {
            warn!(%what, "protocol violation");
            (
                format!("protocol violation: {what}"),
                Some(fatal("08P01", &format!("countersign: {what}."))),
            )
        }
        End::Killed => (
            "killed by another session of the same agent".to_owned(),
            Some(fatal(
                "57P01",
                "countersign: another session of the same agent killed this connection.",
            )),
        ),
        End::CredentialEnded(why) => (
            format!("credential ended: {why}"),
            Some(fatal(
                "57P01",
                "countersign: this credential has expired or was revoked.",
            )),
        ),
        End::EndedByPerson(why) => (
            format!("ended by {why}"),
            Some(fatal(
                "57P01",
                &format!("countersign: this session was ended by {why}. Ask a person before you reconnect."),
            )),
        ),
        End::Stopping => (
            "proxy stopping".to_owned(),
            Some(as_fatal(Refusal::Stopping.fields())),
        ),
    }
}

fn as_fatal(fields: Fields) -> Fields {
    Fields {
        severity: "FATAL".to_owned(),
        ..fields
    }
}
