//! A network with a given delay: a client, a capture point and a server in namespaces of their own, and a relay between them that holds
//! each frame for some time, as the kernel's netem would, which not every kernel has.
//!
//! ```text
//! namespace   client             middle             server
//! interface     c0 ---- m0   relay   x0 -- x1   relay   m1 ---- s0
//! ```
//!
//! The relay is this program, in another process: a test that does nothing unless it is asked to.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::cli::live::announce;
use crate::command::Running;

/// The addresses of the client and the server.
pub(crate) const CLIENT: &str = "10.77.0.1";
pub(crate) const SERVER: &str = "10.77.0.2";

/// The environment variable that asks a process for a part in the network, and with which arguments.
const PART: &str = "PGDISSECT_TEST_PART";

/// A network namespace, removed on drop.
#[derive(Debug)]
pub(crate) struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Result<Self, String> {
        let name = format!("pgdissect-{name}-{}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self(name);
        ip(&format!("-n {} link set lo up", namespace.0))?;
        Ok(namespace)
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }

    /// Returns a command that runs a program in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]).stdin(Stdio::null());
        command
    }

    /// Starts a part of the network in it: a test of this program that reads [`part`].
    pub(crate) fn start(&self, test: &str, part: &str) -> Running {
        let program = std::env::current_exe().unwrap();
        let mut command = self.command(program.to_str().unwrap());
        command.args(["--ignored", "--exact", test, "--nocapture"]).env(PART, part);
        Running::start_into(Stdio::null(), &mut command)
    }

    /// Turns off what makes packets larger than those of a real network, and leaves their checksums to hardware.
    fn segment(&self, device: &str) -> Result<(), String> {
        let output =
            self.command("ethtool").args(["-K", device]).args("tso off gso off gro off tx off".split(' ')).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            _ => Err("no ethtool".to_owned()),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.0));
    }
}

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip").args(args.split(' ')).output().map_err(|_| "no ip of iproute2")?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The three namespaces.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) middle: Namespace,
    pub(crate) server: Namespace,
}

impl Network {
    /// Sets up the network, without a relay, or describes what is missing.
    pub(crate) fn new() -> Result<Self, String> {
        let [client, middle, server] =
            [Namespace::new("client")?, Namespace::new("middle")?, Namespace::new("server")?];
        let [c, m, s] = [&client.0, &middle.0, &server.0];
        for link in [
            format!("link add c0 netns {c} type veth peer name m0 netns {m}"),
            format!("link add x0 netns {m} type veth peer name x1 netns {m}"),
            format!("link add m1 netns {m} type veth peer name s0 netns {s}"),
            format!("-n {c} addr add {CLIENT}/24 dev c0"),
            format!("-n {s} addr add {SERVER}/24 dev s0"),
        ] {
            ip(&link)?;
        }
        for (namespace, devices) in [(&client, &["c0"][..]), (&middle, &["m0", "x0", "x1", "m1"]), (&server, &["s0"])] {
            for device in devices {
                namespace.segment(device)?;
                ip(&format!("-n {} link set {device} up", namespace.0))?;
            }
        }
        // Small receive buffers: a client that does not read has soon filled them.
        let limit = "echo 4096 65536 131072 >/proc/sys/net/ipv4/tcp_rmem";
        let limited = client.command("sh").args(["-c", limit]).status();
        limited.ok().filter(std::process::ExitStatus::success).ok_or("the buffers of a namespace cannot be set")?;
        Ok(Self { client, middle, server })
    }

    /// Starts the relay, a test that calls [`relay`], with so many milliseconds between the capture point and either side.
    pub(crate) fn relay(&self, test: &str, client_ms: u64, server_ms: u64) -> Running {
        let mut running = self.middle.start(test, &format!("{client_ms} {server_ms}"));
        running.says("relaying");
        running
    }
}

/// Returns the arguments of the part that this process has in the network, if it has one.
pub(crate) fn part() -> Option<Vec<u64>> {
    let part = std::env::var(PART).ok()?;
    Some(part.split(' ').map(|number| number.parse().unwrap()).collect())
}

/// Relays frames until the process is killed.
pub(crate) fn relay(client_ms: u64, server_ms: u64) {
    let sides = [("m0", "x0", client_ms), ("x0", "m0", client_ms), ("x1", "m1", server_ms), ("m1", "x1", server_ms)];
    let open = |device| {
        let capture = pcap::Capture::from_device(device).unwrap().immediate_mode(true).buffer_size(32 << 20);
        capture.snaplen(65_535).open().unwrap()
    };
    let mut threads = Vec::new();
    for (from, to, millis) in sides {
        let (mut incoming, mut outgoing) = (open(from), open(to));
        incoming.direction(pcap::Direction::In).unwrap();
        // It only sends.
        outgoing.filter("less 1", true).unwrap();
        let (sender, held) = channel::<(Instant, Vec<u8>)>();
        threads.push(std::thread::spawn(move || {
            for (due, frame) in held {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                outgoing.sendpacket(frame).unwrap();
            }
        }));
        threads.push(std::thread::spawn(move || {
            loop {
                match incoming.next_packet() {
                    Ok(packet) => {
                        let due = Instant::now() + Duration::from_millis(millis);
                        sender.send((due, packet.data.to_vec())).unwrap();
                    }
                    Err(pcap::Error::TimeoutExpired) => {}
                    Err(error) => panic!("{from}: {error}"),
                }
            }
        }));
    }
    announce("relaying");
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
