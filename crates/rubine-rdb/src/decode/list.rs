//! Lists: plain, as a ziplist, and as quicklists of both generations.

use rubine_structures::list::{ChunkLimit, End, List};

use crate::cursor::Cursor;
use crate::error::{Damage, Fault};
use crate::{listpack, ziplist};

/// What a node of a quicklist says it is.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;

pub(super) fn plain(cursor: &mut Cursor<'_>, limit: ChunkLimit) -> Result<List, Damage> {
    let count = cursor.count("list")?;
    let mut list = List::new();
    for _ in 0..count {
        list.push(End::Back, &cursor.string()?, limit);
    }
    Ok(list)
}

pub(super) fn ziplist(cursor: &mut Cursor<'_>, limit: ChunkLimit) -> Result<List, Damage> {
    let start = cursor.offset();
    let mut list = List::new();
    push_ziplist(&mut list, cursor, limit)?;
    not_empty(list, start)
}

/// A number of nodes, each a ziplist.
pub(super) fn quicklist(cursor: &mut Cursor<'_>, limit: ChunkLimit) -> Result<List, Damage> {
    let start = cursor.offset();
    let count = cursor.count("list")?;
    let mut list = List::new();
    for _ in 0..count {
        push_ziplist(&mut list, cursor, limit)?;
    }
    not_empty(list, start)
}

/// A number of nodes, each a listpack or a single item.
pub(super) fn quicklist_2(cursor: &mut Cursor<'_>, limit: ChunkLimit) -> Result<List, Damage> {
    let start = cursor.offset();
    let count = cursor.count("list")?;
    let mut list = List::new();
    for _ in 0..count {
        let node = cursor.offset();
        let container = cursor.length()?;
        let bytes = cursor.string()?;
        match container {
            NODE_PLAIN if !bytes.is_empty() => list.push(End::Back, &bytes, limit),
            NODE_PACKED => push_listpack(&mut list, &bytes, limit).map_err(within(node))?,
            _ => return Err(Fault::Quicklist.at(node)),
        }
    }
    not_empty(list, start)
}

fn push_ziplist(list: &mut List, cursor: &mut Cursor<'_>, limit: ChunkLimit) -> Result<(), Damage> {
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let mut items = ziplist::Items::new(&bytes).map_err(within(start))?;
    let mut buffer = Vec::new();
    while let Some(item) = items.next().map_err(within(start))? {
        list.push(End::Back, item.text_in(&mut buffer), limit);
    }
    Ok(())
}

fn push_listpack(list: &mut List, bytes: &[u8], limit: ChunkLimit) -> Result<(), Damage> {
    let mut items = listpack::Items::new(bytes)?;
    let mut buffer = Vec::new();
    while let Some(item) = items.next()? {
        list.push(End::Back, item.text_in(&mut buffer), limit);
    }
    Ok(())
}

fn not_empty(list: List, start: usize) -> Result<List, Damage> {
    if list.is_empty() { Err(Fault::Empty("list").at(start)) } else { Ok(list) }
}

/// Damage within a string is reported where the string begins: it may be compressed.
pub(super) fn within(start: usize) -> impl Fn(Damage) -> Damage {
    move |damage| damage.fault.at(start)
}
