//! Where members stand in a large text: found by one pass over each list or object that a path leads through.

use super::scan::Scanner;
use std::borrow::Cow;
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
    /// Of a text that begins with an object which has these [members](super::members).
    pub(crate) fn of_object<'k>(members: impl IntoIterator<Item = (Cow<'k, str>, usize)>) -> Self {
        let index = Self::default();
        let place = |(key, place): (Cow<'_, str>, usize)| Some((index.hashes.hash_one(&*key), u32::try_from(place).ok()?));
        let keys = members.into_iter().filter_map(place).collect();
        let containers = HashMap::from([(0, Arc::new(Container::Object(keys)))]);
        Self {
            containers: Mutex::new(containers),
            ..index
        }
    }

    /// As [`super::value_at`]. What is compared in any case is looked for member by member.
    pub(crate) fn value_at<'t>(&self, text: &'t [u8], path: &[String], any_case: Option<usize>) -> Option<&'t str> {
        let mut at = 0;
        for (place, segment) in path.iter().enumerate() {
            if any_case == Some(place) {
                return super::value_at(text.get(at..)?, &path[place..], Some(0));
            }
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
        std::str::from_utf8(Scanner::at(text, at).value(usize::MAX).ok()?).ok()
    }

    fn container(&self, text: &[u8], at: usize) -> Option<Arc<Container>> {
        // Nothing panics while it holds the lock.
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = containers.get(&at) {
            return Some(Arc::clone(known));
        }
        let container = Arc::new(self.read(text, at)?);
        containers.insert(at, Arc::clone(&container));
        Some(container)
    }

    fn read(&self, text: &[u8], at: usize) -> Option<Container> {
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
