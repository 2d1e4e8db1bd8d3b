//! Members talk: connections, gossip, calls.

use super::*;

async fn two_members_talk(listen: &str) {
    let mut a = Net::start(1, &[listen], gate(&[2], false)).await;
    let mut b = Net::start(2, &[listen], gate(&[1], false)).await;
    assert_eq!(a.addresses.len(), 1);
    assert!(!a.addresses[0].contains("/tcp/0") && !a.addresses[0].contains("/udp/0"));

    a.dial(&b).await;
    assert_eq!(a.connected(&b.key).await, (b.addresses[0].clone(), true));
    let (address, outbound) = b.connected(&a.key).await;
    assert!(address.starts_with("/ip4/127.0.0.1/") && !outbound);

    b.subscribed(&a.key).await;

    a.call(&b.key, 41, heads(32)).await;
    assert_eq!(b.serve(response("busy")).await, (a.key, heads(32)));
    assert_eq!(a.response(41).await, Ok(response("busy")));

    b.send(NetCommand::Publish(b"a publication".to_vec())).await;
    assert_eq!(a.gossip().await, (b.key, b"a publication".to_vec()));

    a.shut_down().await;
    b.disconnected(&key(1)).await;
}

#[tokio::test]
async fn two_members_talk_over_quic() {
    two_members_talk(QUIC).await;
}

#[tokio::test]
async fn two_members_talk_over_tcp() {
    two_members_talk(TCP).await;
}

#[tokio::test]
async fn the_round_trip_time_is_known_as_soon_as_connected() {
    let mut a = Net::start(1, &[QUIC], gate(&[2], false)).await;
    let b = Net::start(2, &[QUIC], gate(&[1], false)).await;
    a.dial(&b).await;
    let micros = a
        .until("Rtt", |event| match event {
            NetEvent::Rtt { peer, micros } if peer == b.key => Some(micros),
            _ => None,
        })
        .await;
    assert!((1..5_000_000).contains(&micros), "{micros}");
}

#[tokio::test]
async fn members_that_dial_each_other_at_once_are_connected_once() {
    let mut a = Net::start(1, &[QUIC, TCP], gate(&[2], false)).await;
    let mut b = Net::start(2, &[QUIC, TCP], gate(&[1], false)).await;
    tokio::join!(a.dial(&b), b.dial(&a));
    for (net, other) in [(&mut a, key(2)), (&mut b, key(1))] {
        net.connected(&other).await;
        net.send(NetCommand::Dial {
            peer: other,
            addresses: Vec::new(),
        })
        .await;
    }
    a.call(&b.key, 1, heads(1)).await;
    b.serve(response("busy")).await;
    a.until("Response, and no second Connected", |event| match event {
        NetEvent::Connected { .. } | NetEvent::Disconnected { .. } => panic!("{event:?}"),
        NetEvent::DialFailed { reason, .. } => panic!("{reason}"),
        NetEvent::Response { .. } => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn gossip_is_forwarded_after_the_verdict_only() {
    let mut a = Net::start(1, &[QUIC], gate(&[2, 3], false)).await;
    let mut b = Net::start(2, &[QUIC], gate(&[1, 3], false)).await;
    let mut c = Net::start(3, &[QUIC], gate(&[1, 2], false)).await;
    a.dial(&b).await;
    c.dial(&b).await;
    a.subscribed(&key(2)).await;
    c.subscribed(&key(2)).await;
    b.subscribed(&key(1)).await;

    a.send(NetCommand::Publish(b"rubbish".to_vec())).await;
    let token = b
        .until("Gossip", |event| match event {
            NetEvent::Gossip { token, .. } => Some(token),
            _ => None,
        })
        .await;
    b.send(NetCommand::Verdict {
        token,
        verdict: Verdict::Reject,
    })
    .await;
    a.send(NetCommand::Publish(b"good".to_vec())).await;
    assert_eq!(b.gossip().await, (a.key, b"good".to_vec()));
    assert_eq!(
        c.gossip().await,
        (b.key, b"good".to_vec()),
        "not the rubbish"
    );
}

#[tokio::test]
async fn publishing_to_nobody_says_that_sync_must_deliver() {
    let mut a = Net::start(1, &[QUIC], gate(&[], false)).await;
    for bytes in [b"unheard".to_vec(), vec![0; 100_000]] {
        a.send(NetCommand::Publish(bytes)).await;
        a.until("GossipLost", |event| {
            matches!(event, NetEvent::GossipLost).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_oversized_message_fails_its_call_and_nothing_else() {
    let (mut a, mut b) = pair(&[QUIC]).await;
    a.call(&b.key, 1, heads(SYNC_MESSAGE_BYTES_MAX)).await;
    let error = a.response(1).await.expect_err("not sent");
    assert!(error.contains("too large"), "{error}");

    a.call(&b.key, 2, heads(1)).await;
    b.serve(response(&"x".repeat(SYNC_MESSAGE_BYTES_MAX))).await;
    a.response(2).await.expect_err("not answered");

    a.call(&b.key, 3, heads(SYNC_MESSAGE_BYTES_MAX - 100)).await;
    b.serve(response("busy")).await;
    assert_eq!(a.response(3).await, Ok(response("busy")), "still connected");
}

#[tokio::test]
async fn more_calls_than_run_at_once_are_all_answered() {
    let (mut a, mut b) = pair(&[TCP]).await;
    for id in 0..40 {
        a.call(&b.key, id, heads(1)).await;
    }
    let server = async {
        for _ in 0..40 {
            b.serve(response("busy")).await;
        }
    };
    let client = async {
        for id in 0..40 {
            assert_eq!(a.response(id).await, Ok(response("busy")), "call {id}");
        }
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn calls_end_when_the_peer_goes() {
    let (mut a, b) = pair(&[QUIC]).await;
    for id in 0..6 {
        a.call(&b.key, id, heads(1)).await;
    }
    let peer = b.key;
    b.shut_down().await;
    let mut failed = Vec::new();
    a.until("six failed calls", |event| {
        if let NetEvent::Response { id, result, .. } = event {
            result.expect_err("nobody answered");
            failed.push(id);
        }
        (failed.len() == 6).then_some(())
    })
    .await;
    failed.sort_unstable();
    assert_eq!(failed, [0, 1, 2, 3, 4, 5]);
    a.call(&peer, 6, heads(1)).await;
    assert_eq!(a.response(6).await, Err("not connected".to_owned()));
}
