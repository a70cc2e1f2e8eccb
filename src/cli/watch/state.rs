//! What the screen knows, and what a key does. Pure: no terminal, no network, no clock. Read `view.rs` for how it looks.
//!
//! Why an approval needs the end of the statement, then `a`, then a word: what is approved must have been on the screen,
//! and no single key, held or bounced, may decide.

use std::collections::BTreeSet;

use super::super::exit::{CliError, Exit};
use crate::api::card::Card;

/// Letters that one line of a dialog takes; the API takes no more of a reason.
const LINE_BYTES_MAX: usize = 1000;
/// Lines that a page key moves, where the screen is not known yet.
const PAGE_LINES: usize = 10;

/// What the person pressed, in no terminal's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Tab,
    Backspace,
    /// Ctrl-C.
    Interrupt,
    Char(char),
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    Key(Key),
    /// The screen has another size.
    Resize,
    Tick,
    /// All that waits, oldest first.
    Queue(Vec<Card>),
    /// The list could not be read.
    Lost(CliError),
    /// An act is done: the card as it is now, and what to say.
    Done(Box<Card>, &'static str),
    Failed(String, CliError),
}

/// Something to do.
#[derive(Debug)]
pub enum Act {
    Quit,
    Fail(CliError),
    /// The card was opened, which is recorded.
    Open(String),
    Approve {
        id: String,
        digest: String,
        version: u64,
    },
    Deny {
        id: String,
        reason: String,
    },
    Comment {
        id: String,
        text: String,
    },
    Ask {
        id: String,
        question: String,
    },
}

/// Which half the arrow keys move in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    Queue,
    Card,
}

/// What stands in front of everything else.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialog {
    Help,
    /// The card as it was shown: an approval is bound to its digest and version.
    Approve {
        card: Box<Card>,
        typed: String,
        scroll: usize,
    },
    Line {
        purpose: Purpose,
        id: String,
        typed: String,
    },
}

/// What a line of text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Deny,
    Comment,
    Ask,
}

impl Purpose {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Deny => "Deny: why? The agent reads it",
            Self::Comment => "Comment, for reviewers and auditors",
            Self::Ask => "Ask the agent, in one line",
        }
    }
}

/// What the last act came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Good(String),
    Bad(String),
}

/// Everything that is on the screen.
#[derive(Debug)]
pub struct Watch {
    pub queue: Vec<Card>,
    /// The id of the selected request.
    pub selected: Option<String>,
    pub focus: Focus,
    /// The first line of the card that is shown.
    pub scroll: usize,
    pub dialog: Option<Dialog>,
    pub word: Option<Word>,
    /// Whether the list was read when it was tried last.
    pub is_live: bool,
    /// Lines of a page of the card, as last drawn.
    pub page: usize,
    /// Lines that the card can be scrolled by, as last drawn.
    pub scroll_max: usize,
    /// Id and digest of statements whose end was on the screen.
    seen: BTreeSet<(String, String)>,
    /// Ids of cards that were opened.
    opened: BTreeSet<String>,
}

impl Watch {
    pub fn new(queue: Vec<Card>) -> Self {
        Self {
            selected: queue.first().map(|card| card.id.clone()),
            queue,
            focus: Focus::Queue,
            scroll: 0,
            dialog: None,
            word: None,
            is_live: true,
            page: PAGE_LINES,
            scroll_max: 0,
            seen: BTreeSet::new(),
            opened: BTreeSet::new(),
        }
    }

    pub fn card(&self) -> Option<&Card> {
        let id = self.selected.as_ref()?;
        self.queue.iter().find(|card| card.id == *id)
    }

    /// The statement's last line was drawn.
    pub fn saw_end(&mut self, id: &str, digest: &str) {
        self.seen.insert((id.to_owned(), digest.to_owned()));
    }

    /// Whether the selected card may be approved from here: it was opened, and its statement was shown to its end.
    pub fn may_approve(&self) -> bool {
        self.card().is_some_and(|card| {
            self.opened.contains(&card.id) && self.seen.contains(&(card.id.clone(), card.digest.clone()))
        })
    }

    pub fn take(&mut self, input: Input) -> Option<Act> {
        match input {
            Input::Tick | Input::Resize => None,
            Input::Queue(cards) => {
                self.is_live = true;
                self.replace(cards);
                None
            }
            Input::Lost(error) => {
                self.is_live = false;
                let is_final = matches!(error.exit, Exit::NotSignedIn | Exit::NotPermitted);
                is_final.then_some(Act::Fail(error))
            }
            Input::Done(card, said) => {
                if !said.is_empty() {
                    self.word = Some(Word::Good(format!("{}: {said}", card.id)));
                }
                self.update(*card);
                None
            }
            Input::Failed(id, error) => {
                self.opened.remove(&id);
                self.word = Some(Word::Bad(format!("{id}: {error}; {}", error.next_step)));
                None
            }
            Input::Key(key) => self.press(key),
        }
    }

    fn replace(&mut self, cards: Vec<Card>) {
        let place = self.place();
        self.queue = cards;
        let is_there = self.card().is_some();
        if !is_there {
            let last = self.queue.len().saturating_sub(1);
            self.select(place.unwrap_or(0).min(last));
            self.focus = Focus::Queue;
        }
        self.opened
            .retain(|id| self.queue.iter().any(|card| card.id == *id));
        self.seen
            .retain(|(id, _)| self.queue.iter().any(|card| card.id == *id));
    }

    fn update(&mut self, card: Card) {
        let waits = matches!(card.state.as_str(), "pending" | "detached");
        match self.queue.iter().position(|known| known.id == card.id) {
            Some(place) if waits => self.queue[place] = card,
            Some(place) => {
                let mut rest = self.queue.clone();
                rest.remove(place);
                self.replace(rest);
            }
            None => {}
        }
    }

    fn place(&self) -> Option<usize> {
        let id = self.selected.as_ref()?;
        self.queue.iter().position(|card| card.id == *id)
    }

    fn select(&mut self, place: usize) {
        let id = self.queue.get(place).map(|card| card.id.clone());
        if id != self.selected {
            self.scroll = 0;
        }
        self.selected = id;
    }

    fn press(&mut self, key: Key) -> Option<Act> {
        if key == Key::Interrupt {
            return Some(Act::Quit);
        }
        match self.dialog.take() {
            Some(dialog) => self.press_in(dialog, key),
            None => self.press_outside(key),
        }
    }

    fn press_outside(&mut self, key: Key) -> Option<Act> {
        self.word = None;
        match (key, self.focus) {
            (Key::Char('q'), Focus::Queue) => return Some(Act::Quit),
            (Key::Char('?'), _) => self.dialog = Some(Dialog::Help),
            (Key::Up | Key::Char('k'), Focus::Queue) => {
                self.select(self.place().unwrap_or(0).saturating_sub(1));
            }
            (Key::Down | Key::Char('j'), Focus::Queue) => {
                let last = self.queue.len().saturating_sub(1);
                self.select(self.place().map_or(0, |place| place + 1).min(last));
            }
            (Key::Enter | Key::Tab, Focus::Queue) => return self.open(),
            (Key::Escape | Key::Tab | Key::Char('q'), Focus::Card) => self.focus = Focus::Queue,
            (key, _) if self.scrolls(key) => {}
            (Key::Char('a'), _) => return self.begin_approval(),
            (Key::Char('d'), _) => return self.begin_line(Purpose::Deny),
            (Key::Char('c'), _) => return self.begin_line(Purpose::Comment),
            (Key::Char('Q'), _) => return self.begin_line(Purpose::Ask),
            _other => {}
        }
        None
    }

    /// Whether it was a key that moves the card.
    fn scrolls(&mut self, key: Key) -> bool {
        let page = self.page.saturating_sub(1).max(1);
        let scroll = match (key, self.focus) {
            (Key::Up | Key::Char('k'), Focus::Card) => self.scroll.saturating_sub(1),
            (Key::Down | Key::Char('j'), Focus::Card) => self.scroll + 1,
            (Key::PageUp, _) => self.scroll.saturating_sub(page),
            (Key::PageDown | Key::Char(' '), _) => self.scroll + page,
            (Key::Home, _) => 0,
            (Key::End, _) => self.scroll_max,
            _other => return false,
        };
        self.scroll = scroll.min(self.scroll_max);
        true
    }

    fn open(&mut self) -> Option<Act> {
        let id = self.card()?.id.clone();
        self.focus = Focus::Card;
        self.opened.insert(id.clone()).then_some(Act::Open(id))
    }

    fn begin_approval(&mut self) -> Option<Act> {
        if self.may_approve() {
            let card = Box::new(self.card()?.clone());
            self.dialog = Some(Dialog::Approve {
                card,
                typed: String::new(),
                scroll: 0,
            });
            return None;
        }
        self.card()?;
        self.word = Some(Word::Bad(
            "read the statement to its end first: Enter, then PgDn".to_owned(),
        ));
        self.open()
    }

    fn begin_line(&mut self, purpose: Purpose) -> Option<Act> {
        let id = self.card()?.id.clone();
        self.dialog = Some(Dialog::Line {
            purpose,
            id,
            typed: String::new(),
        });
        self.open()
    }

    fn press_in(&mut self, dialog: Dialog, key: Key) -> Option<Act> {
        match dialog {
            Dialog::Help => None,
            Dialog::Approve { card, typed, scroll } => self.press_in_approval(card, typed, scroll, key),
            Dialog::Line { purpose, id, typed } => self.press_in_line(purpose, id, typed, key),
        }
    }

    fn press_in_approval(
        &mut self,
        card: Box<Card>,
        mut typed: String,
        mut scroll: usize,
        key: Key,
    ) -> Option<Act> {
        let page = self.page.saturating_sub(1).max(1);
        match key {
            Key::Escape => return None,
            Key::Enter => {
                let said = typed.trim();
                if said.eq_ignore_ascii_case("approve") || said.eq_ignore_ascii_case(&card.id) {
                    return Some(Act::Approve {
                        id: card.id.clone(),
                        digest: card.digest.clone(),
                        version: card.version,
                    });
                }
                typed.clear();
            }
            Key::Up => scroll = scroll.saturating_sub(1),
            Key::Down => scroll += 1,
            Key::PageUp => scroll = scroll.saturating_sub(page),
            Key::PageDown => scroll += page,
            other => edit(&mut typed, other),
        }
        self.dialog = Some(Dialog::Approve { card, typed, scroll });
        None
    }

    fn press_in_line(&mut self, purpose: Purpose, id: String, mut typed: String, key: Key) -> Option<Act> {
        match key {
            Key::Escape => return None,
            Key::Enter if !typed.trim().is_empty() => {
                let text = typed.trim().to_owned();
                return Some(match purpose {
                    Purpose::Deny => Act::Deny { id, reason: text },
                    Purpose::Comment => Act::Comment { id, text },
                    Purpose::Ask => Act::Ask { id, question: text },
                });
            }
            other => edit(&mut typed, other),
        }
        self.dialog = Some(Dialog::Line { purpose, id, typed });
        None
    }
}

fn edit(typed: &mut String, key: Key) {
    match key {
        Key::Char(letter) if !letter.is_control() && typed.len() + letter.len_utf8() <= LINE_BYTES_MAX => {
            typed.push(letter);
        }
        Key::Backspace => {
            typed.pop();
        }
        _other => {}
    }
}
