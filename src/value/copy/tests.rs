use proptest::prelude::*;

use super::*;

type Row = Vec<Option<Vec<u8>>>;

/// What a splitter finds in pieces: rows, and the rest in words.
fn split(options: &CopyOptions, settings: &Settings, longest: usize, pieces: &[&[u8]]) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    let mut splitter = Splitter::new(options.clone(), settings, longest);
    let mut found = |item: CopyItem<'_>| match item {
        CopyItem::Row(row) => rows.push(row.fields().map(|field| field.map(Cow::into_owned)).collect()),
        CopyItem::Header(row) => others.push(format!("header {}", row.as_bytes().escape_ascii())),
        CopyItem::TooLong(bytes) => others.push(format!("too long {bytes}")),
        CopyItem::Malformed(bytes) => others.push(format!("malformed {bytes}")),
    };
    for piece in pieces {
        splitter.push(piece, &mut found);
    }
    splitter.finish(&mut found);
    (rows, others)
}

fn rows(options: &CopyOptions, data: &[u8]) -> Vec<Row> {
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
    let data =
        b"1\ttwo words\t\\N\t\\\\N\t\na\\tb\\n\\\\\\x41\\x4z\\101\\8\\q\\x\t\\b\\f\\r\\v\nline\\\nbreak\n\n\\.\n";
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
    assert_eq!(others, ["malformed 10"]);
}

#[test]
fn a_header_is_no_row() {
    let options = CopyOptions { header: true, ..CopyOptions::new(CopyFormat::Csv) };
    let (rows, others) = split(&options, &Settings::default(), 1_000, &[b"id,\"na", b"me\"\n1,a\n"]);
    assert_eq!((rows, others), (vec![row(&[Some(b"1"), Some(b"a")])], vec![r#"header id,\"name\""#.to_owned()]));
}

#[test]
fn binary_has_a_header_and_a_trailer() {
    let options = CopyOptions::new(CopyFormat::Binary);
    let data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02xx\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x01\0\0\0\0\xff\xff";
    assert_eq!(rows(&options, data), [row(&[Some(b"a"), None]), row(&[]), row(&[Some(b"")])]);
    let (rows, others) = split(&options, &Settings::default(), 1_000, &[b"1\ta\n2\tb\n"]);
    assert_eq!((rows, others), (vec![], vec!["malformed 1".to_owned(), "malformed 7".to_owned()]));
}

#[test]
fn a_row_that_is_too_long_costs_only_itself() {
    let options = CopyOptions::new(CopyFormat::Text);
    let long = [b'x'; 50];
    let (rows, others) = split(&options, &Settings::default(), 60, &[b"a\nb", &long, &long, b"\nc", b"\n"]);
    assert_eq!((rows, others), (vec![row(&[Some(b"a")]), row(&[Some(b"c")])], vec!["too long 102".to_owned()]));
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
fn behind_a_loss_a_message_begins_a_row() {
    let mut splitter = Splitter::new(CopyOptions::new(CopyFormat::Binary), &Settings::default(), 99);
    splitter.restart();
    let mut found = 0;
    splitter.push(b"\0\x01\0\0\0\x01a", |item| found += usize::from(matches!(item, CopyItem::Row(_))));
    assert_eq!(found, 1);
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_rows(
        // Bytes that mean something, and few that do not.
        data in proptest::collection::vec(proptest::sample::select(b"\0\0\x01\x02\xff\xff\x95ab01x,\"\"\\\\\t\r\n\n.N".to_vec()), 0..80),
        cuts in proptest::collection::vec(0_usize..80, 0..6),
        format in proptest::sample::select(vec![CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary]),
        starts in any::<bool>(),
    ) {
        let header: &[u8] = if starts && format == CopyFormat::Binary { b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0" } else { b"" };
        let data = [header, &data].concat();
        let mut settings = Settings::default();
        settings.parameter(b"client_encoding", b"SJIS");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).chain([0, data.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &data[cut[0]..cut[1]]).collect();
        let options = CopyOptions::new(format);
        let (whole, in_pieces) = (split(&options, &settings, 1_000, &[&data]), split(&options, &settings, 1_000, &pieces));
        prop_assert_eq!(whole.0, in_pieces.0);
    }
}
