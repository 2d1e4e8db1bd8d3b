//! `fmesh run`: this process becomes the node.

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Context, failure::Failure, words};
use crate::{
    api::view::Exit,
    config::{Config, Log, LogFormat},
    keystore,
    net::NetError,
    node::{self, NodeError},
    store::StoreError,
};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let config = Config::load(&context.place.find()?)?;
    let keystore = keystore::load(&config.data_dir)?;
    start_log(&config.log, context.out.colors_talk());
    let shutdown = shutdown()?;
    let (name, print) = (
        config.name.clone(),
        fmesh_proto::id::fingerprint(keystore.site().as_bytes()),
    );
    let ready = |started: &node::Started| {
        context
            .out
            .say(&format!("{name}  {}", words::fingerprint_short(&print)));
        for address in &started.listening {
            context.out.say(&format!("  listens on {address}"));
        }
        context.out.say(&format!(
            "  API at http://{}   stop with Ctrl-C",
            started.api
        ));
    };
    node::run(config, keystore, ready, shutdown)
        .await
        .map_err(Failure::from)
}

/// Ends when the process is asked to stop. A second request ends the process at once.
fn shutdown() -> Result<impl Future<Output = ()> + Send, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|e| {
            Failure::new(Exit::Failed, "io", "cannot listen to signals").why(e.to_string())
        })
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // 128 + SIGINT, as shells report it; what was acknowledged is on disk
            std::process::exit(130);
        });
    })
}

fn start_log(log: &Log, color: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&log.level))
        .with_ansi(color)
        .with_writer(std::io::stderr);
    // a second call (a test, the demo) keeps the first log
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let failed =
            |exit, code: &str, why: String| Self::new(exit, code, "the node cannot run").why(why);
        match error {
            NodeError::Keystore(error) => error.into(),
            NodeError::Net(NetError::Listen { .. }) | NodeError::Api { .. } => {
                failed(Exit::Conflict, "conflict", error.to_string())
                    .hint("stop the program that has the port, or change listen in fmesh.toml")
            }
            NodeError::Net(NetError::Address(_)) => {
                failed(Exit::InputErrors, "invalid_input", error.to_string())
                    .hint("fmesh config check")
            }
            NodeError::Store(StoreError::InUse(_)) => {
                failed(Exit::Conflict, "conflict", error.to_string())
                    .hint("stop the other fmesh process of this site first")
            }
            NodeError::Store(StoreError::Corrupt(_)) => {
                failed(Exit::Failed, "damaged", error.to_string())
                    .hint("keep a copy of the data directory, then restore the store from a backup")
            }
            NodeError::Store(StoreError::Schema { .. }) => {
                failed(Exit::Failed, "schema", error.to_string())
                    .hint("start it with the version of fmesh that wrote it, or a newer one")
            }
            other => failed(Exit::Failed, "io", other.to_string()).hint("look at the log above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_not_to_run_have_exit_codes_and_next_steps() {
        let listen = NetError::Listen {
            address: "/ip4/0.0.0.0/tcp/4810".into(),
            reason: "address in use".into(),
        };
        let api = NodeError::Api {
            address: ([127, 0, 0, 1], 4811).into(),
            source: std::io::ErrorKind::AddrInUse.into(),
        };
        for (error, exit) in [
            (NodeError::Net(listen), 6),
            (api, 6),
            (NodeError::Net(NetError::Address("x".into())), 8),
            (NodeError::Store(StoreError::InUse("/d".into())), 6),
            (NodeError::Store(StoreError::Corrupt("x".into())), 1),
            (NodeError::Store(StoreError::Io("x".into())), 1),
            (
                NodeError::Keystore(keystore::KeystoreError::Missing("/k".into())),
                3,
            ),
        ] {
            let text = error.to_string();
            let failure = Failure::from(error);
            assert_eq!(failure.exit as u8, exit, "{text}");
            assert!(failure.hint.is_some() && failure.why.is_some(), "{text}");
        }
    }
}
