//! What QUERY_INFO tells of a file system, MS-FSCC §2.5.
#![allow(missing_docs, reason = "fields and constants have the names of MS-FSCC, which says what they mean")]

use super::super::cursor::len32;
use super::super::names::{put_utf16, utf16_len};
use super::super::status::NtStatus;
use super::volume_class;
use bytes::{BufMut, BytesMut};

/// `FILE_DEVICE_DISK`.
pub const DEVICE_DISK: u32 = 7;
/// `FILE_DEVICE_NAMED_PIPE`.
pub const DEVICE_NAMED_PIPE: u32 = 0x11;
/// `FILE_DEVICE_IS_MOUNTED`.
pub const DEVICE_IS_MOUNTED: u32 = 0x20;

/// `FileSystemAttributes`, MS-FSCC §2.5.1.
pub mod attributes {
    pub const CASE_SENSITIVE_SEARCH: u32 = 0x0000_0001;
    pub const CASE_PRESERVED_NAMES: u32 = 0x0000_0002;
    pub const UNICODE_ON_DISK: u32 = 0x0000_0004;
    pub const PERSISTENT_ACLS: u32 = 0x0000_0008;
    pub const FILE_COMPRESSION: u32 = 0x0000_0010;
    pub const VOLUME_QUOTAS: u32 = 0x0000_0020;
    pub const SUPPORTS_SPARSE_FILES: u32 = 0x0000_0040;
    pub const SUPPORTS_REPARSE_POINTS: u32 = 0x0000_0080;
    pub const SUPPORTS_OBJECT_IDS: u32 = 0x0001_0000;
    pub const NAMED_STREAMS: u32 = 0x0004_0000;
    pub const READ_ONLY_VOLUME: u32 = 0x0008_0000;
    pub const SUPPORTS_HARD_LINKS: u32 = 0x0040_0000;
    pub const SUPPORTS_EXTENDED_ATTRIBUTES: u32 = 0x0080_0000;
    pub const SUPPORTS_OPEN_BY_FILE_ID: u32 = 0x0100_0000;
    pub const SUPPORTS_BLOCK_REFCOUNTING: u32 = 0x0800_0000;
}

/// All that the classes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VolumeInfo<'a> {
    /// FILETIME.
    pub creation_time: u64,
    pub serial_number: u32,
    pub label: &'a str,
    /// All counts below are in units of `sectors_per_unit * bytes_per_sector` bytes.
    pub total_units: u64,
    /// What the user may still fill.
    pub caller_available_units: u64,
    pub actual_available_units: u64,
    pub sectors_per_unit: u32,
    pub bytes_per_sector: u32,
    pub device_type: u32,
    pub characteristics: u32,
    /// Of [`attributes`].
    pub attributes: u32,
    pub max_component_name_len: u32,
    /// Windows offers its security dialog only on `NTFS`.
    pub file_system_name: &'a str,
    pub default_quota_threshold: u64,
    pub default_quota_limit: u64,
    pub control_flags: u32,
    pub object_id: [u8; 16],
    /// What one write is certain not to tear, and does not read before.
    pub physical_bytes_per_sector: u32,
}

/// Bytes that a reply needs at least: with fewer it is `INFO_LENGTH_MISMATCH`, with enough of them but too few for the name
/// `BUFFER_OVERFLOW` with what fits.
#[must_use]
pub fn fixed_len(class: u8) -> Option<usize> {
    match class {
        volume_class::VOLUME | volume_class::SIZE => Some(24),
        volume_class::DEVICE => Some(8),
        volume_class::ATTRIBUTE => Some(16),
        volume_class::CONTROL => Some(48),
        volume_class::FULL_SIZE => Some(32),
        volume_class::OBJECT_ID => Some(64),
        volume_class::SECTOR_SIZE => Some(28),
        _ => None,
    }
}

impl VolumeInfo<'_> {
    /// Appends what a class tells, in full.
    ///
    /// # Errors
    /// `INVALID_INFO_CLASS` for what this does not tell.
    pub fn encode(&self, class: u8, out: &mut BytesMut) -> Result<(), NtStatus> {
        match class {
            volume_class::VOLUME => {
                out.put_u64_le(self.creation_time);
                out.put_u32_le(self.serial_number);
                out.put_u32_le(len32(utf16_len(self.label)));
                // SupportsObjects, and a reserved byte.
                out.put_u16_le(0);
                put_utf16(out, self.label);
            }
            volume_class::SIZE => {
                out.put_u64_le(self.total_units);
                out.put_u64_le(self.caller_available_units);
                self.put_unit(out);
            }
            volume_class::DEVICE => {
                out.put_u32_le(self.device_type);
                out.put_u32_le(self.characteristics);
            }
            volume_class::ATTRIBUTE => {
                out.put_u32_le(self.attributes);
                out.put_u32_le(self.max_component_name_len);
                out.put_u32_le(len32(utf16_len(self.file_system_name)));
                put_utf16(out, self.file_system_name);
            }
            volume_class::CONTROL => {
                // Where content indexing would start and stop.
                out.put_bytes(0, 24);
                out.put_u64_le(self.default_quota_threshold);
                out.put_u64_le(self.default_quota_limit);
                out.put_u32_le(self.control_flags);
                out.put_u32_le(0);
            }
            volume_class::FULL_SIZE => {
                out.put_u64_le(self.total_units);
                out.put_u64_le(self.caller_available_units);
                out.put_u64_le(self.actual_available_units);
                self.put_unit(out);
            }
            volume_class::OBJECT_ID => {
                out.put_slice(&self.object_id);
                out.put_bytes(0, 48);
            }
            volume_class::SECTOR_SIZE => self.put_sectors(out),
            _ => return Err(NtStatus::INVALID_INFO_CLASS),
        }
        Ok(())
    }

    fn put_unit(&self, out: &mut BytesMut) {
        out.put_u32_le(self.sectors_per_unit);
        out.put_u32_le(self.bytes_per_sector);
    }

    /// `FileFsSectorSizeInformation`, MS-FSCC §2.5.7.
    fn put_sectors(&self, out: &mut BytesMut) {
        const ALIGNED_DEVICE: u32 = 1;
        const PARTITION_ALIGNED_ON_DEVICE: u32 = 2;
        let physical = self.physical_bytes_per_sector;
        out.put_u32_le(self.bytes_per_sector);
        [physical; 3].into_iter().for_each(|size| out.put_u32_le(size));
        out.put_u32_le(ALIGNED_DEVICE | PARTITION_ALIGNED_ON_DEVICE);
        // ByteOffsetForSectorAlignment, ByteOffsetForPartitionAlignment.
        out.put_u64_le(0);
    }
}
