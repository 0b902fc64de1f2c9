//! The direction of messages and bytes.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The direction of a byte stream or message, identified by its sender. Written with the letters of libpq's PQtrace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Direction {
    /// From the frontend (the client) to the backend (the server).
    #[serde(rename = "F")]
    Frontend,
    /// From the backend (the server) to the frontend (the client).
    #[serde(rename = "B")]
    Backend,
}

impl Direction {
    /// Returns its letter in libpq's PQtrace: `F` or `B`.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Frontend => b'F',
            Self::Backend => b'B',
        }
    }

    /// Both directions, the frontend's first.
    pub const BOTH: [Self; 2] = [Self::Frontend, Self::Backend];

    /// Returns the other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Frontend => Self::Backend,
            Self::Backend => Self::Frontend,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontend => "F",
            Self::Backend => "B",
        })
    }
}

/// A pair of values, one for each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerDirection<T> {
    /// The frontend's.
    pub frontend: T,
    /// The backend's.
    pub backend: T,
}

impl<T> PerDirection<T> {
    /// Creates each value from its direction.
    pub fn new(mut make: impl FnMut(Direction) -> T) -> Self {
        Self { frontend: make(Direction::Frontend), backend: make(Direction::Backend) }
    }

    /// Returns the value of one direction.
    pub const fn get(&self, direction: Direction) -> &T {
        match direction {
            Direction::Frontend => &self.frontend,
            Direction::Backend => &self.backend,
        }
    }

    /// Returns a mutable reference to the value of one direction.
    pub const fn get_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Frontend => &mut self.frontend,
            Direction::Backend => &mut self.backend,
        }
    }
}
