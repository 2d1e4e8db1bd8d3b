//! Status, invites, joining, partners.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};

use super::{
    Api,
    extract::{Body, Params, Segments},
    view::{
        Answer, Doctor, Invite, InviteCreated, InviteRequest, JoinRequest, JoinState, List,
        Partner, Pending, Ping, Problem, RemovalChange, RemoveRequest, RoleRequest, Status,
    },
};

type One<T> = Result<Json<Answer<T>>, Problem>;
type Many<T> = Result<Json<List<T>>, Problem>;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/invites", get(invites).post(create_invite))
        .route("/api/v1/invites/{id}", get(invite))
        .route("/api/v1/invites/{id}/revoke", post(revoke_invite))
        .route("/api/v1/join", get(join_state).post(join))
        .route("/api/v1/join/cancel", post(cancel_join))
        .route("/api/v1/doctor", get(doctor))
        .route("/api/v1/partners", get(partners))
        .route("/api/v1/partners/{who}", get(partner))
        .route("/api/v1/partners/{who}/remove", post(remove))
        .route("/api/v1/partners/{who}/role", post(role))
        .route("/api/v1/partners/{who}/ping", post(ping))
        .route("/api/v1/pending", get(pending))
        .route("/api/v1/pending/{who}/approve", post(approve))
        .route("/api/v1/pending/{who}/refuse", post(refuse))
}

async fn status(State(api): State<Api>) -> One<Status> {
    let status = api.ask(async |service| service.status()).await?;
    Ok(Json(Answer::new(status)))
}

async fn invites(State(api): State<Api>) -> Many<Invite> {
    Ok(Json(api.ask(async |service| service.invites()).await?))
}

async fn invite(State(api): State<Api>, Segments(id): Segments<String>) -> One<Invite> {
    let invite = api.ask(async move |service| service.invite(&id)).await?;
    Ok(Json(Answer::new(invite)))
}

async fn create_invite(
    State(api): State<Api>,
    Body(asked): Body<InviteRequest>,
) -> Result<(StatusCode, Json<Answer<InviteCreated>>), Problem> {
    let made = api
        .ask(async move |service| service.create_invite(asked).await)
        .await?;
    Ok((StatusCode::CREATED, Json(Answer::new(made))))
}

async fn revoke_invite(State(api): State<Api>, Segments(id): Segments<String>) -> One<Invite> {
    let invite = api
        .ask(async move |service| service.revoke_invite(&id).await)
        .await?;
    Ok(Json(Answer::new(invite)))
}

async fn join_state(State(api): State<Api>) -> One<JoinState> {
    let state = api.ask(async |service| service.join_state()).await?;
    Ok(Json(Answer::new(state)))
}

async fn join(
    State(api): State<Api>,
    Body(asked): Body<JoinRequest>,
) -> Result<(StatusCode, Json<Answer<JoinState>>), Problem> {
    let state = api
        .ask(async move |service| service.join(&asked.ticket).await)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(Answer::new(state))))
}

async fn cancel_join(State(api): State<Api>) -> One<JoinState> {
    let state = api.ask(async |service| service.cancel_join().await).await?;
    Ok(Json(Answer::new(state)))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    partner: Option<String>,
}

async fn doctor(State(api): State<Api>, Params(asked): Params<Asked>) -> One<Doctor> {
    let doctor = api
        .ask(async move |service| service.doctor(asked.partner.as_deref()).await)
        .await?;
    Ok(Json(Answer::new(doctor)))
}

async fn partners(State(api): State<Api>) -> Many<Partner> {
    Ok(Json(api.ask(async |service| service.partners()).await?))
}

async fn partner(State(api): State<Api>, Segments(who): Segments<String>) -> One<Partner> {
    let partner = api
        .ask(async move |service| service.partner_row(&who))
        .await?;
    Ok(Json(Answer::new(partner)))
}

async fn remove(
    State(api): State<Api>,
    Segments(who): Segments<String>,
    Body(asked): Body<RemoveRequest>,
) -> One<RemovalChange> {
    let change = api
        .ask(async move |service| service.remove_partner(&who, asked).await)
        .await?;
    Ok(Json(Answer::new(change)))
}

async fn role(
    State(api): State<Api>,
    Segments(who): Segments<String>,
    Body(asked): Body<RoleRequest>,
) -> One<Partner> {
    let partner = api
        .ask(async move |service| service.set_role(&who, asked.role).await)
        .await?;
    Ok(Json(Answer::new(partner)))
}

async fn ping(State(api): State<Api>, Segments(who): Segments<String>) -> One<Ping> {
    let pong = api
        .ask(async move |service| service.ping(&who).await)
        .await?;
    Ok(Json(Answer::new(pong)))
}

async fn pending(State(api): State<Api>) -> Many<Pending> {
    Ok(Json(api.ask(async |service| service.pending()).await?))
}

async fn approve(State(api): State<Api>, Segments(who): Segments<String>) -> One<Partner> {
    let partner = api
        .ask(async move |service| service.approve(&who).await)
        .await?;
    Ok(Json(Answer::new(partner)))
}

async fn refuse(State(api): State<Api>, Segments(who): Segments<String>) -> One<Pending> {
    let pending = api
        .ask(async move |service| service.refuse(&who).await)
        .await?;
    Ok(Json(Answer::new(pending)))
}
