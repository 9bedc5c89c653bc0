//! File handles: what a client holds to name a file for as long as the file lives.
//! A handle is valid on every node that holds its volume and the vserver's [`HandleKey`]; it keeps no state
//! anywhere. Must not know any protocol's types: NFSv3 and NFSv4 carry the same 56 bytes.

use aws_lc_rs::constant_time;
use bytes::Buf;
use fsstore::{FileId, Generation, InodeNum, SnapshotId};
use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher24;
use std::fmt;
use uuid::Uuid;

/// Bytes of a file handle. NFSv3 allows 64, NFSv4 128.
pub const HANDLE_LEN: usize = 56;

const VERSION: u8 = 3;
const KEY_LEN: usize = 16;
const MAC_LEN: usize = 16;
const SIGNED_LEN: usize = HANDLE_LEN - MAC_LEN;

/// Names a volume in file handles: the first 8 bytes of its UUID, big-endian. Also the NFS fsid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct VolumeId(pub u64);

impl VolumeId {
    /// The id of the volume with this UUID.
    pub fn of(volume: Uuid) -> Self {
        VolumeId(volume.as_u64_pair().0)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The vserver's secret that file handles are signed with. It moves with the vserver.
#[derive(Clone, Serialize, Deserialize)]
pub struct HandleKey([u8; KEY_LEN]);

impl HandleKey {
    /// A new random key.
    pub fn generate() -> Self {
        let mut key = [0; KEY_LEN];
        aws_lc_rs::rand::fill(&mut key).expect("the operating system's random numbers never fail");
        HandleKey(key)
    }

    /// The key with these bytes, e.g. from the configuration store.
    pub fn from_bytes(secret: [u8; KEY_LEN]) -> Self {
        HandleKey(secret)
    }

    /// The secret itself, to be stored or sent to the vserver's next home.
    pub fn to_bytes(&self) -> [u8; KEY_LEN] {
        self.0
    }

    fn mac(&self, signed: &[u8]) -> [u8; MAC_LEN] {
        SipHasher24::new_with_key(&self.0).hash(signed).as_bytes()
    }
}

impl PartialEq for HandleKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for HandleKey {}

impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleKey(..)")
    }
}

/// Why bytes are not a handle of this vserver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandleError {
    /// Not made by this vserver: wrong length, version or signature.
    #[error("not a file handle")]
    Bad,
    /// A handle of another vserver.
    #[error("file handle of another vserver")]
    OtherVserver,
}

/// What a file handle says.
///
/// ```text
/// 0        1        4             12          20       28           32         40     56
/// | version| zeros  | vserver tag | volume id | inode  | generation | snapshot | MAC  |
/// ```
/// The vserver tag is the first 8 bytes of its UUID, the MAC SipHash-2-4 with 128 bits of result over the 40
/// bytes before it: each call opens a handle, and READDIRPLUS makes one for each name. Snapshot 0 is the active
/// image. Numbers are big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileHandle {
    /// The volume that the file is in.
    pub volume: VolumeId,
    /// The file.
    pub file: FileId,
}

impl FileHandle {
    /// The handle's bytes.
    pub fn seal(&self, vserver: Uuid, key: &HandleKey) -> [u8; HANDLE_LEN] {
        let mut out = [0; HANDLE_LEN];
        out[0] = VERSION;
        out[4..12].copy_from_slice(&tag_of(vserver));
        out[12..20].copy_from_slice(&self.volume.0.to_be_bytes());
        out[20..28].copy_from_slice(&self.file.ino.0.to_be_bytes());
        out[28..32].copy_from_slice(&self.file.generation.0.to_be_bytes());
        out[32..40].copy_from_slice(&self.file.snapshot.0.to_be_bytes());
        let mac = key.mac(&out[..SIGNED_LEN]);
        out[SIGNED_LEN..].copy_from_slice(&mac);
        out
    }

    /// Reads a handle that a client sent.
    ///
    /// # Errors
    /// [`HandleError`]. A handle that another vserver signed can't be told from a forged one by its
    /// signature, so the tag decides between the two errors; neither reveals anything.
    pub fn open(bytes: &[u8], vserver: Uuid, key: &HandleKey) -> Result<FileHandle, HandleError> {
        let bytes: &[u8; HANDLE_LEN] = bytes.try_into().map_err(|_| HandleError::Bad)?;
        if bytes[..4] != [VERSION, 0, 0, 0] {
            return Err(HandleError::Bad);
        }
        if bytes[4..12] != tag_of(vserver) {
            return Err(HandleError::OtherVserver);
        }
        let mac = key.mac(&bytes[..SIGNED_LEN]);
        constant_time::verify_slices_are_equal(&mac, &bytes[SIGNED_LEN..]).map_err(|_| HandleError::Bad)?;
        let mut fields = &bytes[12..];
        let volume = VolumeId(fields.get_u64());
        let (ino, generation) = (InodeNum(fields.get_u64()), Generation(fields.get_u32()));
        let file = FileId { ino, generation, snapshot: SnapshotId(fields.get_u64()) };
        Ok(FileHandle { volume, file })
    }
}

fn tag_of(vserver: Uuid) -> [u8; 8] {
    vserver.as_u64_pair().0.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: FileHandle = FileHandle {
        volume: VolumeId(0x0102_0304_0506_0708),
        file: FileId { ino: InodeNum(0x1112_1314), generation: Generation(9), snapshot: SnapshotId(5) },
    };

    fn vserver() -> Uuid {
        Uuid::from_u128(0xaabb_ccdd_0000_0000_0000_0000_0000_0001)
    }

    #[test]
    fn the_layout_is_fixed() {
        let bytes = HANDLE.seal(vserver(), &HandleKey::from_bytes([1; KEY_LEN]));
        let expected = [
            3, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0x11, 0x12,
            0x13, 0x14, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5,
        ];
        assert_eq!(bytes[..40], expected);
    }

    #[test]
    fn a_handle_is_valid_wherever_the_key_is() {
        let key = HandleKey::generate();
        let copy = HandleKey::from_bytes(key.to_bytes());
        assert_eq!(FileHandle::open(&HANDLE.seal(vserver(), &key), vserver(), &copy), Ok(HANDLE));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let key = HandleKey::generate();
        let good = HANDLE.seal(vserver(), &key);
        for bit in 0..HANDLE_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let expected =
                if (4..12).contains(&(bit / 8)) { HandleError::OtherVserver } else { HandleError::Bad };
            assert_eq!(FileHandle::open(&bad, vserver(), &key), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn wrong_lengths_and_keys_are_refused() {
        let key = HandleKey::generate();
        let good = HANDLE.seal(vserver(), &key);
        for len in [0, 1, 40, 55] {
            assert_eq!(FileHandle::open(&good[..len], vserver(), &key), Err(HandleError::Bad));
        }
        assert_eq!(FileHandle::open(&[0; 64], vserver(), &key), Err(HandleError::Bad));
        assert_eq!(FileHandle::open(&good, vserver(), &HandleKey::generate()), Err(HandleError::Bad));
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", HandleKey::generate()), "HandleKey(..)");
    }
}
