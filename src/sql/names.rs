//! Detection of names of secrets.

/// Substrings that indicate the name of a secret.
const PARTS: [&[u8]; 6] = [b"password", b"passwd", b"passphrase", b"secret", b"token", b"credential"];

/// Names with such a substring that do not denote secrets.
const PLAIN: [&[u8]; 6] = [
    b"password_encryption",
    b"md5_password_warnings",
    b"password_expiration_warning_threshold",
    b"ssl_key_file",
    b"ssl_passphrase_command_supports_reload",
    b"password_required",
];

/// Endings after such a substring that denote a number or another property of secrets, or keys that are not secret.
const PROPERTIES: [&[u8]; 18] = [
    b"_count",
    b"_ttl",
    b"_size",
    b"_length",
    b"_timeout",
    b"_lifetime",
    b"_limit",
    b"_type",
    b"_enabled",
    b"_required",
    b"tokenizer",
    b"keyspace",
    b"public_key",
    b"primary_key",
    b"foreign_key",
    b"partition_key",
    b"sort_key",
    b"key_id",
];

/// Words before `key` that denote a secret: `api_key`, `secret_access_key`. Other keys, such as those of tables and caches, are
/// data.
const KEYS: [&[u8]; 17] = [
    b"access",
    b"account",
    b"api",
    b"auth",
    b"aws",
    b"client",
    b"encryption",
    b"hmac",
    b"master",
    b"private",
    b"sas",
    b"secret",
    b"service",
    b"signing",
    b"storage",
    b"symmetric",
    b"shared",
];

/// Returns whether the name of a setting, option or parameter indicates a secret: it contains a substring such as `password` or
/// `token`, or `key` as a word.
pub fn is_secret_name(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    // A number of tokens.
    let is_number = || {
        let last = lower.rsplit(|b| *b == b'.').next().unwrap_or_default();
        (last.starts_with(b"max_") || last.starts_with(b"min_")) && last.ends_with(b"tokens")
    };
    let is_property = || PROPERTIES.iter().any(|end| lower.ends_with(end)) && !is_secret_word(name);
    if PLAIN.contains(&&*lower) || is_property() || is_number() {
        return false;
    }
    PARTS.iter().any(|part| memchr::memmem::find(&lower, part).is_some()) || has_key(name, &lower)
}

/// Returns whether `key` ends a word of a name: `api_key`, `apikey`, `apiKeyId`; not `keyword`.
fn has_key(name: &[u8], lower: &[u8]) -> bool {
    memchr::memmem::find_iter(lower, b"key").any(|at| {
        let after = match lower.get(at + 3) {
            Some(b's') => name.get(at + 4),
            _ => name.get(at + 3),
        };
        after.is_none_or(|b| !b.is_ascii_lowercase() && b.is_ascii())
            && !lower.get(..at + 3).unwrap_or_default().ends_with(b"monkey")
    })
}

/// Returns whether a word in SQL ends like the name of a secret.
pub fn is_secret_word(word: &[u8]) -> bool {
    let lower = word.to_ascii_lowercase();
    let ends = |end: &[u8]| lower.ends_with(end);
    if PARTS.iter().any(|part| ends(part)) || ends(b"credentials") {
        return true;
    }
    let key = lower.strip_suffix(b"_id").unwrap_or(&lower).strip_suffix(b"key");
    key.is_some_and(|stem| {
        let stem = stem.strip_suffix(b"_").unwrap_or(stem);
        KEYS.iter().any(|key| stem.ends_with(key))
    })
}

/// The beginnings of connection string keywords (documentation, "Database Connection Control Functions").
const CONNECTION_KEYS: [&[u8]; 26] = [
    b"host",
    b"port",
    b"dbname",
    b"user",
    b"ssl",
    b"gss",
    b"krb",
    b"options",
    b"application_name",
    b"fallback_application_name",
    b"client_encoding",
    b"connect_timeout",
    b"keepalives",
    b"tcp_user_timeout",
    b"target_session_attrs",
    b"channel_binding",
    b"passfile",
    b"password",
    b"scram",
    b"service",
    b"replication",
    b"require",
    b"load_balance_hosts",
    b"min_protocol_version",
    b"max_protocol_version",
    b"oauth",
];

/// Returns whether a name is a connection string keyword.
pub fn is_connection_key(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    CONNECTION_KEYS.iter().any(|key| lower.starts_with(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "password",
            "sslpassword",
            "app.Password",
            "crdb:session_revival_token_base64",
            "apiKey",
            "api_key",
            "app.key",
            "application_key_name",
            "accessKeyId",
            "keys",
            "oauth_client_secret",
            "CREDENTIALS",
            "passwd",
            "x-token",
        ] {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "user",
            "tcp_keepalives_idle",
            "keyword",
            "password_encryption",
            "application_name",
            "monkey",
            "app.token_count",
            "max_tokens",
            "app.max_output_tokens",
            "token_ttl",
            "key_id",
            "kms_key_id",
            "app.public_key",
        ] {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
        for word in ["PASSWORD", "aws_secret_access_key", "ACCESS_KEY_ID", "session_token", "master_symmetric_key"] {
            assert!(is_secret_word(word.as_bytes()), "{word}");
        }
        for word in ["password_hash", "key", "primary_key", "tokens", "secret_id", "kms_key_id"] {
            assert!(!is_secret_word(word.as_bytes()), "{word}");
        }
    }
}
