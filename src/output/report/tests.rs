//! Pages of sample summaries.

use super::*;

fn page(summary: &Summary) -> String {
    let mut page = Vec::new();
    write(&mut page, summary).expect("it is written to memory");
    String::from_utf8(page).expect("it is UTF-8")
}

#[test]
fn dump() {
    for (n, s) in [
        ("rich", samples::rich()),
        ("empty", Summary::default()),
        ("hostile", samples::hostile()),
        ("extreme", samples::extreme()),
    ] {
        let p = page(&s);
        println!("{n} {}", p.len());
        std::fs::write(format!("/tmp/report-{n}.html"), p).unwrap();
    }
}
