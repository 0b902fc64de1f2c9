//! The first screen: what the capture holds, how complete it is, and what stands out in it.

use std::io;

use super::chart::bar;
use super::page::{LABEL, NARROW, Page, Span, name, name_or};
use super::sessions::{FEW_EXECUTIONS, PREPARES_EVERY_TIME, weakness};
use super::statements::count_of;
use super::traffic;
use super::units::{bytes, count, counted, date, date_time, per_second, percent, rate, share, time};
use crate::output::text::line::Paint;
use crate::record::Summary;
use crate::record::summary::{Capture, Group, Interval, TimeSplit, Totals};

/// How many SQLSTATEs are named.
const CODES: usize = 4;

pub(super) fn write(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    // The first one is no news, and the last one may be empty.
    let is_news = |interval: &&Interval| interval.duration_us > 0 && summary.capture.started != Some(interval.started);
    if let Some(interval) = summary.interval.as_ref().filter(is_news) {
        page.flow(2, since(interval))?;
    }
    capture(page, &summary.capture)?;
    totals(page, summary)?;
    traffic::requests(page, &summary.traffic)?;
    time_split(page, &summary.time)?;
    stands_out(page, summary)
}

pub(super) fn title(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    let mut parts = vec![Span::painted(Paint::BOLD, "pgdissect summary")];
    if let Some(from) = summary.capture.started {
        let to = date_time(from.later(summary.capture.duration_us));
        let to = to.strip_prefix(&format!("{} ", date(from))).unwrap_or(&to);
        parts.push(format!("{} to {to} UTC", date_time(from)).into());
        parts.push(format!("({})", time(summary.capture.duration_us)).into());
    }
    page.flow(0, parts)
}

/// Writes what was in the last seconds, where the capture is live.
fn since(Interval { duration_us, totals, .. }: &Interval) -> Vec<Span> {
    let Totals { requests, errors, times, bytes_out, connects, .. } = totals;
    let mut parts = vec![
        Span::painted(Paint::BOLD, format!("last {}:", time(*duration_us))),
        format!("{} ({}/s)", counted(*requests, "request"), rate(per_second(*requests, *duration_us))).into(),
    ];
    if *errors > 0 {
        parts.push(Span::painted(Paint::RED, counted(*errors, "error")));
    }
    if times.timed > 0 {
        parts.push(format!("p95 {}", time(times.p95_us)).into());
    }
    parts.push(format!("{} out", bytes(*bytes_out)).into());
    parts.push(counted(*connects, "new session").into());
    parts
}

fn capture(page: &mut Page<'_>, capture: &Capture) -> io::Result<()> {
    let counters = &capture.counters;
    let packets = format!("{} ({})", counted(counters.packets, "packet"), bytes(counters.packet_bytes));
    let parts = [packets, counted(counters.connections, "connection"), counted(counters.messages, "message")];
    page.field("Capture", parts.map(Span::from))?;
    if !capture.selection.is_empty() {
        let selection = capture.selection.iter().map(|option| Span::painted(Paint::YELLOW, name(option)));
        page.field("Only", selection)?;
    }
    let gaps = gaps(capture);
    if gaps.is_empty() && counters.connections == 0 {
        Ok(())
    } else if gaps.is_empty() {
        page.field("Complete", [Span::painted(Paint::GREEN, "yes: nothing is missing")])
    } else {
        let lead = Span::painted(Paint::YELLOW, "no");
        page.field("Complete", std::iter::once(lead).chain(gaps))
    }
}

/// What a capture lacks, in words.
fn gaps(capture: &Capture) -> Vec<Span> {
    let counters = &capture.counters;
    let mut gaps = Vec::new();
    if capture.interrupted {
        gaps.push(Span::painted(Paint::RED, "interrupted before the end of the files"));
    }
    if capture.undecrypted_sessions > 0 {
        let sessions = counted(capture.undecrypted_sessions, "session");
        gaps.push(Span::painted(Paint::RED, format!("{sessions} encrypted and not read (see --keylog)")));
    }
    if let Some(kernel) = capture.kernel.filter(|kernel| kernel.dropped > 0 || kernel.interface_dropped > 0) {
        let dropped = kernel.dropped.saturating_add(kernel.interface_dropped);
        let of = percent(share(dropped, kernel.received.saturating_add(kernel.interface_dropped)));
        gaps.push(Span::painted(Paint::RED, format!("{} dropped by the kernel ({of})", counted(dropped, "packet"))));
    }
    if counters.missing_bytes > 0 {
        gaps.push(Span::painted(Paint::RED, format!("{} missing", bytes(counters.missing_bytes))));
    }
    if counters.losses > 0 {
        let reasons = capture.loss_reasons.iter().map(|loss| count_of(loss.count, loss.reason.name()));
        gaps.push(format!("{} of loss", counted(counters.losses, "report")).into());
        gaps.extend(reasons.map(Span::from));
    }
    let rare = [
        (capture.midstream_sessions, "session", "that began before it"),
        (capture.uncertain_requests, "request", "uncertain"),
        (counters.undecoded_messages, "message", "not decoded"),
        (counters.ambiguous_joins, "request", "ambiguous behind a pooler"),
        (counters.lost_fragments, "fragment", "lost"),
        (counters.damaged_packets, "packet", "damaged"),
        (counters.evicted_connections, "connection", "given up"),
        (capture.forgotten_statements, "statement", "forgotten, for there were too many"),
    ];
    gaps.extend(
        rare.iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, unit, what)| format!("{} {what}", counted(*count, unit)).into()),
    );
    gaps
}

fn totals(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    let Totals { requests, errors, unfinished, skipped, times, sessions, connects, .. } = summary.totals.clone();
    let totals = &summary.totals;
    let duration = summary.capture.duration_us;
    let mut parts = vec![
        Span::painted(Paint::BOLD, format!("{} ({}/s)", count(requests), rate(per_second(requests, duration)))),
        counted(totals.distinct_statements, "distinct statement").into(),
    ];
    if errors > 0 {
        let of = percent(share(errors, requests));
        parts.push(Span::painted(Paint::RED, format!("{} ({of})", counted(errors, "error"))));
    }
    if unfinished > 0 {
        parts.push(Span::painted(Paint::YELLOW, format!("{} unfinished", count(unfinished))));
    }
    if skipped > 0 {
        parts.push(format!("{} skipped after an error", count(skipped)).into());
    }
    page.field("Requests", parts)?;
    if times.timed > 0 {
        let quantiles = [("p50", times.p50_us), ("p95", times.p95_us), ("p99", times.p99_us), ("max", times.max_us)];
        let mut parts = vec![Span::from(format!("{} in all", time(times.exec_us)))];
        parts.push(format!("mean {}", time(times.mean_us)).into());
        parts.extend(quantiles.map(|(what, us)| Span::from(format!("{what} {}", time(us)))));
        page.field("Execution time", parts)?;
    }
    if requests > 0 {
        let parts = [
            counted(totals.rows, "row"),
            format!("{} from clients", bytes(totals.bytes_in)),
            format!("{} to them", bytes(totals.bytes_out)),
        ];
        page.field("Volume", parts.map(Span::from))?;
    }
    let mut parts = vec![Span::from(count(sessions))];
    if connects > 0 {
        let most = count(totals.most_connects_per_second);
        let rate = rate(per_second(connects, duration));
        parts.push(format!("{} began ({rate}/s, at most {most} in a second)", count(connects)).into());
        parts.extend(slowest_logins(&summary.applications));
    }
    if totals.logins_failed > 0 {
        parts.push(Span::painted(Paint::RED, format!("{} failed", counted(totals.logins_failed, "login"))));
    }
    page.field("Sessions", parts)
}

/// Says how long logins took, of the application with most of them.
fn slowest_logins(applications: &[Group]) -> Option<Span> {
    let slowest = applications.iter().max_by_key(|group| group.login_p95_us).filter(|group| group.login_p95_us > 0)?;
    let whose = if applications.len() > 1 { format!(" (application {})", shown(slowest)) } else { String::new() };
    Some(format!("login p95 up to {}{whose}", time(slowest.login_p95_us)).into())
}

fn time_split(page: &mut Page<'_>, split: &TimeSplit) -> io::Result<()> {
    let parts = [
        ("server", split.server_us),
        ("transfer", split.transfer_us),
        ("client stall", split.client_stall_us),
        ("network", split.network_us),
        ("idle in transaction", split.idle_in_transaction_us),
    ];
    let sum = parts.iter().fold(0_u64, |sum, (_, us)| sum.saturating_add(*us));
    let Some((most, most_us)) = parts.iter().max_by_key(|(_, us)| *us).filter(|(_, us)| *us > 0) else {
        return Ok(());
    };
    let dominates = Span::painted(Paint::BOLD, format!("mostly {most} ({})", percent(share(*most_us, sum))));
    let of = format!("known of {}", counted(split.timed, "request"));
    page.field("Where time went", [dominates, of.into()])?;
    let label = if page.width < NARROW { 0 } else { LABEL };
    let columns = page.width.saturating_sub(label + 4 + 20).min(40);
    for (what, us) in parts.into_iter().filter(|(_, us)| *us > 0) {
        let share = share(us, sum);
        let paint = if what == *most { Paint::YELLOW } else { Paint::CYAN };
        let drawn = bar(share / 100.0, columns);
        page.line(
            2,
            &[
                Span::painted(Paint::DIM, format!("{what:label$}  ")),
                format!("{:>6} {:>8} ", percent(share), time(us)).into(),
                Span::painted(paint, drawn),
            ],
        )?;
    }
    Ok(())
}

/// Writes what is found in the sections below, a line each.
fn stands_out(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    if !summary.errors.is_empty() {
        let named = summary.errors.iter().take(CODES).map(|error| {
            let condition =
                error.condition.as_deref().map_or_else(String::new, |name| format!(" {}", self::name(name)));
            Span::painted(Paint::RED, count_of(error.count, &format!("{}{condition}", name(&error.code))))
        });
        let more = summary.errors.len().saturating_sub(CODES);
        let more = (more > 0).then(|| Span::from(format!("and {more} more")));
        page.field("Errors", named.chain(more))?;
    }
    if let Some(login) = summary.failed_logins.first() {
        let who = name_or(login.user.as_deref(), "an unknown user");
        let code = login.code.as_deref().map_or_else(String::new, |code| format!(" ({})", name(code)));
        let first = count_of(login.count, &format!("{who} from {}{code}", name(&login.client_ip)));
        let more = summary.failed_logins.len() - 1;
        let more = (more > 0).then(|| Span::from(format!("and {more} more")));
        page.field("Failed logins", std::iter::once(Span::painted(Paint::RED, first)).chain(more))?;
    }
    let oldest = summary.running.first().map(|oldest| oldest.age_us.map_or_else(|| "age unknown".to_owned(), time));
    if let Some(age) = oldest {
        let how_many = count(summary.running.len() as u64);
        page.field(
            if summary.capture.under_way { "Running now" } else { "Running at the end" },
            [Span::painted(Paint::YELLOW, how_many), format!("the oldest for {age} at least").into()],
        )?;
    }
    let of_code = |code: &str| summary.errors.iter().find(|error| error.code == code).map(|error| error.count);
    let deadlocks = of_code("40P01").map(|count| counted(count, "deadlock victim"));
    let locks = of_code("55P03").map(|count| format!("{} lock not available", self::count(count)));
    let canceled = of_code("57014").map(|count| format!("{} canceled", self::count(count)));
    let stopped: Vec<_> = [deadlocks, locks, canceled].into_iter().flatten().map(Span::from).collect();
    if !stopped.is_empty() {
        page.field("Locks and cancels", stopped)?;
    }
    if summary.totals.idle_in_transaction_us > 0 {
        let most = first_by(&summary.applications, |group| group.idle_in_transaction_us);
        let most = most.map(|group| Span::from(of_application(group, &time(group.idle_in_transaction_us))));
        let total = Span::from(time(summary.totals.idle_in_transaction_us));
        page.field("Idle in transaction", std::iter::once(total).chain(most))?;
    }
    if let Some(client) = first_by(&summary.clients, |group| group.bytes_out) {
        let of = percent(share(client.bytes_out, summary.totals.bytes_out));
        let whose = name_or(client.name.as_deref(), "clients that are not told apart");
        page.field("Receives most", [format!("{whose}: {} ({of})", bytes(client.bytes_out)).into()])?;
    }
    if let Some(most) = summary.n_plus_one.iter().max_by_key(|candidate| candidate.max_calls) {
        let within = if most.in_transaction { "one transaction" } else { "one burst" };
        let whose = most.application.as_deref().map_or_else(String::new, |whose| format!(" ({})", name(whose)));
        let parts = [
            Span::painted(Paint::YELLOW, counted(summary.n_plus_one.len() as u64, "candidate")),
            format!("up to {} in {within}{whose}", counted(most.max_calls, "call")).into(),
        ];
        page.field("N+1", parts)?;
    }
    if let Some(most) = summary.unlimited_selects.iter().max_by_key(|select| select.max_rows) {
        let parts = [
            counted(summary.unlimited_selects.len() as u64, "statement"),
            format!("up to {} at once", counted(most.max_rows, "row")),
        ];
        page.field("SELECT, no LIMIT", parts.map(Span::from))?;
    }
    let every_time = |use_: &&_| prepares_every_time(use_);
    let every_time: Vec<_> = summary.prepared.iter().filter(every_time).collect();
    if let Some(most) = every_time.first() {
        let more = every_time.len() - 1;
        let more = if more > 0 { format!("and {more} more") } else { String::new() };
        let whose = name_or(most.application.as_deref(), "an unknown application");
        let times = format!("{whose} ({})", counted(most.parsed, "Parse message"));
        page.field("Prepares each time", [times.into(), more.into()])?;
    }
    let mut weaknesses = std::collections::BTreeMap::<_, u64>::new();
    for kind in &summary.protection {
        for weakness in &kind.weaknesses {
            let sessions = weaknesses.entry(*weakness).or_default();
            *sessions = sessions.saturating_add(kind.sessions);
        }
    }
    let weak = weaknesses.into_iter().map(|(kind, sessions)| {
        Span::painted(Paint::YELLOW, format!("{} in {}", weakness(kind), counted(sessions, "session")))
    });
    let weak: Vec<_> = weak.collect();
    if weak.is_empty() { Ok(()) } else { page.field("Weak protection", weak) }
}

const fn prepares_every_time(use_: &crate::record::summary::PreparedUse) -> bool {
    use_.extended >= FEW_EXECUTIONS && use_.share >= PREPARES_EVERY_TIME
}

fn first_by(groups: &[Group], key: fn(&Group) -> u64) -> Option<&Group> {
    groups.iter().max_by_key(|group| key(group)).filter(|group| key(group) > 0)
}

fn shown(group: &Group) -> String {
    name_or(group.name.as_deref(), "unknown")
}

fn of_application(group: &Group, what: &str) -> String {
    format!("most by {} ({what})", shown(group))
}
