//! Starting and stopping: addresses, ports, names.

use super::*;

#[test]
fn peer_ids_are_libp2ps() {
    for seed in 0..20 {
        let public = Keypair::ed25519_from_bytes(secret(seed))
            .expect("32 bytes")
            .public();
        let bytes = public
            .clone()
            .try_into_ed25519()
            .expect("Ed25519")
            .to_bytes();
        let (id, key) = (public.to_peer_id(), PeerKey(bytes));
        assert_eq!(peer_key(&id), Some(key));
        assert_eq!(peer_id_of(&key), id);
        assert_eq!(peer_id(&key), id.to_string());
        assert!(peer_id(&key).starts_with("12D3Koo"));
    }
    assert_eq!(peer_id_of(&PeerKey([0xff; 32])).to_bytes().len(), 38);
    assert_eq!(peer_key(&PeerId::random()), None, "a hash is no key");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_so() {
    for listen in [QUIC, TCP] {
        let first = Net::start(1, &[listen], gate(&[], false)).await;
        let error = start(config(2, &[&first.addresses[0]]))
            .await
            .expect_err("taken");
        let text = error.to_string();
        assert!(matches!(error, NetError::Listen { .. }), "{text}");
        assert!(text.contains(&first.addresses[0]), "{text}");
        assert!(
            text.contains("in use") && text.contains("choose another port"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error() {
    let error = start(config(1, &["127.0.0.1:4810"]))
        .await
        .expect_err("no multiaddr");
    assert!(matches!(error, NetError::Address(ref text) if text == "127.0.0.1:4810"));
    // TEST-NET-1 is never an address of this machine.
    let error = start(config(1, &["/ip4/192.0.2.1/tcp/0"]))
        .await
        .expect_err("not ours");
    assert!(error.to_string().contains("no such address"), "{error}");
}

#[tokio::test]
async fn listens_on_all_interfaces_when_told_so() {
    let net = Net::start(1, &["/ip4/0.0.0.0/udp/0/quic-v1"], gate(&[], false)).await;
    assert!(!net.addresses.is_empty());
    assert!(
        net.addresses
            .iter()
            .all(|address| !address.contains("0.0.0.0"))
    );
}

#[tokio::test]
async fn a_port_is_free_again_after_shutdown() {
    for listen in [QUIC, TCP] {
        let first = Net::start(1, &[listen], gate(&[], false)).await;
        let address = first.addresses[0].clone();
        first.shut_down().await;
        let second = Net::start(1, &[&address], gate(&[], false)).await;
        assert_eq!(second.addresses, [address]);
    }
}

/// A machine without `/etc/resolv.conf`, as in an isolated plant network, still reaches addresses.
#[tokio::test]
async fn without_name_servers_addresses_are_dialled_and_names_fail() {
    let a = Net::start(1, &[TCP], gate(&[], true)).await;
    let keypair = Keypair::ed25519_from_bytes(secret(2)).expect("32 bytes");
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("noise")
        .with_dns_config(no_name_server(), libp2p::dns::ResolverOpts::default())
        .with_behaviour(|_| ping::Behaviour::default())
        .expect("no error")
        .build();
    for (address, connects) in [
        ("/dns4/factory.invalid/tcp/4810", false),
        (a.addresses[0].as_str(), true),
    ] {
        let address: Multiaddr = address.parse().expect("an address");
        swarm.dial(address).expect("dials");
        let connected = timeout(PATIENCE, async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => return true,
                    SwarmEvent::OutgoingConnectionError { .. } => return false,
                    _ => {}
                }
            }
        });
        assert_eq!(connected.await.expect("in time"), connects);
    }
}
