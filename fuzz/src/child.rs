//! What a code process sends: the bytes behind the first one, which says in pieces of what length they come.
//!
//! The process may have been taken over by the script that it ran. However its bytes are cut, the daemon must read the
//! same frames and stop at the same place; none is larger than its limit, and each comes back when it is written again.

use perseat_flow::js::frames_of_child;

const MAX_FRAME: usize = 4096;

pub(crate) fn run(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let whole = frames_of_child(stream, stream.len().min(16 << 10), MAX_FRAME);
    for piece in [1, usize::from(piece)] {
        assert_eq!(frames_of_child(stream, piece, MAX_FRAME), whole, "in pieces of {piece}");
    }
    let changed = whole.0.iter().find(|frame| frame.contains(" and then "));
    let says_so = stream.windows(10).any(|words| words == b" and then ");
    assert!(
        changed.is_none() || says_so,
        "a frame changes when it is written again: {changed:?}"
    );
    assert!(whole.0.len() * 5 <= stream.len(), "there are more frames than bytes for them");
}
