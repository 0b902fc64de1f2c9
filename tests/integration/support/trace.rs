//! libpq's record of a connection, as written by PQtrace.

use std::path::Path;

/// A message in a trace.
#[derive(Debug)]
pub(crate) struct Traced {
    /// `F` or `B`.
    pub(crate) dir: String,
    pub(crate) len: u64,
    pub(crate) name: String,
    /// The fields as they are printed, each preceded by a space.
    pub(crate) fields: String,
}

/// Reads a trace. A text with line feeds spans several lines.
pub(crate) fn read(path: &Path) -> Vec<Traced> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut messages: Vec<Traced> = Vec::new();
    for line in text.split('\n') {
        // libpq's remark about AuthenticationMD5Password, whose salt it does not print.
        if line.starts_with("mismatched message length") {
            continue;
        }
        if let Some(message) = begin(line) {
            messages.push(message);
        } else if let Some(last) = messages.last_mut() {
            last.fields.push('\n');
            last.fields.push_str(line);
        }
    }
    if let Some(last) = messages.last_mut() {
        let end = last.fields.trim_end_matches('\n').len();
        last.fields.truncate(end);
    }
    messages
}

fn begin(line: &str) -> Option<Traced> {
    let mut parts = line.splitn(4, '\t');
    let dir = parts.next().filter(|dir| matches!(*dir, "F" | "B"))?;
    let len = parts.next()?.parse().ok()?;
    let name = parts.next().filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    Some(Traced {
        dir: dir.to_owned(),
        len,
        name: name.to_owned(),
        fields: parts.next().unwrap_or_default().to_owned(),
    })
}

/// Reads the fields of a traced message one by one.
#[derive(Clone)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn new(message: &'a Traced) -> Self {
        Self(message.fields.as_bytes())
    }

    /// Expects exactly these bytes, preceded by a space.
    pub(crate) fn exactly(&mut self, wanted: &[u8]) -> Result<(), String> {
        let rest = self.0.strip_prefix(b" ").and_then(|rest| rest.strip_prefix(wanted));
        let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        self.0 = rest.ok_or_else(|| format!("wanted {:?}, the trace has {:?}", show(wanted), show(self.0)))?;
        Ok(())
    }

    /// Reads a number.
    pub(crate) fn number(&mut self) -> Result<i64, String> {
        let rest = self.0.strip_prefix(b" ").ok_or("wanted a number, the trace has nothing")?;
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let number = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse().ok());
        self.0 = &rest[end..];
        number.ok_or_else(|| "wanted a number".to_owned())
    }

    /// Expects a String, which is printed as it is.
    pub(crate) fn text(&mut self, wanted: &[u8]) -> Result<(), String> {
        self.exactly(&[b"\"", wanted, b"\""].concat())
    }

    /// Expects bytes, of which unprintable ones are printed in hex.
    pub(crate) fn bytes(&mut self, wanted: &[u8]) -> Result<(), String> {
        let mut printed = b"'".to_vec();
        for byte in wanted {
            match byte {
                b' '..=b'~' => printed.push(*byte),
                _ => printed.extend(format!("\\x{byte:02x}").bytes()),
            }
        }
        printed.push(b'\'');
        self.exactly(&printed)
    }

    /// Expects the end.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(format!("the trace goes on: {:?}", String::from_utf8_lossy(self.0)))
        }
    }
}
