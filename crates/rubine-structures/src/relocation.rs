//! Moving what lies in thinly used memory, so that its pages can be given back. What is to move, its maker decides; the
//! structures hand in what they own, and move it to fresh memory. Never moves what somebody else holds, too.

/// A walk that moves things, and what it has done so far.
pub struct Relocation<'a> {
    is_thin: &'a mut dyn FnMut(*const u8) -> bool,
    moved: u64,
    kept: u64,
}

impl<'a> Relocation<'a> {
    /// `is_thin` says whether the memory around an address is so thinly used that what lies there shall move.
    pub fn new(is_thin: &'a mut dyn FnMut(*const u8) -> bool) -> Self {
        Self { is_thin, moved: 0, kept: 0 }
    }

    /// Allocations that were moved.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Allocations that were looked at and lie well.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether the allocation at `address` shall move, which the caller then does.
    pub(crate) fn wants<T: ?Sized>(&mut self, address: *const T) -> bool {
        let wants = (self.is_thin)(address.cast());
        if wants {
            self.moved += 1;
        } else {
            self.kept += 1;
        }
        wants
    }
}

impl std::fmt::Debug for Relocation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relocation {{ moved: {}, kept: {} }}", self.moved, self.kept)
    }
}
