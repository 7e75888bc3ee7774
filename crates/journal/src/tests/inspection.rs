//! Looking at a directory that changes meanwhile.

use std::{io, path::PathBuf, sync::Arc};

use super::rig::Rig;
use crate::{
    disk::{Disk, File, MemoryDisk},
    inspect,
    recover::segment_name,
};

/// A disk on which a segment is seen whose name is taken back before it opens, or segments are released once the first one is open.
#[derive(Debug)]
struct Changing {
    disk: MemoryDisk,
    /// The number of that segment.
    withdrawn: Option<u32>,
    /// How many segments are released.
    released: u32,
}

impl Disk for Changing {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.list()?;
        names.extend(self.withdrawn.map(segment_name));
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let opened = self.disk.open(name);
        for released in (1..=self.released).map(segment_name).filter(|name| self.disk.exists(name)) {
            self.disk.remove(&released)?;
        }
        opened
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

#[test]
fn what_is_released_meanwhile_is_left_out_and_what_stays_is_not() {
    let mut rig = Rig::new(1);
    while rig.append_now(&[7_000]).unwrap().segment() < 4 {}
    let looked_at = |withdrawn, released| {
        let disk = rig.disk.clone();
        let found = inspect::segments_of(&Changing { disk, withdrawn, released }).unwrap();
        found
            .iter()
            .map(|segment| segment.as_ref().unwrap().info().number)
            .collect::<Vec<_>>()
    };
    assert_eq!(looked_at(Some(9), 0), [1, 2, 3, 4, 5]);
    assert_eq!(looked_at(None, 2), [3, 4, 5]);
}
