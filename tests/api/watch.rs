//! `countersign watch` on a terminal: what is drawn, what keys do, and once for real on a pseudo-terminal.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::api::card::Card;
use countersign::cli::card::Ink;
use countersign::cli::watch::state::{Act, Dialog, Input, Key, Watch};
use countersign::cli::watch::view::{card_lines, draw};
use countersign::clock::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use reqwest::StatusCode;
use serde_json::Value;

use super::{House, text};

/// What would change a terminal's title and hide what follows, if a terminal ever got it.
const HOSTILE: &str = "DROP TABLE orders /* \u{1b}]0;owned\u{7}\u{1b}[8m \u{202E}sredro */";

fn card(value: &Value) -> Card {
    serde_json::from_value(value.clone()).expect("a card")
}

fn drawn(watch: &mut Watch, columns: u16, rows: u16, ink: Ink) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a test terminal");
    terminal
        .draw(|frame| draw(frame, watch, Timestamp::now(), ink))
        .expect("drawn");
    terminal.backend().buffer().clone()
}

fn rows_of(buffer: &Buffer) -> Vec<String> {
    let columns = usize::from(buffer.area.width.max(1));
    let rows = buffer.content.chunks(columns);
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect())
        .collect()
}

fn shown(watch: &mut Watch, columns: u16, rows: u16) -> String {
    rows_of(&drawn(watch, columns, rows, Ink::Plain)).join("\n")
}

fn type_in(watch: &mut Watch, word: &str) {
    for letter in word.chars() {
        assert!(
            watch.take(Input::Key(Key::Char(letter))).is_none(),
            "{letter} of {word}"
        );
    }
}

#[tokio::test]
async fn queue_and_card_are_shown_at_every_size_and_nothing_hostile_reaches_a_cell() {
    let house = House::build().await;
    let (_first, hostile) = house.park(HOSTILE).await;
    let (_second, plain) = house.park("DROP TABLE customers").await;
    let mut watch = Watch::new(vec![card(&hostile), card(&plain)]);
    for (columns, rows) in [(80, 24), (320, 60), (110, 30)] {
        let screen = shown(&mut watch, columns, rows);
        assert!(
            screen.starts_with("countersign watch   2 waiting   live"),
            "{screen}"
        );
        for wanted in [
            text(&hostile, "id"),
            text(&plain, "id"),
            "DROP TABLE orders",
            "⟦U+202E⟧",
            "Enter open",
        ] {
            assert!(
                screen.contains(wanted),
                "no `{wanted}` at {columns}×{rows}:\n{screen}"
            );
        }
        let is_bad = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202E}');
        assert!(!screen.contains(is_bad), "{screen:?}");
    }
    for (columns, rows) in [(1, 1), (39, 11), (40, 12), (41, 500), (500, 13)] {
        assert_eq!(
            drawn(&mut watch, columns, rows, Ink::Coloured).area.width,
            columns
        );
    }
    assert!(shown(&mut watch, 39, 11).contains("make the window larger"));
    let colours = |ink, watch: &mut Watch| {
        let buffer = drawn(watch, 80, 24, ink);
        buffer
            .content
            .iter()
            .filter(|cell| cell.fg != Color::Reset)
            .count()
    };
    assert_eq!(colours(Ink::Plain, &mut watch), 0);
    assert!(colours(Ink::Coloured, &mut watch) > 0);
    watch.take(Input::Queue(Vec::new()));
    assert!(shown(&mut watch, 80, 24).contains("Nothing waits."));
}

#[tokio::test]
async fn every_letter_of_a_long_statement_is_on_some_line() {
    let house = House::build().await;
    let words: Vec<String> = (0..2000).map(|number| format!("column_{number}")).collect();
    let statement = format!("DROP TABLE {}", words.join(","));
    let (_parked, value) = house.park(&statement).await;
    let shown = card_lines(&card(&value), 40, Timestamp::now(), Ink::Plain);
    let letters: String = shown.lines[..shown.statement_end]
        .iter()
        .map(|line| line.to_string())
        .filter_map(|line| Some(line.split_once(['│', '┆'])?.1.replace(' ', "")))
        .collect();
    assert!(letters.starts_with(&statement.replace(' ', "")), "{letters}");
    assert!(shown.lines.iter().all(|line| line.width() <= 40));
}

#[tokio::test]
async fn an_approval_takes_an_opened_card_read_to_its_end_and_a_word() {
    let house = House::build().await;
    let statement: String = (0..80).map(|number| format!("DROP TABLE t{number};\n")).collect();
    let (_parked, value) = house.park(&statement).await;
    let card = card(&value);
    let mut watch = Watch::new(vec![card.clone()]);
    shown(&mut watch, 80, 24);
    assert!(matches!(watch.take(Input::Key(Key::Char('a'))), Some(Act::Open(id)) if id == card.id));
    assert_eq!(watch.dialog, None);
    shown(&mut watch, 80, 24);
    assert!(!watch.may_approve(), "the end was not on the screen");
    watch.take(Input::Key(Key::PageDown));
    shown(&mut watch, 80, 24);
    assert!(!watch.may_approve());
    watch.take(Input::Key(Key::End));
    let screen = shown(&mut watch, 80, 24);
    assert!(watch.may_approve() && screen.contains("a approve"), "{screen}");
    // No key alone, however often, approves.
    let keys = [
        Key::Char('a'),
        Key::Enter,
        Key::Char('y'),
        Key::Tab,
        Key::Char(' '),
        Key::Down,
    ];
    for key in keys {
        for _ in 0..50 {
            let act = watch.take(Input::Key(key));
            assert!(!matches!(act, Some(Act::Approve { .. })), "{key:?}");
        }
        watch.take(Input::Key(Key::Escape));
        watch.take(Input::Key(Key::Enter));
    }
    watch.take(Input::Key(Key::Escape));
    watch.take(Input::Key(Key::Char('a')));
    let screen = shown(&mut watch, 80, 24);
    assert!(
        screen.contains("DROP TABLE t0;") && screen.contains("Type approve, or"),
        "{screen}"
    );
    type_in(&mut watch, "yes");
    assert!(watch.take(Input::Key(Key::Enter)).is_none());
    type_in(&mut watch, &card.id.to_lowercase());
    let Some(Act::Approve { id, digest, version }) = watch.take(Input::Key(Key::Enter)) else {
        panic!("the id was typed")
    };
    assert_eq!(
        (id, digest, version),
        (card.id.clone(), card.digest.clone(), card.version)
    );
    assert_eq!(watch.dialog, None);
    // Other bytes under the same id have to be read anew.
    let mut other = card.clone();
    other.digest = "0".repeat(64);
    watch.take(Input::Queue(vec![other]));
    assert!(!watch.may_approve());
}

#[tokio::test]
async fn a_denial_takes_a_reason_and_the_selection_outlives_the_list() {
    let house = House::build().await;
    let (_first, one) = house.park("DROP TABLE a").await;
    let (_second, two) = house.park("DROP TABLE b").await;
    let (one, two) = (card(&one), card(&two));
    let mut watch = Watch::new(vec![one.clone(), two.clone()]);
    watch.take(Input::Key(Key::Char('j')));
    assert!(matches!(watch.take(Input::Key(Key::Char('d'))), Some(Act::Open(id)) if id == two.id));
    assert!(matches!(watch.dialog, Some(Dialog::Line { .. })));
    assert!(watch.take(Input::Key(Key::Enter)).is_none(), "no reason yet");
    // The list changes under the dialog: it stays with what it was begun for.
    watch.take(Input::Queue(vec![two.clone()]));
    type_in(&mut watch, "use a view, quietly");
    let Some(Act::Deny { id, reason }) = watch.take(Input::Key(Key::Enter)) else {
        panic!("a reason was typed")
    };
    assert_eq!((id, reason.as_str()), (two.id.clone(), "use a view, quietly"));
    watch.take(Input::Queue(vec![one.clone(), two.clone()]));
    assert_eq!(watch.selected, Some(two.id));
    watch.take(Input::Queue(vec![one.clone()]));
    assert_eq!(watch.selected, Some(one.id));
    assert!(matches!(watch.take(Input::Key(Key::Interrupt)), Some(Act::Quit)));
}

/// The real program on a real terminal: `script` makes it.
struct Pty {
    process: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
    pid_file: std::path::PathBuf,
}

impl Pty {
    fn open(house: &House, who: &str) -> Self {
        let pid_file = house.folder.path().join("watch.pid");
        let line = format!(
            "stty rows 24 cols 80; echo $$ > '{}'; exec '{}' watch",
            pid_file.display(),
            env!("CARGO_BIN_EXE_countersign")
        );
        let mut process = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("COUNTERSIGN_API_URL", &house.url)
            .env("COUNTERSIGN_TOKEN", &house.tokens[who])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script runs");
        let keys = process.stdin.take().expect("piped");
        let mut output = process.stdout.take().expect("piped");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut chunk) {
                kept.lock()
                    .expect("no panic under it")
                    .extend_from_slice(&chunk[..count]);
            }
        });
        Self {
            process,
            keys,
            seen,
            pid_file,
        }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic under it")).into_owned()
    }

    async fn shows(&self, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = on_screen(&self.seen());
            if screen.contains(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "no `{wanted}` on:\n{screen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
        self.keys.flush().expect("the terminal takes keys");
        // So that each is a key of its own, as from a person.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    async fn ends(mut self) -> (std::process::ExitStatus, String) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.process.try_wait().expect("it is ours") {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return (status, self.seen());
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.seen());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_terminal_a_request_is_read_approved_and_the_terminal_given_back() {
    let house = House::build().await;
    let (_parked, value) = house.park(HOSTILE).await;
    let id = text(&value, "id").to_owned();
    let mut pty = Pty::open(&house, "alice");
    pty.shows(&id).await;
    pty.shows("1 waiting").await;
    pty.press("\r").await;
    pty.shows("a approve").await;
    pty.press("a").await;
    pty.shows("Type approve").await;
    pty.press("approve").await;
    pty.press("\r").await;
    pty.shows("approved").await;
    let (status, shown) = house.get("alice", &format!("/api/v1/requests/{id}")).await;
    assert_eq!((status, text(&shown, "state")), (StatusCode::OK, "approved"));
    assert_eq!(shown["discussion"][0]["kind"], "viewed", "{shown}");
    // What comes later shows up by itself.
    let (_later, later) = house.park("DROP TABLE later").await;
    pty.shows(text(&later, "id")).await;
    pty.press("q").await;
    let (status, seen) = pty.ends().await;
    assert!(status.success(), "{seen}");
    assert!(
        seen.contains("\u{1b}[?1049h") && seen.ends_with_restored(),
        "{seen:?}"
    );
    for hostile in ["\u{1b}]0;", "\u{1b}[8m", "\u{7}", "\u{202E}"] {
        assert!(!seen.contains(hostile), "{hostile:?} reached the terminal");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_gives_the_terminal_back() {
    let house = House::build().await;
    let (_parked, value) = house.park("DROP TABLE a").await;
    let pty = Pty::open(&house, "alice");
    pty.shows(text(&value, "id")).await;
    let pid = std::fs::read_to_string(&pty.pid_file).expect("it has begun");
    let sent = Command::new("kill").args(["-TERM", pid.trim()]).status();
    assert!(sent.expect("kill runs").success());
    let (status, seen) = pty.ends().await;
    assert!(status.success() && seen.ends_with_restored(), "{status} {seen:?}");
}

/// What a terminal shows after these bytes: it knows what ratatui sends, places and letters.
fn on_screen(bytes: &str) -> String {
    let mut cells = vec![vec![' '; 80]; 24];
    let (mut row, mut column) = (0, 0);
    let mut letters = bytes.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            let mut sequence = String::new();
            for letter in letters.by_ref().skip_while(|letter| *letter == '[') {
                sequence.push(letter);
                if letter.is_ascii_alphabetic() {
                    break;
                }
            }
            if let Some(place) = sequence.strip_suffix('H') {
                let mut numbers = place.split(';').map(|number| number.parse().unwrap_or(1_usize));
                row = numbers.next().unwrap_or(1) - 1;
                column = numbers.next().unwrap_or(1) - 1;
            }
        } else if let Some(cell) = cells.get_mut(row).and_then(|cells| cells.get_mut(column)) {
            *cell = letter;
            column += 1;
        }
    }
    let rows: Vec<String> = cells.iter().map(|row| row.iter().collect()).collect();
    rows.join("\n")
}

trait Restored {
    fn ends_with_restored(&self) -> bool;
}

impl Restored for String {
    /// The main screen is back, and nothing was drawn on the other one after that.
    fn ends_with_restored(&self) -> bool {
        let left = self.rfind("\u{1b}[?1049l");
        left.is_some() && left > self.rfind("\u{1b}[?1049h")
    }
}
