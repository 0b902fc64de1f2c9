//! One direction of a session: the key of its records, and their sequence numbers.
//!
//! Sequence numbers are not sent; both sides count records. After records were lost, the number is found by trial: up to as many
//! numbers as lost records may fit into the lost bytes are tried, and the authentication tag shows which one is right. Keys that
//! may have come into use are tried in the same way. The cost of trials is bounded by the amount of data that the connection has
//! sent.

use super::decrypt::{Opener, Scratch};
use super::handshake::Messages;
use super::keylog::{ClientRandom, Label, Secrets};
use super::record::{APPLICATION_DATA, HEADER, MIN_ENCRYPTED, Records, TlsRecord};
use super::schedule::{TrafficSecret, key_block};
use super::suite::Suite;
use crate::direction::Direction;

/// The initial budget of a connection, in bytes of trial decryption.
const INITIAL_BUDGET: u64 = 1 << 20;

/// The maximum budget: enough for the widest hole between full records.
const MAX_BUDGET: u64 = 16 << 20;

/// How many numbers are tried after a hole in an encrypted handshake, whose flights have few messages.
const MAX_HANDSHAKE_RECORDS: u64 = 32;

/// The cost of a trial in addition to the bytes of the record, in bytes.
const TRIAL: u64 = 256;

/// The maximum plaintext size of a record in bytes.
const MAX_PLAINTEXT: u64 = 1 << 14;

/// The budget for trial decryption, in bytes: it grows by twice the bytes that a connection sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(INITIAL_BUDGET)
    }
}

impl Budget {
    pub(super) fn earn(&mut self, bytes: u64) {
        self.0 = self.0.saturating_add(2 * bytes).min(MAX_BUDGET);
    }

    /// Grants the budget for one search on a connection that began before the capture.
    pub(super) fn grant_search(&mut self) {
        self.0 = MAX_BUDGET;
    }

    /// Returns whether the budget suffices for a trial. Derivation of a key costs more than the trial, so this is checked first.
    const fn affords(&self, record: &TlsRecord<'_>) -> bool {
        self.0 >= record.len() + TRIAL
    }

    fn spend(&mut self, record: &TlsRecord<'_>) -> bool {
        let affords = self.affords(record);
        if affords {
            self.0 -= record.len() + TRIAL;
        }
        affords
    }
}

/// The parameters from which TLS 1.2 keys are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) client_random: ClientRandom,
    pub(super) server_random: [u8; 32],
    pub(super) suite: Suite,
    pub(super) encrypts_then_macs: bool,
}

/// The stage of a direction's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Unencrypted.
    Clear,
    /// TLS 1.3: early data, sent before the server's first message.
    Early,
    /// TLS 1.3: handshake messages.
    Handshake,
    /// TLS 1.3: application data.
    Application,
    /// TLS 1.2, after ChangeCipherSpec.
    Tls12(Parameters),
    /// An unsupported version or suite, after ChangeCipherSpec.
    Unsupported,
}

impl Stage {
    /// Iterates over the stages of TLS 1.3 from this one on.
    fn and_later(self) -> impl Iterator<Item = Self> {
        [Self::Early, Self::Handshake, Self::Application].into_iter().skip_while(move |stage| *stage != self)
    }

    const fn label(self, direction: Direction) -> Option<Label> {
        Some(match (self, direction) {
            (Self::Early, Direction::Frontend) => Label::ClientEarlyTraffic,
            (Self::Handshake, Direction::Frontend) => Label::ClientHandshakeTraffic,
            (Self::Handshake, Direction::Backend) => Label::ServerHandshakeTraffic,
            (Self::Application, Direction::Frontend) => Label::ClientTraffic,
            (Self::Application, Direction::Backend) => Label::ServerTraffic,
            (Self::Early, Direction::Backend) | (Self::Clear | Self::Tls12(_) | Self::Unsupported, _) => return None,
        })
    }

    /// Returns whether application data is, or may be, sent in this stage.
    const fn has_data(self) -> bool {
        matches!(self, Self::Early | Self::Application | Self::Tls12(_))
    }
}

/// A key in use.
#[derive(Debug)]
struct Key {
    opener: Opener,
    /// The secret from which the next key is derived (TLS 1.3).
    secret: Option<TrafficSecret>,
}

impl Key {
    fn tls13(suite: Suite, secret: TrafficSecret) -> Option<Self> {
        Some(Self { opener: Opener::new(suite, &secret.keys(suite)?, false)?, secret: Some(secret) })
    }

    fn tls12(parameters: &Parameters, direction: Direction, secrets: &Secrets) -> Option<Self> {
        let Parameters { client_random, server_random, suite, encrypts_then_macs } = parameters;
        let master = secrets.get(Label::ClientRandom)?;
        let keys = key_block(*suite, master, client_random, server_random)?;
        Some(Self { opener: Opener::new(*suite, keys.get(direction), *encrypts_then_macs)?, secret: None })
    }
}

/// The result of a successful decryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The number of plaintext bytes in the scratch buffer.
    pub(super) len: usize,
    /// The plaintext missing before them.
    pub(super) before: Option<Missing>,
}

/// Missing plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The number of missing bytes, if known.
    pub(super) bytes: Option<u64>,
    /// How many bytes of captured records the gap contains.
    pub(super) skipped: u64,
}

/// Why a record was not decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// No key is known.
    NoKey,
    /// The record is not authentic under any known key.
    Failed,
}

/// One direction of a session.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) direction: Direction,
    pub(super) records: Records,
    pub(super) messages: Messages,
    stage: Stage,
    key: Option<Key>,
    /// The sequence number of the next record.
    number: u64,
    /// The offset up to which everything was processed.
    processed_until: u64,
    /// The number of bytes after `processed_until` that were not captured.
    gaps: u64,
    /// Whether the sequence number of the first captured record is unknown.
    is_midstream: bool,
    /// Whether it pads plaintexts to hide their sizes.
    pads: bool,
    /// Whether a record was decrypted.
    has_opened: bool,
}

impl Side {
    pub(super) fn new(direction: Direction, is_midstream: bool) -> Self {
        Self {
            direction,
            records: if is_midstream { Records::midstream() } else { Records::new() },
            messages: Messages::default(),
            stage: Stage::Clear,
            key: None,
            number: 0,
            processed_until: 0,
            gaps: 0,
            is_midstream,
            pads: false,
            has_opened: false,
        }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) const fn has_opened(&self) -> bool {
        self.has_opened
    }

    /// Returns whether the beginning of the direction, or bytes before its first key, were not captured.
    pub(super) const fn lacks_beginning(&self) -> bool {
        self.is_midstream || self.gaps > 0 && matches!(self.stage, Stage::Clear)
    }

    /// Advances to another stage: the next record has a new key.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.key = None;
        self.number = 0;
    }

    /// Advances to the key that follows a KeyUpdate.
    pub(super) fn update(&mut self, suite: Suite) {
        if let Some(next) = self.updated(suite) {
            self.key = Some(next);
            self.number = 0;
        }
    }

    fn updated(&self, suite: Suite) -> Option<Key> {
        Key::tls13(suite, self.key.as_ref()?.secret?.updated(suite.hash)?)
    }

    /// Records that bytes were lost after all records so far.
    pub(super) const fn gap(&mut self, bytes: u64) {
        self.gaps += bytes;
    }

    /// Records that everything up to the end of a record was processed.
    pub(super) fn mark_processed(&mut self, record: &TlsRecord<'_>) {
        self.processed_until = record.end();
        self.gaps = 0;
    }

    /// Returns how many bytes before a record were lost or not processed.
    pub(super) const fn lost_before(&self, record: &TlsRecord<'_>) -> u64 {
        record.start.saturating_sub(self.processed_until)
    }

    /// Records that the plaintext of a record was padded.
    pub(super) fn note_padding(&mut self) {
        self.pads = true;
    }

    /// Returns the number of captured bytes after everything that was processed.
    pub(super) fn left(&self) -> u64 {
        (self.records.offset() - self.processed_until).saturating_sub(self.gaps)
    }

    /// Returns whether unprocessed bytes may have been application data.
    pub(super) const fn may_lack_data(&self) -> bool {
        self.has_opened && self.stage.has_data()
    }

    /// Decrypts a record of TLS 1.3.
    pub(super) fn open_tls13(
        &mut self,
        suite: Suite,
        secrets: &Secrets,
        record: &TlsRecord<'_>,
        budget: &mut Budget,
        scratch: &mut Scratch,
    ) -> Result<Opened, Unopened> {
        let (direction, most) = (self.direction, self.most_lost(record));
        let secret_of = |stage: Stage| TrafficSecret::new(suite.hash, secrets.get(stage.label(direction)?)?);
        if self.key.is_none() {
            self.key = secret_of(self.stage).and_then(|secret| Key::tls13(suite, secret));
        }
        if let Some(key) = &self.key {
            let number = self.number;
            let mut found = key.opener.open(number, record, scratch).map(|plain| (number, plain.len()));
            if found.is_none() && most > 0 {
                // If many handshake records are missing, so is the end of the handshake: the search goes on with the next key.
                let most = if self.stage == Stage::Handshake { most.min(MAX_HANDSHAKE_RECORDS) } else { most };
                let next = number + 1..number.saturating_add(most).saturating_add(1);
                found = try_numbers(&key.opener, next, record, budget, scratch);
            }
            if let Some((found, len)) = found {
                return Ok(self.opened(record, found, len));
            }
        }
        // Try another key: records with a KeyUpdate or Finished may be lost; rejected early data is followed by handshake records
        // without an EndOfEarlyData; and the key log may lack the key of the stage before.
        let later = self.stage.and_later().skip(1).filter_map(|stage| Some((stage, secret_of(stage)?)));
        let mut has_later = false;
        let mut found = None;
        for (stage, secret) in later {
            has_later = true;
            let is_due = most > 0 || self.key.is_none() || self.stage == Stage::Early;
            if is_due
                && budget.affords(record)
                && let Some(key) = Key::tls13(suite, secret)
                && let Some((number, len)) =
                    try_numbers(&key.opener, 0..most.saturating_add(1), record, budget, scratch)
            {
                found = Some((stage, key, number, len));
                break;
            }
        }
        if found.is_none()
            && most > 0
            && self.stage == Stage::Application
            && budget.affords(record)
            && let Some(key) = self.updated(suite)
        {
            let number = try_numbers(&key.opener, 0..most.saturating_add(1), record, budget, scratch);
            found = number.map(|(number, len)| (Stage::Application, key, number, len));
        }
        match found {
            Some((stage, key, number, len)) => Ok(self.opened_with(stage, key, record, number, len)),
            None if self.key.is_none() && !has_later => Err(Unopened::NoKey),
            None => Err(Unopened::Failed),
        }
    }

    /// Decrypts a record of TLS 1.2.
    pub(super) fn open_tls12(
        &mut self,
        parameters: &Parameters,
        secrets: Option<&Secrets>,
        record: &TlsRecord<'_>,
        budget: &mut Budget,
        scratch: &mut Scratch,
    ) -> Result<Opened, Unopened> {
        if self.key.is_none() {
            self.key = secrets.and_then(|secrets| Key::tls12(parameters, self.direction, secrets));
        }
        let most = self.most_lost(record);
        let Some(key) = &self.key else { return Err(Unopened::NoKey) };
        let number = self.number;
        let mut found = key.opener.open(number, record, scratch).map(|plain| (number, plain.len()));
        if found.is_none() && most > 0 {
            let next = number + 1..number.saturating_add(most).saturating_add(1);
            found = try_numbers(&key.opener, next, record, budget, scratch);
        }
        let (found, len) = found.ok_or(Unopened::Failed)?;
        Ok(self.opened(record, found, len))
    }

    /// Decrypts a record of a TLS 1.3 session of which neither the suite nor the record's sequence number is known.
    pub(super) fn open_unknown(
        &mut self,
        secrets: &Secrets,
        record: &TlsRecord<'_>,
        budget: &mut Budget,
        scratch: &mut Scratch,
    ) -> Result<(Suite, Opened), Unopened> {
        let stages = Stage::Handshake.and_later();
        let known = stages.filter_map(|stage| Some((stage, secrets.get(stage.label(self.direction)?)?)));
        let keys = known.flat_map(|(stage, secret)| {
            Suite::with_secrets_of(secret.len()).filter_map(move |suite| {
                Some((stage, suite, Key::tls13(suite, TrafficSecret::new(suite.hash, secret)?)?))
            })
        });
        let mut keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Err(Unopened::NoKey);
        }
        for number in 0..=self.most_lost(record) {
            for at in 0..keys.len() {
                if !budget.spend(record) {
                    return Err(Unopened::Failed);
                }
                let opens = |(_, _, key): &(_, _, Key)| Some(key.opener.open(number, record, scratch)?.len());
                if let Some(len) = keys.get(at).and_then(opens) {
                    let (stage, suite, key) = keys.swap_remove(at);
                    return Ok((suite, self.opened_with(stage, key, record, number, len)));
                }
            }
        }
        Err(Unopened::Failed)
    }

    /// Returns the maximum number of records that may be missing before a record.
    const fn most_lost(&self, record: &TlsRecord<'_>) -> u64 {
        if self.is_midstream && !self.has_opened { u64::MAX } else { self.lost_before(record) / MIN_ENCRYPTED }
    }

    /// Records that a record was decrypted with the key in use.
    fn opened(&mut self, record: &TlsRecord<'_>, number: u64, len: usize) -> Opened {
        let skipped = number - self.number;
        // The first record under a key is Finished (TLS 1.2), or may be a session ticket: its size is not that of data.
        let counts_data = self.number > 0 && !self.pads;
        let bytes = self.missing_bytes(record, skipped).filter(|_| counts_data);
        let lacks_data = match self.stage {
            Stage::Tls12(_) if self.number == 0 => skipped > 1,
            stage => stage.has_data() && skipped > 0,
        };
        self.note(record, number, len, lacks_data.then_some(bytes))
    }

    /// Records that a record was decrypted with another key.
    fn opened_with(&mut self, stage: Stage, key: Key, record: &TlsRecord<'_>, number: u64, len: usize) -> Opened {
        let was_data = match self.stage {
            Stage::Early => self.lost_before(record) > 0,
            stage => stage == Stage::Application,
        };
        (self.stage, self.key) = (stage, Some(key));
        self.messages.clear();
        self.note(record, number, len, (was_data || stage.has_data() && number > 0).then_some(None))
    }

    fn note(&mut self, record: &TlsRecord<'_>, number: u64, len: usize, lacks: Option<Option<u64>>) -> Opened {
        let lost = self.lost_before(record);
        if lost > 0 {
            self.messages.clear();
        }
        // If the beginning of the direction was not captured, only records that were not decrypted are known to be missing.
        let is_known = self.has_opened || !self.is_midstream;
        let skipped = lost.saturating_sub(self.gaps);
        let before = lacks.filter(|_| is_known || skipped > 0).map(|bytes| Missing { bytes, skipped });
        self.number = number.saturating_add(1);
        self.has_opened = true;
        Opened { len, before }
    }

    /// Returns the plaintext size of lost records.
    fn missing_bytes(&self, record: &TlsRecord<'_>, records: u64) -> Option<u64> {
        let expansion = self.key.as_ref()?.opener.expansion()? + HEADER as u64;
        let bytes = self.lost_before(record).checked_sub(records.checked_mul(expansion)?)?;
        (bytes <= records * MAX_PLAINTEXT).then_some(bytes)
    }

    /// Returns whether a record is encrypted, as far as its type shows.
    pub(super) const fn is_sealed(&self, record: &TlsRecord<'_>) -> bool {
        record.kind == APPLICATION_DATA || matches!(self.stage, Stage::Tls12(_) | Stage::Unsupported)
    }
}

/// Tries sequence numbers in order. Returns the one that fits, and the size of the plaintext.
fn try_numbers(
    opener: &Opener,
    mut numbers: std::ops::Range<u64>,
    record: &TlsRecord<'_>,
    budget: &mut Budget,
    scratch: &mut Scratch,
) -> Option<(u64, usize)> {
    numbers.find_map(|number| {
        if !budget.spend(record) {
            return Some(None);
        }
        opener.open(number, record, scratch).map(|plain| Some((number, plain.len())))
    })?
}

#[cfg(test)]
mod tests {
    use super::super::keylog::{KeyLogLines, Keys};
    use super::*;

    #[test]
    fn records_that_no_key_fits_are_tried_no_more_often_than_what_was_sent_pays_for() {
        let (keys, random) = (Keys::default(), "07".repeat(32));
        for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"] {
            KeyLogLines::default().push(format!("{label} {random} {}\n", "ab".repeat(48)).as_bytes(), &keys);
        }
        let (secrets, suite) = (keys.find(&[7; 32]).unwrap(), Suite::by_id(0x1302).unwrap());
        for (payload, records) in [(17, 40_000), (16_000, 1_000)] {
            let payload = vec![0x55; payload];
            let (mut budget, mut scratch) = (Budget::default(), Scratch::default());
            let mut side = Side::new(Direction::Frontend, false);
            side.enter(Stage::Handshake);
            let (mut sent, mut spent) = (0, 0);
            for number in 1..=records {
                // After a hole that may contain any number of records.
                let record =
                    TlsRecord { start: number << 30, kind: APPLICATION_DATA, version: [3, 3], payload: &payload };
                sent += record.len();
                budget.earn(record.len());
                let before = budget.0;
                let result = side.open_tls13(suite, &secrets, &record, &mut budget, &mut scratch);
                assert_eq!(result, Err(Unopened::Failed));
                spent += before - budget.0;
            }
            assert!(spent <= INITIAL_BUDGET + 2 * sent, "{spent} for {sent}");
            assert!(!budget.affords(&TlsRecord {
                start: 0,
                kind: APPLICATION_DATA,
                version: [3, 3],
                payload: &payload
            }));
        }
    }
}
