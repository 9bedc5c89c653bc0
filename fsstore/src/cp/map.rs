//! Bringing the block map up to date: it describes its own blocks, so places are given until none is missing.

use super::writeout::{Writeout, settle};
use crate::blockmap;
use crate::error::{FsError, Result};
use crate::ids::Vbn;
use crate::layout::{BlockPtr, FANOUT, TreeRoot};
use crate::tree::{Body, Edit, Ledger, Origin, Slot, Tree, encode_index};
use std::collections::HashMap;
use std::sync::Arc;

/// Place of a map node: its level and its number within it.
pub(super) type MapPlace = (u8, u64);

/// Step 3: sets and clears bits, and gives every changed map block a place, until none is without.
pub(super) fn mark_all(
    map: &mut Tree,
    out: &mut Writeout<'_>,
    generation: u64,
    allocated: &[(Vbn, u64)],
) -> Result<HashMap<MapPlace, Vbn>> {
    let mut ledger = Ledger::default();
    let mut places: HashMap<MapPlace, Vbn> = HashMap::new();
    let mark = |map: &mut Tree, ledger: &mut Ledger, vbn: Vbn, used: bool| {
        let mut edit = Edit { io: out.io, generation, ledger };
        blockmap::mark(map, &mut edit, vbn, used)
    };
    for (start, len) in allocated {
        for vbn in start.0..start.0 + len {
            mark(map, &mut ledger, Vbn(vbn), true)?;
        }
    }
    for vbn in &out.taken {
        mark(map, &mut ledger, *vbn, true)?;
    }
    for vbn in &out.freed {
        mark(map, &mut ledger, *vbn, false)?;
    }
    loop {
        let mut missing = Vec::new();
        unplaced(&map.root, map.height, 0, &places, &mut missing);
        if missing.is_empty() {
            break;
        }
        for (place, old) in missing {
            let (vbn, _) = out.walloc.lock().alloc_run(out.io, 1)?.ok_or(FsError::NoSpace)?;
            out.taken.push(vbn);
            places.insert(place, vbn);
            let mut edit = Edit { io: out.io, generation, ledger: &mut ledger };
            blockmap::mark(map, &mut edit, vbn, true)?;
            if let Origin::Block(old) = old {
                out.freed.push(old);
                blockmap::mark(map, &mut edit, old, false)?;
            }
        }
    }
    Ok(places)
}

/// Changed map nodes that have no place yet, with what they replace.
fn unplaced(
    slot: &Slot,
    level: u8,
    index: u64,
    places: &HashMap<MapPlace, Vbn>,
    missing: &mut Vec<(MapPlace, Origin)>,
) {
    let Slot::Mem(node) = slot else { return };
    if let Body::Index(slots) = &node.body {
        for (child, below) in slots.iter().enumerate() {
            unplaced(below, level - 1, index * FANOUT as u64 + child as u64, places, missing);
        }
    }
    if !places.contains_key(&(level, index)) {
        missing.push(((level, index), node.origin.clone()));
    }
}

/// Step 4: writes the changed map nodes to their places.
pub(super) fn write_map(
    map: &Tree,
    out: &mut Writeout<'_>,
    places: &HashMap<MapPlace, Vbn>,
) -> Result<TreeRoot> {
    Ok(TreeRoot { height: map.height, ptr: write_map_node(&map.root, map.height, 0, out, places)? })
}

fn write_map_node(
    slot: &Slot,
    level: u8,
    index: u64,
    out: &mut Writeout<'_>,
    places: &HashMap<MapPlace, Vbn>,
) -> Result<BlockPtr> {
    let node = match slot {
        Slot::Hole => return Ok(BlockPtr::HOLE),
        Slot::Disk(ptr) => return Ok(*ptr),
        Slot::Mem(node) => node,
    };
    let page = match &node.body {
        Body::Data(page) => page.clone(),
        Body::Index(slots) => {
            let mut children = [BlockPtr::HOLE; FANOUT];
            for (child, (ptr, below)) in children.iter_mut().zip(slots.iter()).enumerate() {
                *ptr = write_map_node(below, level - 1, index * FANOUT as u64 + child as u64, out, places)?;
            }
            Arc::new(encode_index(&children))
        }
    };
    let vbn = *places.get(&(level, index)).expect("every changed map node was given a place");
    let ptr = out.put(vbn, page.clone())?;
    out.io.remember(ptr, page);
    settle(node, ptr);
    Ok(ptr)
}
