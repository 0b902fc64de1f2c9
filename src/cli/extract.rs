//! `--extract`: the packets of the connections that had a line written.
//!
//! Which these are is known at the end. Files are read a second time then; of a live capture and of a pipe, a [`Buffer`] has the
//! last packets.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::capture::file::FileSource;
use crate::capture::filter::{PacketFilter, link_type_name};
use crate::capture::savefile::SavefileWriter;
use crate::capture::{Error, Event, InterfaceTable, Source};
use crate::packet::{LinkType, Packet};
use crate::time::Precision;
use crate::tls::keylog::Keys;

use self::buffer::Buffer;
use self::owners::Place;

mod buffer;
mod owners;

pub(super) use self::owners::{Chosen, Owners};

/// The file of the extracted packets.
#[derive(Debug)]
pub(super) struct Extracted {
    savefile: SavefileWriter,
    packets: u64,
    /// Packets that the file cannot contain, by link type.
    refused: Vec<(LinkType, u64)>,
}

impl Extracted {
    const fn new(savefile: SavefileWriter) -> Self {
        Self { savefile, packets: 0, refused: Vec::new() }
    }

    fn write(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        if self.accepts(packet) {
            self.packets += 1;
            self.savefile.write(packet)?;
        }
        Ok(())
    }

    /// Writes a packet, the first of which determines the file's link type.
    fn write_any(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        self.savefile.begin(packet.link, packet.ts.precision())?;
        self.write(packet)
    }

    /// Inserts a key log at the beginning of the file, and packets at their places.
    fn insert(&mut self, key_log: &[u8], packets: &[(u64, Packet<'_>)]) -> Result<(), Error> {
        if let Some((_, first)) = packets.first() {
            self.savefile.begin(first.link, first.ts.precision())?;
        }
        let packets: Vec<_> = packets.iter().copied().filter(|(_, packet)| self.accepts(packet)).collect();
        self.packets += packets.len() as u64;
        self.savefile.insert(key_log, &packets)
    }

    fn accepts(&mut self, packet: &Packet<'_>) -> bool {
        let accepts = self.savefile.takes(packet.link);
        if !accepts {
            match self.refused.iter_mut().find(|(link, _)| *link == packet.link) {
                Some((_, packets)) => *packets += 1,
                None => self.refused.push((packet.link, 1)),
            }
        }
        accepts
    }

    /// Returns the place in the file that a packet has, if it is inserted later.
    fn place(&mut self, packet: &Packet<'_>) -> Result<u64, Error> {
        self.savefile.place(packet)
    }
}

/// Where the packets come from.
enum Origin {
    Files(Vec<PathBuf>, Option<PacketFilter>),
    Buffer(Box<Buffer>),
}

/// The extraction of packets.
pub(super) struct Extract {
    origin: Origin,
    /// The ports of servers; empty if it may be any.
    ports: Vec<u16>,
    /// The finest precision of timestamps.
    precision: Precision,
    /// The interfaces of packets in a buffer.
    interfaces: InterfaceTable,
    /// `None` if packets are only saved on demand.
    out: Option<Extracted>,
}

/// What was extracted, for the user.
pub(super) struct Report {
    pub(super) text: String,
    /// Whether packets are missing in the file that should be there. A buffer is known to be limited.
    pub(super) is_partial: bool,
}

impl Extract {
    /// Extracts from files, which are read again with the same filter.
    pub(super) fn from_files(
        savefile: Option<SavefileWriter>,
        paths: Vec<PathBuf>,
        filter: Option<PacketFilter>,
    ) -> Self {
        Self::new(savefile, Origin::Files(paths, filter), &[])
    }

    /// Extracts from a source that cannot be read again, and has servers at these ports only; at any, if none are named.
    pub(super) fn from_buffer(savefile: Option<SavefileWriter>, max_bytes: usize, ports: &[u16]) -> Self {
        Self::new(savefile, Origin::Buffer(Box::new(Buffer::new(max_bytes))), ports)
    }

    fn new(savefile: Option<SavefileWriter>, origin: Origin, ports: &[u16]) -> Self {
        let out = savefile.map(Extracted::new);
        let interfaces = InterfaceTable::default();
        Self { origin, ports: ports.to_vec(), precision: Precision::Micros, interfaces, out }
    }

    /// Returns whether the packets are buffered.
    pub(super) const fn has_buffer(&self) -> bool {
        matches!(self.origin, Origin::Buffer(_))
    }

    /// Sets the table of the interfaces of the packets.
    pub(super) fn set_interfaces(&mut self, table: InterfaceTable) {
        if let Some(out) = &mut self.out {
            out.savefile.set_interfaces(table.clone());
        }
        self.interfaces = table;
    }

    /// Writes what the file has before packets of an interface.
    pub(super) fn describe(&mut self, interface: u16, link: LinkType, precision: Precision) -> Result<(), Error> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.savefile.describe(interface, link, precision)?;
        out.savefile.flush()
    }

    /// Notes the precision of some of the packets.
    pub(super) const fn note_precision(&mut self, precision: Precision) {
        if let Precision::Nanos = precision {
            self.precision = precision;
        }
    }

    /// Buffers a packet that was dissected.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, number: u64, owners: &mut Owners) -> Result<(), Error> {
        let Origin::Buffer(buffer) = &mut self.origin else { return Ok(()) };
        match Place::of(packet) {
            Some(place) if place.has_port(&self.ports) => buffer.push(packet, number, owners, self.out.as_mut()),
            _ => Ok(()),
        }
    }

    /// Flushes the file, so that others can read it.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.out.as_mut().map_or(Ok(()), |out| out.savefile.flush())
    }

    /// Returns whether there is a file for the packets of all chosen connections.
    pub(super) const fn has_file(&self) -> bool {
        self.out.is_some()
    }

    /// Extracts the packets of the chosen connections that are not in the file yet, of the first `packets` ones.
    ///
    /// The secrets of their TLS sessions are written before them, if `keys` are given. Returns `None` if there is no file for them.
    pub(super) fn finish(
        self,
        packets: u64,
        owners: &mut Owners,
        keys: Option<&Keys>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<Report>, Error> {
        let Some(mut out) = self.out else { return Ok(None) };
        let mut missing = 0;
        let (key_log, sessions) = keys.map(|keys| keys.lines_of(owners.tls_sessions())).unwrap_or_default();
        match self.origin {
            Origin::Files(..) if owners.chosen() == 0 => {}
            Origin::Files(paths, filter) => {
                out.savefile.insert(&key_log, &[])?;
                let source = FileSource::new(paths, Arc::clone(stop));
                missing = read_again(
                    source,
                    filter,
                    packets,
                    self.precision,
                    owners,
                    |conn, owners| owners.is_chosen(conn),
                    &mut out,
                )?;
            }
            Origin::Buffer(buffer) => buffer.finish(owners, &key_log, &mut out)?,
        }
        let Extracted { savefile, packets, refused } = out;
        let path = savefile.path().display().to_string();
        savefile.finish()?;
        let mut report = report(&path, packets, missing, &refused, owners);
        if keys.is_some() {
            report.text += &format!("; with the secrets of {}", counted(sessions, "TLS session"));
        }
        if missing > 0 && stop.load(Ordering::Relaxed) {
            report.text = format!("{path}: {packets} packets, then interrupted");
        }
        Ok(Some(report))
    }

    /// Saves the packets of one connection, of the first `packets` ones, to a file that does not exist yet. Returns what was saved, for
    /// the user.
    pub(super) fn save(&self, conn: u64, path: &Path, packets: u64, owners: &Owners) -> anyhow::Result<String> {
        let mut out = Extracted::new(SavefileWriter::over(path, File::create_new(path))?);
        out.savefile.set_interfaces(self.interfaces.clone());
        let saved = self.save_to(&mut out, conn, packets, owners);
        let packets = out.packets;
        let saved = saved.and_then(|()| Ok(out.savefile.finish()?));
        // An empty file, or half a one, is none; if it cannot be removed, the error is still the one to report.
        if saved.is_err() || packets == 0 {
            let _ = fs::remove_file(path);
        }
        saved?;
        let path = path.display();
        Ok(match (packets, owners.dropped_of(conn)) {
            (0, _) => format!("no packet of connection {conn} is kept any more"),
            (packets, 0) => format!("saved {packets} packets of connection {conn} to {path}"),
            (packets, dropped) => format!("saved {packets} packets of connection {conn}; {dropped} are no longer kept"),
        })
    }

    fn save_to(&self, out: &mut Extracted, conn: u64, packets: u64, owners: &Owners) -> anyhow::Result<()> {
        match &self.origin {
            Origin::Files(paths, filter) => {
                let filter = filter.as_ref().map(|filter| PacketFilter::new(filter.expression())).transpose()?;
                let source = FileSource::new(paths.clone(), Arc::default());
                let is_wanted = |owner, _: &Owners| owner == conn;
                read_again(source, filter, packets, self.precision, owners, is_wanted, out)?;
            }
            Origin::Buffer(buffer) => buffer.save(conn, owners, out)?,
        }
        Ok(())
    }
}

/// Reads files again, and writes the packets of the connections that are wanted. Returns how many packets there are no more.
fn read_again(
    mut source: FileSource,
    mut filter: Option<PacketFilter>,
    packets: u64,
    precision: Precision,
    owners: &Owners,
    is_wanted: impl Fn(u64, &Owners) -> bool,
    out: &mut Extracted,
) -> Result<u64, Error> {
    out.savefile.set_interfaces(source.interfaces());
    let mut number = 0;
    while number < packets {
        let packet = match source.next_event() {
            Ok(Event::Packet(packet)) => packet,
            // The same errors as before.
            Ok(Event::KeyLog(_) | Event::Idle) | Err(_) => continue,
            Ok(Event::End) => break,
        };
        number += 1;
        let owner = Place::of(&packet).and_then(|place| owners.owner(&place, number));
        if !owner.is_some_and(|conn| is_wanted(conn, owners)) {
            continue;
        }
        if let Some(filter) = &mut filter
            && !matches!(filter.matches(&packet), Ok(true))
        {
            continue;
        }
        out.savefile.begin(packet.link, packet.ts.precision().max(precision))?;
        out.write(&packet)?;
    }
    Ok(packets - number)
}

fn report(path: &str, packets: u64, missing: u64, refused: &[(LinkType, u64)], owners: &Owners) -> Report {
    let mut text = match owners.chosen() {
        0 => format!("{path}: no packets, because no connection has a line"),
        chosen => format!("{path}: {} of {}", counted(packets, "packet"), counted(chosen, "connection")),
    };
    let mut add = |count: u64, part: String| {
        if count > 0 {
            text += &part;
        }
    };
    let dropped = owners.dropped;
    add(dropped, format!("; {} no longer kept (see --extract-buffer)", are(dropped, "packet")));
    add(missing, format!("; {} no longer in the files", are(missing, "packet")));
    for (link, packets) in refused {
        let name = link_type_name(*link);
        add(*packets, format!("; {} of another link type, {} ({name})", are(*packets, "packet"), link.0));
    }
    let total = refused.iter().map(|(_, packets)| packets).sum::<u64>();
    add(total, ": a file whose name ends in .pcapng has any".to_owned());
    add(owners.refused, format!("; without {}, which are too many", counted(owners.refused, "other connection")));
    add(owners.lost_fragments, format!("; without {}", counted(owners.lost_fragments, "IP fragment")));
    let is_partial = missing + owners.refused + owners.lost_fragments > 0 || !refused.is_empty();
    Report { text, is_partial }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn are(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what} was") } else { format!("{count} {what}s were") }
}
