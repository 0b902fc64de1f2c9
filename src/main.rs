//! The command: arguments, the loop over packets, the exit code.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pgdissect::capture::ahead::Ahead;
use pgdissect::capture::file::FileSource;
use pgdissect::capture::filter::{PacketFilter, link_type_name};
use pgdissect::capture::live::{self, Device};
use pgdissect::capture::privileges::Account;
use pgdissect::capture::savefile::SavefileWriter;
use pgdissect::capture::{Event, Source, interfaces};
use pgdissect::dissector::{Config, Dissector, Only, Records};
use pgdissect::packet::LinkType;
use pgdissect::record::{self, KernelStats, StatsRecord};
use pgdissect::time::{Precision, Timestamp};

use crate::cli::{Args, Color, Format};
use crate::keylogs::KeyLogs;
use crate::lines::Lines;

mod cli;
mod keylogs;
mod lines;

/// Lines were written, but not all that was asked for could be read.
const PARTIAL: u8 = 1;
/// Nothing could be done.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        // The reader of a pipe has seen enough: that is no error.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<u8> {
    if args.schema {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&record::schema())?)?;
        return Ok(0);
    }
    if args.list_interfaces {
        for interface in interfaces::list()? {
            writeln!(io::stdout(), "{interface}")?;
        }
        return Ok(0);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first one ends cleanly. A second one, where the first could not (nobody reads the output), ends at once.
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    match &args.interface {
        Some(interface) => listen(args, interface, &stop),
        None => read(args, &stop),
    }
}

/// Reads capture files.
fn read(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
    let paths = [args.files.as_slice(), args.read.as_slice()].concat();
    if paths.is_empty() {
        bail!("nothing to read: give a capture file, - for standard input, or -i INTERFACE (--help says more)");
    }
    let filter = args.filter.as_deref().map(PacketFilter::new).transpose()?;
    for output in [&args.output, &args.write].into_iter().flatten() {
        if let Some(path) = paths.iter().find(|path| is_same_file(path, output)) {
            bail!("{}: is read, and would be overwritten", path.display());
        }
    }
    // What comes through a pipe may be captured right now.
    let is_under_way = paths.iter().any(|path| !fs::metadata(path).is_ok_and(|file| file.is_file()));
    let files = Files::open(args, is_under_way, None)?;
    let mut source = FileSource::new(paths, Arc::clone(stop));
    let run = Run::new(args, files, filter)?;
    if threads(args) > 1 { run.all(&mut Ahead::new(source), stop) } else { run.all(&mut source, stop) }
}

/// Whether two paths name the same regular file, which cannot be read once it has been emptied for writing.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Listens on an interface.
fn listen(args: &Args, interface: &str, stop: &Arc<AtomicBool>) -> anyhow::Result<u8> {
    let user = args.relinquish_privileges.as_deref().map(Account::named).transpose()?;
    let device = Device::open(&live::Options {
        interface: interface.to_owned(),
        ports: args.port.only().to_vec(),
        filter: args.filter.clone(),
        tunnels: args.tunnels,
        snaplen: args.snaplen,
        buffer_kib: args.buffer_size,
        promiscuous: !args.no_promiscuous,
    })?;
    // The user that root becomes need not be let into their folders.
    let mut files = Files::open(args, true, user.as_ref())?;
    if let Some(user) = user {
        user.drop_root()?;
    }
    if let Some(savefile) = &mut files.savefile {
        savefile.begin(device.link_type(), Precision::Micros)?;
        savefile.flush()?;
    }
    let mut run = Run::new(args, files, None)?;
    run.is_live = true;
    if !args.quiet {
        let ports = match args.port.only() {
            [] => "on any port".to_owned(),
            ports => format!("on port {}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
        };
        say(&format!("listening on {} for PostgreSQL {ports}", device.interface()));
    }
    let mut source = device.start(Arc::clone(stop))?;
    run.all(&mut source, stop)
}

/// The files of a run beside its packets, open.
struct Files {
    keys: KeyLogs,
    savefile: Option<SavefileWriter>,
    /// Where lines go, and its name; standard output where it is none.
    output: Option<(File, String)>,
}

impl Files {
    /// Opens and creates them. What is created is the owner's, where one is named.
    fn open(args: &Args, is_under_way: bool, owner: Option<&Account>) -> anyhow::Result<Self> {
        let create = |path: &Path| owner.map_or_else(|| File::create(path), |owner| owner.create(path));
        let keys = KeyLogs::open(&args.keylog, is_under_way)?;
        let savefile = args.write.as_deref().map(|path| SavefileWriter::over(path, create(path))).transpose()?;
        let output = args.output.as_deref().filter(|path| path.as_os_str() != "-").map(|path| {
            let name = path.display().to_string();
            let file = create(path).with_context(|| format!("{name}: cannot be created"))?;
            anyhow::Ok((file, name))
        });
        Ok(Self { keys, savefile, output: output.transpose()? })
    }
}

/// One run over a source, from its first packet to its last.
struct Run<'a> {
    args: &'a Args,
    dissector: Dissector,
    keys: KeyLogs,
    lines: Lines,
    filter: Option<PacketFilter>,
    savefile: Option<SavefileWriter>,
    unknown_links: HashSet<LinkType>,
    /// Link types that the savefile cannot hold.
    unsaved_links: HashSet<LinkType>,
    started: Instant,
    stats_due: Instant,
    last_packet: Option<Timestamp>,
    is_live: bool,
    to_stdout: bool,
    code: u8,
}

impl<'a> Run<'a> {
    /// How many packets may pass between two looks at the clock: few enough that a light load is flushed in time, many
    /// enough that a heavy one does not notice.
    const PACKETS_A_LOOK: u64 = 64;

    /// How long a packet may be on its way here from the interface, in microseconds: what is waited for is waited for so much
    /// longer, so that a capture gives the same lines live as from a file.
    const ON_ITS_WAY: u64 = 200_000;

    fn new(args: &'a Args, files: Files, filter: Option<PacketFilter>) -> anyhow::Result<Self> {
        let Files { mut keys, savefile, output } = files;
        keys.read()?;
        let (out, name, to_stdout): (Box<dyn Write + Send>, _, bool) = match output {
            Some((file, name)) => (Box::new(file), name, false),
            None => (Box::new(io::stdout()), "standard output".to_owned(), true),
        };
        let color = match args.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                to_stdout
                    && io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
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
                users: bytes_of(&args.user),
                databases: bytes_of(&args.database),
                applications: bytes_of(&args.application),
            },
            records: Records {
                messages: args.events.contains(&cli::Event::Message),
                queries: args.events.contains(&cli::Event::Query),
                sessions: args.events.contains(&cli::Event::Session),
            },
        };
        let started = Instant::now();
        Ok(Self {
            args,
            dissector: Dissector::with_keys(config, keys.keys.clone()),
            keys,
            lines: Lines::new(out, name, args, args.format == Format::Text && color, threads(args) - 1),
            filter,
            savefile,
            unknown_links: HashSet::new(),
            unsaved_links: HashSet::new(),
            started,
            stats_due: started + args.stats_interval,
            last_packet: None,
            is_live: false,
            to_stdout,
            code: 0,
        })
    }

    /// Reads to the end, and says how it went. Whatever stops it, the lines that were made before are written.
    fn all(mut self, source: &mut dyn Source, stop: &AtomicBool) -> anyhow::Result<u8> {
        if let Err(error) = self.packets(source, stop) {
            // Where it is this that failed, the error is the one that we have.
            let _ = self.lines.settle();
            let _ = self.lines.flush();
            return Err(error);
        }
        if self.is_live {
            // The capture's thread counts to its end, whatever ended the loop.
            stop.store(true, Ordering::Relaxed);
            while !matches!(source.next_event(), Ok(Event::End) | Err(_)) {}
        }
        self.finish(source)
    }

    fn packets(&mut self, source: &mut dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut packets = 0_u64;
        // Where packets are looked at one by one beside, they are dissected one by one, too.
        let go_alone = !self.lines.has_strands()
            || self.filter.is_some()
            || self.savefile.is_some()
            || self.keys.are_followed
            || self.is_live;
        loop {
            if !go_alone && self.dissector.may_run_side_by_side() {
                let taken = source.ready().map_or(0, |(block, next)| {
                    let taken = self.lines.side_by_side(&mut self.dissector, block, next);
                    let last = taken.checked_sub(1).and_then(|last| block.packet(next + last));
                    self.last_packet = last.map(|last| last.ts).or(self.last_packet);
                    taken
                });
                if taken > 0 {
                    packets += taken as u64;
                    source.pass(taken);
                    self.lines.check()?;
                    continue;
                }
            }
            match source.next_event() {
                Ok(Event::Packet(packet)) => {
                    if let Some(filter) = &mut self.filter {
                        match filter.matches(&packet) {
                            Ok(true) => {}
                            Ok(false) => {
                                self.dissector.skip_packet();
                                continue;
                            }
                            // It cannot be had for this link type. There may be packets of others.
                            Err(error) => {
                                self.lines.flush()?;
                                say(&error.to_string());
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
                        // The file is good as it is. What cannot be in it can be dissected all the same.
                        if self.unsaved_links.insert(packet.link) {
                            say(&error.to_string());
                            self.code = self.code.max(PARTIAL);
                        }
                    }
                    if !packet.link.is_known() && self.unknown_links.insert(packet.link) {
                        let name = link_type_name(packet.link);
                        say(&format!(
                            "link type {} ({name}) is not supported: its packets are only counted",
                            packet.link.0
                        ));
                    }
                    self.last_packet = Some(packet.ts);
                    self.dissector.packet(&packet, &mut self.lines);
                    packets += 1;
                    if self.lines.is_done() {
                        break;
                    }
                    if (self.is_live || self.keys.are_followed) && packets.is_multiple_of(Self::PACKETS_A_LOOK) {
                        self.look_at_clock(source, stop)?;
                    } else if self.keys.are_awaited() {
                        self.keys.follow(Instant::now(), say);
                    }
                }
                Ok(Event::KeyLog(bytes)) => self.keys.take(bytes),
                Ok(Event::Idle) => {
                    self.keys.follow(Instant::now(), say);
                    if self.is_live {
                        self.dissector.tick(now().earlier(Self::ON_ITS_WAY), &mut self.lines);
                    } else if let (Some(last), true) = (self.last_packet, self.keys.are_followed) {
                        self.dissector.tick(last, &mut self.lines);
                    }
                    self.lines.flush()?;
                    if let Some(savefile) = &mut self.savefile {
                        savefile.flush()?;
                    }
                    self.look_at_clock(source, stop)?;
                    if self.to_stdout && nobody_reads(io::stdout().as_fd()) {
                        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                    }
                }
                Ok(Event::End) => break,
                Err(error) => {
                    // What was read is written first, so that the message comes where it belongs.
                    self.lines.flush()?;
                    say(&error.to_string());
                    let partial = error.is_partial() || self.is_live && packets > 0;
                    self.code = self.code.max(if partial { PARTIAL } else { FAILED });
                }
            }
            self.lines.check()?;
        }
        Ok(())
    }

    /// What is due by the clock: stats lines, the end of `--duration`, lines that wait to be seen.
    fn look_at_clock(&mut self, source: &dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let now = Instant::now();
        self.keys.follow(now, say);
        self.lines.flush_if_older(now)?;
        if self.args.duration.is_some_and(|duration| now - self.started >= duration) {
            stop.store(true, Ordering::Relaxed);
        }
        if self.is_live && now >= self.stats_due {
            self.stats_due = now + self.args.stats_interval;
            self.lines.stats(&self.stats(source));
        }
        Ok(())
    }

    fn finish(mut self, source: &dyn Source) -> anyhow::Result<u8> {
        self.keys.finish(say);
        // Where the user wanted no more messages, those that are unfinished are not lost.
        if !self.lines.is_done() {
            self.dissector.finish(&mut self.lines);
        }
        let undecoded = self.lines.settle()?;
        let mut stats = self.stats(source);
        stats.counters.undecoded_messages += undecoded;
        self.lines.stats(&stats);
        self.lines.flush()?;
        if let Some(savefile) = self.savefile.take() {
            savefile.finish()?;
        }
        if !self.args.quiet {
            self.summarize(&stats);
        }
        Ok(self.code)
    }

    fn stats(&self, source: &dyn Source) -> StatsRecord {
        let kernel = source.kernel().map(|kernel| KernelStats {
            received: kernel.received,
            dropped: kernel.dropped,
            interface_dropped: kernel.interface_dropped,
        });
        StatsRecord { ts: self.last_packet, counters: self.dissector.counters(), kernel }
    }

    /// What a person wants to know at the end, on standard error.
    fn summarize(&self, stats: &StatsRecord) {
        let counters = &stats.counters;
        if let Some(kernel) = &stats.kernel {
            say(&format!(
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
                "-p auto needs the beginning of a connection; with -p PORT it is not needed"
            } else {
                "-p PORT says where the server listens, -p auto finds it"
            };
            say(&format!("no PostgreSQL in {}: {hint}", counted(counters.packets, "packet")));
        }
    }
}

/// How many threads may work at the same time.
fn threads(args: &Args) -> usize {
    // What follows sessions is one thread: more than this would only wait for it.
    let cores = || thread::available_parallelism().map_or(1, NonZero::get).min(8);
    args.jobs.map_or_else(cores, usize::from)
}

fn bytes_of(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.clone().into_bytes()).collect()
}

/// The time of day, as the kernel's clock for live packets has it.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos(), Precision::Micros)
}

/// So many of something.
fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Says something to the user.
fn say(text: &str) {
    // Where even this cannot be said, there is nobody to say it to.
    let _ = writeln!(io::stderr(), "pgdissect: {text}");
}

/// Whether the other end of a pipe is closed. A write would show it, too, but after `| head -1` it may be hours until
/// there is something to write.
fn nobody_reads(pipe: BorrowedFd<'_>) -> bool {
    let mut pipe = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut pipe, PollTimeout::ZERO).is_ok()
        && pipe.iter().filter_map(PollFd::revents).any(|events| events.contains(PollFlags::POLLERR))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
