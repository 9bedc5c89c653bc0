//! Quotas of users.

use super::Site;
use crate::smb2::wire::info::quota::{NO_LIMIT, QuotaEntry, decode_quotas, encode_quotas};
use crate::smb2::wire::status::NtStatus;
use bytes::BytesMut;
use fsstore::{QtreeId, QuotaTarget};

const QUOTA: u8 = 4;
/// SMB2_QUERY_QUOTA_INFO for all users, from the first one on.
const ALL: [u8; 16] = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const NEXT: [u8; 16] = [0; 16];

#[tokio::test]
async fn quotas_are_listed_and_set_by_the_users_sid() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let file = peer.open("file", 3, 7, 2).await.unwrap();
    peer.write(file, &[1; 5000]).await;
    let id = peer.open("$Extend\\$Quota:$Q:$INDEX_ALLOCATION", 1, 7, 1).await.unwrap();
    let listed = peer.query_info(id, QUOTA, 0, &ALL).await.unwrap();
    let [user] = decode_quotas(&listed).unwrap()[..] else { panic!("one user: {listed:?}") };
    assert!(user.used > 0);
    assert_eq!((user.threshold, user.limit), (NO_LIMIT, NO_LIMIT));
    assert_eq!(peer.query_info(id, QUOTA, 0, &NEXT).await, Err(NtStatus::NO_MORE_ENTRIES));
    // Somebody of whom the vserver knows no more than a number.
    let sid = "S-1-22-1-1002".parse().unwrap();
    let entry = |threshold, limit| QuotaEntry { change_time: 0, used: 0, threshold, limit, sid };
    let list = |entry| {
        let mut list = BytesMut::new();
        assert_eq!(encode_quotas(&[entry], 1000, &mut list), 1);
        list
    };
    let target = QuotaTarget::User { qtree: QtreeId(0), uid: Some(1002) };
    let volume = site.volume();
    let limits = || volume.quota_rules().iter().find(|rule| rule.target == target).map(|rule| rule.limits);
    assert_eq!(peer.set_info(id, QUOTA, 0, &list(entry(1 << 20, 2 << 20))).await, NtStatus::SUCCESS);
    let set = limits().unwrap();
    assert_eq!((set.disk_soft, set.disk_hard), (Some(1 << 20), Some(2 << 20)));
    let listed = peer.query_info(id, QUOTA, 0, &ALL).await.unwrap();
    assert_eq!(decode_quotas(&listed).unwrap(), [user, entry(1 << 20, 2 << 20)]);
    assert_eq!(peer.set_info(id, QUOTA, 0, &list(entry(NO_LIMIT, -2))).await, NtStatus::SUCCESS);
    assert_eq!(limits(), None);
}
