//! The settings that handlers need, copied from the configuration whenever it changes. Never reads it.

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
        }
    }
}
