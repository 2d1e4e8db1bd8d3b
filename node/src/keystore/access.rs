//! How local programs reach the running node: its address and the token that proves they may read this directory.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use fmesh_proto::id::{from_hex, to_hex};
use zeroize::Zeroizing;

use super::{KeystoreError, private_file, random};

const TOKEN_FILE: &str = "api-token";
const ADDRESS_FILE: &str = "api-address";

/// Address and token of a running node's local API.
pub struct Access {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bearer token, 64 hex digits.
    pub token: Zeroizing<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({}, ..)", self.address)
    }
}

/// The token of this site's API; drawn and stored when there is none.
pub fn token(data_dir: &Path) -> Result<Zeroizing<String>, KeystoreError> {
    match read_token(data_dir) {
        Err(KeystoreError::Missing(path)) => {
            let token = Zeroizing::new(to_hex(random()?.as_slice()));
            private_file::create(&path, token.as_bytes())?;
            Ok(token)
        }
        read => read,
    }
}

/// An address that local programs are told. The file is locked while the node lives: a node that was killed leaves the
/// file and not the lock, so that nobody sends the token to whatever has the port then.
#[derive(Debug)]
pub struct PublishedAddress {
    path: PathBuf,
    _locked: File,
}

impl PublishedAddress {
    /// Takes the address back when the node stops.
    pub fn withdraw(self) -> Result<(), KeystoreError> {
        private_file::remove(&self.path)
    }
}

/// Tells local programs where the node listens now.
pub fn publish_address(
    data_dir: &Path,
    address: SocketAddr,
) -> Result<PublishedAddress, KeystoreError> {
    let path = data_dir.join(ADDRESS_FILE);
    private_file::replace(&path, address.to_string().as_bytes())?;
    match File::open(&path).and_then(|file| file.lock().map(|()| file)) {
        Ok(locked) => Ok(PublishedAddress {
            path,
            _locked: locked,
        }),
        Err(source) => Err(KeystoreError::Io { path, source }),
    }
}

/// What a local program needs. [`KeystoreError::Missing`] names the address file when no node runs.
pub fn load_access(data_dir: &Path) -> Result<Access, KeystoreError> {
    let path = data_dir.join(ADDRESS_FILE);
    let text = private_file::read(&path, 128)?;
    if File::open(&path).is_ok_and(|file| file.try_lock_shared().is_ok()) {
        return Err(KeystoreError::Missing(path));
    }
    let address = text
        .trim_end()
        .parse()
        .map_err(|_| private_file::damaged(&path, "not an address"))?;
    Ok(Access {
        address,
        token: read_token(data_dir)?,
    })
}

fn read_token(data_dir: &Path) -> Result<Zeroizing<String>, KeystoreError> {
    let path = data_dir.join(TOKEN_FILE);
    let text = private_file::read(&path, 1024)?;
    let token = Zeroizing::new(text.trim_end().to_owned());
    match from_hex(&token).map(Zeroizing::new) {
        Some(bytes) if bytes.len() == 32 => Ok(token),
        _ => Err(private_file::damaged(&path, "not a token of 64 hex digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stays_and_the_address_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let first = token(dir.path()).unwrap();
        assert_eq!(*token(dir.path()).unwrap(), *first);
        assert!(matches!(
            load_access(dir.path()),
            Err(KeystoreError::Missing(_))
        ));
        let address = "127.0.0.1:4811".parse().unwrap();
        let published = publish_address(dir.path(), address).unwrap();
        let access = load_access(dir.path()).unwrap();
        assert_eq!((access.address, &*access.token), (address, &*first));
        published.withdraw().unwrap();
        assert!(matches!(
            load_access(dir.path()),
            Err(KeystoreError::Missing(_))
        ));
    }

    #[test]
    fn the_address_of_a_killed_node_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        token(dir.path()).unwrap();
        let published = publish_address(dir.path(), "127.0.0.1:4811".parse().unwrap()).unwrap();
        load_access(dir.path()).unwrap();
        // The file stays, and the lock goes with its process.
        drop(published);
        assert!(dir.path().join(ADDRESS_FILE).exists());
        assert!(matches!(
            load_access(dir.path()),
            Err(KeystoreError::Missing(_))
        ));
    }

    #[test]
    fn a_short_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        private_file::create(&dir.path().join(TOKEN_FILE), b"abcd").unwrap();
        assert!(matches!(
            token(dir.path()),
            Err(KeystoreError::Damaged { .. })
        ));
    }
}
