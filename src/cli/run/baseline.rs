//! The other capture that a summary is compared with.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};

use super::super::FAILED;
use super::super::args::{Args, Event, Format};
use super::super::progress::Progress;
use super::{Files, NO_THREADS, Run};
use crate::capture::file::FileSource;
use crate::capture::filter::PacketFilter;
use crate::capture::read_ahead::ReadAhead;
use crate::output::stats::{Baseline, Context as SummaryContext};

/// Returns what the requests and sessions of the baseline add up to, if there is one.
pub(super) fn read_baseline(
    args: &Args,
    stop: &Arc<AtomicBool>,
    notify: &mut dyn FnMut(&str),
) -> anyhow::Result<Option<(Baseline, u8)>> {
    if args.baseline.is_empty() {
        return Ok(None);
    }
    let mut args = args.clone();
    (args.events, args.format) = (vec![Event::Summary], Format::Json);
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
