//! Lines of many spans, made of lines of one.

use std::io::{self, Write};

use memchr::memmem;

/// The beginning of the spans in a line. Within a string, its quotes would be escaped.
const SPANS: &[u8] = br#""spans":["#;
/// What is behind the last span.
const BEHIND: &[u8] = b"]}]}]}";
/// What is before the first resource.
const BEFORE: &[u8] = br#"{"resourceSpans":["#;
/// The empty line that ends a line of spans.
pub(super) const END: &[u8] = b"\n";

/// How many spans a line has at most, and about how many bytes: collectors read lines of at most 1 MiB by default.
const MOST_SPANS: usize = 512;
const MOST_BYTES: usize = 512 << 10;

/// Joins lines of one span, in their order, to lines of many, by resource. An empty line ends one: so which spans are in one line does
/// not depend on the threads that made them.
pub(crate) struct TraceLines<W> {
    to: W,
    /// The beginning of a line whose end is still to come.
    begun: Vec<u8>,
    /// The resources of the line, each with its spans.
    resources: Vec<(Vec<u8>, Vec<u8>)>,
    spans: usize,
    bytes: usize,
}

impl<W: Write> TraceLines<W> {
    pub(crate) const fn new(to: W) -> Self {
        Self { to, begun: Vec::new(), resources: Vec::new(), spans: 0, bytes: 0 }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if line.is_empty() {
            return self.end();
        }
        let parts = || {
            let line = line.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?;
            line.split_at_checked(memmem::find(line, SPANS)? + SPANS.len())
        };
        let (resource, span) = parts().ok_or_else(|| io::Error::other("not a line of one span"))?;
        if self.bytes + line.len() > MOST_BYTES {
            self.end()?;
        }
        match self.resources.iter_mut().find(|(found, _)| found == resource) {
            Some((_, spans)) => {
                spans.push(b',');
                spans.extend_from_slice(span);
            }
            None => self.resources.push((resource.to_owned(), span.to_owned())),
        }
        self.bytes += line.len();
        self.spans += 1;
        if self.spans == MOST_SPANS { self.end() } else { Ok(()) }
    }

    /// Writes the line, if it has spans.
    fn end(&mut self) -> io::Result<()> {
        if self.spans == 0 {
            return Ok(());
        }
        (self.spans, self.bytes) = (0, 0);
        let mut line = BEFORE.to_owned();
        for (index, (resource, spans)) in self.resources.drain(..).enumerate() {
            if index > 0 {
                line.push(b',');
            }
            line.extend_from_slice(&resource);
            line.extend_from_slice(&spans);
            line.extend_from_slice(b"]}]}");
        }
        line.extend_from_slice(b"]}\n");
        self.to.write_all(&line)
    }
}

impl<W: Write> Write for TraceLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at_checked(at).unwrap_or_default();
            rest = behind.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.line(line)?;
            } else {
                let mut begun = std::mem::take(&mut self.begun);
                begun.extend_from_slice(line);
                self.line(&begun)?;
            }
        }
        self.begun.extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(service: &str, span: &str) -> String {
        format!(
            r#"{{"resourceSpans":[{{"resource":"{service}","scopeSpans":[{{"scope":{{}},"spans":["{span}"]}}]}}]}}"#
        )
    }

    #[test]
    fn spans_of_a_resource_are_together_however_they_are_written() {
        let lines = [one("a", "1"), one("b", "2"), one("a", "3"), String::new(), String::new(), one("a", "4")];
        let text = lines.map(|line| line + "\n").concat() + "\n";
        for size in [1, 7, 100, text.len()] {
            let mut joined = TraceLines::new(Vec::new());
            text.as_bytes().chunks(size).for_each(|chunk| joined.write_all(chunk).unwrap());
            assert_eq!(
                String::from_utf8(joined.to).unwrap(),
                concat!(
                    r#"{"resourceSpans":[{"resource":"a","scopeSpans":[{"scope":{},"spans":["1","3"]}]},"#,
                    r#"{"resource":"b","scopeSpans":[{"scope":{},"spans":["2"]}]}]}"#,
                    "\n",
                    r#"{"resourceSpans":[{"resource":"a","scopeSpans":[{"scope":{},"spans":["4"]}]}]}"#,
                    "\n",
                )
            );
        }
    }

    #[test]
    fn lines_have_a_limit_of_spans_and_of_bytes() {
        let mut joined = TraceLines::new(Vec::new());
        for _ in 0..MOST_SPANS + 1 {
            writeln!(joined, "{}", one("a", "x")).unwrap();
        }
        assert_eq!(memchr::memchr_iter(b'\n', &joined.to).count(), 1);
        for _ in 0..20 {
            writeln!(joined, "{}", one("a", &"x".repeat(MOST_BYTES / 10))).unwrap();
        }
        writeln!(joined).unwrap();
        assert!(joined.to.split(|b| *b == b'\n').all(|line| line.len() <= MOST_BYTES));
    }
}
