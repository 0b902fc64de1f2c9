//! The files of a run.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};

use super::super::args::{Args, Format};
use super::super::key_logs::KeyLogs;
use super::super::sessions;
use super::rotation::{LineFiles, PacketFiles, Rotation, is_compressed};
use super::tables::{self, Complete};
use crate::capture::privileges::Account;
use crate::capture::savefile::SavefileWriter;
use crate::dissector::KnownSession;
use crate::packet::Endpoint;

/// The open files of a run, except its packets.
pub(super) struct Files {
    pub(super) sessions: HashMap<Endpoint, KnownSession>,
    pub(super) keys: KeyLogs,
    pub(super) savefile: Option<PacketFiles>,
    /// The file of extracted packets.
    pub(super) extracted: Option<SavefileWriter>,
    /// The file of metrics, and its name.
    pub(super) metrics: Option<(Box<dyn Write + Send>, String)>,
    /// The output and its name; `None` for standard output.
    pub(super) out: Option<(Box<dyn Write + Send>, String)>,
    /// Completes the output, if it is more than to be flushed.
    pub(super) complete: Option<Complete>,
}

impl Files {
    /// Opens and creates the files. Created files belong to `owner`, if given.
    pub(super) fn open(args: &Args, is_under_way: bool, owner: Option<&Account>) -> anyhow::Result<Self> {
        check_outputs(args)?;
        // First, so that nothing is created if it is wrong.
        let sessions = args.sessions.as_deref().map(sessions::read).transpose()?.unwrap_or_default();
        let open = |path: &Path, is_read: bool| {
            let mut options = File::options();
            options.read(is_read).write(true).truncate(true);
            owner.map_or_else(|| options.clone().create(true).open(path), |owner| owner.create(path, &options))
        };
        let create = |path: &Path| open(path, false);
        let keys = KeyLogs::open(&args.keylog, is_under_way)?;
        let savefile = match (args.write.as_deref(), Rotation::new(args)) {
            (None, _) => None,
            (Some(path), Some(rotation)) => Some(PacketFiles::rotated(path, rotation, hang_up(args)?, owner)?),
            (Some(path), None) => Some(PacketFiles::one(SavefileWriter::over(path, create(path))?)),
        };
        let extracted = args.extract.as_deref().map(|path| {
            // Packets may be inserted, for which others are moved. Pipes and devices are only written.
            let is_file = fs::metadata(path).map_or(true, |file| file.is_file());
            if args.with_secrets && is_under_way && !is_file {
                bail!("{}: is no file, and secrets are inserted before packets", path.display());
            }
            Ok(SavefileWriter::over(path, open(path, is_file))?)
        });
        let extracted = extracted.transpose()?;
        let named = |path: &Path| {
            let name = path.display().to_string();
            let file: Box<dyn Write + Send> =
                Box::new(create(path).with_context(|| format!("{name}: cannot be created"))?);
            anyhow::Ok((file, name))
        };
        let metrics = args.otlp_metrics.as_deref().map(named).transpose()?;
        let output = args.output.as_deref().filter(|path| path.as_os_str() != "-");
        let (out, complete) = match output {
            Some(folder) if args.format == Format::Parquet => {
                let name = folder.display().to_string();
                let opened = tables::open(folder, owner).with_context(|| format!("{name}: tables cannot be written"));
                let (out, complete) = opened?;
                (Some((out, name)), Some(complete))
            }
            Some(path) if args.reopens_output() || is_compressed(path) => {
                let name = path.display().to_string();
                let opened = LineFiles::open(path, Rotation::new(args), hang_up(args)?, owner);
                let (out, complete) = opened.with_context(|| format!("{name}: cannot be created"))?;
                (Some((out, name)), Some(complete))
            }
            output => (output.map(named).transpose()?, None),
        };
        Ok(Self { sessions, keys, savefile, extracted, metrics, out, complete })
    }
}

/// Returns whether a signal has asked for new files, from now on.
fn hang_up(args: &Args) -> io::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    if args.reopens_on_hang_up() {
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&asked))?;
    }
    Ok(asked)
}

/// Checks that no two outputs are the same file, nor a key log, however it is named.
fn check_outputs(args: &Args) -> anyhow::Result<()> {
    for (index, (one, path)) in args.outputs().enumerate() {
        let is_same =
            |other: &Path| is_same_file(path, other) || place(path).is_some_and(|own| Some(own) == place(other));
        if let Some((other, _)) = args.outputs().take(index).find(|(_, other)| is_same(other)) {
            bail!("{}: {other} and {one} cannot be the same file", path.display());
        }
        if args.keylog.iter().any(|keys| is_same_file(path, keys)) {
            bail!("{}: is a key log, and would be overwritten", path.display());
        }
    }
    Ok(())
}

/// Returns whether two paths name the same regular file, which must not be truncated for writing before it is read.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Returns where a file would be created; `None` if it is there.
fn place(path: &Path) -> Option<PathBuf> {
    if path.exists() {
        return None;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}
