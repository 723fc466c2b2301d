//! Answers on the wire: a success is `application/json`, everything else a problem document
//! (RFC 9457) with the fields of the answer beside its own. The status comes from the outcome's row,
//! except where HTTP has a finer word for a request that makes no sense (404, 405, 413 …).

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as Described};

use crate::outcome::Outcome;
use crate::report::{Answer, PoolStatus, RolloutStatus};

/// The media type of everything that is not a success.
pub(super) const PROBLEM: &str = "application/problem+json";

/// What a 503 asks a client to wait, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// A problem document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Problem {
    /// `tidegate:outcome:` and the outcome's word.
    r#type: String,
    /// The outcome in words.
    title: String,
    /// The status of the response.
    status: u16,
    /// The same as `message`.
    detail: String,
    #[serde(flatten)]
    answer: Answer,
}

/// All pools.
#[derive(Serialize, ToSchema)]
pub(super) struct Pools {
    /// Always `done`.
    pub(super) outcome: Outcome,
    /// By name.
    pub(super) pools: Vec<PoolStatus>,
}

/// One pool.
#[derive(Serialize, ToSchema)]
pub(super) struct OnePool {
    /// Always `done`.
    pub(super) outcome: Outcome,
    /// The one that was asked for.
    pub(super) pool: PoolStatus,
}

/// The rollouts of a pool.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// Always `done`.
    pub(super) outcome: Outcome,
    /// The pool's name.
    pub(super) pool: String,
    /// The newest first; one that is under way goes before all.
    pub(super) records: Vec<RolloutStatus>,
}

/// What every operation can end in besides its own.
pub(super) const EVERYWHERE: [Outcome; 3] =
    [Outcome::Invalid, Outcome::NotAuthorised, Outcome::Error];

/// An answer and its status.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    title: &'static str,
    answer: Box<Answer>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let row = answer.outcome.row();
        // The table holds valid statuses only.
        let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::with_status(status, row.meaning, answer)
    }
}

impl Reply {
    /// An answer whose status is finer than its outcome's.
    pub(super) fn with_status(status: StatusCode, title: &'static str, answer: Answer) -> Self {
        Self {
            status,
            title,
            answer: Box::new(answer),
        }
    }

    /// A request that makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Answer::new(Outcome::Invalid, message).into()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        if self.status.is_success() {
            return (self.status, Json(self.answer)).into_response();
        }
        let problem = Problem {
            r#type: format!("tidegate:outcome:{}", self.answer.outcome.row().word),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.answer.message.clone(),
            answer: *self.answer,
        };
        let mut response = (self.status, Json(problem)).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer realm=\"tidegate\"");
                fields.insert(header::WWW_AUTHENTICATE, scheme);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = HeaderValue::from_static(RETRY_AFTER_SECONDS);
                fields.insert(header::RETRY_AFTER, seconds);
            }
            _ => {}
        }
        response
    }
}

/// Describes the answers of an operation that can end in `outcomes`, and those every one can.
pub(super) fn described(schema: &str, outcomes: &[Outcome]) -> BTreeMap<String, RefOr<Described>> {
    let mut lines: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for outcome in outcomes.iter().chain(&EVERYWHERE) {
        let row = outcome.row();
        let line = format!("`{}`: {}", row.word, row.meaning);
        lines.entry(row.status).or_default().push(line);
    }
    for (status, line) in [
        (403, "`not_authorised`: a browser on another site"),
        (413, "`invalid`: the body is too large"),
        (503, "`error`: too many requests at once"),
    ] {
        lines.entry(status).or_default().push(line.to_owned());
    }
    let describe = |(status, lines): (u16, Vec<String>)| {
        let (media, schema) = match status {
            200..300 => ("application/json", schema),
            _ => (PROBLEM, "Problem"),
        };
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema)));
        let response = ResponseBuilder::new()
            .description(lines.join("; "))
            .content(media, content.build());
        (status.to_string(), RefOr::T(response.build()))
    };
    lines.into_iter().map(describe).collect()
}
