//! The site, resources, capacities, and their imports.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use fmesh_proto::kinds::Kind;
use serde::Deserialize;

use super::{
    Api, IMPORT_BYTES_MAX,
    extract::{Body, Params, Segments},
    view::{
        Answer, Capacity, CapacityFields, CapacityPut, Import, Imported, KeysDraft, KeysRotated,
        List, Problem, Resource, ResourceFields, ResourcePut, Retire, RotateRequest, Site,
        SiteKeys, SitePut,
    },
};

type One<T> = Result<Json<Answer<T>>, Problem>;
type Many<T> = Result<Json<List<T>>, Problem>;

pub(super) fn routes() -> Router<Api> {
    let imports = Router::new()
        .route("/api/v1/imports/resources", post(import_resources))
        .route("/api/v1/imports/capacities", post(import_capacities))
        .layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX));
    Router::new()
        .route("/api/v1/site", get(site).put(put_site))
        .route("/api/v1/site/keys", get(site_keys).post(rotate_keys))
        .route("/api/v1/site/keys/draft", post(draft_keys))
        .route("/api/v1/resources", get(resources))
        .route(
            "/api/v1/resources/{object}",
            get(resource).put(put_resource),
        )
        .route("/api/v1/resources/{object}/retire", post(retire_resource))
        .route("/api/v1/capacities", get(capacities))
        .route(
            "/api/v1/capacities/{object}",
            get(capacity).put(put_capacity),
        )
        .route("/api/v1/capacities/{object}/retire", post(retire_capacity))
        .merge(imports)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    of: Option<String>,
    #[serde(default)]
    retired: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    of: Option<String>,
}

async fn site(State(api): State<Api>) -> One<Site> {
    let site = api.ask(async |service| service.site()).await?;
    Ok(Json(Answer::new(site)))
}

async fn put_site(State(api): State<Api>, Body(put): Body<SitePut>) -> One<Imported> {
    let done = api
        .ask(async move |service| service.put_site(put.fields, put.dry_run).await)
        .await?;
    Ok(Json(Answer::new(done)))
}

async fn site_keys(State(api): State<Api>) -> One<SiteKeys> {
    let keys = api.ask(async |service| service.site_keys()).await?;
    Ok(Json(Answer::new(keys)))
}

async fn draft_keys(State(api): State<Api>) -> One<KeysDraft> {
    let draft = api.ask(async |service| service.draft_keys().await).await?;
    Ok(Json(Answer::new(draft)))
}

async fn rotate_keys(State(api): State<Api>, Body(asked): Body<RotateRequest>) -> One<KeysRotated> {
    let done = api
        .ask(async move |service| service.rotate_keys(asked).await)
        .await?;
    Ok(Json(Answer::new(done)))
}

async fn resources(State(api): State<Api>, Params(which): Params<Which>) -> Many<Resource> {
    let list = api
        .ask(async move |service| service.resources(which.of.as_deref(), which.retired))
        .await?;
    Ok(Json(list))
}

async fn resource(
    State(api): State<Api>,
    Segments(object): Segments<String>,
    Params(whose): Params<Whose>,
) -> One<Resource> {
    let resource = api
        .ask(async move |service| service.resource(&object, whose.of.as_deref()))
        .await?;
    Ok(Json(Answer::new(resource)))
}

async fn put_resource(
    State(api): State<Api>,
    Segments(key): Segments<String>,
    Body(put): Body<ResourcePut>,
) -> One<Imported> {
    let done = api
        .ask(async move |service| service.put_resource(key, put.fields, put.dry_run).await)
        .await?;
    Ok(Json(Answer::new(done)))
}

async fn retire_resource(
    State(api): State<Api>,
    Segments(object): Segments<String>,
    Body(asked): Body<Retire>,
) -> One<Imported> {
    retire(api, Kind::Resource, object, asked).await
}

async fn import_resources(
    State(api): State<Api>,
    Body(import): Body<Import<ResourceFields>>,
) -> One<Imported> {
    let done = api
        .ask(async move |service| service.import_resources(import).await)
        .await?;
    Ok(Json(Answer::new(done)))
}

async fn capacities(State(api): State<Api>, Params(which): Params<Which>) -> Many<Capacity> {
    let list = api
        .ask(async move |service| service.capacities(which.of.as_deref(), which.retired))
        .await?;
    Ok(Json(list))
}

async fn capacity(
    State(api): State<Api>,
    Segments(object): Segments<String>,
    Params(whose): Params<Whose>,
) -> One<Capacity> {
    let capacity = api
        .ask(async move |service| service.capacity(&object, whose.of.as_deref()))
        .await?;
    Ok(Json(Answer::new(capacity)))
}

async fn put_capacity(
    State(api): State<Api>,
    Segments(key): Segments<String>,
    Body(put): Body<CapacityPut>,
) -> One<Imported> {
    let done = api
        .ask(async move |service| service.put_capacity(key, put.fields, put.dry_run).await)
        .await?;
    Ok(Json(Answer::new(done)))
}

async fn retire_capacity(
    State(api): State<Api>,
    Segments(object): Segments<String>,
    Body(asked): Body<Retire>,
) -> One<Imported> {
    retire(api, Kind::Capacity, object, asked).await
}

async fn import_capacities(
    State(api): State<Api>,
    Body(import): Body<Import<CapacityFields>>,
) -> One<Imported> {
    let done = api
        .ask(async move |service| service.import_capacities(import).await)
        .await?;
    Ok(Json(Answer::new(done)))
}

async fn retire(api: Api, kind: Kind, object: String, asked: Retire) -> One<Imported> {
    let done = api
        .ask(async move |service| service.retire(&kind, &object, asked.dry_run).await)
        .await?;
    Ok(Json(Answer::new(done)))
}
