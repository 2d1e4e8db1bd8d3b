//! Values: what is signed is kept as the bytes it came in, behind a small fixed head; private state is JSON.

use fmesh_proto::{id::Digest, log::Frontier, note::Checkpoint, record::View};
use serde::{Serialize, de::DeserializeOwned};

use super::{Head, keys::Cut};

/// Private state as JSON.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value)
        .expect("types of this module have string keys and no other way to fail")
}

pub(super) fn from_json<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

pub(super) fn number(value: &[u8]) -> Option<u64> {
    let mut cut = Cut(value);
    let number = cut.number()?;
    cut.end(number)
}

/// (position 8 | at 8) of each
pub(super) fn acks(acks: &[(u64, u64)]) -> Vec<u8> {
    let numbers = acks.iter().flat_map(|(position, at)| [position, at]);
    numbers.flat_map(|number| number.to_be_bytes()).collect()
}

pub(super) fn from_acks(value: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut cut = Cut(value);
    let mut acks = Vec::new();
    while !cut.0.is_empty() {
        acks.push((cut.number()?, cut.number()?));
    }
    Some(acks)
}

/// size 8 | count 1 | edge | note
pub(super) fn head(head: &Head) -> Vec<u8> {
    let edge = head.frontier.edge();
    let mut value = head.frontier.size().to_be_bytes().to_vec();
    // A frontier has one hash for each bit of its size, so at most 63.
    value.push(edge.len() as u8);
    for hash in edge {
        value.extend_from_slice(&hash.0);
    }
    value.extend_from_slice(head.checkpoint.note());
    value
}

pub(super) fn from_head(value: &[u8]) -> Option<Head> {
    let mut cut = Cut(value);
    let size = cut.number()?;
    let edge = (0..cut.byte()?)
        .map(|_| cut.bytes().map(Digest))
        .collect::<Option<_>>()?;
    Some(Head {
        frontier: Frontier::from_parts(size, edge).ok()?,
        checkpoint: Checkpoint::parse(cut.rest()).ok()?,
    })
}

/// received 8 | view text
pub(super) fn record(view: &View, received: u64) -> Vec<u8> {
    [&received.to_be_bytes(), view.as_str().as_bytes()].concat()
}

pub(super) fn from_record(value: &[u8]) -> Option<(View, u64)> {
    let mut cut = Cut(value);
    let received = cut.number()?;
    Some((View::decode(cut.rest()).ok()?, received))
}

/// at 8 | size 8 | publication; `size` is the first leaf after it.
pub(super) fn publication(at: u64, size: u64, bytes: &[u8]) -> Vec<u8> {
    let mut value = at.to_be_bytes().to_vec();
    value.extend_from_slice(&size.to_be_bytes());
    value.extend_from_slice(bytes);
    value
}

pub(super) fn from_publication(value: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut cut = Cut(value);
    Some((cut.number()?, cut.number()?, cut.rest()))
}
