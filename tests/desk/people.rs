//! People, tokens and agents: what is kept of a secret, what a token may do, and that every change is in the log.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::audit::Kind;
use countersign::clock::Timestamp;
use countersign::desk::{Desk, NewToken, Settings};
use countersign::identity::directory::{Hands, OtherTokens, Scope, Scopes, SignedIn};
use countersign::identity::secret::{MysqlCredential, NativePassword, TokenHash};
use countersign::journal::{LogFilter, Order};
use countersign::store::KeptAnswer;
use countersign::store::sqlite::Store;

use crate::world::{block_on, open_journal, person, populate, principal, scratch, store_path};

fn store(dir: &std::path::Path) -> Store {
    let mut store = Store::open(&store_path(dir)).expect("a store");
    populate(&mut store, Timestamp::now());
    store
}

fn token(person_name: &str, scopes: Option<Scopes>, expires_at: Option<Timestamp>) -> NewToken {
    NewToken {
        person: person(person_name),
        scopes,
        expires_at,
        seen_by: BTreeSet::new(),
        others: OtherTokens::Stay,
    }
}

#[test]
fn neither_secrets_nor_tokens_are_in_the_store() {
    let dir = scratch();
    let mut store = store(dir.path());
    let now = Timestamp::now();
    let issued = store
        .token_issue(&token("dora", None, None), &person("root"), now)
        .expect("a token");
    let rotated = store
        .agent_rotate(&principal("bot-a"), NativePassword::Refused, &person("root"), now)
        .expect("a secret");
    for file in std::fs::read_dir(dir.path()).expect("the folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("its bytes");
        for secret in [issued.reveal(), rotated.reveal()] {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes())
            );
        }
    }
}

/// Whether or not anybody calls again, and for good: its text is in no file of the folder.
#[test]
fn a_kept_answer_is_gone_when_its_day_is_over() {
    let mut world = crate::world::World::new();
    let word = "a value of the shop's customers";
    let answer = KeptAnswer {
        call: [7; 32],
        status: 200,
        body: Some(format!("{{\"value\":\"{word}\"}}")),
    };
    let now = world.now.wall;
    world
        .core()
        .store()
        .keep_answer(&person("dora"), "key", &answer, now)
        .expect("kept");
    let mut left = |pass: Duration| {
        world.pass(pass);
        world.tick();
        let files = std::fs::read_dir(world.dir.path()).expect("the folder");
        let paths = files
            .map(|file| file.expect("a file").path())
            .filter(|path| path.is_file());
        let holds = |path: &std::path::PathBuf| {
            let bytes = std::fs::read(path).expect("its bytes");
            bytes.windows(word.len()).any(|window| window == word.as_bytes())
        };
        paths.filter(holds).count()
    };
    assert!(left(Duration::from_secs(1)) > 0, "it was there");
    assert!(left(Duration::from_secs(24 * 3600 - 2)) > 0, "a second is left");
    assert_eq!(left(Duration::from_secs(61)), 0, "it is still there");
}

#[test]
fn a_native_verifier_is_kept_only_where_it_is_asked_for_and_goes_with_the_next_rotation() {
    let dir = scratch();
    let mut store = store(dir.path());
    let now = Timestamp::now();
    let made = store.agent("bot-a").expect("an answer").expect("known").mysql;
    assert!(made.caching_sha2.is_some() && made.native.is_none());
    for native in [NativePassword::Allowed, NativePassword::Refused] {
        let secret = store
            .agent_rotate(&principal("bot-a"), native, &person("root"), now)
            .expect("a secret");
        let kept = store.agent("bot-a").expect("an answer").expect("known").mysql;
        assert_eq!(kept, MysqlCredential::make(secret.reveal(), native));
        assert_eq!(kept.native.is_some(), native == NativePassword::Allowed);
    }
    let certificate = countersign::identity::certificate::CertificateName::parse("CN=bot").expect("a name");
    store
        .agent_certify(&principal("bot-a"), &certificate, &person("root"), now)
        .expect("certified");
    let kept = store.agent("bot-a").expect("an answer").expect("known").mysql;
    assert_eq!(
        kept,
        MysqlCredential::default(),
        "no secret is behind it any more"
    );
}

#[test]
fn a_token_gives_what_its_person_may_do_and_never_more() {
    let dir = scratch();
    let mut store = store(dir.path());
    let now = Timestamp::now();
    let all = [Scope::Read, Scope::Decide, Scope::Log, Scope::Manage];
    type Case<'a> = (&'a str, Option<&'a [Scope]>, &'a [Scope]);
    let cases: [Case<'_>; 5] = [
        ("dora", None, &[Scope::Read, Scope::Decide]),
        ("dora", Some(&all), &[Scope::Read, Scope::Decide]),
        ("dora", Some(&[Scope::Read]), &[Scope::Read]),
        ("alan", None, &[Scope::Read, Scope::Log]),
        ("root", None, &all),
    ];
    for (who, asked, given) in cases {
        let scopes = asked.map(|scopes| scopes.iter().copied().collect());
        let secret = store
            .token_issue(&token(who, scopes, None), &person("root"), now)
            .expect("a token");
        let hash = TokenHash::of(secret.reveal()).expect("a token");
        let found = store.authenticate(hash, now).expect("an answer").expect("known");
        assert_eq!(
            (found.person.name, found.scopes.iter().collect::<Vec<_>>()),
            (person(who), given.to_vec())
        );
    }
}

#[test]
fn a_token_ends_with_its_time_its_revocation_or_its_person() {
    let dir = scratch();
    let mut store = store(dir.path());
    let now = Timestamp::now();
    let root = person("root");
    let mut issue = |who: &str, ends: Option<Timestamp>| {
        let secret = store
            .token_issue(&token(who, None, ends), &root, now)
            .expect("a token");
        TokenHash::of(secret.reveal()).expect("a token")
    };
    let later = now.after(Duration::from_secs(60));
    let (short, revoked, gone) = (
        issue("dora", Some(later)),
        issue("dave", None),
        issue("eve", None),
    );
    let is_known = |store: &mut Store, hash, at| store.authenticate(hash, at).expect("an answer").is_some();
    assert!(is_known(&mut store, short, now));
    assert!(!is_known(&mut store, short, later));
    assert_eq!(
        store.tokens_revoke(&person("dave"), &root, now).expect("revoked"),
        1
    );
    assert!(!is_known(&mut store, revoked, now));
    store
        .person_set_active(&person("eve"), false, &root, now)
        .expect("deactivated");
    assert!(!is_known(&mut store, gone, now));
}

#[test]
fn a_token_remembers_who_else_has_seen_it() {
    let dir = scratch();
    let mut store = store(dir.path());
    let now = Timestamp::now();
    for seen_by in [BTreeSet::new(), [person("carl"), person("root")].into()] {
        let new = NewToken {
            seen_by: seen_by.clone(),
            ..token("dora", None, Some(now.after(Duration::from_secs(60))))
        };
        let secret = store.token_issue(&new, &person("root"), now).expect("a token");
        let hash = TokenHash::of(secret.reveal()).expect("a token");
        let mut again = Store::open(&store_path(dir.path())).expect("the same file");
        let found: SignedIn = again.authenticate(hash, now).expect("an answer").expect("known");
        assert_eq!((found.token_seen_by, found.expires_at), (seen_by, new.expires_at));
    }
}

#[test]
fn a_token_that_replaces_the_others_ends_them() {
    let dir = scratch();
    let mut store = store(dir.path());
    let now = Timestamp::now();
    let root = person("root");
    let replacing = NewToken {
        others: OtherTokens::Revoked,
        ..token("dora", None, None)
    };
    let issued: Vec<_> = [token("dora", None, None), token("dave", None, None), replacing]
        .iter()
        .map(|new| store.token_issue(new, &root, now).expect("a token"))
        .collect();
    let known: Vec<bool> = issued
        .iter()
        .map(|secret| TokenHash::of(secret.reveal()).expect("a token"))
        .map(|hash| store.authenticate(hash, now).expect("an answer").is_some())
        .collect();
    assert_eq!(known, [false, true, true]);
}

#[test]
fn whoever_may_be_behind_a_call_has_seen_the_secret_that_it_makes() {
    let dir = scratch();
    let mut store = store(dir.path());
    let by = Hands {
        person: person("dora"),
        token_seen_by: [person("dave")].into(),
    };
    store
        .agent_rotate(&principal("bot-a"), NativePassword::Refused, by, Timestamp::now())
        .expect("rotated");
    let agent = store.agent("bot-a").expect("an answer").expect("known");
    assert_eq!(
        agent.has_seen_secret,
        [person("carl"), person("dave"), person("dora")].into()
    );
}

#[test]
fn a_rotation_ends_the_old_secret_and_remembers_who_has_seen_the_new_one() {
    let dir = scratch();
    let mut store = store(dir.path());
    let before = store.agent("bot-a").expect("an answer").expect("known");
    store
        .agent_rotate(
            &principal("bot-a"),
            NativePassword::Refused,
            &person("dora"),
            Timestamp::now(),
        )
        .expect("rotated");
    let after = store.agent("bot-a").expect("an answer").expect("known");
    assert_ne!(before.credential, after.credential);
    assert_eq!(after.has_seen_secret, [person("carl"), person("dora")].into());
}

#[test]
fn changes_made_beside_a_running_desk_or_before_it_are_in_the_log() {
    let dir = scratch();
    let desk = Desk::start(store(dir.path()), open_journal(dir.path()), Settings::default()).expect("a desk");
    let mut beside = Store::open(&store_path(dir.path())).expect("a second connection");
    beside
        .agent_revoke(&principal("bot-b"), &person("root"), Timestamp::now())
        .expect("revoked");
    std::thread::sleep(Duration::from_millis(250));
    block_on(desk.stop());
    drop(desk);
    let filter = LogFilter {
        kind: Some(Kind::PeopleChange),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let log = open_journal(dir.path()).reader().query(&filter).expect("the log");
    let told: Vec<_> = log
        .records
        .iter()
        .map(|record| {
            (
                record.fields.change.as_deref(),
                record.fields.name.as_deref(),
                record.fields.by.as_deref(),
            )
        })
        .collect();
    assert_eq!(told.len(), 11);
    assert_eq!(told[0], (Some("person_added"), Some("dora"), Some("root")));
    assert_eq!(told[10], (Some("agent_revoked"), Some("bot-b"), Some("root")));
}

#[test]
fn two_processes_that_open_a_new_store_at_once_make_it_once() {
    for _ in 0..20 {
        let dir = scratch();
        let path = store_path(dir.path());
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| Store::open(&path).expect("a store"));
            }
        });
    }
}
