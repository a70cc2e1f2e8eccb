//! One client and its server connection: takes the client's commands one by one, and lets each go on, wait, be parked or
//! be refused. Never forwards a statement by itself: `pipe.to_server` wants a permit and a record.
//! Read `command.rs` for what happens to a command, `runs.rs` for what comes back, `park.rs` for the wait.
//!
//! Why one command at a time: the server answers them one by one, and what a command means may hang on the answer to the
//! one before it. What a client sends ahead waits in the inbox.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::audit::entry::{Body, Entry};
use crate::clock::Timestamp;
use crate::desk::Seat;
use crate::identity::principal::{AttemptId, Peer};
use crate::journal::Recorded;
use crate::proxy::attempts::{attempt_id, changes_data};
use crate::proxy::end::{End, Happened};
use crate::proxy::judgements::PeerKey;
use crate::proxy::mysql::Side;
use crate::proxy::mysql::facts::{self, Facts};
use crate::proxy::mysql::judging::Meaning;
use crate::proxy::mysql::login::{Greeted, LoggedIn, Schemas};
use crate::proxy::mysql::relay::{Relay, Walking};
use crate::proxy::mysql::runs::{KeptBack, Run, TransactionNotes};
use crate::proxy::mysql::sight::Sight;
use crate::proxy::mysql::statements::Prepared;
use crate::proxy::mysql::upstream::Kill;
use crate::proxy::pipe::{Io, Pipe};
use crate::proxy::refusal::{Refusal, one_line};
use crate::proxy::registry::{self, Control};
use crate::proxy::socket::Socket;
use crate::proxy::thread::WireThread;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::wire::mysql::answer::{ErrPacket, Status};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::command::Code;
use crate::wire::mysql::conversation::{Expected, News};
use crate::wire::mysql::packet;

/// How long the server has to take a good-bye.
const GOOD_BYE_WITHIN: Duration = Duration::from_secs(2);

/// How long a statement that may write is followed after its client has gone.
const FOLLOW_WITHIN: Duration = Duration::from_secs(600);

/// How long a statement waits for the catalog to be read; then its names are not known.
const CATALOG_WITHIN: Duration = Duration::from_secs(12);

/// A COM_STMT_EXECUTE that is read whole; longer ones go as they come if the rules let their statement pass.
pub const EXECUTE_BYTES_MAX: usize = 1 << 20;

/// The least an inbox holds, whatever the settings say: the longest command that is read whole.
const INBOX_BYTES_MIN: usize = STATEMENT_BYTES_MAX + EXECUTE_BYTES_MAX + (64 << 10);

/// Rows of an answer to the proxy's own question.
pub type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// What is left of a session.
pub enum Left {
    Nothing,
    /// COM_CHANGE_USER: the client stays, and says anew who it is.
    ChangesUser(Box<ChangesUser>),
}

pub struct ChangesUser {
    pub client: Socket,
    pub greeted: Greeted,
    pub payload: Vec<u8>,
    /// The number of the packet that is to come next.
    pub sequence: u8,
    /// What the client had sent behind it.
    pub ahead: Vec<u8>,
}

pub struct Session {
    pub(super) thread: Rc<WireThread>,
    pub(super) side: Arc<Side>,
    pub(super) peer: Arc<Peer>,
    pub(super) key: PeerKey,
    pub(super) pipe: Pipe,
    pub(super) relay: Relay,
    pub(super) news: Vec<News>,
    pub(super) facts: Facts,
    pub(super) sight: Sight,
    /// What the client and the proxy agreed on.
    pub(super) capabilities: Capabilities,
    /// Statements of the binary protocol, by the server's own numbers.
    pub(super) statements: HashMap<u32, Prepared>,
    /// Of the last COM_STMT_PREPARE; `None`: it has failed or was refused.
    pub(super) last_prepared: Option<u32>,
    /// Statements of SQL-level PREPARE.
    pub(super) names: HashMap<String, Meaning>,
    /// What the server works on.
    pub(super) run: Option<Run>,
    /// Whether the proxy itself decides if what it did is kept.
    pub(super) kept_back: KeptBack,
    pub(super) runs_begun: u64,
    pub(super) transaction: TransactionNotes,
    /// The server's status flags, as of its last answer.
    pub(super) status: Status,
    pub(super) claimed: BTreeMap<String, String>,
    /// `SET @countersign_wait`: can only shorten the wait.
    pub(super) wait_max: Option<Duration>,
    /// What the client answers to a reviewer's question, until it is sent along with a held statement.
    pub(super) reply: Option<String>,
    /// The number of the packet that the client waits for, where the session ends before its command is answered.
    pub(super) awaited: u8,
    /// The last record written, until it is known to be on disk.
    pub(super) unsynced: Option<Recorded>,
    /// The rows that answer the proxy's own question, and whether it failed.
    pub(super) answers: Rows,
    pub(super) own_failed: Option<u16>,
    /// A COM_CHANGE_USER, and the number that its answer begins with.
    pub(super) becomes: Option<(Vec<u8>, u8)>,
    /// Ends when a cancel that is on its way to the server has been carried out.
    pub(super) cancelling: Option<oneshot::Receiver<()>>,
    /// The server tells of settings that change.
    pub(super) is_tracked: bool,
    /// Executions that the server has seen.
    pub(super) runs_sent: u64,
    /// The error of the run that ended last, if it has failed.
    pub(super) failed: Option<u16>,
    /// Of prepared texts, and of values that came in pieces, what is kept.
    pub(super) text_bytes: usize,
    pub(super) long_bytes: usize,
    thread_id: u32,
    /// Which databases it may use.
    pub(super) schemas: Schemas,
    greeted: Greeted,
    control: UnboundedReceiver<Control>,
    /// Its place in the list that people see.
    pub(super) seat: Seat,
}

impl Session {
    /// `ahead` is what the client has sent already.
    pub fn begin(thread: Rc<WireThread>, side: Arc<Side>, logged_in: LoggedIn, ahead: Vec<u8>) -> Self {
        let LoggedIn {
            peer,
            client,
            upstream,
            control,
            seat,
            claimed,
            schemas,
            greeted,
        } = logged_in;
        let key = thread.mysql_judgements.borrow_mut().key_of(&peer);
        let inbox_bytes_max = thread.shared.settings.limits.session_buffer_bytes;
        let catalogs = side.catalogs.as_deref();
        let keeper = catalogs.map(|catalogs| catalogs.of(side.dialler.name()));
        let mut pipe = Pipe::new(client, upstream.socket, inbox_bytes_max.max(INBOX_BYTES_MIN));
        pipe.inbox.extend_from_slice(&ahead);
        Self {
            key,
            pipe,
            relay: Relay::new(upstream.capabilities, greeted.capabilities),
            news: Vec::new(),
            facts: Facts::unknown(&upstream.version),
            sight: Sight::new(keeper),
            capabilities: greeted.capabilities,
            statements: HashMap::new(),
            last_prepared: None,
            names: HashMap::new(),
            run: None,
            kept_back: KeptBack::No,
            runs_begun: 0,
            transaction: TransactionNotes::default(),
            status: Status(upstream.status),
            claimed,
            wait_max: None,
            reply: None,
            awaited: 0,
            unsynced: None,
            answers: Vec::new(),
            own_failed: None,
            becomes: None,
            cancelling: None,
            is_tracked: upstream.capabilities.has(Capabilities::SESSION_TRACK),
            runs_sent: 0,
            failed: None,
            text_bytes: 0,
            long_bytes: 0,
            thread_id: upstream.thread_id,
            schemas,
            greeted,
            control,
            seat,
            thread,
            side,
            peer,
        }
    }

    /// Runs until somebody leaves, or becomes somebody else.
    pub async fn run(mut self) -> Left {
        let end = match self.drive().await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        self.finish(end).await
    }

    async fn drive(&mut self) -> Result<Infallible, End> {
        self.track().await?;
        loop {
            // A client that does not read its answers gets no more of them: they would pile up here.
            while self.pipe.is_client_behind() {
                self.wait().await?;
            }
            self.command().await?;
            // Here, whichever way the statement went: the next one must not be taken for what ended a transaction that is
            // gone already.
            self.settle_doubt().await?;
            // A client may send thousands that need no answer of the server: the thread's other sessions go on too.
            tokio::task::yield_now().await;
        }
    }

    /// Has the server tell of every change of a setting, where it can.
    pub(super) async fn track(&mut self) -> Result<(), End> {
        self.facts.is_stale = true;
        if self.is_tracked {
            let told = self.ask(facts::TRACK, Expected::Done).await?;
            self.is_tracked = told.is_some();
        }
        Ok(())
    }

    /// Waits for anything, and carries out what others say meanwhile.
    pub(super) async fn wait(&mut self) -> Result<(), End> {
        match self.happened(None::<&mut std::future::Pending<()>>, None).await {
            Happened::Client | Happened::Server | Happened::Time | Happened::Woken(()) => Ok(()),
            Happened::ClientLeft => Err(End::ClientLeft),
            Happened::End(end) => Err(end),
            Happened::Control(control) => self.told(control),
        }
    }

    /// What others say while nothing is parked.
    pub(super) fn told(&mut self, control: Control) -> Result<(), End> {
        match control {
            Control::Cancel { asked, .. } => {
                self.cancel_upstream(asked);
                Ok(())
            }
            Control::Kill => Err(End::Killed),
            Control::CredentialEnded(why) => Err(End::CredentialEnded(why)),
            Control::EndedByPerson(why) => Err(End::EndedByPerson(why)),
            Control::Stop => Err(End::Stopping),
        }
    }

    /// The server's rows to a question of the proxy's own, on this very connection; `None`: it answered with an error,
    /// whose number is in `own_failed`. Only when nothing else is under way.
    pub(super) async fn ask(&mut self, text: &[u8], expected: Expected) -> Result<Option<Rows>, End> {
        let mut payload = vec![Code::Query as u8];
        if self.capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            // No attributes, in one set.
            payload.extend_from_slice(&[0, 1]);
        }
        payload.extend_from_slice(text);
        self.ask_with(&payload, expected).await
    }

    /// The same by another command.
    pub(super) async fn ask_with(&mut self, payload: &[u8], expected: Expected) -> Result<Option<Rows>, End> {
        // It is not the proxy's own question that was to be cancelled.
        self.settle_cancel().await?;
        self.put_own(payload, expected);
        while !self.relay.is_idle() {
            self.wait().await?;
        }
        let answers = std::mem::take(&mut self.answers);
        Ok(self.own_failed.is_none().then_some(answers))
    }

    /// Puts a question whose answer is taken note of when it comes.
    pub(super) fn put_own(&mut self, payload: &[u8], expected: Expected) {
        self.answers.clear();
        self.own_failed = None;
        let mut frame = Vec::new();
        packet::put(&mut frame, 0, payload);
        self.relay.expect_own(expected);
        self.pipe.to_server.own(&frame);
        self.pipe.to_server.release_plain();
    }

    /// Waits until the answer under way is complete.
    pub(super) async fn answered(&mut self) -> Result<(), End> {
        while !self.relay.is_idle() {
            if self.relay.wants_file() {
                self.send_file().await?;
            } else {
                self.wait().await?;
            }
        }
        Ok(())
    }

    /// Waits until a cancel that is on its way can hit nothing more.
    pub(super) async fn settle_cancel(&mut self) -> Result<(), End> {
        let Some(mut done) = self.cancelling.take() else {
            return Ok(());
        };
        loop {
            match self.happened(Some(&mut done), None).await {
                Happened::Woken(_) => return Ok(()),
                Happened::Client | Happened::Server | Happened::Time => {}
                Happened::ClientLeft => return Err(End::ClientLeft),
                Happened::End(end) => return Err(end),
                Happened::Control(control) => self.told(control)?,
            }
        }
    }

    /// Waits until the catalog is as fresh as it must be, or could not be read.
    pub(super) async fn await_catalog(&mut self) -> Result<(), End> {
        while let Some(wanted) = self.sight.awaits() {
            let mut attempt = Box::pin(self.sight.attempt(wanted));
            let until = Instant::now() + CATALOG_WITHIN;
            loop {
                match self.happened(Some(&mut attempt), Some(until)).await {
                    Happened::Woken(()) => break,
                    Happened::Time if Instant::now() >= until => break,
                    Happened::Client | Happened::Server | Happened::Time => {}
                    Happened::ClientLeft => return Err(End::ClientLeft),
                    Happened::End(end) => return Err(end),
                    Happened::Control(control) => self.told(control)?,
                }
            }
            self.sight.give_up(wanted);
        }
        Ok(())
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
            let mut walking = Walking {
                relay: &mut self.relay,
                news: &mut self.news,
            };
            if let Poll::Ready(io) = self.pipe.poll_io(cx, &mut scratch, &mut walking) {
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
        match self.take_news() {
            Some(end) => Happened::End(end),
            None => happened,
        }
    }

    /// The number of the next statement of this session.
    pub(super) fn next_run(&mut self) -> u64 {
        self.runs_begun += 1;
        self.runs_begun
    }

    pub(super) fn attempt(&self, run: u64) -> AttemptId {
        attempt_id(&self.peer, run)
    }

    /// Ends what the server works on, if it does. Whoever asked for it hears when that is done.
    pub(super) fn cancel_upstream(&mut self, asked: Option<registry::Asked>) {
        if self.run.is_none() || self.cancelling.is_some() {
            return;
        }
        let (done, cancelling) = oneshot::channel();
        // The next statement waits for it, so that it is not hit instead.
        self.cancelling = Some(cancelling);
        let (side, peer, thread_id) = (Arc::clone(&self.side), Arc::clone(&self.peer), self.thread_id);
        tokio::task::spawn_local(async move {
            if let Err(error) = side
                .dialler
                .kill(&peer.database_user, thread_id, Kill::Query)
                .await
            {
                warn!(%error, "a cancel cannot be passed on to the server");
            }
            drop((asked, done));
        });
    }

    /// Whether something runs that may change data for good.
    fn has_changes_to_come(&self) -> bool {
        self.run
            .as_ref()
            .is_some_and(|run| changes_data(run.judged.class))
    }

    async fn finish(mut self, end: End) -> Left {
        let (mut reason, refusal) = last_words(&end);
        if self.becomes.is_some() {
            "client changes its user".clone_into(&mut reason);
        }
        if let Some((number, sqlstate, message)) = refusal
            && self.relay.is_between()
        {
            self.put_error(number, sqlstate, &message, self.awaited);
        }
        // A client that does not read must not keep the session.
        let _timed_out = tokio::time::timeout(GOOD_BYE_WITHIN, self.pipe.flush_client()).await;
        let becomes = self.becomes.take();
        if becomes.is_none() {
            self.pipe.give_up_client();
        }
        if matches!(end, End::Killed) && self.run.is_some() {
            // Its statement ends with it, and what became of that is recorded.
            self.cancel_upstream(None);
            self.follow().await;
        }
        if matches!(end, End::ClientLeft) && becomes.is_none() && self.has_changes_to_come() {
            self.follow().await;
        }
        if !matches!(end, End::ServerLost | End::ServerEnded) && self.relay.is_idle() {
            let mut quit = Vec::new();
            packet::put(&mut quit, 0, &[Code::Quit as u8]);
            let closed = self.pipe.close_upstream(&quit);
            let _timed_out = tokio::time::timeout(GOOD_BYE_WITHIN, closed).await;
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
        self.side.registry.remove(self.greeted.connection_id);
        let Some((payload, sequence)) = becomes else {
            return Left::Nothing;
        };
        let ahead = self.pipe.inbox.to_vec();
        Left::ChangesUser(Box::new(ChangesUser {
            client: self.pipe.into_client(),
            greeted: self.greeted,
            payload,
            sequence,
            ahead,
        }))
    }

    /// The client has gone while something that changes data runs: what becomes of it must be on record.
    async fn follow(&mut self) {
        let followed = tokio::time::timeout(FOLLOW_WITHIN, async {
            while self.run.is_some() && !self.relay.wants_file() {
                match self.happened(None::<&mut std::future::Pending<()>>, None).await {
                    Happened::End(_) | Happened::Control(Control::Stop) => return,
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

    /// Rules and log go by the schema that the session is in now.
    pub(super) fn follow_schema(&mut self) {
        let schema = self.facts.schema.clone().unwrap_or_default();
        if self.peer.database == schema {
            return;
        }
        let peer = Peer {
            database: schema,
            ..(*self.peer).clone()
        };
        self.key = self.thread.mysql_judgements.borrow_mut().key_of(&peer);
        self.peer = Arc::new(peer);
    }

    /// Whether a transaction is open on the server.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.status.has(Status::IN_TRANSACTION)
    }

    /// Puts an error for the client, as a packet of this number.
    pub(super) fn put_error(&mut self, number: u16, sqlstate: &str, message: &str, sequence: u8) {
        let mut payload = Vec::new();
        let error = ErrPacket {
            number,
            sqlstate: sqlstate.as_bytes().try_into().ok(),
            message: message.as_bytes(),
        };
        error.encode(&mut payload);
        self.pipe.tell(|out| {
            packet::put(out, sequence, &payload);
        });
    }
}

/// The answer to a question for one value.
pub fn one_value(rows: &Rows) -> Option<String> {
    let [row] = rows.as_slice() else { return None };
    let value = row.first()?.clone()?;
    String::from_utf8(value).ok()
}

/// What the log says of an end, and what the client is told.
fn last_words(end: &End) -> (String, Option<(u16, &'static str, String)>) {
    match end {
        End::ClientLeft => ("client left".to_owned(), None),
        End::ServerEnded => ("server ended the connection".to_owned(), None),
        End::Killed => (
            "killed by another session of the same agent".to_owned(),
            Some((
                1927,
                "70100",
                "countersign: another session of the same agent killed this connection.".to_owned(),
            )),
        ),
        End::ServerLost => (
            "server connection lost".to_owned(),
            Some((
                1053,
                "08S01",
                "countersign: the server connection was lost. Reconnect.".to_owned(),
            )),
        ),
        End::Violation(what) => {
            warn!(%what, "protocol violation");
            (
                format!("protocol violation: {what}"),
                Some((1835, "HY000", format!("countersign: {what}."))),
            )
        }
        End::CredentialEnded(why) => (
            format!("credential ended: {why}"),
            Some((
                1227,
                "42000",
                "countersign: this credential has expired or was revoked.".to_owned(),
            )),
        ),
        End::EndedByPerson(why) => (
            format!("ended by {why}"),
            Some((
                1927,
                "70100",
                one_line(&format!(
                    "countersign: this session was ended by {why}. Ask a person before you reconnect."
                )),
            )),
        ),
        End::Stopping => {
            let (number, sqlstate) = Refusal::Stopping.mysql_error();
            let message = Refusal::Stopping.fields().message;
            ("proxy stopping".to_owned(), Some((number, sqlstate, message)))
        }
    }
}
