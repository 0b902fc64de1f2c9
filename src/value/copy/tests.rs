use proptest::prelude::*;

use super::*;

type Row = Vec<Option<Vec<u8>>>;

/// Splits data in pieces. Returns the rows, and a description of the rest.
fn split(
    options: &CopyOptions<'static>,
    settings: &Settings,
    longest: usize,
    pieces: &[&[u8]],
) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    let mut splitter = Splitter::new(options.clone(), settings, longest);
    let mut found = |split: Split<'_>| {
        let fields = |row: CopyRow<'_>| row.fields().map(|field| field.bytes.map(Cow::into_owned)).collect();
        rows.extend(split.rows().map(fields));
        others.extend(split.header().map(|row| format!("header {}", row.as_bytes().escape_ascii())));
        let skipped = split.too_long() + split.lost();
        others.extend((skipped > 0).then(|| format!("skipped {skipped}")));
        others.extend(split.rest().map(|rest| format!("rest {}", rest.escape_ascii())));
    };
    for piece in pieces {
        splitter.push(piece);
        found(splitter.split(piece));
    }
    splitter.finish();
    found(splitter.split(b""));
    (rows, others)
}

fn rows(options: &CopyOptions<'static>, data: &[u8]) -> Vec<Row> {
    let (rows, others) = split(options, &Settings::default(), 1_000, &[data]);
    assert_eq!(others, [""; 0]);
    rows
}

fn row(fields: &[Option<&[u8]>]) -> Row {
    fields.iter().map(|field| field.map(<[u8]>::to_vec)).collect()
}

#[test]
fn text_has_escapes_and_its_own_null() {
    let options = CopyOptions::new(CopyFormat::Text);
    let data = b"1\ttwo words\t\\N\t\\\\N\t\na\\tb\\n\\\\\\x41\\x4z\\101\\8\\q\\x\t\\b\\f\\r\\v\nline\\\nbreak\n\n";
    assert_eq!(
        rows(&options, data),
        [
            row(&[Some(b"1"), Some(b"two words"), None, Some(b"\\N"), Some(b"")]),
            row(&[Some(b"a\tb\n\\A\x04zA8qx"), Some(b"\x08\x0c\r\x0b")]),
            row(&[Some(b"line\nbreak")]),
            row(&[Some(b"")]),
        ]
    );
    let options = CopyOptions { delimiter: b'|', null: b"zero".into(), ..options };
    assert_eq!(rows(&options, b"a\\|b|zero|\\zero"), [row(&[Some(b"a|b"), None, Some(b"zero")])]);
}

#[test]
fn csv_has_quotes_anywhere_and_null_without_them() {
    let options = CopyOptions::new(CopyFormat::Csv);
    assert_eq!(
        rows(&options, b"1,,\"\",\"a,\"\"b\"\"\nc\",d\"e,f\"g\\\r\n2\r\n"),
        [row(&[Some(b"1"), None, Some(b""), Some(b"a,\"b\"\nc"), Some(b"de,fg\\")]), row(&[Some(b"2")])]
    );
    let other = CopyOptions { delimiter: b';', quote: b'\'', escape: b'\\', null: b"NULL".into(), ..options.clone() };
    assert_eq!(
        rows(&other, b"'it\\'s \\\\ \\n';NULL;'NULL';\\'x'\n"),
        [row(&[Some(b"it's \\ \\n"), None, Some(b"NULL"), Some(b"\\x")])]
    );
    let (_, others) = split(&options, &Settings::default(), 1_000, &[b"1,\"open\n2\n"]);
    assert_eq!(others, [r#"rest 1,\"open\n2\n"#]);
}

#[test]
fn a_header_is_not_a_row() {
    let options = CopyOptions { header_lines: 1, ..CopyOptions::new(CopyFormat::Csv) };
    let (rows, others) = split(&options, &Settings::default(), 1_000, &[b"id,\"na", b"me\"\n1,a\n"]);
    assert_eq!((rows, others), (vec![row(&[Some(b"1"), Some(b"a")])], vec![r#"header id,\"name\""#.to_owned()]));
}

#[test]
fn binary_has_a_header_and_a_trailer() {
    let options = CopyOptions::new(CopyFormat::Binary);
    let data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02xx\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x01\0\0\0\0\xff\xff";
    assert_eq!(rows(&options, data), [row(&[Some(b"a"), None]), row(&[]), row(&[Some(b"")])]);
    let (rows, others) = split(&options, &Settings::default(), 1_000, &[b"1\ta\n2\tb\n"]);
    assert_eq!((rows, others), (vec![], vec!["rest 1\\ta\\n2\\tb\\n".to_owned()]));
}

#[test]
fn a_row_that_is_too_long_loses_only_itself() {
    let options = CopyOptions::new(CopyFormat::Text);
    let long = [b'x'; 50];
    let (rows, others) = split(&options, &Settings::default(), 60, &[b"a\nb", &long, &long, b"\nc", b"\n"]);
    assert_eq!((rows, others), (vec![row(&[Some(b"a")]), row(&[Some(b"c")])], vec!["skipped 102".to_owned()]));
}

#[test]
fn a_byte_of_a_character_that_looks_like_a_backslash_is_none() {
    let mut settings = Settings::default();
    settings.parameter(b"client_encoding", b"SJIS");
    // 表 ends with 0x5c.
    let (rows, _) = split(&CopyOptions::new(CopyFormat::Text), &settings, 99, &[b"\x95\x5c\tb\n\x95", b"\x5c\n"]);
    assert_eq!(rows, [row(&[Some(b"\x95\x5c"), Some(b"b")]), row(&[Some(b"\x95\x5c")])]);
}

#[test]
fn lines_end_as_the_first_one_does() {
    let options = CopyOptions::new(CopyFormat::Csv);
    let a_and_b = [row(&[Some(b"a")]), row(&[Some(b"b"), Some(b"\r\n")])];
    for data in [&b"a\nb,\"\r\n\"\n"[..], b"a\r\nb,\"\r\n\"\r\n", b"a\rb,\"\r\n\"\r", b"a\rb,\"\r\n\""] {
        assert_eq!(rows(&options, data), a_and_b, "{}", data.escape_ascii());
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        assert_eq!(split(&options, &Settings::default(), 99, &bytes).0, a_and_b, "{}", data.escape_ascii());
    }
}

#[test]
fn behind_the_mark_of_the_end_nothing_is_a_row() {
    let options = CopyOptions::new(CopyFormat::Text);
    for pieces in [&[&b"a\n\\.\nb\n"[..]][..], &[b"a\n\\", b".\nb\n"], &[b"a", b"\n\\.", b"\nb", b"\n"]] {
        let (rows, others) = split(&options, &Settings::default(), 99, pieces);
        assert_eq!(rows, [row(&[Some(b"a")])]);
        let rest: String = others.iter().map(|other| other.strip_prefix("rest ").unwrap()).collect();
        assert_eq!(rest, r"\\.\nb\n");
    }
}

#[test]
fn what_stands_for_a_default_is_given_as_it_is() {
    let options = CopyOptions { default: Some(b"\\D".into()), ..CopyOptions::new(CopyFormat::Text) };
    assert_eq!(rows(&options, b"\\D\t\\D\\D\n"), [row(&[Some(b"\\D"), Some(b"DD")])]);
}

#[test]
fn of_another_encoding_the_statement_tells() {
    let options = CopyOptions { encoding: Some(b"latin1".into()), ..CopyOptions::new(CopyFormat::Text) };
    let mut splitter = Splitter::new(options, &Settings::default(), 99);
    splitter.push(b"gr\xf6\xdfe\n");
    let row = splitter.split(b"gr\xf6\xdfe\n").rows().next().unwrap();
    assert_eq!(row.fields().next().unwrap().text().unwrap(), "größe");
}

fn found(splitter: &mut Splitter, data: &[u8]) -> Vec<String> {
    splitter.push(data);
    let split = splitter.split(data);
    assert_eq!(split.rest(), None);
    let skipped = split.too_long() + split.lost();
    let skipped = (skipped > 0).then(|| format!("skipped {skipped}"));
    skipped.into_iter().chain(split.rows().map(|row| format!("row {}", row.as_bytes().escape_ascii()))).collect()
}

#[test]
fn behind_a_loss_a_message_of_a_server_begins_a_row() {
    let mut splitter = Splitter::new(CopyOptions::new(CopyFormat::Binary), &Settings::default(), 99);
    splitter.restart();
    assert_eq!(found(&mut splitter, b"\0\x01\0\0\0\x01a\0\x01\0"), [r"row \x00\x01\x00\x00\x00\x01a"]);
    assert_eq!(splitter.split(b"").unfinished(), 3);
    splitter.restart();
    assert_eq!(found(&mut splitter, b"\0\0"), [r"row \x00\x00"]);
}

#[test]
fn behind_a_loss_the_next_line_of_text_begins_a_row_where_it_surely_is_one() {
    let lost = |pieces: &[&[u8]]| {
        let mut splitter = Splitter::new(CopyOptions::new(CopyFormat::Text), &Settings::default(), 99);
        found(&mut splitter, b"a\nb");
        splitter.resume();
        pieces.iter().flat_map(|piece| found(&mut splitter, piece)).collect::<Vec<_>>()
    };
    assert_eq!(lost(&[b"b\nc\n"]), ["skipped 2", "row c"]);
    assert_eq!(lost(&[b"b", b"\nc\nd"]), ["skipped 1", "skipped 1", "row c"]);
    // A backslash before it may be what was lost, or may itself be escaped.
    assert_eq!(lost(&[b"\nb\nc\n"]), ["skipped 3", "row c"]);
    assert_eq!(lost(&[b"b\\\nb\\", b"\nb\r\nc\n"]), ["skipped 5", "skipped 4", "row c"]);
}

#[test]
fn behind_a_loss_nothing_of_csv_is_a_row() {
    for format in [CopyFormat::Csv, CopyFormat::Binary] {
        let mut splitter = Splitter::new(CopyOptions::new(format), &Settings::default(), 99);
        splitter.resume();
        assert!(splitter.is_over());
    }
}

#[test]
fn what_is_carried_is_given_up_where_the_memory_is_needed() {
    let mut splitter = Splitter::new(CopyOptions::new(CopyFormat::Text), &Settings::default(), 1_000_000);
    splitter.push(&[b'x'; 100_000]);
    assert!((100_000..300_000).contains(&splitter.held()));
    splitter.release();
    assert_eq!(splitter.held(), 0);
    assert_eq!(found(&mut splitter, b"x\na\n"), ["skipped 100002", "row a"]);
}

proptest! {
    #[test]
    fn any_cut_results_in_the_same_rows(
        // Mostly bytes with a special meaning.
        data in proptest::collection::vec(proptest::sample::select(b"\0\0\x01\x02\xff\xff\x95ab01x,\"\"\\\\\t\r\n\n.N".to_vec()), 0..80),
        cuts in proptest::collection::vec(0_usize..80, 0..6),
        format in proptest::sample::select(vec![CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary]),
        starts in any::<bool>(),
        encoding in proptest::sample::select(vec!["SJIS", "UTF8"]),
    ) {
        let header: &[u8] = if starts && format == CopyFormat::Binary { b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0" } else { b"" };
        let data = [header, &data].concat();
        let mut settings = Settings::default();
        settings.parameter(b"client_encoding", encoding.as_bytes());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).chain([0, data.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &data[cut[0]..cut[1]]).collect();
        let options = CopyOptions::new(format);
        let (whole, in_pieces) = (split(&options, &settings, 1_000, &[&data]), split(&options, &settings, 1_000, &pieces));
        prop_assert_eq!(whole.0, in_pieces.0);
        let rest = |others: Vec<String>| -> String {
            others.iter().map(|other| other.strip_prefix("rest ").unwrap()).collect()
        };
        prop_assert_eq!(rest(whole.1), rest(in_pieces.1));
    }

    #[test]
    fn rows_of_ascii_are_the_same_in_every_encoding(
        data in proptest::collection::vec(proptest::sample::select(b"ab1,,;\"\"''\\\\\t\r\n\n.N".to_vec()), 0..80),
        options in proptest::sample::select(vec![
            CopyOptions::new(CopyFormat::Text),
            CopyOptions::new(CopyFormat::Csv),
            CopyOptions { quote: b'\'', escape: b'\\', ..CopyOptions::new(CopyFormat::Csv) },
        ]),
    ) {
        let in_encoding = |name: &[u8]| {
            let mut settings = Settings::default();
            settings.parameter(b"client_encoding", name);
            let lines: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
            [split(&options, &settings, 1_000, &[&data]), split(&options, &settings, 1_000, &lines)]
        };
        // The fast path is not used if the second byte of a character may look like ASCII.
        prop_assert_eq!(in_encoding(b"UTF8"), in_encoding(b"SJIS"));
    }
}
