//! The node over HTTP on the loopback: `/api/v1`, JSON, one bearer token. Thin over [`crate::service`].
//!
//! Every body and answer is a type of [`view`]. One thing comes as [`view::Answer`], many as [`view::List`]; errors are
//! [`view::Problem`] as `application/problem+json`. `{who}` is a partner's name, site id or a unique prefix of either;
//! `{object}` is our key for it (`DMU-80`), its id, or a unique prefix. Path segments are percent-encoded.
//! Bodies are at most 1 MiB, imports 16 MiB.
//!
//! | method | path | request | answer |
//! | --- | --- | --- | --- |
//! | GET | `/health/live`, `/health/ready` (open) | | 200 or 503, plain text |
//! | GET | `/api/v1/status` | | [`view::Status`] |
//! | GET | `/api/v1/invites` | | list of [`view::Invite`], newest first |
//! | POST | `/api/v1/invites` | [`view::InviteRequest`] | 201 [`view::InviteCreated`] |
//! | GET | `/api/v1/invites/{id}` (id or unique prefix) | | [`view::Invite`] |
//! | POST | `/api/v1/invites/{id}/revoke` | | [`view::Invite`] |
//! | GET | `/api/v1/join` | | [`view::JoinState`] |
//! | POST | `/api/v1/join` | [`view::JoinRequest`] | 202 [`view::JoinState`] |
//! | POST | `/api/v1/join/cancel` | | [`view::JoinState`] |
//! | GET | `/api/v1/partners` | | list of [`view::Partner`], by name; then those that were put out |
//! | GET | `/api/v1/partners/{who}` | | [`view::Partner`] |
//! | POST | `/api/v1/partners/{who}/remove` | [`view::RemoveRequest`] | [`view::RemovalChange`] |
//! | POST | `/api/v1/partners/{who}/role` | [`view::RoleRequest`] | [`view::Partner`] |
//! | POST | `/api/v1/partners/{who}/ping` | | [`view::Ping`] |
//! | GET | `/api/v1/pending` | | list of [`view::Pending`], oldest first |
//! | POST | `/api/v1/pending/{who}/approve` | | [`view::Partner`] |
//! | POST | `/api/v1/pending/{who}/refuse` | | [`view::Pending`] |
//! | GET | `/api/v1/site` | | [`view::Site`] |
//! | PUT | `/api/v1/site` | [`view::SitePut`] | [`view::Imported`] |
//! | GET | `/api/v1/site/keys` | | [`view::SiteKeys`] |
//! | POST | `/api/v1/site/keys/draft` | | [`view::KeysDraft`], for the root to sign |
//! | POST | `/api/v1/site/keys` | [`view::RotateRequest`] | [`view::KeysRotated`] |
//! | GET | `/api/v1/resources?of={who}&retired=true` | | list of [`view::Resource`], by key (`of`: a partner's, by name) |
//! | GET | `/api/v1/resources/{object}?of={who}` | | [`view::Resource`] |
//! | PUT | `/api/v1/resources/{key}` | [`view::ResourcePut`] | [`view::Imported`] |
//! | POST | `/api/v1/resources/{object}/retire` | [`view::Retire`] | [`view::Imported`] |
//! | POST | `/api/v1/imports/resources` | [`view::Import`] of [`view::ResourceFields`] | [`view::Imported`], or 422 with `rows` |
//! | GET | `/api/v1/capacities?of={who}&retired=true` | | list of [`view::Capacity`] |
//! | GET | `/api/v1/capacities/{object}?of={who}` | | [`view::Capacity`] |
//! | PUT | `/api/v1/capacities/{key}` | [`view::CapacityPut`] | [`view::Imported`] |
//! | POST | `/api/v1/capacities/{object}/retire` | [`view::Retire`] | [`view::Imported`] |
//! | POST | `/api/v1/imports/capacities` | [`view::Import`] of [`view::CapacityFields`] | [`view::Imported`], or 422 with `rows` |
//! | GET | `/api/v1/circles` | | list of [`view::Circle`], by name |
//! | GET | `/api/v1/circles/{name}` | | [`view::Circle`] |
//! | PUT | `/api/v1/circles/{name}` | [`view::CirclePut`] | [`view::CircleChange`] |
//! | POST | `/api/v1/circles/{name}/members` | [`view::Members`] | [`view::CircleChange`] |
//! | POST | `/api/v1/circles/{name}/drop` | [`view::Members`] | [`view::CircleChange`] |
//! | POST | `/api/v1/circles/{name}/remove` | [`view::CircleRemove`] | [`view::CircleChange`] |
//! | GET | `/api/v1/sharing` | | [`view::Sharing`] |
//! | PUT | `/api/v1/sharing` | [`view::SharingPut`] | [`view::SharingApplied`] |
//! | GET | `/api/v1/preview?as={who}` | | [`view::Preview`] |
//! | GET | `/api/v1/explain?partner={who}&object={object}` | | [`view::Explain`] |
//! | POST | `/api/v1/find` | [`view::FindRequest`] | list of [`view::Hit`], best first |
//! | GET | `/api/v1/records?of={who}&kind={kind}&object={object}&current=true&after={cursor}&limit={n}` | | list of [`view::RecordHead`]; `of` left out: our own log |
//! | GET | `/api/v1/records/{who}/{seq}` (`self`: our own) | | [`view::Record`] |
//! | GET | `/api/v1/records/{who}/{seq}/core` | | [`view::RecordCore`] |
//! | GET | `/api/v1/records/{who}/{seq}/export?slots={a,b}` | | [`view::RecordExport`] |
//! | GET | `/api/v1/audit/{who}` | | [`view::AuditLog`] |
//! | GET | `/api/v1/audit/{who}/leaves?from={n}&to={n}` | | [`view::AuditLeaves`] |
//! | GET | `/api/v1/audit/{who}/records?size={n}&since={unix}&until={unix}&kinds={a,b}&objects={a,b}&as={who}&after={cursor}` | | list of [`view::AuditLeaf`] |

pub mod view;

mod audit;
mod circles;
mod extract;
mod guard;
mod hear_out;
mod mesh;
mod objects;
mod problem;
mod records;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore, task, time};
use zeroize::Zeroizing;

use self::{
    guard::Token,
    view::{Code, Problem},
};
use crate::{
    node::Node,
    service::{Error, Service},
};

/// Answers on `listener` until `shutdown` ends, then lets open requests finish. The listener must be on the loopback.
pub async fn serve(
    listener: TcpListener,
    node: Node,
    token: Zeroizing<String>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?.ip();
    if !is_loopback(address) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the local API must listen on the loopback, not on {address}: set [api] listen to 127.0.0.1:0"
            ),
        ));
    }
    let app = router(Service::new(node), &token);
    drop(token);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
}

/// All routes.
fn router(service: Service, token: &str) -> Router {
    let api = Api {
        service,
        permits: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
    };
    let routes = Router::new()
        .merge(mesh::routes())
        .merge(objects::routes())
        .merge(circles::routes())
        .merge(records::routes())
        .merge(audit::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let health = Router::new()
        .route("/health/live", get(async || "live\n"))
        .route("/health/ready", get(ready));
    guard::protect(routes, health, Token::new(token)).with_state(api)
}

/// What every handler has.
#[derive(Debug, Clone)]
struct Api {
    service: Service,
    permits: Arc<Semaphore>,
}

impl Api {
    /// Asks the service on a thread that may block.
    async fn ask<T, F, R>(&self, question: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(Service) -> R + Send + 'static,
        R: Future<Output = Result<T, Error>>,
    {
        let (service, permits) = (self.service.clone(), Arc::clone(&self.permits));
        let work = async move {
            let permit = permits.acquire_owned().await;
            let handle = Handle::current();
            task::spawn_blocking(move || {
                let _permit = permit;
                handle.block_on(question(service))
            })
            .await
        };
        match time::timeout(ANSWER_WAIT, work).await {
            Ok(Ok(answer)) => answer.map_err(Problem::from),
            Ok(Err(panicked)) => {
                tracing::error!(%panicked, "a request ended badly");
                Err(Problem::new(Code::Internal, "the request ended badly")
                    .hint("look at the node's log, and report it"))
            }
            Err(_) => Err(Problem::new(
                Code::TimedOut,
                "the node did not answer in time; what was asked may still be done",
            )
            .hint("look with fmesh status")),
        }
    }
}

async fn ready(State(api): State<Api>) -> Response {
    match api.ask(async |service| service.ready()).await {
        Ok(()) => "ready\n".into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

/// Loopback, also as an IPv4 address in IPv6 dress.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Body of an ordinary request.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Body of an import.
const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Requests that work at the same time; more wait.
const REQUESTS_AT_ONCE: usize = 16;
/// Longest wait for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
