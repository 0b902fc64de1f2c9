//! Comparison of fingerprints with the servers' query identifiers (`query_id`, `compute_query_id`): they distinguish the same
//! statements in all runs of drivers, except for those listed here with the reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracles::agree::{RUNS, pairs};

/// Statements with one identifier of the server but several fingerprints, by the first of their normal forms, and the reason.
const ONE_FOR_THE_SERVER: &[(&str, &[(&str, &str)])] = &[
    ("the names that columns get do not count", &[("driver-postgres-js", "SELECT $1"), ("driver-psql", "SELECT $1")]),
    (
        "the names of savepoints do not count",
        &[
            ("driver-jdbc", "ROLLBACK TO SAVEPOINT \"sp\""),
            ("driver-jdbc", "SAVEPOINT \"sp\""),
            ("driver-postgres-js", "savepoint \"s0\""),
        ],
    ),
    (
        "EXECUTE has the identifier of the PREPARE",
        &[("driver-psql", "EXECUTE by_id($1, $2)"), ("driver-psycopg2", "EXECUTE p ($1)")],
    ),
];

/// Statements with one fingerprint but several identifiers of the server, and the reason.
const ONE_FOR_US: &[(&str, &[(&str, &str)])] = &[
    (
        "the types of constants count",
        &[
            ("driver-jdbc", "SELECT $1"),
            ("driver-psql", "SELECT $1"),
            ("driver-psycopg2", "SELECT $1"),
            (
                "mixed-10000",
                "INSERT INTO item (id, name, price, made) VALUES ($1, $2 || $3, $4, to_timestamp($5)) ON CONFLICT (id) DO NOTHING",
            ),
            ("mixed-10000", "UPDATE item SET weight = $1, tags = ARRAY[$2 /*, ... */] WHERE id = $3"),
        ],
    ),
    (
        "the types of parameters count",
        &[
            ("driver-pgbouncer", "INSERT INTO item (id, name, price, sizes) VALUES ($1, $2, $3, $4)"),
            (
                "driver-psycopg3",
                "INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            ),
            (
                "driver-psycopg3-binary",
                "INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            ),
            ("mixed-10000", "INSERT INTO event (note) VALUES ($1)"),
            ("mixed-10000", "INSERT INTO item (id, name, price, tags) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"),
            ("mixed-10000", "SELECT id, name, price, weight FROM item WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3"),
        ],
    ),
    (
        "the number of rows of VALUES counts",
        &[
            ("driver-jdbc", "INSERT INTO event (note) VALUES ($1)"),
            ("driver-psycopg2", "INSERT INTO event (note) VALUES ($1) /*, ... */ RETURNING id"),
        ],
    ),
    (
        "the length of a list counts, before PostgreSQL 18",
        &[("driver-psql", "SELECT i FROM t WHERE i IN ($1 /*, ... */)")],
    ),
    (
        "how many rows are fetched counts",
        &[
            ("driver-psycopg3", "FETCH FORWARD $1 FROM \"named\""),
            ("driver-psycopg3", "FETCH FORWARD $1 FROM \"scrolling\""),
        ],
    ),
    ("the text of what is not planned counts, before PostgreSQL 16", &[("driver-pg8000", "ROLLBACK")]),
];

#[test]
fn statements_of_one_fingerprint_have_one_identifier_in_the_server_or_it_is_explained() {
    let (mut statements, mut identifiers) = (0, 0);
    let (mut one_for_the_server, mut one_for_us) = (BTreeSet::new(), BTreeSet::new());
    for (folder, _) in RUNS.iter().filter(|(folder, _)| *folder != "client-encodings") {
        let mut by_identifier: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut by_fingerprint = by_identifier.clone();
        for (theirs, ours) in pairs(folder) {
            // For several statements in one Query, the log has the identifier of the last.
            let (1, Some(identifier), Some(fingerprint)) = (ours.command_tags.len(), theirs.query_id, ours.fingerprint)
            else {
                continue;
            };
            statements += 1;
            let sql = ours.normalized;
            by_identifier.entry(identifier.clone()).or_default().insert(fingerprint.clone(), sql.clone());
            by_fingerprint.entry(fingerprint).or_default().insert(identifier, sql);
        }
        identifiers += by_identifier.len();
        for (groups, found) in [(by_identifier, &mut one_for_the_server), (by_fingerprint, &mut one_for_us)] {
            let several = groups.into_values().filter(|group| group.len() > 1);
            found.extend(several.map(|group| (*folder, group.into_values().min().unwrap())));
        }
    }
    for (found, explained) in [(one_for_the_server, ONE_FOR_THE_SERVER), (one_for_us, ONE_FOR_US)] {
        let explained = explained.iter().flat_map(|(_, groups)| *groups);
        let explained: BTreeSet<_> = explained.map(|(folder, sql)| (*folder, (*sql).to_owned())).collect();
        assert_eq!(found, explained);
    }
    assert!(statements > 10_000 && identifiers > 300, "{statements} statements, {identifiers} identifiers");
}
