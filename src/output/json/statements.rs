//! SQL as it is written: masking, normalizing and escaping it takes longer than all else of a line, and most of it comes
//! again.

use super::bodies;
use super::tokens::put;
use crate::encoding::Encoding;
use crate::hex;
use crate::output::cache::{Cache, MAX_ENTRY};
use crate::pg::text::{Sql, Text};
use crate::sql::secret;
use crate::sql::template::template;

/// What is written of SQL: members of an object, each with a comma before it.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// By text: `sql`, and once they were asked for, `normalized`, `fingerprint` and `tags`.
    texts: Cache<Written>,
    /// By skeleton: `normalized` and `fingerprint`.
    forms: Cache<Form>,
    /// For a skeleton and a normal form in the making.
    template: Vec<u8>,
    normalized: Vec<u8>,
}

#[derive(Debug)]
struct Written {
    manner: Manner,
    sql: Box<[u8]>,
    form: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Form {
    manner: Manner,
    written: Box<[u8]>,
    /// Whether the texts of this skeleton are written as they are: numbers are all in which they differ, and there is no
    /// secret in them.
    shows_text: bool,
}

/// What decides beside its bytes how SQL is written: all but the text, which is left empty.
type Manner = Sql<'static>;

const fn manner(sql: &Sql<'_>) -> Manner {
    Sql { text: Text(&[], sql.text.1), redaction: sql.redaction }
}

impl Statements {
    /// Writes the member `sql`.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, sql: &Sql<'_>) {
        match self.texts.get(sql.text.0) {
            Some(kept) if kept.manner == manner(sql) => out.extend_from_slice(&kept.sql),
            _ => {
                let start = out.len();
                write_sql(out, sql);
                self.keep(sql, out.get(start..).unwrap_or_default(), None);
            }
        }
    }

    /// Writes the members `sql`, `normalized`, `fingerprint` and, where there are some, `tags`.
    pub(super) fn write_with_form(&mut self, out: &mut Vec<u8>, sql: &Sql<'_>) {
        if let Some(Written { manner: kept, sql: written, form: Some(form) }) = self.texts.get(sql.text.0)
            && *kept == manner(sql)
        {
            out.extend_from_slice(written);
            out.extend_from_slice(form);
            return;
        }
        let has_skeleton = template(sql.text.0, &mut self.template);
        let found = if has_skeleton { self.forms.get(&self.template) } else { None };
        // What a secret is may depend on what the skeleton leaves out.
        let found =
            found.filter(|form| form.manner == manner(sql) && (form.shows_text || !secret::may_have(sql.text.0)));
        let start = out.len();
        if found.is_some_and(|form| form.shows_text) {
            put(out, br#","sql":"#);
            bodies::text(out, sql.text);
        } else {
            write_sql(out, sql);
        }
        let middle = out.len();
        match found {
            Some(form) => out.extend_from_slice(&form.written),
            None => self.write_form(out, sql, has_skeleton),
        }
        // A text with a comment has no skeleton.
        if !has_skeleton {
            write_tags(out, sql);
        }
        let form = out.get(middle..).unwrap_or_default();
        self.keep(sql, out.get(start..middle).unwrap_or_default(), Some(form));
    }

    fn write_form(&mut self, out: &mut Vec<u8>, sql: &Sql<'_>, has_skeleton: bool) {
        let start = out.len();
        let form = sql.normalize(&mut self.normalized);
        put(out, br#","normalized":"#);
        bodies::text(out, Text(&self.normalized, sql.text.1));
        put(out, br#","fingerprint":""#);
        form.fingerprint.0.to_be_bytes().into_iter().for_each(|byte| put(out, &hex::digits(byte)));
        out.push(b'"');
        if has_skeleton && !form.shows_numbers && !secret::may_have(sql.text.0) {
            let written = out.get(start..).unwrap_or_default();
            self.forms.offer(&self.template, written.len(), || Form {
                manner: manner(sql),
                written: written.into(),
                shows_text: sql.text.1 == Encoding::UTF8
                    && !self.template.contains(&b'\'')
                    && !sql.redaction.hides_values(),
            });
        }
        // One very long text must not cost its memory for ever.
        self.template.shrink_to(MAX_ENTRY);
        self.normalized.shrink_to(MAX_ENTRY);
    }

    fn keep(&mut self, sql: &Sql<'_>, written: &[u8], form: Option<&[u8]>) {
        self.texts.offer(sql.text.0, written.len() + form.map_or(0, <[u8]>::len), || Written {
            manner: manner(sql),
            sql: written.into(),
            form: form.map(Into::into),
        });
    }
}

fn write_sql(out: &mut Vec<u8>, sql: &Sql<'_>) {
    put(out, br#","sql":"#);
    bodies::sql(out, sql);
}

fn write_tags(out: &mut Vec<u8>, sql: &Sql<'_>) {
    let tags = sql.tags();
    for (index, (key, value)) in tags.iter().enumerate() {
        out.extend_from_slice(if index == 0 { br#","tags":{"# } else { b"," });
        bodies::text(out, Text::utf8(key.as_bytes()));
        out.push(b':');
        bodies::text(out, Text::utf8(value.as_bytes()));
    }
    if !tags.is_empty() {
        out.push(b'}');
    }
}
