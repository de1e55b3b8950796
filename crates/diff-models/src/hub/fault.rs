//! What went wrong between us and the Hub, and what to do about it.

use super::{Fault, Hub, request::Request};
use hf_hub::HFError;
use std::{error::Error, fmt::Display};

impl Fault {
    /// A fault that a cached copy cannot make good.
    pub(super) fn new(message: impl Display) -> Self {
        Fault { message: message.to_string(), out_of_reach: false }
    }

    /// The same fault, met while fetching the file `name`.
    pub(super) fn with_file(self, name: &str) -> Self {
        Fault { message: format!("{name}: {}", self.message), ..self }
    }

    /// The Hub said nothing for as long as we wait.
    pub(super) fn silent(hub: &Hub) -> Self {
        let (endpoint, seconds) = (&hub.endpoint, hub.patience.as_secs_f64());
        let message = format!(
            "{endpoint} was silent for {seconds} s (HF_HUB_DOWNLOAD_TIMEOUT sets how long to wait)"
        );
        Fault { message, out_of_reach: true }
    }

    pub(super) fn of(error: HFError, hub: &Hub, request: &Request) -> Self {
        let endpoint = &hub.endpoint;
        let (id, revision) = (request.repository.id(), request.revision);
        match status(&error) {
            Some(401) => Fault::new(format!(
                "{endpoint} answered 401 for {id}: there is no such repository, or reading it needs \
                 a token; check the name, set HF_TOKEN"
            )),
            Some(403) => Fault::new(format!(
                "{endpoint} answered 403 for {id}: the token may not read it; ask for access on its \
                 page, or set HF_TOKEN to a token that has it"
            )),
            Some(404) => Fault::new(format!(
                "{endpoint} answered 404 for {id} at revision `{revision}` ({error}); check both \
                 names, and set HF_TOKEN if it is private"
            )),
            Some(status) => Fault {
                message: format!("{endpoint} answered {status} ({error})"),
                out_of_reach: status >= 500 || status == 429 || status == 408,
            },
            None if matches!(error, HFError::Url(_)) => {
                Fault::new(format!("HF_ENDPOINT = {endpoint}: expected an address ({error})"))
            }
            None => Fault {
                out_of_reach: matches!(error, HFError::Request { .. }),
                message: format!(
                    "cannot download from {endpoint} to {} ({})",
                    hub.cache.display(),
                    chain(&error)
                ),
            },
        }
    }
}

/// The HTTP status behind an error, where there was an answer.
fn status(error: &HFError) -> Option<u16> {
    match error {
        HFError::Http { context }
        | HFError::AuthRequired { context }
        | HFError::Forbidden { context }
        | HFError::Conflict { context }
        | HFError::RateLimited { context, .. } => Some(context.status.as_u16()),
        HFError::RepoNotFound { .. }
        | HFError::RevisionNotFound { .. }
        | HFError::EntryNotFound { .. } => Some(404),
        _ => None,
    }
}

/// An error and its causes; the HTTP client tells the reason only there.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
