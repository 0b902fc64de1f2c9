//! The ladder of a session: its messages, folded by request.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::list::{Scroll, visible};
use super::view::{Ladder, SessionRow, Step, Who};
use crate::direction::Direction;

/// A request with its messages; or messages that belong to none, one after the other.
#[derive(Debug)]
pub(crate) struct Group {
    /// The number of the request.
    pub(crate) query: Option<u64>,
    /// Where its messages are.
    pub(crate) steps: Vec<usize>,
    /// What it asks for.
    pub(crate) title: String,
    /// How it failed.
    pub(crate) error: Option<String>,
    /// Microseconds from its first message to its last.
    pub(crate) duration_us: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Whether its last message is an end.
    pub(crate) has_ended: bool,
}

/// What tells a group from others: its request, or its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GroupId {
    Request(u64),
    Message(u64),
}

/// A line of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LadderLine {
    Group(usize),
    Step {
        group: usize,
        step: usize,
        /// The message before it in its group.
        before: Option<usize>,
    },
}

/// The ladder of a session, as far as it is unfolded.
pub(crate) struct LadderView {
    pub(crate) conn: u64,
    pub(crate) who: Who,
    pub(crate) session: Option<Arc<SessionRow>>,
    pub(crate) ladder: Ladder,
    pub(crate) groups: Vec<Group>,
    pub(crate) lines: Vec<LadderLine>,
    unfolded: HashSet<GroupId>,
    /// The request to select once it is there.
    pub(crate) wanted: Option<u64>,
    pub(crate) is_loaded: bool,
    pub(crate) selected: usize,
    pub(crate) offset: usize,
    pub(crate) page: usize,
}

impl LadderView {
    /// Creates the ladder of a session, with a request selected, if it is known.
    pub(crate) fn new(who: Who, query: Option<u64>) -> Self {
        Self {
            conn: who.conn,
            who,
            session: None,
            ladder: Ladder::default(),
            groups: Vec::new(),
            lines: Vec::new(),
            unfolded: query.map(GroupId::Request).into_iter().collect(),
            wanted: query,
            is_loaded: false,
            selected: 0,
            offset: 0,
            page: 1,
        }
    }

    /// Sets the messages. What is selected stays so; if it was the last line, the last one is.
    pub(crate) fn set(&mut self, ladder: Ladder) {
        let selected = self.selected_id();
        let was_last = self.is_loaded && self.selected + 1 >= self.lines.len();
        self.ladder = ladder;
        self.groups = groups(&self.ladder.steps);
        self.make_lines();
        let wanted = self.wanted.and_then(|query| self.line_of((Some(GroupId::Request(query)), None)));
        if let Some(line) = wanted {
            self.wanted = None;
            // What follows is what was asked for.
            self.offset = line.saturating_sub(1);
        }
        let last = self.lines.len().saturating_sub(1);
        self.selected = wanted
            .or_else(|| was_last.then_some(last))
            .or_else(|| self.line_of(selected).filter(|_| self.is_loaded))
            .unwrap_or(if self.is_loaded { self.selected.min(last) } else { last });
        self.is_loaded = true;
    }

    fn make_lines(&mut self) {
        self.lines.clear();
        for (number, group) in self.groups.iter().enumerate() {
            self.lines.push(LadderLine::Group(number));
            if self.unfolded.contains(&group.id(&self.ladder.steps)) {
                let mut before = None;
                for step in &group.steps {
                    self.lines.push(LadderLine::Step { group: number, step: *step, before });
                    before = Some(*step);
                }
            }
        }
    }

    fn group_id(&self, group: usize) -> Option<GroupId> {
        self.groups.get(group).map(|group| group.id(&self.ladder.steps))
    }

    /// Returns the group of the selected line, and its message if the line is one.
    fn selected_id(&self) -> (Option<GroupId>, Option<u64>) {
        match self.lines.get(self.selected) {
            Some(LadderLine::Group(group)) => (self.group_id(*group), None),
            Some(LadderLine::Step { group, step, .. }) => {
                (self.group_id(*group), self.ladder.steps.get(*step).map(|step| step.seq))
            }
            None => (None, None),
        }
    }

    fn line_of(&self, (id, seq): (Option<GroupId>, Option<u64>)) -> Option<usize> {
        let id = id?;
        self.lines.iter().position(|line| match line {
            LadderLine::Group(group) => seq.is_none() && self.group_id(*group) == Some(id),
            LadderLine::Step { group, step, .. } => {
                seq.is_some()
                    && self.ladder.steps.get(*step).map(|step| step.seq) == seq
                    && self.group_id(*group) == Some(id)
            }
        })
    }

    pub(crate) fn selected_group(&self) -> Option<&Group> {
        let (LadderLine::Group(group) | LadderLine::Step { group, .. }) = self.lines.get(self.selected)?;
        self.groups.get(*group)
    }

    /// Returns the selected message; `None` if a whole group is selected.
    pub(crate) fn selected_step(&self) -> Option<&Step> {
        match self.lines.get(self.selected)? {
            LadderLine::Group(_) => None,
            LadderLine::Step { step, .. } => self.ladder.steps.get(*step),
        }
    }

    /// Returns the messages of the selected group.
    pub(crate) fn selected_steps(&self) -> Vec<Step> {
        let group = self.selected_group();
        let steps = group.into_iter().flat_map(|group| &group.steps);
        steps.filter_map(|step| self.ladder.steps.get(*step)).cloned().collect()
    }

    /// Unfolds the selected group, or folds it.
    pub(crate) fn toggle(&mut self) {
        let (Some(id), _) = self.selected_id() else { return };
        if !self.unfolded.remove(&id) {
            self.unfolded.insert(id);
        }
        self.make_lines();
        self.selected = self.line_of((Some(id), None)).unwrap_or(self.selected);
    }

    /// Unfolds all groups; if they are, folds them.
    pub(crate) fn toggle_all(&mut self) {
        let selected = self.selected_id();
        let all: HashSet<_> = self.groups.iter().map(|group| group.id(&self.ladder.steps)).collect();
        self.unfolded = if all.is_subset(&self.unfolded) { HashSet::new() } else { all };
        self.make_lines();
        let line = self.line_of(selected).or_else(|| self.line_of((selected.0, None)));
        self.selected = line.unwrap_or(0);
    }

    pub(crate) fn select(&mut self, line: usize) {
        self.selected = line.min(self.lines.len().saturating_sub(1));
    }

    pub(crate) fn scroll(&mut self, page: usize) {
        self.page = page.max(1);
        (self.selected, self.offset) = visible(self.selected, self.offset, self.lines.len(), self.page);
    }
}

impl Scroll for LadderView {
    fn move_by(&mut self, lines: isize) {
        self.select(self.selected.saturating_add_signed(lines));
    }

    fn page(&self) -> usize {
        self.page
    }
}

impl Group {
    fn id(&self, steps: &[Step]) -> GroupId {
        let first = self.steps.first().and_then(|step| steps.get(*step)).map_or(0, |step| step.seq);
        self.query.map_or(GroupId::Message(first), GroupId::Request)
    }
}

/// Groups messages by request, in the order of their first messages.
fn groups(steps: &[Step]) -> Vec<Group> {
    let mut of_query = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut before = None;
    for (index, step) in steps.iter().enumerate() {
        let group = match step.query {
            Some(query) => *of_query.entry(query).or_insert(groups.len()),
            None if index > 0 && before.is_none() => groups.len().saturating_sub(1),
            None => groups.len(),
        };
        before = step.query;
        match groups.get_mut(group) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups.into_iter().map(|group| Group::new(group, steps)).collect()
}

impl Group {
    fn new(indices: Vec<usize>, all: &[Step]) -> Self {
        let steps: Vec<_> = indices.iter().filter_map(|step| all.get(*step)).collect();
        let facts = Facts::new(&steps);
        let query = steps.first().and_then(|step| step.query);
        Self {
            query,
            title: if query.is_some() { facts.title(&steps) } else { outside(&steps) },
            error: facts.error.map(str::to_owned),
            duration_us: facts.duration_us,
            rows: facts.rows,
            bytes: facts.bytes_in + facts.bytes_out,
            has_ended: query.is_none() || facts.has_ended,
            steps: indices,
        }
    }
}

/// Returns a title for messages that belong to no request.
fn outside(steps: &[&Step]) -> String {
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    let is_startup = names.iter().any(|name| name.starts_with("Startup") || name.starts_with("Authentication"));
    match names.as_slice() {
        _ if is_startup => "startup".to_owned(),
        [] => String::new(),
        [name] => (*name).to_owned(),
        [first, .., last] if steps.len() > 3 => format!("{first} … {last}"),
        names => names.join(", "),
    }
}

/// What the messages of a request add up to.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) duration_us: u64,
    /// Microseconds from the first message to the first row.
    pub(crate) first_row_us: Option<u64>,
    /// Microseconds from the first message to the first reply.
    pub(crate) first_reply_us: Option<u64>,
    pub(crate) rows: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) error: Option<&'a str>,
    /// How often each type of message came.
    pub(crate) messages: BTreeMap<&'a str, u64>,
    pub(crate) has_ended: bool,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(steps: &[&'a Step]) -> Self {
        let mut facts = Self::default();
        let Some(start) = steps.first().map(|step| step.ts) else { return facts };
        for step in steps {
            let after = step.ts.micros_since(start);
            facts.duration_us = facts.duration_us.max(after);
            *facts.messages.entry(step.name.as_str()).or_default() += step.count;
            match step.dir {
                Direction::Frontend => facts.bytes_in += step.bytes,
                Direction::Backend => {
                    facts.bytes_out += step.bytes;
                    facts.first_reply_us = facts.first_reply_us.or(Some(after));
                }
            }
            match step.name.as_str() {
                "DataRow" | "CopyData" => {
                    facts.rows += step.count;
                    facts.first_row_us = facts.first_row_us.or(Some(after));
                }
                "ErrorResponse" => facts.error = facts.error.or(Some(step.text.as_str())),
                _ => {}
            }
            let is_end = matches!(step.name.as_str(), "ReadyForQuery" | "CommandComplete" | "ErrorResponse");
            facts.has_ended |= is_end
                || matches!(
                    step.name.as_str(),
                    "EmptyQueryResponse" | "PortalSuspended" | "CloseComplete" | "ParameterDescription" | "NoData"
                );
        }
        facts
    }

    /// Returns what the request asks for.
    fn title(&self, steps: &[&Step]) -> String {
        let text_of = |name: &str| {
            steps.iter().find(|step| step.name == name && !step.text.is_empty()).map(|step| step.text.as_str())
        };
        let sql = ["Query", "Execute", "Parse", "FunctionCall", "Describe", "Close"].into_iter().find_map(text_of);
        match (sql, text_of("Bind")) {
            (Some(sql), Some(params)) => format!("{sql}  {params}"),
            (Some(text), None) | (None, Some(text)) => text.to_owned(),
            (None, None) => steps.first().map_or_else(String::new, |step| step.name.clone()),
        }
    }
}
