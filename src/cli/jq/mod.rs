//! jq filters, applied to JSON lines where they are made.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{self, v};
use jaq_core::{Compiler, Ctx, Error, Vars, box_iter, unwrap_valr};
use jaq_json::{Num, Val, read, write};

use self::condition::{Condition, Plain};
use self::fields::{Name, Names, Touched};
use self::shape::Shape;
use crate::output::Form;
use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, Record};

mod condition;
mod fields;
mod shape;
mod terms;

type Data = JustLut<Val>;

/// What there is in jq but not here: each line is filtered alone, on any thread, and packets are read to their end.
const REFUSED: [&str; 4] = ["input", "inputs", "halt", "halt_error"];

/// What only jq has.
const OF_JQ: [&str; 9] = [
    "input_line_number",
    "input_filename",
    "INDEX",
    "JOIN",
    "tostream",
    "fromstream",
    "truncate_stream",
    "$__loc__",
    "$ENV",
];

/// What `defs.jq` defines anew with what it was, and the name of that.
const RENAMED: [(&str, &str); 4] = [
    ("fromjson", "any_fromjson_"),
    ("indices", "any_indices_"),
    ("ltrimstr", "any_ltrimstr_"),
    ("rtrimstr", "any_rtrimstr_"),
];

/// How many values may be within one another: each takes room on the stack, and what traffic brings may have any number.
const MAX_DEPTH: usize = 256;

/// How many lines that a filter fails on are told one by one.
const TOLD: u64 = 20;

/// How many bytes of a line are quoted.
const QUOTED: usize = 120;

/// The capacity of the buffer that is kept, so that one very long line does not use memory forever.
const KEPT: usize = 1024 * 1024;

/// A compiled filter.
#[derive(Clone)]
pub(crate) struct Filter {
    compiled: Arc<jaq_core::compile::Filter<jaq_core::Native<Data>>>,
    is_raw: bool,
    /// How many lines it has failed on.
    failures: Arc<AtomicU64>,
    /// What its syntax tree shows. Without it, the result is the same.
    shown: Arc<Shown>,
}

/// What the syntax tree of a filter shows.
#[derive(Debug, Default)]
struct Shown {
    /// What a line must be for the filter to yield anything, or to fail.
    condition: Option<Condition>,
    /// What the filter makes of each line that meets that, if it does nothing but put fields together.
    shapes: Option<Vec<Shape>>,
    /// The fields of both.
    names: Names,
    /// The fields that the filter can touch; all, if it is `None`.
    touched: Option<Vec<Touched>>,
}

impl Shown {
    fn of(code: &str) -> Self {
        let Some(term) = load::parse(code, |parser| parser.term()) else { return Self::default() };
        let mut names = Names::default();
        let touched = terms::touched(&term);
        let condition = terms::leading_condition(&term, &mut names);
        // Only the filter itself shows which lines such a condition passes.
        let is_unknown = condition.as_ref().is_some_and(Condition::is_unknown);
        Self {
            condition: condition.filter(|_| !is_unknown),
            shapes: shape::of(&term, &mut names).filter(|_| !is_unknown),
            names,
            touched: touched.map(|names| names.iter().map(|name| Touched::new(name)).collect()),
        }
    }

    /// Returns whether a record has no part in the output.
    fn leaves_out<'a>(&'a self, fields: &impl Fn(Name) -> Option<Plain<'a>>) -> bool {
        self.condition.as_ref().is_some_and(|condition| condition.evaluate(fields) == Some(false))
    }

    /// Writes what the filter yields for a line. Returns false, and nothing was written, if that is not shown.
    fn line(&self, out: &mut Vec<u8>, line: &[u8], is_raw: bool) -> bool {
        if self.condition.is_none() && self.shapes.is_none() {
            return false;
        }
        let Some(texts) = self.names.texts(line) else { return false };
        match self.condition.as_ref().map(|condition| condition.evaluate(&|name| texts.value(name))) {
            Some(Some(false)) => return true,
            Some(None) => return false,
            Some(Some(true)) | None => {}
        }
        let Some(shapes) = &self.shapes else { return false };
        let start = out.len();
        let is_written = shape::write(shapes, out, &texts, is_raw).is_some();
        if !is_written {
            out.truncate(start);
        }
        is_written
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("is_raw", &self.is_raw).finish_non_exhaustive()
    }
}

impl Filter {
    /// Compiles a filter. Strings are written without quotes if `is_raw`; with `is_plain`, every line is filtered as a whole.
    ///
    /// # Errors
    ///
    /// Where the filter is wrong, and why.
    pub(crate) fn compile(code: &str, is_raw: bool, is_plain: bool) -> Result<Self, String> {
        let own = load::parse(include_str!("defs.jq"), |parser| parser.defs()).unwrap_or_default();
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(own);
        let renamed = jaq_std::funs().chain(jaq_json::funs()).filter_map(|fun| {
            let (_, own) = RENAMED.iter().find(|(name, _)| *name == fun.0)?;
            Some((*own, fun.1, fun.2))
        });
        let of_json = jaq_json::funs().chain(renamed).chain([native::run::<Data>(not_deep())]);
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(of_json);
        let arena = Arena::default();
        let loader = Loader::new(defs.filter(|def| !REFUSED.contains(&def.name)));
        let modules = loader.load(&arena, File { code, path: () }).map_err(|errors| {
            let error = errors.into_iter().next().map(|(_, error)| error);
            match error {
                Some(load::Error::Lex(errors)) => {
                    explain(code, errors.first().map(|(wanted, at)| (*at, format!("expected {}", wanted.as_str()))))
                }
                Some(load::Error::Parse(errors)) => {
                    explain(code, errors.first().map(|(wanted, at)| (*at, format!("expected {}", wanted.as_str()))))
                }
                Some(load::Error::Io(errors)) => {
                    explain(code, errors.first().map(|(at, _)| (*at, "modules cannot be loaded".to_owned())))
                }
                None => explain(code, None),
            }
        })?;
        let compiler = Compiler::default().with_funs(funs.filter(|fun| !REFUSED.contains(&fun.0)));
        let compiled = compiler.compile(modules).map_err(|errors| {
            let error = errors.into_iter().flat_map(|(_, errors)| errors).next();
            explain(
                code,
                error.map(|(name, kind)| {
                    let hint = if REFUSED.contains(&name) {
                        ": each line is filtered alone; pipe into jq for it"
                    } else if OF_JQ.contains(&name) {
                        ": pipe into jq for it"
                    } else {
                        ""
                    };
                    (name, format!("undefined {} {name}{hint}", kind.as_str()))
                }),
            )
        })?;
        let shown = if is_plain { Shown::default() } else { Shown::of(code) };
        Ok(Self { compiled: Arc::new(compiled), is_raw, failures: Arc::default(), shown: Arc::new(shown) })
    }

    /// Returns how many lines the filter failed on.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns how many of them were not told.
    pub(crate) fn untold_failures(&self) -> u64 {
        self.failures().saturating_sub(TOLD)
    }

    /// Writes what the filter yields for a line.
    fn line(&self, out: &mut Vec<u8>, line: &[u8]) -> io::Result<()> {
        if self.shown.line(out, line, self.is_raw) {
            return Ok(());
        }
        let picked = self.shown.touched.as_deref().and_then(|touched| fields::picked(line, touched));
        let value = match picked {
            Some(value) => value,
            None => match parse(line) {
                Ok(value) => value,
                Err(error) => {
                    self.fail(&error, line);
                    return Ok(());
                }
            },
        };
        if let Err(error) = self.value(out, value)? {
            self.fail(&error.to_string(), line);
        }
        Ok(())
    }

    /// Tells that the filter failed on a line. As with jq, the next line is filtered all the same.
    fn fail(&self, error: &str, line: &[u8]) {
        if self.failures.fetch_add(1, Ordering::Relaxed) >= TOLD {
            return;
        }
        let start = String::from_utf8_lossy(line.get(..line.len().min(QUOTED)).unwrap_or(line));
        let _ = writeln!(io::stderr().lock(), "pgdissect: --jq: {error}, on the line {}", start.trim_end());
    }

    /// Writes what the filter yields for a value, which is a line or its fields that the filter touches. Returns the error if it fails.
    fn value(&self, out: &mut Vec<u8>, value: Val) -> io::Result<Result<(), jaq_json::Error>> {
        let ctx = Ctx::<Data>::new(&self.compiled.lut, Vars::new([]));
        for result in self.compiled.id.run((ctx, value)).map(unwrap_valr) {
            match result {
                Ok(Val::TStr(text) | Val::BStr(text)) if self.is_raw => out.extend_from_slice(&text),
                Ok(value) => write_value(out, value)?,
                Err(error) => return Ok(Err(error)),
            }
            out.push(b'\n');
        }
        Ok(Ok(()))
    }
}

/// Parses a line, or the value of a field.
///
/// # Errors
///
/// Why that cannot be done.
fn parse(text: &[u8]) -> Result<Val, String> {
    if is_deep(text) {
        return Err(TOO_DEEP.to_owned());
    }
    read::parse_single(text).map_err(|error| error.to_string())
}

/// What is told of [`MAX_DEPTH`].
const _: () = assert!(MAX_DEPTH == 256);
const TOO_DEEP: &str = "more than 256 arrays and objects within one another";

/// Returns whether more than [`MAX_DEPTH`] arrays and objects are within one another in a text of JSON.
fn is_deep(text: &[u8]) -> bool {
    // Hardly any text has as many brackets.
    if memchr::memchr2_iter(b'[', b'{', text).nth(MAX_DEPTH).is_none() {
        return false;
    }
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    text.iter().any(|byte| {
        match (is_string, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_string = !is_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// `not_deep_`: its input, unless that is a text of JSON with too many arrays and objects within one another.
fn not_deep() -> native::Filter<jaq_core::RunPtr<Data>> {
    ("not_deep_", v(0), |cv| {
        let is_deep = matches!(&cv.1, Val::TStr(text) | Val::BStr(text) if is_deep(text));
        box_iter::box_once(if is_deep { Err(Error::str(TOO_DEEP).into()) } else { Ok(cv.1) })
    })
}

/// Writes a value. Numbers that JSON does not have are written as by jq.
fn write_value(out: &mut Vec<u8>, value: Val) -> io::Result<()> {
    let value = if is_finite(&value) { value } else { finite(value) };
    write::write(out, &write::Pp::default(), 0, &value)
}

fn is_finite(value: &Val) -> bool {
    match value {
        Val::Num(Num::Float(number)) => number.is_finite(),
        Val::Arr(items) => items.iter().all(is_finite),
        Val::Obj(members) => members.values().all(is_finite),
        _ => true,
    }
}

/// Returns a value in which NaN is null, and what is infinite is the largest number.
fn finite(value: Val) -> Val {
    match value {
        Val::Num(Num::Float(number)) if number.is_nan() => Val::Null,
        Val::Num(Num::Float(number)) => Val::Num(Num::Float(number.clamp(f64::MIN, f64::MAX))),
        Val::Arr(items) => items.iter().cloned().map(finite).collect(),
        Val::Obj(members) => {
            let members = members.iter().map(|(key, value)| (key.clone(), finite(value.clone())));
            Val::obj(members.collect())
        }
        value => value,
    }
}

/// Returns an error with its position in the filter.
fn explain(code: &str, error: Option<(&str, String)>) -> String {
    let Some((at, why)) = error else { return "the filter is wrong".to_owned() };
    let before = code.get(..load::span(code, at).start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {why}")
}

/// JSON lines, filtered.
#[derive(Debug)]
pub(crate) struct Filtered {
    form: Box<dyn Form>,
    filter: Filter,
    /// Lines that are not filtered yet.
    lines: Vec<u8>,
}

impl Filtered {
    /// Filters the lines of a form.
    pub(crate) fn new(form: Box<dyn Form>, filter: Filter) -> Self {
        Self { form, filter, lines: Vec::new() }
    }

    fn filter(
        &mut self,
        out: &mut Vec<u8>,
        make: impl FnOnce(&mut dyn Form, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.lines.clear();
        self.lines.shrink_to(KEPT);
        make(&mut *self.form, &mut self.lines)?;
        self.lines.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| self.filter.line(out, line))
    }
}

impl Form for Filtered {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        let fields = |name: Name| fields::of_record(record, name.field?);
        if self.filter.shown.leaves_out(&fields) {
            return Ok(());
        }
        self.filter(out, |form, lines| form.record(lines, record))
    }

    fn message<'a>(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<()> {
        let fields = |name: Name| fields::of_message(event, decoded.as_ref(), name.field?);
        if self.filter.shown.leaves_out(&fields) {
            return Ok(());
        }
        self.filter(out, |form, lines| form.message(lines, event, decoded))
    }

    fn data(&mut self, out: &mut Vec<u8>, run: &MessageRun<'_>) -> io::Result<()> {
        let shown = &self.filter.shown;
        if shown.leaves_out(&|name: Name| fields::of_run(&run.first, name.field?)) {
            return Ok(());
        }
        if shown.condition.is_some() {
            let mut written = Ok(());
            run.for_each(|event| {
                if written.is_ok() {
                    written = self.message(out, event, &mut None);
                }
            });
            return written;
        }
        self.filter(out, |form, lines| form.data(lines, run))
    }

    fn flush(&mut self, out: &mut Vec<u8>, ends: bool) -> io::Result<()> {
        self.filter(out, |form, lines| form.flush(lines, ends))
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self::new(self.form.another(), self.filter.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, MAX_DEPTH};

    #[track_caller]
    fn filtered(code: &str, is_raw: bool, line: &str) -> String {
        let mut out = Vec::new();
        Filter::compile(code, is_raw, false).unwrap().line(&mut out, line.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_compact_and_strings_raw_if_wanted() {
        let line = r#"{"conn":1,"type":"Query","body":{"query":"a\tb"}}"#;
        assert_eq!(filtered("{conn, type}, .body.query", false, line), "{\"conn\":1,\"type\":\"Query\"}\n\"a\\tb\"\n");
        assert_eq!(filtered(".body.query, .conn", true, line), "a\tb\n1\n");
        assert_eq!(filtered("select(.absent)", false, line), "");
    }

    #[test]
    fn what_jaq_defines_in_another_way_is_as_in_jq() {
        let line = r#"{"a":[null,"x","",1,true],"b":{"c":1,"d":2,"e":3},"f":["t\tn\nr\rb\\","q\"",null,-2,false]}"#;
        for (code, wanted) in [
            (r#".a | join(" ")"#, " x  1 true"),
            (r#"[.g | index("x"), rindex("x"), indices("x")]"#, "[null,null,null]"),
            (r#""abab" | [index("b"), rindex("b"), indices("b")]"#, "[1,3,[1,3]]"),
            (r#"[.a | index("x"), rindex(null), index("z")]"#, "[1,0,null]"),
            (r#"[.g | ltrimstr("x"), rtrimstr("x")], ("xax" | ltrimstr("x") | rtrimstr("x"))"#, "[null,null]\na"),
            ("[.g, [1, 2]] | map(reverse)", "[[],[2,1]]"),
            (
                r#"["1 2", "0x10", "1.5e3", "-2", "x", ""] | map(try tonumber catch "no")"#,
                r#"["no","no",1.5e3,-2,"no","no"]"#,
            ),
            (r#"["[1] 2", "[1]"] | map(try fromjson catch "no")"#, r#"["no",[1]]"#),
            (r#"[.g | try flatten catch "no"], ([1, [2, [null]]] | flatten)"#, "[\"no\"]\n[1,2,null]"),
            (".b.c | IN(1, 2), IN(3), IN(.; 1)", "true\nfalse\ntrue"),
            ("[.b | leaf_paths]", r#"[["c"],["d"],["e"]]"#),
            ("8 | gamma | floor", "8"),
            ("[1, [2]] | map(toarray)", "[[1],[2]]"),
            (r#"[] | join(",")"#, ""),
            ("del(.b.c, .absent, .absent[]?.x, .a[0, -1]) | {a, b}", r#"{"a":["x","",1],"b":{"d":2,"e":3}}"#),
            ("del(.a, .f)", r#"{"b":{"c":1,"d":2,"e":3}}"#),
            ("delpaths([[\"a\"], [\"b\", \"d\"], [\"f\"]])", r#"{"b":{"c":1,"e":3}}"#),
            (".a | del(.[1:])", "[null]"),
            (".f | @tsv", "t\\tn\\nr\\rb\\\\\tq\"\t\t-2\tfalse"),
            (".f[1:] | @csv", r#""q""",,-2,false"#),
            (r#"@csv "\(.a)""#, r#","x","",1,true"#),
        ] {
            assert_eq!(filtered(code, true, line), format!("{wanted}\n"), "{code}");
        }
    }

    #[test]
    fn a_filter_that_fails_on_a_line_keeps_what_it_yielded_before() {
        let filter = Filter::compile(".a, .a.b", false, false).unwrap();
        let mut out = Vec::new();
        filter.line(&mut out, br#"{"a":1}"#).unwrap();
        assert_eq!((out.as_slice(), filter.failures()), (b"1\n".as_slice(), 1));
    }

    #[test]
    fn numbers_that_json_does_not_have_are_written_as_by_jq() {
        let wanted = "{\"a\":[null,1.7976931348623157e308],\"b\":-1.7976931348623157e308,\"c\":1.5}\n";
        assert_eq!(filtered("{a: [nan, infinite], b: (-infinite), c: 1.5}", false, "{}"), wanted);
    }

    #[test]
    fn what_is_nested_too_deeply_is_an_error_and_no_overflow() {
        for (depth, is_right) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false), (1_000_000, false)] {
            let nested = ["[".repeat(depth), "]".repeat(depth)].concat();
            let line = format!(r#"{{"a":{nested},"b":"x{}"}}"#, "[".repeat(2 * MAX_DEPTH));
            // The line itself is one of them.
            for (code, line, is_right) in [
                (".a | length", &line, is_right),
                ("[.a]", &line, is_right),
                (".a | tonumber? // 0", &format!(r#"{{"a":"{nested}"}}"#), true),
                ("keys | length", &line, depth < MAX_DEPTH),
                (".b | length", &line, true),
                (".a | fromjson | length", &format!(r#"{{"a":"{nested}"}}"#), is_right),
            ] {
                let filter = Filter::compile(code, false, false).unwrap();
                let mut out = Vec::new();
                filter.line(&mut out, line.as_bytes()).unwrap();
                assert_eq!((filter.failures(), out.is_empty()), (u64::from(!is_right), !is_right), "{code}: {depth}");
            }
        }
    }

    #[test]
    fn errors_have_a_position() {
        let error = |code| Filter::compile(code, false, false).unwrap_err();
        assert!(error(".a |\n  nonsense").starts_with("line 2, column 3: undefined filter nonsense"));
        assert!(error("select(.a").starts_with("line 1, column 10: expected closing parenthesis"));
        for refused in ["input", "inputs", "halt", "halt_error"] {
            assert!(error(refused).ends_with("pipe into jq for it"), "{refused}");
        }
        assert!(error("[tostream]").ends_with("undefined filter tostream: pipe into jq for it"));
    }
}
