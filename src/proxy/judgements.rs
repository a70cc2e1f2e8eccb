//! Judgements made before, so that a known text costs one look-up. Never remembers a verdict beyond its rules, its
//! principal and a rule set that does not ask for the time, and never an approval. Read `session.rs` next.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use quick_cache::unsync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::clock::Timestamp;
use crate::hold::{Digest, DigestBuilder, masked};
use crate::identity::principal::Peer;
use crate::policy::{ColumnLabels, Redaction, RuleSet, Verdict, evaluate};
use crate::sql::action::{Action, Breadth, Class, Judgement};
use crate::sql::statement::{LexingState, ReadUnder};

/// Texts remembered by one thread, in bytes of text; what is kept of one is a few times as large.
const TEXT_BYTES_MAX: u64 = 16 << 20;
const TEXTS_EXPECTED: usize = 10_000;

/// Scopes that one thread knows by number; more make it forget the numbers, and so what was judged under them.
const SCOPES_MAX: usize = 4_096;

/// Peers that one thread knows by number; more make it forget the numbers, and so the verdicts that were for them.
const PEERS_MAX: usize = 4_096;

/// Verdicts kept beside one judgement: more principals than this on one text are rare.
const VERDICTS_MAX: usize = 8;

/// Types with smaller OIDs come with the server. Source: src/include/access/transam.h.
const FIRST_NORMAL_OBJECT_ID: u32 = 16_384;
const FOREIGN_TYPE: &str = "a parameter has a type that is not built in";

/// Under what a text was judged, by number: whatever was judged under the same number was judged alike. Never used for
/// anything else again in its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(u64);

/// A text with what it would do.
#[derive(Debug)]
pub struct Judged<L = LexingState> {
    pub text: Arc<[u8]>,
    pub judgement: Arc<Judgement>,
    /// The settings that it was read under.
    pub lexing: L,
    pub scope: Scope,
    /// As the log spells them.
    pub tables: Vec<String>,
    pub class: Class,
    /// What the log says of `lexing`.
    pub read_as: String,
    shown: OnceCell<Vec<u8>>,
    verdicts: RefCell<Vec<Remembered>>,
    /// By the labels' generation.
    redaction: RefCell<Option<([u8; 32], Rc<Redaction>)>>,
}

#[derive(Debug)]
struct Remembered {
    rules: [u8; 32],
    principal: PeerKey,
    verdict: Rc<Verdict>,
}

/// Sessions whose principal, database, user and source are the same have the same key on one thread.
pub type PeerKey = u64;

impl<L: ReadUnder> Judged<L> {
    pub fn new(text: Arc<[u8]>, judgement: Judgement, lexing: L, scope: Scope) -> Self {
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
            scope,
            tables,
            class,
            read_as: lexing.told(),
            shown: OnceCell::new(),
            verdicts: RefCell::default(),
            redaction: RefCell::default(),
        }
    }

    /// What the labels say of it.
    pub fn redaction(&self, labels: &ColumnLabels) -> Rc<Redaction> {
        let mut known = self.redaction.borrow_mut();
        if let Some((generation, redaction)) = &*known
            && *generation == labels.generation
        {
            return Rc::clone(redaction);
        }
        let bound = || self.lexing.bound(&self.text);
        let redaction = Rc::new(Redaction::of(labels, &self.judgement, bound));
        *known = Some((labels.generation, Rc::clone(&redaction)));
        redaction
    }

    /// Whether it reads from a cursor, by FETCH or MOVE or as a portal that was not bound by a message.
    pub fn runs_cursor(&self) -> bool {
        self.text.is_empty() || self.judgement.actions.iter().any(Action::runs_cursor)
    }

    /// What EXECUTE of a name would do, as a judgement of its own.
    pub fn of_action(&self, action: &Action) -> Self {
        let text = Arc::clone(&self.text);
        let judgement = Judgement {
            actions: vec![Action {
                span: 0..text.len(),
                ..action.clone()
            }],
            depends_on_names: true,
            fingerprint: [0; 32],
            sorts: [0; 32],
        };
        Self::new(text, judgement, self.lexing, self.scope)
    }

    /// The same text when it can no longer be said what it does.
    pub fn unknown(&self, why: &str) -> Self {
        let mut judgement = (*self.judgement).clone();
        for action in &mut judgement.actions {
            action.class = Class::Unknown;
            action.breadth = Breadth::Unbounded;
            action.reasons.push(why.to_owned());
        }
        Self::new(Arc::clone(&self.text), judgement, self.lexing, self.scope)
    }

    /// The same text when it turns out to reach more rows than its words tell.
    pub fn unbounded(&self, why: &str) -> Self {
        let mut judgement = (*self.judgement).clone();
        for action in &mut judgement.actions {
            action.breadth = Breadth::Unbounded;
            action.reasons.push(why.to_owned());
        }
        Self::new(Arc::clone(&self.text), judgement, self.lexing, self.scope)
    }

    /// Everything that names decide in it. Sizes of tables drift by themselves.
    pub fn meaning(&self) -> Digest {
        let mut digest = DigestBuilder::new("countersign judgement 1");
        for action in &self.judgement.actions {
            let Action {
                class,
                breadth,
                verb,
                tables,
                columns,
                functions,
                behind,
                reasons,
                steps,
                ..
            } = action;
            let beyond = steps.beyond.as_deref().unwrap_or_default();
            let told = format!(
                "{class} {breadth:?} {tables:?} {columns:?} {functions:?} {behind:?} {reasons:?}{beyond}"
            );
            digest = digest.field(verb, told.as_bytes());
        }
        digest.finish()
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

    /// Why the rules said so, in one line.
    pub fn reason(&self, verdict: &Verdict) -> String {
        let mut reasons: Vec<&str> = verdict.reasons.iter().map(String::as_str).collect();
        if reasons.is_empty() {
            let actions = self.judgement.actions.iter();
            reasons = actions
                .flat_map(|action| action.reasons.iter().map(String::as_str))
                .collect();
        }
        reasons.truncate(3);
        if reasons.is_empty() {
            self.what()
        } else {
            reasons.join("; ")
        }
    }

    /// What the statement is, in a few words.
    pub fn what(&self) -> String {
        let actions = self.judgement.actions.iter();
        let verbs: Vec<&str> = actions.map(|action| action.verb.as_str()).take(3).collect();
        let tables: Vec<&str> = self.tables.iter().take(3).map(String::as_str).collect();
        format!("{} {}", verbs.join("; "), tables.join(", "))
            .trim()
            .to_owned()
    }

    /// What the rules say of it now.
    pub fn verdict(&self, rules: &RuleSet, key: PeerKey, peer: &Peer) -> Rc<Verdict> {
        let lasting = !rules.changes_with_time();
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

/// Parameters of PostgreSQL.
impl Judged {
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
}

#[derive(Clone)]
struct TextBytes;

impl<L> Weighter<Known, Rc<Judged<L>>> for TextBytes {
    fn weight(&self, known: &Known, _judged: &Rc<Judged<L>>) -> u64 {
        known.text.len() as u64 + 64
    }
}

/// What a judgement is found by.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Known {
    scope: Scope,
    text: Box<[u8]>,
}

/// The same, without owning the text; must hash alike.
#[derive(Hash)]
struct Asked<'a> {
    scope: Scope,
    text: &'a [u8],
}

impl Equivalent<Known> for Asked<'_> {
    fn equivalent(&self, known: &Known) -> bool {
        self.scope == known.scope && *self.text == *known.text
    }
}

/// What gives names their meaning where a catalog is configured. Its generation stands for its database too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedNames {
    pub generation: u64,
    pub search_path: String,
    /// Whom statements run as.
    pub role: String,
}

/// One thread's memory of texts, by what they were judged under, and of peers.
pub struct Judgements<L = LexingState> {
    texts: Cache<Known, Rc<Judged<L>>, TextBytes>,
    scopes: HashMap<(L, Option<SharedNames>), Scope>,
    scopes_made: u64,
    peers: HashMap<PeerFacts, PeerKey>,
    peers_made: PeerKey,
}

impl<L> Default for Judgements<L> {
    fn default() -> Self {
        Self {
            texts: Cache::with_weighter(TEXTS_EXPECTED, TEXT_BYTES_MAX, TextBytes),
            scopes: HashMap::new(),
            scopes_made: 0,
            peers: HashMap::new(),
            peers_made: 0,
        }
    }
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

impl<L: Copy + Eq + Hash> Judgements<L> {
    pub fn find(&self, text: &[u8], scope: Scope) -> Option<Rc<Judged<L>>> {
        self.texts.get(&Asked { scope, text }).cloned()
    }

    /// Keeps a judgement, unless it depends on what prepared names mean in its session.
    pub fn keep(&mut self, judged: &Rc<Judged<L>>) {
        if judged.judgement.depends_on_names {
            return;
        }
        let known = Known {
            scope: judged.scope,
            text: judged.text.as_ref().into(),
        };
        self.texts.insert(known, Rc::clone(judged));
    }

    /// The number of what all sessions in the same circumstances share.
    pub fn shared_scope(&mut self, lexing: L, names: Option<SharedNames>) -> Scope {
        let circumstances = (lexing, names);
        if let Some(scope) = self.scopes.get(&circumstances) {
            return *scope;
        }
        if self.scopes.len() >= SCOPES_MAX {
            self.scopes.clear();
        }
        let scope = self.scope_of_one();
        self.scopes.insert(circumstances, scope);
        scope
    }

    /// A number for one session at one moment, whose judgements nobody else may use.
    pub fn scope_of_one(&mut self) -> Scope {
        self.scopes_made += 1;
        Scope(self.scopes_made)
    }

    pub fn key_of(&mut self, peer: &Peer) -> PeerKey {
        let facts = (
            peer.principal.to_string(),
            format!("{}\0{:?}", peer.owner, peer.profile),
            peer.database.clone(),
            format!("{}\0{}", peer.upstream, peer.database_user),
            peer.source,
            peer.labels.clone().into_iter().collect(),
        );
        if let Some(key) = self.peers.get(&facts) {
            return *key;
        }
        if self.peers.len() >= PEERS_MAX {
            self.peers.clear();
        }
        self.peers_made += 1;
        self.peers.insert(facts, self.peers_made);
        self.peers_made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::judge_postgres;
    use crate::sql::statement::Role;

    #[test]
    fn a_judgement_is_found_by_its_text_under_its_own_scope_alone() {
        let mut judgements = Judgements::<LexingState>::default();
        let lexing = LexingState::default_postgres();
        let changed = LexingState {
            role: Role::Changed,
            ..lexing
        };
        let scope = judgements.shared_scope(lexing, None);
        let other = judgements.shared_scope(changed, None);
        let text: Arc<[u8]> = Arc::from(*b"SELECT 1");
        let judgement = judge_postgres(&text, lexing, &());
        judgements.keep(&Rc::new(Judged::new(text, judgement, lexing, scope)));
        assert_eq!(judgements.shared_scope(lexing, None), scope);
        assert!(judgements.find(b"SELECT 1", scope).is_some());
        assert!(judgements.find(b"SELECT 1", other).is_none());
        assert!(judgements.find(b"SELECT 2", scope).is_none());
    }

    #[test]
    fn forgotten_scopes_come_back_under_other_numbers() {
        let mut judgements = Judgements::<LexingState>::default();
        let lexing = LexingState::default_postgres();
        let scope = judgements.shared_scope(lexing, None);
        judgements.scopes.clear();
        assert_ne!(judgements.shared_scope(lexing, None), scope);
    }

    #[test]
    fn another_catalog_path_or_role_is_another_scope() {
        let mut judgements = Judgements::<LexingState>::default();
        let lexing = LexingState::default_postgres();
        let names = SharedNames {
            generation: 1,
            search_path: "app".to_owned(),
            role: "bot".to_owned(),
        };
        let others = [
            SharedNames {
                generation: 2,
                ..names.clone()
            },
            SharedNames {
                search_path: "other".to_owned(),
                ..names.clone()
            },
            SharedNames {
                role: "owner".to_owned(),
                ..names.clone()
            },
        ];
        let scope = judgements.shared_scope(lexing, Some(names.clone()));
        assert_eq!(judgements.shared_scope(lexing, Some(names)), scope);
        for other in others {
            assert_ne!(judgements.shared_scope(lexing, Some(other)), scope);
        }
        assert_ne!(judgements.shared_scope(lexing, None), scope);
    }
}
