//! Pages of sample summaries.

use std::collections::HashSet;

use serde_json::Value;

use super::*;

fn page(summary: &Summary) -> String {
    let mut page = Vec::new();
    write(&mut page, summary).expect("it is written to memory");
    String::from_utf8(page).expect("it is UTF-8")
}

/// Checks that elements are closed in the order in which they were opened, that identifiers are unique, and that every link leads to
/// one. Returns the identifiers.
#[track_caller]
fn check(page: &str) -> HashSet<&str> {
    const VOID: [&str; 3] = ["meta", "br", "!doctype"];
    let (mut open, mut ids, mut targets) = (Vec::new(), HashSet::new(), Vec::new());
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once('<') {
        let (tag, behind) = behind.split_once('>').expect("a tag ends");
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {:.200}", rest);
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(!attributes.contains('<'), "{tag}");
        assert!(attributes.matches('"').count() % 2 == 0, "{tag}");
        // What is between quotes are values; what is not are names.
        for (name, value) in attributes.split('"').collect::<Vec<_>>().chunks(2).filter_map(|pair| pair.split_first()) {
            let name = name.trim_matches([' ', '=', '/']);
            assert!(!name.starts_with("on") && name != "style" && name != "src", "{tag}");
            match (name, value) {
                ("id", [id]) => assert!(ids.insert(*id), "{id} is twice"),
                ("href", [href]) => targets.push(href.strip_prefix('#').expect("it leads into the page")),
                ("aria-labelledby", [id]) => targets.push(id),
                _ => {}
            }
        }
        match name {
            "script" | "style" => {
                rest = rest.find(&format!("</{name}>")).and_then(|end| rest.get(end..)).expect("it ends")
            }
            _ if VOID.contains(&name) || tag.ends_with('/') => continue,
            _ => {}
        }
        open.push(name);
    }
    assert!(open.is_empty(), "{open:?}");
    for target in targets {
        assert!(ids.contains(target), "{target}");
    }
    ids
}

/// The numbers that a page has to have, by where they are in the summary.
fn figures(value: &Value, place: &str, found: &mut Vec<(String, u64)>) {
    match value {
        // Steps of a histogram are merged; a comparison has fewer figures than the summary.
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !["histogram", "baseline"].contains(&name.as_str())) {
                figures(value, &format!("{place}.{name}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| figures(item, place, found)),
        Value::Number(number) => found.extend(number.as_u64().map(|number| (place.to_owned(), number))),
        _ => {}
    }
}

#[test]
fn a_page_is_well_formed_and_its_links_lead_somewhere() {
    for summary in [samples::rich(), Summary::default(), samples::hostile()] {
        check(&page(&summary));
    }
}

#[test]
fn every_section_of_the_summary_is_in_the_page() {
    for summary in [samples::rich(), Summary { baseline: Some(Box::default()), ..Summary::default() }] {
        let page = page(&summary);
        let ids = check(&page);
        let json = serde_json::to_value(&summary).expect("it is JSON");
        let lists = json["baseline"].as_object().expect("it is there").iter().filter(|(_, list)| list.is_array());
        for (name, _) in
            json.as_object().expect("it is an object").iter().chain(lists).filter(|(name, _)| *name != "ts")
        {
            assert!(ids.contains(name.as_str()), "{name}");
        }
    }
}

#[test]
fn every_figure_of_the_summary_is_in_the_page_exactly() {
    let summary = samples::rich();
    let page = page(&summary);
    let (body, _) = page.split_once("<script").expect("the charts come last");
    let mut all = Vec::new();
    figures(&serde_json::to_value(&summary).expect("it is JSON"), "", &mut all);
    assert!(all.len() > 2_000);
    let shown = body.split(|c: char| !c.is_ascii_digit() && c != ',');
    let shown: HashSet<u64> = shown.filter_map(|number| number.replace(',', "").parse().ok()).collect();
    for (place, number) in all {
        assert!(shown.contains(&number), "{place}: {number}");
    }
}

#[test]
fn a_row_of_a_statement_has_its_figures_and_no_others() {
    let summary = samples::rich();
    let page = page(&summary);
    for statement in &summary.statements {
        let (_, row) =
            page.split_once(&format!("id=\"{}\"", anchor(statement.fingerprint.as_deref()))).expect("it is there");
        let (row, _) = row.split_once("</tr>").expect("the row ends");
        let cells: Vec<u64> = row
            .split("<td")
            .skip(1)
            .filter(|cell| !cell.contains(" %</data>"))
            .map(|cell| {
                let exact = cell.split_once("value=\"").and_then(|(_, value)| value.split_once('"'));
                let text = cell.split_once('>').and_then(|(_, text)| text.split_once('<'));
                let (number, _) = exact.or(text).expect("a cell has a figure");
                number.replace(',', "").parse().expect("it is a number")
            })
            .collect();
        let StatementSummary { calls, errors, rows, bytes_in, bytes_out, .. } = *statement;
        let Times { exec_us, mean_us, p50_us, p95_us, p99_us, max_us, .. } = statement.times;
        assert_eq!(cells, [exec_us, calls, errors, mean_us, p50_us, p95_us, p99_us, max_us, rows, bytes_in, bytes_out]);
    }
}

#[test]
fn text_from_the_wire_is_neither_markup_nor_hidden() {
    let page = page(&samples::hostile());
    let (page, script) = page.rsplit_once("<script>").expect("the script comes last");
    assert_eq!(script, format!("{SCRIPT}</script>\n</body>\n</html>"));
    for markup in ["<img", "<script>", "<!--", "<i>", "onerror=alert(2)>"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("&lt;img src=x onerror=alert(2)&gt;"));
    assert!(page.contains("<b>\\u202e</b>txet<b>\\u001b</b>[31m<b>\\u0000</b><b>\\u2028</b><b>\\u200b</b>"));
    assert!(page.contains("{{ 7*7 }}"), "it is no template");
    let hidden = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{200b}' | '\u{2028}' | '\u{202e}'));
    assert!(!page.contains(hidden));
}

#[test]
fn the_policy_lets_only_the_pages_own_script_and_style_run() {
    let page = page(&samples::rich());
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").expect("there is a policy");
    let (policy, _) = policy.split_once("\">").expect("it ends");
    let expected = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    assert_eq!(policy, expected);
    // By openssl: printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert_eq!(hash("alert(1)"), "bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=");
    for outside in ["http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "innerHTML", "eval("] {
        let allowed = if outside == "http:" { 1 } else { 0 };
        assert_eq!(page.matches(outside).count(), allowed, "{outside}: at most the name of SVG's namespace");
    }
}

#[test]
fn a_page_is_small_whatever_the_summary() {
    let summary = samples::extreme();
    let page = page(&summary);
    assert!(page.len() <= MAX_PAGE, "{}", page.len());
    assert!(page.len() > MAX_PAGE / 20, "{}: no more is left out than needed", page.len());
    check(&page);
    assert!(page.contains("more are not shown here"));
    assert!(page.contains("more bytes are not shown"));
    // A busy shop is far from the bound, so that nothing is left out of its page.
    assert!(self::page(&samples::rich()).len() < MAX_PAGE / 4);
}
