//! The way to the running node: HTTP on the loopback, with the token of the site's directory.

use std::time::Duration;

use reqwest::{Method, Url};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroizing;

use super::failure::{Failure, code_of_status};
use crate::{
    api::view::{Exit, Problem},
    config::{Config, Place},
    keystore::{self, KeystoreError},
};

/// Largest answer that is read: far above what one page of the API holds.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most pages of one list that are put together.
const PAGES_MAX: usize = 10_000;

/// An answer as the API gave it.
#[derive(Debug)]
pub(crate) struct Reply(pub(crate) Value);

impl Reply {
    /// The same as a type of the API.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.0).map_err(|error| {
            Failure::new(Exit::Failed, "internal", "the node's answer cannot be read")
                .why(error.to_string())
                .hint("use the same version of fmesh for the node and for the commands: fmesh version")
        })
    }
    /// The items of a list.
    pub(crate) fn items<T: DeserializeOwned>(&self) -> Result<Vec<T>, Failure> {
        Self(self.0.get("items").cloned().unwrap_or(Value::Null)).read()
    }
}

/// A query: names and values, empty values are left out.
pub(crate) type Query<'a> = [(&'a str, Option<&'a str>)];

/// A connection to the node of one site directory.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Zeroizing<String>,
    timeout: Duration,
}

impl Client {
    /// Finds the node that runs on this site directory.
    pub(crate) fn open(place: &Place, timeout: Duration) -> Result<Self, Failure> {
        let config = Config::load(&place.find()?)?;
        let access = keystore::load_access(&config.data_dir).map_err(|error| match error {
            KeystoreError::Missing(_) => not_running(&config.name),
            other => other.into(),
        })?;
        let base = Url::parse(&format!("http://{}/api/v1/", access.address)).map_err(|error| {
            Failure::new(Exit::Failed, "internal", "the node's address is no URL")
                .why(error.to_string())
        })?;
        let http = reqwest::Client::builder()
            // a proxy or a redirection would carry the token to somebody else
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                Failure::new(Exit::Failed, "internal", "cannot speak HTTP").why(error.to_string())
            })?;
        Ok(Self {
            http,
            base,
            token: access.token,
            timeout,
        })
    }

    pub(crate) async fn get(&self, path: &[&str], query: &Query<'_>) -> Result<Reply, Failure> {
        self.send(Method::GET, path, query, None::<&()>).await
    }
    pub(crate) async fn post(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Reply, Failure> {
        self.send(Method::POST, path, &[], Some(body)).await
    }
    pub(crate) async fn put(&self, path: &[&str], body: &impl Serialize) -> Result<Reply, Failure> {
        self.send(Method::PUT, path, &[], Some(body)).await
    }
    /// A whole list: pages are asked for until there is no next one, or `items_max` are there.
    pub(crate) async fn list(
        &self,
        path: &[&str],
        query: &Query<'_>,
        items_max: usize,
    ) -> Result<Reply, Failure> {
        let mut whole = self.get(path, query).await?.0;
        for _ in 0..PAGES_MAX {
            let held = whole["items"].as_array().map_or(0, Vec::len);
            let Some(after) = whole["next"].as_str().map(str::to_owned) else {
                break;
            };
            if held >= items_max {
                break;
            }
            let mut query: Vec<_> = query
                .iter()
                .filter(|(name, _)| *name != "after")
                .copied()
                .collect();
            query.push(("after", Some(&after)));
            let mut page = self.get(path, &query).await?.0;
            if let (Some(items), Some(more)) =
                (whole["items"].as_array_mut(), page["items"].as_array_mut())
            {
                items.append(more);
            }
            whole["next"] = page["next"].take();
        }
        Ok(Reply(whole))
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &Query<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<Reply, Failure> {
        let query: Vec<(&str, &str)> = query
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)))
            .collect();
        let mut request = self
            .http
            .request(method, self.url(path)?)
            .bearer_auth(self.token.as_str())
            .timeout(self.timeout)
            .query(&query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failure::new(
                    Exit::Failed,
                    "too_large",
                    "the node's answer is too large",
                )
                .hint("ask for less, for example with --limit"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &bytes));
        }
        serde_json::from_slice(&bytes).map(Reply).map_err(|error| {
            Failure::new(Exit::Failed, "internal", "the node's answer is not JSON")
                .why(error.to_string())
                .hint("see whether another program listens at the node's address; restart the node")
        })
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        // `.` and `..` would be taken for steps in the path
        if let Some(step) = path
            .iter()
            .find(|p| p.is_empty() || **p == "." || **p == "..")
        {
            return Err(Failure::usage(format!("{step:?} names nothing")));
        }
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| {
                Failure::new(Exit::Failed, "internal", "the node's address takes no path")
            })?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    fn failed(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::new(
                Exit::TimedOut,
                "timed_out",
                "the node did not answer in time",
            )
            .why(format!("no answer within {} s", self.timeout.as_secs()))
            .hint("look at the node's log, or wait longer with --timeout SECONDS");
        }
        let mut source: &dyn std::error::Error = error;
        while let Some(deeper) = source.source() {
            source = deeper;
        }
        Failure::new(
            Exit::NotReachable,
            "not_reachable",
            "the node is not reachable",
        )
        .why(format!("{}: {source}", self.base.authority()))
        .hint("start it with `fmesh run`, or look at its log")
    }
}

fn not_running(name: &str) -> Failure {
    Failure::new(
        Exit::NotReachable,
        "not_reachable",
        "the node is not running",
    )
    .why(format!("no node runs for {name:?}"))
    .hint("start it with `fmesh run` in another window")
}

fn refusal(status: u16, bytes: &[u8]) -> Failure {
    serde_json::from_slice::<Problem>(bytes).map_or_else(
        |_| {
            let code = code_of_status(status);
            Problem::new(code, format!("the node answered with HTTP status {status}")).into()
        },
        Failure::from,
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn client(address: std::net::SocketAddr) -> Client {
        Client {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            base: Url::parse(&format!("http://{address}/api/v1/")).unwrap(),
            token: Zeroizing::new("t0".into()),
            timeout: Duration::from_millis(300),
        }
    }

    /// Answers each connection with the next text and returns what was asked.
    async fn server(
        answers: Vec<String>,
    ) -> (std::net::SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 8192];
                let read = stream.read(&mut buffer).await.unwrap();
                asked.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (address, task)
    }

    fn http(status: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn pages_are_put_together_with_token_and_encoded_path() {
        let (address, task) = server(vec![
            http("200 OK", r#"{"schema":"s","items":[1,2],"next":"b"}"#),
            http("200 OK", r#"{"schema":"s","items":[3],"next":null}"#),
        ])
        .await;
        let reply = client(address)
            .list(
                &["resources", "a/b c"],
                &[("of", Some("x&y")), ("kind", None)],
                100,
            )
            .await
            .unwrap();
        assert_eq!(reply.items::<u8>().unwrap(), [1, 2, 3]);
        assert_eq!(reply.0["next"], Value::Null);
        let asked = task.await.unwrap();
        assert!(
            asked[0].starts_with("GET /api/v1/resources/a%2Fb%20c?of=x%26y HTTP"),
            "{}",
            asked[0]
        );
        assert!(asked[0].contains("authorization: Bearer t0"));
        assert!(asked[1].contains("after=b"));
    }

    #[tokio::test]
    async fn problems_keep_code_hint_and_exit() {
        let problem = Problem::new(crate::api::view::Code::NotFound, "no circle is named x")
            .hint("fmesh circle list");
        let (address, task) = server(vec![
            http("404 Not Found", &serde_json::to_string(&problem).unwrap()),
            http("409 Conflict", "not json"),
            http("200 OK", "not json"),
        ])
        .await;
        let client = client(address);
        let failure = client.get(&["circles", "x"], &[]).await.unwrap_err();
        assert_eq!(
            (failure.exit, failure.hint.as_deref()),
            (Exit::NotFound, Some("fmesh circle list"))
        );
        assert_eq!(
            client.get(&["join"], &[]).await.unwrap_err().exit,
            Exit::Conflict
        );
        assert_eq!(
            client.get(&["join"], &[]).await.unwrap_err().exit,
            Exit::Failed
        );
        task.await.unwrap();
        for bad in ["", ".", ".."] {
            assert_eq!(
                client.get(&["circles", bad], &[]).await.unwrap_err().exit,
                Exit::Usage
            );
        }
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_differ() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(
            client(address)
                .get(&["status"], &[])
                .await
                .unwrap_err()
                .exit,
            Exit::TimedOut
        );
        drop(listener);
        assert_eq!(
            client(address)
                .get(&["status"], &[])
                .await
                .unwrap_err()
                .exit,
            Exit::NotReachable
        );
    }

    #[test]
    fn a_site_without_a_running_node_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            config: None,
            dir: Some(dir.path().to_owned()),
        };
        let open = || Client::open(&place, Duration::from_secs(1)).unwrap_err();
        assert_eq!(open().exit, Exit::NotFound);
        std::fs::write(dir.path().join("fmesh.toml"), "[site]\nname = \"A\"\n").unwrap();
        assert_eq!(open().exit, Exit::NotReachable);
    }
}
