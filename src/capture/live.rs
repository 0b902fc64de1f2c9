//! Packets from a live interface.
//!
//! [`Device::open`] needs the permission to capture; everything after it does not, so a program can drop root privileges in
//! between. [`Device::start`] starts a thread that only copies packets out of the kernel's buffer, so that slow processing does
//! not make that buffer overflow. [`LiveSource`] returns the packets. Packets that are dropped nevertheless are counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use pcap::{Active, Capture};

use self::batch::{Consumer, Limits, Next};
use self::thread::{CaptureThread, Counters};
use super::filter::{self, link_type_name, port_filter};
use super::{Error, Event, InterfaceDescription, InterfaceTable, KernelCounters, Source, interfaces};
use crate::packet::{LinkType, Packet};

mod batch;
mod thread;

/// The maximum packet size that libpcap captures, and tcpdump's default for `-s`.
pub const DEFAULT_SNAPLEN: u32 = 262_144;

/// The number of the interface of all packets.
pub(crate) const LIVE_INTERFACE: u16 = 1;

/// The resolution of timestamps in microseconds, in the form of pcapng's `if_tsresol`.
const MICROSECONDS: u8 = 6;

/// The default size of the kernel's buffer. A result set over loopback or a 25 Gbit/s link fills libpcap's own default of 2 MiB
/// within a millisecond or two, less than a thread may have to wait for a processor.
pub const DEFAULT_BUFFER_KIB: u32 = 16 * 1024;

/// How long the kernel may collect packets in a block of its buffer before it delivers the block, full or not.
///
/// It limits the delay of a single packet, and how often the capture thread wakes up under load. In immediate mode, the thread
/// would wake up for every packet, and libpcap would use the older TPACKET_V2 with slots of fixed size, most of which would be
/// wasted because of the snap length.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(10);

/// How long `next_event` waits for a packet before it returns [`Event::Idle`].
const IDLE: Duration = Duration::from_millis(50);

/// 64 batches of 0.5 MiB: 32 MiB, or a second of traffic at 250 Mbit/s, for a consumer that is delayed. Each batch has room for
/// one more packet of maximum size, so the upper limit is 48 MiB.
const LIMITS: Limits = Limits { bytes: 512 * 1024, longest: DEFAULT_SNAPLEN as usize, packets: 4096, batches: 64 };

/// The options of a live capture.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The interface's name, its number in [`interfaces::list`], or `any`.
    pub interface: String,
    /// The TCP ports to capture; all if empty.
    pub ports: Vec<u16>,
    /// An additional filter in libpcap's language.
    pub filter: Option<String>,
    /// Whether to capture tunnels as well, whatever they contain.
    pub tunnels: bool,
    /// The maximum number of bytes to capture of each packet; 0 for [`DEFAULT_SNAPLEN`], as in tcpdump.
    pub snaplen: u32,
    /// The size of the kernel's buffer in KiB.
    pub buffer_kib: u32,
    /// Whether to capture packets that are not addressed to this host.
    pub promiscuous: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interface: interfaces::ANY.to_owned(),
            ports: Vec::new(),
            filter: None,
            tunnels: false,
            snaplen: DEFAULT_SNAPLEN,
            buffer_kib: DEFAULT_BUFFER_KIB,
            promiscuous: true,
        }
    }
}

/// An interface opened for capture, with its filter. The kernel collects packets from now on.
///
/// ```no_run
/// use pgdissect::capture::{Device, LiveOptions};
///
/// let options = LiveOptions { interface: "eth0".to_owned(), ports: vec![5432], ..LiveOptions::default() };
/// let mut source = Device::open(&options)?.start(Default::default())?;
/// # Ok::<(), pgdissect::capture::Error>(())
/// ```
pub struct Device {
    capture: Capture<Active>,
    interface: String,
    interfaces: InterfaceTable,
    link: LinkType,
    filter: String,
}

impl Device {
    /// Opens an interface. Needs root or the capability `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] if the interface cannot be opened, [`Error::Filter`] if the filter is invalid.
    pub fn open(options: &LiveOptions) -> Result<Self, Error> {
        let interface = interfaces::by_name_or_number(&options.interface);
        let mut capture = activate(&interface, options).map_err(|error| explain_open(&interface, &error))?;
        prefer_sll2(&mut capture);

        let dlt = capture.get_datalink();
        let link = filter::from_dlt(dlt).filter(|link| link.is_known()).ok_or_else(|| {
            let name = filter::from_dlt(dlt).map_or_else(|| "unknown".to_owned(), link_type_name);
            Error::Live(format!("{interface}: link type {} ({name}) is not supported", dlt.0))
        })?;

        // Compiled separately first: its parentheses must be balanced, and an error message must refer to what the user wrote.
        if let Some(extra) = &options.filter {
            capture.compile(extra, true).map_err(|error| filter::filter_error(extra, &error))?;
        }
        let filter = port_filter(&options.ports, options.tunnels, options.filter.as_deref(), link);
        capture.filter(&filter, true).map_err(|error| filter::filter_error(&filter, &error))?;

        // On Linux, libpcap's blocking read never returns if there is no packet: it relies on the kernel's timeout, which only
        // starts with a packet. So the thread polls with a timeout of its own.
        let capture =
            capture.setnonblock().map_err(|error| Error::Live(format!("{interface}: {}", filter::reason(&error))))?;
        let interfaces = InterfaceTable::default();
        // The resolution is that of microseconds, for which the capture was activated.
        let described =
            InterfaceDescription { name: Some(interface.clone()), description: None, resolution: Some(MICROSECONDS) };
        interfaces.number(&described);
        Ok(Self { capture, interface, interfaces, link, filter })
    }

    /// Returns the name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Returns the table of the only interface of the packets, whose number is [`LIVE_INTERFACE`].
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn interfaces(&self) -> InterfaceTable {
        self.interfaces.clone()
    }

    /// Returns the link type of its packets.
    pub const fn link_type(&self) -> LinkType {
        self.link
    }

    /// Returns the complete filter in libpcap's language.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Starts capturing, until `stop` is set or an error occurs.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] if no thread can be started.
    pub fn start(self, stop: Arc<AtomicBool>) -> Result<LiveSource, Error> {
        let (producer, consumer) = batch::channel(LIMITS);
        let counters = Arc::new(Counters::default());
        let (link, interfaces) = (self.link, self.interfaces);
        let thread = CaptureThread::new(self.capture, self.interface, producer, stop, Arc::clone(&counters));
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| Error::Live(format!("no thread to capture with: {error}")))?;
        Ok(LiveSource { link, interfaces, consumer, thread: Some(thread), counters })
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

fn activate(interface: &str, options: &LiveOptions) -> Result<Capture<Active>, pcap::Error> {
    let snaplen = if options.snaplen == 0 { DEFAULT_SNAPLEN } else { options.snaplen.min(DEFAULT_SNAPLEN) };
    let buffer = options.buffer_kib.max(1).saturating_mul(1024);
    // `any` has no promiscuous mode. libpcap only warns about it, but the binding turns a warning into an error.
    let promiscuous = options.promiscuous && interface != interfaces::ANY;
    Capture::from_device(interface)?
        .snaplen(i32::try_from(snaplen).unwrap_or(i32::MAX))
        .buffer_size(i32::try_from(buffer).unwrap_or(i32::MAX))
        .promisc(promiscuous)
        .timeout(i32::try_from(BLOCK_TIMEOUT.as_millis()).unwrap_or(i32::MAX))
        .precision(pcap::Precision::Micro)
        .open()
}

/// Selects the newer cooked header for `any`, which libpcap does not use by default. It has everything that the older one has,
/// and the interface index. Other interfaces have no choice, or a better link type already.
fn prefer_sll2(capture: &mut Capture<Active>) {
    let sll = i32::from(LinkType::LINUX_SLL.0);
    let sll2 = pcap::Linktype(LinkType::LINUX_SLL2.0.into());
    let offered = || capture.list_datalinks().is_ok_and(|links| links.contains(&sll2));
    if capture.get_datalink().0 == sll && offered() {
        // A failure is harmless: the link type in use is queried afterwards.
        let _ = capture.set_datalink(sll2);
    }
}

/// Returns the error for an interface that cannot be opened, with a remedy. The binding does not expose libpcap's error codes, so
/// the two cases with a remedy are distinguished by the error text.
fn explain_open(interface: &str, error: &pcap::Error) -> Error {
    let reason = filter::reason(error);
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    let forbidden = says(&["ermission", "not permitted", "CAP_NET_RAW", "CAP_NET_ADMIN"]);
    // Without permission, libpcap fails before it looks up the name; a mistyped name should not lead to a hint about sudo.
    Error::Live(if says(&["No such device"]) || (forbidden && !interfaces::may_exist(interface)) {
        format!("{interface}: no such interface; pgdissect -D lists them")
    } else if forbidden {
        format!(
            "{interface}: you don't have permission to capture on it ({reason}): run with sudo, or once: \
             sudo setcap cap_net_raw,cap_net_admin=eip \"$(command -v pgdissect)\""
        )
    } else {
        format!("{interface}: cannot capture on it: {reason}")
    })
}

/// A live capture, as a source of packets.
#[derive(Debug)]
pub struct LiveSource {
    link: LinkType,
    interfaces: InterfaceTable,
    consumer: Consumer,
    /// `None` once its result was returned.
    thread: Option<JoinHandle<Result<(), Error>>>,
    counters: Arc<Counters>,
}

impl LiveSource {
    /// Returns the link type of the packets.
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
                interface: LIVE_INTERFACE,
            })),
            Next::Idle => Ok(Event::Idle),
            Next::End => match self.thread.take().map(JoinHandle::join) {
                Some(Ok(result)) => result.map(|()| Event::End),
                Some(Err(_)) => Err(Error::Live("the capture thread panicked".to_owned())),
                None => Ok(Event::End),
            },
        }
    }

    fn interfaces(&self) -> InterfaceTable {
        self.interfaces.clone()
    }

    fn kernel(&self) -> Option<KernelCounters> {
        Some(self.counters.load())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Instant;

    use super::*;
    use crate::time::Precision;

    const MAX_WAIT: Duration = Duration::from_secs(10);

    /// Opens the loopback interface for a port; `None` if that is not permitted.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn loopback(port: u16) -> Option<Device> {
        let interface = interfaces::list().ok()?.into_iter().find(|interface| interface.state.contains(&"Loopback"))?;
        let options = LiveOptions { interface: interface.name, ports: vec![port], ..LiveOptions::default() };
        match Device::open(&options) {
            Ok(device) => Some(device),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    /// Reads until a packet ends with `wanted`.
    fn read_until(source: &mut LiveSource, wanted: &[u8]) {
        let start = Instant::now();
        while start.elapsed() < MAX_WAIT {
            if let Event::Packet(packet) = source.next_event().unwrap() {
                assert_eq!(packet.ts.precision(), Precision::Micros);
                assert_eq!(packet.data.len(), packet.orig_len as usize);
                if packet.data.ends_with(wanted) {
                    return;
                }
            }
        }
        panic!("the packet did not come");
    }

    #[test]
    fn captures_until_asked_to_stop() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let Some(device) = loopback(address.port()) else { return };
        assert!(device.filter().contains(&format!("port {}", address.port())));
        let stop = Arc::new(AtomicBool::new(false));
        let mut source = device.start(Arc::clone(&stop)).unwrap();

        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(b"the first").unwrap();
        read_until(&mut source, b"the first");

        // Packets sent before the stop are returned after it.
        client.write_all(b"the last").unwrap();
        stop.store(true, Relaxed);
        read_until(&mut source, b"the last");
        let start = Instant::now();
        while !matches!(source.next_event().unwrap(), Event::End) {
            assert!(start.elapsed() < MAX_WAIT);
        }
        assert!(matches!(source.next_event().unwrap(), Event::End));
        assert!(source.kernel().is_some_and(|kernel| kernel.received >= 5));
    }

    #[test]
    fn a_bad_filter_is_rejected_with_libpcaps_message() {
        let Some(device) = loopback(1) else { return };
        let interface = device.interface().to_owned();
        for bad in ["tcp prt 3", "port 1) or (udp"] {
            let options =
                LiveOptions { interface: interface.clone(), filter: Some(bad.to_owned()), ..LiveOptions::default() };
            let error = Device::open(&options).unwrap_err();
            assert_eq!(error.to_string(), format!("filter {bad:?}: can't parse filter expression: syntax error"));
        }
    }

    #[test]
    fn an_unknown_interface_is_named_as_such() {
        let options = LiveOptions { interface: "nosuch0".to_owned(), ..LiveOptions::default() };
        let error = Device::open(&options).unwrap_err();
        assert_eq!(error.to_string(), "nosuch0: no such interface; pgdissect -D lists them");
    }

    #[test]
    fn a_missing_permission_comes_with_its_remedy() {
        let error = explain_open("any", &pcap::Error::PcapError("socket: Operation not permitted".to_owned()));
        assert_eq!(
            error.to_string(),
            "any: you don't have permission to capture on it (socket: Operation not permitted): run with sudo, or once: \
             sudo setcap cap_net_raw,cap_net_admin=eip \"$(command -v pgdissect)\""
        );
    }
}
