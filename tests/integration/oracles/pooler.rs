//! Requests through PgBouncer are joined with those of its clients.
//!
//! What is joined is compared with what the traffic itself tells: the numbers of a sequence in both replies, and the name of the
//! application, which PgBouncer gives to a connection before it sends the request of another client.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pgdissect::{Clients, Config, Dissector, Joiner, Record, Records};
use proptest::prelude::*;
use serde_json::Value;

use crate::captures::{self, OwnedPacket, line};
use crate::command::{parse, run};

const POOLER: Clients = Clients { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 32, port: Some(6432) };

const AT: &str = "127.0.0.1:6432";

const CAPTURES: [&str; 3] = ["transaction", "session", "statement"];

/// The lines of requests and messages of one capture, joined.
pub(super) struct Lines {
    pub(super) queries: Vec<Value>,
    /// The bodies of data in the reply to each request.
    pub(super) data: BTreeMap<(u64, u64), Vec<Value>>,
    ambiguous: u64,
}

/// What a request is known by, whatever is lost before it: its client's end, and when it began.
type Place = (String, String);

impl Lines {
    /// Dissects packets, with those of messages if these are wanted.
    pub(super) fn of(packets: &[OwnedPacket], messages: bool, pooler: &str, server: u16) -> Self {
        let SocketAddr::V4(pooler) = pooler.parse().unwrap() else { panic!("{pooler}") };
        let records = Records { messages, queries: true, ..Records::default() };
        // By name: where its beginning is lost, a connection on another port is not followed.
        let ports = Some(vec![pooler.port(), server]);
        let mut dissector = Dissector::new(Config { records, ports, ..captures::config() });
        let pooler = Clients { addr: (*pooler.ip()).into(), prefix: 32, port: Some(pooler.port()) };
        let mut joiner = Joiner::new(vec![pooler], false);
        let mut lines = Vec::new();
        let mut sink = |record: &Record<'_>| lines.push(parse(&line(record)));
        let mut sink = joiner.before(&mut sink);
        for packet in packets {
            dissector.packet(&packet.borrow(), &mut sink);
        }
        dissector.finish(&mut sink);
        sink.finish();
        Self { ambiguous: joiner.ambiguous(), ..Self::new(lines) }
    }

    pub(super) fn new(lines: impl IntoIterator<Item = Value>) -> Self {
        let (mut queries, mut data) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for line in lines {
            match line["event"].as_str() {
                Some("query") => queries.push(line),
                Some("message") if line["type"] == "DataRow" || line["type"] == "CopyData" => {
                    let place = (line["conn"].as_u64().unwrap(), line["query"].as_u64().unwrap_or_default());
                    data.entry(place).or_default().push(line["body"].clone());
                }
                _ => {}
            }
        }
        Self { queries, data, ambiguous: 0 }
    }

    fn of_side(&self, is_server: bool) -> impl Iterator<Item = &Value> {
        self.queries.iter().filter(move |query| query["server"].as_str().unwrap().ends_with(":5415") == is_server)
    }

    /// Returns which request is which client's.
    fn joins(&self) -> BTreeMap<Place, Place> {
        let places: BTreeMap<_, _> = self.queries.iter().map(|query| (number(query), place(query))).collect();
        let joined = self.of_side(true).filter(|query| !query["downstream"].is_null());
        joined.map(|query| (place(query), places[&number(&query["downstream"])].clone())).collect()
    }
}

pub(super) fn number(query: &Value) -> (u64, u64) {
    (query["conn"].as_u64().unwrap(), query["query"].as_u64().unwrap())
}

fn place(query: &Value) -> Place {
    (query["client"].as_str().unwrap().to_owned(), query["started"].as_str().unwrap().to_owned())
}

fn packets(capture: &str) -> Vec<OwnedPacket> {
    let path = captures::testdata().join(format!("pooler-pgbouncer/{capture}.pcap.gz"));
    captures::packets(&[path]).0
}

#[test]
fn requests_of_a_server_connection_are_those_of_the_client_to_which_the_pooler_has_given_it() {
    for capture in CAPTURES {
        let lines = Lines::of(&packets(capture), true, AT, 5415);
        let clients: BTreeMap<_, _> = lines.of_side(false).map(|query| (number(query), query)).collect();
        let mut applications = BTreeMap::new();
        let mut joined = BTreeSet::new();
        let mut of_server: Vec<_> = lines.of_side(true).collect();
        of_server.sort_by_key(|query| number(query));
        for query in of_server {
            let sql = query["sql"].as_str().unwrap();
            if let Some(set) = sql.strip_prefix("SET application_name='") {
                assert_eq!(query["pooler"], true, "{capture}: {query}");
                applications.insert(place(query).0, set.trim_end_matches("';"));
                continue;
            }
            if sql == "DISCARD ALL" {
                assert_eq!(query["pooler"], true, "{capture}: {query}");
                continue;
            }
            let Some(downstream) = query.get("downstream") else { continue };
            let client = clients[&number(downstream)];
            assert_eq!(downstream["application"], applications[&place(query).0], "{capture}: {query}");
            assert_eq!(downstream["application"], client["application"], "{capture}: {query}");
            assert_eq!(downstream["client"], client["client"], "{capture}: {query}");
            assert_eq!(client["sql"], sql, "{capture}: {query}");
            assert_eq!(lines.data.get(&number(client)), lines.data.get(&number(query)), "{capture}: {query}");
            let upstream = &client["upstream"];
            assert_eq!(number(upstream), number(query), "{capture}: {client}");
            assert!(upstream["wait_us"].as_u64() <= client["exec_us"].as_u64(), "{capture}: {client}");
            assert!(joined.insert(number(client)), "{capture}: {query}");
        }
        let are_one_sided = clients.values().filter(|client| client.get("upstream").is_some()).count() != joined.len();
        assert!(!are_one_sided, "{capture}");
        let all = clients.len();
        assert!(joined.len() * 100 >= all * 97, "{capture}: {} of {all}", joined.len());
        assert_eq!(lines.ambiguous, (all - joined.len()) as u64, "{capture}");
        assert!(lines.of_side(false).all(|query| query["pooler"].is_null()), "{capture}");
    }
}

/// Checks that what is joined is joined with the same, and that a transaction is on one connection.
fn check_joins(whole: &BTreeMap<Place, Place>, lines: &Lines, what: &str) -> usize {
    let joins = lines.joins();
    let clients: BTreeMap<_, _> = lines.of_side(false).map(|query| (number(query), query)).collect();
    for ((conn, query), client) in &clients {
        let before = clients.get(&(*conn, query - 1)).map(|before| &before["upstream"]["conn"]);
        let (Some(before), now) = (before, &client["upstream"]["conn"]) else { continue };
        let are_joined = !before.is_null() && !now.is_null();
        assert!(client["tx"] != "in_transaction" || !are_joined || before == now, "{what}: {client}");
    }
    for (server, client) in &joins {
        // What begins with a lost packet has another beginning.
        if let Some(wanted) = whole.get(server) {
            assert_eq!(client, wanted, "{what}: {server:?}");
        }
    }
    joins.len()
}

#[test]
fn no_request_is_joined_with_that_of_another_client_if_a_packet_is_lost() {
    for capture in CAPTURES {
        let packets = packets(capture);
        let whole = Lines::of(&packets, false, AT, 5415).joins();
        let mut least = usize::MAX;
        for lost in (0..packets.len()).step_by(packets.len() / 40) {
            let mut rest = packets.clone();
            rest.remove(lost);
            least = least.min(check_joins(
                &whole,
                &Lines::of(&rest, false, AT, 5415),
                &format!("{capture} without packet {lost}"),
            ));
        }
        assert!(least * 2 > whole.len(), "{capture}: {least} of {}", whole.len());
    }
}

/// Where the addresses of a packet are, all of them captured on the loopback interface.
fn addresses(packet: &OwnedPacket) -> usize {
    packet.data.windows(8).position(|bytes| bytes == [127, 0, 0, 1, 127, 0, 0, 1]).unwrap()
}

/// Cuts a segment into two of the same time, behind so many bytes.
fn cut(packet: &OwnedPacket, at: usize) -> [OwnedPacket; 2] {
    let len = pgdissect::internals::packet::decode(&packet.borrow()).unwrap().payload.len();
    let (header, at) = (packet.data.len() - len, at.min(len));
    let part = |skipped: usize, payload: std::ops::Range<usize>| {
        let mut part = packet.clone();
        part.data = [&packet.data[..header], &packet.data[header..][payload]].concat();
        part.orig_len = part.data.len() as u32;
        let ip = addresses(packet) - 12;
        let total = (part.data.len() - ip) as u16;
        part.data[ip + 2..ip + 4].copy_from_slice(&total.to_be_bytes());
        let seq = ip + usize::from(packet.data[ip] & 15) * 4 + 4;
        let first = u32::from_be_bytes(packet.data[seq..seq + 4].try_into().unwrap());
        part.data[seq..seq + 4].copy_from_slice(&first.wrapping_add(skipped as u32).to_be_bytes());
        part
    };
    [part(0, 0..at), part(at, at..len)]
}

/// Leaves out one packet of so many, at random.
pub(super) fn without_some(packets: &[OwnedPacket], seed: u64, one_of: u64) -> Vec<OwnedPacket> {
    let mut random = seed | 1;
    let mut is_lost = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.is_multiple_of(one_of)
    };
    packets.iter().filter(|_| !is_lost()).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn no_request_is_joined_with_that_of_another_client_if_packets_are_lost(
        capture in prop::sample::select(&CAPTURES),
        seed: u64,
        one_of in prop::sample::select(&[10_u64, 40, 200]),
    ) {
        let packets = packets(capture);
        let whole = Lines::of(&packets, false, AT, 5415).joins();
        let rest = without_some(&packets, seed, one_of);
        check_joins(&whole, &Lines::of(&rest, false, AT, 5415), capture);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4) })]

    #[test]
    fn requests_are_joined_however_they_were_cut_and_in_whichever_order_their_segments_were_captured(
        capture in prop::sample::select(&CAPTURES),
        sizes in prop::collection::vec(1_usize..40, 1..20),
        places in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let packets = packets(capture);
        let whole = Lines::of(&packets, false, AT, 5415);
        let cuts: Vec<_> =
            packets.iter().zip(sizes.iter().cycle()).flat_map(|(packet, size)| cut(packet, *size)).collect();
        let are_cut = Lines::of(&cuts, false, AT, 5415);
        prop_assert_eq!(are_cut.joins(), whole.joins());
        prop_assert_eq!(are_cut.ambiguous, whole.ambiguous);
        // A segment and the next one of its connection, each in the place of the other.
        let ends = |packet: &OwnedPacket| {
            let segment = pgdissect::internals::packet::decode(&packet.borrow()).unwrap();
            let ports = [segment.source.port, segment.destination.port];
            (ports[0].min(ports[1]), ports[0].max(ports[1]))
        };
        let mut moved = packets;
        for place in places {
            let first = place.index(moved.len());
            let next = (first + 1..moved.len()).find(|next| ends(&moved[*next]) == ends(&moved[first]));
            if let Some(next) = next {
                // At the times at which they came.
                let times = (moved[first].ts, moved[next].ts);
                moved.swap(first, next);
                (moved[first].ts, moved[next].ts) = times;
            }
        }
        // A request may begin at another time now: its client is the same.
        let client_of = |joins: BTreeMap<Place, Place>| {
            joins.into_iter().map(|(server, (client, _))| (server, client)).collect::<BTreeMap<_, _>>()
        };
        let (wanted, joined) = (client_of(whole.joins()), client_of(Lines::of(&moved, false, AT, 5415).joins()));
        for (server, client) in &joined {
            prop_assert!(wanted.get(server).is_none_or(|wanted| wanted == client), "{:?}", server);
        }
        let joined = joined.len();
        prop_assert!(joined * 2 > whole.joins().len(), "{} of {}", joined, whole.joins().len());
    }
}

#[test]
fn where_only_one_side_was_captured_nothing_is_held_back() {
    for capture in CAPTURES {
        let packets = packets(capture);
        let of_clients: Vec<_> = packets.into_iter().filter(|packet| is_of_port(packet, 6432)).collect();
        let mut joiner = Joiner::new(vec![POOLER], false);
        let mut dissector = Dissector::new(captures::config());
        let mut ignore = |_: &Record<'_>| {};
        let mut sink = joiner.before(&mut ignore);
        for packet in &of_clients {
            dissector.packet(&packet.borrow(), &mut sink);
        }
        assert!(of_clients.len() > 100 && !joiner.is_active(), "{capture}");
    }
}

fn is_of_port(packet: &OwnedPacket, port: u16) -> bool {
    let segment = pgdissect::internals::packet::decode(&packet.borrow()).unwrap();
    [segment.source.port, segment.destination.port].contains(&port)
}

#[test]
fn a_pool_has_the_times_that_the_pooler_has_counted() {
    let capture = "pooler-pgbouncer/waits.pcap.gz";
    // Its console: what its columns are, and the row of the pool.
    let lines = run(["-q", "-p6432", "-emessage", capture]).good();
    let of_type = |name: &'static str| lines.iter().filter(move |line| line["type"] == name);
    let fields = of_type("RowDescription").find_map(|line| {
        let fields = line["body"]["fields"].as_array().unwrap();
        let names: Vec<_> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
        names.contains(&"wait_time").then_some(names)
    });
    let row = of_type("DataRow").find(|line| line["body"]["values"][0] == "waits").unwrap();
    let counted = |name: &str| {
        let place = fields.as_ref().unwrap().iter().position(|field| *field == name).unwrap();
        row["body"]["values"][place].as_str().unwrap().parse::<u64>().unwrap()
    };
    let summary = run(["-q", "-p5415,6432", "--pooler", "127.0.0.1:6432", "-Fjson", "-esummary", capture]).good();
    let pools = summary[0]["pools"].as_array().unwrap();
    let [pool] = &**pools else { panic!("{pools:?}") };
    let figure = |name: &str| pool[name].as_u64().unwrap();
    assert_eq!(
        (&pool["server"], &pool["database"], &pool["user"]),
        (&Value::from("127.0.0.1:6432"), &Value::from("waits"), &Value::from("app"))
    );
    assert_eq!(figure("requests"), counted("query_count"));
    assert_eq!((figure("client_connections"), figure("server_connections")), (7, 2));
    let is_near = |own: u64, theirs: u64| own.abs_diff(theirs) * 1_000 <= theirs;
    assert!(is_near(figure("wait_us") + figure("busy_us"), counted("query_time")), "{pool}");
    assert!(is_near(figure("idle_in_transaction_us"), counted("xact_time") - counted("query_time")), "{pool}");
    // It counts how long its clients waited for their logins, too: these were before a request.
    assert!((figure("wait_us")..figure("wait_us") + 50_000).contains(&counted("wait_time")), "{pool}");
    let kept = &pool["idle_in_transaction"][0];
    assert_eq!(kept["application"], "billing");
    assert!((400_000..410_000).contains(&kept["idle_us"].as_u64().unwrap()), "{kept}");
    // Its application was, and nobody else.
    let idle = |group: &Value| (group["name"].clone(), group["idle_in_transaction_us"].as_u64().unwrap());
    let mut idle: Vec<_> = summary[0]["applications"].as_array().unwrap().iter().map(idle).collect();
    idle.retain(|(_, us)| *us > 0);
    assert_eq!(idle, [(Value::from("billing"), figure("idle_in_transaction_us"))]);
    assert_eq!(pool["statements"][0]["normalized"], "SELECT pg_sleep($1), $2");
    assert_eq!(pool["statements"][0]["calls"], 36);
    // What went through it counts once.
    let of_statement = &summary[0]["statements"][0];
    assert_eq!(
        (&of_statement["normalized"], &of_statement["calls"]),
        (&pool["statements"][0]["normalized"], &Value::from(36))
    );
    assert!((10_000..12_000).contains(&of_statement["mean_us"].as_u64().unwrap()), "{of_statement}");
    assert!(of_statement["applications"].as_array().unwrap().len() == 6, "{of_statement}");
}

#[test]
fn each_client_of_pgpool_has_the_connection_that_pgpool_has_opened_for_it() {
    // It passes the name of its client's application on when it opens a connection, and changes many requests.
    let lines =
        run(["-q", "-p5415,6450", "--pooler", "127.0.0.1:6450", "-equery", "pooler-pgpool/capture.pcap.gz"]).good();
    let joined: Vec<_> = lines.iter().filter(|line| line.get("downstream").is_some()).collect();
    assert!(joined.len() > 50, "{}", joined.len());
    for line in joined {
        assert_eq!(line["downstream"]["application"], line["application"], "{line}");
    }
}

#[test]
fn what_the_pooler_answers_itself_is_told_from_what_the_server_does() {
    let args = ["-q", "-p5415,6432", "--pooler", "127.0.0.1:6432", "-equery,session"];
    let lines = run([&args[..], &["pooler-pgbouncer/errors.pcap.gz"]].concat()).good();
    let is_server = |line: &Value| line["server"] == "127.0.0.1:5415";
    let of = |at_server: bool, sql: &str| {
        let found = lines.iter().filter(|line| line["event"] == "query" && is_server(line) == at_server);
        let found: Vec<_> = { found }.filter(|line| line["sql"] == sql).collect();
        assert!(found.len() <= 1, "{sql}: {found:?}");
        found.first().copied()
    };
    // The server's: both sides have it.
    for (sql, outcome) in [
        ("SELECT 1", "ok"),
        ("SELECT 2", "ok"),
        ("SELECT pg_sleep(5)", "canceled"),
        ("SELECT 1/0", "error"),
        ("", "ok"),
    ] {
        let [client, server] = [false, true].map(|at_server| of(at_server, sql).unwrap());
        assert_eq!((number(&client["upstream"]), number(&server["downstream"])), (number(server), number(client)));
        for side in [client, server] {
            assert_eq!((side["outcome"].as_str(), &side["pooler"]), (Some(outcome), &Value::Null), "{side}");
        }
    }
    // It was canceled by a request to the pooler, and by one of the pooler's.
    for at_server in [false, true] {
        let by = &of(at_server, "SELECT pg_sleep(5)").unwrap()["canceled_by"];
        let request = lines.iter().find(|line| line["event"] == "session" && line["conn"] == *by).unwrap();
        assert_eq!(is_server(request), at_server, "{request}");
    }
    // The pooler's: its timeout, and its console.
    let timeout = of(false, "SELECT 3").unwrap();
    assert_eq!((&timeout["pooler"], &timeout["outcome"]), (&Value::Bool(true), &Value::from("aborted")));
    assert_eq!(timeout["error"]["message"], "query_wait_timeout");
    assert!(of(true, "SELECT 3").is_none());
    assert_eq!(of(false, "SHOW VERSION").unwrap()["pooler"], true);
    let own = lines.iter().filter(|line| line["event"] == "query" && is_server(line) && line["pooler"] == true);
    assert!(own.map(|line| line["sql"].as_str().unwrap()).all(|sql| sql.starts_with("SET application_name=")));
    // It counts once, and its wait is no time of the server's.
    let summary = run([&args[..4], &["-esummary", "pooler-pgbouncer/errors.pcap.gz"]].concat()).good();
    let summary = &summary[0];
    let errors: Vec<_> = summary["errors"].as_array().unwrap().iter().map(|it| (&it["code"], &it["count"])).collect();
    let [of_server, canceled, of_pooler] = ["22012", "57014", "08P01"].map(Value::from);
    let one = Value::from(1);
    for state in [&of_server, &canceled, &of_pooler] {
        assert!(errors.contains(&(state, &one)), "{state}: {errors:?}");
    }
    let waited = timeout["total_us"].as_u64().unwrap();
    let pool = &summary["pools"][0];
    assert!(pool["wait_max_us"].as_u64().unwrap() >= waited - 1_000, "{pool}");
    let slept = of(true, "SELECT pg_sleep(5)").unwrap()["exec_us"].as_u64();
    assert_eq!(summary["slowest"][0]["exec_us"].as_u64(), slept);
    // Sessions: the pooler's with the server, and the one that it has ended.
    for session in lines.iter().filter(|line| line["event"] == "session" && line["state"] == "ended") {
        let has_requests = session["queries"].as_u64() > Some(0);
        let is_own = is_server(session) && has_requests || session["error"]["message"] == "query_wait_timeout";
        assert_eq!(session["pooler"] == true, is_own, "{session}");
    }
}

/// Gives the hosts addresses of their own, as in a network: the clients, the pooler, and the server.
fn in_a_network(packets: &mut [OwnedPacket]) {
    for packet in packets {
        let segment = pgdissect::internals::packet::decode(&packet.borrow()).unwrap();
        let addr = |own: u16, other: u16| match (own, other) {
            (6432, _) | (_, 5415) => [10, 0, 0, 4],
            (5415, _) => [10, 0, 0, 5],
            _ => [10, 0, 1, 1],
        };
        let ports = (segment.source.port, segment.destination.port);
        let ends = [addr(ports.0, ports.1), addr(ports.1, ports.0)].concat();
        let at = addresses(packet);
        packet.data[at..at + 8].copy_from_slice(&ends);
    }
}

#[test]
fn a_pooler_is_found_where_a_host_accepts_connections_and_opens_others() {
    let joined = |packets: &[OwnedPacket], poolers: Vec<Clients>| {
        let mut joiner = Joiner::new(poolers, true);
        let mut dissector = Dissector::new(captures::everything());
        let mut joins = BTreeSet::new();
        let mut sink = |record: &Record<'_>| {
            if let Record::Query(query) = record
                && let Some(upstream) = query.upstream
            {
                joins.insert(((query.header.conn, query.query), (upstream.conn, upstream.query)));
            }
        };
        let mut sink = joiner.before(&mut sink);
        for packet in packets {
            dissector.packet(&packet.borrow(), &mut sink);
        }
        dissector.finish(&mut sink);
        sink.finish();
        joins
    };
    for capture in CAPTURES {
        // On the loopback interface, the host tells nothing.
        let mut packets = packets(capture);
        assert_eq!(joined(&packets, Vec::new()).len(), 0, "{capture}");
        let all = joined(&packets, vec![POOLER]);
        assert!(all.len() > 100, "{capture}: {}", all.len());
        in_a_network(&mut packets);
        let found = joined(&packets, Vec::new());
        assert_eq!(found, all, "{capture}");
        // Who asks two servers for the same is no pooler.
        for packet in &mut packets {
            for at in 0..packet.data.len().saturating_sub(3) {
                if packet.data[at..at + 4] == [10, 0, 0, 4] && at < 40 {
                    let is_client = pgdissect::internals::packet::decode(&packet.borrow())
                        .is_ok_and(|segment| [segment.source.port, segment.destination.port].contains(&5415));
                    packet.data[at..at + 4].copy_from_slice(if is_client { &[10, 0, 1, 1] } else { &[10, 0, 0, 4] });
                }
            }
        }
        assert_eq!(joined(&packets, Vec::new()).len(), 0, "{capture}");
    }
}

#[test]
fn a_pause_of_all_traffic_costs_no_join() {
    for capture in CAPTURES {
        let mut packets = packets(capture);
        let whole = Lines::of(&packets, false, AT, 5415).joins().len();
        let gap = |index: &usize| packets[*index].ts.nanos_since(packets[*index - 1].ts);
        let longest = (1..packets.len()).max_by_key(gap).unwrap();
        for packet in &mut packets[longest..] {
            packet.ts = packet.ts.later(3_600_000_000);
        }
        assert_eq!(Lines::of(&packets, false, AT, 5415).joins().len(), whole, "{capture}");
    }
}
