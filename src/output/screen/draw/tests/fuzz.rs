//! Any keys, clicks and sizes.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use proptest::prelude::*;

use super::super::super::Data;
use super::super::super::app::Action;
use super::fake::{hostile, shop};
use super::{Screen, captured};

/// What a user can do.
#[derive(Clone, Debug)]
enum Step {
    Event(Event),
    Resize(u16, u16),
    Refresh,
}

fn key() -> impl Strategy<Value = KeyEvent> {
    let letters = prop::sample::select("12345 jkgGpfw+W-<>tirymcsv?hqd*/x\u{e9}日".chars().collect::<Vec<_>>());
    let code = prop_oneof![
        6 => letters.prop_map(KeyCode::Char),
        6 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Backspace, KeyCode::Tab, KeyCode::BackTab, KeyCode::Up, KeyCode::Down,
            KeyCode::Left, KeyCode::Right, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End, KeyCode::F(2),
            KeyCode::F(9), KeyCode::Null, KeyCode::Delete,
        ]),
    ];
    let modifiers = prop_oneof![9 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL)];
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

fn step() -> impl Strategy<Value = Step> {
    let mouse = (0..210_u16, 0..60_u16, 0..4).prop_map(|(column, row, kind)| {
        let kind = match kind {
            0 => MouseEventKind::ScrollDown,
            1 => MouseEventKind::ScrollUp,
            _ => MouseEventKind::Down(MouseButton::Left),
        };
        Step::Event(Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    });
    prop_oneof![
        20 => key().prop_map(|key| Step::Event(Event::Key(key))),
        4 => mouse,
        1 => "\\PC{0,5}".prop_map(|text| Step::Event(Event::Paste(text))),
        1 => (0..210_u16, 0..60_u16).prop_map(|(width, height)| Step::Resize(width, height)),
        2 => Just(Step::Refresh),
    ]
}

fn run(data: impl Data, steps: Vec<Step>) {
    let mut screen = Screen::new(data, 80, 24);
    for step in steps {
        match step {
            Step::Event(event) => {
                if let Some(Action::Save { path, .. }) = screen.event(&event) {
                    assert!(!path.trim().is_empty());
                }
            }
            Step::Resize(width, height) => {
                screen.terminal.backend_mut().resize(width, height);
                screen.draw();
            }
            Step::Refresh => screen.refresh(),
        }
        assert!(screen.app.marked.len() <= 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn ten_thousand_keys_do_no_harm(steps in prop::collection::vec(step(), 200)) {
        run(shop(), steps);
    }

    #[test]
    fn ten_thousand_keys_do_no_harm_in_a_capture(steps in prop::collection::vec(step(), 200)) {
        run(captured::shop(None), steps);
    }

    #[test]
    fn any_keys_do_no_harm_with_hostile_data(steps in prop::collection::vec(step(), 50)) {
        run(hostile(), steps);
    }
}
