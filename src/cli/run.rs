//! The loop over packets, from files or an interface.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::capture::file::FileSource;
use crate::capture::filter::{PacketFilter, link_type_name};
use crate::capture::live::{self, Device};
use crate::capture::privileges::Account;
use crate::capture::read_ahead::ReadAhead;
use crate::capture::savefile::SavefileWriter;
use crate::capture::{Event, Source};
use crate::dissector::{Config, Dissector, KnownSession, Only, Records};
use crate::output::screen::app::Settings;
use crate::output::stats::{Baseline, Context as SummaryContext};
use crate::output::text::Zone;
use crate::packet::{Endpoint, LinkType};
use crate::record::{KernelStats, StatsRecord};
use crate::time::{Precision, Timestamp};
use anyhow::{Context, bail};
use indicatif::ProgressBar;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::args::{self, Args, Color, Format};
use super::extract::{Extract, Owners};
use super::key_logs::KeyLogs;
use super::progress::Progress;
use super::screen::{Screen, conditions};
use super::screen_data::ScreenData;
use super::writer::{Look, TerminalWidth, Writer};
use super::{FAILED, PARTIAL, notify, sessions};

/// The message if a thread cannot be started.
const NO_THREADS: &str = "threads cannot be started (-j 1 needs none)";

/// Processes capture files.
pub(super) fn read(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
    let paths = [args.files.as_slice(), args.read.as_slice()].concat();
    if paths.is_empty() {
        bail!("nothing to read: pass a capture file, - for standard input, or -i INTERFACE (see --help)");
    }
    let filter = args.filter.as_deref().map(PacketFilter::new).transpose()?;
    for output in [&args.output, &args.write, &args.extract].into_iter().flatten() {
        if let Some(path) = paths.iter().chain(&args.baseline).find(|path| is_same_file(path, output)) {
            bail!("{}: is an input, and would be overwritten", path.display());
        }
    }
    // The data of a pipe may be a capture in progress.
    let is_under_way = paths.iter().any(|path| !fs::metadata(path).is_ok_and(|file| file.is_file()));
    // Before the output is created, which may be there already.
    let baseline = read_baseline(args, stop, &mut notify)?;
    let mut files = Files::open(args, is_under_way, None)?;
    let extracted = files.extracted.take();
    let extract = if extracted.is_none() && args.format != Format::Top {
        None
    } else if is_under_way {
        Some(Extract::from_buffer(extracted, args.extract_buffer, args.port.only()))
    } else {
        let filter = args.filter.as_deref().map(PacketFilter::new).transpose()?;
        Some(Extract::from_files(extracted, paths.clone(), filter))
    };
    let source = FileSource::new(paths.clone(), Arc::clone(stop));
    let progress = Progress::start(args, &paths, source.bytes_read(), "");
    let bar = progress.as_ref().map(Progress::bar);
    if args.format == Format::Top {
        for path in paths.iter().filter(|path| path.as_os_str() != "-") {
            File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
        }
    }
    let screen = screen(args);
    let notify = &mut |text: &str| match &screen {
        Some(screen) => screen.model().note(text),
        None => print_above(bar.as_ref(), text),
    };
    let beside = Beside { baseline, progress, screen: screen.clone(), extract };
    let result = from_source(args, source, stop, files, filter, beside, notify);
    print_notes(screen.as_deref());
    result
}

/// Prints the messages for the user that came while there was a screen.
fn print_notes(screen: Option<&ScreenData>) {
    let notes = screen.map(|screen| screen.model().overview().notes).unwrap_or_default();
    notes.iter().for_each(|note| notify(note));
}

/// Returns what a screen shows, if there is to be one.
fn screen(args: &Args) -> Option<Arc<ScreenData>> {
    (args.format == Format::Top).then(|| Arc::new(ScreenData::new()))
}

/// Processes any source, and writes lines to `out`.
pub(super) fn dissect(
    args: &Args,
    source: impl Source + Send + 'static,
    out: Box<dyn Write + Send>,
    notify: &mut dyn FnMut(&str),
) -> anyhow::Result<u8> {
    let filter = args.filter.as_deref().map(PacketFilter::new).transpose()?;
    let out = (out, "the output".to_owned());
    let mut files = Files { out: Some(out), ..Files::open(args, false, None)? };
    let baseline = read_baseline(args, &Arc::default(), notify)?;
    let extracted = files.extracted.take();
    let extract = extracted.map(|file| Extract::from_buffer(Some(file), args.extract_buffer, args.port.only()));
    let beside = Beside { baseline, progress: None, screen: screen(args), extract };
    from_source(args, source, &Arc::default(), files, filter, beside, notify)
}

/// What there is beside the packets of a source.
struct Beside {
    baseline: Option<(Baseline, u8)>,
    progress: Option<Progress>,
    screen: Option<Arc<ScreenData>>,
    extract: Option<Extract>,
}

/// Prints a message for the user, above a progress bar if there is one.
fn print_above(bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.suspend(|| notify(text)),
        None => notify(text),
    }
}

fn from_source(
    args: &Args,
    mut source: impl Source + Send + 'static,
    stop: &Arc<AtomicBool>,
    files: Files,
    filter: Option<PacketFilter>,
    beside: Beside,
    notify: &mut dyn FnMut(&str),
) -> anyhow::Result<u8> {
    let mut run = Run::new(args, files, filter, notify)?;
    run.progress = beside.progress;
    run.set_baseline(beside.baseline);
    run.set_extract(beside.extract);
    if threads(args) > 1 {
        let mut source = ReadAhead::new(source).context(NO_THREADS)?;
        run.start_screen(beside.screen, stop)?;
        run.all(&mut source, stop)
    } else {
        run.start_screen(beside.screen, stop)?;
        run.all(&mut source, stop)
    }
}

/// Returns what the requests and sessions of the baseline add up to, if there is one.
fn read_baseline(
    args: &Args,
    stop: &Arc<AtomicBool>,
    notify: &mut dyn FnMut(&str),
) -> anyhow::Result<Option<(Baseline, u8)>> {
    if args.baseline.is_empty() {
        return Ok(None);
    }
    let mut args = args.clone();
    (args.events, args.format) = (vec![args::Event::Summary], Format::Json);
    (args.files, args.read) = (args.baseline.clone(), Vec::new());
    (args.output, args.write, args.extract, args.sessions) = (None, None, None, None);
    // They are those of the other capture.
    (args.conn, args.since, args.until) = (Vec::new(), None, None);
    let filter = args.filter.as_deref().map(PacketFilter::new).transpose()?;
    let out: (Box<dyn Write + Send>, String) = (Box::new(io::sink()), "the baseline".to_owned());
    let files = Files { out: Some(out), ..Files::open(&args, false, None)? };
    let source = FileSource::new(args.baseline.clone(), Arc::clone(stop));
    let _progress = Progress::start(&args, &args.files, source.bytes_read(), "baseline ");
    let mut run = Run::new(&args, files, filter, notify)?;
    let mut source = ReadAhead::new(source).context(NO_THREADS)?;
    run.packets(&mut source, stop)?;
    let stats = run.end(&source)?;
    if run.code == FAILED {
        bail!("the baseline cannot be read");
    }
    if stats.counters.connections == 0 {
        bail!("the baseline has no PostgreSQL connection; -p PORT sets the server's port, -p auto detects it");
    }
    let context =
        SummaryContext { stats, started: run.first_packet, ended: run.latest_packet, ..SummaryContext::default() };
    let code = run.code;
    let baseline = run.writer.into_statistics().map(|statistics| Baseline { statistics, context });
    Ok(baseline.map(|baseline| (baseline, code)))
}

/// Returns whether two paths name the same regular file, which must not be truncated for writing before it is read.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Captures on an interface.
pub(super) fn listen(args: &Args, interface: &str, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
    let baseline = read_baseline(args, stop, &mut notify)?;
    let user = args.relinquish_privileges.as_deref().map(Account::named).transpose()?;
    let device = Device::open(&live::LiveOptions {
        interface: interface.to_owned(),
        ports: args.port.only().to_vec(),
        filter: args.filter.clone(),
        tunnels: args.tunnels,
        snaplen: args.snaplen,
        buffer_kib: args.buffer_size,
        promiscuous: !args.no_promiscuous,
    })?;
    // Before root privileges are dropped, because the user may lack permission for their folders.
    let mut files = Files::open(args, true, user.as_ref())?;
    if let Some(user) = user {
        user.drop_root()?;
    }
    if let Some(savefile) = &mut files.savefile {
        savefile.begin(device.link_type(), Precision::Micros)?;
        savefile.flush()?;
    }
    let extracted = files.extracted.take();
    let is_wanted = extracted.is_some() || args.format == Format::Top;
    let mut extract = is_wanted.then(|| Extract::from_buffer(extracted, args.extract_buffer, args.port.only()));
    if let Some(extract) = &mut extract {
        extract.begin(device.link_type(), Precision::Micros)?;
    }
    let screen = screen(args);
    let notify = &mut |text: &str| match &screen {
        Some(screen) => screen.model().note(text),
        None => notify(text),
    };
    let mut run = Run::new(args, files, None, notify)?;
    run.is_live = true;
    run.live_since = Some(now());
    run.set_baseline(baseline);
    run.set_extract(extract);
    if let Some(statistics) = run.writer.statistics() {
        statistics.count_intervals();
    }
    if !args.quiet {
        let ports = match args.port.only() {
            [] => "on any port".to_owned(),
            ports => format!("on port {}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
        };
        (run.notify)(&format!("listening on {} for PostgreSQL {ports}", device.interface()));
    }
    let mut source = device.start(Arc::clone(stop))?;
    run.start_screen(screen.clone(), stop)?;
    let result = run.all(&mut source, stop);
    print_notes(screen.as_deref());
    result
}

/// The open files of a run, except its packets.
struct Files {
    sessions: HashMap<Endpoint, KnownSession>,
    keys: KeyLogs,
    savefile: Option<SavefileWriter>,
    /// The file of extracted packets.
    extracted: Option<SavefileWriter>,
    /// The output and its name; `None` for standard output.
    out: Option<(Box<dyn Write + Send>, String)>,
}

impl Files {
    /// Opens and creates the files. Created files belong to `owner`, if given.
    fn open(args: &Args, is_under_way: bool, owner: Option<&Account>) -> anyhow::Result<Self> {
        // First, so that nothing is created if it is wrong.
        let sessions = args.sessions.as_deref().map(sessions::read).transpose()?.unwrap_or_default();
        let open = |path: &Path, is_read: bool| {
            let mut options = File::options();
            options.read(is_read).write(true).truncate(true);
            owner.map_or_else(|| options.clone().create(true).open(path), |owner| owner.create(path, &options))
        };
        let create = |path: &Path| open(path, false);
        let keys = KeyLogs::open(&args.keylog, is_under_way)?;
        let savefile = args.write.as_deref().map(|path| SavefileWriter::over(path, create(path))).transpose()?;
        let extracted = args.extract.as_deref().map(|path| {
            // Packets may be inserted, for which others are moved. Pipes and devices are only written.
            let is_file = fs::metadata(path).map_or(true, |file| file.is_file());
            SavefileWriter::over(path, open(path, is_file))
        });
        let extracted = extracted.transpose()?;
        let out = args.output.as_deref().filter(|path| path.as_os_str() != "-").map(|path| {
            let name = path.display().to_string();
            let file: Box<dyn Write + Send> =
                Box::new(create(path).with_context(|| format!("{name}: cannot be created"))?);
            anyhow::Ok((file, name))
        });
        Ok(Self { sessions, keys, savefile, extracted, out: out.transpose()? })
    }
}

/// A request of the screen: the packets of a connection are to be saved.
struct Save {
    conn: u64,
    path: PathBuf,
    reply: Sender<Result<String, String>>,
}

/// The processing of one source, from its first packet to its last.
struct Run<'a> {
    args: &'a Args,
    dissector: Dissector,
    keys: KeyLogs,
    writer: Writer,
    filter: Option<PacketFilter>,
    savefile: Option<SavefileWriter>,
    extract: Option<Extract>,
    unknown_links: HashSet<LinkType>,
    /// Link types that the savefile cannot contain.
    unsaved_links: HashSet<LinkType>,
    started: Instant,
    stats_due: Instant,
    /// When the requests of a file that are under way are emitted next.
    running_due: Option<Timestamp>,
    /// The earliest and the latest time of packets.
    first_packet: Option<Timestamp>,
    latest_packet: Option<Timestamp>,
    last_packet: Option<Timestamp>,
    /// When the interval of the next summary begins, if that is not the first.
    last_summary: Option<Timestamp>,
    /// The summary's baseline.
    baseline: Option<Baseline>,
    progress: Option<Progress>,
    screen: Option<Screen>,
    saves: Option<Receiver<Save>>,
    color: bool,
    /// When the screen is refreshed next, and when its sessions are.
    screen_due: (Instant, Instant),
    is_live: bool,
    /// Whether no packet has come since some time.
    is_idle: bool,
    /// When it began, if it is live.
    live_since: Option<Timestamp>,
    /// Whether a signal ended the reading of files.
    is_interrupted: bool,
    /// Whether the user was told that sessions were open before a live capture.
    has_told_sessions: bool,
    to_stdout: bool,
    code: u8,
    /// Prints a message for the user.
    notify: &'a mut dyn FnMut(&str),
}

impl<'a> Run<'a> {
    /// How many packets may pass between two checks of the clock: few enough that output is flushed in time under light load, and
    /// many enough that the checks cost nothing under heavy load.
    const PACKETS_PER_CLOCK_CHECK: u64 = 64;

    /// The maximum delay between the capture of a packet and its arrival here, in microseconds. Waiting times are extended by it,
    /// so that a live capture results in the same lines as a file.
    const MAX_DELIVERY_DELAY: u64 = 200_000;

    /// How long after the start of a live capture the sessions are counted that were open before: long enough that those in use have
    /// been seen.
    const SESSIONS_SEEN: Duration = Duration::from_secs(2);

    fn new(
        args: &'a Args,
        files: Files,
        filter: Option<PacketFilter>,
        notify: &'a mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let Files { sessions: known_sessions, mut keys, savefile, extracted: _, out } = files;
        keys.read()?;
        let to_stdout = out.is_none();
        let (out, name) = out.unwrap_or_else(|| (Box::new(io::stdout()), "standard output".to_owned()));
        let to_terminal = to_stdout && io::stdout().is_terminal();
        if to_terminal && args.format == Format::Html {
            bail!("-F html writes a page for a browser: use -o report.html");
        }
        let width = width(to_terminal);
        let is_cut = to_terminal && args.format == Format::Text && !args.wrap;
        let look = Look {
            terminal: is_cut.then(|| TerminalWidth::new(width)),
            zone: zone(args, notify),
            width,
            color: match args.color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => to_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            },
        };
        let wants_summary = args.events.contains(&args::Event::Summary);
        let config = Config {
            ports: Some(args.port.named.clone()),
            other_ports: args.port.auto,
            max_message: args.max_message,
            max_early: args.max_early,
            max_held: args.max_held,
            max_connections: args.max_connections,
            redaction: args.redaction(),
            max_remembered: args.max_remembered,
            named_rows: args.named_rows,
            only: Only {
                connections: args.conn.clone(),
                clients: args.client.clone(),
                users: bytes_of(&args.user),
                databases: bytes_of(&args.database),
                applications: bytes_of(&args.application),
            },
            known_sessions,
            fast_paths: !args.no_fast_paths,
            records: Records {
                messages: args.events.contains(&args::Event::Message),
                queries: args.events.contains(&args::Event::Query)
                    || args.events.contains(&args::Event::Running)
                    || wants_summary,
                // Those of which no line is written show whether there are any that were asked for.
                sessions: args.events.contains(&args::Event::Session)
                    || wants_summary
                    || !args.quiet && args.chooses_sessions(),
            },
        };
        let started = Instant::now();
        let color = look.color;
        Ok(Self {
            args,
            dissector: Dissector::with_keys(config, keys.keys.clone()),
            keys,
            writer: Writer::new(out, name, args, look, threads(args) - 1).context(NO_THREADS)?,
            baseline: None,
            progress: None,
            screen: None,
            saves: None,
            color,
            screen_due: (started, started),
            filter,
            savefile,
            extract: None,
            unknown_links: HashSet::new(),
            unsaved_links: HashSet::new(),
            started,
            stats_due: started + args.interval(),
            running_due: None,
            first_packet: None,
            latest_packet: None,
            last_packet: None,
            last_summary: None,
            is_live: false,
            is_idle: true,
            live_since: None,
            is_interrupted: false,
            has_told_sessions: false,
            to_stdout,
            code: 0,
            notify,
        })
    }

    /// Sets the extraction of packets.
    fn set_extract(&mut self, extract: Option<Extract>) {
        if let Some(extract) = extract {
            self.writer.set_owners(Owners::new(extract.has_buffer()), extract.has_file());
            self.extract = Some(extract);
        }
    }

    /// Files may not be in the order of time.
    fn note_time(&mut self, ts: Timestamp) {
        if self.first_packet.is_none() {
            self.writer.begin(self.args, ts);
        }
        self.first_packet = Some(self.first_packet.map_or(ts, |first| first.min(ts)));
        self.latest_packet = Some(self.latest_packet.map_or(ts, |latest| latest.max(ts)));
        if let Some(extract) = &mut self.extract {
            extract.note_precision(ts.precision());
        }
    }

    /// Sets the baseline of the summary, and the exit code of its reading.
    fn set_baseline(&mut self, baseline: Option<(Baseline, u8)>) {
        if let Some((baseline, code)) = baseline {
            (self.baseline, self.code) = (Some(baseline), self.code.max(code));
        }
    }

    /// Starts to draw the screen, if there is to be one.
    fn start_screen(&mut self, data: Option<Arc<ScreenData>>, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
        if let Some(data) = data {
            self.writer.set_screen(Arc::clone(&data));
            let settings = Settings { color: self.color, conditions: conditions::parse };
            let (sender, saves) = channel();
            let save = Box::new(move |conn, path: &Path| {
                let (reply, saved) = channel();
                let gone = |_| "the capture has ended".to_owned();
                sender.send(Save { conn, path: path.to_owned(), reply }).map_err(|_| gone(()))?;
                saved.recv().map_err(|_| gone(()))?
            });
            self.saves = Some(saves);
            self.screen = Some(Screen::start(data, settings, Some(save), Arc::clone(stop))?);
        }
        Ok(())
    }

    /// Saves packets for the screen, if that is requested within this time.
    fn save_packets(&mut self, wait: Duration) {
        let Some(saves) = &self.saves else { return };
        while let Ok(Save { conn, path, reply }) = saves.recv_timeout(wait) {
            let saved = match (&self.extract, self.writer.owners()) {
                (Some(extract), Some(owners)) => extract.save(conn, &path, self.dissector.packets(), owners),
                _ => Ok("packets are not kept".to_owned()),
            };
            // If the screen has ended, nobody wants to know.
            let name = format!("{}: ", path.display());
            let failed = |error: anyhow::Error| {
                let text = format!("{error:#}");
                text.strip_prefix(&name).map_or_else(|| text.clone(), str::to_owned)
            };
            let hidden = self.args.redaction().hides_values();
            let note = if hidden { ", as they were captured: values are not left out" } else { "" };
            let _ = reply.send(saved.map(|text| text + note).map_err(failed));
        }
    }

    /// Shows all that was captured until the user ends the screen, unless a signal or the user already has.
    fn end_screen(&mut self, screen: Screen, source: &dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let is_stopped = stop.load(Ordering::Relaxed);
        // What is said at the end is of the end.
        self.screen_due.1 = Instant::now();
        self.refresh_screen(Instant::now(), source);
        let stats = self.end(source)?;
        if !self.is_live && !self.args.quiet {
            self.report(&stats);
        }
        if let Some(data) = self.writer.screen() {
            data.model().end();
        }
        while !is_stopped && !screen.is_finished() {
            self.save_packets(Duration::from_millis(50));
        }
        // The thread of the screen may wait for an answer.
        self.saves = None;
        Ok(screen.finish()?)
    }

    /// Processes the source to its end and returns the exit code. Lines created before an error are written in any case.
    fn all(mut self, source: &mut dyn Source, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
        let finished = self.packets(source, stop).and_then(|()| {
            let is_interrupted = stop.load(Ordering::Relaxed);
            if let Some(screen) = self.screen.take() {
                self.end_screen(screen, source, stop)?;
            }
            if self.is_live {
                // The capture thread updates its counters until it ends, whatever ended the loop.
                stop.store(true, Ordering::Relaxed);
                while !matches!(source.next_event(), Ok(Event::End) | Err(_)) {}
            }
            self.is_interrupted = !self.is_live && is_interrupted;
            self.finish(source, stop)
        });
        if finished.is_err() {
            // If this fails, the original error is still the one to report.
            let _ = self.writer.settle();
            let _ = self.writer.flush();
            let _ = self.extract(stop);
        }
        finished
    }

    fn packets(&mut self, source: &mut dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut packets = 0_u64;
        // If each packet has to be processed individually here, packets are dissected one by one.
        let one_by_one = !self.writer.has_shards()
            || self.filter.is_some()
            || self.savefile.is_some()
            || self.extract.as_ref().is_some_and(Extract::has_buffer)
            || self.keys.are_followed
            || self.wants_running()
            || self.writer.screen().is_some()
            || self.is_live;
        loop {
            if !one_by_one && self.dissector.may_run_parallel() {
                let taken = source.ready().map_or(0, |(block, next)| {
                    let taken = self.writer.in_parallel(&mut self.dissector, block, next);
                    let last = taken.checked_sub(1).and_then(|last| block.packet(next + last));
                    for packet in [block.packet(next), last].into_iter().flatten() {
                        self.note_time(packet.ts);
                    }
                    self.last_packet = last.map(|last| last.ts).or(self.last_packet);
                    taken
                });
                if taken > 0 {
                    packets += taken as u64;
                    source.pass(taken);
                    self.writer.check()?;
                    continue;
                }
            }
            match source.next_event() {
                Ok(Event::Packet(packet)) => {
                    self.is_idle = false;
                    if let Some(filter) = &mut self.filter {
                        match filter.matches(&packet) {
                            Ok(true) => {}
                            Ok(false) => {
                                self.dissector.skip_packet();
                                continue;
                            }
                            // The filter does not compile for this link type. Packets of other link types may follow.
                            Err(error) => {
                                self.dissector.skip_packet();
                                self.writer.flush()?;
                                (self.notify)(&error.to_string());
                                self.code = FAILED;
                                continue;
                            }
                        }
                    }
                    if let Some(savefile) = &mut self.savefile
                        && let Err(error) = savefile.write(&packet)
                    {
                        if savefile.takes(packet.link) {
                            return Err(error.into());
                        }
                        // The file is valid as it is. Packets that it cannot contain are still dissected.
                        if self.unsaved_links.insert(packet.link) {
                            (self.notify)(&error.to_string());
                            self.code = self.code.max(PARTIAL);
                        }
                    }
                    if !packet.link.is_known() && self.unknown_links.insert(packet.link) {
                        let name = link_type_name(packet.link);
                        (self.notify)(&format!(
                            "link type {} ({name}) is not supported: its packets are only counted",
                            packet.link.0
                        ));
                    }
                    self.note_time(packet.ts);
                    if !self.is_live && self.wants_running() && self.writer.screen().is_none() {
                        self.running_before(packet.ts);
                    }
                    self.last_packet = Some(packet.ts);
                    self.dissector.packet(&packet, &mut self.writer);
                    packets += 1;
                    if let (Some(extract), Some(owners)) = (&mut self.extract, self.writer.owners()) {
                        extract.packet(&packet, self.dissector.packets(), owners)?;
                    }
                    // What is read again has to be dissected to the end, to find the rest of the connections with lines.
                    if self.writer.is_done() && self.extract.as_ref().is_none_or(Extract::has_buffer) {
                        break;
                    }
                    let is_timed = self.is_live || self.keys.are_followed || self.writer.screen().is_some();
                    if is_timed && packets.is_multiple_of(Self::PACKETS_PER_CLOCK_CHECK) {
                        self.check_clock(source, stop)?;
                    } else if self.keys.are_awaited() {
                        self.keys.follow(Instant::now(), self.notify);
                    }
                }
                Ok(Event::KeyLog(bytes)) => self.keys.add_embedded(bytes),
                Ok(Event::Idle) => {
                    self.is_idle = true;
                    self.keys.follow(Instant::now(), self.notify);
                    if self.is_live {
                        self.dissector.tick(now().earlier(Self::MAX_DELIVERY_DELAY), &mut self.writer);
                    } else if let (Some(last), true) = (self.last_packet, self.keys.are_followed) {
                        self.dissector.tick(last, &mut self.writer);
                    }
                    self.writer.flush()?;
                    if let Some(savefile) = &mut self.savefile {
                        savefile.flush()?;
                    }
                    if let Some(extract) = &mut self.extract {
                        extract.flush()?;
                    }
                    self.check_clock(source, stop)?;
                    if self.to_stdout && has_no_reader(io::stdout().as_fd()) {
                        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                    }
                }
                Ok(Event::End) => break,
                Err(error) => {
                    // The lines so far are written first, so that the message appears in the right place.
                    self.writer.flush()?;
                    if let Some(screen) = self.writer.screen() {
                        screen.model().set_partial();
                    }
                    (self.notify)(&error.to_string());
                    let partial = error.is_partial() || self.is_live && packets > 0;
                    self.code = self.code.max(if partial { PARTIAL } else { FAILED });
                }
            }
            self.writer.check()?;
        }
        Ok(())
    }

    /// Does what is due by the clock: stats lines, the end of `--duration`, flushing of output.
    fn check_clock(&mut self, source: &dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let now = Instant::now();
        self.keys.follow(now, self.notify);
        self.writer.flush_if_older(now)?;
        if self.args.duration.is_some_and(|duration| now - self.started >= duration) {
            stop.store(true, Ordering::Relaxed);
        }
        if self.is_live
            && !self.has_told_sessions
            && now - self.started >= Self::SESSIONS_SEEN
            && self.writer.screen().is_none()
        {
            self.has_told_sessions = true;
            self.report_sessions();
        }
        if now >= self.screen_due.0 && self.writer.screen().is_some() {
            self.save_packets(Duration::ZERO);
            self.refresh_screen(now, source);
            return Ok(());
        }
        if self.is_live && now >= self.stats_due {
            self.stats_due = now + self.args.interval();
            self.running(self.known_time());
            let stats = self.stats(source);
            self.writer.stats(&stats);
            // A page is written once.
            if self.args.format != Format::Html {
                self.summarize(stats, true);
            }
        }
        Ok(())
    }

    /// Returns the time up to which it is known what was sent: that of the last packet, and while none comes, that of the clock, less
    /// the delay of their delivery.
    fn known_time(&self) -> Timestamp {
        let last = self.last_packet.unwrap_or_default();
        if self.is_live && self.is_idle { last.max(now().earlier(Self::MAX_DELIVERY_DELAY)) } else { last }
    }

    /// Gives the screen what is under way, and counters.
    fn refresh_screen(&mut self, now: Instant, source: &dyn Source) {
        const REQUESTS: Duration = Duration::from_millis(250);
        /// Where there are many sessions, they are looked at less often.
        const MANY: u64 = 2_000;
        let Some(screen) = self.writer.screen().cloned() else { return };
        let time = self.known_time();
        self.dissector.running(time, &mut self.writer);
        let stats = self.stats(source);
        if now >= self.screen_due.1 {
            let mut model = screen.model();
            model.begin_sessions();
            self.dissector.open_sessions(time, |session| model.open_session(session));
            self.screen_due.1 = now + if stats.counters.open_connections > MANY { 4 * REQUESTS } else { REQUESTS };
        }
        screen.model().refresh(time, self.live_since.or(self.first_packet), &stats);
        self.screen_due.0 = now + REQUESTS;
    }

    fn wants_running(&self) -> bool {
        self.args.events.contains(&args::Event::Running)
    }

    /// Emits the requests that are under way, for lines and for a summary.
    fn running(&mut self, now: Timestamp) {
        if let Some(statistics) = self.writer.statistics() {
            statistics.forget_running();
        }
        if self.wants_running() || self.writer.statistics().is_some() {
            self.dissector.running(now, &mut self.writer);
        }
    }

    /// Emits the requests of a file that were under way when the last interval before this time ended. Where nothing was captured for
    /// several intervals, each would have the same.
    fn running_before(&mut self, ts: Timestamp) {
        let interval = u64::try_from(self.args.interval().as_micros()).unwrap_or(u64::MAX).max(1);
        let due = *self.running_due.get_or_insert(ts.later(interval));
        if ts >= due {
            let last = due.later(ts.micros_since(due) / interval * interval);
            self.running(last);
            self.running_due = Some(last.later(interval));
        }
    }

    fn finish(&mut self, source: &dyn Source, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
        self.progress = None;
        let stats = self.end(source)?;
        self.writer.stats(&stats);
        self.summarize(stats.clone(), false);
        self.writer.flush()?;
        if let Some(savefile) = self.savefile.take() {
            savefile.finish()?;
        }
        self.extract(stop)?;
        if !self.args.quiet && (self.is_live || self.writer.screen().is_none()) {
            self.report(&stats);
        }
        Ok(self.code)
    }

    /// Extracts the packets of connections with lines.
    fn extract(&mut self, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
        let (Some(extract), Some(owners)) = (self.extract.take(), self.writer.owners()) else { return Ok(()) };
        // Of what was read until a signal came, all is extracted; another signal ends the process.
        let stop = if stop.load(Ordering::Relaxed) { Arc::default() } else { Arc::clone(stop) };
        let Some(report) = extract.finish(self.dissector.packets(), owners, &stop)? else { return Ok(()) };
        if report.is_partial {
            self.code = self.code.max(PARTIAL);
        }
        if !self.args.quiet {
            (self.notify)(&report.text);
        }
        Ok(())
    }

    /// Ends all connections and waits until the lines are written. Returns the final counters.
    fn end(&mut self, source: &dyn Source) -> io::Result<StatsRecord> {
        self.keys.finish(self.notify);
        if let Some(statistics) = self.writer.statistics() {
            statistics.at_end();
        }
        // If the user limited the number of messages, incomplete ones are not reported as lost.
        if !self.writer.is_done() {
            self.dissector.finish(&mut self.writer);
        }
        let undecoded = self.writer.settle()?;
        self.writer.merge_statistics();
        let mut stats = self.stats(source);
        stats.counters.undecoded_messages += undecoded;
        Ok(stats)
    }

    /// Writes a summary, if there is to be one.
    fn summarize(&mut self, stats: StatsRecord, under_way: bool) {
        let Some(statistics) = self.writer.statistics() else { return };
        let interval_started = self.last_summary.or(self.live_since);
        self.last_summary = self.live_since.map(|_| now());
        let context = SummaryContext {
            stats,
            started: self.live_since.or(self.first_packet),
            ended: self.live_since.map(|_| now()).or(self.latest_packet),
            under_way,
            interrupted: self.is_interrupted,
            selection: selection(self.args),
            interval_started,
        };
        let summary = statistics.summary(&context, self.baseline.as_ref());
        self.writer.summary(&summary);
    }

    fn stats(&self, source: &dyn Source) -> StatsRecord {
        let kernel = source.kernel().map(|kernel| KernelStats {
            received: kernel.received,
            dropped: kernel.dropped,
            interface_dropped: kernel.interface_dropped,
        });
        StatsRecord { ts: self.last_packet, counters: self.dissector.counters(), kernel }
    }

    /// Prints for the user how many sessions were open before the capture, if there are any, and they are not known.
    fn report_sessions(&mut self) {
        let sessions = self.dissector.midstream_connections();
        if sessions > 0 && self.args.sessions.is_none() && !self.args.quiet {
            let (are, whose) = if sessions == 1 { ("was", "its") } else { ("were", "their") };
            (self.notify)(&format!(
                "{} {are} open before the capture: --sessions FILE has {whose} users, databases and applications (see README)",
                counted(sessions, "session")
            ));
        }
    }

    /// Prints for the user what was captured, to standard error.
    fn report(&mut self, stats: &StatsRecord) {
        self.report_sessions();
        let counters = &stats.counters;
        let times = self.first_packet.zip(self.latest_packet);
        for line in self.writer.unmatched(self.args, counters.connections, times) {
            (self.notify)(&line);
        }
        if let Some(kernel) = &stats.kernel {
            (self.notify)(&format!(
                "{} on {}; {} captured, {} received by filter, {} dropped by kernel, {} dropped by interface",
                counted(counters.messages, "message"),
                counted(counters.connections, "connection"),
                counted(counters.packets, "packet"),
                kernel.received,
                kernel.dropped,
                kernel.interface_dropped
            ));
        } else if counters.messages == 0
            && counters.losses == 0
            && counters.packets > counters.unknown_link_packets + counters.filtered_packets
        {
            let hint = if self.args.port.auto {
                "-p auto requires the beginning of a connection; -p PORT does not"
            } else {
                "-p PORT sets the server's port, -p auto detects it"
            };
            (self.notify)(&format!("no PostgreSQL in {}: {hint}", counted(counters.packets, "packet")));
        }
    }
}

/// Returns the number of threads to use.
fn threads(args: &Args) -> usize {
    // The sequential part runs in one thread: with more than this, the others would only wait for it.
    let cores = || thread::available_parallelism().map_or(1, NonZero::get).min(8);
    if args.no_fast_paths { 1 } else { args.jobs.map_or_else(cores, usize::from) }
}

/// Returns the options that leave out a part of the capture, as a user writes them.
pub(super) fn selection(args: &Args) -> Vec<String> {
    fn list<T: ToString>(option: &'static str, values: &[T]) -> Option<(&'static str, String)> {
        let values: Vec<_> = values.iter().map(T::to_string).collect();
        (!values.is_empty()).then(|| (option, values.join(",")))
    }
    let fingerprints: Vec<_> = args.fingerprint.iter().map(|fingerprint| format!("{fingerprint:016x}")).collect();
    let options = [
        list("--conn", &args.conn),
        list("--client", &args.client),
        list("--user", &args.user),
        list("--database", &args.database),
        list("--application", &args.application),
        args.since.as_ref().map(|since| ("--since", since.to_string())),
        args.until.as_ref().map(|until| ("--until", until.to_string())),
        args.errors.then(|| ("--errors", String::new())),
        args.min_duration.map(|duration| ("--min-duration", format!("{duration:?}"))),
        args.min_rows.map(|rows| ("--min-rows", rows.to_string())),
        args.sql.as_ref().map(|regex| ("--sql", format!("{:?}", regex.as_str()))),
        list("--fingerprint", &fingerprints),
        args.filter.as_ref().map(|filter| ("-f", format!("{filter:?}"))),
    ];
    let options = options.into_iter().flatten();
    options.map(|(option, value)| format!("{option} {value}").trim_end().to_owned()).collect()
}

/// Returns the number of columns for text: those of the terminal, or of COLUMNS.
fn width(to_terminal: bool) -> usize {
    let of_terminal = to_terminal.then(terminal_size::terminal_size).flatten().map(|(width, _)| width.0.into());
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    of_terminal.or_else(columns).unwrap_or(100)
}

/// Returns the zone of times in text.
fn zone(args: &Args, notify: &mut dyn FnMut(&str)) -> Zone {
    if args.utc || args.format != Format::Text {
        return Zone::UTC;
    }
    Zone::of_process().unwrap_or_else(|error| {
        match std::env::var("TZ") {
            Ok(name) => notify(&format!("TZ={name:?} is no time zone: times are in UTC")),
            Err(_) => notify(&format!("{error}: times are in UTC")),
        }
        Zone::UTC
    })
}

fn bytes_of(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.clone().into_bytes()).collect()
}

/// Returns the current time of the clock that the kernel uses for live packets.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos(), Precision::Micros)
}

/// Formats a count with a noun in the singular or plural.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Returns whether the other end of a pipe is closed. A write would fail as well, but after `| head -1` it may be hours until
/// there is something to write.
fn has_no_reader(pipe: BorrowedFd<'_>) -> bool {
    let mut pipe = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut pipe, PollTimeout::ZERO).is_ok()
        && pipe.iter().filter_map(PollFd::revents).any(|events| events.contains(PollFlags::POLLERR))
}
