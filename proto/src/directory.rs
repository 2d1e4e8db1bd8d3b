//! Where members can be reached, as each signs it with its transport key.
//!
//! The directory replaces a DHT and rendezvous servers (PROTOCOL section 8.2): members' transport keys come from membership
//! records, their addresses from here. A record counts if a transport key of its site signed it and its number is
//! higher than that of the one we hold (or its key newer), so anybody may pass it on: by gossip when it changes, with heads after an absence.
//! A forged or old record changes nothing, and a true one says no more than "I believe to be reachable there".
//!
//! What it does not know: what the addresses mean. They are texts within bounds until the network dials them.

use crate::{
    id::{Digest, MeshId, PeerKey, SiteId},
    keys::{KeyHistory, OperatingKeys, PublicKey, SigningKey},
    limits,
    wire::AddressRecord,
};

/// Why an address record does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// No site, a number of zero, too many or too long addresses.
    #[error("the address record is malformed")]
    Malformed,
    /// Not signed by the site's transport key, or for another mesh.
    #[error("the address record is not signed by the transport key of its site")]
    Signature,
}

/// Signs where `site` can be reached; `seq` must be higher than in every earlier record. Addresses beyond the bounds are left out.
#[must_use]
pub fn sign(
    keys: &OperatingKeys,
    mesh: &MeshId,
    site: &SiteId,
    seq: u64,
    addresses: impl IntoIterator<Item = String>,
) -> AddressRecord {
    let fits = |address: &String| address.len() <= limits::ADDRESS_BYTES_MAX;
    let mut record = AddressRecord {
        site: site.0.to_vec(),
        seq,
        address: addresses
            .into_iter()
            .filter(fits)
            .take(limits::ADDRESSES_MAX)
            .collect(),
        signature: Vec::new(),
    };
    let key = SigningKey::from_bytes(keys.transport_secret());
    record.signature = key.sign(&signed_bytes(mesh, &record)).to_vec();
    record
}

/// What a ticket or a request to join says of a site that has signed nothing yet. It is kept to be dialled, and never passed on.
#[must_use]
pub fn hint(site: &SiteId, addresses: Vec<String>) -> AddressRecord {
    AddressRecord {
        site: site.0.to_vec(),
        address: addresses,
        ..AddressRecord::default()
    }
}

/// The site that a well-formed record is about. Says nothing about its signature.
pub fn site_of(record: &AddressRecord) -> Result<SiteId, DirectoryError> {
    let fits = record.seq > 0
        && record.address.len() <= limits::ADDRESSES_MAX
        && record
            .address
            .iter()
            .all(|a| a.len() <= limits::ADDRESS_BYTES_MAX);
    let site = SiteId::from_slice(&record.site).filter(|_| fits);
    site.ok_or(DirectoryError::Malformed)
}

/// Checks a record against the transport key of its site.
pub fn verify(
    record: &AddressRecord,
    mesh: &MeshId,
    transport: &PeerKey,
) -> Result<SiteId, DirectoryError> {
    let site = site_of(record)?;
    let wrong = DirectoryError::Signature;
    let signature = record.signature.as_slice().try_into().map_err(|_| wrong)?;
    let key = PublicKey::from_bytes(transport.as_bytes()).map_err(|_| wrong)?;
    let bytes = signed_bytes(mesh, record);
    key.verify(&bytes, signature).map_err(|_| wrong)?;
    Ok(site)
}

/// Which transport key of a site signed a record: its generation, 0 for the manifest's. After a rotation the site goes on with an
/// old one for a while; a record by a newer key outweighs every record by an older one, whatever their numbers.
#[must_use]
pub fn signed_by(record: &AddressRecord, mesh: &MeshId, keys: &KeyHistory) -> Option<usize> {
    let transports: Vec<PeerKey> = keys.all().map(|set| set.transport).collect();
    transports
        .iter()
        .rposition(|transport| verify(record, mesh, transport).is_ok())
}

/// Digest of a directory: of the sorted (site, number) of its signed records. Equal digests need no exchange.
#[must_use]
pub fn digest(records: impl Iterator<Item = (SiteId, u64)>) -> Digest {
    let mut bytes = b"fmesh/directory/v1\n".to_vec();
    for (site, seq) in records {
        bytes.extend_from_slice(site.as_bytes());
        bytes.extend_from_slice(&seq.to_be_bytes());
    }
    Digest::of(&bytes)
}

/// One page of a directory for somebody who has read as far as `after`: in the order of sites, round the corner, within a bound;
/// nothing if `theirs` is the digest of all that is told. `records` must be sorted by site; those that nobody signed are not told.
#[must_use]
pub fn page(
    mut records: Vec<AddressRecord>,
    theirs: Option<&Digest>,
    after: Option<&SiteId>,
) -> Vec<AddressRecord> {
    records.retain(|record| !record.signature.is_empty());
    let numbers = records
        .iter()
        .filter_map(|r| Some((SiteId::from_slice(&r.site)?, r.seq)));
    if theirs == Some(&digest(numbers)) {
        return Vec::new();
    }
    let start = after.map_or(0, |after| {
        records.partition_point(|record| record.site.as_slice() <= after.as_bytes().as_slice())
    });
    let mut bytes = 0;
    let mut round = records;
    round.rotate_left(start);
    round.truncate(DIRECTORY_PAGE_RECORDS);
    round.retain(|record| {
        bytes += prost::Message::encoded_len(record) + 8;
        bytes <= DIRECTORY_PAGE_BYTES
    });
    round
}

/// Everything but the signature; each part has a fixed length or says its own, so no two records sign alike.
fn signed_bytes(mesh: &MeshId, record: &AddressRecord) -> Vec<u8> {
    let mut bytes = b"fmesh/addresses/v1\n".to_vec();
    bytes.extend_from_slice(mesh.as_bytes());
    bytes.extend_from_slice(&record.site);
    bytes.extend_from_slice(&record.seq.to_be_bytes());
    for address in &record.address {
        bytes.extend_from_slice(&(address.len() as u64).to_be_bytes());
        bytes.extend_from_slice(address.as_bytes());
    }
    bytes
}

/// Records in one answer that are read and sent.
pub const DIRECTORY_PAGE_RECORDS: usize = 512;
/// Bytes of records in one answer: a sync message has room for heads beside them.
const DIRECTORY_PAGE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: u8) -> (OperatingKeys, SiteId, PeerKey) {
        let keys = OperatingKeys::from_seed(&[n; 32]);
        let transport = keys.public().transport;
        (keys, SiteId([n; 32]), transport)
    }

    const MESH: MeshId = MeshId([9; 32]);

    #[test]
    fn only_the_transport_key_of_the_site_signs_and_every_part_is_signed() {
        let (one, site, transport) = keys(1);
        let (_, _, other) = keys(2);
        let addresses = [
            "/ip4/192.0.2.1/tcp/1".to_owned(),
            "/ip4/192.0.2.2/tcp/2".to_owned(),
        ];
        let record = sign(&one, &MESH, &site, 7, addresses);
        assert_eq!(verify(&record, &MESH, &transport), Ok(site));
        let wrong = Err(DirectoryError::Signature);
        assert_eq!(verify(&record, &MESH, &other), wrong);
        assert_eq!(verify(&record, &MeshId([8; 32]), &transport), wrong);
        for change in [
            |r: &mut AddressRecord| r.seq += 1,
            |r: &mut AddressRecord| r.site[0] ^= 1,
            |r: &mut AddressRecord| r.address.swap(0, 1),
            |r: &mut AddressRecord| r.address[0].push('1'),
            |r: &mut AddressRecord| {
                let joined = r.address.concat();
                r.address = vec![joined];
            },
            |r: &mut AddressRecord| r.signature[3] ^= 1,
            |r: &mut AddressRecord| r.signature.clear(),
        ] {
            let mut changed = record.clone();
            change(&mut changed);
            assert_eq!(verify(&changed, &MESH, &transport), wrong, "{changed:?}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_neither_signed_nor_read() {
        let (one, site, transport) = keys(1);
        let long = "/".repeat(limits::ADDRESS_BYTES_MAX + 1);
        let many = (0..100).map(|n| format!("/ip4/192.0.2.1/tcp/{n}"));
        let record = sign(
            &one,
            &MESH,
            &site,
            1,
            std::iter::once(long.clone()).chain(many),
        );
        assert_eq!(record.address.len(), limits::ADDRESSES_MAX);
        assert_eq!(record.address[0], "/ip4/192.0.2.1/tcp/0");
        assert_eq!(verify(&record, &MESH, &transport), Ok(site));
        for change in [
            |r: &mut AddressRecord, _: &str| r.seq = 0,
            |r: &mut AddressRecord, _: &str| r.site.truncate(31),
            |r: &mut AddressRecord, _: &str| r.address.push(String::new()),
            |r: &mut AddressRecord, long: &str| r.address[0] = long.to_owned(),
        ] {
            let mut changed = record.clone();
            change(&mut changed, &long);
            assert_eq!(
                verify(&changed, &MESH, &transport),
                Err(DirectoryError::Malformed)
            );
        }
    }

    #[test]
    fn pages_lead_round_the_whole_directory() {
        let (keys, ..) = keys(1);
        let all: Vec<AddressRecord> = (0..=255_u8)
            .flat_map(|high| [0, 128].map(|low| (high, low)))
            .map(|(high, low)| {
                let mut site = [0; 32];
                (site[0], site[1]) = (high, low);
                let addresses = (0..8).map(|n| format!("/ip4/192.0.2.1/udp/{n}/quic-v1"));
                sign(&keys, &MESH, &SiteId(site), 1, addresses)
            })
            .collect();
        let (mut seen, mut after, mut pages) = (std::collections::BTreeSet::new(), None, 0);
        while seen.len() < all.len() {
            let page = page(all.clone(), None, after.as_ref());
            assert!(
                page.iter().map(prost::Message::encoded_len).sum::<usize>() <= DIRECTORY_PAGE_BYTES
            );
            after = page.last().and_then(|last| SiteId::from_slice(&last.site));
            seen.extend(page.into_iter().map(|record| record.site));
            pages += 1;
            assert!(pages < 20, "every page brings something new");
        }
        assert!(pages > 1);
        assert!(page(Vec::new(), None, Some(&SiteId([1; 32]))).is_empty());
        let known = all
            .iter()
            .filter_map(|r| Some((SiteId::from_slice(&r.site)?, r.seq)));
        let known = digest(known);
        assert!(page(all, Some(&known), None).is_empty());
    }
}
