//! The loop over packets, from files or an interface.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::capture::file::FileSource;
use crate::capture::filter::{PacketFilter, link_type_name};
use crate::capture::live::{self, Device};
use crate::capture::privileges::Account;
use crate::capture::read_ahead::ReadAhead;
use crate::capture::{Event, InterfaceTable, Source};
use crate::dissector::{Config, Dissector, Only, Records};
use crate::output::stats::{Baseline, Context as SummaryContext};
use crate::output::text::Zone;
use crate::packet::LinkType;
use crate::pooler::Joiner;
use crate::record::{Counters, KernelStats, StatsRecord};
use crate::time::{Precision, Timestamp};
use anyhow::{Context, bail};
use indicatif::ProgressBar;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

mod baseline;
mod files;
mod metrics;
mod report;
mod rotation;
mod screen;
mod tables;

use self::baseline::read_baseline;
use self::files::{Files, is_same_file};
use self::metrics::Metrics;
use self::rotation::PacketFiles;
pub(super) use self::rotation::check_name;
use self::screen::{Save, print_notes, screen};
use self::tables::Complete;
use super::args::{self, Args, Color, Format};
use super::extract::{Extract, Owners};
use super::key_logs::KeyLogs;
use super::progress::Progress;
use super::screen::Screen;
use super::screen_data::ScreenData;
use super::select::{Pooler, selection};
use super::writer::{Look, TerminalWidth, Writer};
use super::{FAILED, PARTIAL, UNFILTERED, notify};

/// The message if a thread cannot be started.
const NO_THREADS: &str = "threads cannot be started (-j 1 needs none)";

/// Processes capture files.
pub(super) fn read(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
    let mut paths = [args.files.as_slice(), args.read.as_slice()].concat();
    if let Some(list) = &args.paths_from {
        paths.extend(listed_paths(list).with_context(|| format!("{}: cannot be read", list.display()))?);
        if paths.is_empty() {
            bail!("{}: names no capture file", list.display());
        }
        if list.as_os_str() == "-" && paths.iter().any(|path| path.as_os_str() == "-") {
            bail!("standard input cannot be a capture and name others: --paths-from - and the file -");
        }
    }
    if paths.is_empty() {
        bail!("nothing to read: pass a capture file, - for standard input, or -i INTERFACE (see --help)");
    }
    let filter = args.filter.as_deref().map(PacketFilter::new).transpose()?;
    for (_, output) in args.outputs() {
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
    let open = if args.pooler.is_empty() { FileSource::new } else { FileSource::merged };
    let source = open(paths.clone(), Arc::clone(stop));
    let progress = Progress::start(args, &paths, source.bytes_read(), "");
    let bar = progress.as_ref().map(Progress::bar);
    if paths.iter().any(|path| path.as_os_str() == "-") && io::stdin().is_terminal() {
        bail!("standard input is a terminal, and no capture: pipe one into it, such as tcpdump -w - | pgdissect -");
    }
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
    run.set_interfaces(&source.interfaces());
    if threads(args) > 1 {
        let mut source = ReadAhead::new(source).context(NO_THREADS)?;
        run.start_screen(beside.screen, stop)?;
        run.all(&mut source, stop)
    } else {
        run.start_screen(beside.screen, stop)?;
        run.all(&mut source, stop)
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
        savefile.set_interfaces(device.interfaces());
        savefile.describe(live::LIVE_INTERFACE, device.link_type(), Precision::Micros)?;
        savefile.flush()?;
    }
    let extracted = files.extracted.take();
    let is_wanted = extracted.is_some() || args.format == Format::Top;
    let mut extract = is_wanted.then(|| Extract::from_buffer(extracted, args.extract_buffer, args.port.only()));
    if let Some(extract) = &mut extract {
        extract.set_interfaces(device.interfaces());
        extract.describe(live::LIVE_INTERFACE, device.link_type(), Precision::Micros)?;
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

/// The processing of one source, from its first packet to its last.
struct Run<'a> {
    args: &'a Args,
    dissector: Dissector,
    keys: KeyLogs,
    /// Joins the two sides of a pooler, before the lines are written.
    joiner: Joiner,
    writer: Writer,
    filter: Option<PacketFilter>,
    savefile: Option<PacketFiles>,
    extract: Option<Extract>,
    metrics: Option<Metrics>,
    /// Completes the output.
    complete: Option<Complete>,
    unknown_links: HashSet<LinkType>,
    /// Link types that the savefile cannot contain.
    unsaved_links: HashSet<LinkType>,
    started: Instant,
    stats_due: Instant,
    /// When it is found out next which lines of a log can be written.
    log_due: Instant,
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
    /// Whether the packets of a pipe are captured now.
    is_current: bool,
    /// When it began, if it is live.
    live_since: Option<Timestamp>,
    /// Whether a signal ended the reading of files.
    is_interrupted: bool,
    /// The number of sessions that were open before a live capture, if the user was told.
    told_sessions: Option<u64>,
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

    /// How old the last packet of a pipe is at most, in microseconds, if the pipe is one of a live capture.
    const CURRENT: u64 = 10_000_000;

    /// How long after the start of a live capture the sessions are counted that were open before: long enough that those in use have
    /// been seen.
    const SESSIONS_SEEN: Duration = Duration::from_secs(2);

    /// How often lines of a log that wait for earlier ones are written while packets are captured.
    const LOG_INTERVAL: Duration = Duration::from_millis(250);

    fn new(
        args: &'a Args,
        files: Files,
        filter: Option<PacketFilter>,
        notify: &'a mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let Files { sessions: known_sessions, mut keys, savefile, extracted: _, metrics, out, complete } = files;
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
            to_terminal,
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
            partition: args.partition(),
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
            parses: args.format.log().is_some(),
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
                changes: args.events.contains(&args::Event::Change)
                    || args.events.contains(&args::Event::Transaction)
                    || args.format == args::Format::Top
                    || wants_summary,
                streams: args.format == args::Format::Top || wants_summary,
            },
            shows_wal: args.wal_data,
            shows_backups: args.base_backup_data,
        };
        let started = Instant::now();
        let color = look.color;
        Ok(Self {
            args,
            dissector: Dissector::with_keys(config, keys.keys.clone()),
            keys,
            joiner: joiner(args),
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
            metrics: metrics.map(Metrics::new),
            complete,
            unknown_links: HashSet::new(),
            unsaved_links: HashSet::new(),
            started,
            stats_due: started + args.interval(),
            log_due: started,
            running_due: None,
            first_packet: None,
            latest_packet: None,
            last_packet: None,
            last_summary: None,
            is_live: false,
            is_idle: true,
            is_current: false,
            live_since: None,
            is_interrupted: false,
            told_sessions: None,
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

    /// Sets the table of the interfaces of the packets.
    fn set_interfaces(&mut self, table: &InterfaceTable) {
        if let Some(savefile) = &mut self.savefile {
            savefile.set_interfaces(table.clone());
        }
        if let Some(extract) = &mut self.extract {
            extract.set_interfaces(table.clone());
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
            let _ = self.complete.take().map(|complete| complete());
            let _ = self.extract(stop);
        }
        finished
    }

    fn packets(&mut self, source: &mut dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut packets = 0_u64;
        if !self.args.quiet && self.args.shard.is_some() && !self.args.pooler.is_empty() {
            (self.notify)("with --shard, requests are joined only where both connections fall into this part");
        }
        // If each packet has to be processed individually here, packets are dissected one by one.
        let one_by_one = !self.writer.has_shards()
            || self.filter.is_some()
            || self.savefile.is_some()
            || self.extract.as_ref().is_some_and(Extract::has_buffer)
            || self.keys.are_followed
            || self.wants_running()
            || self.metrics.is_some() && self.args.stats_interval.is_some()
            || self.writer.screen().is_some()
            || self.is_live;
        loop {
            if !one_by_one && !self.joiner.is_active() && self.dissector.may_run_parallel() {
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
                    if self.writer.has_long_log() {
                        self.pass_log();
                    }
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
                    if !self.is_live && self.metrics.is_some() && self.args.stats_interval.is_some() {
                        self.metrics_before(packet.ts)?;
                    }
                    self.last_packet = Some(packet.ts);
                    self.dissector.packet(&packet, &mut self.joiner.before(&mut self.writer));
                    packets += 1;
                    if self.writer.has_long_log() {
                        self.pass_log();
                    }
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
                    if !self.is_idle {
                        // A pipe from a capture elsewhere, such as `ssh host tcpdump -w -`.
                        let age = self.last_packet.map(|last| now().micros_since(last));
                        self.is_current = age.is_some_and(|age| age < Self::CURRENT);
                        self.is_idle = true;
                    }
                    self.keys.follow(Instant::now(), self.notify);
                    let sink = &mut self.joiner.before(&mut self.writer);
                    if self.is_live {
                        self.dissector.tick(now().earlier(Self::MAX_DELIVERY_DELAY), sink);
                    } else if let (Some(last), true) = (self.last_packet, self.keys.are_followed) {
                        self.dissector.tick(last, sink);
                    }
                    self.pass_joined();
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
        if self.writer.has_log() && now >= self.log_due {
            self.log_due = now + Self::LOG_INTERVAL;
            self.pass_log();
        }
        self.writer.flush_if_older(now)?;
        if self.args.duration.is_some_and(|duration| now - self.started >= duration) {
            stop.store(true, Ordering::Relaxed);
        }
        if self.is_live
            && self.told_sessions.is_none()
            && now - self.started >= Self::SESSIONS_SEEN
            && self.writer.screen().is_none()
        {
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
            self.write_metrics(self.known_time())?;
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
        let follows_clock = self.is_idle && (self.is_live || self.is_current);
        if follows_clock { last.max(now().earlier(Self::MAX_DELIVERY_DELAY)) } else { last }
    }

    /// Passes on the requests that are held back, as far as is known up to now.
    fn pass_joined(&mut self) {
        let now = self.known_time();
        self.joiner.before(&mut self.writer).tick(now);
    }

    /// Writes the lines of a log before which none can come any more.
    fn pass_log(&mut self) {
        let now = self.known_time();
        if self.writer.pass_log(now, self.dissector.earliest_unreported(now)) && !self.args.quiet {
            let text = "the log is not all in order of time: more than 64 MiB of it came while a request was under way";
            (self.notify)(text);
        }
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
            self.dissector.running(now, &mut self.joiner.before(&mut self.writer));
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
        // At the end of a file, those of what is left of its last interval.
        if !self.is_live && self.wants_running() && self.running_due.is_some() {
            self.running(self.known_time());
        }
        let stats = self.end(source)?;
        self.writer.stats(&stats);
        self.summarize(stats.clone(), false);
        self.writer.flush()?;
        if let Some(complete) = self.complete.take() {
            complete()?;
        }
        self.write_metrics(self.latest_packet.unwrap_or_default().max(self.known_time()))?;
        if let Some(savefile) = self.savefile.take() {
            savefile.finish()?;
        }
        self.extract(stop)?;
        if !self.args.quiet && (self.is_live || self.writer.screen().is_none()) {
            self.report(&stats);
        }
        if let Some(filter) = self.args.jq_filter.as_ref().filter(|filter| filter.failures() > 0) {
            self.code = self.code.max(UNFILTERED);
            if filter.untold_failures() > 0 {
                (self.notify)(&format!("--jq: the filter failed on {} more lines", filter.untold_failures()));
            }
        }
        Ok(self.code)
    }

    /// Extracts the packets of connections with lines.
    fn extract(&mut self, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
        let (Some(extract), Some(owners)) = (self.extract.take(), self.writer.owners()) else { return Ok(()) };
        // Of what was read until a signal came, all is extracted; another signal ends the process.
        let stop = if stop.load(Ordering::Relaxed) { Arc::default() } else { Arc::clone(stop) };
        let keys = self.args.with_secrets.then_some(&self.keys.keys);
        let Some(report) = extract.finish(self.dissector.packets(), owners, keys, &stop)? else { return Ok(()) };
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
            let mut sink = self.joiner.before(&mut self.writer);
            self.dissector.finish(&mut sink);
            sink.finish();
        }
        if !self.args.quiet && !self.args.pooler.is_empty() && self.joiner.joined() == 0 {
            (self.notify)(
                "no requests were found on both sides of a pooler: capture both, name both ports with -p, and the address at which \
                 the pooler accepts clients with --pooler, which auto does not find on the loopback interface; select by what both \
                 sides have; and of a server connection that was open before, the first requests may not be known",
            );
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
        let counters = Counters { ambiguous_joins: self.joiner.ambiguous(), ..self.dissector.counters() };
        StatsRecord { ts: self.last_packet, counters, kernel }
    }
}

/// Returns the paths in a file: if it has zero bytes, each ends with one, and else with a newline.
fn listed_paths(list: &Path) -> io::Result<Vec<PathBuf>> {
    let bytes = if list.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes)?;
        bytes
    } else {
        fs::read(list)?
    };
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    let paths = bytes.split(|byte| *byte == end).filter(|path| !path.is_empty());
    Ok(paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
}

/// Returns what joins the requests of poolers' clients with those on their connections to the server.
fn joiner(args: &Args) -> Joiner {
    let named = |pooler: &Pooler| match pooler {
        Pooler::Auto => None,
        Pooler::At(clients) => Some(*clients),
    };
    let is_automatic = args.pooler.iter().any(|pooler| matches!(pooler, Pooler::Auto));
    Joiner::new(args.pooler.iter().filter_map(named).collect(), is_automatic)
}

/// Returns the number of threads to use.
fn threads(args: &Args) -> usize {
    // The sequential part runs in one thread: with more than this, the others would only wait for it.
    let cores = || thread::available_parallelism().map_or(1, NonZero::get).min(8);
    // A script has the statements of a session together, whenever the session ends: its blocks are made in one place.
    if args.no_fast_paths || args.format == Format::Sql { 1 } else { args.jobs.map_or_else(cores, usize::from) }
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
