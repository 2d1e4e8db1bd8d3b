//! Failures of libp2p in words for people.

use std::{error::Error, io};

use libp2p::{TransportError, request_response::OutboundFailure, swarm::DialError};

use super::Probed;

pub(crate) fn dial_error(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { obtained, address } => {
            format!("another node ({obtained}) answers at {address}")
        }
        DialError::LocalPeerId { address } => format!("{address} is this node itself"),
        DialError::Denied { cause } => innermost(cause),
        DialError::Transport(tries) => {
            let tries: Vec<String> = tries
                .iter()
                .map(|(address, error)| format!("{address}: {}", innermost(error)))
                .collect();
            format!("no connection ({})", tries.join("; "))
        }
        other => other.to_string(),
    }
}

/// What the failed trial of one address says about the way there.
pub(crate) fn probe_failure(error: &DialError) -> Probed {
    match error {
        DialError::WrongPeerId { obtained, .. } => Probed::Stranger(obtained.to_base58()),
        DialError::LocalPeerId { .. } => Probed::Stranger("this node itself".to_owned()),
        DialError::Transport(tries) => {
            let Some((_, error)) = tries.first() else {
                return Probed::Other(error.to_string());
            };
            let text = match error {
                TransportError::MultiaddrNotSupported(_) => error.to_string(),
                TransportError::Other(error) => innermost(error),
            };
            let lower = text.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
            if says(&["refused", "reset"]) {
                Probed::Refused(text)
            } else if says(&["unreachable", "no route"]) {
                Probed::NoRoute(text)
            } else if says(&["timed out", "timeout"]) {
                Probed::Silent
            } else if says(&["resolve", "dns", "no record"]) {
                Probed::NoName(text)
            } else {
                Probed::Other(text)
            }
        }
        other => Probed::Other(dial_error(other)),
    }
}

pub(crate) fn join_error(error: &OutboundFailure) -> String {
    use OutboundFailure::{ConnectionClosed, Io, Timeout};
    match error {
        ConnectionClosed | Io(_) => format!(
            "the other side ended the call: no invite is open there (any more), or it is full ({error})"
        ),
        Timeout => "the other side did not answer in time".to_owned(),
        other => other.to_string(),
    }
}

/// The cause that says most: libp2p wraps it in several layers that repeat one another.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .map(|inner| inner as &(dyn Error + 'static))
        .or_else(|| cause.source())
    {
        cause = next;
    }
    cause.to_string()
}
