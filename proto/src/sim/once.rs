//! One signature is checked once in a simulated world, not once at each of its sites.
//!
//! Whether a signature is good follows from the key, the message and the signature alone. In a mesh of a thousand sites each checkpoint
//! with fifteen cosignatures comes to all of them, and nearly all the time would go into the same few checks. What is
//! remembered counts only on a thread that simulates, and only as long as it does.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    marker::PhantomData,
};

use sha2::{Digest as _, Sha256};

/// Signatures that are remembered at most; then it begins anew.
const REMEMBERED_MAX: usize = 1 << 20;

thread_local! {
    static WORLDS: Cell<usize> = const { Cell::new(0) };
    static KNOWN: RefCell<HashMap<[u8; 32], bool>> = RefCell::default();
}

/// A simulated world on this thread. It stays there.
#[derive(Debug)]
pub(super) struct World(PhantomData<*const ()>);

impl World {
    pub(super) fn new() -> Self {
        WORLDS.set(WORLDS.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        WORLDS.set(WORLDS.get() - 1);
        if WORLDS.get() == 0 {
            KNOWN.take();
        }
    }
}

/// What `check` says of this signature, computed or remembered.
pub(crate) fn once(
    key: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
    check: impl FnOnce() -> bool,
) -> bool {
    if WORLDS.get() == 0 {
        return check();
    }
    // Key and signature are of one length each, so nothing can be read in two ways.
    let name = Sha256::new()
        .chain_update(key)
        .chain_update(signature)
        .chain_update(message);
    let name = name.finalize().into();
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&name).copied()) {
        return known;
    }
    let good = check();
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(name, good);
    });
    good
}
