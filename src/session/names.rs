//! What names stand for, while requests that change it are under way.
//!
//! A client may use a name before it knows whether the request that gave it a meaning has succeeded. So each name has the
//! meaning that the server has confirmed, and those that requests without an answer will give it: the last of these is
//! what the next request refers to. An answer makes a meaning the confirmed one, a failure removes it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

/// The ordinal of a request on its connection.
type RequestId = u64;

/// How many bytes, and names, are kept of those to which requests gave a meaning that the server ignores: more than a
/// pipeline has behind an error.
const MAX_SKIPPED: usize = 64 * 1024;

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known<M> {
    /// It stands for this.
    As(M),
    /// It stands for nothing, or for something that SQL has made.
    Nothing,
    /// What it stands for was sent before the capture began, or was lost, or forgotten.
    Unknown,
}

impl<M> Known<M> {
    /// What it stands for.
    pub(super) fn get(self) -> Option<M> {
        if let Self::As(meaning) = self { Some(meaning) } else { None }
    }
}

impl<T> Known<&Arc<T>> {
    /// The same, on its own.
    pub(super) fn cloned(self) -> Known<Arc<T>> {
        match self {
            Self::As(meaning) => Known::As(Arc::clone(meaning)),
            Self::Nothing => Known::Nothing,
            Self::Unknown => Known::Unknown,
        }
    }
}

/// Names of one kind.
#[derive(Debug)]
pub(super) struct Names<T> {
    unnamed: Meanings<T>,
    named: HashMap<Box<[u8]>, Meanings<T>, RandomState>,
    /// Whether every name that stands for something is here.
    is_complete: bool,
    /// Counts uses, to tell which name was not used for long.
    clock: u64,
    /// The meanings from requests that the server ignores, until those come that it does not.
    skipped: Skipped,
}

/// Names to which requests gave a meaning that the server ignores.
#[derive(Debug, Default)]
struct Skipped {
    /// The first of the requests.
    first: RequestId,
    names: Vec<Box<[u8]>>,
    /// The bytes of the names.
    size: usize,
}

#[derive(Debug)]
struct Meanings<T> {
    confirmed: Option<Arc<T>>,
    pending: VecDeque<(RequestId, Option<Arc<T>>)>,
    used: u64,
}

impl<T> Default for Meanings<T> {
    fn default() -> Self {
        Self { confirmed: None, pending: VecDeque::new(), used: 0 }
    }
}

impl<T> Meanings<T> {
    fn current(&self) -> Option<&Arc<T>> {
        self.pending.back().map_or(self.confirmed.as_ref(), |(_, meaning)| meaning.as_ref())
    }

    fn confirm(&mut self, id: RequestId) {
        while self.pending.front().is_some_and(|(pending, _)| *pending <= id) {
            self.confirmed = self.pending.pop_front().and_then(|(_, meaning)| meaning);
        }
    }

    fn take_back(&mut self, id: RequestId) {
        // Requests are settled in order, so that it mostly is the first.
        if let Ok(index) = self.pending.binary_search_by_key(&id, |(pending, _)| *pending) {
            self.pending.remove(index);
        }
    }

    fn replace(&mut self, id: RequestId, meaning: &Arc<T>) {
        let place = self.pending.binary_search_by_key(&id, |(pending, _)| *pending);
        if let Some((_, had)) = place.ok().and_then(|index| self.pending.get_mut(index)) {
            *had = Some(Arc::clone(meaning));
        }
    }

    /// Removes the meanings from this request on.
    fn take_back_from(&mut self, first: RequestId) {
        while self.pending.back().is_some_and(|(pending, _)| *pending >= first) {
            self.pending.pop_back();
        }
    }

    fn is_empty(&self) -> bool {
        self.confirmed.is_none() && self.pending.is_empty()
    }
}

impl<T> Names<T> {
    /// No names. They are `complete` where the connection was seen from its beginning.
    pub(super) fn new(is_complete: bool) -> Self {
        Self {
            unnamed: Meanings::default(),
            named: HashMap::default(),
            is_complete,
            clock: 0,
            skipped: Skipped::default(),
        }
    }

    /// How many names stand for something, the unnamed one aside.
    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    /// What a name stands for in the next request.
    pub(super) fn get(&mut self, name: &[u8]) -> Known<&Arc<T>> {
        let meanings = if name.is_empty() { Some(&mut self.unnamed) } else { self.named.get_mut(name) };
        let Some(meanings) = meanings.filter(|meanings| !meanings.is_empty()) else {
            return if self.is_complete { Known::Nothing } else { Known::Unknown };
        };
        self.clock += 1;
        meanings.used = self.clock;
        meanings.current().map_or(Known::Nothing, Known::As)
    }

    /// What a name stands for in the request that the server handles now, when all before it is settled.
    pub(super) fn confirmed(&self, name: &[u8]) -> Known<&Arc<T>> {
        let meanings = if name.is_empty() { Some(&self.unnamed) } else { self.named.get(name) };
        match meanings.and_then(|meanings| meanings.confirmed.as_ref()) {
            Some(meaning) => Known::As(meaning),
            None if self.is_complete => Known::Nothing,
            None => Known::Unknown,
        }
    }

    /// Replaces the meaning that a request gives a name.
    pub(super) fn replace(&mut self, name: &[u8], id: RequestId, meaning: &Arc<T>) {
        self.change(name, |meanings| meanings.replace(id, meaning));
    }

    /// A request was sent that gives a name a meaning, or removes it.
    pub(super) fn send(&mut self, name: &[u8], id: RequestId, meaning: Option<Arc<T>>) {
        self.clock += 1;
        let used = self.clock;
        let meanings = if name.is_empty() {
            &mut self.unnamed
        } else if let Some(meanings) = self.named.get_mut(name) {
            meanings
        } else {
            self.named.entry(name.into()).or_default()
        };
        meanings.used = used;
        meanings.pending.push_back((id, meaning));
    }

    /// A request was sent that gives a name a meaning, or removes it, and that the server ignores, as it does those behind it until
    /// the [end](Self::end_skipped). These refer to its meaning.
    pub(super) fn send_skipped(&mut self, name: &[u8], id: RequestId, meaning: Option<Arc<T>>) {
        if self.skipped.size + name.len() >= MAX_SKIPPED {
            return self.forget();
        }
        if self.skipped.names.is_empty() {
            self.skipped.first = id;
        }
        self.skipped.size += name.len() + 1;
        self.skipped.names.push(name.into());
        self.send(name, id, meaning);
    }

    /// What comes from here on is not ignored.
    pub(super) fn end_skipped(&mut self) {
        if !self.skipped.names.is_empty() {
            let Skipped { first, names, .. } = std::mem::take(&mut self.skipped);
            for name in names {
                self.change(&name, |meanings| meanings.take_back_from(first));
            }
        }
    }

    /// The request has succeeded.
    pub(super) fn confirm(&mut self, name: &[u8], id: RequestId) {
        self.change(name, |meanings| meanings.confirm(id));
    }

    /// The request has had no effect.
    pub(super) fn take_back(&mut self, name: &[u8], id: RequestId) {
        self.change(name, |meanings| meanings.take_back(id));
    }

    /// The request has failed: a name is as it was, but nothing is unnamed any more.
    pub(super) fn fail(&mut self, name: &[u8], id: RequestId) {
        if name.is_empty() {
            self.unnamed.confirm(id);
            self.unnamed.confirmed = None;
        } else {
            self.take_back(name, id);
        }
    }

    /// Whether the request has succeeded was not seen.
    pub(super) fn lose(&mut self, name: &[u8], id: RequestId) {
        let mut had_another = false;
        self.change(name, |meanings| {
            had_another = meanings.confirmed.is_some();
            meanings.confirm(id);
            if had_another {
                meanings.confirmed = None;
            }
        });
        // It may stand for the one or for the other.
        self.is_complete &= !had_another;
    }

    fn change(&mut self, name: &[u8], change: impl FnOnce(&mut Meanings<T>)) {
        if name.is_empty() {
            change(&mut self.unnamed);
        } else if let Some(meanings) = self.named.get_mut(name) {
            change(meanings);
            if meanings.is_empty() {
                self.named.remove(name);
            }
        }
    }

    /// A name that was confirmed stands for nothing any more.
    pub(super) fn remove(&mut self, name: &[u8]) {
        self.change(name, |meanings| meanings.confirmed = None);
    }

    /// A name stands for something by other means than a request that gives it a meaning.
    pub(super) fn establish(&mut self, name: &[u8], meaning: Arc<T>) {
        self.clock += 1;
        let used = self.clock;
        let meanings = if name.is_empty() { &mut self.unnamed } else { self.named.entry(name.into()).or_default() };
        (meanings.confirmed, meanings.used) = (Some(meaning), used);
    }

    /// The names that were confirmed stand for nothing any more, but for those of which what they stand for is to stay.
    pub(super) fn clear(&mut self, stays: impl Fn(&T) -> bool) {
        let keep = |meanings: &mut Meanings<T>| {
            meanings.confirmed = meanings.confirmed.take().filter(|meaning| stays(meaning));
        };
        keep(&mut self.unnamed);
        if !self.named.is_empty() {
            self.named.retain(|_, meanings| {
                keep(meanings);
                !meanings.is_empty()
            });
        }
    }

    /// What any name stands for is not known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::new(false);
    }

    /// The names that were confirmed stand for nothing any more. SQL has no name for what is unnamed.
    pub(super) fn clear_named(&mut self) {
        self.named.retain(|_, meanings| {
            meanings.confirmed = None;
            !meanings.is_empty()
        });
    }

    /// What any name stands for that was confirmed is not known any more; what requests give that are under way is.
    pub(super) fn doubt(&mut self) {
        self.clear_named();
        self.is_complete = false;
    }

    /// Forgets the eighth of the names that were not used for the longest time. Returns how many there were.
    pub(super) fn forget_oldest(&mut self) -> usize {
        let mut uses: Vec<u64> = self.named.values().map(|meanings| meanings.used).collect();
        let eighth = uses.len() / 8;
        if uses.is_empty() {
            return 0;
        }
        let oldest = *uses.select_nth_unstable(eighth).1;
        let before = self.named.len();
        self.named.retain(|_, meanings| meanings.used > oldest);
        self.is_complete = false;
        before - self.named.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<String> {
        Names::new(true)
    }

    fn is(meaning: &'static str) -> Known<Arc<String>> {
        Known::As(Arc::new(meaning.to_owned()))
    }

    #[test]
    fn a_name_can_be_used_before_it_is_confirmed() {
        let mut names = names();
        names.send(b"s", 1, Some(Arc::new("one".to_owned())));
        assert_eq!(names.get(b"s").cloned(), is("one"));
        names.confirm(b"s", 1);
        assert_eq!(names.get(b"s").cloned(), is("one"));
        names.send(b"s", 2, None);
        assert_eq!(names.get(b"s").cloned(), Known::Nothing);
        names.confirm(b"s", 2);
        assert_eq!((names.get(b"s").cloned(), names.len()), (Known::Nothing, 0));
    }

    #[test]
    fn a_name_that_could_not_be_given_stands_for_what_it_stood_for() {
        let mut names = names();
        names.send(b"s", 1, Some(Arc::new("one".to_owned())));
        names.confirm(b"s", 1);
        names.send(b"s", 2, Some(Arc::new("two".to_owned())));
        names.fail(b"s", 2);
        assert_eq!(names.get(b"s").cloned(), is("one"));
    }

    #[test]
    fn what_was_sent_behind_a_failure_stands() {
        let mut names = names();
        names.send(b"s", 1, Some(Arc::new("failed".to_owned())));
        names.send(b"s", 2, Some(Arc::new("skipped".to_owned())));
        names.send(b"s", 3, Some(Arc::new("behind the Sync".to_owned())));
        names.fail(b"s", 1);
        names.take_back(b"s", 2);
        assert_eq!(names.get(b"s").cloned(), is("behind the Sync"));
        names.take_back(b"s", 3);
        assert_eq!(names.get(b"s").cloned(), Known::Nothing);
    }

    #[test]
    fn what_many_requests_have_said_is_taken_back_one_by_one_and_at_once() {
        let mut names = names();
        let one = Arc::new("one".to_owned());
        for name in [b"".as_slice(), b"s"] {
            names.send(name, 1, Some(Arc::clone(&one)));
            names.confirm(name, 1);
            (2..300_000).for_each(|id| names.send(name, id, None));
            names.send(name, 300_000, Some(Arc::clone(&one)));
            (2..300_000).for_each(|id| names.take_back(name, id));
            assert_eq!(names.get(name).cloned(), is("one"));
            assert_eq!(names.confirmed(name).cloned(), is("one"));
            names.take_back(name, 300_000);
            (300_001..330_000).for_each(|id| names.send_skipped(name, id, None));
            assert_eq!(names.get(name).cloned(), Known::Nothing);
            names.end_skipped();
            assert_eq!(names.get(name).cloned(), is("one"));
        }
    }

    #[test]
    fn sql_gives_and_takes_no_meaning_of_what_is_unnamed() {
        let mut names = names();
        names.establish(b"", Arc::new("one".to_owned()));
        names.establish(b"a", Arc::new("two".to_owned()));
        names.send(b"b", 1, Some(Arc::new("three".to_owned())));
        names.doubt();
        assert_eq!((names.get(b"").cloned(), names.get(b"b").cloned()), (is("one"), is("three")));
        assert_eq!(names.get(b"a").cloned(), Known::Unknown);
    }

    #[test]
    fn what_is_unnamed_is_gone_as_soon_as_another_is_tried() {
        let mut names = names();
        names.send(b"", 1, Some(Arc::new("one".to_owned())));
        names.confirm(b"", 1);
        names.send(b"", 2, Some(Arc::new("syntax error".to_owned())));
        names.fail(b"", 2);
        assert_eq!(names.get(b"").cloned(), Known::Nothing);
    }

    #[test]
    fn clearing_leaves_what_is_under_way() {
        let mut names = names();
        names.send(b"a", 1, Some(Arc::new("one".to_owned())));
        names.confirm(b"a", 1);
        names.send(b"b", 2, Some(Arc::new("two".to_owned())));
        names.clear(|_| false);
        assert_eq!((names.get(b"a").cloned(), names.get(b"b").cloned()), (Known::Nothing, is("two")));
    }

    #[test]
    fn what_may_be_either_of_two_is_unknown() {
        let mut names = names();
        names.send(b"a", 1, Some(Arc::new("one".to_owned())));
        names.lose(b"a", 1);
        assert_eq!(names.get(b"a").cloned(), is("one"), "it could not be used otherwise");
        names.send(b"a", 2, Some(Arc::new("two".to_owned())));
        names.lose(b"a", 2);
        assert_eq!(names.get(b"a").cloned(), Known::Unknown);
    }

    #[test]
    fn the_oldest_are_forgotten_and_unknown() {
        let mut names = names();
        for number in 0..16_u8 {
            names.send(&[b'a' + number], number.into(), Some(Arc::new("x".to_owned())));
        }
        names.get(b"a");
        assert!((1..=3).contains(&names.forget_oldest()));
        assert_eq!(names.get(b"a").cloned(), is("x"));
        assert_eq!(names.get(b"b").cloned(), Known::Unknown);
    }
}
