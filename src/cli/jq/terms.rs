//! What the syntax tree of a filter shows: which fields of a line it can touch, and which lines its first `select` can pass.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::ops::Cmp;
use jaq_core::path::{Opt, Part, Path};

use super::condition::{Comparison, Condition, Operand, Plain};
use super::fields;

/// The names of fields.
type Names = BTreeSet<Box<str>>;

/// What a term yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Yields {
    /// It may be the whole line.
    Line,
    /// Values that are parts of the line, or have nothing to do with it.
    Others,
}

/// Returns the names of the fields of a line that a filter can touch; `None` if that may be any.
pub(super) fn touched(filter: &Term<&str>) -> Option<Names> {
    let mut names = Names::new();
    (visit(filter, &mut names)? == Yields::Others).then_some(names)
}

/// Adds the fields that a term can touch that is applied to a line; `None` if these may be any. Where a term is applied to something
/// else, it touches none: a line cannot be a part of that, nor the value of a variable, because `None` is returned for what would
/// make it one.
fn visit(term: &Term<&str>, names: &mut Names) -> Option<Yields> {
    match term {
        Term::Id => Some(Yields::Line),
        Term::Num(_) | Term::Var(_) | Term::Break(_) | Term::Arr(None) => Some(Yields::Others),
        Term::Arr(Some(term)) | Term::Neg(term) => operand(term, names),
        Term::Str(_, parts) => {
            let mut terms =
                parts.iter().filter_map(|part| if let StrPart::Term(term) = part { Some(term) } else { None });
            terms.try_for_each(|term| operand(term, names).map(drop))?;
            Some(Yields::Others)
        }
        Term::Obj(entries) => {
            for (key, value) in entries {
                match (key, value) {
                    (key, Some(value)) => {
                        operand(key, names)?;
                        operand(value, names)?;
                    }
                    (Term::Var(_), None) => {}
                    // `{name}`
                    (key, None) => _ = names.insert(constant(key)?.into()),
                }
            }
            Some(Yields::Others)
        }
        Term::BinOp(left, op, right) => visit_operation(left, op, right, names),
        Term::Label(_, term) => visit(term, names),
        Term::Fold(_, values, pattern, arguments) => {
            operand(values, names)?;
            has_constant_keys(pattern).then_some(())?;
            // The others are applied to what the first one yields.
            operand(arguments.first()?, names)
        }
        // What `catch` is applied to is an error: `error` is one of the calls that may touch any.
        Term::TryCatch(term, _) => visit(term, names),
        Term::IfThenElse(branches, otherwise) => {
            let mut yields = if otherwise.is_some() { Yields::Others } else { Yields::Line };
            for (condition, term) in branches {
                operand(condition, names)?;
                yields = yields.or(visit(term, names)?);
            }
            match otherwise {
                Some(term) => Some(yields.or(visit(term, names)?)),
                None => Some(yields),
            }
        }
        Term::Call("select", arguments) => {
            let [condition] = &**arguments else { return None };
            operand(condition, names)?;
            Some(Yields::Line)
        }
        Term::Call("has", arguments) => {
            let [name] = &**arguments else { return None };
            names.insert(constant(name)?.into());
            Some(Yields::Others)
        }
        Term::Call("empty" | "not" | "null" | "true" | "false" | "now", arguments) if arguments.is_empty() => {
            Some(Yields::Others)
        }
        Term::Path(term, path) => visit_path(term, path, names),
        Term::Recurse | Term::Call(..) | Term::Def(..) => None,
    }
}

/// The same of a term whose values become a part of something, or are compared: it must not yield the line.
fn operand(term: &Term<&str>, names: &mut Names) -> Option<Yields> {
    visit(term, names).filter(|yields| *yields == Yields::Others)
}

fn visit_operation(left: &Term<&str>, op: &BinaryOp<&str>, right: &Term<&str>, names: &mut Names) -> Option<Yields> {
    match op {
        BinaryOp::Pipe(None) => match visit(left, names)? {
            Yields::Line => visit(right, names),
            Yields::Others => Some(Yields::Others),
        },
        // What is bound is seen by what the line is piped into.
        BinaryOp::Pipe(Some(pattern)) => {
            operand(left, names)?;
            has_constant_keys(pattern).then_some(())?;
            visit(right, names)
        }
        BinaryOp::Comma | BinaryOp::Alt => Some(visit(left, names)?.or(visit(right, names)?)),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Math(_) | BinaryOp::Cmp(_) => {
            operand(left, names)?;
            operand(right, names)
        }
        BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => None,
    }
}

fn visit_path(term: &Term<&str>, path: &Path<Term<&str>>, names: &mut Names) -> Option<Yields> {
    let is_line = visit(term, names)? == Yields::Line;
    let mut parts = path.0.iter().map(|(part, _)| part);
    if is_line {
        let Some(Part::Index(name)) = parts.next() else { return None };
        names.insert(constant(name)?.into());
    }
    // Indices are applied to the line, whatever the path begins with.
    for part in parts {
        match part {
            Part::Index(index) => _ = operand(index, names)?,
            Part::Range(from, to) => {
                from.iter().chain(to).try_for_each(|index| operand(index, names).map(drop))?;
            }
        }
    }
    Some(Yields::Others)
}

impl Yields {
    fn or(self, other: Self) -> Self {
        if self == Self::Line { self } else { other }
    }
}

/// Returns the value of a string without escape sequences and interpolation.
pub(super) fn constant<'a>(term: &Term<&'a str>) -> Option<&'a str> {
    match term {
        Term::Str(None, parts) => match &**parts {
            [] => Some(""),
            [StrPart::Str(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn has_constant_keys(pattern: &Pattern<&str>) -> bool {
    match pattern {
        Pattern::Var(_) => true,
        Pattern::Arr(patterns) => patterns.iter().all(has_constant_keys),
        Pattern::Obj(entries) => entries.iter().all(|(key, pattern)| {
            (matches!(key, Term::Var(_)) || constant(key).is_some()) && has_constant_keys(pattern)
        }),
    }
}

/// Returns the condition that a line must meet for a filter to yield anything, or to fail: that of the `select` that it begins with,
/// and of those that follow; `None` if it begins with none.
pub(super) fn leading_condition(filter: &Term<&str>, names: &mut fields::Names) -> Option<Condition> {
    leading_selects(filter, names).map(|(condition, _)| condition)
}

/// Also returns whether it yields the line itself: what it is piped into is applied to that.
fn leading_selects(filter: &Term<&str>, names: &mut fields::Names) -> Option<(Condition, bool)> {
    match filter {
        Term::BinOp(left, BinaryOp::Pipe(None), right) => {
            let (first, yields_line) = leading_selects(left, names)?;
            let second = if yields_line { leading_selects(right, names) } else { None };
            Some(match second {
                Some((second, yields_line)) => (Condition::And(Box::new((first, second))), yields_line),
                None => (first, false),
            })
        }
        Term::Call("select", arguments) => match &**arguments {
            [argument] => Some((condition(argument, names), true)),
            _ => None,
        },
        _ => None,
    }
}

fn condition(term: &Term<&str>, names: &mut fields::Names) -> Condition {
    let mut both = |left, right| Box::new((condition(left, names), condition(right, names)));
    match term {
        Term::BinOp(left, BinaryOp::And, right) => Condition::And(both(left, right)),
        Term::BinOp(left, BinaryOp::Or, right) => Condition::Or(both(left, right)),
        Term::BinOp(left, BinaryOp::Cmp(comparison), right) => {
            let comparison = match comparison {
                Cmp::Lt => Comparison::Less,
                Cmp::Le => Comparison::LessOrEqual,
                Cmp::Gt => Comparison::Greater,
                Cmp::Ge => Comparison::GreaterOrEqual,
                Cmp::Eq => Comparison::Equal,
                Cmp::Ne => Comparison::NotEqual,
            };
            Condition::Compare(operand_of(left, names), comparison, operand_of(right, names))
        }
        Term::BinOp(left, BinaryOp::Pipe(None), right) => match &**right {
            Term::Call("not", arguments) if arguments.is_empty() => Condition::Not(Box::new(condition(left, names))),
            Term::Call(name @ ("startswith" | "endswith" | "test"), arguments) => match &**arguments {
                [argument] => constant(argument)
                    .and_then(|text| Condition::of_text(operand_of(left, names), name, text))
                    .unwrap_or(Condition::Unknown),
                _ => Condition::Unknown,
            },
            _ => Condition::Unknown,
        },
        _ => Condition::Value(operand_of(term, names)),
    }
}

fn operand_of(term: &Term<&str>, names: &mut fields::Names) -> Operand {
    let constant = match term {
        Term::Num(text) => number(text, false),
        Term::Neg(term) => match &**term {
            Term::Num(text) => number(text, true),
            _ => None,
        },
        Term::Call("null", arguments) if arguments.is_empty() => Some(Plain::Null),
        Term::Call("true", arguments) if arguments.is_empty() => Some(Plain::Bool(true)),
        Term::Call("false", arguments) if arguments.is_empty() => Some(Plain::Bool(false)),
        Term::Str(..) => constant(term).map(|text| Plain::Text(text.to_owned().into())),
        Term::Path(term, path) => {
            return match (&**term, &*path.0) {
                (Term::Id, [(Part::Index(name), Opt::Essential | Opt::Optional)]) => {
                    self::constant(name).map_or(Operand::Unknown, |name| Operand::Field(names.add(name)))
                }
                _ => Operand::Unknown,
            };
        }
        Term::BinOp(left, BinaryOp::Alt, right) => {
            return Operand::Alternative(Box::new((operand_of(left, names), operand_of(right, names))));
        }
        _ => None,
    };
    constant.map_or(Operand::Unknown, Operand::Constant)
}

/// Returns a number that is an integer; others are left to the filter.
fn number(digits: &str, is_negative: bool) -> Option<Plain<'static>> {
    let number: i64 = digits.parse().ok()?;
    Some(Plain::Number(if is_negative { number.checked_neg()? } else { number }))
}

#[cfg(test)]
mod tests {
    use jaq_core::load::parse;

    use super::*;

    fn touched_by(code: &str) -> Option<String> {
        let term = parse(code, |parser| parser.term()).unwrap();
        touched(&term).map(|names| names.iter().map(|name| &**name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn fields_that_a_filter_can_touch_are_found() {
        for (code, wanted) in [
            ("[.conn,.type,.len]", "conn len type"),
            ("{conn, type, sql: .body.query}", "body conn type"),
            ("select(.type==\"Query\") | .body.query", "body type"),
            ("select(.a and (.b|not) or .c == null) | {d}", "a b c d"),
            (".a as $x | .b | map(. + $x)", "a b"),
            (".a[.b:.c]", "a b c"),
            (".a[.b]", "a b"),
            ("\"\\(.a) \\(.b.c)\"", "a b"),
            ("@csv \"\\(.a)\"", "a"),
            ("[.a, .b // .c] | @tsv", "a b c"),
            ("if .a then .b elif .c then .d else .e end", "a b c d e"),
            ("reduce .a[] as {b: $b} (.c; . + $b)", "a c"),
            ("try .a catch .", "a"),
            (".a? // empty", "a"),
            ("has(\"a\")", "a"),
            ("{($x): .a}", "a"),
            ("1, null, []", ""),
            (".a | ..", "a"),
            (".a | keys", "a"),
            ("\"a\" as $k | .b", "b"),
            ("label $out | .a, break $out", "a"),
        ] {
            assert_eq!(touched_by(code).as_deref(), Some(wanted), "{code}");
        }
    }

    #[test]
    fn where_any_field_may_be_touched_none_is_left_out() {
        for code in [
            ".",
            "..",
            "keys",
            ".[]",
            ".[.a]",
            "[.]",
            "{a: .}",
            "select(.a)",
            "del(.a)",
            ".a = 1",
            ".a |= 1",
            ". as $x | .a",
            ". as {a: $x} | $x",
            "if .a then 1 end",
            "if .a then . else 1 end",
            "tojson",
            "\"\\(.)\"",
            "def f: .a; f",
            "error",
            "try error catch .",
            "reduce 1 as $x (.; .)",
            "reduce . as $x (0; 1)",
            "foreach .a as $x (.; .a)",
            "to_entries",
            ".a // .",
            ".a, .",
            "with_entries(.)",
            "map(.)",
            "length",
            ". == 1",
            ".a as {(.b): $x} | $x",
            "env, .",
            "paths",
            "has(.a)",
            "@json",
            "@text",
            "getpath([\"a\"])",
            "{(.): 1}",
            "-.",
            "[.a] | ., $__loc__, input",
        ] {
            let is_found = touched_by(code);
            // What is piped into others than the line is of no interest.
            assert!(is_found.is_none() || code.starts_with("[.a] |"), "{code}: {is_found:?}");
        }
    }
}
