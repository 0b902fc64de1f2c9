//! A filter of the screen that begins with `--`: the options that select among lines.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use regex::Regex;

use crate::cli::args::parse_duration;
use crate::cli::select::parse_clients;
use crate::dissector::Clients;
use crate::output::screen::filter::Conditions;
use crate::packet::Endpoint;

/// The options, which mean what they do on the command line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Options {
    #[arg(long, value_delimiter = ',')]
    user: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    database: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    application: Vec<String>,
    #[arg(long, value_delimiter = ',', value_parser = parse_clients)]
    client: Vec<Clients>,
    #[arg(long, value_delimiter = ',')]
    conn: Vec<u64>,
    #[arg(long)]
    errors: bool,
    #[arg(long, value_parser = parse_duration)]
    min_duration: Option<Duration>,
    #[arg(long)]
    sql: Option<Regex>,
}

/// Parses conditions.
///
/// # Errors
///
/// Options that are not known, and values that are not valid, in a line.
pub(in crate::cli) fn parse(text: &str) -> Result<Conditions, String> {
    let options = Options::try_parse_from(words(text)).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    let clients = options.client;
    Ok(Conditions {
        users: options.user,
        databases: options.database,
        applications: options.application,
        conns: options.conn,
        client: (!clients.is_empty()).then(|| -> Box<dyn Fn(&str) -> bool + Send> {
            Box::new(move |client| {
                let client: Option<SocketAddr> = client.parse().ok();
                client.is_some_and(|end| {
                    let end = Endpoint { addr: end.ip(), port: end.port() };
                    clients.iter().any(|wanted| wanted.contains(end))
                })
            })
        }),
        errors: options.errors,
        min_us: options.min_duration.map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        sql: options.sql,
    })
}

/// Splits a line into words, at spaces that are not in quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None;
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_with(String::new);
            }
            (None, ' ') => words.extend(word.take()),
            (_, character) => word.get_or_insert_with(String::new).push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::screen::filter::{Filter, Subject};
    use crate::output::screen::view::Who;

    fn who() -> Who {
        Who {
            conn: 3,
            client: "10.0.0.7:40000".to_owned(),
            server: "10.0.0.1:5432".to_owned(),
            user: Some("app user".to_owned()),
            database: Some("shop".to_owned()),
            application: None,
        }
    }

    fn matches(text: &str) -> bool {
        let filter = Filter::parse(text, parse).unwrap();
        let (who, sql, us) = (who(), Some("SELECT 1"), Some(1_500_000));
        filter.matches(&Subject { who: Some(&who), sql, us, ..Subject::default() })
    }

    #[test]
    fn conditions_are_those_of_the_command_line() {
        for held in [
            "--user 'app user'",
            "--user=x,'app user' --database shop",
            "--client 10.0.0.7",
            "--client 10.0.0.7:40000",
            "--client 10.0.0.0/8,::1",
            "--conn 1,3",
            "--min-duration 1500ms",
            "--sql '(?i)select \\d'",
        ] {
            assert!(matches(held), "{held}");
        }
        for other in [
            "--user app",
            "--database x",
            "--application x",
            "--client 10.0.0.70",
            "--client 10.1.0.0/16",
            "--client 10.0.0.7:4000",
            "--conn 4",
            "--min-duration 2s",
            "--errors",
            "--sql '^1'",
        ] {
            assert!(!matches(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_option_has_a_reason() {
        for (wrong, reason) in [
            ("--", ""),
            ("--nothing", "unexpected argument"),
            ("--conn x", "invalid value"),
            ("--min-duration 5", "has no unit"),
            ("--sql (", "invalid value"),
            ("--user", "value is required"),
            ("--user a b", "unexpected argument"),
        ] {
            let result = Filter::parse(wrong, parse);
            assert_eq!(result.is_ok(), reason.is_empty(), "{wrong}");
            if let Err(error) = result {
                assert!(error.contains(reason) && !error.contains('\n'), "{wrong}: {error}");
            }
        }
    }
}
