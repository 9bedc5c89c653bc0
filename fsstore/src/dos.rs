//! File attributes of MS-FSCC §2.6 that mode bits can't express.

use crate::error::{FsError, Result};

/// File attributes as clients of SMB set them; the bits are those of MS-FSCC §2.6. No mode and no right follows from them: whoever
/// serves clients that know them heeds them. A change of a file's content sets [`DosAttributes::ARCHIVE`] where any are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct DosAttributes(pub u32);

impl DosAttributes {
    /// Not to be changed or deleted; says nothing to clients of NFS, and the mode nothing to this.
    pub const READ_ONLY: u32 = 0x1;
    /// Left out of ordinary listings.
    pub const HIDDEN: u32 = 0x2;
    /// The operating system's.
    pub const SYSTEM: u32 = 0x4;
    /// Changed since it was last archived.
    pub const ARCHIVE: u32 = 0x20;
    /// Short-lived.
    pub const TEMPORARY: u32 = 0x100;
    /// May have holes.
    pub const SPARSE: u32 = 0x200;
    /// Not at hand at once.
    pub const OFFLINE: u32 = 0x1000;
    /// Not for content indexes.
    pub const NOT_CONTENT_INDEXED: u32 = 0x2000;
    /// All that is kept.
    pub const ALL: u32 = Self::READ_ONLY
        | Self::HIDDEN
        | Self::SYSTEM
        | Self::ARCHIVE
        | Self::TEMPORARY
        | Self::SPARSE
        | Self::OFFLINE
        | Self::NOT_CONTENT_INDEXED;

    /// In a word on disk: some are kept, if only none of the bits.
    const KEPT: u32 = 1 << 31;

    /// Whether one of `bits` is set.
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// # Errors
    /// [`FsError::Invalid`] for bits that are not kept.
    pub(crate) fn check(self) -> Result<()> {
        if self.0 & !Self::ALL == 0 { Ok(()) } else { Err(FsError::Invalid) }
    }

    pub(crate) fn to_word(kept: Option<Self>) -> u32 {
        kept.map_or(0, |attributes| attributes.0 | Self::KEPT)
    }

    /// What a word stands for; `None` for one that no volume writes.
    pub(crate) fn from_word(word: u32) -> Option<Option<Self>> {
        match word {
            0 => Some(None),
            _ if word & Self::KEPT == 0 => None,
            _ => Some(Some(DosAttributes(word & !Self::KEPT)))
                .filter(|kept| kept.is_none_or(|it| it.check().is_ok())),
        }
    }
}
