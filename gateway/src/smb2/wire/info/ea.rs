//! Extended attributes, MS-FSCC §2.4.15 (`FileFullEaInformation`) and §2.4.15.1 (`FileGetEaInformation`).

use super::super::cursor::{len16, len32, pad, patch_u32};
use super::super::status::NtStatus;
use super::super::{Malformed, Reader};
use bytes::{BufMut, Bytes, BytesMut};

/// Attributes in one list at the most.
const EAS_MAX: usize = 1024;

/// One attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ea {
    /// `FILE_NEED_EA` is 0x80.
    pub flags: u8,
    /// One to 255 bytes of an unsaid 8-bit character set, without the NUL that ends them on the wire.
    pub name: Bytes,
    /// Empty to remove the attribute.
    pub value: Bytes,
}

/// A list of attributes; an empty one is legal.
///
/// # Errors
/// [`Malformed`] with `EA_LIST_INCONSISTENT`.
pub fn decode_eas(list: &Bytes) -> Result<Vec<Ea>, Malformed> {
    let mut eas = Vec::new();
    walk(list, |entry| {
        let mut reader = Reader::new(&entry[4..], "EA list");
        let (flags, name_len, value_len) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let name = reader.take(name_len.into())?;
        let end = reader.u8()?;
        let value = reader.take(value_len.into())?;
        if name.is_empty() || end != 0 {
            return Err(reader.malformed());
        }
        eas.push(Ea { flags, name: entry.slice_ref(name), value: entry.slice_ref(value) });
        Ok(())
    })?;
    Ok(eas)
}

/// The names of the attributes that a client asks for.
///
/// # Errors
/// [`Malformed`] with `EA_LIST_INCONSISTENT`.
pub fn decode_ea_names(list: &Bytes) -> Result<Vec<Bytes>, Malformed> {
    let mut names = Vec::new();
    walk(list, |entry| {
        let mut reader = Reader::new(&entry[4..], "EA names");
        let len = reader.u8()?;
        names.push(entry.slice_ref(reader.take(len.into())?));
        Ok(())
    })?;
    Ok(names)
}

/// Calls `each` with every entry of a list, from its `NextEntryOffset` (which is there) to the next one's.
fn walk(list: &Bytes, mut each: impl FnMut(&Bytes) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let inconsistent = |_| Malformed::with("EA list", NtStatus::EA_LIST_INCONSISTENT);
    let mut rest = list.clone();
    for _ in 0..EAS_MAX {
        if rest.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::new(&rest, "EA list");
        let next = reader.u32().map_err(inconsistent)? as usize;
        if next != 0 && (next < 8 || next >= rest.len()) {
            return Err(inconsistent(reader.malformed()));
        }
        let entry = if next == 0 { std::mem::take(&mut rest) } else { rest.split_to(next) };
        each(&entry).map_err(inconsistent)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(inconsistent(Malformed::new("EA list"))) }
}

/// Appends attributes, as far as they fit into `max` bytes; gives how many did.
pub fn encode_eas<'a>(eas: impl IntoIterator<Item = &'a Ea>, max: usize, out: &mut BytesMut) -> usize {
    let (first, mut last, mut count) = (out.len(), None, 0);
    for ea in eas {
        let (name_len, value_len) = (len16(ea.name.len()), len16(ea.value.len()));
        let used = (out.len() - first).next_multiple_of(4);
        if used + 9 + ea.name.len() + ea.value.len() > max {
            break;
        }
        pad(out, first, 4);
        let start = out.len();
        if let Some(last) = last {
            patch_u32(out, last, len32(start - last));
        }
        last = Some(start);
        out.put_u32_le(0);
        out.put_u8(ea.flags);
        out.put_u8(u8::try_from(name_len).expect("a name of at most 255 bytes"));
        out.put_u16_le(value_len);
        out.put_slice(&ea.name);
        out.put_u8(0);
        out.put_slice(&ea.value);
        count += 1;
    }
    count
}
