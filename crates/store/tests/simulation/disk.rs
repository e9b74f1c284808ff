//! The local disk of a machine: it keeps what was synced, and after a crash some of the rest, torn anywhere.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use flamestore_store::{WalFile, WalFiles};

use crate::world::World;

/// A disk; clones are the same. It outlives the processes that use it.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    world: World,
    files: BTreeMap<String, Content>,
    /// Files that were deleted and may come back: their deletion was not made durable.
    deleted: BTreeMap<String, Content>,
    /// Which process may use it: a process that crashed cannot touch it any more.
    process: u64,
    is_held: bool,
    /// One in so many writes and syncs fails; none if 0.
    fails_one_in: usize,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

/// The disk as one process sees it.
pub(crate) struct Mounted {
    disk: Disk,
    process: u64,
}

impl Disk {
    /// A disk that is full at times, and at times does not answer.
    pub(crate) fn new(world: &World) -> Self {
        Self::failing(world, 50)
    }

    /// A disk that never fails.
    pub(crate) fn dependable(world: &World) -> Self {
        Self::failing(world, 0)
    }

    fn failing(world: &World, fails_one_in: usize) -> Self {
        let (files, deleted) = (BTreeMap::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(State {
            world: world.clone(),
            files,
            deleted,
            process: 0,
            is_held: false,
            fails_one_in,
        })))
    }

    /// The disk for the process that runs now.
    pub(crate) fn mount(&self) -> Mounted {
        Mounted { disk: self.clone(), process: self.0.lock().unwrap().process }
    }

    /// The machine stops: of what was not synced any part may be left.
    pub(crate) fn crash(&self) {
        let mut state = self.0.lock().unwrap();
        let world = state.world.clone();
        for (name, content) in std::mem::take(&mut state.deleted) {
            if world.below(2) == 0 {
                state.files.entry(name).or_insert(content);
            }
        }
        for content in state.files.values_mut() {
            let left = content.synced + world.below(content.bytes.len() - content.synced + 1);
            content.bytes.truncate(left);
            content.synced = left;
        }
        state.process += 1;
        state.is_held = false;
    }
}

impl State {
    fn fails(&self) -> bool {
        self.fails_one_in > 0 && self.world.below(self.fails_one_in) == 0
    }
}

impl Mounted {
    fn state(&self) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let state = self.disk.0.lock().unwrap();
        match state.process == self.process {
            true => Ok(state),
            false => Err(io::Error::other("the process is dead")),
        }
    }

    fn again(&self) -> Self {
        Self { disk: self.disk.clone(), process: self.process }
    }
}

/// The hold on a folder.
struct Hold(Mounted);

impl Drop for Hold {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state() {
            state.is_held = false;
        }
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full")
}

impl WalFiles for Mounted {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state()?;
        if std::mem::replace(&mut state.is_held, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Hold(self.again())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state()?.files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.state()?;
        state.files.get(name).map(|content| content.bytes.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let mut state = self.state()?;
        state.deleted.remove(name);
        match state.files.insert(name.to_owned(), Content::default()) {
            None => Ok(Box::new(Open { mounted: self.again(), name: name.to_owned() })),
            Some(content) => {
                state.files.insert(name.to_owned(), content);
                Err(io::ErrorKind::AlreadyExists.into())
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        state.deleted.remove(to);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let content = state.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.deleted.insert(name.to_owned(), content);
        Ok(())
    }

    fn shown(&self) -> String {
        "disk".to_owned()
    }
}

struct Open {
    mounted: Mounted,
    name: String,
}

impl WalFile for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.mounted.state()?;
        let taken = if state.fails() { state.world.below(bytes.len() + 1) } else { bytes.len() };
        let content = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        content.bytes.extend_from_slice(&bytes[..taken]);
        if taken == bytes.len() { Ok(()) } else { Err(full()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.mounted.state()?;
        let fails = state.fails();
        let part = state.world.below(1 << 20);
        let content = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            content.synced += part % (content.bytes.len() - content.synced + 1);
            return Err(io::Error::other("the disk does not answer"));
        }
        content.synced = content.bytes.len();
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.mounted.state()?;
        let content = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        content.bytes.truncate(usize::try_from(bytes).unwrap());
        content.synced = content.bytes.len();
        Ok(())
    }
}
