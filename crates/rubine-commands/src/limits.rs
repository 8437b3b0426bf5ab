//! The settings that handlers need, copied from the configuration whenever it changes. Never reads it.

use std::fmt;
use std::sync::Arc;

use rubine_base::collation::Collation;
use rubine_keyspace::SlotImage;
use rubine_rdb::dump::Checks;
use rubine_rdb::{ValueLimits, Version};
use rubine_structures::hash::HashLimits;
use rubine_structures::list::ChunkLimit;
use rubine_structures::set::SetLimits;
use rubine_structures::sorted_set::SortedSetLimits;

use crate::slot_usage::SlotUsage;

/// Settings of the data commands. Sizes are bytes, entries are elements.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Number of databases.
    pub databases: usize,
    /// `proto-max-bulk-len`: no string grows longer.
    pub string_len_max: u64,
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    /// `list-max-listpack-size`: positive for items a chunk, -1 to -5 for 4 to 64 KB.
    pub list_max_listpack_size: i64,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    pub stream_node_max_bytes: usize,
    pub stream_node_max_entries: usize,
    pub hll_sparse_max_bytes: usize,
    /// Whether keys are placed by hash slot.
    pub cluster: bool,
    /// Which slots have one owner; `None` as long as nobody knows.
    pub slot_owners: Option<Arc<dyn SlotOwners>>,
    /// The version of dump payloads; `None` for the newest that the most servers read and that can hold the value.
    pub rdb_version: Option<Version>,
    /// What is asked of dump payloads.
    pub dump_checks: Checks,
    /// The order of texts for who reads them; `None` for that of their bytes.
    pub collation: Option<Arc<dyn Collation>>,
}

/// Who has which hash slots, and what they take.
pub trait SlotOwners: fmt::Debug + Send + Sync {
    /// The last of the slots from `slot` on that lie side by side and have one owner.
    fn last_of_owner(&self, slot: u16) -> u16;

    /// Whether a slot is this node's, or its primary's.
    fn is_of_our_shard(&self, slot: u16) -> bool;

    /// Keys of a slot that is being taken in, which nobody sees but whoever counts or lists them.
    fn hidden_len(&self, db: usize, slot: u16) -> usize;

    /// Those keys as they are now, in one database; `None` if there are none.
    fn hidden_image(&self, db: usize, slot: u16) -> Option<SlotImage>;

    /// What requests about a slot have taken; `None` if that is not counted.
    fn usage(&self, slot: u16) -> Option<SlotUsage>;
}

impl Limits {
    /// The last of the slots from `slot` on that lie side by side on one node.
    pub(crate) fn last_slot_of_owner(&self, slot: u16) -> u16 {
        self.slot_owners.as_ref().map_or(slot, |it| it.last_of_owner(slot))
    }

    /// Those that decide on the form of a value that is read from a payload.
    pub fn rdb(&self) -> ValueLimits {
        ValueLimits {
            hash: HashLimits {
                entries: self.hash_max_listpack_entries,
                value_bytes: self.hash_max_listpack_value,
            },
            list: ChunkLimit::from_directive(self.list_max_listpack_size),
            set: SetLimits {
                intset_entries: self.set_max_intset_entries,
                listpack_entries: self.set_max_listpack_entries,
                value_bytes: self.set_max_listpack_value,
            },
            sorted_set: SortedSetLimits {
                entries: self.zset_max_listpack_entries,
                value_bytes: self.zset_max_listpack_value,
            },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            databases: 16,
            string_len_max: 512 * 1024 * 1024,
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
            cluster: false,
            slot_owners: None,
            rdb_version: None,
            dump_checks: Checks::default(),
            collation: None,
        }
    }
}
