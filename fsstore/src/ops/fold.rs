//! New names for callers that do not tell case apart.

use super::names;
use crate::directory;
use crate::error::{FsError, Result};
use crate::ids::Cookie;
use crate::inode::Inode;
use crate::io::Io;
use crate::op::Op;
use crate::state::State;
use crate::xattr::stream_entry;
use bytes::Bytes;
use std::sync::Arc;

/// A name that an operation makes.
struct Made {
    dir: Arc<Inode>,
    name: Bytes,
    /// The entry that goes in the same operation.
    goes: Option<Cookie>,
}

/// Refuses a name that is new and differs from one that is there in case alone. The operation was planned: it may be done.
pub(crate) fn need_new_name(st: &mut State, io: &Io, op: &Op) -> Result<()> {
    let Some(Made { dir, name, goes }) = made(st, io, op)? else { return Ok(()) };
    let taken = directory::has_alike(&dir, io, st.hash, &name, goes)? && st.find(io, &dir, &name)?.is_none();
    if taken { Err(FsError::Exists) } else { Ok(()) }
}

fn made(st: &mut State, io: &Io, op: &Op) -> Result<Option<Made>> {
    if let Op::MakeStream { file, name, .. } = op {
        let file = st.file(io, *file)?;
        let Some(dir) = st.attr_dir(io, &file)? else { return Ok(None) };
        return Ok(Some(Made { dir, name: stream_entry(name)?, goes: None }));
    }
    if let Op::RenameStream { file, from, to, .. } = op {
        let file = st.file(io, *file)?;
        let Some(dir) = st.attr_dir(io, &file)? else { return Ok(None) };
        let goes = st.find(io, &dir, &stream_entry(from)?)?.map(|entry| entry.key);
        return Ok(Some(Made { dir, name: stream_entry(to)?, goes }));
    }
    let made = names(op).into_iter().flatten().find(|(.., makes)| *makes);
    let Some((id, name, _)) = made else { return Ok(None) };
    let (dir, name) = (st.dir(io, id)?, Bytes::copy_from_slice(name));
    let goes = match op {
        Op::Rename { from_dir, from, .. } if *from_dir == id => st.find(io, &dir, from)?,
        _ => None,
    };
    Ok(Some(Made { dir, name, goes: goes.map(|entry| entry.key) }))
}
