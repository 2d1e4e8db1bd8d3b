//! A disk of its own whose power fails: an ext4 file system in a file, on a loop device.
//!
//! The failure is the ioctl `EXT4_IOC_SHUTDOWN` without a flush of the journal: from then on nothing reaches the disk, and what
//! was not synced before is gone when the file system is mounted again, pages, lengths and names of files alike. A kill of
//! the process shows none of that, because the kernel goes on and writes what the process had given it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Room for the store of a writer that runs some seconds.
const DISK_MIB: u64 = 192;
/// `_IOR('X', 125, u32)` with EXT4_GOING_FLAGS_NOLOGFLUSH. The workspace forbids unsafe code, so Python makes the call.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// Mounted as long as it lives.
pub(crate) struct Disk {
    /// Holds the image, which is not on the disk that fails, and the mount point.
    dir: tempfile::TempDir,
}

impl Disk {
    /// A new one; why not, where this machine does not let us.
    pub(crate) fn new() -> Result<Self, String> {
        let disk = Self {
            dir: tempfile::tempdir().map_err(|error| error.to_string())?,
        };
        let image = std::fs::File::create(disk.image()).map_err(|error| error.to_string())?;
        image
            .set_len(DISK_MIB << 20)
            .map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").arg("-q").arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "loop"]).args([self.image(), self.path()]))
    }

    /// The power fails. Whoever writes to the disk gets errors until it is back.
    pub(crate) fn fail(&self) {
        run(Command::new("python3")
            .args(["-c", SHUTDOWN])
            .arg(self.path()))
        .expect("ext4 shuts down");
    }

    /// The power is back; nobody may have a file of it open.
    pub(crate) fn restore(&self) {
        run(Command::new("umount").arg(self.path())).expect("nobody uses the disk");
        self.mount().expect("mounts again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may be that it was never mounted.
        let _ = run(Command::new("umount").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = Path::new(command.get_program()).display().to_string();
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => Err(format!("{name}: {}", String::from_utf8_lossy(&stderr))),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
