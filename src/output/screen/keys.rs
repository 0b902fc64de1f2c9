//! What each key does. Where pg_activity and less have a key for the same thing, it is that one.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::Tab;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Move(isize),
    HalfPage(isize),
    Page(isize),
    First,
    Last,
    Sideways(isize),
    Open,
    Toggle,
    ToggleAll,
    Back,
    Close,
    Quit,
    Show(Tab),
    NextTab(isize),
    Pause,
    Freeze,
    Filter,
    Window(isize),
    SortBeside(isize),
    SortByTime,
    Invert,
    Copy,
    Mark,
    Compare,
    Save,
    Preview,
    Help,
    Redraw,
    Suspend,
}

/// The keys, as the help shows them.
pub(crate) const HELP: &[(&str, &[(&str, &str)])] = &[
    (
        "Lists",
        &[
            ("1-6, F1-F6, Tab", "running, statements, sessions, errors, replication, poolers"),
            ("Enter", "open: the ladder of a session, the requests of a statement, the fields of a message"),
            ("Esc, Backspace", "back; without filter"),
            (
                "/",
                "filter as you type; --user, --database, --application, --client, --conn, --errors, --min-duration, --sql",
            ),
            ("< >, click", "sort by another column"),
            ("i, r", "sort in the other direction"),
            ("t", "sort by time"),
            ("w W", "statements of the last 10 seconds, minute, 5 minutes, or of all"),
            ("v", "more or less of what is selected"),
        ],
    ),
    (
        "Moving",
        &[
            ("↑ ↓, j k, wheel", "one line"),
            ("PgUp PgDn, Ctrl-B Ctrl-F", "one page"),
            ("Ctrl-U Ctrl-D", "half a page"),
            ("g G, Home End", "first, last"),
            ("← →", "sideways in long lines"),
        ],
    ),
    (
        "A ladder",
        &[
            ("Enter", "unfold a request; all fields of a message"),
            ("Space", "unfold or fold a request"),
            ("*", "unfold or fold all"),
        ],
    ),
    (
        "Anywhere",
        &[
            ("Space, p", "pause, and go on (in a ladder p)"),
            ("f", "freeze: pause as soon as an error comes"),
            ("m", "mark a request or a message"),
            ("c", "compare the two that are marked (there d: only what differs)"),
            ("y", "copy the SQL, or the message as JSON"),
            ("s", "save the lines of the session, or its packets"),
            ("?, h", "this help"),
            ("Ctrl-L, Ctrl-Z", "draw again; suspend"),
            ("q", "back, from a list quit; Q, Ctrl-C quit"),
        ],
    ),
];

/// Returns what a key asks for.
pub(crate) fn command(key: KeyEvent) -> Option<Command> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char(letter) if is_control => match letter {
            'c' => Command::Quit,
            'z' => Command::Suspend,
            'l' => Command::Redraw,
            'f' => Command::Page(1),
            'b' => Command::Page(-1),
            'd' => Command::HalfPage(1),
            'u' => Command::HalfPage(-1),
            'n' => Command::Move(1),
            'p' => Command::Move(-1),
            _ => return None,
        },
        KeyCode::Char(letter) => return letter_command(letter),
        KeyCode::F(number) => Command::Show(Tab::numbered(number)?),
        KeyCode::Up => Command::Move(-1),
        KeyCode::Down => Command::Move(1),
        KeyCode::PageUp => Command::Page(-1),
        KeyCode::PageDown => Command::Page(1),
        KeyCode::Home => Command::First,
        KeyCode::End => Command::Last,
        KeyCode::Left => Command::Sideways(-1),
        KeyCode::Right => Command::Sideways(1),
        KeyCode::Enter => Command::Open,
        KeyCode::Tab => Command::NextTab(1),
        KeyCode::BackTab => Command::NextTab(-1),
        KeyCode::Esc | KeyCode::Backspace => Command::Back,
        _ => return None,
    })
}

fn letter_command(letter: char) -> Option<Command> {
    Some(match letter {
        '1'..='6' => Command::Show(Tab::numbered(u8::try_from(letter.to_digit(10)?).ok()?)?),
        'j' => Command::Move(1),
        'k' => Command::Move(-1),
        'g' => Command::First,
        'G' => Command::Last,
        ' ' => Command::Toggle,
        '*' => Command::ToggleAll,
        'p' => Command::Pause,
        'f' => Command::Freeze,
        '/' => Command::Filter,
        'w' | '+' => Command::Window(1),
        'W' | '-' => Command::Window(-1),
        '>' | '.' => Command::SortBeside(1),
        '<' | ',' => Command::SortBeside(-1),
        't' => Command::SortByTime,
        'i' | 'I' | 'r' => Command::Invert,
        'y' => Command::Copy,
        'm' => Command::Mark,
        'c' => Command::Compare,
        's' => Command::Save,
        'v' => Command::Preview,
        '?' | 'h' => Command::Help,
        'q' => Command::Close,
        'Q' => Command::Quit,
        'd' => Command::ToggleAll,
        _ => return None,
    })
}
