//! A stand-in for a pooler that prepares the statements of its clients under names of its own, as PgBouncer does since version 1.21
//! (`max_prepared_statements` in its documentation): a client's name of a statement stands for `PGBOUNCER_n`, one for each SQL; a
//! connection to the server on which that was not prepared yet is sent a Parse before the Bind; a Parse of what is there already is
//! answered by the pooler. Transaction pooling, of clients that send a Sync or a Query at the end of each request.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Starts it on a port of its own, which is returned, with so many connections to the server. It runs until the test ends.
pub(crate) fn start(server: u16, connections: usize) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut greeting = Vec::new();
    let servers = (0..connections).map(|_| Server::connect(server, &mut greeting)).collect();
    let pooler = Arc::new(Pooler {
        greeting,
        servers: Mutex::new(servers),
        returned: Condvar::new(),
        names: Mutex::new(HashMap::new()),
    });
    thread::spawn(move || {
        for client in listener.incoming() {
            let (pooler, client) = (Arc::clone(&pooler), client.unwrap());
            // A client that goes away ends its thread.
            thread::spawn(move || pooler.serve(client));
        }
    });
    port
}

struct Pooler {
    /// What a server sends before its first ReadyForQuery.
    greeting: Vec<u8>,
    servers: Mutex<Vec<Server>>,
    returned: Condvar,
    /// The numbers of statements, by all of their Parse but the name.
    names: Mutex<HashMap<Vec<u8>, usize>>,
}

struct Server {
    stream: BufReader<TcpStream>,
    prepared: HashSet<usize>,
}

/// What becomes of a ParseComplete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Forwarded,
    /// The Parse was the pooler's own.
    Dropped,
    /// The Parse was not sent.
    Made,
}

/// A message: its type and its body.
type Message = (u8, Vec<u8>);

fn read(stream: &mut impl Read) -> io::Result<Message> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [tag, a, b, c, d] = head;
    let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok((tag, body))
}

fn put(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    out.push(tag);
    let len = parts.iter().map(|part| part.len()).sum::<usize>() + 4;
    out.extend((len as u32).to_be_bytes());
    parts.iter().for_each(|part| out.extend(*part));
}

/// Splits a string that ends with a zero byte from what is behind it.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    (&bytes[..end], &bytes[end + 1..])
}

impl Server {
    /// Prepares a statement, for a Parse of a client's or for another message, and returns its name.
    fn prepare(
        &mut self,
        out: &mut Vec<u8>,
        replies: &mut VecDeque<Reply>,
        (number, parse): &(usize, Vec<u8>),
        is_parse: bool,
    ) -> String {
        let name = format!("PGBOUNCER_{number}\0");
        if self.prepared.insert(*number) {
            put(out, b'P', &[name.as_bytes(), parse]);
            replies.push_back(if is_parse { Reply::Forwarded } else { Reply::Dropped });
        } else if is_parse {
            replies.push_back(Reply::Made);
        }
        name
    }

    fn connect(port: u16, greeting: &mut Vec<u8>) -> Self {
        let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
        let parameters = b"\0\x03\0\0user\0postgres\0database\0postgres\0application_name\0stand-in\0\0";
        let mut startup = (parameters.len() as u32 + 4).to_be_bytes().to_vec();
        startup.extend(parameters);
        stream.get_mut().write_all(&startup).unwrap();
        greeting.clear();
        loop {
            let (tag, body) = read(&mut stream).unwrap();
            put(greeting, tag, &[&body]);
            match tag {
                b'Z' => return Self { stream, prepared: HashSet::new() },
                b'E' => panic!("{}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }
}

impl Pooler {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut client = BufReader::new(stream);
        loop {
            let mut len = [0; 4];
            client.read_exact(&mut len)?;
            let mut body = vec![0; u32::from_be_bytes(len) as usize - 4];
            client.read_exact(&mut body)?;
            // Anything but a StartupMessage is a request for encryption.
            if body.starts_with(&[0, 3]) {
                break;
            }
            client.get_mut().write_all(b"N")?;
        }
        client.get_mut().write_all(&self.greeting)?;
        let mut own = HashMap::new();
        let mut held = None;
        let mut request = Vec::new();
        loop {
            let message = read(&mut client)?;
            let tag = message.0;
            request.push(message);
            match tag {
                b'Q' | b'S' => self.run(&mut client, std::mem::take(&mut request), &mut own, &mut held)?,
                b'X' => return Ok(()),
                _ => {}
            }
        }
    }

    fn server(&self) -> Server {
        let mut servers = self.servers.lock().unwrap();
        loop {
            match servers.pop() {
                Some(server) => return server,
                None => servers = self.returned.wait(servers).unwrap(),
            }
        }
    }

    /// Forwards a request, and its replies.
    fn run(
        &self,
        client: &mut BufReader<TcpStream>,
        request: Vec<Message>,
        own: &mut HashMap<Vec<u8>, (usize, Vec<u8>)>,
        held: &mut Option<Server>,
    ) -> io::Result<()> {
        let mut server = held.take().unwrap_or_else(|| self.server());
        let (mut out, mut replies) = (Vec::new(), VecDeque::new());
        for (tag, body) in request {
            match tag {
                b'P' if body[0] != 0 => {
                    let (name, parse) = string(&body);
                    let mut names = self.names.lock().unwrap();
                    let next = names.len() + 1;
                    let number = *names.entry(parse.to_vec()).or_insert(next);
                    let statement = (number, parse.to_vec());
                    server.prepare(&mut out, &mut replies, &statement, true);
                    own.insert(name.to_vec(), statement);
                }
                b'P' => {
                    replies.push_back(Reply::Forwarded);
                    put(&mut out, tag, &[&body]);
                }
                b'B' => {
                    let (portal, behind) = string(&body);
                    let (name, rest) = string(behind);
                    let name = match own.get(name) {
                        Some(statement) => server.prepare(&mut out, &mut replies, statement, false),
                        None => "\0".to_owned(),
                    };
                    put(&mut out, b'B', &[portal, b"\0", name.as_bytes(), rest]);
                }
                b'D' if body[0] == b'S' && body[1] != 0 => {
                    let name = server.prepare(&mut out, &mut replies, &own[string(&body[1..]).0], false);
                    put(&mut out, b'D', &[b"S", name.as_bytes()]);
                }
                _ => put(&mut out, tag, &[&body]),
            }
        }
        server.stream.get_mut().write_all(&out)?;
        let mut answer = Vec::new();
        loop {
            let (tag, body) = read(&mut server.stream)?;
            if tag == b'E' {
                replies.clear();
            }
            while replies.front() == Some(&Reply::Made) {
                put(&mut answer, b'1', &[]);
                replies.pop_front();
            }
            let reply = if tag == b'1' { replies.pop_front() } else { None };
            if reply != Some(Reply::Dropped) {
                put(&mut answer, tag, &[&body]);
            }
            if tag == b'Z' {
                client.get_mut().write_all(&answer)?;
                if body == b"I" {
                    self.servers.lock().unwrap().push(server);
                    self.returned.notify_one();
                } else {
                    *held = Some(server);
                }
                return Ok(());
            }
        }
    }
}
