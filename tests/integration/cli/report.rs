//! `-F html`: the page of a capture, and in a browser.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::browser::Browser;
use crate::command::{Folder, run};
use crate::wire::{From, Tcp, message, startup};

const MIXED: &str = "mixed-10000/capture.pcap.zst";

/// Writes the report of a capture, and returns its path and text.
#[track_caller]
fn report(folder: &Folder, args: &[&str]) -> (String, String) {
    let file = folder.file("report.html");
    let outcome = run(["-F", "html", "-o", &file, "-p", "auto,5432,5415"].iter().chain(args));
    assert_eq!((outcome.code, outcome.said.as_str(), outcome.lines.len()), (Some(0), "", 0));
    let page = fs::read_to_string(&file).unwrap();
    (file, page)
}

#[test]
fn the_page_has_the_figures_of_the_summary() {
    let folder = Folder::new();
    let (_, page) = report(&folder, &[MIXED]);
    let summary = run(["-e", "summary", "-p", "auto,5432,5415", MIXED]).good().remove(0);
    let statements = summary["statements"].as_array().unwrap();
    assert!(statements.len() > 10);
    let mut rest = page.as_str();
    for statement in statements {
        let id = format!("<tbody id=\"statement-{}\">", statement["fingerprint"].as_str().unwrap());
        let (_, behind) = rest.split_once(&id).expect("the statements are in their order");
        let (row, behind) = behind.split_once("</tr>").unwrap();
        for figure in ["exec_us", "mean_us", "p50_us", "p95_us", "p99_us", "max_us", "bytes_in", "bytes_out"] {
            let exact = format!("value=\"{}\"", statement[figure]);
            assert!(statement[figure] == 0 || row.contains(&exact), "{figure} {exact}: {row}");
        }
        rest = behind;
    }
    for error in summary["errors"].as_array().unwrap() {
        assert!(page.contains(&format!("id=\"error-{}\"", error["code"].as_str().unwrap())));
    }
}

#[test]
fn no_data_is_in_a_page_without_values() {
    let folder = Folder::new();
    const PLANTED: &str = "planted/capture.pcap";
    let (_, page) = report(&folder, &[PLANTED]);
    assert!(page.contains("planted"), "there is something to leave out");
    let (_, page) = report(&folder, &["--redact", "values", PLANTED]);
    // Hashes of the script and style could be like anything.
    let (_, body) = page.split_once("</head>").unwrap();
    let body = body.to_lowercase();
    for word in ["planted", "706c616e746564", "2125315809", "5_836_194", "5836194", "101101011010"] {
        assert!(!body.contains(word), "{word}");
    }
}

/// A capture of a request with that SQL, which fails with that message.
fn capture_of(sql: &str) -> Vec<u8> {
    let zero = |text: &str| [text.as_bytes(), b"\0"].concat();
    let opening = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let error = [b"SERROR\0C42601\0M".as_slice(), &zero(sql), b"\0"].concat();
    let answers = [message(b'E', &error), message(b'Z', b"I")].concat();
    let (start, request) = (startup(), message(b'Q', &zero(sql)));
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1].map(u32::to_le_bytes).concat();
    let mut next = [1_u32, 1];
    for (micros, (from, bytes)) in
        [(From::Client, start), (From::Server, opening), (From::Client, request), (From::Server, answers)]
            .into_iter()
            .enumerate()
    {
        let packet = Tcp::new(from, next[from.index()], next[from.peer().index()], &bytes).at(micros as u64 * 1_000);
        next[from.index()] += u32::try_from(bytes.len()).unwrap();
        let len = u32::try_from(packet.data.len()).unwrap();
        let (seconds, nanos) = packet.ts.parts();
        let head = [u32::try_from(seconds).unwrap(), nanos / 1_000, len, len];
        file.extend(head.map(u32::to_le_bytes).concat());
        file.extend(packet.data);
    }
    file
}

/// The texts that are too faint for their background: by WCAG, AA needs a contrast of 4.5.
const FAINT: &str = r#"(() => {
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => parse(color).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [.2126, .7152, .0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((parse(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName) || !element.checkVisibility?.()) continue;
    const style = getComputedStyle(element);
    const [front, back] = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))];
    const contrast = (Math.max(front, back) + .05) / (Math.min(front, back) + .05);
    if (contrast * Math.min(1, Number(style.opacity)) < 4.5) faint.add(`${element.tagName}.${element.getAttribute("class") ?? ""} ${contrast.toFixed(2)}`);
  }
  return [...faint];
})()"#;

/// The values of a column of statements, as they are shown from above.
fn column(browser: &mut Browser, column: u32) -> Vec<f64> {
    let shown = browser.value(&format!(
        "[...document.querySelectorAll('#statement-table > tbody')].filter((body) => !body.hidden).map((body) => body.rows[0].cells[{column}]).map((cell) => Number(cell.querySelector('data')?.value ?? cell.textContent.replaceAll(',', '')))"
    ));
    shown.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
#[ignore = "needs Chromium: run by .ci/slow"]
fn the_page_works_in_a_browser() {
    let folder = Folder::new();
    let (file, page) = report(&folder, &[MIXED]);
    let mut browser = Browser::start();
    browser.open(&file, 1_280, "light");

    // All sections are there, and a link to each of the navigation's.
    for id in [
        "totals",
        "time",
        "traffic",
        "statements",
        "slowest",
        "largest",
        "running",
        "errors",
        "failed_logins",
        "cancels",
        "locks",
        "users",
        "databases",
        "applications",
        "clients",
        "prepared",
        "n_plus_one",
        "unlimited_selects",
        "protection",
        "audit",
        "capture",
    ] {
        assert_eq!(browser.value(&format!("document.getElementById('{id}')?.checkVisibility()")), true, "{id}");
    }

    // A click on a header sorts by it, another the other way round.
    let calls = "#statement-table thead th:nth-child(4)";
    let before = column(&mut browser, 3);
    browser.click(&format!("{calls} button"));
    let (mut most_first, sorted) = (before.clone(), column(&mut browser, 3));
    most_first.sort_by(|a, b| b.total_cmp(a));
    assert_ne!(before, sorted);
    assert_eq!(sorted, most_first);
    assert_eq!(browser.value(&format!("document.querySelector('{calls}').ariaSort")), "descending");
    browser.click(&format!("{calls} button"));
    most_first.reverse();
    assert_eq!(column(&mut browser, 3), most_first);
    assert_eq!(browser.value("document.querySelectorAll('#statement-table th[aria-sort]').length"), 1);
    browser.click("#statement-table thead th:nth-child(2) button");
    let by_time = column(&mut browser, 1);
    assert!(by_time.is_sorted_by(|a, b| a >= b) && by_time[0] > 0.0);

    // Filtering leaves what has the words.
    browser.click("section[aria-labelledby=statements] input");
    browser.type_text("insert event");
    let shown = browser.value("[...document.querySelectorAll('#statement-table > tbody')].filter((body) => body.checkVisibility()).map((body) => body.textContent.toLowerCase())");
    let shown = shown.as_array().unwrap();
    assert!(!shown.is_empty() && shown.len() < by_time.len());
    assert!(
        shown.iter().map(|text| text.as_str().unwrap()).all(|text| text.contains("insert") && text.contains("event"))
    );
    let found = browser.value("document.querySelector('section[aria-labelledby=statements] output').textContent");
    assert_eq!(found, format!("{} of {}", shown.len(), by_time.len()));
    browser.value("(() => { const input = document.querySelector('section[aria-labelledby=statements] input'); input.value = ''; input.dispatchEvent(new Event('input')); })()");

    // A statement unfolds; a link from an error to its statement unfolds that.
    let entry = "document.querySelector('#statement-table tbody .entry').checkVisibility()";
    assert_eq!(browser.value(entry), false);
    browser.click("#statement-table tbody .fold");
    assert_eq!(browser.value(entry), true);
    browser.click("[aria-labelledby=errors] tbody a");
    let target = browser.value("location.hash").as_str().unwrap().to_owned();
    assert!(target.starts_with("#statement-"));
    assert_eq!(browser.value(&format!("document.querySelector('{target} .entry').checkVisibility()")), true);

    // Charts: the keyboard reads values, dragging zooms, Escape shows all.
    let chart = "#charts .chart svg";
    browser.value(&format!("document.querySelector('{chart}').focus()"));
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    let text = browser.value(&format!("document.querySelector('{chart}').ariaValueText"));
    assert!(text.as_str().unwrap().contains("UTC: Requests "), "{text}");
    let bars = |browser: &mut Browser| {
        browser
            .value(&format!("document.querySelector('{chart} .bars').getAttribute('d').split('M').length - 1"))
            .as_u64()
            .unwrap()
    };
    let all = bars(&mut browser);
    browser.drag(chart, 0.3, 0.5);
    let some = bars(&mut browser);
    assert!(some > 1 && some < all / 2, "{some} of {all}");
    browser.press("Escape");
    assert_eq!(bars(&mut browser), all);

    // The theme changes with the switch.
    let background = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(background);
    browser.click("#theme");
    assert_eq!(browser.value(background), light, "light, whatever the system's");
    browser.click("#theme");
    assert_ne!(browser.value(background), light);
    browser.click("#theme");
    browser.assert_quiet();

    let shots = std::env::var_os("PGDISSECT_SCREENSHOTS").map(std::path::PathBuf::from);
    for theme in ["light", "dark"] {
        for width in [1_280, 390] {
            browser.open(&file, width, theme);
            let beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.value(beyond), 0, "the page does not scroll sideways");
            assert_eq!(browser.value(FAINT), Value::Array(Vec::new()), "{theme} {width}");
            browser.assert_quiet();
            if let Some(shots) = &shots {
                browser.screenshot(&shots.join(format!("{theme}-{width}.png")));
            }
        }
    }

    // Without the script, everything is there to be read.
    let (before, script) = page.rsplit_once("<script>").unwrap();
    let mut plain = before.to_owned();
    plain.push_str(script.split_once("</script>").unwrap().1);
    fs::write(&file, plain).unwrap();
    browser.open(&file, 1_280, "light");
    assert_eq!(
        browser.value(
            "[...document.querySelectorAll('tr')].every((row) => row.checkVisibility() || row.closest('details'))"
        ),
        true
    );
}

#[test]
#[ignore = "needs Chromium: run by .ci/slow"]
fn hostile_sql_does_nothing_in_a_browser() {
    let folder = Folder::new();
    let mut sql = String::from("SELECT '");
    for (number, text) in
        ["</script>", "</pre>", "</title>", "</textarea>", "<!--", "]]>", "'\">", "\u{2028}", "\u{202e}"]
            .iter()
            .enumerate()
    {
        write!(sql, "{text}<script>document.title = '{number}'</script><img src=x onerror=\"document.title = '{number}'\"><svg onload=alert({number})>").unwrap();
    }
    let capture = folder.file("hostile.pcap");
    fs::write(&capture, capture_of(&sql)).unwrap();
    let (file, page) = report(&folder, &[&capture]);
    assert!(page.contains("&lt;svg onload=alert(8)&gt;"));
    let mut browser = Browser::start();
    browser.open(&file, 1_280, "light");
    assert!(browser.value("document.title").as_str().unwrap().starts_with("PostgreSQL traffic"));
    assert_eq!(browser.value("document.querySelectorAll('img, body > svg, script:not([type]) ~ script').length"), 0);
    let shown = browser.value("document.querySelector('#statement-table pre.source').textContent");
    assert!(shown.as_str().unwrap().contains("$1") || shown.as_str().unwrap().contains("<script>"), "{shown}");
    let example = browser.value("document.querySelector('[aria-labelledby=errors] pre.source').textContent");
    assert_eq!(example.as_str().unwrap(), sql.replace('\u{2028}', "\\u2028").replace('\u{202e}', "\\u202e"));
    browser.assert_quiet();
}
