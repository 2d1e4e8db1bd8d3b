//! Who gets in, and what they get: strangers, joining, removal, limits.

use super::*;

#[tokio::test]
async fn a_stranger_is_refused_while_no_invite_is_open() {
    for listen in [QUIC, TCP] {
        let mut a = Net::start(1, &[listen], gate(&[3], false)).await;
        let mut stranger = Net::start(2, &[listen], gate(&[1], false)).await;
        stranger.dial(&a).await;
        let reason = stranger.dial_failed().await;
        assert!(reason.contains("does not count"), "{reason}");
        let (peer, reason) = a.refused().await;
        assert_eq!(peer, Some(key(2)));
        assert_eq!(reason, "not a member, and no invite is open");

        stranger.join(&a).await;
        let error = stranger.join_answer().await.expect_err("no invite is open");
        assert!(error.contains("no invite is open"), "{error}");
    }
}

/// The members' protocols without our gate: what a stranger with its own program would run.
pub(super) fn raw_swarm(seed: u8) -> Swarm<Members> {
    let keypair = Keypair::ed25519_from_bytes(secret(seed)).expect("32 bytes");
    SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("noise")
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .expect("noise")
        .with_behaviour(|keypair, circuits| {
            Members::new(keypair, circuits).expect("valid settings")
        })
        .expect("no error")
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .build()
}

#[tokio::test]
async fn a_stranger_reaches_neither_sync_nor_gossip_while_an_invite_is_open() {
    let mut a = Net::start(1, &[TCP], gate(&[], true)).await;
    let mut raw = raw_swarm(2);
    let topic = gossipsub::IdentTopic::new(TOPIC);
    raw.behaviour_mut()
        .gossip
        .subscribe(&topic)
        .expect("subscribes");
    let address: Multiaddr = a.addresses[0].parse().expect("an address");
    raw.dial(address).expect("dials");
    let mut gossip_refused = false;
    let mut sync_refused = false;
    timeout(PATIENCE, async {
        while !(gossip_refused && sync_refused) {
            match raw.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    raw.behaviour_mut()
                        .sync
                        .send_request(&peer_id, Ok(heads(32)));
                }
                SwarmEvent::Behaviour(MembersEvent::Sync(
                    request_response::Event::OutboundFailure { error, .. },
                )) => {
                    assert!(
                        matches!(
                            error,
                            request_response::OutboundFailure::UnsupportedProtocols
                        ),
                        "{error}"
                    );
                    sync_refused = true;
                }
                SwarmEvent::Behaviour(MembersEvent::Gossip(
                    gossipsub::Event::GossipsubNotSupported { .. },
                )) => gossip_refused = true,
                SwarmEvent::Behaviour(MembersEvent::Gossip(event)) => panic!("{event:?}"),
                SwarmEvent::ConnectionClosed { cause, .. } => panic!("closed: {cause:?}"),
                _ => {}
            }
        }
    })
    .await
    .expect("both are refused");
    while let Ok(event) = a.events.try_recv() {
        assert!(
            matches!(event, NetEvent::Reach(_)),
            "nothing of a stranger comes through: {event:?}"
        );
    }
}

#[tokio::test]
async fn a_stranger_that_is_admitted_gets_its_answer_and_then_talks() {
    for listen in [QUIC, TCP] {
        let mut a = Net::start(1, &[listen], gate(&[], true)).await;
        let mut b = Net::start(2, &[listen], gate(&[], false)).await;
        b.join(&a).await;
        // The gate changes before the answer leaves: it still arrives.
        let (from, address) = a.serve_join(Some(gate(&[2], false))).await;
        assert_eq!(from, b.key);
        assert!(address.starts_with("/ip4/127.0.0.1/"), "{address}");
        assert_eq!(b.join_answer().await, Ok(join_answer()));

        b.send(NetCommand::SetGate(gate(&[1], false))).await;
        b.dial(&a).await;
        b.subscribed(&a.key).await;
        a.subscribed(&b.key).await;
        a.call(&b.key, 7, heads(1)).await;
        b.serve(response("busy")).await;
        assert_eq!(a.response(7).await, Ok(response("busy")));
        b.send(NetCommand::Publish(b"hello".to_vec())).await;
        assert_eq!(a.gossip().await, (b.key, b"hello".to_vec()));
    }
}

#[tokio::test]
async fn a_member_in_our_eyes_only_can_be_asked_to_let_us_join() {
    let mut a = Net::start(1, &[QUIC], gate(&[], true)).await;
    let mut b = Net::start(2, &[QUIC], gate(&[1], false)).await;
    b.join(&a).await;
    a.serve_join(None).await;
    assert_eq!(b.join_answer().await, Ok(join_answer()));
    b.dial(&a).await;
    let reason = b.dial_failed().await;
    assert!(reason.contains("does not count"), "{reason}");
    a.send(NetCommand::SetGate(gate(&[2], false))).await;
    b.dial(&a).await;
    b.connected(&a.key).await;
}

#[tokio::test]
async fn only_one_request_to_join_runs_at_a_time() {
    let mut a = Net::start(1, &[QUIC], gate(&[], true)).await;
    let mut b = Net::start(2, &[QUIC], gate(&[], false)).await;
    b.join(&a).await;
    b.join(&a).await;
    let error = b.join_answer().await.expect_err("the first runs");
    assert!(error.contains("still under way"), "{error}");
    a.serve_join(None).await;
    assert_eq!(b.join_answer().await, Ok(join_answer()));
    // Again over the same connection.
    b.join(&a).await;
    a.serve_join(None).await;
    assert_eq!(b.join_answer().await, Ok(join_answer()));
}

#[tokio::test]
async fn a_removed_member_is_disconnected_and_refused() {
    let (mut a, mut b) = pair(&[QUIC]).await;
    a.send(NetCommand::SetGate(gate(&[], false))).await;
    a.disconnected(&b.key).await;
    b.disconnected(&a.key).await;
    b.dial(&a).await;
    b.dial_failed().await;
    assert_eq!(a.refused().await.0, Some(b.key));
    a.call(&b.key, 1, heads(1)).await;
    assert_eq!(a.response(1).await, Err("not connected".to_owned()));
}

#[tokio::test]
async fn many_strangers_are_bounded_and_members_still_get_in() {
    let mut a = Net::start(1, &[TCP], gate(&[2], true)).await;
    let address: Multiaddr = a.addresses[0].parse().expect("an address");
    let strangers = u8::try_from(super::super::settings::STRANGERS_MAX).expect("few");
    let mut swarms = futures::stream::SelectAll::new();
    for seed in 0..=strangers {
        let mut raw = raw_swarm(100 + seed);
        raw.dial(address.clone()).expect("dials");
        swarms.push(raw);
    }
    let (peer, reason) = tokio::select! {
        refused = a.refused() => refused,
        () = swarms.for_each(|_| async {}) => unreachable!("swarms never end"),
    };
    assert!(peer.is_some());
    assert!(
        reason.contains("strangers are connected already"),
        "{reason}"
    );
    let mut b = Net::start(2, &[TCP], gate(&[1], false)).await;
    b.dial(&a).await;
    b.connected(&a.key).await;
}
