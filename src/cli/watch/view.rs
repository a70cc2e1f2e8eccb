//! How the screen looks: state in, cells out. Never cuts a statement: long lines are wrapped, and what does not fit is
//! scrolled to. Read `../../render/mod.rs` for how a statement becomes lines.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout as Split, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::super::card::{Ink, facts};
use super::state::{Dialog, Focus, Watch, Word};
use crate::api::card::Card;
use crate::clock::Timestamp;
use crate::render::{Layout, Mark, visible_line};

/// Narrower terminals show the queue above the card.
const SIDE_BY_SIDE_MIN: u16 = 110;
/// Columns of the queue where it stands beside the card.
const QUEUE_COLUMNS: u16 = 46;
/// Rows of the queue where it stands above, border included, at most.
const QUEUE_ROWS_MAX: u16 = 9;
/// Smaller ones can show nothing that a person should decide by.
const SMALLEST: (u16, u16) = (40, 12);
/// Columns of a fact's name.
const LABEL_COLUMNS: usize = 12;
/// The first facts, which belong to what is approved: an approval needs them on the screen, too.
const WITH_STATEMENT: [&str; 5] = ["note", "digest", "data", "parameters", ""];

/// Draws everything, and tells the state what was to be seen.
pub fn draw(frame: &mut Frame<'_>, watch: &mut Watch, now: Timestamp, ink: Ink) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let words = format!("{} waiting; make the window larger", watch.queue.len());
        frame.render_widget(Paragraph::new(words), area);
        return;
    }
    let [head, body, foot] =
        Split::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(head_line(watch, ink)), head);
    let [queue, card] = if area.width >= SIDE_BY_SIDE_MIN {
        Split::horizontal([Constraint::Length(QUEUE_COLUMNS), Constraint::Fill(1)]).areas(body)
    } else {
        let rows = u16::try_from(watch.queue.len())
            .unwrap_or(u16::MAX)
            .saturating_add(2);
        let rows = rows.clamp(3, QUEUE_ROWS_MAX.min(body.height / 3).max(3));
        Split::vertical([Constraint::Length(rows), Constraint::Fill(1)]).areas(body)
    };
    draw_queue(frame, watch, queue, now, ink);
    draw_card(frame, watch, card, now, ink);
    frame.render_widget(Paragraph::new(foot_line(watch, ink)), foot);
    match &watch.dialog {
        None => {}
        Some(Dialog::Help) => draw_help(frame, body),
        Some(Dialog::Approve { card, typed, scroll }) => {
            let (card, typed, scroll) = (card.clone(), typed.clone(), *scroll);
            let used = draw_approval(frame, &card, &typed, scroll, body, now, ink);
            if let Some(Dialog::Approve { scroll, .. }) = &mut watch.dialog {
                *scroll = used;
            }
        }
        Some(Dialog::Line { purpose, id, typed }) => draw_line(frame, purpose.title(), id, typed, body),
    }
}

fn head_line(watch: &Watch, ink: Ink) -> Line<'static> {
    let live = if watch.is_live {
        Span::styled("live", coloured(ink, Color::Green))
    } else {
        Span::styled("not connected, trying again", coloured(ink, Color::Red).bold())
    };
    let waiting = watch.queue.len();
    Line::from(vec![
        Span::styled("countersign watch", Style::new().bold()),
        Span::raw(format!("   {waiting} waiting   ")),
        live,
    ])
}

fn foot_line(watch: &Watch, ink: Ink) -> Line<'static> {
    match &watch.word {
        Some(Word::Good(text)) => Line::styled(visible_line(text), coloured(ink, Color::Green)),
        Some(Word::Bad(text)) => Line::styled(visible_line(text), coloured(ink, Color::Red).bold()),
        None => {
            let approve = if watch.may_approve() { "a approve  " } else { "" };
            let move_it = match watch.focus {
                Focus::Queue => "↑↓ select  Enter open  ",
                Focus::Card => "↑↓ PgUp PgDn scroll  Esc queue  ",
            };
            let rest = "d deny  c comment  Q ask  ? help";
            let quit = if watch.focus == Focus::Queue {
                "  q quit"
            } else {
                ""
            };
            Line::raw(format!("{move_it}{approve}{rest}{quit}"))
        }
    }
}

fn draw_queue(frame: &mut Frame<'_>, watch: &Watch, area: Rect, now: Timestamp, ink: Ink) {
    let block = framed("Waiting", watch.focus == Focus::Queue && watch.dialog.is_none());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if watch.queue.is_empty() {
        frame.render_widget(Paragraph::new("Nothing waits."), inner);
        return;
    }
    let rows = usize::from(inner.height);
    let place = watch
        .queue
        .iter()
        .position(|card| Some(&card.id) == watch.selected.as_ref())
        .unwrap_or(0);
    let first = (place + 1).saturating_sub(rows);
    let lines: Vec<Line<'_>> = watch
        .queue
        .iter()
        .enumerate()
        .skip(first)
        .take(rows)
        .map(|(number, card)| queue_line(card, number == place, now, ink))
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn queue_line(card: &Card, is_selected: bool, now: Timestamp, ink: Ink) -> Line<'static> {
    let mark = if is_selected { "▸" } else { " " };
    let left = time_left(&card.expires_at, now);
    let detached = if card.detached { " (left)" } else { "" };
    let line = Line::from(vec![
        Span::raw(format!("{mark}{} ", card.id)),
        Span::styled(
            format!("{:<8} ", card.risk.to_uppercase()),
            risk_style(&card.risk, ink),
        ),
        Span::raw(format!(
            "{left:>6} {} {} {}{detached}",
            card.class,
            visible_line(&card.database),
            visible_line(&card.principal)
        )),
    ]);
    if is_selected {
        line.style(Style::new().add_modifier(Modifier::REVERSED))
    } else {
        line
    }
}

fn draw_card(frame: &mut Frame<'_>, watch: &mut Watch, area: Rect, now: Timestamp, ink: Ink) {
    let title = watch
        .card()
        .map_or("No request".to_owned(), |card| card.id.clone());
    let block = framed(&title, watch.focus == Focus::Card && watch.dialog.is_none());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(card) = watch.card().cloned() else { return };
    let shown = card_lines(&card, usize::from(inner.width), now, ink);
    let page = usize::from(inner.height);
    watch.page = page;
    watch.scroll_max = shown.lines.len().saturating_sub(page);
    watch.scroll = watch.scroll.min(watch.scroll_max);
    let end = watch.scroll + page;
    if end >= shown.statement_end && watch.dialog.is_none() {
        watch.saw_end(&card.id, &card.digest);
    }
    let below = shown.lines.len().saturating_sub(end);
    let lines: Vec<Line<'_>> = shown.lines.into_iter().skip(watch.scroll).take(page).collect();
    frame.render_widget(Paragraph::new(lines), inner);
    if below > 0 {
        let more = Line::raw(format!(" {below} more lines ▾ ")).right_aligned();
        let place = Rect {
            y: area.bottom().saturating_sub(1),
            height: 1,
            x: area.x + 1,
            width: area.width.saturating_sub(2),
        };
        frame.render_widget(Paragraph::new(more), place);
    }
}

/// The card as lines of a width, and behind which of them the statement has ended.
pub struct CardLines {
    pub lines: Vec<Line<'static>>,
    pub statement_end: usize,
}

pub fn card_lines(card: &Card, width: usize, now: Timestamp, ink: Ink) -> CardLines {
    let mut lines = vec![
        Line::from(vec![
            Span::styled(card.risk.to_uppercase(), risk_style(&card.risk, ink)),
            Span::raw(format!(
                "  {}  {}/{}  {}",
                card.class.to_uppercase(),
                visible_line(&card.upstream),
                visible_line(&card.database),
                time_left(&card.expires_at, now)
            )),
        ]),
        Line::default(),
    ];
    lines.extend(statement_lines(card, width, ink));
    let mut statement_end = lines.len();
    lines.push(Line::default());
    let mut is_part = true;
    for (label, value) in facts(card, &[], now) {
        is_part &= WITH_STATEMENT.contains(&label);
        let label = Span::styled(format!("{label:<LABEL_COLUMNS$} "), Style::new().bold());
        let value = vec![Span::raw(value)];
        lines.extend(wrapped(
            &label,
            &Span::raw(" ".repeat(LABEL_COLUMNS + 1)),
            value,
            width,
        ));
        if is_part {
            statement_end = lines.len();
        }
    }
    CardLines { lines, statement_end }
}

/// The statement, numbered, wrapped and marked.
fn statement_lines(card: &Card, width: usize, ink: Ink) -> Vec<Line<'static>> {
    let bytes = card.bytes();
    let rendered = card.rendered(&bytes, Layout::Laid);
    let mut lines = Vec::new();
    for line in &rendered.lines {
        let gutter = Span::raw(format!("{:>4} │ ", line.number));
        let rest = Span::raw("     ┆ ");
        let mut spans = vec![Span::raw(" ".repeat(usize::from(line.indent)))];
        spans.extend(
            line.pieces
                .iter()
                .map(|piece| Span::styled(piece.text.to_string(), mark_style(piece.mark, ink))),
        );
        lines.extend(wrapped(&gutter, &rest, spans, width));
        for note in &line.notes {
            let note = vec![Span::styled(format!("^ {note}"), Style::new().bold())];
            lines.extend(wrapped(&rest, &rest, note, width));
        }
    }
    lines
}

/// Spans cut into lines of a width, so that every letter is on one of them.
fn wrapped(
    first: &Span<'static>,
    rest: &Span<'static>,
    spans: Vec<Span<'static>>,
    width: usize,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut line = vec![first.clone()];
    let mut used = first.width();
    for span in spans {
        let mut part = String::new();
        for letter in span.content.chars() {
            let mut shown = [0; 4];
            let columns = Span::raw(&*letter.encode_utf8(&mut shown)).width();
            if used + columns > width && used > rest.width() {
                line.push(Span::styled(std::mem::take(&mut part), span.style));
                lines.push(Line::from(std::mem::replace(&mut line, vec![rest.clone()])));
                used = rest.width();
            }
            part.push(letter);
            used += columns;
        }
        line.push(Span::styled(part, span.style));
    }
    lines.push(Line::from(line));
    lines
}

/// Shows the statement again and asks for a word. Gives the scroll that it had room for.
fn draw_approval(
    frame: &mut Frame<'_>,
    card: &Card,
    typed: &str,
    scroll: usize,
    area: Rect,
    now: Timestamp,
    ink: Ink,
) -> usize {
    let block = framed(&format!("Approve {} once?", card.id), true);
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    let [above, question] = Split::vertical([Constraint::Fill(1), Constraint::Length(3)]).areas(inner);
    let shown = card_lines(card, usize::from(above.width), now, ink);
    let page = usize::from(above.height);
    let scroll = scroll.min(shown.lines.len().saturating_sub(page));
    let lines: Vec<Line<'_>> = shown.lines.into_iter().skip(scroll).take(page).collect();
    frame.render_widget(Paragraph::new(lines), above);
    let question_lines = vec![
        Line::raw("─".repeat(usize::from(question.width))),
        Line::raw(format!(
            "Type approve, or {}, then Enter. Esc goes back, ↑↓ scroll.",
            card.id
        )),
        Line::from(vec![
            Span::styled("> ", Style::new().bold()),
            Span::raw(typed.to_owned()),
            caret(),
        ]),
    ];
    frame.render_widget(Paragraph::new(question_lines), question);
    scroll
}

fn draw_line(frame: &mut Frame<'_>, title: &str, id: &str, typed: &str, area: Rect) {
    let width = usize::from(area.width.saturating_sub(2));
    let prompt = Span::styled("> ", Style::new().bold());
    let mut lines = wrapped(
        &prompt,
        &Span::raw("  "),
        vec![Span::raw(visible_line(typed)), caret()],
        width,
    );
    lines.push(Line::raw("Enter sends it, Esc goes back."));
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect {
        y: area.bottom().saturating_sub(height),
        height,
        ..area
    };
    frame.render_widget(Clear, place);
    let block = framed(&format!("{id}  {title}"), true);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let text = "\
↑ ↓  k j       select a request; in the card: scroll
Enter, Tab     open the card, which is recorded
PgUp PgDn      a page of the card; Home, End
a              approve once: the statement must have been shown to its
               end, is shown again, and a word is typed
d              deny, with a reason that the agent reads
c              comment, for reviewers and auditors
Q              ask the agent a question
Esc            back to the queue
q, Ctrl-C      quit
Any key closes this.";
    let height = u16::try_from(text.lines().count() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect { height, ..area };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(framed("Keys", true)), place);
}

fn caret() -> Span<'static> {
    Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED))
}

fn framed(title: &str, has_focus: bool) -> Block<'static> {
    let style = if has_focus {
        Style::new().bold()
    } else {
        Style::new().dim()
    };
    Block::new()
        .borders(Borders::ALL)
        .border_style(style)
        .title(Span::styled(format!(" {title} "), style))
}

fn time_left(until: &str, now: Timestamp) -> String {
    match Timestamp::parse(until) {
        Some(until) => {
            let seconds = until.since(now).as_secs();
            format!("{}:{:02}", seconds / 60, seconds % 60)
        }
        None => "?".to_owned(),
    }
}

/// Colours only where they are wanted; weight and reversal stay, they are no colours.
fn coloured(ink: Ink, colour: Color) -> Style {
    match ink {
        Ink::Plain => Style::new(),
        Ink::Coloured => Style::new().fg(colour),
    }
}

fn risk_style(risk: &str, ink: Ink) -> Style {
    match risk {
        "critical" | "high" => coloured(ink, Color::Red).bold(),
        "medium" => coloured(ink, Color::Yellow),
        _low => Style::new(),
    }
}

/// A comment that some server runs is never dimmed.
fn mark_style(mark: Mark, ink: Ink) -> Style {
    match mark {
        Mark::Plain | Mark::Name => Style::new(),
        Mark::Keyword => Style::new().bold(),
        Mark::Text => coloured(ink, Color::Green),
        Mark::Number | Mark::Parameter => coloured(ink, Color::Cyan),
        Mark::Value => coloured(ink, Color::Magenta),
        Mark::Comment => Style::new().dim(),
        Mark::Executable => coloured(ink, Color::Yellow).bold(),
        Mark::Hidden | Mark::Disguised => coloured(ink, Color::Yellow).bold().reversed(),
        Mark::Risky => coloured(ink, Color::Red).bold().underlined(),
    }
}
