//! A folder for a log that is in memory, fails on demand, and forgets at a crash what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use flamestore_store::{WalFile, WalFiles};

/// The folder as one process sees it; clones and [`MemoryFiles::process`] share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryFiles(Arc<Mutex<State>>, u64);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Content>,
    incarnation: u64,
    is_locked: bool,
    bytes_max: Option<usize>,
    failing_syncs: usize,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

impl MemoryFiles {
    /// The folder as a new process sees it, until the next crash.
    pub(crate) fn process(&self) -> Self {
        Self(Arc::clone(&self.0), self.0.lock().unwrap().incarnation)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.0.lock().unwrap();
        if state.incarnation == self.1 { Ok(state) } else { Err(io::Error::other("the process has ended")) }
    }

    /// Ends the process that holds the folder: its handles are dead, and of what it did not sync `kept` bytes a file stay.
    pub(crate) fn crash(&self, kept: usize) {
        let mut state = self.0.lock().unwrap();
        state.incarnation += 1;
        state.is_locked = false;
        for content in state.files.values_mut() {
            let bytes = content.bytes.len().min(content.synced + kept);
            content.bytes.truncate(bytes);
            content.synced = bytes;
        }
    }

    /// Room for so many bytes in all; none for as much as asked.
    pub(crate) fn limit(&self, bytes_max: Option<usize>) {
        self.0.lock().unwrap().bytes_max = bytes_max;
    }

    /// The next `times` syncs fail, and nobody knows what they kept.
    pub(crate) fn fail_syncs(&self, times: usize) {
        self.0.lock().unwrap().failing_syncs = times;
    }

    /// All files.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock().unwrap();
        state.files.iter().map(|(name, content)| (name.clone(), content.bytes.clone())).collect()
    }

    /// The bytes of all parts.
    pub(crate) fn part_bytes(&self) -> usize {
        self.contents().iter().filter(|(name, _)| name.contains(".wal")).map(|(_, bytes)| bytes.len()).sum()
    }

    /// A folder with these files.
    pub(crate) fn of(contents: BTreeMap<String, Vec<u8>>) -> Self {
        let content = |bytes: Vec<u8>| Content { synced: bytes.len(), bytes };
        let files = contents.into_iter().map(|(name, bytes)| (name, content(bytes))).collect();
        Self(Arc::new(Mutex::new(State { files, ..State::default() })), 0)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

struct Lock(MemoryFiles, u64);

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap();
        if state.incarnation == self.1 {
            state.is_locked = false;
        }
    }
}

impl WalFiles for MemoryFiles {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.alive()?;
        match std::mem::replace(&mut state.is_locked, true) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(Box::new(Lock(self.clone(), state.incarnation))),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.alive()?.files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.alive()?.files.get(name).map(|content| content.bytes.clone()).ok_or_else(missing)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let mut state = self.alive()?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(name.to_owned(), Content::default());
        Ok(Box::new(MemoryFile { folder: self.clone(), name: name.to_owned(), incarnation: state.incarnation }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.alive()?;
        let content = state.files.remove(from).ok_or_else(missing)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.alive()?.files.remove(name).map(drop).ok_or_else(missing)
    }

    fn shown(&self) -> String {
        "memory".to_owned()
    }
}

struct MemoryFile {
    folder: MemoryFiles,
    name: String,
    incarnation: u64,
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut State, &str) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.folder.0.lock().unwrap();
        if state.incarnation != self.incarnation || !state.files.contains_key(&self.name) {
            return Err(io::Error::other("the process has ended"));
        }
        work(&mut state, &self.name)
    }
}

impl WalFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, name| {
            let used: usize = state.files.values().map(|content| content.bytes.len()).sum();
            let room = state.bytes_max.map_or(usize::MAX, |max| max.saturating_sub(used));
            let content = state.files.get_mut(name).ok_or_else(missing)?;
            content.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if bytes.len() > room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|state, name| {
            if state.failing_syncs > 0 {
                state.failing_syncs -= 1;
                return Err(io::Error::other("the disk does not answer"));
            }
            let content = state.files.get_mut(name).ok_or_else(missing)?;
            content.synced = content.bytes.len();
            Ok(())
        })
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.with(|state, name| {
            let content = state.files.get_mut(name).ok_or_else(missing)?;
            content.bytes.truncate(usize::try_from(bytes).unwrap());
            content.synced = content.synced.min(content.bytes.len());
            Ok(())
        })
    }
}
