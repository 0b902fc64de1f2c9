//! Packets from a live interface.
//!
//! [`Device::open`] needs the right to capture; everything after it does not, so a program can give up root in between.
//! [`Device::start`] begins a thread that does nothing but take packets out of the kernel's buffer, so that what is slow
//! elsewhere does not make that buffer overflow; [`LiveSource`] gives them out. What is dropped all the same is counted.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture};

use super::batch::{self, Consumer, Gone, Limits, Next, Producer};
use super::filter::{self, link_type_name, port_filter};
use super::{Error, Event, KernelCounters, Source};
use crate::packet::{LinkType, Packet};
use crate::time::{Precision, Timestamp};

/// The longest packet that libpcap captures, and tcpdump's default for `-s`.
pub const DEFAULT_SNAPLEN: u32 = 262_144;

/// The kernel's buffer, unless told otherwise. A result set over loopback or a 25 Gbit/s link fills libpcap's own default
/// of 2 MiB within a millisecond or two, less than a thread may have to wait for a processor.
pub const DEFAULT_BUFFER_KIB: u32 = 16 * 1024;

/// How long the kernel may gather packets in a block of its buffer before it hands the block over, full or not.
///
/// It bounds how late a lone packet can be, and how often the capture thread wakes up under load. In immediate mode it
/// would wake up for every packet, and libpcap would use the older TPACKET_V2 with its slots of fixed size, which wastes
/// most of the buffer on the snap length.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(10);

/// How long the capture thread waits for the kernel before it looks whether it should stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// How long `next_event` waits for a packet before it says that there is none.
const IDLE: Duration = Duration::from_millis(50);

/// How often the kernel is asked for its counters. libpcap reads files under /sys for it.
const COUNTERS_EVERY: Duration = Duration::from_millis(500);

/// 64 batches of 0.5 MiB: 32 MiB, a second of traffic at 250 Mbit/s, for a consumer that is held up. Each has room for
/// one longest packet more, so at the very worst it is 48.
const LIMITS: Limits = Limits { bytes: 512 * 1024, longest: DEFAULT_SNAPLEN as usize, packets: 4096, batches: 64 };

/// What to capture, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interface's name, its number in [`list_devices`], or `any`.
    pub interface: String,
    /// The TCP ports that are wanted; all where there are none.
    pub ports: Vec<u16>,
    /// A filter in libpcap's language that must hold as well.
    pub filter: Option<String>,
    /// How many bytes of each packet to capture; 0 for [`DEFAULT_SNAPLEN`], as in tcpdump.
    pub snaplen: u32,
    /// The size of the kernel's buffer.
    pub buffer_kib: u32,
    /// Whether to capture packets that are not for this host, too.
    pub promiscuous: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interface: "any".to_owned(),
            ports: Vec::new(),
            filter: None,
            snaplen: DEFAULT_SNAPLEN,
            buffer_kib: DEFAULT_BUFFER_KIB,
            promiscuous: true,
        }
    }
}

/// An interface that is open for capture, with its filter in place. The kernel already gathers packets.
pub struct Device {
    capture: Capture<Active>,
    interface: String,
    link: LinkType,
    filter: String,
}

impl Device {
    /// Opens an interface. Needs root or the capability `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] where the interface cannot be opened, [`Error::Filter`] where the filter is wrong.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let interface = interface_name(&options.interface);
        let mut capture = activate(&interface, options).map_err(|error| explain_open(&interface, &error))?;
        prefer_sll2(&mut capture);

        let dlt = capture.get_datalink();
        let link = filter::from_dlt(dlt).filter(|link| is_dissected(*link)).ok_or_else(|| {
            let name = filter::from_dlt(dlt).map_or_else(|| "unknown".to_owned(), link_type_name);
            Error::Live(format!("{interface}: link type {} ({name}) is not supported", dlt.0))
        })?;

        // Checked by itself first: its brackets must close in it, and an error is about what the user wrote.
        if let Some(extra) = &options.filter {
            capture.compile(extra, true).map_err(|error| filter::filter_error(extra, &error))?;
        }
        let filter = port_filter(&options.ports, options.filter.as_deref(), link);
        capture.filter(&filter, true).map_err(|error| filter::filter_error(&filter, &error))?;

        // libpcap's blocking read waits for ever on Linux where there is no packet: it leaves the timeout to the kernel,
        // which only starts it with a packet. So the thread polls for itself, with a timeout.
        let capture =
            capture.setnonblock().map_err(|error| Error::Live(format!("{interface}: {}", filter::reason(&error))))?;
        Ok(Self { capture, interface, link, filter })
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// How its packets begin.
    pub const fn link_type(&self) -> LinkType {
        self.link
    }

    /// The filter in libpcap's language.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Begins to capture, until `stop` is set or something goes wrong.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] where no thread can be had.
    pub fn start(self, stop: Arc<AtomicBool>) -> Result<LiveSource, Error> {
        let (producer, consumer) = batch::channel(LIMITS);
        let counters = Arc::new(Counters::default());
        let link = self.link;
        let thread = CaptureThread {
            capture: self.capture,
            interface: self.interface,
            producer,
            stop,
            packets: 0,
            counters: Arc::clone(&counters),
            counted: Counted::default(),
        };
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| Error::Live(format!("no thread to capture with: {error}")))?;
        Ok(LiveSource { link, consumer, thread: Some(thread), counters })
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("interface", &self.interface)
            .field("link", &self.link)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

/// The name that `-i` means: tcpdump takes a number of its `-D` list, too.
fn interface_name(wanted: &str) -> String {
    let number = wanted.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let device = number.and_then(|index| pcap::Device::list().ok()?.into_iter().nth(index));
    device.map_or_else(|| wanted.to_owned(), |device| device.name)
}

fn activate(interface: &str, options: &Options) -> Result<Capture<Active>, pcap::Error> {
    let snaplen = if options.snaplen == 0 { DEFAULT_SNAPLEN } else { options.snaplen.min(DEFAULT_SNAPLEN) };
    let buffer = options.buffer_kib.max(1).saturating_mul(1024);
    // `any` knows no promiscuous mode; libpcap only warns of it, but the binding takes a warning for an error.
    let promiscuous = options.promiscuous && interface != "any";
    Capture::from_device(interface)?
        .snaplen(i32::try_from(snaplen).unwrap_or(i32::MAX))
        .buffer_size(i32::try_from(buffer).unwrap_or(i32::MAX))
        .promisc(promiscuous)
        .timeout(i32::try_from(BLOCK_TIMEOUT.as_millis()).unwrap_or(i32::MAX))
        .precision(pcap::Precision::Micro)
        .open()
}

/// `any` gives the older cooked header unless asked for the newer one, which has the interface's index and room for
/// everything else that the older has. Other interfaces have no choice, or a better type already.
fn prefer_sll2(capture: &mut Capture<Active>) {
    let sll = i32::from(LinkType::LINUX_SLL.0);
    let sll2 = pcap::Linktype(LinkType::LINUX_SLL2.0.into());
    let offered = || capture.list_datalinks().is_ok_and(|links| links.contains(&sll2));
    if capture.get_datalink().0 == sll && offered() {
        // The older header is no loss: whatever it is, the link type is asked for afterwards.
        let _ = capture.set_datalink(sll2);
    }
}

const fn is_dissected(link: LinkType) -> bool {
    matches!(
        link,
        LinkType::NULL
            | LinkType::ETHERNET
            | LinkType::RAW
            | LinkType::LOOP
            | LinkType::IPV4
            | LinkType::IPV6
            | LinkType::LINUX_SLL
            | LinkType::LINUX_SLL2
    )
}

/// Why an interface cannot be opened, and what to do about it. libpcap's error numbers do not come through the binding,
/// so its words must tell the two cases that have an answer.
fn explain_open(interface: &str, error: &pcap::Error) -> Error {
    let reason = filter::reason(error);
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    Error::Live(if says(&["ermission", "not permitted", "CAP_NET_RAW", "CAP_NET_ADMIN"]) {
        format!(
            "{interface}: you don't have permission to capture on it ({reason}): run with sudo, or once: \
             sudo setcap cap_net_raw,cap_net_admin=eip \"$(command -v pgdissect)\""
        )
    } else if says(&["No such device"]) {
        format!("{interface}: no such interface; pgdissect -D lists them")
    } else {
        format!("{interface}: cannot capture on it: {reason}")
    })
}

/// What the kernel counted, as the capture thread saw it last.
#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    dropped: AtomicU64,
    interface_dropped: AtomicU64,
}

/// libpcap's counters when they were last read. They have 32 bits and wrap around within hours on a busy link.
#[derive(Debug, Default)]
struct Counted {
    at: Option<Instant>,
    received: u32,
    dropped: u32,
    interface_dropped: u32,
}

/// The thread that takes packets out of the kernel.
struct CaptureThread {
    capture: Capture<Active>,
    interface: String,
    producer: Producer,
    stop: Arc<AtomicBool>,
    packets: u64,
    counters: Arc<Counters>,
    counted: Counted,
}

/// When a capture that was told to stop is complete.
struct Ending {
    /// Packets after this time are not wanted.
    at: Timestamp,
    /// By now the kernel has handed over every block that holds packets from before.
    drained: Instant,
    /// For a clock that jumps, or packets that are stamped by another.
    latest: Instant,
}

impl Ending {
    fn now() -> Self {
        let now = Instant::now();
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(epoch.as_nanos()).unwrap_or(i64::MAX);
        Self {
            at: Timestamp::from_nanos(nanos, Precision::Micros),
            drained: now + 2 * BLOCK_TIMEOUT,
            latest: now + 100 * BLOCK_TIMEOUT,
        }
    }
}

impl CaptureThread {
    fn run(mut self) -> Result<(), Error> {
        let result = self.capture_until_stopped();
        // All of this happens before the producer goes, which is what ends the consumer. If that is gone, nobody asks.
        self.read_counters();
        let _ = self.producer.hand_over();
        result.or_else(|reason| match reason {
            Stopped::Unread => Ok(()),
            Stopped::Failed(error) => Err(error),
        })
    }

    fn capture_until_stopped(&mut self) -> Result<(), Stopped> {
        let mut ending = None;
        loop {
            if ending.is_none() && self.stop.load(Relaxed) {
                ending = Some(Ending::now());
            }
            if !self.producer.ready(STOP_CHECK)? {
                // The kernel's buffer fills up now, and then drops, and counts what it drops.
                self.read_counters_sometimes();
                continue;
            }
            match self.read_packet(ending.as_ref())? {
                Read::Packet => {}
                Read::Nothing => {
                    self.producer.pause()?;
                    self.read_counters_sometimes();
                    if ending.as_ref().is_some_and(|ending| Instant::now() >= ending.drained) {
                        return Ok(());
                    }
                    self.wait(ending.is_some())?;
                }
                Read::TooLate => return Ok(()),
            }
        }
    }

    /// Takes one packet, where there is one.
    ///
    /// `dispatch` with a count of one does what `next_packet` does, without the copy that libpcap makes for the latter.
    fn read_packet(&mut self, ending: Option<&Ending>) -> Result<Read, Stopped> {
        let Self { capture, producer, packets, .. } = self;
        let mut read = Ok(Read::Nothing);
        let taken = capture.dispatch(Some(1), |packet| {
            let ts = timestamp(packet.header);
            if ending.is_some_and(|ending| ts > ending.at || Instant::now() > ending.latest) {
                read = Ok(Read::TooLate);
            } else {
                *packets += 1;
                read = producer.push(ts, packet.header.len, packet.data).map(|()| Read::Packet);
            }
        });
        match taken {
            Ok(_) => Ok(read?),
            Err(error) => Err(Stopped::Failed(self.explain_break(&error))),
        }
    }

    /// Waits until the kernel hands over a block.
    fn wait(&self, ending: bool) -> Result<(), Stopped> {
        let hurry = ending || self.producer.holds_packets();
        let timeout =
            PollTimeout::try_from(if hurry { BLOCK_TIMEOUT } else { STOP_CHECK }).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.capture.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            // A condition of the interface ends the poll as well; the next read finds out what it is.
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => {
                Err(Stopped::Failed(Error::Live(format!("{}: cannot wait for packets: {error}", self.interface))))
            }
        }
    }

    fn explain_break(&self, error: &pcap::Error) -> Error {
        let (interface, packets) = (&self.interface, self.packets);
        let reason = filter::reason(error);
        Error::Live(if reason.contains("disappeared") {
            format!("the interface {interface} disappeared; {packets} packets were captured until then")
        } else if reason.contains("went down") || reason.contains("is down") {
            format!("the interface {interface} went down; {packets} packets were captured until then")
        } else {
            format!("{interface}: the capture broke off: {reason}; {packets} packets were captured until then")
        })
    }

    fn read_counters_sometimes(&mut self) {
        if self.counted.at.is_none_or(|at| at.elapsed() >= COUNTERS_EVERY) {
            self.read_counters();
        }
    }

    fn read_counters(&mut self) {
        // Statistics that cannot be had are no reason to end a capture; the last ones stand.
        let Ok(now) = self.capture.stats() else { return };
        let add = |to: &AtomicU64, now: u32, before: u32| {
            to.fetch_add(now.wrapping_sub(before).into(), Relaxed);
        };
        add(&self.counters.received, now.received, self.counted.received);
        add(&self.counters.dropped, now.dropped, self.counted.dropped);
        add(&self.counters.interface_dropped, now.if_dropped, self.counted.interface_dropped);
        self.counted = Counted {
            at: Some(Instant::now()),
            received: now.received,
            dropped: now.dropped,
            interface_dropped: now.if_dropped,
        };
    }
}

/// What a look into the kernel's buffer found.
enum Read {
    Packet,
    Nothing,
    /// A packet from after the end.
    TooLate,
}

/// Why a capture ended other than by being told to.
enum Stopped {
    /// Nobody reads the packets.
    Unread,
    Failed(Error),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Self::Unread
    }
}

fn timestamp(header: &pcap::PacketHeader) -> Timestamp {
    let micros = u32::try_from(header.ts.tv_usec).unwrap_or_default();
    Timestamp::new(header.ts.tv_sec, micros.saturating_mul(1_000), Precision::Micros)
}

/// A live capture.
#[derive(Debug)]
pub struct LiveSource {
    link: LinkType,
    consumer: Consumer,
    /// Until it has been asked how it ended.
    thread: Option<JoinHandle<Result<(), Error>>>,
    counters: Arc<Counters>,
}

impl LiveSource {
    /// How the packets begin.
    pub const fn link_type(&self) -> LinkType {
        self.link
    }
}

impl Source for LiveSource {
    fn next_event(&mut self) -> Result<Event<'_>, Error> {
        match self.consumer.advance(IDLE) {
            Next::Packet(header) => Ok(Event::Packet(Packet {
                ts: header.ts,
                link: self.link,
                data: self.consumer.bytes(&header),
                orig_len: header.orig_len,
            })),
            Next::Idle => Ok(Event::Idle),
            Next::End => match self.thread.take().map(JoinHandle::join) {
                Some(Ok(result)) => result.map(|()| Event::End),
                Some(Err(_)) => Err(Error::Live("the capture thread broke off".to_owned())),
                None => Ok(Event::End),
            },
        }
    }

    fn kernel(&self) -> Option<KernelCounters> {
        Some(KernelCounters {
            received: self.counters.received.load(Relaxed),
            dropped: self.counters.dropped.load(Relaxed),
            interface_dropped: self.counters.interface_dropped.load(Relaxed),
        })
    }
}

/// An interface that packets can be captured on.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its number in the list, from 1, which can stand for its name.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// What it is, where the system knows.
    pub description: Option<String>,
    /// `Up`, `Running`, `Loopback`, `Wireless`, `Connected`, `Disconnected`.
    pub state: Vec<&'static str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Writes a line of tcpdump's `-D`, and the addresses: `1.eth0 [Up, Running, Connected] 10.0.0.5`.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.name)?;
        if let Some(description) = &self.description {
            write!(f, " ({description})")?;
        }
        let state = if self.state.is_empty() { "none".to_owned() } else { self.state.join(", ") };
        write!(f, " [{state}]")?;
        for (index, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { " " } else { ", " })?;
        }
        Ok(())
    }
}

/// The interfaces that packets can be captured on, the likeliest first, as in tcpdump's `-D`.
///
/// # Errors
///
/// [`Error::Live`] where the system does not tell.
pub fn list_devices() -> Result<Vec<Interface>, Error> {
    let devices = pcap::Device::list()
        .map_err(|error| Error::Live(format!("the interfaces cannot be listed: {}", filter::reason(&error))))?;
    let interfaces = devices.into_iter().zip(1..).map(|(device, number)| Interface {
        number,
        state: device_state(&device.flags),
        name: device.name,
        description: device.desc,
        addresses: device.addresses.into_iter().map(|address| address.addr).collect(),
    });
    Ok(interfaces.collect())
}

fn device_state(flags: &pcap::DeviceFlags) -> Vec<&'static str> {
    use pcap::ConnectionStatus::{Connected, Disconnected, NotApplicable, Unknown};
    let connection = match flags.connection_status {
        Connected => Some("Connected"),
        Disconnected => Some("Disconnected"),
        Unknown | NotApplicable => None,
    };
    let flags = [
        flags.is_up().then_some("Up"),
        flags.is_running().then_some("Running"),
        flags.is_loopback().then_some("Loopback"),
        flags.is_wireless().then_some("Wireless"),
        connection,
    ];
    flags.into_iter().flatten().collect()
}
