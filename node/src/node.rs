//! A running node: the loop between state machine, writer and network, and the cheap handle to it.
//!
//! ```text
//!           commands                      jobs
//!   net <------------- [loop: Mesh] -------------> writer thread
//!       -------------> (no disk,    <-------------
//!           events      no waiting)    what is stored
//! ```
//!
//! - `pilot`: the loop itself. - `identities`: under which PeerId each member speaks. - `pairs`: how circles of two are called. - `ping`: how fast a partner answers. - `serve`: answers to members, read from the store. - `throttle`: how often strangers may knock.
//!
//! The loop never waits for a channel, so a full one cannot stop it: what it has to say is queued, and what comes
//! next is not read before there is room.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fmesh_proto::{
    id::{PeerKey, SiteId},
    keys::OperatingKeys,
    membership::Membership,
    record::View,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    api,
    config::Config,
    keystore::{self, Keystore, KeystoreError, PublishedAddress},
    net::{self, NetCommand, NetConfig, NetError, Probed, Reach},
    search::Index,
    store::{Store, StoreError},
    writer::{self, WriteError, Writer, endings::has_ended, keys::SettleError, unix_now},
};

mod identities;
mod pairs;
mod pilot;
mod ping;
mod serve;
mod throttle;

pub use self::ping::Pong;

/// Live facts about one partner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Under which transport key it is spoken to, or would be dialled next.
    pub peer: Option<PeerKey>,
    /// Connected now.
    pub connected: bool,
    /// Remote address of the connection.
    pub address: Option<String>,
    /// Round-trip time in microseconds.
    pub rtt_micros: Option<u64>,
    /// Unix seconds of the last sign of life.
    pub last_seen: Option<u64>,
    /// Their clock minus ours, seconds, from their hello.
    pub clock_skew: Option<i64>,
    /// Why the last dial failed.
    pub last_error: Option<String>,
    /// Records of theirs for us that we know of and do not have yet.
    pub behind: u64,
    /// Records of ours for them that they have not acknowledged yet.
    pub they_are_behind: u64,
    /// How they misbehaved last, and how often since start.
    pub misbehaved: Option<(String, u64)>,
}

/// Live facts about the node, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Bound addresses, with `/p2p/<PeerId>`.
    pub listening: Vec<String>,
    /// By partner.
    pub peers: BTreeMap<SiteId, PeerStatus>,
    /// Problems that the operator should see, worst first.
    pub problems: Vec<String>,
    /// Refused knocks since start.
    pub refused_connections: u64,
    /// The last of them, newest last, a few.
    pub refusals: Vec<Refused>,
    /// What is known of this node's own reachability.
    pub reach: Reach,
}

/// A connection or a request to join that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Unix seconds.
    pub at: u64,
    /// Who, if it got so far as to prove it: a PeerId.
    pub peer: Option<String>,
    /// From where.
    pub address: String,
    /// Why.
    pub reason: String,
}

/// Cheap handle to a running node.
#[derive(Debug, Clone)]
pub struct Node {
    /// This site.
    pub site: SiteId,
    /// As the operator wrote it.
    pub config: Arc<Config>,
    /// Reading.
    pub store: Store,
    /// Changing.
    pub writer: Writer,
    /// Members, as the store has them; replaced after each change.
    pub membership: watch::Receiver<Arc<Membership>>,
    /// Live facts.
    pub live: watch::Receiver<Arc<Live>>,
    /// Search index over live records, own and partners'; updated after each commit.
    pub index: Arc<RwLock<Index>>,
    /// Own key manifest.
    pub manifest: View,
    /// The transport key that this node speaks with until it is stopped.
    pub transport: PeerKey,
    /// Unix seconds.
    pub started: u64,
    /// Straight to the network, for trials of addresses alone.
    probes: Commands,
    pings: mpsc::Sender<ping::Ask>,
}

/// Why a node does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Keys or token files.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// Port in use, bad address.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local API's address.
    #[error("cannot listen on {address} for the local API: {source}")]
    Api {
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The writer met a storage error; what is on disk is known after the next start.
    #[error("the store cannot be written any more; the log says why")]
    WriterStopped,
    /// The writer thread did not start.
    #[error("cannot start: {0}")]
    Start(String),
}

impl From<SettleError> for NodeError {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Keystore(error) => Self::Keystore(error),
            SettleError::Store(error) => Self::Store(error),
        }
    }
}

impl From<WriteError> for NodeError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => Self::Store(error),
            other => Self::Start(other.to_string()),
        }
    }
}

/// What a started node tells.
#[derive(Debug, Clone)]
pub struct Started {
    /// Bound addresses, with `/p2p/<PeerId>`.
    pub listening: Vec<String>,
    /// Address of the local API.
    pub api: SocketAddr,
}

/// A node that runs, and the means to stop it.
#[derive(Debug)]
pub struct Running {
    /// The handle.
    pub node: Node,
    /// Where it listens.
    pub listening: Vec<String>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), NodeError>>,
}

impl Running {
    /// Stops: connections are closed, queued work is finished, the store is closed. Anything acknowledged was on disk already.
    pub async fn stop(self) -> Result<(), NodeError> {
        let Self {
            node, stop, done, ..
        } = self;
        // The loop may have ended by itself.
        let _ = stop.send(());
        drop(node);
        done.await.map_err(|e| NodeError::Start(e.to_string()))?
    }
}

impl Node {
    /// Starts everything but the local API.
    pub async fn start(config: Config, keystore: &Keystore) -> Result<Running, NodeError> {
        let (dir, secrets) = (config.data_dir.clone(), keystore.clone());
        let opened = tokio::task::spawn_blocking(move || -> Result<_, NodeError> {
            let store = Store::open(&dir.join("store"))?;
            let keys = writer::keys::settle(&dir, &secrets, &store)?;
            let index = load_index(&store)?;
            Ok((store, Arc::new(keys), index))
        });
        let (store, keys, index) = opened
            .await
            .map_err(|e| NodeError::Start(e.to_string()))??;
        let index = Arc::new(RwLock::new(index));
        let setup = writer::Setup {
            store: store.clone(),
            site: keystore.site(),
            keys: Arc::clone(&keys),
            manifest: keystore.manifest().clone(),
            index: Arc::clone(&index),
        };
        let (writer, written, membership, thread) =
            Writer::start_guarded(setup, config.data_dir.clone())?;
        let net_config = NetConfig {
            transport_secret: zeroize::Zeroizing::new(*keys.transport_secret()),
            listen: config.listen.clone(),
            announce: config.announce.clone(),
            connections_max: config.connections_max,
            offer_relay: config.network.offer_relay,
            use_relays: config.network.use_relays,
            mdns: config.network.mdns,
        };
        let (commands, events, bound) = net::start(net_config).await?;
        let peer_id = net::peer_id(&keys.transport());
        let listening: Vec<String> = bound.iter().map(|a| format!("{a}/p2p/{peer_id}")).collect();
        let (membership_tx, membership_rx) = watch::channel(membership);
        let (live_tx, live_rx) = watch::channel(Arc::new(Live {
            listening: listening.clone(),
            reach: Reach {
                bound,
                ..Reach::default()
            },
            ..Live::default()
        }));
        let (pings, asked) = mpsc::channel(ping::ASKED_MAX);
        let node = Self {
            site: keystore.site(),
            config: Arc::new(config),
            store,
            writer,
            membership: membership_rx,
            live: live_rx,
            index,
            manifest: keystore.manifest().clone(),
            transport: keys.transport(),
            started: unix_now(),
            pings,
            probes: commands.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let pilot = pilot::Pilot::new(node.clone(), keys, commands, membership_tx, live_tx, asked)?;
        let done = tokio::spawn(async move {
            let result = pilot.run(events, written, stopped).await;
            // All senders of jobs are gone with the pilot and the handles; the thread ends when its queue is empty, and with
            // it the store is closed, so that it can be opened again. Somebody who kept a handle is not waited for.
            let ended = tokio::task::spawn_blocking(move || thread.join());
            let _ = tokio::time::timeout(WRITER_PATIENCE, ended).await;
            result
        });
        Ok(Running {
            node,
            listening,
            stop,
            done,
        })
    }

    /// Calls a partner, dialling it first if it is not connected, and measures until its answer is here.
    ///
    /// # Errors
    /// In words, if it does not answer.
    pub async fn ping(&self, site: SiteId) -> Result<Pong, String> {
        let stopped = |_| "the node is stopping".to_owned();
        let (ask, answer) = ping::Ask::new(site);
        self.pings.send(ask).await.map_err(|_| stopped(()))?;
        answer.await.map_err(|_| stopped(()))?
    }

    /// Addresses for a ticket: what the operator announces, else what is bound, reachable ones first; then the members that relay for this
    /// site, which pass a request to join on.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        pilot::told_addresses(&self.config, &self.live.borrow().reach)
    }

    /// Tries one address of a member: does the member itself answer there?
    pub async fn probe(&self, peer: PeerKey, address: String) -> Probed {
        let (answer, probed) = oneshot::channel();
        let probe = NetCommand::Probe {
            peer,
            address,
            answer,
        };
        let ended = || Probed::Other("the node is stopping".to_owned());
        if self.probes.send(probe).await.is_err() {
            return ended();
        }
        probed.await.unwrap_or_else(|_| ended())
    }
}

/// A node that runs with its local API.
#[derive(Debug)]
pub struct Serving {
    /// The node.
    pub running: Running,
    /// Address of the local API.
    pub api: SocketAddr,
    published: PublishedAddress,
    api_stop: oneshot::Sender<()>,
    api_done: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    /// Starts a node and its local API, and tells local programs where that is.
    pub async fn start(config: Config, keystore: &Keystore) -> Result<Self, NodeError> {
        let data_dir = config.data_dir.clone();
        let address = config.api_listen;
        let refused = |source| NodeError::Api { address, source };
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(refused)?;
        let api = listener.local_addr().map_err(refused)?;
        let token = keystore::token(&data_dir)?;
        let running = Node::start(config, keystore).await?;
        let (api_stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // Stops as well when the sender is dropped.
            let _ = stopped.await;
        };
        let api_done = tokio::spawn(api::serve(listener, running.node.clone(), token, stopped));
        let published = keystore::publish_address(&data_dir, api)?;
        Ok(Self {
            running,
            api,
            published,
            api_stop,
            api_done,
        })
    }

    /// Waits until the node ends by itself, which is always a failure.
    async fn ended(&mut self) -> NodeError {
        match (&mut self.running.done).await {
            Ok(Ok(())) => NodeError::WriterStopped,
            Ok(Err(error)) => error,
            Err(error) => NodeError::Start(error.to_string()),
        }
    }

    /// Takes the address back and ends the API.
    async fn close_api(
        published: PublishedAddress,
        stop: oneshot::Sender<()>,
        done: JoinHandle<std::io::Result<()>>,
    ) -> Result<(), NodeError> {
        published.withdraw()?;
        let _ = stop.send(());
        if let Ok(Err(error)) = done.await {
            tracing::warn!(%error, "the local API ended badly");
        }
        Ok(())
    }

    /// Stops the API, then the node.
    pub async fn stop(self) -> Result<(), NodeError> {
        Self::close_api(self.published, self.api_stop, self.api_done).await?;
        self.running.stop().await
    }
}

/// Runs a node with its local API until `shutdown` ends or the store fails.
pub async fn run(
    config: Config,
    keystore: Keystore,
    ready: impl FnOnce(&Started),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), NodeError> {
    let mut serving = Serving::start(config, &keystore).await?;
    drop(keystore);
    ready(&Started {
        listening: serving.running.listening.clone(),
        api: serving.api,
    });
    let failed = tokio::select! {
        () = shutdown => None,
        error = serving.ended() => Some(error),
    };
    match failed {
        None => serving.stop().await,
        Some(error) => {
            Serving::close_api(serving.published, serving.api_stop, serving.api_done).await?;
            Err(error)
        }
    }
}

/// The search index from the store: current revisions only, which were verified when they were stored.
fn load_index(store: &Store) -> Result<Index, StoreError> {
    let mut index = Index::new();
    let endings = store.endings()?;
    for current in store.currents() {
        let (site, kind, id, seq) = current?;
        let Some((view, received)) = store.record(&site, seq)? else {
            continue;
        };
        match view.parse().map(fmesh_proto::record::Parsed::from_store) {
            Ok(record) => index.put_as(&record, received, has_ended(&endings, &record)),
            Err(error) => {
                tracing::warn!(%site, %kind, %id, seq, %error, "stored record cannot be read")
            }
        }
    }
    Ok(index)
}

/// Locks that outlive a panic elsewhere: what they guard is replaced as a whole.
pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// How long a stop waits for the writer.
const WRITER_PATIENCE: Duration = Duration::from_secs(3);

/// Own keys as the loop and its tasks share them.
type Keys = Arc<OperatingKeys>;
/// To the network, from the loop.
type Commands = mpsc::Sender<NetCommand>;
