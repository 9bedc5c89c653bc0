//! What a CREATE asks for: its disposition, and which combinations of its fields mean nothing (MS-SMB2 §3.3.5.9, MS-FSA §2.1.5.1).

use crate::smb2::rights;
use crate::smb2::wire::create::*;
use crate::smb2::wire::status::NtStatus;

/// What a disposition does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Open,
    Make,
    Overwrite,
    Supersede,
}

impl Deed {
    pub(super) fn of(disposition: u32, exists: bool) -> Result<Deed, NtStatus> {
        match (disposition, exists) {
            (disposition::OPEN | disposition::OPEN_IF, true) => Ok(Deed::Open),
            (disposition::OVERWRITE | disposition::OVERWRITE_IF, true) => Ok(Deed::Overwrite),
            (disposition::SUPERSEDE, true) => Ok(Deed::Supersede),
            (disposition::CREATE, true) => Err(NtStatus::OBJECT_NAME_COLLISION),
            (disposition::OPEN | disposition::OVERWRITE, false) => Err(NtStatus::OBJECT_NAME_NOT_FOUND),
            (
                disposition::CREATE
                | disposition::OPEN_IF
                | disposition::OVERWRITE_IF
                | disposition::SUPERSEDE,
                false,
            ) => Ok(Deed::Make),
            _ => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    pub(super) fn action(self) -> u32 {
        match self {
            Deed::Open => action::OPENED,
            Deed::Make => action::CREATED,
            Deed::Overwrite => action::OVERWRITTEN,
            Deed::Supersede => action::SUPERSEDED,
        }
    }

    pub(super) fn truncates(self) -> bool {
        matches!(self, Deed::Overwrite | Deed::Supersede)
    }
}

pub(super) fn check(request: &CreateRequest) -> Result<(), NtStatus> {
    let options = request.options;
    let both = options::DIRECTORY_FILE | options::NON_DIRECTORY_FILE;
    let truncates =
        !matches!(request.disposition, disposition::OPEN | disposition::CREATE | disposition::OPEN_IF);
    let wrong = options & both == both
        || request.disposition > disposition::OVERWRITE_IF
        || options & options::DIRECTORY_FILE != 0 && truncates
        || options & options::DELETE_ON_CLOSE != 0
            && rights::specific(request.desired_access) & (access::DELETE | access::MAXIMUM_ALLOWED) == 0
        || request.share_access & !(share::READ | share::WRITE | share::DELETE) != 0;
    if wrong {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    if request.impersonation_level > 3 {
        return Err(NtStatus::BAD_IMPERSONATION_LEVEL);
    }
    if options & options::OPEN_BY_FILE_ID != 0 {
        return Err(NtStatus::NOT_SUPPORTED);
    }
    Ok(())
}
