//! Errors of the service as problems, in one table, and problems as HTTP answers.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::view::{Code, Problem};
use crate::{service::Error, writer::WriteError};

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let what = error.to_string();
        match error {
            Error::NotFound { hint, .. } => Self::new(Code::NotFound, what).hint(hint),
            Error::Ambiguous { candidates, .. } => Self {
                candidates,
                ..Self::new(Code::Ambiguous, what)
                    .hint("use one of the candidates, or more letters")
            },
            Error::Request { hint, .. } => Self::new(Code::BadRequest, what).hint(hint),
            Error::Rows(rows) => Self {
                rows,
                ..Self::new(Code::InvalidInput, what).hint("mend the rows and try again")
            },
            Error::Conflict { hint, .. } => Self::new(Code::Conflict, what).hint(hint),
            Error::TimedOut { hint, .. } => Self::new(Code::TimedOut, what).hint(hint),
            Error::Write(error) => Self::from(error),
            Error::Store(_) | Error::Damaged(_) => {
                tracing::error!(%what, "a request met a broken store");
                Self::new(Code::Internal, what)
                    .hint("stop the node and run fmesh store check; the log says more")
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let what = error.to_string();
        match error {
            WriteError::Invalid(_) => Self::new(Code::InvalidInput, what)
                .hint("mend it and try again; nothing was changed"),
            WriteError::NotFound(_) => {
                Self::new(Code::NotFound, what).hint("see what there is with fmesh status")
            }
            WriteError::Conflict(_) => {
                Self::new(Code::Conflict, what).hint("see how it stands with fmesh status")
            }
            WriteError::Refused(_) => {
                Self::new(Code::Refused, what).hint("ask an admin of the mesh: fmesh partner list")
            }
            WriteError::Unsure => Self::new(Code::TimedOut, what).hint("try again in some seconds"),
            WriteError::Store(_) | WriteError::Stopped => Self::new(Code::Unavailable, what)
                .hint("restart the node; its log says why it stopped"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view::{Exit, RowError};

    #[test]
    fn each_cause_has_its_status_and_exit_code() {
        let words = || ("what".to_owned(), "do this".to_owned());
        let (what, hint) = words();
        let row = RowError {
            row: 2,
            column: None,
            what: String::new(),
            why: String::new(),
            hint: String::new(),
        };
        for (error, status, exit) in [
            (
                Error::NotFound {
                    what: what.clone(),
                    hint: hint.clone(),
                },
                404,
                Exit::NotFound,
            ),
            (
                Error::Request {
                    what: what.clone(),
                    hint: hint.clone(),
                },
                400,
                Exit::Usage,
            ),
            (
                Error::Conflict {
                    what: what.clone(),
                    hint: hint.clone(),
                },
                409,
                Exit::Conflict,
            ),
            (Error::TimedOut { what, hint }, 504, Exit::TimedOut),
            (
                Error::Ambiguous {
                    what: "partner",
                    name: "b".to_owned(),
                    candidates: vec!["bolt".to_owned()],
                },
                400,
                Exit::Usage,
            ),
            (Error::Rows(vec![row]), 422, Exit::InputErrors),
            (
                WriteError::Invalid(String::new()).into(),
                422,
                Exit::InputErrors,
            ),
            (
                WriteError::NotFound(String::new()).into(),
                404,
                Exit::NotFound,
            ),
            (
                WriteError::Conflict(String::new()).into(),
                409,
                Exit::Conflict,
            ),
            (
                WriteError::Refused(String::new()).into(),
                403,
                Exit::Refused,
            ),
            (WriteError::Stopped.into(), 503, Exit::NotReachable),
            (WriteError::Unsure.into(), 504, Exit::TimedOut),
            (
                crate::store::StoreError::Corrupt(String::new()).into(),
                500,
                Exit::Failed,
            ),
        ] {
            let text = format!("{error:?}");
            let problem = Problem::from(error);
            assert_eq!(
                (problem.status, problem.exit),
                (status, exit as u8),
                "{text}"
            );
            assert!(problem.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn a_problem_is_what_rfc_9457_says_and_reads_back() {
        let problem =
            Problem::new(Code::NotFound, "there is no partner \"x\"").hint("fmesh partner list");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:fmesh:problem:not_found", "title": "Not found", "status": 404,
                "detail": "there is no partner \"x\"", "code": "not_found",
                "hint": "fmesh partner list", "exit": 3,
            })
        );
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }
}
