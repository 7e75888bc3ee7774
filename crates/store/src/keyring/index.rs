//! Which slot holds whose key, in 20 bytes an owner.

/// Slots by owner.
pub(super) struct Index {}
