use proptest::prelude::*;

use super::*;

fn ticket(addresses: &[&str]) -> Ticket {
    Ticket {
        mesh: MeshId([1; 32]),
        site: SiteId([2; 32]),
        transport: PeerKey([3; 32]),
        addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        invite: InviteId([4; 16]),
        secret: [5; 16],
        expires: 1_800_000_000,
    }
}

/// The line of a message that this module would not write.
fn line(change: impl FnOnce(&mut wire::Ticket)) -> String {
    let ticket = ticket(&["/ip4/192.0.2.1/tcp/4001"]);
    let mut message = wire::Ticket {
        version: 1,
        mesh: ticket.mesh.0.to_vec(),
        site: ticket.site.0.to_vec(),
        transport: ticket.transport.0.to_vec(),
        address: ticket.addresses,
        invite: ticket.invite.0.to_vec(),
        secret: ticket.secret.to_vec(),
        expires: ticket.expires,
    };
    change(&mut message);
    bech32::encode::<Bech32m>(PREFIX, &message.encode_to_vec()).unwrap()
}

fn malformed(text: &str) -> String {
    match Ticket::decode(text) {
        Err(TicketError::Malformed(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_is_read_back_however_it_was_pasted() {
    let ticket = ticket(&[
        "/ip4/192.0.2.1/udp/4001/quic-v1",
        "/dns4/plant.example/tcp/4001",
    ]);
    let line = ticket.encode();
    assert!(line.starts_with("fmesh1"), "{line}");
    assert_eq!(Ticket::decode(&line), Ok(ticket.clone()));
    assert_eq!(Ticket::decode(&line.to_uppercase()), Ok(ticket.clone()));
    let (start, end) = line.split_at(70);
    assert_eq!(
        Ticket::decode(&format!("  {start}\r\n\t{end} \n")),
        Ok(ticket)
    );
}

#[test]
fn every_refusal_has_its_own_words() {
    let line = line(|_| {});
    assert!(Ticket::decode(&line).is_ok());
    for text in [
        "",
        "fmesh",
        "  ",
        "hello",
        "lnbc1qqq",
        "xfmesh1qqq",
        "fm\u{e9}sh1",
        "12D3KooW",
    ] {
        assert_eq!(
            Ticket::decode(text),
            Err(TicketError::NotATicket),
            "{text:?}"
        );
    }
    let half = &line[..line.len() / 2];
    for text in [
        half,
        "fmesh1",
        "fmesh1q",
        "fmesh1bio1",
        &format!("{line}q"),
        &line.replace('q', "1"),
        &format!("{line}."),
    ] {
        assert_eq!(Ticket::decode(text), Err(TicketError::Checksum), "{text:?}");
    }
    // The older checksum, and another prefix that begins alike.
    let payload = [8, 1];
    let old = bech32::encode::<bech32::Bech32>(PREFIX, &payload).unwrap();
    assert_eq!(Ticket::decode(&old), Err(TicketError::Checksum));
    assert!(malformed(&line.replacen("fmesh", "FMESH", 1)).contains("mixed"));
    assert!(malformed(&format!("{line}{}", "q".repeat(1000))).contains("longer"));
}

#[test]
fn impossible_content_is_refused() {
    assert_eq!(
        Ticket::decode(&line(|m| m.version = 2)),
        Err(TicketError::Version(2))
    );
    assert_eq!(
        Ticket::decode(&line(|m| m.version = 0)),
        Err(TicketError::Version(0))
    );
    assert!(malformed(&line(|m| m.mesh.truncate(31))).contains("mesh id"));
    assert!(malformed(&line(|m| m.site.push(0))).contains("site id"));
    assert!(malformed(&line(|m| m.transport.clear())).contains("transport key"));
    assert!(malformed(&line(|m| m.invite.push(1))).contains("invite id"));
    assert!(malformed(&line(|m| m.secret.truncate(15))).contains("secret"));
    assert!(malformed(&line(|m| m.address.push("plant.example".to_owned()))).contains("address"));
    assert!(malformed(&line(|m| m.address.push("/a\u{1b}[2J".to_owned()))).contains("address"));
    assert!(
        malformed(&line(|m| m.address.push(format!("/{}", "a".repeat(256))))).contains("address")
    );
    assert!(malformed(&line(|m| m.address = vec!["/a".to_owned(); 9])).contains("addresses"));
    let text = |bytes: &[u8]| bech32::encode::<Bech32m>(PREFIX, bytes).unwrap();
    assert!(malformed(&text(&[255; 9])).contains("cannot be read"));
    // An unknown field after a good ticket is a second spelling.
    let good: Vec<u8> = CheckedHrpstring::new::<Bech32m>(&line(|_| {}))
        .unwrap()
        .byte_iter()
        .collect();
    assert!(malformed(&text(&[&good[..], &[0x78, 1]].concat())).contains("one way"));
}

#[test]
fn addresses_that_do_not_fit_are_left_out_from_the_end() {
    let long = format!("/dns4/{}/tcp/4001", "a".repeat(230));
    let ticket = ticket(&[&long, "no address", &long, "/ip4/192.0.2.1/tcp/1"]);
    let line = ticket.encode();
    assert!(line.len() <= 1023);
    assert_eq!(
        Ticket::decode(&line).unwrap().addresses,
        [long, "/ip4/192.0.2.1/tcp/1".to_owned()]
    );
    let many = Ticket {
        addresses: vec!["/a".to_owned(); 20],
        ..ticket
    };
    assert_eq!(
        Ticket::decode(&many.encode()).unwrap().addresses.len(),
        ADDRESSES_MAX
    );
}

proptest! {
    #[test]
    fn decode_undoes_encode(
        bytes in any::<[u8; 32]>(), secret in any::<[u8; 16]>(), expires in any::<u64>(),
        addresses in proptest::collection::vec("/[!-~]{0,50}", 0..=8),
    ) {
        let ticket = Ticket {
            mesh: MeshId(bytes),
            site: SiteId(bytes),
            transport: PeerKey(bytes),
            addresses,
            invite: InviteId(secret),
            secret,
            expires,
        };
        prop_assert_eq!(Ticket::decode(&ticket.encode()), Ok(ticket));
    }

    #[test]
    fn one_wrong_character_is_noticed(at in 6_usize..250, by in 1_u8..32) {
        const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
        let mut line = ticket(&["/ip4/192.0.2.1/tcp/4001"]).encode().into_bytes();
        let at = at % (line.len() - 6) + 6;
        let value = ALPHABET.iter().position(|c| *c == line[at]).unwrap();
        line[at] = ALPHABET[value ^ usize::from(by)];
        prop_assert_eq!(Ticket::decode(&String::from_utf8(line).unwrap()), Err(TicketError::Checksum));
    }

    #[test]
    fn any_text_is_answered(text in ".{0,300}", tail in "[a-z0-9]{0,80}") {
        let _ = Ticket::decode(&text);
        let line = format!("fmesh1{tail}");
        prop_assert!(Ticket::decode(&line).is_err());
    }
}

#[test]
fn a_join_proof_binds_secret_keys_and_manifest() {
    let view = |text: &str| View::decode(text.as_bytes()).unwrap();
    let (inviter, joiner) = (PeerKey([1; 32]), PeerKey([2; 32]));
    let (manifest, other) = (view("e30.e30.AA~"), view("e30.e30.AQ~"));
    let proof = join_proof(&[7; 16], &inviter, &joiner, &manifest);
    let check = |secret, inviter, joiner, manifest, proof: &[u8]| {
        verify_join_proof(secret, inviter, joiner, manifest, proof)
    };
    assert!(check(&[7; 16], &inviter, &joiner, &manifest, &proof));
    assert!(!check(&[8; 16], &inviter, &joiner, &manifest, &proof));
    assert!(!check(&[7; 16], &joiner, &inviter, &manifest, &proof));
    assert!(!check(&[7; 16], &inviter, &inviter, &manifest, &proof));
    assert!(!check(&[7; 16], &inviter, &joiner, &other, &proof));
    for cut in [0, 16, 31] {
        assert!(!check(
            &[7; 16],
            &inviter,
            &joiner,
            &manifest,
            &proof[..cut]
        ));
    }
    for bit in 0..256 {
        let mut flipped = proof;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!check(&[7; 16], &inviter, &joiner, &manifest, &flipped));
    }
}
