//! The commands of a walsender: what a replication connection sends in a Query message in place of SQL.
//!
//! The grammar is that of PostgreSQL 9.4 to 18 together ("Streaming Replication Protocol"; `repl_gram.y` and
//! `repl_scanner.l`). Clients write options as keywords for servers up to version 14, and in parentheses since version 15. There
//! are no comments, strings have no escapes with backslashes, and a text has one command.
//!
//! It differs from what a server of version 18 accepts in these points:
//!
//! - Keywords are accepted in any case. A server knows upper case only, and takes anything else for SQL: that is an error,
//!   except for SHOW, which means the same in SQL.
//! - `""` in a quoted name is one quote, as libpq and others write it. Up to version 18, it ends the name and begins another,
//!   which no command allows there but in a list of options.
//! - Names are not truncated to 63 bytes, because the limit is the server's, and depends on the encoding.
//! - A timeline, or half of a position, of more than 32 bits makes a text no command. The server truncates it.
//! - The options of BASE_BACKUP may be keywords.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Lsn;
use scan::{Parser, Token, identifiers};

mod scan;

/// A replication command ("Streaming Replication Protocol").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "command", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Command<'a> {
    /// Asks for the system identifier, the timeline and the position in the WAL.
    IdentifySystem,
    /// Asks for a run-time parameter.
    Show {
        /// The parameter; its parts are separated by dots.
        name: Unquoted<'a>,
    },
    /// Asks for the history file of a timeline.
    TimelineHistory {
        /// The timeline.
        timeline: u32,
    },
    /// Asks for the state of a physical slot. Since version 15.
    ReadReplicationSlot {
        /// The slot.
        slot: Unquoted<'a>,
    },
    /// Creates a slot.
    CreateReplicationSlot(CreateReplicationSlot<'a>),
    /// Changes a slot. Since version 17.
    AlterReplicationSlot {
        /// The slot.
        slot: Unquoted<'a>,
        /// What is changed: `failover`, `two_phase`.
        options: Options<'a>,
    },
    /// Drops a slot.
    DropReplicationSlot {
        /// The slot.
        slot: Unquoted<'a>,
        /// Whether it waits until the slot is not in use.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        wait: bool,
    },
    /// Starts streaming, with CopyBothResponse.
    StartReplication(StartReplication<'a>),
    /// Starts a base backup, with result sets and CopyOutResponse.
    BaseBackup(BaseBackup<'a>),
    /// Sends the manifest of the backup on which an incremental one is based, with CopyInResponse. Since version 17.
    UploadManifest,
}

/// What a slot keeps, and what is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Kind {
    /// WAL as it is written.
    Physical,
    /// Changes, as the output plugin decodes them.
    Logical,
}

/// CREATE_REPLICATION_SLOT. An option with a value that it does not have is one of `options`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CreateReplicationSlot<'a> {
    /// The slot.
    pub slot: Unquoted<'a>,
    /// Whether the slot is dropped at the end of the session, or after an error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
    /// The kind of the slot.
    pub kind: Kind,
    /// The output plugin of a logical slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Unquoted<'a>>,
    /// Whether a physical slot keeps WAL from now on, rather than from its first use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reserve_wal: bool,
    /// What becomes of the snapshot from which a logical slot begins. If it is not given, the server exports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Whether transactions are decoded at PREPARE TRANSACTION.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub two_phase: bool,
    /// Whether the slot is synchronized to standbys.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failover: bool,
    /// All other options.
    #[serde(skip_serializing_if = "Options::is_empty")]
    pub options: Options<'a>,
}

/// SNAPSHOT of CREATE_REPLICATION_SLOT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Snapshot {
    /// It is exported for other sessions.
    Export,
    /// It is that of the current transaction.
    Use,
    /// Nothing.
    Nothing,
}

/// START_REPLICATION.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StartReplication<'a> {
    /// The slot. Logical replication has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Unquoted<'a>>,
    /// What is streamed.
    pub kind: Kind,
    /// Where it starts. Logical replication starts later if the client has confirmed more.
    pub lsn: Lsn,
    /// The timeline of physical replication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// The options of the output plugin.
    #[serde(skip_serializing_if = "Options::is_empty")]
    pub options: Options<'a>,
}

/// BASE_BACKUP. An option with a value that it does not have is one of `options`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BaseBackup<'a> {
    /// LABEL; `label` is a keyword of jq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_label: Option<Unquoted<'a>>,
    /// Whether the size is estimated and progress reported.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
    /// How the checkpoint is made. If it is not given, it is spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// Whether the backup contains the WAL that it needs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wal: bool,
    /// Whether the server waits until the WAL is archived. If it is not given, it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// The limit of the rate in kB/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<u32>,
    /// Whether the backup contains `tablespace_map`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tablespace_map: bool,
    /// Whether checksums are verified. If it is not given, they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_checksums: Option<bool>,
    /// Whether there is a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The algorithm of the checksums in the manifest, or `NONE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_checksums: Option<Unquoted<'a>>,
    /// TARGET, to which the backup is sent, such as `client` or `server`; the `target` of other records is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_target: Option<Unquoted<'a>>,
    /// Where at the target, such as a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_detail: Option<Unquoted<'a>>,
    /// The method with which the server compresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Unquoted<'a>>,
    /// The level of compression, and other details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_detail: Option<Unquoted<'a>>,
    /// Whether the backup is based on that whose manifest was uploaded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incremental: bool,
    /// All other options.
    #[serde(skip_serializing_if = "Options::is_empty")]
    pub options: Options<'a>,
}

/// CHECKPOINT of BASE_BACKUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Checkpoint {
    /// As fast as possible.
    Fast,
    /// Over the time that `checkpoint_completion_target` says.
    Spread,
}

/// MANIFEST of BASE_BACKUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Manifest {
    /// There is one.
    Yes,
    /// There is none.
    No,
    /// There is one, with all names of files in hex.
    ForceEncode,
}

/// A name or a value without its quotes, in the client's encoding. Written as a string, in which a substitution character is in
/// place of what is not UTF-8.
#[derive(Clone, Default, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String", inline)]
pub struct Unquoted<'a>(Cow<'a, [u8]>);

/// Options with their values, in order, each name once. Written as an object, with null for an option without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "std::collections::BTreeMap<String, Option<String>>", inline)]
pub struct Options<'a>(Vec<Entry<'a>>);

type Entry<'a> = (Unquoted<'a>, Option<Unquoted<'a>>);

impl<'a> Command<'a> {
    /// Parses the whole text of a Query message, without the zero byte at its end.
    ///
    /// None means that this is no replication command, or that a server would not accept it. That a text has been cut can be
    /// seen only where it ends within a quote, a list or a clause: the beginning of a command may be a command.
    pub fn parse(sql: &'a [u8]) -> Option<Self> {
        let mut parser = Parser::new(sql);
        let (_, read) = COMMANDS.iter().find(|(keyword, _)| parser.keyword(keyword))?;
        let command = read(&mut parser)?;
        parser.symbol(b';');
        (parser.next == Token::End).then_some(command)
    }
}

impl StartReplication<'_> {
    /// Returns the value of an option of the output plugin. Names are compared exactly, as pgoutput does.
    pub fn option(&self, name: &str) -> Option<&[u8]> {
        self.options.get(name)
    }

    /// Returns the names in `publication_names`, of which pgoutput streams the changes. There are none if a server would not
    /// accept the list ("Logical Streaming Replication Parameters").
    pub fn publications(&self) -> impl Iterator<Item = Unquoted<'_>> {
        let list = self.option("publication_names").unwrap_or_default();
        let valid = identifiers(list).all(|name| name.is_some());
        identifiers(if valid { list } else { b"" }).flatten()
    }
}

impl<'a> Options<'a> {
    fn new(mut entries: Vec<Entry<'a>>) -> Self {
        // Names are compared as they are written, because a JSON object must not have two of one name.
        let mut later = HashSet::with_capacity(entries.len());
        let kept: Vec<bool> = entries.iter().rev().map(|(name, _)| later.insert(name.to_str_lossy())).collect();
        if kept.contains(&false) {
            let mut kept = kept.into_iter().rev();
            entries.retain(|_| kept.next().unwrap_or(true));
        }
        Self(entries)
    }

    /// Returns the value of an option.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name.as_bytes())?.1
    }

    /// Returns the names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_deref()))
    }

    /// Returns whether there is no option.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Options<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'a> Unquoted<'a> {
    const fn borrowed(text: &'a [u8]) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Folds a name without quotes to lower case. Whether a server folds letters beyond ASCII depends on its locale.
    fn folded(word: &'a [u8]) -> Self {
        if word.iter().any(u8::is_ascii_uppercase) {
            Self(Cow::Owned(word.to_ascii_lowercase()))
        } else {
            Self::borrowed(word)
        }
    }

    /// Returns the text, with substitution characters in place of what is not UTF-8.
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Deref for Unquoted<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Unquoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl Serialize for Unquoted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_str_lossy())
    }
}

type Read = for<'a> fn(&mut Parser<'a>) -> Option<Command<'a>>;

/// The commands, and what reads the rest of each.
const COMMANDS: [(&str, Read); 10] = [
    ("IDENTIFY_SYSTEM", |_| Some(Command::IdentifySystem)),
    ("SHOW", |parser| Some(Command::Show { name: parser.variable()? })),
    ("TIMELINE_HISTORY", |parser| Some(Command::TimelineHistory { timeline: parser.timeline()? })),
    ("READ_REPLICATION_SLOT", |parser| Some(Command::ReadReplicationSlot { slot: parser.variable()? })),
    ("CREATE_REPLICATION_SLOT", |parser| CreateReplicationSlot::read(parser).map(Command::CreateReplicationSlot)),
    ("ALTER_REPLICATION_SLOT", |parser| {
        let slot = parser.identifier()?;
        let options = Options::new(parser.options()??);
        Some(Command::AlterReplicationSlot { slot, options })
    }),
    ("DROP_REPLICATION_SLOT", |parser| {
        Some(Command::DropReplicationSlot { slot: parser.identifier()?, wait: parser.keyword("WAIT") })
    }),
    ("START_REPLICATION", |parser| StartReplication::read(parser).map(Command::StartReplication)),
    ("BASE_BACKUP", |parser| BaseBackup::read(parser).map(Command::BaseBackup)),
    ("UPLOAD_MANIFEST", |_| Some(Command::UploadManifest)),
];

/// The other keywords of version 18. Like the commands, they are no names if they are in upper case and without quotes. The
/// options of BASE_BACKUP are not among them, because they are names since version 17.
const KEYWORDS: [&str; 11] = [
    "EXPORT_SNAPSHOT",
    "LOGICAL",
    "NOEXPORT_SNAPSHOT",
    "PHYSICAL",
    "RESERVE_WAL",
    "SLOT",
    "TEMPORARY",
    "TIMELINE",
    "TWO_PHASE",
    "USE_SNAPSHOT",
    "WAIT",
];

/// The keywords that are options of CREATE_REPLICATION_SLOT up to version 14, and what they are since.
const SLOT_KEYWORDS: [(&str, &str, Option<&str>); 5] = [
    ("EXPORT_SNAPSHOT", "snapshot", Some("export")),
    ("NOEXPORT_SNAPSHOT", "snapshot", Some("nothing")),
    ("USE_SNAPSHOT", "snapshot", Some("use")),
    ("RESERVE_WAL", "reserve_wal", None),
    ("TWO_PHASE", "two_phase", None),
];

/// The keywords that are options of BASE_BACKUP up to version 14, and what they are since.
const BACKUP_KEYWORDS: [(&str, &str, Argument); 10] = [
    ("LABEL", "label", Argument::Literal),
    ("PROGRESS", "progress", Argument::None),
    ("FAST", "checkpoint", Argument::Implied("fast")),
    ("WAL", "wal", Argument::None),
    ("NOWAIT", "wait", Argument::Implied("false")),
    ("MAX_RATE", "max_rate", Argument::Number),
    ("TABLESPACE_MAP", "tablespace_map", Argument::None),
    ("NOVERIFY_CHECKSUMS", "verify_checksums", Argument::Implied("false")),
    ("MANIFEST", "manifest", Argument::Literal),
    ("MANIFEST_CHECKSUMS", "manifest_checksums", Argument::Literal),
];

/// What follows a keyword that is an option.
#[derive(Clone, Copy)]
enum Argument {
    None,
    /// Nothing, because the keyword contains it.
    Implied(&'static str),
    Literal,
    Number,
}

impl<'a> CreateReplicationSlot<'a> {
    fn read(parser: &mut Parser<'a>) -> Option<Self> {
        let slot = parser.identifier()?;
        let temporary = parser.keyword("TEMPORARY");
        let (kind, plugin) = if parser.keyword("LOGICAL") {
            (Kind::Logical, Some(parser.identifier()?))
        } else {
            parser.keyword("PHYSICAL").then_some((Kind::Physical, None))?
        };
        let mut entries = Vec::new();
        if let Some(options) = parser.options() {
            entries = options?;
        } else {
            while let Some((_, name, value)) = SLOT_KEYWORDS.iter().find(|(keyword, ..)| parser.keyword(keyword)) {
                entries.push((
                    Unquoted::borrowed(name.as_bytes()),
                    value.map(|value| Unquoted::borrowed(value.as_bytes())),
                ));
            }
        }
        let mut command = Self {
            slot,
            temporary,
            kind,
            plugin,
            reserve_wal: false,
            snapshot: None,
            two_phase: false,
            failover: false,
            options: Options::default(),
        };
        entries.retain(|(name, value)| !command.set(name, value.as_deref()));
        command.options = Options::new(entries);
        Some(command)
    }

    /// Sets the field of an option. Returns whether there is one.
    fn set(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        match name {
            b"reserve_wal" => assign(&mut self.reserve_wal, boolean(value)),
            b"two_phase" => assign(&mut self.two_phase, boolean(value)),
            b"failover" => assign(&mut self.failover, boolean(value)),
            b"snapshot" => {
                let snapshot = match value {
                    Some(b"export") => Some(Snapshot::Export),
                    Some(b"use") => Some(Snapshot::Use),
                    Some(b"nothing") => Some(Snapshot::Nothing),
                    _ => None,
                };
                assign(&mut self.snapshot, snapshot.map(Some))
            }
            _ => false,
        }
    }
}

impl<'a> StartReplication<'a> {
    fn read(parser: &mut Parser<'a>) -> Option<Self> {
        let slot = if parser.keyword("SLOT") { Some(parser.identifier()?) } else { None };
        if slot.is_some() && parser.keyword("LOGICAL") {
            let lsn = parser.lsn()?;
            let entries = match parser.list(|parser| Some((parser.identifier()?, parser.literal()))) {
                Some(entries) => entries?,
                None => Vec::new(),
            };
            return Some(Self { slot, kind: Kind::Logical, lsn, timeline: None, options: Options::new(entries) });
        }
        parser.keyword("PHYSICAL");
        let lsn = parser.lsn()?;
        let timeline = if parser.keyword("TIMELINE") { Some(parser.timeline()?) } else { None };
        Some(Self { slot, kind: Kind::Physical, lsn, timeline, options: Options::default() })
    }
}

impl<'a> BaseBackup<'a> {
    fn read(parser: &mut Parser<'a>) -> Option<Self> {
        let mut entries = Vec::new();
        if let Some(options) = parser.options() {
            entries = options?;
        } else {
            while let Some((_, name, argument)) = BACKUP_KEYWORDS.iter().find(|(keyword, ..)| parser.keyword(keyword)) {
                let value = match argument {
                    Argument::None => None,
                    Argument::Implied(value) => Some(Unquoted::borrowed(value.as_bytes())),
                    Argument::Literal => Some(parser.literal()?),
                    Argument::Number => Some(Unquoted::borrowed(parser.number()?)),
                };
                entries.push((Unquoted::borrowed(name.as_bytes()), value));
            }
        }
        let mut command = Self::default();
        entries.retain_mut(|(name, value)| !command.set(name, value));
        command.options = Options::new(entries);
        Some(command)
    }

    /// Sets the field of an option, to which its value may be moved. Returns whether there is one.
    fn set(&mut self, name: &[u8], value: &mut Option<Unquoted<'a>>) -> bool {
        let text = value.as_deref();
        match name {
            b"progress" => assign(&mut self.progress, boolean(text)),
            b"wal" => assign(&mut self.wal, boolean(text)),
            b"wait" => assign(&mut self.wait, boolean(text).map(Some)),
            b"tablespace_map" => assign(&mut self.tablespace_map, boolean(text)),
            b"verify_checksums" => assign(&mut self.verify_checksums, boolean(text).map(Some)),
            b"incremental" => assign(&mut self.incremental, boolean(text)),
            b"checkpoint" => assign(&mut self.checkpoint, text.and_then(Checkpoint::from_text).map(Some)),
            b"manifest" => assign(&mut self.manifest, text.and_then(Manifest::from_text).map(Some)),
            b"max_rate" => assign(&mut self.max_rate, text.and_then(unsigned).map(Some)),
            b"label" => assign(&mut self.backup_label, value.take().map(Some)),
            b"manifest_checksums" => assign(&mut self.manifest_checksums, value.take().map(Some)),
            b"target" => assign(&mut self.backup_target, value.take().map(Some)),
            b"target_detail" => assign(&mut self.target_detail, value.take().map(Some)),
            b"compression" => assign(&mut self.compression, value.take().map(Some)),
            b"compression_detail" => assign(&mut self.compression_detail, value.take().map(Some)),
            _ => false,
        }
    }
}

impl Checkpoint {
    fn from_text(text: &[u8]) -> Option<Self> {
        if text.eq_ignore_ascii_case(b"fast") {
            return Some(Self::Fast);
        }
        text.eq_ignore_ascii_case(b"spread").then_some(Self::Spread)
    }
}

impl Manifest {
    /// Reads what the server takes for a boolean ("Boolean Type"), or `force-encode`.
    fn from_text(text: &[u8]) -> Option<Self> {
        // The words may be abbreviated, as long as it is clear which is meant.
        let abbreviates = |word: &[u8], least: usize| {
            text.len() >= least && word.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
        };
        if text == b"1" || abbreviates(b"true", 1) || abbreviates(b"yes", 1) || abbreviates(b"on", 2) {
            Some(Self::Yes)
        } else if text == b"0" || abbreviates(b"false", 1) || abbreviates(b"no", 1) || abbreviates(b"off", 2) {
            Some(Self::No)
        } else {
            text.eq_ignore_ascii_case(b"force-encode").then_some(Self::ForceEncode)
        }
    }
}

/// Sets a field to a value, if there is one. Returns whether there is one.
fn assign<T>(field: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *field = value;
            true
        }
        None => false,
    }
}

/// Reads the value of an option that is on or off. Without a value, it is on.
fn boolean(value: Option<&[u8]>) -> Option<bool> {
    let Some(text) = value else { return Some(true) };
    let is = |words: [&[u8]; 3]| words.into_iter().any(|word| text.eq_ignore_ascii_case(word));
    if is([b"true", b"on", b"1"]) { Some(true) } else { is([b"false", b"off", b"0"]).then_some(false) }
}

fn unsigned(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests;
