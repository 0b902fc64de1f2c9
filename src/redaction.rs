//! How much of what was on the wire is written.

/// What is left out of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redaction {
    /// Nothing.
    Nothing,
    /// Passwords, keys, hashes and proofs.
    #[default]
    Secrets,
}

impl Redaction {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Nothing, Self::Secrets];

    /// Whether passwords, keys, hashes and proofs are left out.
    pub const fn hides_secrets(self) -> bool {
        !matches!(self, Self::Nothing)
    }
}
