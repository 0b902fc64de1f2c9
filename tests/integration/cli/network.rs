//! The times of requests in a network with a known delay, captured at the client, at the server, and between them.
//!
//! This needs what the live tests need, network namespaces and ethtool; where something is missing, a message is printed to standard
//! error. It depends on time, so it is not part of the suite: `.ci/slow` runs it.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::live::{Server, announce, can_capture, interrupt};
use crate::command::Running;
use crate::network::{self, Network};
use crate::wire::{message, startup_of};

/// Milliseconds that each frame is held between the client and the capture point, and between that and the server.
const HOLDS: [(u64, u64); 3] = [(0, 0), (0, 5), (5, 40)];

const SLEEP: &str = "SELECT pg_sleep(0.05)";
const LARGE: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 2000)";

#[test]
#[ignore = "depends on time"]
fn times_are_those_of_the_network_wherever_they_are_captured() {
    if !can_capture("times in a network") {
        return;
    }
    let set_up = Network::new().and_then(|network| Ok((Server::start_in(&network.server)?, network)));
    let (server, network) = match set_up {
        Ok(set_up) => set_up,
        Err(missing) => return announce(&format!("SKIPPED: times in a network: {}", missing.trim_end())),
    };
    for (client_ms, server_ms) in HOLDS {
        let _relay = network.relay("cli::network::relay", client_ms, server_ms);
        let both = client_ms + server_ms;
        let points = [
            (&network.client, "c0", 0, both),
            (&network.middle, "x1", client_ms, server_ms),
            (&network.server, "s0", both, 0),
        ];
        let captures = points.map(|(namespace, device, ..)| {
            let mut command = namespace.command(env!("CARGO_BIN_EXE_pgdissect"));
            let mut running =
                Running::start(command.args(["-e", "query", "-i", device, "-p", &server.port.to_string()]));
            running.says("listening on");
            running
        });
        let mut client = network.client.start("cli::network::client", &server.port.to_string());
        client.says("connected");
        let connected = client.finish().said;
        let round_trip: u64 =
            connected.split("connected in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        // The relay itself takes some time, which depends on the machine.
        let own = round_trip.saturating_sub(2_000 * both);
        assert!(own < 5_000 && round_trip >= 2_000 * both, "{client_ms} + {server_ms} ms: {round_trip} us to connect");
        // The last of it may still be on its way.
        std::thread::sleep(Duration::from_millis(500));
        for (capture, (_, device, to_client, to_server)) in captures.into_iter().zip(points) {
            let lines = interrupt(capture).values();
            let what = format!("{client_ms} + {server_ms} ms, at {device}");
            let last = lines.last().unwrap_or_else(|| panic!("{what}: nothing was captured"));
            let round_trips = [("rtt_client_us", to_client), ("rtt_server_us", to_server)].map(|(field, hold_ms)| {
                let (micros, set) = (last[field].as_u64().unwrap(), 2_000 * hold_ms);
                let is_near = micros + (set / 10).max(500) >= set && micros <= set + (set / 10).max(500) + own;
                assert!(is_near, "{what}: {field} is {micros} rather than {set}");
                micros
            });
            let sum = round_trips.iter().sum::<u64>();
            assert!(
                sum.abs_diff(round_trip) <= (round_trip / 10).max(500),
                "{what}: {sum} us, and {round_trip} to connect"
            );
            // On a busy machine, some take longer.
            let of = |sql: &'static str| lines.iter().filter(move |line| line["sql"] == sql);
            let slept = of(SLEEP).map(|line| line["server_us"].as_u64().unwrap().abs_diff(50_000)).min();
            assert!(slept < Some(2_000) && slept.is_some(), "{what}: {slept:?} us from 50 ms");
            let large: Vec<&Value> = of(LARGE).collect();
            let stall = large[0]["client_stall_us"].as_u64().unwrap_or_default();
            assert!((650_000..=1_050_000).contains(&stall), "{what}: {}", large[0]);
            assert!(of(SLEEP).all(|line| line.get("client_stall_us").is_none()), "{what}");
        }
    }
}

#[test]
#[ignore = "a part of the network"]
fn relay() {
    if let Some(holds) = network::part() {
        network::relay(holds[0], holds[1]);
    }
}

/// A client that does not read for a second in the middle of a large result.
#[test]
#[ignore = "a part of the network"]
fn client() {
    let Some(port) = network::part() else { return };
    let address = (network::SERVER, u16::try_from(port[0]).unwrap());
    // The first needs the address of the server's interface.
    drop(TcpStream::connect(address).unwrap());
    let connect = || {
        let start = Instant::now();
        (TcpStream::connect(address).unwrap(), start.elapsed().as_micros())
    };
    let best = (0..20).map(|_| connect().1).min().unwrap();
    let (mut stream, _) = connect();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(&startup_of("postgres", "postgres")).unwrap();
    read_until_ready(&mut reader, |_| ());
    let mut query = |sql: &str, between: &mut dyn FnMut(u32)| {
        stream.write_all(&message(b'Q', &[sql.as_bytes(), b"\0"].concat())).unwrap();
        read_until_ready(&mut reader, between);
    };
    for _ in 0..8 {
        query(SLEEP, &mut |_| ());
    }
    query(LARGE, &mut |number| {
        if number == 1_000 {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    query("SELECT 1", &mut |_| ());
    stream.write_all(&message(b'X', b"")).unwrap();
    announce(&format!("connected in {best} us"));
}

/// Reads messages up to ReadyForQuery, and calls `between` with the number of each.
fn read_until_ready(reader: &mut impl Read, mut between: impl FnMut(u32)) {
    for number in 0.. {
        let mut header = [0; 5];
        reader.read_exact(&mut header).unwrap();
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) - 4;
        reader.read_exact(&mut vec![0; usize::try_from(len).unwrap()]).unwrap();
        if header[0] == b'Z' {
            return;
        }
        between(number);
    }
}
