//! What goes wrong on a real network: failed dials, restarts, dead links, hostile members, a busy node.

use super::*;

#[tokio::test]
async fn dials_that_cannot_succeed_say_why() {
    let mut a = Net::start(1, &[QUIC, TCP], gate(&[2, 3], false)).await;
    let b = Net::start(2, &[TCP], gate(&[1], false)).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = format!("/ip4/127.0.0.1/{}", {
        let port = dead.local_addr().expect("bound").port();
        drop(dead);
        format!("tcp/{port}")
    });
    for (peer, addresses, why) in [
        (key(9), b.addresses.clone(), "not a member"),
        (key(2), Vec::new(), "no address"),
        (key(2), vec!["nonsense".to_owned()], "no address"),
        (key(2), vec![closed], "refused"),
        (key(3), b.addresses.clone(), "another node"),
    ] {
        a.send(NetCommand::Dial { peer, addresses }).await;
        let reason = a.dial_failed().await;
        assert!(reason.contains(why), "{why}: {reason}");
    }
    a.call(&b.key, 5, heads(1)).await;
    assert_eq!(a.response(5).await, Err("not connected".to_owned()));
}

/// rust-libp2p #5097: gossipsub tells its subscriptions on the first connection to a peer only.
#[tokio::test]
async fn gossip_flows_again_to_a_peer_that_restarted_beside_its_old_connection() {
    let (mut a, old) = pair(&[QUIC]).await;
    // The same identity again, while the old process neither runs on nor says good-bye.
    let mut b = Net::start(2, &[QUIC], gate(&[1], false)).await;
    b.dial(&a).await;
    b.connected(&a.key).await;
    b.call(&a.key, 1, heads(1)).await;
    a.serve(response("busy")).await;

    // The machine sees a new boot id in this call, and does this:
    a.send(NetCommand::Disconnect(b.key)).await;
    a.dial(&b).await;
    a.disconnected(&b.key).await;
    a.subscribed(&b.key).await;
    b.subscribed(&a.key).await;
    a.send(NetCommand::Publish(b"from a".to_vec())).await;
    assert_eq!(b.gossip().await.1, b"from a");
    b.send(NetCommand::Publish(b"from b".to_vec())).await;
    assert_eq!(a.gossip().await.1, b"from b");
    drop(old);
}

/// A TCP relay whose cable can be pulled: afterwards nothing passes and nothing is closed.
async fn pullable_cable(target: &str) -> (String, oneshot::Sender<()>) {
    let target = target.replace("/ip4/", "").replace("/tcp/", ":");
    let relay = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = relay.local_addr().expect("bound").port();
    let (pull, pulled) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.expect("dialled");
        let mut far = TcpStream::connect(target).await.expect("up");
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = pulled => {}
        }
        std::future::pending::<()>().await;
    });
    (format!("/ip4/127.0.0.1/tcp/{port}"), pull)
}

#[tokio::test]
async fn a_dead_connection_is_gone_at_once_when_told_so() {
    let mut a = Net::start(1, &[TCP], gate(&[2], false)).await;
    let mut old = Net::start(2, &[TCP], gate(&[1], false)).await;
    let (address, pull) = pullable_cable(&a.addresses[0]).await;
    old.send(NetCommand::Dial {
        peer: a.key,
        addresses: vec![address],
    })
    .await;
    old.subscribed(&a.key).await;
    a.subscribed(&old.key).await;
    pull.send(()).expect("the relay runs");

    let mut b = Net::start(2, &[TCP], gate(&[1], false)).await;
    a.send(NetCommand::Disconnect(b.key)).await;
    a.dial(&b).await;
    a.disconnected(&b.key).await;
    a.subscribed(&b.key).await;
    b.subscribed(&a.key).await;
    b.send(NetCommand::Publish(b"from b".to_vec())).await;
    assert_eq!(a.gossip().await.1, b"from b");
}

/// Sends any bytes as a frame of the sync protocol.
#[derive(Debug, Clone, Default)]
struct Junk;

impl request_response::Codec for Junk {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = ();

    async fn read_request<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        io.read_exact(&mut [0; 1]).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, _: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Ok(())
    }
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Hostile {
    junk: request_response::Behaviour<Junk>,
    ping: ping::Behaviour,
}

#[tokio::test]
async fn malformed_frames_of_a_member_end_their_call_only() {
    let mut a = Net::start(1, &[TCP], gate(&[2], false)).await;
    let keypair = Keypair::ed25519_from_bytes(secret(2)).expect("32 bytes");
    let mut hostile = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("noise")
        .with_behaviour(|_| Hostile {
            junk: request_response::Behaviour::new(
                [(SYNC_PROTOCOL, request_response::ProtocolSupport::Outbound)],
                request_response::Config::default(),
            ),
            ping: ping::Behaviour::default(),
        })
        .expect("no error")
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .build();
    let address: Multiaddr = a.addresses[0].parse().expect("an address");
    hostile.dial(address).expect("dials");

    let valid = heads(3);
    let len = u8::try_from(valid.encoded_len()).expect("short");
    let framed = [&[0, 0, 0, len], valid.encode_to_vec().as_slice()].concat();
    let cut = framed[..framed.len() - 1].to_vec();
    let mut bad = vec![
        Vec::new(),
        vec![0xff; 4],
        vec![0, 0, 0, 9, 0xff],
        vec![0xff; 5_000],
        cut,
    ];
    bad.extend((0..20).map(|n| vec![0, 0, 0, 2, n, 0xff]));
    let mut rest = bad.into_iter();
    timeout(PATIENCE, async {
        loop {
            let peer = match hostile.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => peer_id,
                SwarmEvent::Behaviour(HostileEvent::Junk(
                    request_response::Event::OutboundFailure { peer, error, .. },
                )) => {
                    assert!(
                        matches!(error, request_response::OutboundFailure::Io(_)),
                        "{error}"
                    );
                    peer
                }
                SwarmEvent::ConnectionClosed { cause, .. } => panic!("closed: {cause:?}"),
                _ => continue,
            };
            let junk = &mut hostile.behaviour_mut().junk;
            let Some(bytes) = rest.next() else {
                junk.send_request(&peer, framed);
                break;
            };
            junk.send_request(&peer, bytes);
        }
        let request = a.until("the valid call, and no other", |event| match event {
            NetEvent::Request { request, .. } => Some(request),
            _ => None,
        });
        tokio::select! {
            request = request => assert_eq!(request, valid),
            () = hostile.for_each(|_| async {}) => unreachable!("swarms never end"),
        }
    })
    .await
    .expect("each call ends");
}

#[tokio::test]
async fn a_node_that_does_not_read_its_events_can_still_give_orders() {
    let (mut a, mut b) = pair(&[QUIC]).await;
    for id in 0..600 {
        b.call(&key(1), id, heads(1)).await;
    }
    timeout(PATIENCE, async {
        for _ in 0..800 {
            a.send(NetCommand::Publish(vec![0; 100_000])).await;
        }
    })
    .await
    .expect("orders are taken");

    // Nothing was lost meanwhile. Dropped calls are answered by nobody, but they end.
    let is_loss = |event: &NetEvent| matches!(event, NetEvent::GossipLost);
    let (mut ended, mut lost) = (0, 0);
    let ends = b.until("600 ends of calls", |event| {
        ended += usize::from(matches!(event, NetEvent::Response { .. }));
        (ended == 600).then_some(())
    });
    let reader = async {
        while let Some(event) = a.events.recv().await {
            lost += usize::from(is_loss(&event));
        }
    };
    tokio::select! {
        () = ends => {}
        () = reader => panic!("the task has ended"),
    }
    while lost < 800 {
        a.until("GossipLost", |event| is_loss(&event).then_some(()))
            .await;
        lost += 1;
    }
}
