//! Judgements made before, so that a known text costs one look-up. Never remembers a verdict beyond its rules, its
//! principal and a rule set without time windows, and never an approval. Read `session.rs` next.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::clock::Timestamp;
use crate::hold::masked;
use crate::identity::principal::Peer;
use crate::policy::{RuleSet, Verdict, evaluate};
use crate::sql::action::{Action, Breadth, Class, Judgement};
use crate::sql::statement::LexingState;

/// Texts remembered by one thread, in bytes of text; what is kept of one is a few times as large.
const TEXT_BYTES_MAX: u64 = 16 << 20;
const TEXTS_EXPECTED: usize = 10_000;

/// Verdicts kept beside one judgement: more principals than this on one text are rare.
const VERDICTS_MAX: usize = 8;

/// Types with smaller OIDs come with the server. Source: src/include/access/transam.h.
const FIRST_NORMAL_OBJECT_ID: u32 = 16_384;
const FOREIGN_TYPE: &str = "a parameter has a type that is not built in";

/// A text with what it would do.
#[derive(Debug)]
pub struct Judged {
    pub text: Arc<[u8]>,
    pub judgement: Arc<Judgement>,
    pub lexing: LexingState,
    /// As the log spells them.
    pub tables: Vec<String>,
    pub class: Class,
    shown: OnceCell<Vec<u8>>,
    verdicts: RefCell<Vec<Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    rules: [u8; 32],
    principal: PeerKey,
    verdict: Rc<Verdict>,
}

/// Sessions whose principal, database, user and source are the same have the same key on one thread.
pub type PeerKey = u32;

impl Judged {
    pub fn new(text: Arc<[u8]>, judgement: Judgement, lexing: LexingState) -> Self {
        let tables = judgement
            .actions
            .iter()
            .flat_map(|action| &action.tables)
            .map(|table| match &table.schema {
                Some(schema) => format!("{schema}.{}", table.name),
                None => table.name.clone(),
            })
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let class = judgement.class();
        Self {
            text,
            judgement: Arc::new(judgement),
            lexing,
            tables,
            class,
            shown: OnceCell::new(),
            verdicts: RefCell::default(),
        }
    }

    /// What EXECUTE of a name would do, as a judgement of its own.
    pub fn of_action(text: Arc<[u8]>, action: &Action, lexing: LexingState) -> Self {
        let judgement = Judgement {
            actions: vec![Action {
                span: 0..text.len(),
                ..action.clone()
            }],
            depends_on_names: true,
            fingerprint: [0; 32],
        };
        Self::new(text, judgement, lexing)
    }

    /// The same text when it can no longer be said what it does.
    pub fn unknown(&self, why: &str) -> Self {
        let mut judgement = (*self.judgement).clone();
        for action in &mut judgement.actions {
            action.class = Class::Unknown;
            action.breadth = Breadth::Unbounded;
            action.reasons.push(why.to_owned());
        }
        Self::new(Arc::clone(&self.text), judgement, self.lexing)
    }

    /// The same text with parameters of the given types: input of a type that is not built in may run somebody's
    /// code, a domain's check for one, as soon as a value is bound.
    pub fn with_types(self: Rc<Self>, types: &[u32]) -> Rc<Self> {
        match types.iter().all(|oid| *oid < FIRST_NORMAL_OBJECT_ID) {
            true => self,
            false => Rc::new(self.unknown(FOREIGN_TYPE)),
        }
    }

    /// Whether `with_types` found one that is not built in.
    pub fn has_foreign_types(&self) -> bool {
        let reasons = self.judgement.actions.iter().flat_map(|action| &action.reasons);
        reasons.into_iter().any(|reason| reason == FOREIGN_TYPE)
    }

    /// The text with passwords masked.
    pub fn shown(&self) -> &[u8] {
        let secret = self
            .judgement
            .actions
            .iter()
            .any(|action| !action.secrets.is_empty());
        if secret {
            self.shown.get_or_init(|| masked(&self.text, &self.judgement))
        } else {
            &self.text
        }
    }

    /// What the rules say of it now.
    pub fn verdict(&self, rules: &RuleSet, key: PeerKey, peer: &Peer) -> Rc<Verdict> {
        let lasting = !rules.has_time_windows();
        let mut verdicts = self.verdicts.borrow_mut();
        let known = verdicts
            .iter()
            .find(|known| known.principal == key && known.rules == rules.generation);
        if let Some(known) = known.filter(|_| lasting) {
            return Rc::clone(&known.verdict);
        }
        let verdict = Rc::new(evaluate(rules, &self.judgement, peer, Timestamp::now()));
        if lasting {
            verdicts.retain(|known| known.rules == rules.generation);
            if verdicts.len() == VERDICTS_MAX {
                verdicts.remove(0);
            }
            verdicts.push(Remembered {
                rules: rules.generation,
                principal: key,
                verdict: Rc::clone(&verdict),
            });
        }
        verdict
    }
}

#[derive(Clone)]
struct TextBytes;

impl Weighter<Box<[u8]>, Rc<Judged>> for TextBytes {
    fn weight(&self, text: &Box<[u8]>, _judged: &Rc<Judged>) -> u64 {
        text.len() as u64 + 64
    }
}

type Texts = Cache<Box<[u8]>, Rc<Judged>, TextBytes>;

/// One thread's memory of texts, by lexing state, and of peers.
#[derive(Default)]
pub struct Judgements {
    texts: HashMap<LexingState, Texts>,
    peers: HashMap<PeerFacts, PeerKey>,
}

/// All of a peer that a rule may ask for, but the session.
type PeerFacts = (
    String,
    String,
    String,
    String,
    std::net::IpAddr,
    Vec<(String, String)>,
);

impl Judgements {
    pub fn find(&self, text: &[u8], lexing: LexingState) -> Option<Rc<Judged>> {
        self.texts.get(&lexing)?.get(text).cloned()
    }

    /// Keeps a judgement, unless it depends on what names mean in its session.
    pub fn keep(&mut self, judged: &Rc<Judged>) {
        if judged.judgement.depends_on_names {
            return;
        }
        let texts = self
            .texts
            .entry(judged.lexing)
            .or_insert_with(|| Cache::with_weighter(TEXTS_EXPECTED, TEXT_BYTES_MAX, TextBytes));
        texts.insert(judged.text.as_ref().into(), Rc::clone(judged));
    }

    pub fn key_of(&mut self, peer: &Peer) -> PeerKey {
        let next = self.peers.len() as PeerKey;
        let facts = (
            peer.principal.to_string(),
            format!("{}\0{:?}", peer.owner, peer.profile),
            peer.database.clone(),
            format!("{}\0{}", peer.upstream, peer.database_user),
            peer.source,
            peer.labels.clone().into_iter().collect(),
        );
        *self.peers.entry(facts).or_insert(next)
    }
}
