//! The files of a log: the few calls on a folder that it makes, so that a test can make them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The name of the file that keeps a second process out.
const LOCK: &str = "lock";

/// A folder of files, held by one process at a time.
pub trait WalFiles: Send + Sync + 'static {
    /// Creates the folder if need be and takes hold of it until the value returned is dropped.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it; otherwise what the system says.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;

    /// The names of the files, in no order.
    ///
    /// # Errors
    /// What the system says; a folder that does not exist is empty.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A whole file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Creates an empty file, whose name is durable when this returns.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What people call the folder.
    fn shown(&self) -> String;
}

/// A file that grows at its end.
pub trait WalFile: Send {
    /// Appends `bytes`, all or, after an error, any part of them.
    ///
    /// # Errors
    /// What the system says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// What the system says; then nothing that was appended since the last sync may be relied on.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file back to `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

/// A folder of this machine.
#[derive(Clone, Debug)]
pub struct OsFiles(PathBuf);

impl OsFiles {
    /// The folder `path`; nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_path(&self.0)
    }
}

fn sync_path(path: &Path) -> io::Result<()> {
    // only unix lets a folder be opened and synced
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

impl WalFiles for OsFiles {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        fs::create_dir_all(&self.0)?;
        if let Some(parent) = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_path(parent)?;
        }
        let path = self.0.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name =
            |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names: io::Result<Vec<String>> = entries.map(name).collect();
        names.map(|names| names.into_iter().filter(|name| name != LOCK).collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.0.join(name))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let file = OpenOptions::new().create_new(true).write(true).open(self.0.join(name))?;
        self.sync_folder()?;
        Ok(Box::new(OsFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))?;
        self.sync_folder()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn shown(&self) -> String {
        self.0.display().to_string()
    }
}

struct OsFile(File);

impl WalFile for OsFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)?;
        self.0.seek(SeekFrom::Start(bytes))?;
        self.0.sync_data()
    }
}
