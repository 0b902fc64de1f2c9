//! How sessions are protected.

use crate::record::summary::Weakness;
use crate::record::{AuthMethod, ChannelBinding, Encryption, SessionRecord};

/// How a session is protected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProtectionKey {
    pub(super) encryption: Option<&'static str>,
    pub(super) auth_method: Option<&'static str>,
    pub(super) weaknesses: Vec<Weakness>,
}

pub(super) fn protection(record: &SessionRecord<'_>, is_undecrypted: bool) -> ProtectionKey {
    let tls = record.tls.as_ref();
    let is_cancel = record.user.is_none() && record.auth_method.is_none();
    let encryption = match record.encryption {
        Some(Encryption::Tls) => Some(tls.and_then(|tls| tls.version).unwrap_or("TLS")),
        Some(Encryption::Gssapi) => Some("GSSAPI"),
        None if is_cancel => None,
        None => Some("none"),
    };
    let mut weaknesses = Vec::new();
    match record.auth_method {
        Some(AuthMethod::Password) if record.encryption.is_none() => weaknesses.push(Weakness::PasswordInClear),
        Some(AuthMethod::Md5) => weaknesses.push(Weakness::Md5),
        _ => {}
    }
    if record.channel_binding == Some(ChannelBinding::Offered) {
        weaknesses.push(Weakness::NoChannelBinding);
    }
    // What is in clear of a handshake that succeeds has no alert.
    if is_undecrypted && tls.is_some_and(|tls| tls.alert.is_some()) {
        weaknesses.push(Weakness::KeyExchangeFailed);
    }
    ProtectionKey { encryption, auth_method: record.auth_method.map(AuthMethod::name), weaknesses }
}
