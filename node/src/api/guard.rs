//! Who may ask: holders of the token, through a loopback name.
//!
//! A page in a browser on this machine can send requests here, and by DNS rebinding it can do so under a host name of
//! its own; so the `Host` header must be a loopback name. Everything but `/health` needs the bearer token.
//! Answers are never cached: one of them shows a ticket.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    hear_out::hear_out,
    is_loopback,
    view::{Code, Problem},
};

/// The token, as a hash: lengths are equal, and comparing takes the same time whatever was sent.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
    fn is(&self, sent: &str) -> bool {
        let sent: [u8; 32] = Sha256::digest(sent.as_bytes()).into();
        self.0.ct_eq(&sent).into()
    }
}
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// `routes` behind the token, `open` without it, both behind the host check, unknown paths as problems.
pub(super) fn protect<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    open: Router<S>,
    token: Token,
) -> Router<S> {
    routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(token, check_token))
        .merge(open)
        .layer(middleware::from_fn(check_host))
        .layer(middleware::from_fn(hear_out))
}

async fn check_token(State(token): State<Token>, request: Request, next: Next) -> Response {
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    if sent.is_some_and(|sent| token.is(sent)) {
        return next.run(request).await;
    }
    let problem = match sent {
        None => Problem::new(Code::Unauthorized, "no bearer token was sent"),
        Some(_) => Problem::new(Code::Unauthorized, "the bearer token is not this node's"),
    };
    let mut response = problem
        .hint("send the text of the file api-token in the site's data directory")
        .into_response();
    let challenge = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

async fn check_host(request: Request, next: Next) -> Response {
    let mut response = match host(request.uri(), request.headers()) {
        Some(host) if is_loopback_name(host) => next.run(request).await,
        Some(_) => Problem::new(
            Code::ForeignHost,
            "this API answers only under a loopback name",
        )
        .hint("use http://127.0.0.1, http://[::1] or http://localhost")
        .into_response(),
        None => Problem::new(Code::BadRequest, "the request names no host, or two")
            .hint("send one Host header")
            .into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Host and port as the request names them. The target of the request and every `Host` header must agree.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut named = headers.get_all(header::HOST).iter();
    let first = match named.next() {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    if named.next().is_some() {
        return None;
    }
    match (uri.authority().map(|authority| authority.as_str()), first) {
        (Some(target), Some(host)) if target != host => None,
        (target, host) => host.or(target),
    }
}

/// `localhost` or a loopback address, with or without a port.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if is_port(port) => name,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, _)) if !is_port(&host[name.len()..]) => return false,
            Some((name, _)) => name,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

/// Nothing, or `:` and a port.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok(),
        None => text.is_empty(),
    }
}

async fn unknown_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(Code::NotFound, format!("there is no route {path}"))
        .hint("routes begin with /api/v1/; GET /api/v1/status is one")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let method: String = method.as_str().chars().take(20).collect();
    Problem::new(
        Code::MethodNotAllowed,
        format!("{path} does not take {method}"),
    )
    .hint("see the Allow header for what it takes")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    async fn answer(request: axum::http::request::Builder, path: &str) -> Response {
        let routes = Router::new().route("/api/v1/status", get(async || "status"));
        let open = Router::new().route("/health/live", get(async || "live"));
        let app = protect(routes, open, Token::new("secret"));
        let request = request.uri(path).body(Body::empty()).unwrap();
        app.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn only_the_token_opens_the_api() {
        for (sent, expected) in [
            (Some("Bearer secret"), StatusCode::OK),
            (Some("bearer secret"), StatusCode::OK),
            (Some("Bearer secre"), StatusCode::UNAUTHORIZED),
            (Some("Bearer secrets"), StatusCode::UNAUTHORIZED),
            (Some("Bearer"), StatusCode::UNAUTHORIZED),
            (Some("Basic secret"), StatusCode::UNAUTHORIZED),
            (Some("secret"), StatusCode::UNAUTHORIZED),
            (Some(""), StatusCode::UNAUTHORIZED),
            (None, StatusCode::UNAUTHORIZED),
        ] {
            for (path, authorised) in [
                ("/api/v1/status", StatusCode::OK),
                ("/api/v1/nothing", StatusCode::NOT_FOUND),
            ] {
                let mut request = Request::builder().header(header::HOST, "localhost");
                if let Some(sent) = sent {
                    request = request.header(header::AUTHORIZATION, sent);
                }
                let response = answer(request, path).await;
                let expected = if expected == StatusCode::OK {
                    authorised
                } else {
                    expected
                };
                assert_eq!(response.status(), expected, "{sent:?} {path}");
                let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
                assert_eq!(challenged, expected == StatusCode::UNAUTHORIZED);
                assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            }
        }
    }

    #[tokio::test]
    async fn health_is_open_but_not_to_foreign_hosts() {
        let local = Request::builder().header(header::HOST, "127.0.0.1:4811");
        assert_eq!(answer(local, "/health/live").await.status(), StatusCode::OK);
        let foreign = Request::builder().header(header::HOST, "evil.example");
        let response = answer(foreign, "/health/live").await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }

    #[tokio::test]
    async fn a_foreign_or_missing_host_is_refused_even_with_the_token() {
        let request = |hosts: &[&str]| {
            let request = Request::builder().header(header::AUTHORIZATION, "Bearer secret");
            let add = |r: axum::http::request::Builder, host: &&str| r.header(header::HOST, *host);
            hosts.iter().fold(request, add)
        };
        for (hosts, target, expected) in [
            (&["localhost:1"][..], "/api/v1/status", StatusCode::OK),
            (&[], "/api/v1/status", StatusCode::BAD_REQUEST),
            (
                &["localhost", "localhost"],
                "/api/v1/status",
                StatusCode::BAD_REQUEST,
            ),
            (&["evil.example"], "/api/v1/status", StatusCode::FORBIDDEN),
            (
                &["localhost"],
                "http://evil.example/api/v1/status",
                StatusCode::BAD_REQUEST,
            ),
            (
                &["localhost"],
                "http://localhost/api/v1/status",
                StatusCode::OK,
            ),
        ] {
            let status = answer(request(hosts), target).await.status();
            assert_eq!(status, expected, "{hosts:?} {target}");
        }
    }

    #[test]
    fn loopback_has_few_names() {
        for name in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1",
            "127.0.0.1:4811",
            "127.8.9.1",
            "[::1]",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in [
            "",
            ":80",
            "localhost.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "192.168.1.5",
            "[::]",
            "[::1",
            "[::1]x",
            "::1",
            "localhost:x",
            "localhost:80:80",
            "localhost:99999",
            "evil@localhost",
        ] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }
}
