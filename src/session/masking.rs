//! The secrets that a session remembers of what was sent, and masks in what is answered.

use super::Session;
use super::observation::Annotation;
use crate::direction::Direction;
use crate::pg::auth::{SaslInitialResponse, SaslResponse, UnknownAuthenticationResponse};
use crate::pg::extended::Bind;
use crate::pg::frame::Frame;
use crate::pg::message::Message;
use crate::pg::message_table::backend;
use crate::pg::startup::{self, StartupMessage};
use crate::redaction::Redaction;
use crate::sql::secret;

impl Session {
    /// Remembers the secrets in a StartupMessage: what refuses it may repeat them, and what comes later.
    #[cold]
    pub(super) fn learn_startup(&mut self, startup: &StartupMessage<'_>) {
        let mut has_secrets = false;
        if startup.parameters.secrets(|_| has_secrets = true) || has_secrets {
            self.secrets.get_or_insert_default().learn_startup(startup);
        }
    }

    /// Remembers what a client shows to tell who it is.
    #[cold]
    pub(super) fn learn_response(&mut self, message: Option<&Message<'_>>, is_cut: bool) {
        match message {
            Some(Message::PasswordMessage(message)) => {
                self.secrets.get_or_insert_default().learn_value(message.password.reveal());
            }
            Some(
                Message::SaslInitialResponse(SaslInitialResponse { data: Some(Some(data)), .. })
                | Message::SaslResponse(SaslResponse { data: Some(data), .. })
                | Message::UnknownAuthenticationResponse(UnknownAuthenticationResponse { data }),
            ) => self.secrets.get_or_insert_default().learn_response(data.reveal(), is_cut),
            _ => {}
        }
    }

    /// Remembers the secrets in a request.
    #[cold]
    pub(super) fn learn(&mut self, message: Option<&Message<'_>>, is_cut: bool, annotation: &Annotation) {
        if let Some(Message::CopyFail(fail)) = message {
            if secret::may_have(fail.reason.0) {
                self.secrets.get_or_insert_default().learn_reason(fail.reason);
            }
            return;
        }
        let secrets = self.secrets.get_or_insert_default();
        match message {
            Some(Message::Query(query)) => secrets.learn(query.query.text, is_cut),
            Some(Message::Parse(parse)) => secrets.learn(parse.query.text, is_cut),
            Some(Message::Bind(bind)) => self.learn_values(bind, annotation),
            _ => {}
        }
    }

    /// Remembers the values of parameters that are secrets.
    #[cold]
    pub(super) fn learn_values(&mut self, bind: &Bind<'_>, annotation: &Annotation) {
        let secrets = self.secrets.get_or_insert_default();
        let mut are_secrets = annotation.subject.secret_parameters();
        for value in bind.parameter_values.list.iter() {
            if let (true, Some(value)) = (are_secrets.shift(), value.0) {
                secrets.learn_value(value);
            }
        }
    }

    /// The body of a message of the server without the secrets of the session, where it repeats them: errors and notices; of a
    /// request with a secret also its rows; settings and notifications.
    #[inline(always)]
    pub fn masked(&self, direction: Direction, frame: &Frame<'_>, redaction: Redaction) -> Option<Vec<u8>> {
        let secrets = self.secrets.as_deref().filter(|_| redaction.hides_secrets())?;
        if direction == Direction::Frontend {
            return None;
        }
        let is_cut = frame.missing > 0 || !frame.damage.is_empty();
        match frame.tag? {
            backend::ERROR_RESPONSE | backend::NOTICE_RESPONSE => {
                secrets.mask_fields(frame.body, self.facts.encoding(), is_cut)
            }
            backend::NOTIFICATION_RESPONSE => secrets.mask_last(frame.body, self.facts.encoding(), is_cut),
            backend::PARAMETER_STATUS
                if startup::may_repeat(frame.body.split(|b| *b == 0).next().unwrap_or_default()) =>
            {
                secrets.mask_last(frame.body, self.facts.encoding(), is_cut)
            }
            backend::DATA_ROW if secrets.is_current() => secrets.mask_row(frame.body, is_cut),
            _ => None,
        }
    }

    /// Whether rows that come now may repeat a secret.
    #[inline(always)]
    pub(super) fn masks_rows(&self) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.is_current())
    }

    pub(super) fn end_request_with_secrets(&mut self) {
        if let Some(secrets) = &mut self.secrets
            && !self.dialogue.has_pending()
        {
            secrets.end_request();
        }
    }
}
