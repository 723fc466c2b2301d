//! From a request to the values a handler takes; what does not fit is refused before it runs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema};

use super::Served;
use super::params::{self, Fields, Since};
use super::reply::Reply;
use crate::outcome::Outcome;
use crate::pool::model::BackendRef;
use crate::report::Answer;
use crate::spec::{Invalid, PoolName};

/// The request field of [`LastSeen`].
pub(super) const LAST_EVENT_ID: &str = "Last-Event-ID";

/// The request field of [`Keyed`].
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// How long a request body may take to arrive; a client of ours sends it with the head.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The last event that a follower has seen, as the standard for server-sent events sends it.
pub(super) struct LastSeen(pub(super) Option<Since>);

/// What a retried call is known by, from the field that proxies and libraries send by themselves.
pub(super) struct Keyed(pub(super) Option<String>);

/// The pool of a path.
pub(super) struct InPool(pub(super) PoolName);

/// The backend of a path.
pub(super) struct At(pub(super) PoolName, pub(super) BackendRef);

/// What a query asks, an empty body being the only one allowed beside it.
pub(super) struct Asked<T>(pub(super) T);

/// What a JSON body asks, without a query.
pub(super) struct Told<T>(pub(super) T);

/// A set of keys with their values. Its description in the document names the keys.
pub(super) trait Ask: Sized + Send {
    /// Reads the values; the keys are known already.
    fn read(fields: &Fields) -> Result<Self, String>;
}

fn name(text: &str) -> Result<PoolName, Reply> {
    PoolName::parse(text).map_err(|invalid| misfit("pool", text, &invalid))
}

fn misfit(place: &str, text: &str, Invalid(expected): &Invalid) -> Reply {
    Reply::invalid(format!(
        "path {place}: found {text:?} (expected {expected})"
    ))
}

fn broken_path(error: axum::extract::rejection::PathRejection) -> Reply {
    Reply::invalid(format!("path: {}", error.body_text()))
}

impl FromRequestParts<Arc<Served>> for InPool {
    type Rejection = Reply;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<Served>) -> Result<Self, Reply> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(pool) = path.map_err(broken_path)?;
        Ok(Self(name(&pool)?))
    }
}

impl FromRequestParts<Arc<Served>> for At {
    type Rejection = Reply;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<Served>) -> Result<Self, Reply> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((pool, id)) = path.map_err(broken_path)?;
        let backend = BackendRef::parse(&id).map_err(|invalid| misfit("id", &id, &invalid))?;
        Ok(Self(name(&pool)?, backend))
    }
}

impl FromRequestParts<Arc<Served>> for LastSeen {
    type Rejection = Reply;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<Served>) -> Result<Self, Reply> {
        field(parts, LAST_EVENT_ID, params::since).map(Self)
    }
}

impl FromRequestParts<Arc<Served>> for Keyed {
    type Rejection = Reply;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<Served>) -> Result<Self, Reply> {
        field(parts, IDEMPOTENCY_KEY, params::key).map(Self)
    }
}

/// The value of a request field, if there is one.
fn field<T>(
    parts: &Parts,
    name: &str,
    read: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Reply> {
    let Some(value) = parts.headers.get(name) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match read(&text) {
        Ok(value) => Ok(Some(value)),
        Err(Invalid(expected)) => Err(Reply::invalid(format!(
            "field {name:?}: found {} (expected {expected})",
            params::found(&text.into())
        ))),
    }
}

impl<T: Ask + IntoParams> FromRequest<Arc<Served>> for Asked<T> {
    type Rejection = Reply;
    async fn from_request(request: Request, state: &Arc<Served>) -> Result<Self, Reply> {
        let fields = query(&request)?;
        let known: Vec<String> = T::into_params(|| Some(ParameterIn::Query))
            .into_iter()
            .map(|parameter| parameter.name)
            .collect();
        let fields = fields.only(&known).map_err(Reply::invalid)?;
        let asked = T::read(&fields).map_err(Reply::invalid)?;
        if !body(request, state).await?.is_empty() {
            return Err(Reply::invalid(
                "body: found one (expected none: options go into the query)",
            ));
        }
        Ok(Self(asked))
    }
}

impl<T: Ask + PartialSchema> FromRequest<Arc<Served>> for Told<T> {
    type Rejection = Reply;
    async fn from_request(request: Request, state: &Arc<Served>) -> Result<Self, Reply> {
        query(&request)?.only(&[]).map_err(Reply::invalid)?;
        let body = body(request, state).await?;
        let told = Fields::of_body(&body).and_then(told);
        Ok(Self(told.map_err(Reply::invalid)?))
    }
}

/// Reads the keys of a JSON object, refusing those that its description does not name.
pub(super) fn told<T: Ask + PartialSchema>(fields: Fields) -> Result<T, String> {
    let known: Vec<String> = match T::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.keys().cloned().collect(),
        _ => Vec::new(),
    };
    T::read(&fields.only(&known)?)
}

fn query(request: &Request) -> Result<Fields, Reply> {
    match Query::<Vec<(String, String)>>::try_from_uri(request.uri()) {
        Ok(Query(pairs)) => Fields::of_query(pairs).map_err(Reply::invalid),
        Err(error) => Err(Reply::invalid(format!("query: {}", error.body_text()))),
    }
}

async fn body(request: Request, state: &Arc<Served>) -> Result<Bytes, Reply> {
    let read = Bytes::from_request(request, state);
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("body: found more than {} bytes", super::BODY_BYTES_MAX);
            let answer = Answer::new(Outcome::Invalid, message);
            Err(Reply::with_status(
                error.status(),
                "the body is too large",
                answer,
            ))
        }
        Ok(Err(error)) => Err(Reply::invalid(format!("body: {}", error.body_text()))),
        Err(_) => Err(Reply::invalid(format!(
            "body: not complete after {BODY_TIMEOUT:?}"
        ))),
    }
}
