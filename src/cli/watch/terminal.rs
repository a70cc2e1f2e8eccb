//! Takes the terminal and gives it back, whatever happens: at the end, at an error, at a panic.
//! Never knows what is shown. Read `mod.rs` for who draws.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use super::super::exit::CliError;
use super::state::{Input, Key};

/// How long the thread that reads keys looks away from whether it is still wanted.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// The whole terminal, until it is dropped.
pub struct Screen {
    terminal: DefaultTerminal,
    is_over: Arc<AtomicBool>,
}

impl Screen {
    /// Keys and sizes go to `inputs`. A panic gives the terminal back before it is told.
    pub fn take(inputs: mpsc::Sender<Input>) -> Result<Self, CliError> {
        let terminal = ratatui::try_init()
            .map_err(|error| CliError::error(error, "run it on a terminal, or with --json"))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_over);
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read_keys(&inputs, &ended))
            .map_err(|error| {
                ratatui::restore();
                CliError::error(error, "free some threads")
            })?;
        Ok(Self { terminal, is_over })
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), CliError> {
        let drawn = self.terminal.draw(draw);
        drawn
            .map(|_| ())
            .map_err(|error| CliError::error(error, "the terminal has gone"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        ratatui::restore();
    }
}

fn read_keys(inputs: &mpsc::Sender<Input>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        match event::poll(LOOK_UP_EVERY) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let input = match event::read() {
            Ok(Event::Key(key)) => read_key(key).map(Input::Key),
            Ok(Event::Resize(..)) => Some(Input::Resize),
            Ok(_) => None,
            Err(_) => return,
        };
        if let Some(input) = input
            && inputs.blocking_send(input).is_err()
        {
            return;
        }
    }
}

fn read_key(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if has_control => Key::Interrupt,
        KeyCode::Char(_) if has_control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Backspace => Key::Backspace,
        _other => return None,
    })
}
