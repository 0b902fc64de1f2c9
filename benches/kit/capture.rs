//! Captures to measure with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pgdissect::internals::packet;
use pgdissect::internals::savefile::SavefileWriter;
use pgdissect::{Config, Dissector, Event, FileSource, Packet, Record, Records, Source};

use crate::made::Take;

/// A capture file and its properties.
pub(crate) struct Capture {
    pub(crate) path: PathBuf,
    /// The port of the server.
    pub(crate) port: u16,
    /// The size of the file.
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) messages: u64,
}

impl Capture {
    /// Examines a file that begins with the opening of a connection.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut port = None;
        each_packet(path, |packet| {
            port = packet::decode(packet).ok().filter(|segment| segment.syn).map(|segment| segment.destination.port);
            Ok(port.is_none())
        })?;
        let port = port.with_context(|| format!("{}: no connection begins", path.display()))?;
        let records = Records::NONE;
        let mut dissector = Dissector::new(Config { ports: Some(vec![port]), records, ..Config::default() });
        let mut to_nowhere = |_: &Record<'_>| {};
        each_packet(path, |packet| {
            dissector.packet(packet, &mut to_nowhere);
            Ok(true)
        })?;
        dissector.finish(&mut to_nowhere);
        let counters = dissector.counters();
        let bytes = fs::metadata(path)?.len();
        Ok(Self { path: path.to_owned(), port, bytes, packets: counters.packets, messages: counters.messages })
    }

    /// Copies about the first `bytes` bytes to another file, up to the end of a packet.
    pub(crate) fn cut(&self, bytes: u64, to: &Path) -> anyhow::Result<Self> {
        let mut file = MadeFile::create(to)?;
        each_packet(&self.path, |packet| {
            file.take(packet);
            Ok(file.bytes < bytes)
        })?;
        file.finish()?;
        Self::open(to)
    }
}

/// Passes the packets of a file to `take` until it returns `false`.
fn each_packet(path: &Path, mut take: impl FnMut(&Packet<'_>) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let mut source = FileSource::new(vec![path.to_owned()], Default::default());
    while let Event::Packet(packet) = source.next_event()? {
        if !take(&packet)? {
            break;
        }
    }
    Ok(())
}

/// A capture file that is being created.
pub(crate) struct MadeFile {
    file: SavefileWriter,
    /// Its size.
    pub(crate) bytes: u64,
    error: Option<pgdissect::capture::Error>,
}

impl MadeFile {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        const FILE_HEADER: u64 = 24;
        Ok(Self { file: SavefileWriter::create(path)?, bytes: FILE_HEADER, error: None })
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        self.file.finish()?;
        Ok(())
    }
}

impl Take for MadeFile {
    fn take(&mut self, packet: &Packet<'_>) {
        const PACKET_HEADER: u64 = 16;
        self.bytes += PACKET_HEADER + packet.data.len() as u64;
        if self.error.is_none() {
            self.error = self.file.write(packet).err();
        }
    }
}

/// A file that is removed on drop.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
