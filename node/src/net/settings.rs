//! Settings of libp2p, each with its reason (PROTOCOL section 8.2).

use std::{num::NonZeroU32, time::Duration};

use libp2p::{
    connection_limits::ConnectionLimits, gossipsub, identify, identity::PublicKey, ping, relay,
    request_response,
};
use sha2::{Digest as _, Sha256};

/// gossipsub with a bound on the topics a peer may name.
pub(crate) type Gossip = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>,
>;

/// gossipsub's settings. Public so that a bench can build the bare protocol with the same ones.
///
/// Messages carry no author and no signature of libp2p's: records carry their own. A message waits for its verdict
/// before it is forwarded.
///
/// # Panics
/// Never: the values are constants that gossipsub accepts, which a test shows.
#[must_use]
pub fn gossipsub_config() -> gossipsub::Config {
    gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        // The default id of an anonymous message makes announcements that receivers refuse.
        .message_id_fn(|message| {
            gossipsub::MessageId::from(&Sha256::digest(&message.data)[..MESSAGE_ID_BYTES])
        })
        // Far above a publication: payloads near the maximum kill the link silently.
        .max_transmit_size(GOSSIP_TRANSMIT_BYTES_MAX)
        .max_control_messages_sent(600)
        .max_control_message_size(64 * 1024)
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        .flood_publish(false)
        .connection_handler_queue_len(512)
        // Longer than any path through the mesh takes, so that an old message does not travel twice.
        .duplicate_cache_time(Duration::from_secs(300))
        .history_length(6)
        .history_gossip(3)
        .build()
        .expect("constants that gossipsub accepts")
}

/// gossipsub's scoring of peers. Public for the same reason as [`gossipsub_config`].
///
/// Our own verdicts decide: a few rejected messages within a minute silence a peer. Many nodes behind one address are normal here.
#[must_use]
pub fn peer_score_params() -> gossipsub::PeerScoreParams {
    gossipsub::PeerScoreParams {
        ip_colocation_factor_weight: 0.0,
        // A restart grafts again before the back-off ends; that alone is no misbehaviour.
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: gossipsub::score_parameter_decay(SCORE_MEMORY),
        retain_score: Duration::from_secs(600),
        ..gossipsub::PeerScoreParams::default()
    }
}

/// Scoring within the mesh's topic.
#[must_use]
pub fn topic_score_params() -> gossipsub::TopicScoreParams {
    gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        // Being there, and being first, earns at most one point each: it must not buy forgiveness.
        time_in_mesh_quantum: Duration::from_secs(10),
        time_in_mesh_cap: 1.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 10.0,
        // A quiet factory is not a bad one: no penalty for few deliveries.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // One rejected message costs 5, two 20 (no gossip any more), four 80 (ignored), until they fade.
        invalid_message_deliveries_weight: -5.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(SCORE_MEMORY),
        ..gossipsub::TopicScoreParams::default()
    }
}

/// The gossip behaviour of a node.
pub(crate) fn gossip() -> Result<Gossip, String> {
    let mut gossip = Gossip::new_with_subscription_filter(
        gossipsub::MessageAuthenticity::Anonymous,
        gossipsub_config(),
        gossipsub::MaxCountSubscriptionFilter {
            filter: gossipsub::AllowAllSubscriptionFilter {},
            max_subscribed_topics: 8,
            max_subscriptions_per_request: 8,
        },
    )
    .map_err(str::to_owned)?;
    let thresholds = gossipsub::PeerScoreThresholds {
        // Our scores stay near zero; the default would graft at random for ever.
        opportunistic_graft_threshold: 0.0,
        ..gossipsub::PeerScoreThresholds::default()
    };
    gossip.with_peer_score(peer_score_params(), thresholds)?;
    Ok(gossip)
}

pub(crate) fn ping() -> ping::Config {
    ping::Config::new()
        .with_interval(Duration::from_secs(10))
        .with_timeout(Duration::from_secs(10))
}

pub(crate) fn calls() -> request_response::Config {
    request_response::Config::default()
        .with_request_timeout(CALL_TIMEOUT)
        .with_max_concurrent_streams(STREAMS_MAX)
}

/// Identify, among members only. Addresses are not told by it: the signed directory does that.
pub(crate) fn identify(key: PublicKey) -> identify::Config {
    identify::Config::new("/fmesh/1".to_owned(), key)
        .with_agent_version(concat!("fmesh/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_hide_listen_addrs(true)
        .with_cache_size(0)
}

/// The relay that this node is to other members. libp2p's defaults end a circuit after two minutes or 128 KiB, which no
/// catch-up fits into; these carry a day's traffic and still end what was forgotten.
pub(crate) fn relay() -> relay::Config {
    let config = relay::Config {
        max_reservations: RESERVATIONS_MAX,
        max_reservations_per_peer: 2,
        reservation_duration: Duration::from_secs(60 * 60),
        // libp2p's own are counted by address, too, and many nodes behind one address are normal here.
        reservation_rate_limiters: Vec::new(),
        max_circuits: CIRCUITS_MAX,
        max_circuits_per_peer: CIRCUITS_PER_PEER_MAX,
        max_circuit_duration: Duration::from_secs(12 * 60 * 60),
        max_circuit_bytes: 4 << 30,
        circuit_src_rate_limiters: Vec::new(),
    };
    let minute = Duration::from_secs(60);
    config
        .reservation_rate_per_peer(RESERVATIONS_PER_MINUTE, minute)
        .circuit_src_per_peer(CIRCUITS_PER_MINUTE, minute)
}

/// libp2p's default is no limit at all.
pub(crate) fn connection_limits(total: u32) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(64))
        .with_max_pending_outgoing(Some(64))
        .with_max_established(Some(total))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
}

/// Simultaneous dials over two transports give up to four connections to one peer; a dial back, a circuit and its direct
/// successor come on top for a moment.
pub(crate) const CONNECTIONS_PER_PEER_MAX: u32 = 8;
/// Members that may hold a place at this relay. More are refused.
pub(crate) const RESERVATIONS_MAX: usize = 256;
/// Circuits through this relay at once. More are refused.
pub(crate) const CIRCUITS_MAX: usize = 256;
/// Of one member, at either end.
pub(crate) const CIRCUITS_PER_PEER_MAX: usize = 16;
const RESERVATIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(12).expect("12 > 0");
const CIRCUITS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("60 > 0");
/// Places that a node without a reachable address keeps at other members' relays.
pub(crate) const RELAYS_WANTED: usize = 2;
/// A relay that refused or went away is not asked again before.
pub(crate) const RELAY_RETRY: Duration = Duration::from_secs(15);
/// After this time without any verdict on our own addresses, a relay is used as if they could not be reached.
/// (Tests on loopback, where nothing is far, wait less.)
pub(crate) const REACH_UNKNOWN: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });
/// A dial goes over TCP, too, if QUIC did not answer by then.
pub(crate) const TCP_DIAL_AFTER: Duration = Duration::from_millis(250);
/// A dial goes through a relay, too, if no direct address answered by then.
pub(crate) const RELAYED_DIAL_AFTER: Duration = Duration::from_millis(1_500);
/// A circuit is closed when a direct connection has lasted so long beside it.
pub(crate) const DIRECT_STABLE: Duration = Duration::from_secs(5);
/// Addresses of ours that members claim to see and that are tested. The rest is ignored: members could invent them.
pub(crate) const CANDIDATES_MAX: usize = 16;
/// Neighbours found on the local network that are remembered.
pub(crate) const NEIGHBOURS_MAX: usize = 256;
/// Addresses that are tried for the operator at once.
pub(crate) const PROBES_MAX: usize = 32;
/// A trial that is not over by then has failed.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(8);
/// A look from outside at our own addresses ends then: a dial back that is dropped on the way takes ten seconds to fail over TCP.
pub(crate) const LOOK_TIME: Duration = Duration::from_secs(12);
/// Looks in a row that must miss an address before it counts as out of reach: one member's firewall says little.
pub(crate) const LOOKS_MISSED_MAX: u8 = 2;
/// Members behind this relay whose doors may be open at once. More are not heard.
pub(crate) const DOORS_MAX: usize = 64;
/// A door counts as open for so long after its owner said so.
pub(crate) const DOOR_LASTS: Duration = Duration::from_secs(180);
/// Relays are told of our own door again after this time.
pub(crate) const DOOR_TOLD: Duration = Duration::from_secs(60);
/// Requests of strangers that are passed on at once, one for each stranger. More are answered "busy".
pub(crate) const PASSING_MAX: usize = 16;
/// Requests of strangers that are passed on in a minute. More are answered "busy".
pub(crate) const PASSED_PER_MINUTE: u32 = 60;
/// Strangers that may be connected at once while an invite is open. More are refused.
pub(crate) const STRANGERS_MAX: usize = 32;
/// A stranger that asked nothing for so long is disconnected.
pub(crate) const STRANGER_IDLE: Duration = Duration::from_secs(60);
/// How long the answer to a join may travel before the stranger's connection is closed because it became a member.
pub(crate) const JOIN_GRACE: Duration = Duration::from_secs(2);
/// A call that is not answered by then has failed.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams of calls on one connection, both directions and those that are about to end. Our own calls are limited to
/// `CALLS_PER_PEER_MAX`, so an honest peer never meets this.
pub(crate) const STREAMS_MAX: usize = 16;
/// Own calls to one peer that run at once; more wait.
pub(crate) const CALLS_PER_PEER_MAX: usize = 4;
/// Own calls to one peer that wait; more fail at once.
pub(crate) const CALLS_WAITING_MAX: usize = 64;
/// Failed pings in a row, as libp2p reports them, that close a connection. libp2p keeps the first of a row to itself, so this is the third.
pub(crate) const PING_FAILURES_MAX: u8 = 2;
/// Members stay connected; what is dead is found by ping. (libp2p closes after 10 s without streams.)
pub(crate) const CONNECTION_IDLE: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest gossip message that is sent: a publication and its frame.
pub(crate) const GOSSIP_BYTES_MAX: usize = fmesh_proto::limits::PUBLICATION_BYTES_MAX + 16;
/// Orders that wait for the task; their sender waits when it is full.
pub(crate) const COMMANDS_WAITING_MAX: usize = 256;
/// Events that wait for the node; the network is not read while it is full.
pub(crate) const EVENTS_WAITING_MAX: usize = 256;
/// Events that wait inside the task; no order is taken while it is full.
pub(crate) const OUTBOX_MAX: usize = 1_024;

const GOSSIP_TRANSMIT_BYTES_MAX: usize = 256 * 1024;
/// Half a SHA-256 and a little: no two messages share it, and announcements stay short.
const MESSAGE_ID_BYTES: usize = 20;
/// After this time a penalty has faded.
const SCORE_MEMORY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gossipsub_accepts_the_settings() {
        let config = gossipsub_config();
        assert!(config.validate_messages());
        assert_eq!(
            (config.mesh_n(), config.mesh_n_low(), config.mesh_n_high()),
            (6, 4, 12)
        );
        let message = gossipsub::Message {
            source: None,
            data: b"abc".to_vec(),
            sequence_number: None,
            topic: gossipsub::TopicHash::from_raw("any"),
        };
        // FIPS 180-2: SHA-256("abc"), first 20 bytes.
        assert_eq!(
            config.message_id(&message).to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a3"
        );
        peer_score_params().validate().expect("valid");
        topic_score_params().validate().expect("valid");
        gossip().expect("valid");
    }

    #[test]
    fn a_few_rejected_messages_outweigh_all_that_is_earned() {
        let topic = topic_score_params();
        let earned = topic.time_in_mesh_cap * topic.time_in_mesh_weight
            + topic.first_message_deliveries_cap * topic.first_message_deliveries_weight;
        let rejected = |n: f64| topic.invalid_message_deliveries_weight * n * n;
        let thresholds = gossipsub::PeerScoreThresholds::default();
        assert!(earned + rejected(1.0) > thresholds.gossip_threshold);
        assert!(earned + rejected(2.0) < thresholds.gossip_threshold);
        assert!(earned + rejected(5.0) < thresholds.graylist_threshold);
    }
}
