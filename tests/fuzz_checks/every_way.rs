//! The lines do not depend on how they are produced: with and without fast paths, with one thread or several, from a file or a
//! pipe, with the hand-written JSON or serde's.

use std::io::{self, Cursor, Read};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use pgdissect::{FileSource, cli};

/// The output, and the messages for the user.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) code: u8,
    pub(crate) lines: Vec<u8>,
    pub(crate) messages: Vec<String>,
}

/// The number of threads, and the kind of input.
const WAYS: [(&str, Input); 5] =
    [("1", Input::Whole), ("1", Input::Piped), ("2", Input::Whole), ("2", Input::Piped), ("4", Input::Whole)];

#[derive(Clone, Copy, Debug)]
enum Input {
    Whole,
    /// In pieces, with pauses.
    Piped,
}

/// Dissects a capture file in every way, with these arguments of the command.
pub(crate) fn check(file: &[u8], args: &[&str]) -> Written {
    let plain = run(file, Input::Whole, &[args, &["--no-fast-paths"]].concat());
    for (threads, input) in WAYS {
        let args = [args, &["-j", threads, "--least-in-parallel", "2"]].concat();
        let other = run(file, input, &args);
        if other != plain {
            differ(&plain, &other, &format!("{input:?} {}", args.join(" ")));
        }
    }
    plain
}

/// Removes the only counter that may differ: the memory used for session state, in counters and in a summary.
fn without_memory(lines: &mut Vec<u8>) {
    const MEMBER: &[u8] = b",\"remembered_bytes\":";
    let mut from = 0;
    while let Some(end) = lines[from..].iter().position(|byte| *byte == b'\n').map(|end| from + end) {
        let line = &lines[from..end];
        let is_counted =
            [&b"{\"event\":\"stats\""[..], b"{\"event\":\"summary\""].iter().any(|start| line.starts_with(start));
        let at = line.windows(MEMBER.len()).position(|window| window == MEMBER).filter(|_| is_counted);
        from = end + 1;
        if let Some(at) = at {
            let start = end - line.len() + at;
            let digits = lines[start + MEMBER.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            lines.drain(start..start + MEMBER.len() + digits);
            from -= MEMBER.len() + digits;
        }
    }
}

fn differ(plain: &Written, other: &Written, way: &str) -> ! {
    let texts = [plain, other].map(|written| String::from_utf8_lossy(&written.lines));
    let [mut expected, mut got] = texts.each_ref().map(|text| text.lines());
    loop {
        match (expected.next(), got.next()) {
            (None, None) => break,
            (expected, got) => assert_eq!(got, expected, "{way}: another line"),
        }
    }
    assert_eq!((other.code, &other.messages), (plain.code, &plain.messages), "{way}: another end");
    panic!("{way}: other bytes");
}

fn run(file: &[u8], input: Input, args: &[&str]) -> Written {
    let reader: Box<dyn Read + Send> = match input {
        Input::Whole => Box::new(Cursor::new(file.to_vec())),
        Input::Piped => Box::new(Pipe { file: Cursor::new(file.to_vec()), reads: 0 }),
    };
    let source = FileSource::from_reader("capture", reader, Arc::new(AtomicBool::new(false)));
    let (out, mut messages) = (Shared::default(), Vec::new());
    let code = cli::dissect(args, source, Box::new(out.clone()), &mut |message| messages.push(message.to_owned()));
    let mut lines = std::mem::take(&mut *out.0.lock().expect("no thread broke off"));
    without_memory(&mut lines);
    Written { code: code.expect("the arguments are right"), lines, messages }
}

/// A vector that a thread may write to.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no thread broke off").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pieces of various lengths, with no data available in between.
struct Pipe {
    file: Cursor<Vec<u8>>,
    reads: usize,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads.is_multiple_of(5) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = self.reads * 977 % 8_192 + 1;
        let len = into.len().min(most);
        self.file.read(&mut into[..len])
    }
}
