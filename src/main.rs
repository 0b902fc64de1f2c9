//! The command `pgdissect`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgdissect::cli::main()
}
