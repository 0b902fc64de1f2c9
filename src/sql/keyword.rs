//! The keywords of PostgreSQL 18 that this module must distinguish from names (documentation, appendix C).

/// Keywords that are reserved, or cannot be the name of a function or type: `pg_get_keywords()` without category U.
#[rustfmt::skip]
const NOT_A_COLUMN: [&str; 164] = [
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between",
    "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check", "coalesce", "collate",
    "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog", "current_date",
    "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "dec", "decimal",
    "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch",
    "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group", "grouping", "having", "ilike",
    "in", "initially", "inner", "inout", "int", "integer", "intersect", "interval", "into", "is", "isnull", "join",
    "json", "json_array", "json_arrayagg", "json_exists", "json_object", "json_objectagg", "json_query",
    "json_scalar", "json_serialize", "json_table", "json_value", "lateral", "leading", "least", "left", "like",
    "limit", "localtime", "localtimestamp", "merge_action", "national", "natural", "nchar", "none", "normalize",
    "not", "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out", "outer", "overlaps",
    "overlay", "placing", "position", "precision", "primary", "real", "references", "returning", "right", "row",
    "select", "session_user", "setof", "similar", "smallint", "some", "substring", "symmetric", "system_user",
    "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim", "true", "union", "unique",
    "user", "using", "values", "varchar", "variadic", "verbose", "when", "where", "window", "with", "xmlattributes",
    "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot",
    "xmlserialize", "xmltable",
];

/// Keywords after which an expression begins, so that a minus there is a sign.
#[rustfmt::skip]
const BEFORE_OPERAND: [&str; 52] = [
    "all", "analyse", "analyze", "and", "any", "array", "asymmetric", "between", "both", "by", "case", "check",
    "collate", "distinct", "do", "else", "escape", "except", "for", "from", "group", "having", "ilike", "in",
    "intersect", "is", "leading", "like", "limit", "not", "offset", "on", "or", "order", "placing", "return",
    "returning", "select", "set", "similar", "some", "symmetric", "then", "to", "trailing", "union", "using",
    "values", "variadic", "when", "where", "with",
];

/// Keywords after which TRUE, FALSE and NULL are constants, rather than part of `IS NULL`, `NOT NULL` or `SET NULL`.
#[rustfmt::skip]
const BEFORE_CONSTANT: [&str; 14] = [
    "and", "between", "else", "escape", "having", "on", "or", "return", "returning", "select", "then", "variadic",
    "when", "where",
];

/// Types, or the last word of their names, after which parentheses contain a modifier, as in `varchar(10)`; also functions that
/// have one.
#[rustfmt::skip]
const MODIFIED_TYPE: [&str; 22] = [
    "bit", "bpchar", "char", "character", "current_time", "current_timestamp", "dec", "decimal", "float", "interval",
    "localtime", "localtimestamp", "nchar", "numeric", "second", "time", "timestamp", "timestamptz", "timetz",
    "varbit", "varchar", "varying",
];

/// Keywords that end the list of ORDER BY and GROUP BY.
#[rustfmt::skip]
const ENDS_POSITIONS: [&str; 16] = [
    "except", "fetch", "for", "from", "having", "intersect", "limit", "offset", "on", "returning", "select", "set",
    "union", "values", "where", "window",
];

/// Returns whether a word has another meaning without its quotes.
pub(super) fn is_keyword(word: &[u8]) -> bool {
    is_in(&NOT_A_COLUMN, word)
}

/// Returns whether an expression begins after a word.
pub(super) fn is_before_operand(word: &[u8]) -> bool {
    is_in(&BEFORE_OPERAND, word)
}

/// Returns whether TRUE, FALSE and NULL are constants after a word.
pub(super) fn is_before_constant(word: &[u8]) -> bool {
    is_in(&BEFORE_CONSTANT, word)
}

/// Returns whether parentheses after a word contain a type modifier.
pub(super) fn is_modified_type(word: &[u8]) -> bool {
    is_in(&MODIFIED_TYPE, word)
}

/// Returns whether a word ends the list of ORDER BY or GROUP BY.
pub(super) fn ends_positions(word: &[u8]) -> bool {
    is_in(&ENDS_POSITIONS, word)
}

fn is_in(sorted: &[&str], word: &[u8]) -> bool {
    let lower = |b: &u8| b.to_ascii_lowercase();
    sorted.binary_search_by(|keyword| keyword.bytes().cmp(word.iter().map(lower))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        let lists: [&[&str]; 5] = [&NOT_A_COLUMN, &BEFORE_OPERAND, &BEFORE_CONSTANT, &MODIFIED_TYPE, &ENDS_POSITIONS];
        for list in lists {
            assert!(list.is_sorted());
        }
        assert!(is_keyword(b"Select") && !is_keyword(b"name"));
    }
}
