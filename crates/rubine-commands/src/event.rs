//! What can happen to a key, by the names that keyspace notifications use. Never sends anything.

use bitflags::bitflags;

bitflags! {
    /// The classes of `notify-keyspace-events`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EventClass: u32 {
        const KEYSPACE = 1 << 0;
        const KEYEVENT = 1 << 1;
        const GENERIC = 1 << 2;
        const STRING = 1 << 3;
        const LIST = 1 << 4;
        const SET = 1 << 5;
        const HASH = 1 << 6;
        const SORTED_SET = 1 << 7;
        const EXPIRED = 1 << 8;
        const EVICTED = 1 << 9;
        const STREAM = 1 << 10;
        const KEY_MISS = 1 << 11;
        const MODULE = 1 << 13;
        const NEW = 1 << 14;
    }
}

/// One thing that can happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub class: EventClass,
    pub name: &'static str,
}

macro_rules! events {
    ($($constant:ident = $class:ident $name:literal;)*) => {
        impl Event {
            $(pub const $constant: Self = Self { class: EventClass::$class, name: $name };)*
        }
    };
}

events! {
    APPEND = STRING "append";
    COPY_TO = GENERIC "copy_to";
    DEL = GENERIC "del";
    EXPIRE = GENERIC "expire";
    EXPIRED = EXPIRED "expired";
    EVICTED = EVICTED "evicted";
    GEORADIUSSTORE = SORTED_SET "georadiusstore";
    GEOSEARCHSTORE = SORTED_SET "geosearchstore";
    HDEL = HASH "hdel";
    HEXPIRE = HASH "hexpire";
    HEXPIRED = HASH "hexpired";
    HINCRBY = HASH "hincrby";
    HINCRBYFLOAT = HASH "hincrbyfloat";
    HPERSIST = HASH "hpersist";
    HSET = HASH "hset";
    INCRBY = STRING "incrby";
    INCRBYFLOAT = STRING "incrbyfloat";
    KEYMISS = KEY_MISS "keymiss";
    LINSERT = LIST "linsert";
    LPOP = LIST "lpop";
    LPUSH = LIST "lpush";
    LREM = LIST "lrem";
    LSET = LIST "lset";
    LTRIM = LIST "ltrim";
    MOVE_FROM = GENERIC "move_from";
    MOVE_TO = GENERIC "move_to";
    NEW = NEW "new";
    PERSIST = GENERIC "persist";
    PFADD = STRING "pfadd";
    RENAME_FROM = GENERIC "rename_from";
    RENAME_TO = GENERIC "rename_to";
    RESTORE = GENERIC "restore";
    RPOP = LIST "rpop";
    RPUSH = LIST "rpush";
    SADD = SET "sadd";
    SDIFFSTORE = SET "sdiffstore";
    SET = STRING "set";
    SETBIT = STRING "setbit";
    SETRANGE = STRING "setrange";
    SINTERSTORE = SET "sinterstore";
    SORTSTORE = LIST "sortstore";
    SPOP = SET "spop";
    SREM = SET "srem";
    SUNIONSTORE = SET "sunionstore";
    XADD = STREAM "xadd";
    XDEL = STREAM "xdel";
    XGROUP_CREATE = STREAM "xgroup-create";
    XGROUP_CREATECONSUMER = STREAM "xgroup-createconsumer";
    XGROUP_DELCONSUMER = STREAM "xgroup-delconsumer";
    XGROUP_DESTROY = STREAM "xgroup-destroy";
    XGROUP_SETID = STREAM "xgroup-setid";
    XSETID = STREAM "xsetid";
    XTRIM = STREAM "xtrim";
    ZADD = SORTED_SET "zadd";
    ZDIFFSTORE = SORTED_SET "zdiffstore";
    ZINCR = SORTED_SET "zincr";
    ZINTERSTORE = SORTED_SET "zinterstore";
    ZPOPMAX = SORTED_SET "zpopmax";
    ZPOPMIN = SORTED_SET "zpopmin";
    ZRANGESTORE = SORTED_SET "zrangestore";
    ZREM = SORTED_SET "zrem";
    ZREMRANGEBYLEX = SORTED_SET "zremrangebylex";
    ZREMRANGEBYRANK = SORTED_SET "zremrangebyrank";
    ZREMRANGEBYSCORE = SORTED_SET "zremrangebyscore";
    ZUNIONSTORE = SORTED_SET "zunionstore";
}
