//! The tables as Parquet, in part files in a folder.
//!
//! Lines are parsed again into columns. They are what the threads that format records hand over in order, whatever their number; so
//! the values are those of the JSON by construction, and the columns are those of its schema.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use self::columns::Columns;
use super::Table;

mod columns;

/// When rows are written together, and when a part is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The number of rows in memory, and the size of their lines.
    rows: usize,
    line_bytes: usize,
    /// The size of a part, about, in bytes.
    part_bytes: usize,
    /// The time since its first row.
    part_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 1 << 16, line_bytes: 32 << 20, part_bytes: 128 << 20, part_time: Duration::from_secs(60) }
    }
}

/// Writes lines as rows of tables.
struct Tables {
    tables: [Parts; Table::ALL.len()],
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Tables {
    fn new(folder: &Path, limits: Limits) -> io::Result<Self> {
        let files = fs::read_dir(folder)?.map(|file| Ok(file?.file_name().into_string().unwrap_or_default()));
        let files: Vec<_> = files.collect::<io::Result<_>>()?;
        let [query, session, change] = Table::ALL.map(|table| {
            let number = |name: &String| -> Option<u64> {
                name.strip_prefix(table.name())?.strip_prefix('-')?.strip_suffix(".parquet")?.parse().ok()
            };
            let last = files.iter().filter_map(number).max().unwrap_or_default();
            let columns = Columns::of(table).map_err(failed)?;
            Ok::<_, io::Error>(Parts { table, folder: folder.to_owned(), last, limits, columns, part: None })
        });
        Ok(Self { tables: [query?, session?, change?], rest: Vec::new() })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tables.iter_mut().try_for_each(Parts::close)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let event = line.strip_prefix(br#"{"event":""#).unwrap_or_default();
        let is_of = |parts: &&mut Parts| {
            event.strip_prefix(parts.table.name().as_bytes()).is_some_and(|rest| rest.starts_with(br#"","#))
        };
        self.tables.iter_mut().find(is_of).map_or(Ok(()), |parts| parts.row(line))
    }
}

impl Write for Tables {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut unread = bytes;
        while let Some(end) = memchr::memchr(b'\n', unread) {
            let (line, behind) = unread.split_at_checked(end).unwrap_or((unread, &[]));
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
            unread = behind.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(unread);
        Ok(bytes.len())
    }

    /// Completes the parts whose time has come.
    fn flush(&mut self) -> io::Result<()> {
        self.tables.iter_mut().filter(|parts| parts.is_old()).try_for_each(Parts::close)
    }
}

/// Tables that are written at one place and completed at another.
#[derive(Clone)]
pub(crate) struct SharedTables(Arc<Mutex<Tables>>);

impl SharedTables {
    /// Creates tables in a folder. Its parts are numbered behind those that are there.
    ///
    /// # Errors
    ///
    /// Those of the folder.
    pub(crate) fn new(folder: &Path, limits: Limits) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Tables::new(folder, limits)?))))
    }

    /// Completes all parts.
    ///
    /// # Errors
    ///
    /// Those of the files.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.lock().finish()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for SharedTables {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// The part files of a table.
struct Parts {
    table: Table,
    folder: PathBuf,
    /// The number of the last part.
    last: u64,
    limits: Limits,
    /// Rows that are not in the part yet.
    columns: Columns,
    part: Option<Part>,
}

/// A part that is not complete. Its name ends in `.tmp` until it is.
struct Part {
    writer: SerializedFileWriter<File>,
    name: PathBuf,
    started: Instant,
}

impl Parts {
    fn row(&mut self, line: &[u8]) -> io::Result<()> {
        if self.part.is_none() {
            self.part = Some(self.open()?);
        }
        if let Err(error) = self.columns.add(line) {
            self.abandon();
            return Err(error);
        }
        if self.columns.rows() >= self.limits.rows || self.columns.line_bytes() >= self.limits.line_bytes {
            self.write()?;
            let is_full = |part: &Part| part.writer.bytes_written() >= self.limits.part_bytes;
            if self.part.as_ref().is_some_and(is_full) || self.is_old() {
                self.close()?;
            }
        }
        Ok(())
    }

    fn is_old(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.started.elapsed() >= self.limits.part_time)
    }

    fn open(&mut self) -> io::Result<Part> {
        self.last += 1;
        let name = self.folder.join(format!("{}-{:05}.parquet", self.table, self.last));
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let file = File::create(unfinished(&name))?;
        let writer = SerializedFileWriter::new(file, self.columns.schema(), Arc::new(properties)).map_err(failed)?;
        Ok(Part { writer, name, started: Instant::now() })
    }

    /// Moves the rows so far to the part.
    fn write(&mut self) -> io::Result<()> {
        let Some(part) = &mut self.part else { return Ok(()) };
        let written = self.columns.write(&mut part.writer);
        if written.is_err() {
            self.abandon();
        }
        written.map_err(failed)
    }

    /// Leaves a part as it is after an error, for it will not be whole.
    fn abandon(&mut self) {
        self.part = None;
        self.columns.clear();
    }

    /// Completes the part, if there is one.
    fn close(&mut self) -> io::Result<()> {
        self.write()?;
        if let Some(Part { writer, name, .. }) = self.part.take() {
            writer.into_inner().map_err(failed)?.sync_all()?;
            fs::rename(unfinished(&name), &name)?;
            // So that the name is on the disk as well.
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn unfinished(name: &Path) -> PathBuf {
    name.with_extension("parquet.tmp")
}

/// Returns the error of the operating system, if it is one.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(inner) => io::Error::other(inner),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};

    use super::*;

    const UNLIMITED: Limits =
        Limits { rows: usize::MAX, line_bytes: usize::MAX, part_bytes: usize::MAX, part_time: Duration::MAX };

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pgdissect-parquet-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(file: &Path) -> Vec<Row> {
        let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
        reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
    }

    fn columns(rows: &[Row], name: &str) -> Vec<Field> {
        let of_row = |row: &Row| row.get_column_iter().find(|(found, _)| *found == name).unwrap().1.clone();
        rows.iter().map(of_row).collect()
    }

    fn text(text: &str) -> Field {
        Field::Str(text.to_owned())
    }

    /// A line of a change, with what a line has to have and these members.
    fn line(conn: &str, more: &str) -> String {
        let ends = r#""client":"10.0.0.1:40000","server":"10.0.0.2:5432""#;
        format!(
            "{{\"event\":\"change\",\"ts\":\"2026-11-22T21:46:04.091027Z\",\"conn\":{conn},{ends},\"packet\":9,\
             \"op\":\"insert\",\"lsn\":\"0/1\"{more}}}\n"
        )
    }

    #[test]
    fn values_are_those_of_the_lines_however_these_are_cut() {
        let folder = folder("values");
        let lines = [
            line("1", r#","new":{"a":"x\"y"},"table":"t\"\u00e9","unchanged":["p","q\\"]"#),
            line("\"18446744073709551615\"", r#","table":{"hex":"ff"},"cascade":true,"unchanged":[]"#),
            "{\"event\":\"loss\",\"conn\":1}\n".to_owned(),
            line("2", r#","relation_oid":4294967295,"new":{"b":null}"#),
        ]
        .concat();
        // Rows in one group, and each in its own.
        for (rows, size) in [(usize::MAX, 7), (1, lines.len())] {
            let mut tables = Tables::new(&folder, Limits { rows, ..UNLIMITED }).unwrap();
            lines.as_bytes().chunks(size).for_each(|piece| tables.write_all(piece).unwrap());
            tables.finish().unwrap();
            assert_eq!(names(&folder), ["change-00001.parquet"]);
            let file = folder.join("change-00001.parquet");
            let rows = read(&file);
            assert_eq!(columns(&rows, "conn"), [1, u64::MAX, 2].map(Field::ULong));
            assert_eq!(columns(&rows, "ts"), [1_795_383_964_091_027; 3].map(Field::TimestampMicros));
            assert_eq!(columns(&rows, "table"), [text("t\"\u{e9}"), text(r#"{"hex":"ff"}"#), Field::Null]);
            assert_eq!(columns(&rows, "new"), [text(r#"{"a":"x\"y"}"#), Field::Null, text(r#"{"b":null}"#)]);
            assert_eq!(columns(&rows, "cascade"), [Field::Null, Field::Bool(true), Field::Null]);
            assert_eq!(columns(&rows, "relation_oid"), [Field::Null, Field::Null, Field::UInt(u32::MAX)]);
            let lists: Vec<_> = columns(&rows, "unchanged").iter().map(ToString::to_string).collect();
            assert_eq!(lists, [r#"["p", "q\"]"#, "[]", "null"]);
            fs::remove_file(file).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_crash_costs_at_most_the_open_part() {
        let folder = folder("crash");
        let mut tables = Tables::new(&folder, Limits { rows: 10, part_bytes: 0, ..UNLIMITED }).unwrap();
        for _ in 0..25 {
            tables.write_all(line("1", "").as_bytes()).unwrap();
        }
        // As a crash does, that runs no destructors.
        std::mem::forget(tables);
        assert_eq!(names(&folder), ["change-00001.parquet", "change-00002.parquet", "change-00003.parquet.tmp"]);
        for part in ["change-00001.parquet", "change-00002.parquet"] {
            assert_eq!(read(&folder.join(part)).len(), 10);
        }
        // What comes later replaces no part. Its time is over at once.
        let mut tables = Tables::new(&folder, Limits { part_time: Duration::ZERO, ..UNLIMITED }).unwrap();
        tables.write_all(line("1", "").as_bytes()).unwrap();
        tables.flush().unwrap();
        assert_eq!(names(&folder), ["change-00001.parquet", "change-00002.parquet", "change-00003.parquet"]);
        assert_eq!(read(&folder.join("change-00003.parquet")).len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn large_rows_are_written_before_there_are_many() {
        let folder = folder("large");
        let mut tables = Tables::new(&folder, Limits { line_bytes: 100_000, part_bytes: 0, ..UNLIMITED }).unwrap();
        for _ in 0..7 {
            tables.write_all(line("1", &format!(",\"content\":\"{}\"", "x".repeat(40_000))).as_bytes()).unwrap();
        }
        assert_eq!(names(&folder), ["change-00001.parquet", "change-00002.parquet", "change-00003.parquet.tmp"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_value_of_another_type_is_an_error_and_no_part_is_complete_then() {
        let folder = folder("error");
        for (line, wanted) in [
            (line("1", r#","cascade":7"#), "`cascade` is not of its column's type"),
            (line("-1", ""), "`conn` is not of its column's type"),
            (line("1", "").replace("\"packet\":9,", ""), "`packet` is missing"),
        ] {
            let mut tables = Tables::new(&folder, UNLIMITED).unwrap();
            let error = tables.write_all(line.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
            tables.finish().unwrap();
            assert_eq!(names(&folder), ["change-00001.parquet.tmp"]);
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let folder = folder("full");
        std::os::unix::fs::symlink("/dev/full", folder.join("change-00001.parquet.tmp")).unwrap();
        let mut tables = Tables::new(&folder, UNLIMITED).unwrap();
        tables.write_all(line("1", "").as_bytes()).unwrap();
        assert_eq!(tables.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        tables.finish().unwrap();
        assert_eq!(names(&folder), ["change-00001.parquet.tmp"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
