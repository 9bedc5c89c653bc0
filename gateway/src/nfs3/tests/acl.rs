//! NFSACL: its bytes, and its procedures through a server.

use super::golden::{ATTR, FH, OK, attr, fh, some_attr};
use super::lifecycle::{ask, message};
use super::*;
use crate::nfs3::acl::*;
use crate::xdr::golden::check;
use fsstore::{Access as Rights, AceMask};

fn ent(tag: u32, id: u32, perm: u32) -> AclEnt {
    AclEnt { tag, id, perm }
}

/// The owner and group of the tests' files, and user 5, whom a mask keeps from writing.
fn with_user_5() -> Vec<AclEnt> {
    vec![
        ent(AclTag::USER_OBJ, 1, 6),
        ent(AclTag::USER, 5, 6),
        ent(AclTag::GROUP_OBJ, 10, 0),
        ent(AclTag::CLASS_OBJ, 0, 4),
        ent(AclTag::OTHER_OBJ, 0, 0),
    ]
}

/// What a SETACL of these two sends, as Linux does for files and directories.
fn both(access: &[AclEnt], default: Option<&[AclEnt]>) -> SecAttr {
    let mask = NFS_ACL | if default.is_some() { NFS_DFACL } else { 0 };
    SecAttr::empty(mask).unwrap().with(access, default.unwrap_or_default())
}

/// A file of user 1 and group 10.
async fn file_of_1(client: &Client, root: &NfsFh3, name: &str) -> NfsFh3 {
    let file = make(client, root, name).await;
    let owner = SAttr3 { uid: Some(1), gid: Some(10), ..SAttr3::default() };
    client.setattr(&file, owner, None).await.unwrap();
    file
}

#[test]
fn golden() {
    check(GetAcl3Args { fh: fh(), mask: 15 }, &[FH, "0000000f"]);
    // Tags with 0x1000 in the default ACL; the mask's and others' id is 0 (Solaris depends on that).
    let ents = [ent(1, 2, 6), ent(2, 5, 7), ent(4, 3, 5), ent(0x10, 0, 4), ent(0x20, 0, 0)];
    let both_hex = "0000000f 00000005 00000005 \
        00000001 00000002 00000006 00000002 00000005 00000007 00000004 00000003 00000005 \
        00000010 00000000 00000004 00000020 00000000 00000000 \
        00000005 00000005 \
        00001001 00000002 00000006 00001002 00000005 00000007 00001004 00000003 00000005 \
        00001010 00000000 00000004 00001020 00000000 00000000";
    let all = SecAttr::empty(15).unwrap().with(&ents, &ents);
    let shown = GetAcl3ResOk { attr: Some(attr()), acl: all.clone() };
    check(Res3::<GetAcl>::Ok(shown), &[OK, &some_attr(), both_hex]);
    check(Res3::<GetAcl>::Fail(NfsStat3::Stale, None), &["00000046", "00000000"]);
    // Only the counts.
    let counts = SecAttr::empty(NFS_ACLCNT | NFS_DFACLCNT).unwrap().with(&ents, &[]);
    check(counts, &["0000000a", "00000005 00000000", "00000000 00000000"]);
    check(SetAcl3Args { fh: fh(), acl: all }, &[FH, both_hex]);
    check(Res3::<SetAcl>::Ok(Some(attr())), &[OK, "00000001", ATTR]);
    check(Res3::<SetAcl>::Fail(NfsStat3::Perm, None), &["00000001", "00000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_is_shown_and_counts() {
    let (_fixture, served, client, root) = all().await;
    let file = file_of_1(&client, &root, "a").await;
    let plain = client.getacl(&file, NFS_ACL | NFS_ACLCNT).await.unwrap().acl;
    let of_mode = [ent(1, 1, 6), ent(4, 10, 4), ent(AclTag::CLASS_OBJ, 0, 4), ent(AclTag::OTHER_OBJ, 0, 4)];
    assert_eq!((plain.aclcnt, &plain.aclent[..]), (4, &of_mode[..]), "a mode, as four entries");

    let mut shuffled = with_user_5();
    shuffled.reverse();
    let after = client.setacl(&file, both(&shuffled, None)).await.unwrap().unwrap();
    assert_eq!(after.mode, 0o640, "the mode's group bits are the mask");
    let got = client.getacl(&file, 15).await.unwrap();
    assert_eq!(got.acl, SecAttr::empty(15).unwrap().with(&with_user_5(), &[]));
    assert_eq!(got.attr, Some(client.getattr(&file).await.unwrap()));
    let counts = client.getacl(&file, NFS_ACLCNT).await.unwrap().acl;
    assert_eq!((counts.aclcnt, counts.aclent.len(), counts.dfaclcnt), (5, 0, 0));

    // ACCESS, READ and WRITE go by it.
    let want = Rights::READ | Rights::MODIFY;
    for (uid, gid, rights) in [(5, 50, Rights::READ), (6, 10, 0), (6, 60, 0), (1, 10, want)] {
        let client = served.client_as(uid, gid);
        assert_eq!(client.access(&file, want).await.unwrap().access, rights, "user {uid}");
        let read = client.read(&file, 0, 1).await.map(drop);
        assert_eq!(read.is_ok(), rights & Rights::READ != 0, "user {uid}");
        let write = client.write(&file, 0, text("x"), StableHow::FileSync).await.map(drop);
        assert_eq!(write.is_ok(), rights & Rights::MODIFY != 0, "user {uid}");
    }
    // Three entries again: no list is left.
    client.setacl(&file, both(&of_mode, None)).await.unwrap();
    assert_eq!(client.getacl(&file, NFS_ACL | NFS_ACLCNT).await.unwrap().acl, plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn default_acls_are_of_directories() {
    let (_fixture, served, client, root) = all().await;
    let dir = client.mkdir(&root, "d", mode(0o755)).await.unwrap().obj.unwrap();
    let access = client.getacl(&dir, NFS_ACL).await.unwrap().acl.aclent;
    let set = both(&access, Some(&with_user_5()));
    client.setacl(&dir, set).await.unwrap();
    assert_eq!(client.getattr(&dir).await.unwrap().mode, 0o755);
    let default = client.getacl(&dir, NFS_DFACL | NFS_DFACLCNT).await.unwrap().acl;
    assert_eq!((default.aclcnt, default.dfaclcnt, default.dfaclent.len()), (0, 5, 5));
    assert!(default.dfaclent.iter().all(|ent| ent.tag & AclTag::DEFAULT != 0));
    // A client that knows no ACLs makes a file.
    let file = make(&client, &dir, "a").await;
    assert_eq!(client.getattr(&file).await.unwrap().mode, 0o640);
    let user_5 = served.client_as(5, 50);
    assert_eq!(user_5.access(&file, Rights::READ).await.unwrap().access, Rights::READ);
    // Linux sends a default ACL alone for a directory whose access ACL is its mode, and 48 bytes behind it.
    let alone = both(&[], Some(&with_user_5()));
    let args = message::<SetAcl>(78, &SetAcl3Args { fh: dir.clone(), acl: alone }).into_bytes();
    let longer = Bytes::from([&args[..], &[0; 48]].concat());
    let reply = ask(served.address, longer.into()).await.unwrap();
    assert_eq!(reply[20..28], [0; 8], "accepted, and NFS3_OK");
    assert_eq!(client.getacl(&dir, 15).await.unwrap().acl.aclent, access);
    // What is not sent is taken away.
    client.setacl(&dir, both(&access, None)).await.unwrap();
    assert_eq!(client.getacl(&dir, 15).await.unwrap().acl.dfaclcnt, 0);
    assert_eq!(status(client.setacl(&file, both(&access, Some(&access))).await), NfsStat3::Acces);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_set_and_what_is_refused() {
    let (fixture, served, client, root) = all().await;
    let file = file_of_1(&client, &root, "a").await;
    let acl = || both(&with_user_5(), None);
    assert_eq!(status(served.client_as(5, 10).setacl(&file, acl()).await), NfsStat3::Perm);
    served.client_as(1, 10).setacl(&file, acl()).await.unwrap();
    let link = client.symlink(&root, "s", "a", SAttr3::default()).await.unwrap().obj.unwrap();
    assert_eq!(status(client.setacl(&link, acl()).await), NfsStat3::NotSupp);
    assert_eq!(client.getacl(&link, NFS_ACL).await.unwrap().acl.aclent.len(), 4);
    let twice = both(&[with_user_5(), with_user_5()].concat(), None);
    assert_eq!(status(client.setacl(&file, twice).await), NfsStat3::Inval);
    assert_eq!(status(client.getacl(&file, 16).await), NfsStat3::Inval);
    let mut many = with_user_5();
    many.extend((100..300).map(|id| ent(AclTag::USER, id, 4)));
    assert_eq!(status(client.setacl(&file, both(&many, None)).await), NfsStat3::NoSpc);
    many.truncate(190);
    client.setacl(&file, both(&many, None)).await.unwrap();
    assert_eq!(client.getacl(&file, NFS_ACL).await.unwrap().acl.aclent.len(), 190);

    // Export rules hold for it as for SETATTR.
    let forged = NfsFh3(Bytes::from(vec![1; 48]));
    assert_eq!(status(client.setacl(&forged, acl()).await), NfsStat3::BadHandle);
    fixture.export(vec![rule("127.0.0.0/8", false, Squash::None)]);
    assert_eq!(status(client.setacl(&file, acl()).await), NfsStat3::RoFs);
    client.getacl(&file, NFS_ACL).await.unwrap();
    fixture.export(vec![rule("127.0.0.0/8", true, Squash::Root)]);
    assert_eq!(status(client.setacl(&file, acl()).await), NfsStat3::Perm, "root is nobody here");
    fixture.export(vec![]);
    assert_eq!(status(client.getacl(&file, NFS_ACL).await), NfsStat3::Acces);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_setacl_gets_its_first_answer() {
    let (fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let call = || message::<SetAcl>(77, &SetAcl3Args { fh: file.clone(), acl: both(&with_user_5(), None) });
    let first = ask(served.address, call()).await.unwrap();
    client.setattr(&file, mode(0o600), None).await.unwrap();
    assert_eq!(ask(served.address, call()).await.unwrap(), first);
    assert_eq!(client.getattr(&file).await.unwrap().mode, 0o600, "it was not run again");
    let volume = fixture.vserver.namespace().mounts().next().unwrap().volume.clone();
    let id = volume.lookup(&fsstore::Context::root(Time::default()), fsstore::ROOT, b"a").unwrap().id;
    assert_eq!(volume.acl(id).unwrap().mask(), Some(AceMask::of_permissions(0, false)));
}
