//! Each procedure against a live volume, through sockets.

use super::*;
use crate::nfs3::mount::MountStat3;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_be_written_and_read() {
    let (_fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    for stable in [StableHow::Unstable, StableHow::DataSync, StableHow::FileSync] {
        let wrote = client.write(&file, 3, text("hello"), stable).await.unwrap();
        let committed = if stable == StableHow::Unstable { stable } else { StableHow::FileSync };
        assert_eq!((wrote.count, wrote.committed, wrote.verf), (5, committed, *b"verifier"));
        let wcc = wrote.file_wcc;
        assert_eq!(wcc.after.unwrap().size, 8);
        assert!(wcc.before.is_some());
    }
    assert_eq!(client.commit(&file, 0, 0).await.unwrap().verf, *b"verifier");
    let read = client.read(&file, 0, 4096).await.unwrap();
    assert_eq!(&read.data.bytes()[..], b"\0\0\0hello");
    assert!(read.eof);
    let read = client.read(&file, 3, 2).await.unwrap();
    assert_eq!((&read.data.bytes()[..], read.count, read.eof), (&b"he"[..], 2, false));
    let read = client.read(&file, 1000, 10).await.unwrap();
    assert_eq!((read.count, read.eof), (0, true));
    assert_eq!(status(client.read(&root, 0, 10).await), NfsStat3::IsDir);
    assert_eq!(status(client.write(&root, 0, text("x"), StableHow::FileSync).await), NfsStat3::IsDir);
    assert_eq!(status(client.write(&file, u64::MAX, text("x"), StableHow::FileSync).await), NfsStat3::FBig);
    assert_eq!(client.write(&file, 0, Bytes::new(), StableHow::FileSync).await.unwrap().count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_are_whole() {
    let (_fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "big").await;
    let data: Vec<u8> = (0..1u32 << 20).map(|at| at.to_le_bytes()[usize::from(at % 4 == 1)]).collect();
    let data = Bytes::from(data);
    let writes = (0..4u64).map(|n| client.write(&file, n << 20, data.clone(), StableHow::Unstable));
    for wrote in futures_util::future::join_all(writes).await {
        assert_eq!(wrote.unwrap().count, 1 << 20);
    }
    client.commit(&file, 0, 0).await.unwrap();
    let reads = (0..4u64).map(|n| client.read(&file, n << 20, 2 << 20));
    for (n, read) in futures_util::future::join_all(reads).await.into_iter().enumerate() {
        let read = read.unwrap();
        assert_eq!(read.data.bytes(), data);
        assert_eq!(read.eof, n == 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes() {
    let (fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let before = client.getattr(&file).await.unwrap();
    assert_eq!((before.kind, before.mode, before.nlink, before.size), (FType3::Reg, 0o644, 1, 0));
    let volume = fixture.vserver.namespace().mounts().next().unwrap().id;
    assert_eq!(before.fsid, volume.0);
    let set = SAttr3 {
        mode: Some(0o100_600),
        uid: Some(5),
        gid: Some(6),
        size: Some(77),
        atime: SetTime3::SetToServerTime,
        mtime: SetTime3::SetToClientTime(NfsTime3 { seconds: 9, nseconds: 8 }),
    };
    let wrong = NfsTime3 { seconds: 1, nseconds: 1 };
    assert_eq!(status(client.setattr(&file, set, Some(wrong)).await), NfsStat3::NotSync);
    let wcc = client.setattr(&file, set, Some(before.ctime)).await.unwrap();
    assert_eq!(wcc.before.unwrap().ctime, before.ctime);
    let after = wcc.after.unwrap();
    assert_eq!(after, client.getattr(&file).await.unwrap());
    assert_eq!((after.mode, after.uid, after.gid, after.size), (0o600, 5, 6, 77));
    assert_eq!(after.mtime, NfsTime3 { seconds: 9, nseconds: 8 });
    let set = SAttr3 {
        atime: SetTime3::SetToClientTime(NfsTime3 { seconds: 0, nseconds: 1_000_000_000 }),
        ..SAttr3::default()
    };
    assert_eq!(status(client.setattr(&file, set, None).await), NfsStat3::Inval);
    let set = SAttr3 { size: Some(u64::MAX), ..SAttr3::default() };
    assert_eq!(status(client.setattr(&file, set, None).await), NfsStat3::FBig);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_and_go() {
    let (_fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let dir = client.mkdir(&root, "d", mode(0o755)).await.unwrap();
    assert_eq!(dir.dir_wcc.after.unwrap().nlink, 4);
    let dir = dir.obj.unwrap();
    assert_eq!(client.lookup(&root, "a").await.unwrap().object, file);
    assert_eq!(client.lookup(&dir, "..").await.unwrap().object, root);
    assert_eq!(client.lookup(&dir, ".").await.unwrap().object, dir);
    assert_eq!(client.lookup(&root, "..").await.unwrap().object, root);
    assert_eq!(status(client.lookup(&file, "x").await), NfsStat3::NotDir);

    let linked = client.link(&file, &dir, "b").await.unwrap();
    assert_eq!(linked.file_attributes.unwrap().nlink, 2);
    let renamed = client.rename(&dir, "b", &root, "c").await.unwrap();
    assert_ne!(renamed.fromdir_wcc.after.unwrap().fileid, renamed.todir_wcc.after.unwrap().fileid);
    assert_eq!(client.rename(&root, "c", &root, "e").await.unwrap().todir_wcc.after.unwrap().fileid, 2);
    assert_eq!(client.lookup(&root, "e").await.unwrap().object, file);

    let link = client.symlink(&root, "s", "to/where", SAttr3::default()).await.unwrap().obj.unwrap();
    assert_eq!(&client.readlink(&link).await.unwrap().data.0[..], b"to/where");
    assert_eq!(status(client.readlink(&file).await), NfsStat3::Inval);

    let pipe = MkNodData3::Pipe(FType3::Fifo, mode(0o600));
    assert_eq!(client.mknod(&root, "p", pipe).await.unwrap().obj_attributes.unwrap().kind, FType3::Fifo);
    let device = MkNodData3::Device(FType3::Chr, mode(0o600), SpecData3 { specdata1: 4, specdata2: 64 });
    let made = client.mknod(&root, "tty", device).await.unwrap().obj_attributes.unwrap();
    assert_eq!((made.kind, made.rdev), (FType3::Chr, SpecData3 { specdata1: 4, specdata2: 64 }));
    assert_eq!(status(client.mknod(&root, "r", MkNodData3::Other(FType3::Reg)).await), NfsStat3::BadType);

    assert_eq!(status(client.remove(&root, "d").await), NfsStat3::IsDir);
    assert_eq!(status(client.rmdir(&root, "a").await), NfsStat3::NotDir);
    make(&client, &dir, "in").await;
    assert_eq!(status(client.rmdir(&root, "d").await), NfsStat3::NotEmpty);
    client.remove(&dir, "in").await.unwrap();
    client.rmdir(&root, "d").await.unwrap();
    assert_eq!(status(client.getattr(&dir).await), NfsStat3::Stale);
    client.remove(&root, "a").await.unwrap();
    client.remove(&root, "e").await.unwrap();
    assert_eq!(status(client.getattr(&file).await), NfsStat3::Stale);
    assert_eq!(status(client.remove(&root, "a").await), NfsStat3::NoEnt);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_to_create() {
    let (_fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    assert_eq!(status(client.create(&root, "a", CreateHow3::Guarded(mode(0o600))).await), NfsStat3::Exist);
    client.write(&file, 0, text("12345"), StableHow::FileSync).await.unwrap();
    let cut = SAttr3 { size: Some(2), ..SAttr3::default() };
    let again = client.create(&root, "a", CreateHow3::Unchecked(cut)).await.unwrap();
    assert_eq!((again.obj.unwrap(), again.obj_attributes.unwrap().size), (file, 2));
    let first = client.create(&root, "x", CreateHow3::Exclusive(*b"verify01")).await.unwrap().obj;
    let second = client.create(&root, "x", CreateHow3::Exclusive(*b"verify01")).await.unwrap().obj;
    assert_eq!(first, second);
    assert_eq!(status(client.create(&root, "x", CreateHow3::Exclusive(*b"verify02")).await), NfsStat3::Exist);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_names_get_their_status() {
    let (_fixture, _served, client, root) = all().await;
    let long = "x".repeat(256);
    let huge = "x".repeat(100_000);
    let cases = [
        ("", NfsStat3::Acces),
        ("a/b", NfsStat3::Acces),
        ("a\0b", NfsStat3::Inval),
        (&long, NfsStat3::NameTooLong),
        (&huge, NfsStat3::NameTooLong),
    ];
    for (name, expected) in cases {
        let guarded = CreateHow3::Guarded(SAttr3::default());
        assert_eq!(status(client.lookup(&root, name).await), expected);
        assert_eq!(status(client.create(&root, name, guarded).await), expected);
        assert_eq!(status(client.mkdir(&root, name, SAttr3::default()).await), expected);
        assert_eq!(status(client.symlink(&root, name, "t", SAttr3::default()).await), expected);
        assert_eq!(status(client.remove(&root, name).await), expected);
        assert_eq!(status(client.rmdir(&root, name).await), expected);
        assert_eq!(status(client.rename(&root, name, &root, "y").await), expected);
        assert_eq!(status(client.rename(&root, "sub", &root, name).await), NfsStat3::Acces);
        assert_eq!(status(client.link(&root, &root, name).await), expected);
    }
    client.mkdir(&root, &"y".repeat(255), SAttr3::default()).await.unwrap();
    for dots in [".", ".."] {
        assert_eq!(status(client.mkdir(&root, dots, SAttr3::default()).await), NfsStat3::Exist);
        assert_eq!(status(client.rmdir(&root, dots).await), NfsStat3::Inval);
    }
    let target = "t".repeat(4096);
    assert_eq!(status(client.symlink(&root, "l", &target, SAttr3::default()).await), NfsStat3::NameTooLong);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_listed_in_pieces() {
    let (_fixture, _served, client, root) = all().await;
    let dir = client.mkdir(&root, "d", mode(0o755)).await.unwrap().obj.unwrap();
    let made = (0..300).map(|n| {
        let (client, dir) = (&client, &dir);
        async move { make(client, dir, &format!("file-{n:04}")).await }
    });
    futures_util::future::join_all(made).await;

    let (mut cookie, mut names) = (0, Vec::new());
    loop {
        let args = ReadDir3Args { dir: dir.clone(), cookie, cookieverf: [0; 8], count: 1000 };
        let part = client.call::<ReadDir>(&args).await.unwrap();
        let mut out = crate::xdr::Encoder::default();
        out.put(&part);
        assert!(out.len() <= 1000, "{}", out.len());
        cookie = part.reply.entries.last().unwrap().cookie;
        names.extend(part.reply.entries.into_iter().map(|entry| entry.name.0));
        if part.reply.eof {
            break;
        }
    }
    assert_eq!(names[..2], [&b"."[..], b".."]);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 302);

    let plus = client.readdirplus(&dir, 0, [0; 8], 400, 4000).await.unwrap();
    let mut out = crate::xdr::Encoder::default();
    out.put(&plus);
    assert!(out.len() <= 4000);
    let dir_bytes: usize =
        plus.reply.entries.iter().map(|entry| 20 + entry.name.0.len().next_multiple_of(4)).sum();
    assert!(dir_bytes <= 400, "{dir_bytes}");

    let whole = client.list(&dir).await.unwrap();
    assert_eq!(whole.len(), 302);
    for entry in whole.iter().take(20) {
        let found = client.lookup(&dir, std::str::from_utf8(&entry.name.0).unwrap()).await.unwrap();
        assert_eq!(Some(&found.object), entry.name_handle.as_ref());
        assert_eq!(found.obj_attributes, entry.name_attributes);
    }
    assert_eq!(status(client.readdir(&dir, 0, [0; 8], 100).await), NfsStat3::TooSmall);
    assert_eq!(status(client.readdir(&dir, 2, [7; 8], 1000).await), NfsStat3::BadCookie);
    assert_eq!(
        status(client.readdir(&whole[5].name_handle.clone().unwrap(), 0, [0; 8], 999).await),
        NfsStat3::NotDir
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn junctions_are_crossed_both_ways() {
    let (fixture, _served, client, root) = all().await;
    let sub = client.mount("/sub").await.unwrap();
    let found = client.lookup(&root, "sub").await.unwrap();
    assert_eq!(found.object, sub);
    let fsid = fixture.vserver.namespace().mounts().nth(1).unwrap().id.0;
    assert_eq!(found.obj_attributes.unwrap().fsid, fsid);
    assert_ne!(found.dir_attributes.unwrap().fsid, fsid);
    assert_eq!(client.lookup(&sub, "..").await.unwrap().object, root);
    let listed = client.list(&root).await.unwrap();
    let entry = listed.iter().find(|entry| &entry.name.0[..] == b"sub").unwrap();
    assert_eq!(entry.name_handle, Some(sub.clone()));
    assert_eq!(entry.name_attributes.unwrap().fsid, fsid);
    let up = client.list(&sub).await.unwrap().into_iter().find(|entry| &entry.name.0[..] == b"..").unwrap();
    assert_eq!(up.name_handle, Some(root.clone()));

    let file = make(&client, &root, "a").await;
    assert_eq!(status(client.rename(&root, "a", &sub, "a").await), NfsStat3::XDev);
    assert_eq!(status(client.link(&file, &sub, "a").await), NfsStat3::XDev);
    assert_eq!(status(client.rmdir(&root, "sub").await), NfsStat3::Acces);
    assert_eq!(status(client.rename(&root, "sub", &root, "other").await), NfsStat3::Acces);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_guard_and_squash() {
    let (fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    client.setattr(&root, mode(0o777), None).await.unwrap();

    fixture.export(vec![rule("127.0.0.1", true, Squash::Root)]);
    let made = client.create(&root, "squashed", CreateHow3::Guarded(mode(0o644))).await.unwrap();
    let attr = made.obj_attributes.unwrap();
    assert_eq!((attr.uid, attr.gid), (700, 700));
    assert_eq!(status(client.write(&file, 0, text("x"), StableHow::FileSync).await), NfsStat3::Acces);
    let user = served.client_as(5, 6);
    let made = user.create(&root, "own", CreateHow3::Guarded(mode(0o644))).await.unwrap();
    assert_eq!(made.obj_attributes.unwrap().uid, 5);

    fixture.export(vec![rule("127.0.0.1", true, Squash::All)]);
    let made = user.create(&root, "anonymous", CreateHow3::Guarded(mode(0o644))).await.unwrap();
    assert_eq!(made.obj_attributes.unwrap().uid, 700);

    fixture.export(vec![rule("127.0.0.1", false, Squash::None)]);
    assert_eq!(client.access(&file, 0x3f).await.unwrap().access & 0x1c, 0);
    assert_eq!(client.getattr(&file).await.unwrap().size, 0);
    assert_eq!(status(client.write(&file, 0, text("x"), StableHow::FileSync).await), NfsStat3::RoFs);
    assert_eq!(status(client.remove(&root, "a").await), NfsStat3::RoFs);
    assert_eq!(status(client.setattr(&file, mode(0), None).await), NfsStat3::RoFs);

    fixture.export(vec![rule("10.0.0.0/8", true, Squash::None)]);
    assert_eq!(status(client.getattr(&file).await), NfsStat3::Acces);
    assert_eq!(client.mount("/").await, Err(ClientError::Mount(MountStat3::Acces)));
}

#[tokio::test(flavor = "multi_thread")]
async fn permission_bits_hold() {
    let (_fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let user = served.client_as(1000, 1000);
    let granted = user.access(&file, 0x3f).await.unwrap().access;
    assert_eq!(granted, 0x01);
    assert_eq!(client.access(&file, 0x0d).await.unwrap().access, 0x0d);
    assert_eq!(status(user.create(&root, "b", CreateHow3::Guarded(mode(0o600))).await), NfsStat3::Acces);
    assert_eq!(status(user.setattr(&file, mode(0o777), None).await), NfsStat3::Perm);
    client.setattr(&root, mode(0o777), None).await.unwrap();
    let device = MkNodData3::Device(FType3::Blk, mode(0o600), SpecData3::default());
    assert_eq!(status(user.mknod(&root, "sda", device).await), NfsStat3::Perm);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_of_itself() {
    let (_fixture, _served, client, root) = all().await;
    let info = client.fsinfo(&root).await.unwrap();
    assert_eq!((info.rtmax, info.wtmax, info.properties), (1 << 20, 1 << 20, 0x1b));
    let conf = client.pathconf(&root).await.unwrap();
    assert!(conf.no_trunc && conf.case_preserving && conf.chown_restricted && !conf.case_insensitive);
    assert_eq!(conf.name_max, 255);
    let before = client.fsstat(&root).await.unwrap();
    assert!(before.tbytes <= 32 * MIB && before.abytes <= before.fbytes && before.fbytes <= before.tbytes);
    let file = make(&client, &root, "a").await;
    client.write(&file, 0, Bytes::from(vec![1; 1 << 20]), StableHow::FileSync).await.unwrap();
    assert!(client.fsstat(&root).await.unwrap().abytes < before.abytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_says_so_and_recovers() {
    let (_fixture, _served, client, _root) = all().await;
    let sub = client.mount("/sub").await.unwrap();
    let data = Bytes::from(vec![7; 1 << 20]);
    let mut names = Vec::new();
    let refused = loop {
        let name = format!("f{}", names.len());
        assert!(names.len() < 64, "a volume of 8 MiB took 64 MiB");
        match client.create(&sub, &name, CreateHow3::Guarded(mode(0o644))).await {
            Ok(made) => names.push((name, made.obj.unwrap())),
            Err(error) => break error,
        }
        if let Err(error) =
            client.write(&names[names.len() - 1].1, 0, data.clone(), StableHow::FileSync).await
        {
            break error;
        }
    };
    assert_eq!(refused, ClientError::Nfs(NfsStat3::NoSpc));
    for (name, _) in &names {
        client.remove(&sub, name).await.unwrap();
    }
    let file = make(&client, &sub, "after").await;
    client.write(&file, 0, data.clone(), StableHow::FileSync).await.unwrap();
    assert_eq!(client.read(&file, 0, 1 << 20).await.unwrap().data.bytes(), data);
}

#[tokio::test(flavor = "multi_thread")]
async fn mount_walks_paths() {
    let (_fixture, _served, client, root) = all().await;
    let dir = client.mkdir(&root, "d", mode(0o700)).await.unwrap().obj.unwrap();
    make(&client, &root, "f").await;
    assert_eq!(client.mount("/d").await.unwrap(), dir);
    assert_eq!(client.mount("//d/").await.unwrap(), dir);
    assert_eq!(client.mount("/none").await, Err(ClientError::Mount(MountStat3::NoEnt)));
    assert_eq!(client.mount("/f").await, Err(ClientError::Mount(MountStat3::NotDir)));
    assert_eq!(client.mount("/f/x").await, Err(ClientError::Mount(MountStat3::NotDir)));
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_can_be_read_and_not_changed() {
    let (fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    client.write(&file, 0, text("old"), StableHow::FileSync).await.unwrap();
    let volume = fixture.vserver.namespace().mounts().next().unwrap().volume.clone();
    volume.snapshot_create("hourly", Time { secs: 3, nanos: 0 }).unwrap();
    client.write(&file, 0, text("new"), StableHow::FileSync).await.unwrap();

    let list = client.lookup(&root, ".snapshot").await.unwrap().object;
    let names: Vec<_> = client.list(&list).await.unwrap().into_iter().map(|entry| entry.name.0).collect();
    assert_eq!(names, [&b"."[..], b"..", b"hourly"]);
    let hourly = client.lookup(&list, "hourly").await.unwrap().object;
    let found = client.lookup(&hourly, "a").await.unwrap();
    assert_eq!(&client.read(&found.object, 0, 10).await.unwrap().data.bytes()[..], b"old");
    assert_eq!(&client.read(&file, 0, 10).await.unwrap().data.bytes()[..], b"new");
    // The same inode in another file system: clients don't mix them up.
    let (old, new) = (found.obj_attributes.unwrap(), client.getattr(&file).await.unwrap());
    assert_eq!(old.fileid, new.fileid);
    assert_ne!(old.fsid, new.fsid);
    assert_eq!(status(client.write(&found.object, 0, text("x"), StableHow::FileSync).await), NfsStat3::RoFs);
    assert_eq!(status(client.remove(&hourly, "a").await), NfsStat3::RoFs);
    assert_eq!(client.access(&found.object, 0x3f).await.unwrap().access, 0x01);
    // Junctions belong to the tree of now.
    let under = client.lookup(&hourly, "sub").await.unwrap().obj_attributes.unwrap();
    assert_eq!(under.fsid, client.getattr(&hourly).await.unwrap().fsid);
}
