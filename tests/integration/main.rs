//! Everything that holds for the command as a whole: files, pipes, exit codes, and live capture beside a real server.

mod cli;
mod command;
mod live;
