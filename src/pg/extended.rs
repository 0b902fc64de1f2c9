//! The extended query protocol: Parse, Bind, Describe, Execute, Close and their responses.

use schemars::JsonSchema;
use serde::Serialize;

use super::list::{List, Oid};
use super::row::{Format, Formats, Values};
use super::text::{Rest, Sql, Text};
use crate::reader::{DecodeError, Reader};
use crate::redaction::Redaction;

/// Parse: creates a prepared statement.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Parse<'a> {
    /// The name of the statement; empty for the unnamed statement.
    pub statement: Text<'a>,
    /// Its SQL.
    pub query: Sql<'a>,
    /// The types of the parameters, as far as the frontend specifies them; 0 leaves a type to the server.
    pub parameter_types: List<'a, Oid>,
}

impl<'a> Parse<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self {
            statement: Text::decode(reader, "statement name")?,
            query: Sql { text: Text::decode(reader, "query string")?, redaction },
            parameter_types: List::counted(reader, "number of parameter types")?,
        })
    }
}

/// Bind: creates a portal from a statement and parameter values.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Bind<'a> {
    /// The name of the portal; empty for the unnamed portal.
    pub portal: Text<'a>,
    /// The name of the statement.
    pub statement: Text<'a>,
    /// The formats of the parameters: none (all text), one for all, or one for each.
    pub parameter_formats: List<'a, Format>,
    /// The values of the parameters.
    pub parameter_values: Values<'a>,
    /// The requested formats of the result columns: none (all text), one for all, or one for each.
    pub result_formats: List<'a, Format>,
    /// Bytes after the last field. No released version of the protocol has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest<'a>>,
}

impl<'a> Bind<'a> {
    #[inline(always)]
    pub(crate) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let portal = Text::decode(reader, "portal name")?;
        let statement = Text::decode(reader, "statement name")?;
        let parameter_formats = List::counted(reader, "number of parameter formats")?;
        let list = List::counted(reader, "number of parameters")?;
        let parameter_values = Values::new(list, Formats::from_codes(parameter_formats), redaction);
        let result_formats = List::counted(reader, "number of result formats")?;
        let rest = if reader.is_empty() { None } else { Some(Rest { bytes: reader.rest(), redaction }) };
        Ok(Self { portal, statement, parameter_formats, parameter_values, result_formats, rest })
    }
}

/// Describe, Close: the name of a statement or portal.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Target<'a> {
    /// Whether the name is that of a statement or a portal.
    pub kind: TargetKind,
    /// The name; empty for the unnamed statement or portal.
    pub name: Text<'a>,
}

/// The kind of object that Describe and Close refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TargetKind {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl<'a> Target<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = reader.position();
        let kind = match reader.u8("kind of target")? {
            b'S' => TargetKind::Statement,
            b'P' => TargetKind::Portal,
            other => return Err(Reader::unexpected(at, "kind of target", "'S' (83) or 'P' (80)", other.into())),
        };
        Ok(Self { kind, name: Text::decode(reader, "name")? })
    }
}

/// Execute: runs a portal.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Execute<'a> {
    /// The name of the portal; empty for the unnamed one.
    pub portal: Text<'a>,
    /// The maximum number of rows to return; 0 for no limit.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { portal: Text::decode(reader, "portal name")?, max_rows: reader.i32("maximum number of rows")? })
    }
}

/// ParameterDescription: the types of a statement's parameters.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ParameterDescription<'a> {
    /// The types.
    pub parameter_types: List<'a, Oid>,
}

impl<'a> ParameterDescription<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { parameter_types: List::counted(reader, "number of parameters")? })
    }
}
