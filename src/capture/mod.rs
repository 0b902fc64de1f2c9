//! Sources of packets: capture files, standard input, live interfaces. This is the only module that opens anything.
//!
//! A [`Source`] returns one [`Event`] at a time. It never blocks for longer than a fraction of a second: if there is nothing yet,
//! it returns [`Event::Idle`], so that the caller can flush its output and handle signals.

use std::path::PathBuf;

use crate::packet::Packet;

pub(crate) mod described;
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

pub use self::described::{InterfaceDescription, InterfaceTable};
pub use self::file::FileSource;
#[cfg(feature = "live")]
pub use self::filter::PacketFilter;
#[cfg(feature = "live")]
pub use self::interfaces::{Interface, list as list_interfaces};
#[cfg(feature = "live")]
pub use self::live::{DEFAULT_BUFFER_KIB, DEFAULT_SNAPLEN, Device, LiveOptions, LiveSource};
pub use self::read_ahead::ReadAhead;
pub use crate::packet::Block;

/// An event of a [`Source`].
#[derive(Debug)]
pub enum Event<'a> {
    /// A packet, borrowed until the next call.
    Packet(Packet<'a>),
    /// A TLS key log embedded in the capture, borrowed until the next call. It precedes the packets that it decrypts.
    KeyLog(&'a [u8]),
    /// Nothing at the moment.
    Idle,
    /// The end of the source.
    End,
}

/// A sequence of captured packets.
pub trait Source {
    /// Returns the next event.
    ///
    /// # Errors
    ///
    /// A description of the error for the user. The source stays usable: the next call continues with what can still be read (the
    /// next file), or returns [`Event::End`].
    fn next_event(&mut self) -> Result<Event<'_>, Error>;

    /// Returns the packets that have arrived already, and the index of the next one: the next calls would return those from there
    /// on.
    fn ready(&self) -> Option<(&Block, usize)> {
        None
    }

    /// Skips this many of the packets returned by [`Self::ready`].
    fn pass(&mut self, _packets: usize) {}

    /// Moves packets that have arrived into a block, until it has about `full` bytes. Returns `false` if there are no more
    /// packets at the moment; then [`Self::next_event`] has to be called.
    fn give(&mut self, _block: &mut Block, _full: usize) -> bool {
        true
    }

    /// Returns the table of the interfaces of its packets.
    fn interfaces(&self) -> InterfaceTable {
        InterfaceTable::default()
    }

    /// Returns the kernel's counters, if the packets come from a live interface.
    fn kernel(&self) -> Option<KernelCounters> {
        None
    }
}

/// The kernel's counters of a live capture since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Packets that passed the filter. On Linux's loopback interface each packet counts twice, as outgoing and as incoming,
    /// though it is returned once.
    pub received: u64,
    /// Packets dropped because the capture buffer was full.
    pub dropped: u64,
    /// Packets dropped by the interface or its driver.
    pub interface_dropped: u64,
}

/// A capture error. Each message describes what the user can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened.
    #[error("{}: cannot be opened: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: std::io::Error,
    },
    /// A file is not a capture.
    #[error("{}: not a capture file: {reason}", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What was found instead of a capture's header.
        reason: String,
    },
    /// A capture file is truncated or invalid from some point on. Everything before was returned.
    #[error("{}: byte {offset}: {reason}; everything before it was read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The position in the (uncompressed) file, in bytes.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// A part of a capture file is invalid, but the beginning of the next part is known. Reading continues there.
    #[error("{}: byte {offset}: {reason}; skipped, everything else is read", path.display())]
    Skipped {
        /// The file.
        path: PathBuf,
        /// The position in the (uncompressed) file, in bytes.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// A live capture could not start, or was interrupted.
    #[error("{0}")]
    Live(String),
    /// A packet filter could not be compiled.
    #[error("filter {filter:?}: {reason}")]
    Filter {
        /// The filter as it was passed to libpcap.
        filter: String,
        /// The error message of libpcap.
        reason: String,
    },
    /// Packets could not be written to a file.
    #[error("{}: cannot be written: {reason}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: std::io::Error,
    },
}

impl Error {
    /// Returns whether packets were read before this error, so that the output is valid as far as it goes.
    pub const fn is_partial(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Skipped { .. })
    }
}
