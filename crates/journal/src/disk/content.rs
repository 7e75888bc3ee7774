//! One file of the deterministic disk.

use std::collections::BTreeMap;

use super::seeded::Random;

/// Written data survives a crash, or not, in pieces of this size.
pub(super) const SECTOR: usize = 512;

const PAGE: usize = 4096;

/// A file's bytes as they are seen and as they are certain to survive.
#[derive(Default)]
pub(super) struct Content {
    pub(super) visible: Image,
    pub(super) durable: Image,
    // Byte ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
    // The length changed by itself since the last sync.
    is_resized: bool,
    /// Bytes from the start that room is kept for.
    pub(super) reserved: usize,
}

impl Content {
    /// Puts bytes down where everyone sees them.
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        self.visible.write(bytes, offset);
        self.dirty.push((offset, offset + bytes.len()));
    }

    /// Bytes that it takes of the disk where its length is this.
    pub(super) fn taken(&self, length: usize) -> u64 {
        self.reserved.max(length) as u64
    }

    /// Cuts the file, or fills it up with zeros.
    pub(super) fn resize(&mut self, length: usize) {
        let before = self.visible.length();
        self.visible.resize(length);
        self.is_resized = true;
        if length < before {
            self.dirty.retain_mut(|(start, end)| {
                *end = length.min(*end);
                start < end
            });
        } else if before < self.durable.length() {
            // Zeros where the disk still has bytes of before a cut.
            self.dirty.push((before, length.min(self.durable.length())));
        }
    }

    /// Makes everything seen durable.
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.visible.length());
        self.is_resized = false;
        for (start, end) in self.dirty.drain(..) {
            self.durable.copy(&self.visible, start, end);
        }
    }

    /// Each dirty sector reaches the disk or does not; nothing is dirty afterwards. What is visible stays so.
    pub(super) fn settle(&mut self, random: &mut Random) {
        if std::mem::take(&mut self.is_resized) && random.below(2) == 0 {
            self.durable.resize(self.visible.length());
        }
        for (start, end) in std::mem::take(&mut self.dirty) {
            let mut from = start;
            while from < end {
                let to = end.min((from / SECTOR + 1) * SECTOR);
                if random.below(2) == 0 {
                    self.durable.copy(&self.visible, from, to);
                }
                from = to;
            }
        }
    }

    /// What is seen is what is on the disk.
    pub(super) fn fall_back(&mut self) {
        self.visible.clone_from(&self.durable);
    }
}

/// Bytes of which those that were never written are zero and take no memory.
#[derive(Clone, Default)]
pub(super) struct Image {
    length: usize,
    pages: BTreeMap<usize, Box<[u8; PAGE]>>,
}

impl Image {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    fn resize(&mut self, length: usize) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(length / PAGE)) {
                page[length % PAGE..].fill(0);
            }
        }
        self.length = length;
    }

    /// Reads up to the end; gives how much.
    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let end = self.length.min(offset + buffer.len());
        let mut at = offset;
        while at < end {
            let to = end.min((at / PAGE + 1) * PAGE);
            let piece = &mut buffer[at - offset..to - offset];
            match self.pages.get(&(at / PAGE)) {
                Some(page) => piece.copy_from_slice(&page[at % PAGE..][..to - at]),
                None => piece.fill(0),
            }
            at = to;
        }
        end.saturating_sub(offset)
    }

    /// Writes, beyond the end too.
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        self.length = self.length.max(end);
        let mut at = offset;
        while at < end {
            let to = end.min((at / PAGE + 1) * PAGE);
            let page = self.pages.entry(at / PAGE).or_insert_with(|| Box::new([0; PAGE]));
            page[at % PAGE..][..to - at].copy_from_slice(&bytes[at - offset..to - offset]);
            at = to;
        }
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.read(&mut bytes, 0);
        bytes
    }

    fn copy(&mut self, from: &Self, start: usize, end: usize) {
        let mut bytes = vec![0; end - start];
        from.read(&mut bytes, start);
        self.write(&bytes, start);
    }
}
