//! The directives that data commands depend on. Knows no other.

use rubine_commands::Limits;
use rubine_keyspace::AccessPolicy;

/// What the commands see of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) access: AccessPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: Limits::default(), access: AccessPolicy::Lru }
    }
}

impl Settings {
    /// Sets a directive.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let limits = &mut self.limits;
        let size = match name {
            "maxmemory-policy" => {
                self.access = if value.ends_with("-lfu") {
                    AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 }
                } else {
                    AccessPolicy::Lru
                };
                return Ok(());
            }
            "proto-max-bulk-len" => {
                limits.string_len_max = bytes(value)? as u64;
                return Ok(());
            }
            "list-max-listpack-size" => {
                limits.list_max_listpack_size =
                    value.parse().map_err(|_| format!("no number: {value}"))?;
                return Ok(());
            }
            "hash-max-listpack-entries" => &mut limits.hash_max_listpack_entries,
            "hash-max-listpack-value" => &mut limits.hash_max_listpack_value,
            "set-max-intset-entries" => &mut limits.set_max_intset_entries,
            "set-max-listpack-entries" => &mut limits.set_max_listpack_entries,
            "set-max-listpack-value" => &mut limits.set_max_listpack_value,
            "zset-max-listpack-entries" => &mut limits.zset_max_listpack_entries,
            "zset-max-listpack-value" => &mut limits.zset_max_listpack_value,
            "stream-node-max-bytes" => &mut limits.stream_node_max_bytes,
            "stream-node-max-entries" => &mut limits.stream_node_max_entries,
            "hll-sparse-max-bytes" => &mut limits.hll_sparse_max_bytes,
            _ => return Err(format!("{name} means nothing without a server")),
        };
        *size = bytes(value)?;
        Ok(())
    }
}

/// A number with one of Redis's units of memory.
fn bytes(text: &str) -> Result<usize, String> {
    let digits_end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match &*unit.to_lowercase() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(format!("no unit: {unit}")),
    };
    let number: usize = digits.parse().map_err(|_| format!("no number: {text}"))?;
    Ok(number * factor)
}
