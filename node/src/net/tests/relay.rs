//! Members that nobody can dial meet through one that relays; everybody else does not.

use super::*;
use crate::net::Reach;

/// A node that listens nowhere, so that only a relay leads to it.
async fn hidden(seed: u8, gate: Gate) -> Net {
    let config = NetConfig {
        use_relays: true,
        ..config(seed, &[])
    };
    Net::with(seed, config, gate).await
}

async fn relay(seed: u8, gate: Gate) -> Net {
    let config = NetConfig {
        offer_relay: Some(true),
        ..config(seed, &[QUIC, TCP])
    };
    Net::with(seed, config, gate).await
}

impl Net {
    async fn reach(&mut self, what: &str, holds: impl Fn(&Reach) -> bool) -> Reach {
        self.until(what, |event| match event {
            NetEvent::Reach(reach) if holds(&reach) => Some(reach),
            _ => None,
        })
        .await
    }

    async fn dial_at(&self, other: PeerKey, addresses: Vec<String>) {
        self.send(NetCommand::Dial {
            peer: other,
            addresses,
        })
        .await;
    }
}

#[tokio::test]
async fn two_hidden_members_meet_through_a_third_and_talk() {
    let mut r = relay(1, gate(&[2, 3], false)).await;
    let mut b = hidden(2, gate(&[1, 3], false)).await;
    let mut c = hidden(3, gate(&[1, 2], false)).await;
    for net in [&mut b, &mut c] {
        net.dial(&r).await;
        net.subscribed(&r.key).await;
        r.subscribed(&net.key).await;
    }
    let place = b
        .reach("a place at the relay", |reach| !reach.relayed.is_empty())
        .await;
    assert_eq!(place.relays, [r.key]);
    assert!(
        place.relayed.iter().all(|a| a.contains(&peer_id(&r.key))),
        "{place:?}"
    );

    // A dead address first: the relay is tried soon after, or when it has failed.
    let dead = "/ip4/127.0.0.1/tcp/1".to_owned();
    c.dial_at(b.key, [vec![dead], place.relayed].concat()).await;
    let (address, outbound) = c
        .until("Connected", |event| match event {
            NetEvent::Connected {
                peer,
                address,
                outbound,
            } if peer == b.key => Some((address, outbound)),
            NetEvent::DialFailed { reason, .. } => panic!("{reason}"),
            _ => None,
        })
        .await;
    assert!(address.contains("p2p-circuit") && outbound, "{address}");
    let (address, outbound) = b.connected(&c.key).await;
    assert!(address.contains("p2p-circuit") && !outbound, "{address}");
    b.subscribed(&c.key).await;
    c.call(&b.key, 9, heads(100)).await;
    b.serve(response("busy")).await;
    assert_eq!(c.response(9).await, Ok(response("busy")));
    c.send(NetCommand::Publish(b"through".to_vec())).await;
    let (_, bytes) = b.gossip().await;
    assert_eq!(bytes, b"through");

    // The gate holds on a circuit: whoever is no member any more is cut off, and does not come back.
    b.send(NetCommand::SetGate(gate(&[1], false))).await;
    c.disconnected(&b.key).await;
    let place = r.way_to(&b.key);
    c.dial_at(b.key, vec![place]).await;
    c.not_reached(&b.key).await;
}

impl Net {
    async fn not_reached(&mut self, other: &PeerKey) {
        self.until("DialFailed", |event| match event {
            NetEvent::Connected { peer, .. } if peer == *other => panic!("the gate is open"),
            NetEvent::DialFailed { peer, .. } => (peer == *other).then_some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn a_relay_that_serves_everybody_does_not_open_our_gate() {
    // A member that relays without our gate: its own program, on its own machine.
    let mut rogue = raw_relay(1);
    rogue
        .listen_on(TCP.parse().expect("an address"))
        .expect("listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = rogue.select_next_some().await {
            break address;
        }
    };
    rogue.add_external_address(address.clone());
    let relay = key(1);
    let rogue = tokio::spawn(async move {
        loop {
            rogue.select_next_some().await;
        }
    });

    let mut b = hidden(2, gate(&[1], false)).await;
    b.dial_at(relay, vec![address.to_string()]).await;
    b.reach("a place at the rogue relay", |reach| {
        !reach.relayed.is_empty()
    })
    .await;
    // The stranger counts B as a member of its mesh; B does not.
    let mut stranger = hidden(3, gate(&[1, 2], false)).await;
    let way = format!(
        "{address}/p2p/{}/p2p-circuit/p2p/{}",
        peer_id(&relay),
        peer_id(&b.key)
    );
    stranger.dial_at(b.key, vec![way]).await;
    // (It connects with the relay on the way.)
    stranger.not_reached(&b.key).await;
    let (peer, reason) = b.refused().await;
    assert_eq!(peer, Some(key(3)));
    assert!(reason.contains("no invite is open"), "{reason}");
    rogue.abort();
}

#[tokio::test]
async fn a_stranger_has_no_place_at_our_relay() {
    let mut r = relay(1, gate(&[2], true)).await;
    let stranger = hidden(3, gate(&[1, 2], false)).await;
    // An invite is open: the stranger gets in, and counts us as a member with a relay.
    stranger.dial(&r).await;
    let mut stranger = stranger;
    stranger.dial_failed().await;
    while let Ok(event) = r.events.try_recv() {
        assert!(
            matches!(event, NetEvent::Reach(_)),
            "nothing of a stranger: {event:?}"
        );
    }
    while let Ok(event) = stranger.events.try_recv() {
        if let NetEvent::Reach(reach) = event {
            assert!(
                reach.offers.is_empty() && reach.relayed.is_empty(),
                "{reach:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_trial_of_an_address_says_who_answers() {
    let a = Net::start(1, &[TCP], gate(&[2, 3], false)).await;
    let b = Net::start(2, &[QUIC, TCP], gate(&[1], false)).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let probe = async |peer, address: &str| {
        let (answer, probed) = oneshot::channel();
        let address = address.to_owned();
        a.send(NetCommand::Probe {
            peer,
            address,
            answer,
        })
        .await;
        timeout(PATIENCE, probed)
            .await
            .expect("in time")
            .expect("an answer")
    };
    for address in &b.addresses {
        let probed = probe(b.key, address).await;
        assert!(matches!(probed, Probed::Answered { .. }), "{probed:?}");
    }
    assert_eq!(
        probe(key(3), &b.addresses[1]).await,
        Probed::Stranger(peer_id(&b.key))
    );
    let probed = probe(b.key, &format!("/ip4/127.0.0.1/tcp/{port}")).await;
    assert!(matches!(probed, Probed::Refused(_)), "{probed:?}");
    let probed = probe(b.key, "nonsense").await;
    assert!(matches!(probed, Probed::Other(_)), "{probed:?}");
    let probed = probe(key(9), &b.addresses[0]).await;
    assert!(
        matches!(probed, Probed::Other(_)),
        "not a member: {probed:?}"
    );
}

/// A relay as libp2p has it, for anybody.
fn raw_relay(seed: u8) -> Swarm<Members> {
    let mut swarm = entry::raw_swarm(seed);
    let on = libp2p::relay::Status::Enable;
    swarm.behaviour_mut().relay.set_status(Some(on));
    swarm
}

#[tokio::test]
async fn a_relay_passes_requests_to_join_on_while_the_door_is_open_and_nothing_else() {
    let mut r = relay(1, gate(&[2, 4], false)).await;
    let mut b = hidden(2, gate(&[1, 4], false)).await;
    b.dial(&r).await;
    b.subscribed(&r.key).await;
    b.reach("a place at the relay", |reach| !reach.relayed.is_empty())
        .await;
    let mut stranger = hidden(3, gate(&[], false)).await;
    let addresses = vec!["/ip4/127.0.0.1/tcp/1".to_owned(), r.way_to(&key(2))];
    let knock = async |stranger: &Net| {
        let addresses = addresses.clone();
        stranger
            .send(NetCommand::Join {
                peer: key(2),
                addresses,
                request: join_request(),
            })
            .await;
    };

    // No invite is open anywhere: it does not get in at the relay.
    knock(&stranger).await;
    let error = stranger.join_answer().await.expect_err("no invite is open");
    assert!(error.contains("no invite is open"), "{error}");

    b.send(NetCommand::SetGate(gate(&[1, 4], true))).await;
    let answer = loop {
        // The relay hears of the door a moment later.
        knock(&stranger).await;
        let asked = async {
            let (from, address) = b.serve_join(None).await;
            assert_eq!(from, key(3), "whoever the relay's connection proved");
            assert!(address.ends_with("/p2p-circuit"), "{address}");
        };
        tokio::select! {
            () = asked => break stranger.join_answer().await,
            answer = stranger.join_answer() => assert!(answer.is_err(), "{answer:?}"),
        }
    };
    assert_eq!(answer, Ok(join_answer()));

    // While it is open: not to another member, and no circuit to anybody.
    let mut raw = raw_relay(5);
    for dst in [key(2), key(4)] {
        let way: Multiaddr = r.way_to(&dst).parse().expect("an address");
        raw.dial(way).expect("dials");
        let failed = async {
            loop {
                match raw.select_next_some().await {
                    SwarmEvent::OutgoingConnectionError { peer_id, .. }
                        if peer_id == Some(peer_id_of(&dst)) =>
                    {
                        return;
                    }
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                        assert_eq!(peer_id, peer_id_of(&r.key), "a circuit");
                    }
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, failed).await.expect("no circuit");
    }
    // (Another one: of each stranger one refusal is told in ten seconds.)
    let mut other = hidden(6, gate(&[], false)).await;
    other
        .send(NetCommand::Join {
            peer: key(4),
            addresses: vec![r.way_to(&key(4))],
            request: join_request(),
        })
        .await;
    match other.join_answer().await.expect("an answer").what {
        Some(wire::join_answer::What::Refused(refusal)) => assert_eq!(refusal.code, "busy"),
        other => panic!("{other:?}"),
    }
    let (peer, reason) = r
        .until("the refusal", |event| match event {
            NetEvent::Refused { peer, reason, .. } if reason.contains("through") => {
                Some((peer, reason))
            }
            _ => None,
        })
        .await;
    assert_eq!(peer, Some(key(6)));
    assert!(reason.contains("no open invite"), "{reason}");

    // Closed: the relay is told, and lets nobody in.
    b.send(NetCommand::SetGate(gate(&[1, 4], false))).await;
    loop {
        knock(&stranger).await;
        if let Err(error) = stranger.join_answer().await {
            assert!(error.contains("no invite is open"), "{error}");
            break;
        }
    }
}

impl Net {
    fn tcp(&self) -> &str {
        let tcp = self.addresses.iter().find(|a| a.contains("/tcp/"));
        tcp.expect("TCP")
    }

    /// The way to somebody through this relay.
    fn way_to(&self, other: &PeerKey) -> String {
        let [own, other] = [&self.key, other].map(peer_id);
        format!("{}/p2p/{own}/p2p-circuit/p2p/{other}", self.tcp())
    }
}
