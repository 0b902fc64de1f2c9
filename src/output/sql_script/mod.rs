//! Sessions as a script for psql: the statements of each together, with their parameters put in.
//!
//! A statement is written so that psql sends the same text, but for its parameters, and the server understands the same. What cannot be
//! written so, because something of it is not known, or psql or the server would read it otherwise, is a comment, and says why.

mod literal;
mod made;
mod settings;
mod statement;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use self::made::Made;
use self::statement::{Reading, Refused};
use super::Form;
use super::text::sanitize::{Extent, Name, Prose, is_escaped};
use crate::pg::error::code;
use crate::pg::query::TransactionStatus;
use crate::pg::text::Text;
use crate::record::session::State;
use crate::record::{Header, Outcome, Protocol, QueryRecord, Record, SessionRecord};
use crate::time::Timestamp;

/// How many bytes are held back until their sessions end. Beyond this, the largest block is written in parts.
const MOST_HELD: usize = 256 << 20;

/// How many portals of a session are known to have more rows. Of more, the first one is forgotten.
const MOST_PORTALS: usize = 64;

/// Sessions as a script. A session's block is written when the session has ended.
#[derive(Debug)]
pub(crate) struct SqlScript {
    blocks: BTreeMap<u64, Block>,
    held: usize,
    most_held: usize,
    has_block: bool,
    /// Whether control characters are shown as what they are, because a terminal would act on them.
    on_terminal: bool,
}

/// The part of the script for one session.
#[derive(Debug, Default)]
struct Block {
    text: Vec<u8>,
    /// Where the statements begin.
    start: usize,
    /// The statements that set what the session began with.
    settings: Vec<u8>,
    reading: Reading,
    /// Whether the script has certainly set how backslashes are read.
    has_set_reading: bool,
    /// The last request that may have set it, if what came of it is not known: when it began, when it ended, and whether it is of the
    /// extended protocol.
    unsettled: Option<(Timestamp, Timestamp, bool)>,
    /// The portals that have more rows.
    suspended: Vec<Box<[u8]>>,
    made: Made,
    /// The last pipeline, by its number, and how many of its statements are run; `None` once one of them has begun or ended a
    /// transaction itself.
    pipeline: (u64, Option<u64>),
}

impl SqlScript {
    pub(crate) fn new(on_terminal: bool) -> Self {
        Self { blocks: BTreeMap::new(), held: 0, most_held: MOST_HELD, has_block: false, on_terminal }
    }

    fn query(&mut self, out: &mut Vec<u8>, query: &QueryRecord<'_>) -> io::Result<()> {
        let conn = query.header.conn;
        if !self.blocks.contains_key(&conn) {
            let mut block = Block::begun(&query.header, [query.user, query.database, query.application])?;
            writeln!(block.text, "-- Its beginning was not captured, or not selected: settings are those of psql.")?;
            self.insert(conn, block);
        }
        let Some(block) = self.blocks.get_mut(&conn) else { return Ok(()) };
        let before = block.text.len();
        block.query(query)?;
        self.held += block.text.len() - before;
        if self.held > self.most_held
            && let Some(largest) = self.blocks.iter().max_by_key(|(_, block)| block.text.len()).map(|(conn, _)| *conn)
            && let Some(written) = self.end(out, largest)?
        {
            let mut text = format!(
                "-- Session {largest}, continued. What it had made for itself, or not committed, is lost here.\n"
            )
            .into_bytes();
            text.extend_from_slice(&written.settings);
            self.insert(largest, Block { text, start: 0, ..written });
        }
        Ok(())
    }

    fn session(&mut self, out: &mut Vec<u8>, session: &SessionRecord<'_>) -> io::Result<()> {
        let conn = session.header.conn;
        if session.state == State::Ended {
            return self.end(out, conn).map(|_| ());
        }
        let header = Header { ts: session.started, ..session.header };
        let mut block = Block::begun(&header, [session.user, session.database, session.application])?;
        if let Some(conforms) = settings::put(&mut block.settings, session)? {
            block.reading = Reading::of(conforms);
            block.has_set_reading = true;
        }
        block.text.extend_from_slice(&block.settings);
        self.insert(conn, block);
        Ok(())
    }

    fn insert(&mut self, conn: u64, mut block: Block) {
        block.start = block.text.len();
        self.held += block.start;
        if let Some(replaced) = self.blocks.insert(conn, block) {
            self.held -= replaced.text.len();
        }
    }

    /// Writes the block of a session, if it has statements, and returns it.
    fn end(&mut self, out: &mut Vec<u8>, conn: u64) -> io::Result<Option<Block>> {
        let Some(block) = self.blocks.remove(&conn) else { return Ok(None) };
        self.held -= block.text.len();
        if block.text.len() == block.start {
            return Ok(Some(block));
        }
        if !std::mem::replace(&mut self.has_block, true) {
            writeln!(
                out,
                "-- Statements of captured sessions, for psql -X -f FILE. Each session has a connection of its own."
            )?;
        } else {
            // The next session begins without what this one has set, locked, or not committed.
            write!(out, "\n\\connect\n")?;
        }
        writeln!(out, "\\encoding UTF8\n")?;
        if self.on_terminal {
            for character in String::from_utf8_lossy(&block.text).chars() {
                match character {
                    '\n' | '\t' => write!(out, "{character}")?,
                    character if is_escaped(character) => write!(out, "\\u{:04x}", u32::from(character))?,
                    character => write!(out, "{character}")?,
                }
            }
        } else {
            out.extend_from_slice(&block.text);
        }
        Ok(Some(block))
    }
}

impl Form for SqlScript {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Query(query) => self.query(out, query),
            Record::Session(session) => self.session(out, session),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>, ends: bool) -> io::Result<()> {
        while ends && let Some(conn) = self.blocks.keys().next().copied() {
            self.end(out, conn)?;
        }
        Ok(())
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self::new(self.on_terminal))
    }
}

impl Block {
    /// Returns a block with what is known of its session.
    fn begun(header: &Header<'_>, [user, database, application]: [Option<Text<'_>>; 3]) -> io::Result<Self> {
        let mut text = Vec::new();
        let Header { ts, conn, client, server } = header;
        write!(text, "-- Session {conn}, {}, {client} -> {server}", ts.rfc3339().as_str())?;
        for (what, name) in [("user", user), ("database", database), ("application", application)] {
            if let Some(name) = name {
                write!(text, ", {what} {}", Name(name, Extent::Whole))?;
            }
        }
        text.push(b'\n');
        Ok(Self { text, ..Self::default() })
    }

    /// Adds a request.
    fn query(&mut self, query: &QueryRecord<'_>) -> io::Result<()> {
        let out = &mut self.text;
        write!(out, "\n-- {}", query.started.rfc3339().as_str())?;
        if let Some(us) = query.total_us {
            write!(out, "  {}.{:03} ms", us / 1_000, us % 1_000)?;
        }
        if let Some(rows) = query.rows {
            write!(out, "  {rows} {}", if rows == 1 { "row" } else { "rows" })?;
        }
        if query.outcome == Outcome::Suspended {
            write!(out, ", and there may be more")?;
        }
        if let Some(error) = &query.error {
            write!(out, "  error")?;
            if let Some(state) = error.fields.get(code::CODE) {
                write!(out, " {}", Prose(state.0, usize::MAX))?;
            }
            if let Some(message) = error.fields.get_sql(code::MESSAGE) {
                write!(out, " {}", Prose(message.masked().get().0, usize::MAX))?;
            }
        }
        out.push(b'\n');
        let continues = self.continues(query);
        let is_of_protocol = self.made.names(query);
        let reading = self.reading_of(query);
        let refused = match statement::script(query, reading) {
            _ if continues => Refused::of("more rows of a portal: its statement is above"),
            Ok(_) if is_of_protocol => Refused::of(
                "it names a prepared statement or a portal of the protocol, which this script does not make",
            ),
            Ok(script) => {
                if !self.has_set_reading && reading != Reading::Unknown && script.contains('\\') {
                    let value = if reading == Reading::Conforming { "on" } else { "off" };
                    writeln!(self.text, "SET standard_conforming_strings = '{value}'; -- as it was")?;
                }
                self.text.extend_from_slice(script.as_bytes());
                self.note_pipeline(query);
                self.note_reading(query);
                return Ok(());
            }
            Err(refused) => refused,
        };
        self.comment(format_args!("not run: {}", refused.why));
        let sql = query.sql.as_ref().map(|sql| sql.0.masked());
        let sql = sql.as_ref().map(|sql| String::from_utf8_lossy(sql.get().0)).unwrap_or_default();
        if query.protocol == Protocol::Function {
            self.comment(format_args!("function {}", query.function_oid.map_or(0, |oid| oid.0)));
        }
        // A comment ends at either.
        sql.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).for_each(|line| self.comment(line));
        self.note_reading(query);
        Ok(())
    }

    /// Returns how a backslash in a constant of a request was read: as the server had reported when it was sent, if nothing was under
    /// way that may have changed it.
    fn reading_of(&mut self, query: &QueryRecord<'_>) -> Reading {
        let Some((conforms, since)) = query.backend.conforming_strings else { return self.reading };
        let is_open = self.unsettled.is_some_and(|(began, ended, is_extended)| {
            // In the extended protocol, the server may report it only behind the Sync.
            query.started <= ended || is_extended && since < began
        });
        if is_open || since > query.started {
            return Reading::Unknown;
        }
        let reading = Reading::of(conforms);
        self.has_set_reading &= reading == self.reading;
        (self.reading, self.unsettled) = (reading, None);
        reading
    }

    /// Notes that a statement of a pipeline is run. Where it fails, the server has undone what the pipeline had done before.
    fn note_pipeline(&mut self, query: &QueryRecord<'_>) {
        if query.protocol != Protocol::Extended {
            return;
        }
        let (number, run) = self.pipeline;
        let run = if number == query.steps.pipeline { run } else { Some(0) };
        let is_in_transaction = matches!(query.tx, Some(tx) if tx != TransactionStatus::IDLE);
        if let Some(run @ 1..) = run.filter(|_| query.error.is_some() && !is_in_transaction) {
            let statements = if run == 1 { "statement" } else { "statements" };
            self.comment(format_args!(
                "the server undid the {run} {statements} above of its pipeline; here they are run by themselves, and stay"
            ));
        }
        let controls = ["BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "PREPARE TRANSACTION"];
        let is_control =
            query.command_tags.iter().any(|tag| controls.iter().any(|control| tag.0 == control.as_bytes()));
        self.pipeline = (query.steps.pipeline, run.filter(|_| !is_control).map(|run| run + 1));
    }

    /// Notes what a request may have set.
    fn note_reading(&mut self, query: &QueryRecord<'_>) {
        if statement::may_set_reading(query) {
            self.reading = Reading::Unknown;
            self.has_set_reading = false;
            self.unsettled = Some((query.started, query.header.ts, query.protocol == Protocol::Extended));
        }
    }

    fn comment(&mut self, text: impl Display) {
        self.text.extend_from_slice(format!("-- {text}\n").as_bytes());
    }

    /// Returns whether an Execute returned further rows of a portal, whose statement has been run.
    fn continues(&mut self, query: &QueryRecord<'_>) -> bool {
        if query.protocol != Protocol::Extended {
            return false;
        }
        let name = query.portal.unwrap_or_default().0;
        let known = self.suspended.iter().position(|suspended| **suspended == *name);
        if let Some(known) = known {
            self.suspended.remove(known);
        }
        if query.outcome == Outcome::Suspended {
            if self.suspended.len() == MOST_PORTALS {
                self.suspended.remove(0);
            }
            self.suspended.push(name.into());
        }
        // With a Bind, it is another portal of that name.
        known.is_some() && query.bind_us.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capture::{Event, FileSource, Source};
    use crate::dissector::{Config, Dissector, Records};

    fn script(most_held: usize, on_terminal: bool) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/sql-script/capture.pcap.gz");
        let mut source = FileSource::new(vec![path.into()], Arc::default());
        let records = Records { queries: true, sessions: true, ..Records::NONE };
        let mut dissector = Dissector::new(Config { ports: Some(vec![5415]), records, ..Config::default() });
        let (mut out, mut form) = (Vec::new(), SqlScript { most_held, ..SqlScript::new(on_terminal) });
        let mut sink = |record: &Record<'_>| {
            form.record(&mut out, record).unwrap();
            assert!(form.held <= most_held.max(4_096), "{}", form.held);
        };
        while let Ok(Event::Packet(packet)) = source.next_event() {
            dissector.packet(&packet, &mut sink);
        }
        dissector.finish(&mut sink);
        form.flush(&mut out, true).unwrap();
        assert_eq!((form.held, form.blocks.len()), (0, 0));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_session_is_written_in_parts_that_lack_nothing() {
        let statements = |script: &str| {
            let lines =
                script.lines().filter(|line| !line.is_empty() && !line.starts_with("SET ") && !line.starts_with('\\'));
            lines.filter(|line| !line.starts_with("-- Session ")).map(str::to_owned).collect::<Vec<_>>()
        };
        let (whole, parts) = (script(usize::MAX, false), script(2_000, false));
        assert_eq!(statements(&whole), statements(&parts));
        assert!(!whole.contains("continued") && parts.matches(", continued. ").count() > 3);
        // Each part has the settings of its session.
        let count = |what| parts.matches(what).count();
        let again = count("; -- as it was\n");
        assert_eq!(count("\nSET standard_conforming_strings = 'o") - again, count("\n-- Session "));
    }

    #[test]
    fn a_terminal_sees_no_control_character() {
        let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
        assert!(!script(usize::MAX, true).contains(is_control));
    }
}
