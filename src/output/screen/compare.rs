//! Two messages, or two requests, side by side: what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::ladder::Facts;
use super::list::Scroll;
use super::rows::who;
use super::view::{Step, Who};
use crate::output::summary::units::{bytes, count, rate, time, time_of_day};

/// What a user marked to compare.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) who: Who,
    pub(crate) item: MarkedItem,
}

#[derive(Clone, Debug)]
pub(crate) enum MarkedItem {
    Message(Step),
    /// A request, with its messages.
    Request {
        query: u64,
        steps: Vec<Step>,
    },
}

impl Marked {
    /// Returns whether it is the same as another, maybe at a later time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.who.conn == other.who.conn
            && match (&self.item, &other.item) {
                (MarkedItem::Message(one), MarkedItem::Message(other)) => one.seq == other.seq,
                (MarkedItem::Request { query: one, .. }, MarkedItem::Request { query: other, .. }) => one == other,
                _ => false,
            }
    }

    /// Returns what it is, in a few words.
    pub(crate) fn name(&self) -> String {
        let conn = self.who.conn;
        match &self.item {
            MarkedItem::Message(step) => format!("message {} of #{conn}", step.seq),
            MarkedItem::Request { query, .. } => format!("request {query} of #{conn}"),
        }
    }

    /// Returns its fields, in their order.
    fn fields(&self) -> Vec<(String, String)> {
        match &self.item {
            MarkedItem::Message(step) => message_fields(step),
            MarkedItem::Request { steps, .. } => request_fields(steps),
        }
    }

    fn head(&self) -> Vec<(String, String)> {
        let steps = match &self.item {
            MarkedItem::Message(step) => std::slice::from_ref(step),
            MarkedItem::Request { steps, .. } => steps.as_slice(),
        };
        let start = steps.first().map_or_else(String::new, |step| time_of_day(step.ts));
        vec![("session".to_owned(), who(&self.who)), ("time".to_owned(), start)]
    }
}

/// A line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) field: String,
    pub(crate) left: String,
    pub(crate) right: String,
    /// How much more or less the right one is.
    pub(crate) change: String,
}

impl Pair {
    pub(crate) fn differs(&self) -> bool {
        self.left != self.right
    }
}

/// A comparison.
pub(crate) struct CompareView {
    pub(crate) names: [String; 2],
    /// What is shown.
    pub(crate) pairs: Vec<Pair>,
    all: Vec<Pair>,
    pub(crate) only_differences: bool,
    pub(crate) offset: usize,
    pub(crate) page: usize,
    /// How many lines are drawn.
    pub(crate) lines: usize,
}

impl CompareView {
    pub(crate) fn new(left: &Marked, right: &Marked) -> Self {
        let all = pairs(left, right);
        Self {
            names: [left.name(), right.name()],
            pairs: all.clone(),
            all,
            only_differences: false,
            offset: 0,
            page: 1,
            lines: 0,
        }
    }

    /// Shows only what differs, or everything.
    pub(crate) fn toggle(&mut self) {
        self.only_differences = !self.only_differences;
        self.pairs = self.all.iter().filter(|pair| !self.only_differences || pair.differs()).cloned().collect();
        self.offset = 0;
    }
}

impl Scroll for CompareView {
    fn move_by(&mut self, lines: isize) {
        self.offset = self.offset.saturating_add_signed(lines);
        self.offset = self.offset.min(self.lines.saturating_sub(self.page));
    }

    fn page(&self) -> usize {
        self.page
    }
}

fn pairs(left: &Marked, right: &Marked) -> Vec<Pair> {
    let mut pairs = merged(left.head(), right.head());
    pairs.extend(merged(left.fields(), right.fields()));
    if let (MarkedItem::Request { steps: left, .. }, MarkedItem::Request { steps: right, .. }) =
        (&left.item, &right.item)
    {
        let (left, right): (Vec<_>, Vec<_>) = (left.iter().collect(), right.iter().collect());
        add_changes(&mut pairs, &Facts::new(&left), &Facts::new(&right));
    }
    pairs
}

/// Adds how much times and amounts have changed.
fn add_changes(pairs: &mut [Pair], left: &Facts<'_>, right: &Facts<'_>) {
    let figures: BTreeMap<_, _> = [
        ("duration", left.duration_us, right.duration_us),
        ("first reply after", left.first_reply_us.unwrap_or(0), right.first_reply_us.unwrap_or(0)),
        ("first row after", left.first_row_us.unwrap_or(0), right.first_row_us.unwrap_or(0)),
        ("rows", left.rows, right.rows),
        ("bytes sent", left.bytes_in, right.bytes_in),
        ("bytes received", left.bytes_out, right.bytes_out),
    ]
    .into_iter()
    .map(|(name, left, right)| (name, (left, right)))
    .collect();
    for pair in pairs {
        if let Some((left, right)) = figures.get(pair.field.as_str())
            && *left > 0
            && left != right
        {
            let factor = *right as f64 / *left as f64;
            pair.change = format!("×{}", rate(factor));
        }
    }
}

/// Puts the fields of both sides together, in the order of the left side.
fn merged(left: Vec<(String, String)>, right: Vec<(String, String)>) -> Vec<Pair> {
    let mut right_of: BTreeMap<_, _> = right.iter().cloned().collect();
    let names: BTreeSet<_> = left.iter().map(|(field, _)| field.clone()).collect();
    let mut pairs: Vec<_> = left
        .into_iter()
        .map(|(field, left)| {
            let right = right_of.remove(&field).unwrap_or_default();
            Pair { field, left, right, change: String::new() }
        })
        .collect();
    let others = right.into_iter().filter(|(field, _)| !names.contains(field));
    pairs.extend(others.map(|(field, right)| Pair { field, left: String::new(), right, change: String::new() }));
    pairs
}

/// Returns the fields of a message, each with its path: `body.query`.
fn message_fields(step: &Step) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    match serde_json::from_str(&step.json) {
        Ok(value) => flatten("", &value, &mut fields),
        Err(_) => fields.push(("type".to_owned(), format!("{} × {}", step.name, step.count))),
    }
    // The session and the time are compared already, and places in the capture always differ.
    fields.retain(|(field, _)| !matches!(field.as_str(), "event" | "ts" | "conn" | "client" | "server"));
    fields
}

fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, fields);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), value, fields);
            }
        }
        Value::String(text) => fields.push((path.to_owned(), text.clone())),
        value => fields.push((path.to_owned(), value.to_string())),
    }
}

fn request_fields(steps: &[Step]) -> Vec<(String, String)> {
    let all: Vec<_> = steps.iter().collect();
    let facts = Facts::new(&all);
    let some_time = |us: Option<u64>| us.map_or_else(String::new, time);
    let mut fields = vec![("SQL".to_owned(), request_sql(steps))];
    fields.extend(parameters(steps));
    // Those that the server says, of changes as well; of a request without an end, those that came.
    let told: Vec<u64> = body(steps, "CommandComplete").filter_map(|(body, _)| body.get("rows")?.as_u64()).collect();
    let rows = if told.is_empty() { facts.rows } else { told.iter().sum() };
    fields.extend([
        ("duration".to_owned(), time(facts.duration_us)),
        ("first reply after".to_owned(), some_time(facts.first_reply_us)),
        ("first row after".to_owned(), some_time(facts.first_row_us)),
        ("rows".to_owned(), count(rows)),
        ("bytes sent".to_owned(), bytes(facts.bytes_in)),
        ("bytes received".to_owned(), bytes(facts.bytes_out)),
        ("error".to_owned(), facts.error.unwrap_or_default().to_owned()),
    ]);
    fields.extend(facts.messages.iter().map(|(name, messages)| (format!("{name} messages"), count(*messages))));
    fields
}

fn body<'a>(steps: &'a [Step], name: &'a str) -> impl Iterator<Item = (Value, &'a Step)> {
    let steps = steps.iter().filter(move |step| step.name == name);
    steps.filter_map(|step| Some((serde_json::from_str::<Value>(&step.json).ok()?, step)))
}

/// Returns the SQL of a request, whole where its message has it.
pub(crate) fn request_sql(steps: &[Step]) -> String {
    let of = |name, path| body(steps, name).next().and_then(|(line, _)| Some(line.pointer(path)?.as_str()?.to_owned()));
    let places = [("Query", "/body/query"), ("Bind", "/sql"), ("Execute", "/sql"), ("Parse", "/body/query")];
    places.into_iter().find_map(|(name, path)| of(name, path)).unwrap_or_default()
}

/// Returns the values of its parameters: `$1`, `$2`.
fn parameters(steps: &[Step]) -> Vec<(String, String)> {
    let Some((line, step)) = body(steps, "Bind").next() else { return Vec::new() };
    match line.pointer("/body/parameter_values").and_then(Value::as_array) {
        Some(values) => (1_usize..).zip(values).map(|(number, value)| (format!("${number}"), shown(value))).collect(),
        None => vec![("parameters".to_owned(), step.text.clone())],
    }
}

fn shown(value: &Value) -> String {
    let mut text = String::new();
    let _ = match value {
        Value::String(value) => write!(text, "'{value}'"),
        Value::Null => write!(text, "NULL"),
        value => write!(text, "{value}"),
    };
    text
}
