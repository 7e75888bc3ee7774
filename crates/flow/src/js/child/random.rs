//! `Math.random`, drawn from the kernel: the engine's own generator can be computed back to what an earlier run drew.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes asked for at once.
const BUFFERED: usize = 1024;
const WIDTH: usize = size_of::<u64>();

/// Bytes from the kernel that were not drawn yet; what was drawn is gone.
pub(super) struct Random {
    bytes: [u8; BUFFERED],
    /// How many are left, at the front.
    left: usize,
}

impl Random {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; BUFFERED],
            left: 0,
        }
    }

    /// A number of 53 random bits, at least 0 and less than 1.
    pub(super) fn draw(&mut self) -> rustix::io::Result<f64> {
        while self.left < WIDTH {
            self.left = match getrandom(&mut self.bytes, GetRandomFlags::empty()) {
                Ok(filled) => filled,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
        }
        let mut drawn = [0; WIDTH];
        let next = self.left - WIDTH;
        drawn.copy_from_slice(&self.bytes[next..self.left]);
        self.bytes[next..self.left].fill(0);
        self.left = next;
        Ok((u64::from_ne_bytes(drawn) >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_gone_and_nothing_comes_twice() {
        let mut random = Random::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10 * BUFFERED / WIDTH {
            let value = random.draw().unwrap();
            assert!((0.0..1.0).contains(&value) && seen.insert(value.to_bits()), "{value}");
            assert!(random.bytes[random.left..].iter().all(|byte| *byte == 0));
        }
    }
}
