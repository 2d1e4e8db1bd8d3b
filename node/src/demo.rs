//! The whole in a minute: three factories join, share, find and verify.
//!
//! Nothing here is staged. Each factory is a process of this very program with its own directory, keys, store and
//! ports; everything is done with the commands that a person would type, and what they print is what is shown. The
//! firms are fictional, their files stand in `examples/factories` and are built into the program.
//!
//! - `factory`: one site and its process. - `story`: what happens, in order.

mod factory;
mod story;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// What the demo was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// End after the last step instead of leaving the nodes running.
    pub once: bool,
    /// Keep the three sites here instead of in a temporary directory.
    pub keep: Option<PathBuf>,
}

/// Runs the demo. However it ends, the three processes end with it.
pub async fn run(options: Options) -> Result<()> {
    let place = Place::new(options.keep)?;
    tokio::select! {
        told = story::tell(place.path(), options.once) => told,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// The directory of the three sites; a temporary one is removed at the end.
struct Place {
    path: PathBuf,
    temporary: bool,
}

impl Place {
    fn new(keep: Option<PathBuf>) -> Result<Self> {
        let temporary = keep.is_none();
        let path = match keep {
            Some(path) => path,
            None => std::env::temp_dir().join(format!("fmesh-demo-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self { path, temporary })
    }

    fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            // Nothing is lost if this fails: the system clears its temporary directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
