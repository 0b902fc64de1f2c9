//! The messages of a base backup, which CopyData carries from the server behind BASE_BACKUP ("Streaming Replication Protocol").

use schemars::JsonSchema;
use serde::Serialize;

use crate::pg::text::Text;
use crate::reader::{DecodeError, Reader};

/// A message of a base backup of version 15 or later, without the data behind [`BackupMessage::Data`].
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BackupMessage<'a> {
    /// `n`: an archive begins.
    Archive {
        /// Its name: `base.tar`, `16384.tar.gz`.
        archive: Text<'a>,
        /// The directory of its tablespace; empty for the main one.
        tablespace: Text<'a>,
    },
    /// `m`: the manifest begins.
    Manifest,
    /// `d`: data of the archive, or of the manifest, that has begun last.
    Data,
    /// `p`: how far it is.
    Progress {
        /// The bytes of all archives so far, before compression.
        bytes_done: u64,
    },
}

impl<'a> BackupMessage<'a> {
    /// Decodes a message. What the reader has left is the data of `Data`; behind other messages, nothing is left.
    ///
    /// # Errors
    ///
    /// The kind is not known, fields are missing, or something follows them.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = reader.position();
        let message = match reader.u8("kind of message")? {
            b'n' => Self::Archive {
                archive: Text::decode(reader, "name of the archive")?,
                tablespace: Text::decode(reader, "directory of the tablespace")?,
            },
            b'm' => Self::Manifest,
            b'd' => return Ok(Self::Data),
            b'p' => Self::Progress { bytes_done: reader.u64("bytes done")? },
            kind => return Err(Reader::unexpected(at, "kind of message", "n, m, d or p", kind.into())),
        };
        reader.finish("message of the backup")?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_fields() {
        let json = |bytes: &'static [u8]| match BackupMessage::decode(&mut Reader::new(bytes)) {
            Ok(message) => serde_json::to_string(&message).unwrap(),
            Err(error) => error.to_string(),
        };
        assert_eq!(json(b"nbase.tar\0\0"), r#"{"kind":"archive","archive":"base.tar","tablespace":""}"#);
        assert_eq!(json(b"n16384.tar\0/srv/x\0"), r#"{"kind":"archive","archive":"16384.tar","tablespace":"/srv/x"}"#);
        assert_eq!(json(b"m"), r#"{"kind":"manifest"}"#);
        assert_eq!(json(b"d\0\0"), r#"{"kind":"data"}"#);
        assert_eq!(json(b"p\0\0\0\0\0\0\x10\0"), r#"{"kind":"progress","bytes_done":4096}"#);
        assert_eq!(json(b"x"), "kind of message at byte 0: wanted n, m, d or p, had 120");
        assert_eq!(json(b"nbase"), "name of the archive at byte 1: wanted a zero byte, had 4 bytes");
        assert_eq!(json(b"m!"), "message of the backup at byte 1: wanted the end of the message, had 1 byte");
    }
}
