//! The end of a session, held back until the requests before it have passed.

use crate::encoding::Encoding;
use crate::pg::error::{Fields, FieldsShape};
use crate::pg::text::{KeptText, Text};
use crate::record::query::Failure;
use crate::record::session::{Certificate, Names, Publications, Settings, Tls};
use crate::record::{Header, SessionRecord};
use crate::session::facts::Setting;

/// A session's record with all that it borrows.
#[derive(Debug)]
pub(super) struct KeptSession {
    /// The record without what it borrows.
    plain: SessionRecord<'static>,
    client: Box<str>,
    server: Box<str>,
    /// User, database, application, the server's version, slot and plugin.
    texts: [Option<OwnText>; 6],
    parameters: Box<[Setting]>,
    startup: Box<[Setting]>,
    publications: Box<[KeptText<'static>]>,
    tls: Option<Box<OwnTls>>,
    error: Option<OwnError>,
}

#[derive(Debug)]
struct OwnText(Box<[u8]>, Encoding);

#[derive(Debug)]
struct OwnError {
    condition: Option<&'static str>,
    bytes: Box<[u8]>,
    shape: FieldsShape,
}

/// What is known of a TLS session, with all that it borrows.
#[derive(Debug)]
struct OwnTls {
    plain: Tls<'static>,
    sni: Option<OwnText>,
    alpn: Box<[Box<[u8]>]>,
    ja4: Option<Box<str>>,
    /// The server's and the client's.
    certificates: [Option<OwnCertificate>; 2],
}

/// Subject, issuer, and from when and how long it is valid.
#[derive(Debug)]
struct OwnCertificate([Box<str>; 4]);

impl OwnText {
    fn of(text: Option<Text<'_>>) -> Option<Self> {
        text.map(|Text(bytes, encoding)| Self(bytes.into(), encoding))
    }

    fn get(&self) -> Text<'_> {
        Text(&self.0, self.1)
    }
}

impl OwnCertificate {
    fn of(certificate: Option<Certificate<'_>>) -> Option<Self> {
        let Certificate { subject, issuer, not_before, not_after } = certificate?;
        Some(Self([subject, issuer, not_before, not_after].map(Into::into)))
    }

    fn get(&self) -> Certificate<'_> {
        let [subject, issuer, not_before, not_after] = &self.0;
        Certificate { subject, issuer, not_before, not_after }
    }
}

impl OwnTls {
    fn new(tls: &Tls<'_>) -> Self {
        // Every field, so that a new one cannot be forgotten.
        let Tls {
            decrypted,
            version,
            cipher_suite,
            sni,
            alpn,
            resumed,
            early_data,
            hello_retry_request,
            renegotiations,
            key_updates,
            ja4,
            client_random,
            certificate,
            client_certificate,
            alert,
            volume,
        } = *tls;
        Self {
            plain: Tls {
                decrypted,
                version,
                cipher_suite,
                sni: None,
                alpn: Names::default(),
                resumed,
                early_data,
                hello_retry_request,
                renegotiations,
                key_updates,
                ja4: None,
                client_random,
                certificate: None,
                client_certificate: None,
                alert,
                volume,
            },
            sni: OwnText::of(sni),
            alpn: alpn.0.into(),
            ja4: ja4.map(Into::into),
            certificates: [certificate, client_certificate].map(OwnCertificate::of),
        }
    }

    fn get(&self) -> Tls<'_> {
        let [certificate, client_certificate] =
            self.certificates.each_ref().map(|it| it.as_ref().map(OwnCertificate::get));
        Tls {
            sni: self.sni.as_ref().map(OwnText::get),
            alpn: Names(&self.alpn),
            ja4: self.ja4.as_deref(),
            certificate,
            client_certificate,
            ..self.plain
        }
    }
}

impl KeptSession {
    pub(super) fn new(record: &SessionRecord<'_>) -> Self {
        // Every field, so that a new one cannot be forgotten.
        let SessionRecord {
            header: Header { ts, conn, client, server },
            community_id,
            packet,
            state,
            started,
            user,
            database,
            application,
            parameters,
            transaction,
            startup,
            server_version,
            protocol_version,
            auth_method,
            channel_binding,
            encryption,
            ref tls,
            gssapi,
            process_id,
            connect_us,
            authenticate_us,
            ready_us,
            replication,
            slot,
            plugin,
            publications,
            timeline,
            rtt_client_us,
            rtt_server_us,
            ref error,
            ref ended,
            violation,
            pooler,
            is_at_pooler,
            flags,
        } = *record;
        Self {
            plain: SessionRecord {
                header: Header { ts, conn, client: "", server: "" },
                community_id,
                packet,
                state,
                started,
                user: None,
                database: None,
                application: None,
                parameters: Settings::default(),
                transaction,
                startup: Settings::default(),
                server_version: None,
                protocol_version,
                auth_method,
                channel_binding,
                encryption,
                tls: None,
                gssapi,
                process_id,
                connect_us,
                authenticate_us,
                ready_us,
                replication,
                slot: None,
                plugin: None,
                publications: Publications::default(),
                timeline,
                rtt_client_us,
                rtt_server_us,
                error: None,
                ended: ended.clone(),
                violation,
                pooler,
                is_at_pooler,
                flags,
            },
            client: client.into(),
            server: server.into(),
            texts: [user, database, application, server_version, slot, plugin].map(OwnText::of),
            parameters: parameters.0.into(),
            startup: startup.0.into(),
            publications: publications.0.into(),
            tls: tls.as_ref().map(|tls| Box::new(OwnTls::new(tls))),
            error: error.as_ref().map(|Failure { condition, fields }| {
                let (bytes, shape) = fields.as_parts();
                OwnError { condition: *condition, bytes: bytes.into(), shape }
            }),
        }
    }

    pub(super) fn get(&self) -> SessionRecord<'_> {
        let [user, database, application, server_version, slot, plugin] =
            self.texts.each_ref().map(|text| text.as_ref().map(OwnText::get));
        SessionRecord {
            header: Header { client: &self.client, server: &self.server, ..self.plain.header },
            user,
            database,
            application,
            parameters: Settings(&self.parameters),
            startup: Settings(&self.startup),
            server_version,
            tls: self.tls.as_ref().map(|tls| tls.get()),
            slot,
            plugin,
            publications: Publications(&self.publications),
            error: self.error.as_ref().map(|OwnError { condition, bytes, shape }| Failure {
                condition: *condition,
                fields: Fields::from_parts(bytes, *shape),
            }),
            ..self.plain.clone()
        }
    }
}
