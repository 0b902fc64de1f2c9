//! What is said to the user at the end, on standard error.

use super::{Run, counted};
use crate::record::StatsRecord;

impl Run<'_> {
    /// Prints for the user how many sessions were open before the capture, if there are any, and they are not known; once.
    pub(super) fn report_sessions(&mut self) {
        let sessions = self.dissector.midstream_connections();
        let told = self.told_sessions.replace(sessions).unwrap_or(0);
        if sessions > 0 && told == 0 && self.args.sessions.is_none() && !self.args.quiet {
            let (are, whose) = if sessions == 1 { ("was", "its") } else { ("were", "their") };
            (self.notify)(&format!(
                "{} {are} open before the capture: --sessions FILE has {whose} users, databases and applications (see README)",
                counted(sessions, "session")
            ));
        }
    }

    /// Prints for the user what was captured, to standard error.
    pub(super) fn report(&mut self, stats: &StatsRecord) {
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
