//! QUERY_INFO (MS-SMB2 §3.3.5.20): what a file, its volume and its permissions are.

use super::dispatch::Asked;
use super::open::Open;
use super::reply::{Body, Failure, Reply};
use super::wire::create::{access, attribute};
use super::wire::error::{ErrorData, REPARSE_TAG_SYMLINK};
use super::wire::info::ea::{Ea, encode_eas};
use super::wire::info::file::FileInfo;
use super::wire::info::stream::{StreamInfo, encode_streams};
use super::wire::info::volume::{DEVICE_DISK, DEVICE_IS_MOUNTED, VolumeInfo, attributes};
use super::wire::info::{QueryInfoRequest, file, file_class, info_type, security_information, volume};
use super::wire::negotiate::Dialect;
use super::wire::output::encode_output;
use super::wire::status::NtStatus;
use super::{quota, security, shown, streams};
use crate::vserver::Vserver;
use bytes::{Bytes, BytesMut};
use fsstore::{FileKind, FsError};
use std::sync::atomic::Ordering;

/// Bytes of the unit in which a volume's space is counted.
const UNIT_BYTES: u64 = 4096;
/// The parts of a security descriptor that who asks for them needs a right to.
const DESCRIPTOR: u32 =
    security_information::OWNER | security_information::GROUP | security_information::DACL;
/// Extended attributes that clients see.
const EA_PREFIX: &[u8] = b"user.";

fn speaks_311(asked: &Asked) -> bool {
    asked.agreed().is_some_and(|agreed| agreed.dialect == Dialect::Smb311)
}

/// Answers QUERY_INFO.
pub(super) fn query(asked: &Asked) -> Reply {
    let request = QueryInfoRequest::decode(&asked.message)?;
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    let most = asked.agreed().map_or(0, super::negotiate::Agreed::transfer_max);
    if request.output_buffer_length > most {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let vserver = &asked.connection.listener.vserver;
    let mut data = BytesMut::new();
    match request.info_type {
        // Older dialects do not have it (MS-SMB2 §3.3.5.20.1).
        info_type::FILE if request.info_class == file_class::NORMALIZED_NAME && !speaks_311(asked) => {
            return Err(NtStatus::NOT_SUPPORTED.into());
        }
        info_type::FILE => {
            fits(&request, file::fixed_len(request.info_class))?;
            of_file(vserver, &open, &request, &mut data)?;
        }
        info_type::FILESYSTEM => {
            fits(&request, volume::fixed_len(request.info_class))?;
            of_volume(vserver, &open, request.info_class, &mut data)?;
        }
        info_type::SECURITY => {
            if request.additional_information & DESCRIPTOR != 0 {
                open.may(access::READ_CONTROL)?;
            }
            security::describe(vserver, &open, request.additional_information, &mut data)?;
            let needed = u32::try_from(data.len()).unwrap_or(u32::MAX);
            if needed > request.output_buffer_length {
                return Err(Failure { status: NtStatus::BUFFER_TOO_SMALL, data: ErrorData::Needed(needed) });
            }
        }
        info_type::QUOTA => {
            quota::query(vserver, &open, &request.input, request.output_buffer_length as usize, &mut data)?;
        }
        _ => return Err(NtStatus::NOT_SUPPORTED.into()),
    }
    let whole = data.len() <= request.output_buffer_length as usize;
    data.truncate(request.output_buffer_length as usize);
    let status = if whole { NtStatus::SUCCESS } else { NtStatus::BUFFER_OVERFLOW };
    Ok(Body::of(|out| encode_output(&data, out)).with_status(status))
}

fn fits(request: &QueryInfoRequest, least: Option<usize>) -> Result<(), NtStatus> {
    let least = least.ok_or(NtStatus::INVALID_INFO_CLASS)?;
    if (request.output_buffer_length as usize) < least { Err(NtStatus::INFO_LENGTH_MISMATCH) } else { Ok(()) }
}

fn of_file(
    vserver: &Vserver,
    open: &Open,
    request: &QueryInfoRequest,
    data: &mut BytesMut,
) -> Result<(), Failure> {
    let attr = open.attr(vserver)?;
    match request.info_class {
        file_class::BASIC | file_class::ALL | file_class::NETWORK_OPEN | file_class::ATTRIBUTE_TAG => {
            open.may(access::READ_ATTRIBUTES)?;
        }
        file_class::FULL_EA => {
            open.may(access::READ_EA)?;
            return eas(vserver, open, request, data);
        }
        file_class::STREAM => return streams(vserver, open, data),
        _ => {}
    }
    let path = format!("\\{}", open.path());
    let facts = open.facts(&attr);
    let info = FileInfo {
        facts,
        links: if attr.kind == FileKind::Dir { 1 } else { attr.nlink },
        delete_pending: open.is_delete_pending(vserver),
        directory: attr.kind == FileKind::Dir,
        file_id: shown::file_number(attr.id),
        volume_serial: open.key.volume.0,
        ea_size: 0,
        access: open.granted,
        position: open.position.load(Ordering::Relaxed),
        mode: 0,
        reparse_tag: if facts.file_attributes & attribute::REPARSE_POINT != 0 {
            REPARSE_TAG_SYMLINK
        } else {
            0
        },
        path: &path,
    };
    Ok(info.encode(request.info_class, data)?)
}

fn eas(
    vserver: &Vserver,
    open: &Open,
    request: &QueryInfoRequest,
    data: &mut BytesMut,
) -> Result<(), Failure> {
    let (volume, cx) = (open.volume(vserver)?, open.context());
    let mut eas = Vec::new();
    for name in volume.xattrs(&cx, open.base.file)? {
        if let Some(shown) = name.strip_prefix(EA_PREFIX) {
            let value = volume.xattr(&cx, open.base.file, &name)?;
            eas.push(Ea { flags: 0, name: Bytes::copy_from_slice(shown), value });
        }
    }
    if eas.is_empty() {
        return Err(NtStatus::NO_EAS_ON_FILE.into());
    }
    let written = encode_eas(&eas, request.output_buffer_length as usize, data);
    if written < eas.len() { Err(NtStatus::BUFFER_TOO_SMALL.into()) } else { Ok(()) }
}

/// All streams of the file, whichever of them is open.
fn streams(vserver: &Vserver, open: &Open, data: &mut BytesMut) -> Result<(), Failure> {
    let volume = open.volume(vserver)?;
    let attr = volume.getattr(open.base.file)?;
    let named = match volume.streams(open.base.file) {
        // What can have none.
        Err(FsError::Invalid) => Vec::new(),
        streams => streams?,
    };
    let names: Vec<_> = named.iter().map(|stream| streams::shown(&stream.name)).collect();
    let own = (attr.kind == FileKind::File).then(|| StreamInfo {
        name: "",
        size: shown::size(&attr),
        allocation_size: shown::allocation(&attr),
    });
    let others = named.iter().zip(&names).map(|(stream, name)| StreamInfo {
        name,
        size: stream.attr.size,
        allocation_size: stream.attr.used,
    });
    encode_streams(own.into_iter().chain(others), data);
    Ok(())
}

fn of_volume(vserver: &Vserver, open: &Open, class: u8, data: &mut BytesMut) -> Result<(), Failure> {
    let volume = open.volume(vserver)?;
    let space = volume.statfs();
    let label = vserver.name.as_str();
    let id = volume.uuid();
    let [a, b, c, d, ..] = *id.as_bytes();
    let (threshold, limit) = quota::amounts(quota::default_limits(&volume, open).as_ref());
    let info = VolumeInfo {
        creation_time: 0,
        serial_number: u32::from_be_bytes([a, b, c, d]),
        label,
        total_units: space.total_bytes / UNIT_BYTES,
        caller_available_units: space.available_bytes / UNIT_BYTES,
        actual_available_units: space.free_bytes / UNIT_BYTES,
        sectors_per_unit: 8,
        bytes_per_sector: 512,
        device_type: DEVICE_DISK,
        characteristics: DEVICE_IS_MOUNTED,
        attributes: attributes::CASE_SENSITIVE_SEARCH
            | attributes::CASE_PRESERVED_NAMES
            | attributes::UNICODE_ON_DISK
            | attributes::PERSISTENT_ACLS
            | attributes::VOLUME_QUOTAS
            | attributes::NAMED_STREAMS
            | attributes::SUPPORTS_SPARSE_FILES
            | attributes::SUPPORTS_HARD_LINKS
            | attributes::SUPPORTS_EXTENDED_ATTRIBUTES
            | attributes::SUPPORTS_REPARSE_POINTS
            | attributes::SUPPORTS_BLOCK_REFCOUNTING,
        max_component_name_len: 255,
        file_system_name: "NTFS",
        default_quota_threshold: threshold.cast_unsigned(),
        default_quota_limit: limit.cast_unsigned(),
        control_flags: quota::CONTROL,
        object_id: *id.as_bytes(),
        physical_bytes_per_sector: 4096,
    };
    Ok(info.encode(class, data)?)
}
