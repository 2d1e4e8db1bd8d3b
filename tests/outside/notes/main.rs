//! One log of a bundle as the crates `signed_note` and `tlog_tiles` see it: who signed its checkpoints, that its records
//! are in it, that it only grew.
//!
//! ```text
//! notes LOG VKEY        LOG: the directory logs/<site> of a bundle; VKEY: the log's key, name+hash+base64
//! ```
//!
//! Prints what holds, a line each, then how many flipped bits were tried; ends with 1 if something does not hold or if
//! a flip passed.

use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Hash, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_tree, record_hash, stored_hash_index, stored_hashes_for_record_hash, tree_hash,
};

/// Path below the log's directory -> what is in the file.
type Files = BTreeMap<String, Vec<u8>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [log, vkey] = arguments.as_slice() else {
        eprintln!("usage: notes LOG VKEY");
        return ExitCode::from(2);
    };
    let mut files = Files::new();
    let found = read(Path::new(log), "", &mut files)
        .and_then(|()| everything(&files, vkey))
        .and_then(|lines| Ok((lines, flips(files, vkey)?)));
    match found {
        Ok((lines, tried)) => {
            lines.iter().for_each(|line| println!("{line}"));
            println!("flips {tried}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{log}: refused: {why}");
            ExitCode::FAILURE
        }
    }
}

fn read(root: &Path, below: &str, files: &mut Files) -> Result<(), String> {
    for entry in fs::read_dir(root.join(below)).map_err(text)? {
        let path = entry.map_err(text)?.path();
        let name = path.strip_prefix(root).map_err(text)?;
        let name = name.to_str().ok_or("a name that is not UTF-8")?.to_owned();
        if path.is_dir() {
            read(root, &name, files)?;
        } else {
            files.insert(name, fs::read(&path).map_err(text)?);
        }
    }
    Ok(())
}

/// All that holds.
fn everything(files: &Files, vkey: &str) -> Result<Vec<String>, String> {
    let newest = checkpoint(file(files, NEWEST)?, vkey)?;
    let mut lines = vec![format!("checkpoint {} {}", newest.size(), newest.hash())];
    tiles(files, &newest)?;
    lines.push(format!("tiles {}", newest.size()));
    for name in files.keys() {
        if let Some(stem) = name.strip_suffix(".tlog-proof") {
            let index = inclusion(files, stem, &newest)?;
            lines.push(format!("inclusion {index}"));
        } else if name.starts_with(OLDER) {
            let size = consistency(files, name, vkey, &newest)?;
            lines.push(format!("consistency {size}"));
        }
    }
    Ok(lines)
}

/// The checkpoint of a note that the log's key signed.
fn checkpoint(note: &[u8], vkey: &str) -> Result<Checkpoint, String> {
    let key = StandardVerifier::new(vkey).map_err(text)?;
    let note = Note::from_bytes(note).map_err(text)?;
    note.verify(&VerifierList::new(vec![Box::new(key)]))
        .map_err(text)?;
    Checkpoint::from_bytes(note.text()).map_err(text)
}

/// Every leaf hash, by the tiles, against the root.
///
/// `TileHashReader` 0.2.0 compares the tiles that lead to the root, but leaves out some full tiles where one tile holds
/// several of the root's subtrees. So the root is made once more, from all the leaves.
fn tiles(files: &Files, newest: &Checkpoint) -> Result<(), String> {
    let tiles = Tiles(files);
    let hashes = TileHashReader::new(newest.size(), *newest.hash(), &tiles);
    let leaves: Vec<u64> = (0..newest.size())
        .map(|leaf| stored_hash_index(0, leaf))
        .collect();
    let read = hashes.read_hashes(&leaves).map_err(text)?;
    let mut nodes = Nodes(Vec::new());
    for (leaf, hash) in (0..).zip(&read) {
        let new = stored_hashes_for_record_hash(leaf, *hash, &nodes).map_err(text)?;
        nodes.0.extend(new);
    }
    if tree_hash(newest.size(), &nodes).map_err(text)? != *newest.hash() {
        return Err("the leaves do not lead to the root".into());
    }
    for (name, bytes) in files {
        let Some((leaf, core)) = record(name, bytes) else {
            continue;
        };
        if read.get(leaf as usize) != Some(&record_hash(core)) {
            return Err(format!("{name}: the log has another leaf there"));
        }
    }
    Ok(())
}

/// The record of a `.tlog-proof`, by its path.
fn inclusion(files: &Files, stem: &str, newest: &Checkpoint) -> Result<u64, String> {
    let (name, proof) = (format!("{stem}.sdjwt"), format!("{stem}.tlog-proof"));
    let (leaf, core) = record(&name, file(files, &name)?).ok_or("a name without a leaf")?;
    let proof = std::str::from_utf8(file(files, &proof)?).map_err(text)?;
    let (head, note) = proof.split_once("\n\n").ok_or("no blank line")?;
    if note.as_bytes() != file(files, NEWEST)? {
        return Err("a proof for another checkpoint".into());
    }
    let mut lines = head.split('\n');
    if lines.next() != Some("c2sp.org/tlog-proof@v1")
        || lines.next() != Some(&format!("index {leaf}"))
    {
        return Err("not the proof of this leaf".into());
    }
    let path = lines.map(Hash::parse_hash).collect::<Result<Vec<_>, _>>();
    let path = path.map_err(text)?;
    check_record(
        &path,
        newest.size(),
        *newest.hash(),
        leaf,
        record_hash(core),
    )
    .map_err(text)?;
    Ok(leaf)
}

/// An older checkpoint: a proof that `tlog_tiles` makes from our tiles shows that the log only grew.
fn consistency(files: &Files, name: &str, vkey: &str, newest: &Checkpoint) -> Result<u64, String> {
    let older = checkpoint(file(files, name)?, vkey)?;
    if older.origin() != newest.origin() {
        return Err("a checkpoint of another log".into());
    }
    let tiles = Tiles(files);
    let hashes = TileHashReader::new(newest.size(), *newest.hash(), &tiles);
    let proof = prove_tree(newest.size(), older.size(), &hashes).map_err(text)?;
    let (size, root) = (newest.size(), *newest.hash());
    check_tree(&proof, size, root, older.size(), *older.hash()).map_err(text)?;
    Ok(older.size())
}

/// Leaf and core of a record's file.
fn record<'f>(name: &str, bytes: &'f [u8]) -> Option<(u64, &'f [u8])> {
    let (_, leaf) = name.strip_suffix(".sdjwt")?.split_once('/')?;
    let core = bytes.split(|byte| *byte == b'~').next()?;
    Some((leaf.parse().ok()?, core))
}

/// A bit in each byte of notes, proofs and cores, and in each hash of a tile. Each must be refused.
fn flips(mut files: Files, vkey: &str) -> Result<u64, String> {
    let newest = checkpoint(file(&files, NEWEST)?, vkey)?;
    let names: Vec<String> = files.keys().cloned().collect();
    let mut tried = 0;
    for name in names {
        let bytes = files[&name].clone();
        let (end, step) = match record(&name, &bytes) {
            // What a disclosure shows is not the log's matter.
            Some((_, core)) => (core.len(), 1),
            None if name.starts_with("log/tile/") => (bytes.len(), 32),
            // Lines of witnesses are other keys'.
            None if name == NEWEST => (signed_end(&bytes), 1),
            None => (bytes.len(), 1),
        };
        for at in (0..end).step_by(step) {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << (at / step % 8);
            files.insert(name.clone(), broken);
            let holds = if name == NEWEST {
                checkpoint(&files[NEWEST], vkey).map(drop)
            } else if name.starts_with(OLDER) {
                consistency(&files, &name, vkey, &newest).map(drop)
            } else if let Some(stem) = name.strip_suffix(".tlog-proof") {
                inclusion(&files, stem, &newest).map(drop)
            } else if let Some(stem) = name.strip_suffix(".sdjwt") {
                inclusion(&files, stem, &newest).map(drop)
            } else {
                tiles(&files, &newest)
            };
            if holds.is_ok() {
                return Err(format!("{name}: a flipped bit in byte {at} passed"));
            }
            tried += 1;
        }
        files.insert(name, bytes);
    }
    Ok(tried)
}

/// End of the first signature line, which is the log's own.
fn signed_end(note: &[u8]) -> usize {
    let lines = note.windows(2).position(|pair| pair == b"\n\n");
    let first = lines.map_or(0, |at| at + 2);
    let end = note[first..].iter().position(|byte| *byte == b'\n');
    end.map_or(note.len(), |end| first + end + 1)
}

/// Nodes of a tree in the order of the crate.
struct Nodes(Vec<Hash>);

impl HashReader for Nodes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let read = |index: &u64| self.0.get(*index as usize).copied();
        let found: Option<Vec<_>> = indexes.iter().map(read).collect();
        found.ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

/// Tiles of C2SP tlog-tiles, whose paths leave out the height that the crate writes into its own.
struct Tiles<'f>(&'f Files);

impl TileReader for Tiles<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let name = format!("log/{}", tile.path().replacen("tile/8/", "tile/", 1));
            let bytes = self.0.get(&name).cloned();
            bytes.ok_or(tlog_tiles::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn file<'f>(files: &'f Files, name: &str) -> Result<&'f [u8], String> {
    let found = files.get(name).map(Vec::as_slice);
    found.ok_or_else(|| format!("{name} is missing"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const NEWEST: &str = "log/checkpoint";
const OLDER: &str = "checkpoints/";
