//! Where packets come from: capture files, standard input, live interfaces. The only place that opens anything.
//!
//! A [`Source`] hands out one [`Event`] at a time. It never blocks for longer than a fraction of a second: where there is
//! nothing to hand out yet it says [`Event::Idle`], so that its owner can flush what it has written and look at signals.

use std::path::PathBuf;

use crate::packet::Packet;

pub(crate) mod file;
#[cfg(feature = "live")]
pub(crate) mod filter;
#[cfg(feature = "live")]
pub(crate) mod interfaces;
#[cfg(feature = "live")]
pub(crate) mod live;
#[cfg(feature = "cli")]
pub(crate) mod privileges;
pub(crate) mod read_ahead;
#[cfg(feature = "live")]
pub(crate) mod savefile;

pub use self::file::FileSource;
#[cfg(feature = "live")]
pub use self::filter::PacketFilter;
#[cfg(feature = "live")]
pub use self::interfaces::{Interface, list as list_interfaces};
#[cfg(feature = "live")]
pub use self::live::{DEFAULT_BUFFER_KIB, DEFAULT_SNAPLEN, Device, LiveOptions, LiveSource};
pub use self::read_ahead::ReadAhead;
pub use crate::packet::Block;

/// What a [`Source`] has to say next.
#[derive(Debug)]
pub enum Event<'a> {
    /// A packet, borrowed until the next call.
    Packet(Packet<'a>),
    /// A key log of TLS sessions that the capture itself has, borrowed until the next call. It comes before the packets
    /// that it is for.
    KeyLog(&'a [u8]),
    /// Nothing for the moment.
    Idle,
    /// Nothing ever again.
    End,
}

/// A sequence of captured packets.
pub trait Source {
    /// The next packet, or word that there is none now, or none any more.
    ///
    /// # Errors
    ///
    /// What went wrong, in words for the user. The source stays usable: the next call goes on with what can still be
    /// read (the next file), or says [`Event::End`].
    fn next_event(&mut self) -> Result<Event<'_>, Error>;

    /// Packets that are here already, and which of them is the next: those from there on are what the next calls give.
    fn ready(&self) -> Option<(&Block, usize)> {
        None
    }

    /// Passes over so many of those that are ready.
    fn pass(&mut self, _packets: usize) {}

    /// Gives packets that have arrived to a block, as [`Self::next_event`] would give them, up to about so many bytes in it.
    /// Says whether to ask for more: where not, there is nothing now.
    fn give(&mut self, _block: &mut Block, _full: usize) -> bool {
        true
    }

    /// What the kernel counted, where packets come from a live interface.
    fn kernel(&self) -> Option<KernelCounters> {
        None
    }
}

/// The kernel's own count of a live capture, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Packets that passed the filter. On Linux's loopback interface each counts twice, on its way out and on its way in,
    /// though it is handed out once.
    pub received: u64,
    /// Packets dropped because the capture buffer was full.
    pub dropped: u64,
    /// Packets dropped by the interface or its driver.
    pub interface_dropped: u64,
}

/// Why packets could not be had. Each text says what the user can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened.
    #[error("{}: cannot be opened: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// A file is not a capture.
    #[error("{}: not a capture file: {reason}", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What was found in place of a capture's header.
        reason: String,
    },
    /// A capture file ends, or stops to make sense, before its end. What came before was handed out.
    #[error("{}: byte {offset}: {reason}; everything before it was read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the (uncompressed) file, in bytes from its start.
        offset: u64,
        /// What was wanted and what was there.
        reason: String,
    },
    /// A piece of a capture file makes no sense, but where the next piece begins is known. Reading goes on there.
    #[error("{}: byte {offset}: {reason}; skipped, everything else is read", path.display())]
    Skipped {
        /// The file.
        path: PathBuf,
        /// Where in the (uncompressed) file, in bytes from its start.
        offset: u64,
        /// What was wanted and what was there.
        reason: String,
    },
    /// A live capture could not begin, or broke off.
    #[error("{0}")]
    Live(String),
    /// A packet filter could not be compiled.
    #[error("filter {filter:?}: {reason}")]
    Filter {
        /// The filter as it was handed to libpcap.
        filter: String,
        /// What libpcap said.
        reason: String,
    },
    /// Packets could not be kept in a file.
    #[error("{}: cannot be written: {reason}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
}

impl Error {
    /// Whether packets were read before this error, so that the output is good as far as it goes.
    pub const fn is_partial(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Skipped { .. })
    }
}
