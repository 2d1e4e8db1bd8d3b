//! Circles, preview, explanation.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    Api,
    extract::{Body, Params, Segments},
    view::{
        Answer, Circle, CircleChange, CirclePut, CircleRemove, Explain, List, Members, Preview,
        Problem, Sharing, SharingApplied, SharingPut,
    },
};

type One<T> = Result<Json<Answer<T>>, Problem>;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/circles", get(circles))
        .route("/api/v1/circles/{name}", get(circle).put(put_circle))
        .route("/api/v1/circles/{name}/members", post(add_members))
        .route("/api/v1/circles/{name}/drop", post(drop_members))
        .route("/api/v1/circles/{name}/remove", post(remove))
        .route("/api/v1/sharing", get(sharing).put(apply))
        .route("/api/v1/preview", get(preview))
        .route("/api/v1/explain", get(explain))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct As {
    r#as: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    partner: String,
    object: String,
}

async fn circles(State(api): State<Api>) -> Result<Json<List<Circle>>, Problem> {
    Ok(Json(api.ask(async |service| service.circles()).await?))
}

async fn circle(State(api): State<Api>, Segments(name): Segments<String>) -> One<Circle> {
    let circle = api.ask(async move |service| service.circle(&name)).await?;
    Ok(Json(Answer::new(circle)))
}

async fn put_circle(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    Body(put): Body<CirclePut>,
) -> One<CircleChange> {
    let change = api
        .ask(async move |service| service.put_circle(&name, put).await)
        .await?;
    Ok(Json(Answer::new(change)))
}

async fn add_members(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    Body(add): Body<Members>,
) -> One<CircleChange> {
    let change = api
        .ask(async move |service| service.add_to_circle(&name, add).await)
        .await?;
    Ok(Json(Answer::new(change)))
}

async fn drop_members(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    Body(leave): Body<Members>,
) -> One<CircleChange> {
    let change = api
        .ask(async move |service| service.drop_from_circle(&name, leave).await)
        .await?;
    Ok(Json(Answer::new(change)))
}

async fn remove(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    Body(asked): Body<CircleRemove>,
) -> One<CircleChange> {
    let change = api
        .ask(async move |service| service.remove_circle(&name, asked.dry_run).await)
        .await?;
    Ok(Json(Answer::new(change)))
}

async fn sharing(State(api): State<Api>) -> One<Sharing> {
    let sharing = api.ask(async |service| service.sharing()).await?;
    Ok(Json(Answer::new(sharing)))
}

async fn apply(State(api): State<Api>, Body(put): Body<SharingPut>) -> One<SharingApplied> {
    let applied = api
        .ask(async move |service| service.apply_sharing(put).await)
        .await?;
    Ok(Json(Answer::new(applied)))
}

async fn preview(State(api): State<Api>, Params(who): Params<As>) -> One<Preview> {
    let preview = api
        .ask(async move |service| service.preview(&who.r#as))
        .await?;
    Ok(Json(Answer::new(preview)))
}

async fn explain(State(api): State<Api>, Params(asked): Params<Question>) -> One<Explain> {
    let explain = api
        .ask(async move |service| service.explain(&asked.partner, &asked.object))
        .await?;
    Ok(Json(Answer::new(explain)))
}
