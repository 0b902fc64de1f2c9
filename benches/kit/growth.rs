//! How processor time and memory grow with the traffic, measured with generated captures.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::capture::{Capture, MadeFile, Scratch};
use crate::made::{self, Connection, INT4, Select, TEXT};
use crate::measure::{self, median};
use crate::speed::{dissect, tcpdump};
use crate::{grouped, mib, print_row, progress};

type Tap = made::Tap<MadeFile>;

const MB: u64 = 1_000_000;

/// How often each point is measured, after one warm-up.
const PAIRS: usize = 3;

/// The size of a capture that is large enough to be measured once. It is in the page cache, because it was just written.
const LARGE: u64 = 512 * MB;

const MODES: [&str; 2] = ["message", "query"];

/// A capture of a series in which one property grows.
struct Point {
    title: String,
    /// The approximate size of the file in bytes.
    bytes: u64,
    make: Box<dyn Fn(&mut Tap)>,
}

impl Point {
    fn new(title: String, bytes: u64, make: impl Fn(&mut Tap) + 'static) -> Self {
        Self { title, bytes, make: Box::new(make) }
    }
}

pub(crate) fn growth(dir: &Path) -> anyhow::Result<()> {
    let sizes = [1, 4, 16, 64, 256, 1_024, 2_048].map(|size| {
        let title = format!("pgbench -S prepared, 10 connections, {} MB", grouped(size));
        Point::new(title, size * MB, move |tap| requests(tap, 10, size * MB))
    });
    let at_once = [1, 10, 100, 1_000, 10_000, 100_000].map(|connections| {
        let title = format!("200,000 requests, connections at once: {}", grouped(connections));
        Point::new(title, 200 * MB, move |tap| at_once(tap, connections))
    });
    let in_turn = [100, 1_000, 10_000, 100_000].map(|connections| {
        let title = format!("connections of 5 requests, one after the other: {}", grouped(connections));
        Point::new(title, connections * 5_000, move |tap| in_turn(tap, connections))
    });
    let results = [1, 16, 256, 1_024].map(|size| {
        let title = format!("one result, 4 columns, {} MB", grouped(size));
        // A row has about 115 bytes; packet headers are a twentieth of the file.
        Point::new(title, size * MB, move |tap| {
            let mut connection = tap.open(0);
            made::accounts(tap, &mut connection, size * MB * 95 / 100 / 115);
        })
    });
    let columns = [4, 40, 400, 1_600].map(|columns| {
        let title = format!("one result of 64 MB, columns: {}", grouped(columns));
        Point::new(title, 64 * MB, move |tap| table(tap, columns as usize, 64 * MB))
    });

    let mut heads = vec!["traffic".to_owned(), "size".to_owned(), "messages".to_owned()];
    for mode in MODES {
        let of_mode = ["CPU ns a byte", "CPU ns a message", "CPU, tcpdump -w = 1", "peak memory"];
        heads.extend(of_mode.map(|head| format!("{mode}: {head}")));
    }
    print_row(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    print_row(&vec!["---"; heads.len()]);
    for point in sizes.into_iter().chain(at_once).chain(in_turn).chain(results).chain(columns) {
        one(&point, dir)?;
    }
    println!();
    Ok(())
}

fn one(point: &Point, dir: &Path) -> anyhow::Result<()> {
    progress(&point.title);
    let disk = statvfs(dir)?;
    let needed = point.bytes + point.bytes / 10;
    if disk.blocks_available() * disk.fragment_size() < needed {
        progress(&format!("left out: {} has no room for {} MB", dir.display(), grouped(needed / MB)));
        return Ok(());
    }
    let file = Scratch(dir.join("growth.pcap"));
    let mut tap = Tap::new(MadeFile::create(&file.0)?);
    (point.make)(&mut tap);
    tap.to.finish()?;
    let capture = Capture::open(&file.0)?;
    let mut ratios = [const { Vec::new() }; MODES.len()];
    let mut times = [const { Vec::new() }; MODES.len()];
    let mut peaks = [0; MODES.len()];
    let rounds = if capture.bytes < LARGE { 0..PAIRS + 1 } else { 1..2 };
    for round in rounds {
        for (index, mode) in MODES.into_iter().enumerate() {
            let of_tcpdump = measure::run(&tcpdump(&capture))?;
            let taken = measure::run(&dissect(&capture, &["-e", mode, "--max-connections", "200000"]))?;
            if round > 0 {
                ratios[index].push(taken.cpu.as_secs_f64() / of_tcpdump.cpu.as_secs_f64());
                times[index].push(taken.cpu.as_secs_f64() * 1e9);
                peaks[index] = peaks[index].max(taken.peak);
            }
        }
    }
    let megabytes = format!("{:.1} MB", capture.bytes as f64 / MB as f64);
    let mut cells = vec![point.title.clone(), megabytes, grouped(capture.messages)];
    for ((ratios, times), peak) in ratios.into_iter().zip(times).zip(peaks) {
        let nanos = median(times);
        cells.extend([
            format!("{:.2}", nanos / capture.bytes as f64),
            format!("{:.0}", nanos / capture.messages as f64),
            format!("{:.2}", median(ratios)),
            mib(peak),
        ]);
    }
    print_row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(())
}

/// Generates requests on connections in turn, up to a number of bytes.
fn requests(tap: &mut Tap, connections: u64, bytes: u64) {
    let select = Select::new();
    let mut connections: Vec<_> = (0..connections).map(|number| prepared(tap, &select, number)).collect();
    for aid in 0.. {
        for connection in &mut connections {
            select.execute(tap, connection, aid);
        }
        if tap.to.bytes >= bytes {
            return;
        }
    }
}

/// Generates connections that are all open before the first request, each with requests.
fn at_once(tap: &mut Tap, connections: u64) {
    let select = Select::new();
    let mut open: Vec<_> = (0..connections).map(|number| prepared(tap, &select, number)).collect();
    for aid in 0..200_000 / connections {
        for connection in &mut open {
            select.execute(tap, connection, aid);
        }
    }
}

fn in_turn(tap: &mut Tap, connections: u64) {
    let select = Select::new();
    for number in 0..connections {
        let mut connection = prepared(tap, &select, number);
        for aid in 0..5 {
            select.execute(tap, &mut connection, aid);
        }
        tap.close(&mut connection);
    }
}

fn prepared(tap: &mut Tap, select: &Select, number: u64) -> Connection {
    let mut connection = tap.open(number);
    select.prepare(tap, &mut connection);
    connection
}

/// Generates a result of about `bytes` bytes, with alternating numbers and texts of eight bytes.
fn table(tap: &mut Tap, columns: usize, bytes: u64) {
    let values: Vec<&[u8]> = [&b"12345678"[..], b"a value!"].into_iter().cycle().take(columns).collect();
    let names: Vec<_> = (0..columns).map(|number| format!("column_{number}")).collect();
    let description: Vec<_> = names.iter().map(String::as_str).zip([INT4, TEXT].into_iter().cycle()).collect();
    let row = made::row(&values);
    let mut connection = tap.open(0);
    let rows = bytes * 95 / 100 / row.len() as u64;
    made::result(tap, &mut connection, &description, rows, |_| row.clone());
}
