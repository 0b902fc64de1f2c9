//! What each view shows.

use super::Screen;
use super::fake::shop;

#[test]
fn look() {
    let width = std::env::var("W").ok().and_then(|w| w.parse().ok()).unwrap_or(80);
    let height = std::env::var("H").ok().and_then(|w| w.parse().ok()).unwrap_or(24);
    let mut screen = Screen::new(shop(), width, height);
    for keys in ["", "2", "3", "4", "1↓\n", "*", "g↓↓↓↓↓↓↓", "\n", "\u{1b}gm", "↓↓", "2\n", "m↓mc", "1?"]
    {
        screen.keys(keys);
        println!("=== {keys:?}\n{}", screen.text());
    }
}
