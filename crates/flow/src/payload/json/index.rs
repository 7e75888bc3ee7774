//! Where members stand in a large text: found by one pass over each list or object that a path leads through.

use super::scan::Scanner;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

/// Of so many items of a list one place is kept.
const STRIDE: usize = 64;

/// The places in one text, which has to be the same each time. What is kept of an object is two numbers for each member, so that it
/// takes a few times the text at most, and only of what paths lead through.
#[derive(Debug, Default)]
pub(crate) struct Index {
    hashes: RandomState,
    /// By where they begin.
    containers: Mutex<HashMap<usize, Arc<Container>>>,
}

#[derive(Debug)]
enum Container {
    /// Where the last key of this hash begins.
    Object(HashMap<u64, u32>),
    /// Where items begin, and how many there are.
    List(Vec<u32>, usize),
    Neither,
}

impl Index {
    /// As [`super::value_at`], where no key is compared in any case.
    pub(crate) fn value_at<'t>(&self, text: &'t str, path: &[String]) -> Option<&'t str> {
        let mut at = 0;
        for segment in path {
            at = match &*self.container(text, at)? {
                Container::Object(keys) => {
                    let mut member = Scanner::at(text, *keys.get(&self.hashes.hash_one(segment))? as usize);
                    let key = member.key().ok()?;
                    if member.text(key) != *segment {
                        return None;
                    }
                    member.place()
                }
                Container::List(places, count) => {
                    let wanted = segment.parse::<usize>().ok().filter(|wanted| wanted < count)?;
                    let mut items = Scanner::at(text, *places.get(wanted / STRIDE)? as usize);
                    for _ in 0..wanted % STRIDE {
                        items.value(usize::MAX).ok()?;
                        items.another(b']', false).ok()?;
                    }
                    items.place()
                }
                Container::Neither => return None,
            };
        }
        Scanner::at(text, at).value(usize::MAX).ok()
    }

    fn container(&self, text: &str, at: usize) -> Option<Arc<Container>> {
        // Nothing panics while it holds the lock.
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = containers.get(&at) {
            return Some(Arc::clone(known));
        }
        let container = Arc::new(self.read(text, at)?);
        containers.insert(at, Arc::clone(&container));
        Some(container)
    }

    fn read(&self, text: &str, at: usize) -> Option<Container> {
        let mut inside = Scanner::at(text, at);
        if inside.enter(b'{') {
            let mut keys = HashMap::new();
            while inside.another(b'}', keys.is_empty()).ok()? {
                let place = u32::try_from(inside.place()).ok()?;
                let key = inside.key().ok()?;
                keys.insert(self.hashes.hash_one(&*inside.text(key)), place);
                inside.value(usize::MAX).ok()?;
            }
            Some(Container::Object(keys))
        } else if inside.enter(b'[') {
            let (mut places, mut count) = (Vec::new(), 0);
            while inside.another(b']', count == 0).ok()? {
                if count % STRIDE == 0 {
                    places.push(u32::try_from(inside.place()).ok()?);
                }
                inside.value(usize::MAX).ok()?;
                count += 1;
            }
            Some(Container::List(places, count))
        } else {
            Some(Container::Neither)
        }
    }

    /// How many lists and objects were passed over.
    #[cfg(test)]
    pub(crate) fn passes(&self) -> usize {
        self.containers.lock().unwrap().len()
    }
}
