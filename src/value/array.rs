//! Arrays ("Array Input and Output Syntax") of up to six dimensions.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::composite::value;
use super::types::Kind;
use super::{Part, Scope, ValueContent};
use crate::reader::Reader;

/// The maximum number of dimensions of an array.
const MAX_DIMENSIONS: usize = 6;
/// The type `box`, whose text contains commas; its arrays use semicolons.
const BOX: u32 = 603;

/// A validated array.
#[derive(Debug)]
pub(super) struct Array<'a> {
    element: Kind,
    /// The lower bound of each dimension, if any of them is not 1.
    lower_bounds: Option<Vec<i32>>,
    values: Values<'a>,
    /// The scope of the elements.
    scope: Scope<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    /// Text that begins with a brace.
    Text { text: Cow<'a, str>, start: usize, delimiter: char },
    /// Numbers separated by spaces.
    Vector(Cow<'a, str>),
    /// Consecutive elements, and the size of each dimension.
    Binary { reader: Reader<'a>, sizes: Vec<u32> },
}

impl<'a> Array<'a> {
    /// Parses `{1,NULL,3}`, `{{a,b},{"c d",e}}`, `[0:1]={1,2}`.
    pub(super) fn from_text(element: u32, text: Cow<'a, str>, scope: Scope<'a>) -> ValueContent<'a> {
        let delimiter = if element == BOX { ';' } else { ',' };
        let parts = || {
            let (lower_bounds, rest) = lower_bounds(&text)?;
            let dimensions = dimensions(rest, delimiter)?;
            if lower_bounds.as_ref().is_some_and(|bounds| bounds.len() != dimensions) {
                return None;
            }
            let lower_bounds = lower_bounds.filter(|bounds| bounds.iter().any(|bound| *bound != 1));
            let scope = scope.below(dimensions + usize::from(lower_bounds.is_some()))?;
            Some((lower_bounds, text.len() - rest.len(), scope))
        };
        match parts() {
            Some((lower_bounds, start, scope)) => {
                let values = Values::Text { text, start, delimiter };
                ValueContent::Array(Self { element: Kind::of(element), lower_bounds, values, scope })
            }
            None => ValueContent::Text(text),
        }
    }

    /// Parses `1 2 3`, of `int2vector` and `oidvector`.
    pub(super) fn from_vector_text(element: u32, text: Cow<'a, str>, scope: Scope<'a>) -> ValueContent<'a> {
        match scope.below(1).filter(|_| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b' '))) {
            Some(scope) => {
                let values = Values::Vector(text);
                ValueContent::Array(Self { element: Kind::of(element), lower_bounds: None, values, scope })
            }
            None => ValueContent::Text(text),
        }
    }

    /// Parses the number of dimensions, an unused flag, and the type of the elements; then the size and lower bound of each
    /// dimension; then the elements.
    pub(super) fn from_binary(kind: Kind, bytes: &'a [u8], scope: Scope<'a>) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let dimensions = usize::try_from(reader.i32("number of dimensions").ok()?).ok()?;
        let _ = reader.i32("has NULLs").ok()?;
        let element = Kind::of(reader.u32("type of the elements").ok()?);
        if dimensions > MAX_DIMENSIONS {
            return None;
        }
        let mut sizes = Vec::with_capacity(dimensions);
        let mut lower_bounds = Vec::with_capacity(dimensions);
        let mut count = usize::from(dimensions > 0);
        for _ in 0..dimensions {
            // Only vectors have an empty dimension; in other arrays, it would let a few bytes claim many elements.
            let size = reader.u32("size of a dimension").ok().filter(|size| *size > 0 || dimensions == 1)?;
            count = count.checked_mul(usize::try_from(size).ok()?)?;
            sizes.push(size);
            lower_bounds.push(reader.i32("lower bound").ok()?);
        }
        // The indices of a vector always begin at 0, and its text does not contain lower bounds.
        let has_bounds = !matches!(kind, Kind::Vector(_)) && lower_bounds.iter().any(|bound| *bound != 1);
        let lower_bounds = has_bounds.then_some(lower_bounds);
        let scope = scope.below(dimensions.max(1) + usize::from(has_bounds))?;
        let values = Values::Binary { reader: reader.clone(), sizes };
        for _ in 0..count {
            value(&mut reader)?;
        }
        reader.is_empty().then_some(Self { element, lower_bounds, values, scope })
    }
}

impl<'a> Array<'a> {
    /// Returns the lower bound of each dimension, if any of them is not 1.
    pub(super) fn lower_bounds(&self) -> Option<&[i32]> {
        self.lower_bounds.as_deref()
    }

    /// Returns the size of each dimension, and the elements of an array in binary format.
    pub(super) fn binary_elements(&self) -> Option<(&[u32], impl Iterator<Item = Part<'a>> + use<'a>)> {
        let Self { element, values, scope, .. } = self;
        let Values::Binary { reader, sizes } = values else { return None };
        let (mut reader, element, scope) = (reader.clone(), *element, *scope);
        // All have been read once.
        let elements = std::iter::from_fn(move || Some(Part::binary(element, value(&mut reader)?, scope)));
        Some((sizes, elements))
    }
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.lower_bounds {
            None => Nested(self).serialize(serializer),
            Some(lower_bounds) => {
                let mut object = serializer.serialize_struct("Array", 2)?;
                object.serialize_field("lower_bounds", lower_bounds)?;
                object.serialize_field("values", &Nested(self))?;
                object.end()
            }
        }
    }
}

/// The elements of an array, as nested JSON arrays.
struct Nested<'a>(&'a Array<'a>);

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Array { element, values, scope, .. } = self.0;
        match values {
            Values::Text { text, start, delimiter } => {
                let rest = Cell::new(text.get(start + 1..).unwrap_or_default());
                let level = TextLevel { rest: &rest, delimiter: *delimiter, element: *element, scope: *scope };
                level.serialize(serializer)
            }
            Values::Vector(text) => serializer.collect_seq(
                text.split_ascii_whitespace().map(|number| Part::text(*element, Some(number.into()), *scope)),
            ),
            Values::Binary { reader, sizes } => {
                let reader = RefCell::new(reader.clone());
                BinaryLevel { reader: &reader, sizes, element: *element, scope: *scope }.serialize(serializer)
            }
        }
    }
}

/// The text after an opening brace.
struct TextLevel<'a, 't> {
    /// Advances as elements are written.
    rest: &'t Cell<&'t str>,
    delimiter: char,
    element: Kind,
    scope: Scope<'a>,
}

impl Serialize for TextLevel<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = serializer.serialize_seq(None)?;
        loop {
            let rest = self.rest.get().trim_ascii_start();
            if let Some(behind) = rest.strip_prefix('}') {
                self.rest.set(behind);
                break;
            } else if let Some(inner) = rest.strip_prefix('{') {
                self.rest.set(inner);
                values.serialize_element(&TextLevel { ..*self })?;
            } else if let Some((text, behind)) = element(rest, self.delimiter) {
                self.rest.set(behind);
                values.serialize_element(&Part::text(self.element, text, self.scope))?;
            } else {
                break;
            }
            let rest = self.rest.get().trim_ascii_start();
            self.rest.set(rest.strip_prefix(self.delimiter).unwrap_or(rest));
        }
        values.end()
    }
}

/// A dimension, and those nested in it.
struct BinaryLevel<'a, 't> {
    /// Advances as elements are written.
    reader: &'t RefCell<Reader<'a>>,
    sizes: &'t [u32],
    element: Kind,
    scope: Scope<'a>,
}

impl Serialize for BinaryLevel<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = serializer.serialize_seq(None)?;
        if let Some((size, below)) = self.sizes.split_first() {
            for _ in 0..*size {
                if below.is_empty() {
                    let bytes = value(&mut self.reader.borrow_mut()).flatten();
                    values.serialize_element(&Part::binary(self.element, bytes, self.scope))?;
                } else {
                    values.serialize_element(&BinaryLevel { sizes: below, ..*self })?;
                }
            }
        }
        values.end()
    }
}

/// Parses lower bounds from `[first:last]…=`, if present. Returns them and the rest of the text.
fn lower_bounds(text: &str) -> Option<(Option<Vec<i32>>, &str)> {
    if !text.starts_with('[') {
        return Some((None, text));
    }
    let (bounds, values) = text.split_once('=')?;
    let mut lower = Vec::new();
    for bounds in bounds.strip_suffix(']')?.split(']') {
        let (first, last) = bounds.strip_prefix('[')?.split_once(':')?;
        let (first, last) = (first.parse::<i32>().ok()?, last.parse::<i32>().ok()?);
        if first > last || lower.len() == MAX_DIMENSIONS {
            return None;
        }
        lower.push(first);
    }
    Some((Some(lower), values))
}

/// Returns the number of dimensions of an array in text format; `None` if it is invalid.
fn dimensions(text: &str, delimiter: char) -> Option<usize> {
    if text == "{}" {
        return Some(1);
    }
    let (mut depth, mut deepest) = (0, 0);
    let mut rest = text;
    loop {
        // An element, or the beginning of a nested dimension.
        while let Some(inner) = rest.strip_prefix('{') {
            depth += 1;
            deepest = deepest.max(depth);
            rest = inner.trim_ascii_start();
        }
        if depth == 0 || depth > MAX_DIMENSIONS {
            return None;
        }
        rest = element(rest, delimiter)?.1.trim_ascii_start();
        while let Some(outer) = rest.strip_prefix('}') {
            depth = depth.checked_sub(1)?;
            rest = outer.trim_ascii_start();
        }
        if depth == 0 {
            return rest.is_empty().then_some(deepest);
        }
        rest = rest.strip_prefix(delimiter)?.trim_ascii_start();
    }
}

/// Parses an element, which may be NULL, and returns it with the rest of the text.
fn element(text: &str, delimiter: char) -> Option<(Option<Cow<'_, str>>, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (text, rest) = quoted_element(quoted)?;
        return Some((Some(text), rest));
    }
    let end = text.find([delimiter, '{', '}', '"', '\\'])?;
    let (plain, rest) = text.split_at_checked(end)?;
    let plain = plain.trim_ascii_end();
    let is_element = !plain.is_empty() && !rest.starts_with(['{', '"', '\\']);
    let is_null = plain.eq_ignore_ascii_case("NULL");
    is_element.then(|| ((!is_null).then_some(plain.into()), rest))
}

/// Parses a quoted element after its opening quote.
fn quoted_element(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut unquoted = String::new();
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at_checked(rest.find(['"', '\\'])?)?;
        if let Some(behind) = special.strip_prefix('"') {
            let whole = if unquoted.is_empty() { plain.into() } else { (unquoted + plain).into() };
            return Some((whole, behind));
        }
        let mut characters = special.chars();
        characters.next();
        unquoted.push_str(plain);
        unquoted.push(characters.next()?);
        rest = characters.as_str();
    }
}
