//! Search, and signed records.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use fmesh_proto::kinds::Kind;
use serde::Deserialize;

use super::{
    Api,
    extract::{Body, Params, Segments},
    view::{Answer, FindRequest, Hit, List, Problem, Record, RecordCore, RecordExport, RecordHead},
};
use crate::service::RecordQuery;

type One<T> = Result<Json<Answer<T>>, Problem>;
type Many<T> = Result<Json<List<T>>, Problem>;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/find", post(find))
        .route("/api/v1/records", get(records))
        .route("/api/v1/records/{who}/{seq}", get(record))
        .route("/api/v1/records/{who}/{seq}/core", get(core))
        .route("/api/v1/records/{who}/{seq}/export", get(export))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    of: Option<String>,
    kind: Option<Kind>,
    object: Option<String>,
    #[serde(default)]
    current: bool,
    after: Option<u64>,
    #[serde(default)]
    limit: usize,
}

async fn find(State(api): State<Api>, Body(asked): Body<FindRequest>) -> Many<Hit> {
    Ok(Json(
        api.ask(async move |service| service.find(asked)).await?,
    ))
}

async fn records(State(api): State<Api>, Params(which): Params<Which>) -> Many<RecordHead> {
    let query = RecordQuery {
        of: which.of,
        kind: which.kind,
        object: which.object,
        current: which.current,
        after: which.after,
        limit: which.limit,
    };
    let list = api
        .ask(async move |service| service.records(&query))
        .await?;
    Ok(Json(list))
}

async fn record(
    State(api): State<Api>,
    Segments((who, seq)): Segments<(String, u64)>,
) -> One<Record> {
    let record = api
        .ask(async move |service| service.record(Some(&who), seq))
        .await?;
    Ok(Json(Answer::new(record)))
}

async fn core(
    State(api): State<Api>,
    Segments((who, seq)): Segments<(String, u64)>,
) -> One<RecordCore> {
    let core = api
        .ask(async move |service| service.record_core(Some(&who), seq))
        .await?;
    Ok(Json(Answer::new(core)))
}

/// Slots that are opened, parted by commas; none given: all that we may open.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    #[serde(default)]
    slots: String,
}

async fn export(
    State(api): State<Api>,
    Segments((who, seq)): Segments<(String, u64)>,
    Params(opened): Params<Opened>,
) -> One<RecordExport> {
    let slots = opened.slots.split(',').filter(|slot| !slot.is_empty());
    let slots = slots.map(str::to_owned).collect();
    let export = api
        .ask(async move |service| service.record_export(Some(&who), seq, &slots))
        .await?;
    Ok(Json(Answer::new(export)))
}
