//! Records to bytes: JSON lines, and text for people.

pub mod frozen;
pub mod json;
pub mod text;
