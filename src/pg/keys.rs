//! Unique JSON object keys made of names from the wire.

use std::borrow::Cow;
use std::collections::HashMap;

use super::text::Text;
use crate::hex::Bytea;

/// Makes names unique by appending `#2`, `#3`, … to repeated ones.
#[derive(Debug, Default)]
pub(crate) struct UniqueKeys<'a> {
    /// The keys so far, and how often each occurred as a name.
    seen: HashMap<Cow<'a, str>, u64>,
}

impl<'a> UniqueKeys<'a> {
    /// Returns the key for the next name. A name that is not valid in its encoding is written in hex, as `\\x…`.
    pub(crate) fn next(&mut self, name: Text<'a>) -> Cow<'a, str> {
        let name = name.to_str().unwrap_or_else(|| Cow::Owned(Bytea(name.0).to_string()));
        let mut times = self.seen.get(&name).map_or(1, |times| times + 1);
        let mut key = name.clone();
        while times > 1 {
            key = Cow::Owned(format!("{name}#{times}"));
            if !self.seen.contains_key(&key) {
                break;
            }
            times += 1;
        }
        self.seen.insert(name, times);
        self.seen.entry(key.clone()).or_insert(1);
        key
    }
}
