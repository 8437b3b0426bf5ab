//! The bytes that stand where the type of a value may stand, and those that a length may begin with. Only numbers.

/// Redis 8.10: a template that hashes refer to.
pub(crate) const HASH_TEMPLATE: u8 = 242;
/// Redis 8.6: what modules keep about the key that follows. In Valkey's files: slots that are being imported.
pub(crate) const KEY_META_OR_SLOT_IMPORT: u8 = 243;
pub(crate) const SLOT_INFO: u8 = 244;
pub(crate) const FUNCTION: u8 = 245;
/// What release candidates of Redis 7.0 wrote.
pub(crate) const FUNCTION_PRE_GA: u8 = 246;
pub(crate) const MODULE_AUX: u8 = 247;
pub(crate) const IDLE: u8 = 248;
pub(crate) const FREQUENCY: u8 = 249;
pub(crate) const AUX: u8 = 250;
pub(crate) const RESIZE_DB: u8 = 251;
pub(crate) const EXPIRE_TIME_MS: u8 = 252;
pub(crate) const EXPIRE_TIME: u8 = 253;
pub(crate) const SELECT_DB: u8 = 254;
pub(crate) const END: u8 = 255;

/// What stands in the data of a module, each before its operand.
pub(crate) mod module {
    pub(crate) const END: u64 = 0;
    pub(crate) const SIGNED: u64 = 1;
    pub(crate) const UNSIGNED: u64 = 2;
    pub(crate) const FLOAT: u64 = 3;
    pub(crate) const DOUBLE: u64 = 4;
    pub(crate) const STRING: u64 = 5;
}

/// The two high bits of a length say how it goes on.
pub(crate) mod length {
    pub(crate) const BITS_6: u8 = 0;
    pub(crate) const BITS_14: u8 = 1;
    /// In place of a length: the low six bits name the encoding of a string.
    pub(crate) const ENCODED: u8 = 3;
    /// The whole byte, before four bytes.
    pub(crate) const BITS_32: u8 = 0x80;
    /// The whole byte, before eight bytes.
    pub(crate) const BITS_64: u8 = 0x81;
}

/// How a string is written where not as it is.
pub(crate) mod encoded {
    pub(crate) const INT_8: u8 = 0;
    pub(crate) const INT_16: u8 = 1;
    pub(crate) const INT_32: u8 = 2;
    pub(crate) const LZF: u8 = 3;
}
