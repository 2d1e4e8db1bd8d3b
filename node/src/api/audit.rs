//! Parts of an audit bundle; the program that asks puts them together.

use axum::{Json, Router, extract::State, routing::get};
use fmesh_proto::kinds::Kind;
use serde::Deserialize;

use super::{
    Api,
    extract::{Params, Segments},
    view::{Answer, AuditLeaf, AuditLeaves, AuditLog, Code, List, Problem},
};
use crate::service::AuditQuery;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/audit/{who}", get(log))
        .route("/api/v1/audit/{who}/leaves", get(leaves))
        .route("/api/v1/audit/{who}/records", get(records))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: u64,
    to: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    size: u64,
    after: Option<u64>,
    since: Option<u64>,
    until: Option<u64>,
    kinds: Option<String>,
    objects: Option<String>,
    #[serde(rename = "as")]
    reader: Option<String>,
}

async fn log(
    State(api): State<Api>,
    Segments(who): Segments<String>,
) -> Result<Json<Answer<AuditLog>>, Problem> {
    let log = api
        .ask(async move |service| service.audit_log(&who))
        .await?;
    Ok(Json(Answer::new(log)))
}

async fn leaves(
    State(api): State<Api>,
    Segments(who): Segments<String>,
    Params(Range { from, to }): Params<Range>,
) -> Result<Json<Answer<AuditLeaves>>, Problem> {
    let ask = async move |service: crate::service::Service| service.audit_leaves(&who, from, to);
    Ok(Json(Answer::new(api.ask(ask).await?)))
}

async fn records(
    State(api): State<Api>,
    Segments(who): Segments<String>,
    Params(which): Params<Which>,
) -> Result<Json<List<AuditLeaf>>, Problem> {
    let parts = |text: Option<String>| -> Vec<String> {
        let text = text.unwrap_or_default();
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let kinds = parts(which.kinds)
        .into_iter()
        .map(Kind::try_from)
        .collect::<Result<_, _>>();
    let query = AuditQuery {
        size: which.size,
        after: which.after,
        since: which.since,
        until: which.until,
        kinds: kinds.map_err(|why| Problem::new(Code::BadRequest, why))?,
        objects: parts(which.objects),
        reader: which.reader,
    };
    let list = api
        .ask(async move |service| service.audit_records(&who, &query))
        .await?;
    Ok(Json(list))
}
