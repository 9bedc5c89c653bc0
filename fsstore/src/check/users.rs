//! How many pointers lead to each block, against how many may: the image's counts of shared blocks' users.

use super::Checker;
use super::bits::Reach;
use super::finding::FindingKind;
use super::image::InodePages;
use crate::cp::sharing::{REFS_PER_PAGE, extra_users};
use crate::ids::{InodeNum, Vbn};
use crate::layout::ImageRoot;
use crate::tree::Tree;

impl Checker<'_> {
    /// Both ways: blocks with more pointers than counted, and, if all of the image was seen (`judged`), with fewer.
    /// Gives whether the counts could be read.
    pub(super) fn check_users(
        &mut self,
        image: &ImageRoot,
        pages: &InodePages,
        maps: &Reach,
        content: &Reach,
        judged: bool,
    ) -> bool {
        let Ok(refs) = Tree::from_root(image.refs) else { return false };
        let twice = maps.blocks.iter().filter(|vbn| content.blocks.contains(*vbn)).map(|vbn| (vbn, 2));
        for (vbn, count) in maps.shared().chain(twice) {
            self.too_many(vbn, count, 1);
        }
        let mut readable = true;
        for (vbn, count) in content.shared() {
            match extra_users(&refs, &self.io, vbn) {
                Ok(extra) if count > u64::from(extra) + 1 => self.too_many(vbn, count, u64::from(extra) + 1),
                Ok(_) => {}
                // The walk named the block.
                Err(_) => readable = false,
            }
        }
        for (page, ptr) in pages {
            let Ok(counts) = self.io.page(*ptr) else {
                readable = false;
                continue;
            };
            for (slot, bytes) in counts.chunks_exact(4).enumerate() {
                let extra = u32::from_le_bytes(bytes.try_into().unwrap_or([0; 4]));
                let vbn = Vbn(page.saturating_mul(REFS_PER_PAGE).saturating_add(slot as u64));
                let users = content.count(vbn);
                if judged && extra > 0 && u64::from(extra) + 1 > users {
                    let text = format!(
                        "the image says that this block has {} users, and there are {users}: its space will not be freed \
                         with the last of them",
                        u64::from(extra) + 1
                    );
                    self.find(FindingKind::Users, None, Some(vbn), text);
                }
            }
        }
        readable
    }

    fn too_many(&mut self, vbn: Vbn, count: u64, allowed: u64) {
        let text = format!(
            "{count} pointers lead to this block where {allowed} may: a change through one of them would free it under the \
             others"
        );
        self.find(FindingKind::MultiplyUsed, None::<InodeNum>, Some(vbn), text);
    }
}
