//! Samba's smbclient as a client that knows nothing of Ferry: trees there and back in every dialect, names of any case, who is
//! let in, and a share that moves.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use ferry_tests::smb_site::{PASSWORD, Site, text_of};
use gateway::demo::node::{Node, peer};
use serde_json::json;
use std::path::{Path, PathBuf};
use tokio::process::Command;

const DIALECTS: [&str; 5] = ["SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11"];

/// Files of many sizes, below a directory of its own.
fn make_tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("sub/deeper/empty")).unwrap();
    for (at, len) in [0, 1, 4095, 4096, 70_000, (8 << 20) + 5].into_iter().enumerate() {
        let data: Vec<u8> =
            (0..len).map(|byte: usize| (byte * 31 + byte / 251 + at).to_le_bytes()[0]).collect();
        std::fs::write(dir.join(format!("sub/file {at}")), data).unwrap();
    }
    std::fs::write(dir.join("sub/deeper/Ünïcödé – 文字"), b"name").unwrap();
    std::fs::write(dir.join(".hidden"), b"dot").unwrap();
}

/// Every path below `dir` with its content.
fn tree(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let content = if path.is_dir() { None } else { Some(std::fs::read(&path).unwrap()) };
            if content.is_none() {
                dirs.push(path.clone());
            }
            found.push((path.strip_prefix(dir).unwrap().to_owned(), content));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_goes_there_and_back_in_every_dialect() {
    let Some(site) = Site::new().await else { return };
    // Else clients of SMB 3 would encrypt everything, and nothing would be signed.
    let settings = json!({ "smb_encryption": "off" });
    site.node.api.patch("/vservers/vs", settings).await.unwrap();
    let local = site.dir.path().join("tree");
    make_tree(&local);
    let wanted = tree(&local);
    for dialect in DIALECTS {
        for protection in ["sign", "encrypt"] {
            if protection == "encrypt" && dialect.starts_with("SMB2") {
                continue;
            }
            let back = site.dir.path().join(format!("{dialect}-{protection}"));
            std::fs::create_dir(&back).unwrap();
            let protect = format!("--client-protection={protection}");
            let commands = format!(
                "recurse; prompt; mkdir {dialect}{protection}; cd {dialect}{protection}; lcd {}; mput *; \
                 lcd {}; mget *",
                local.display(),
                back.display()
            );
            site.run(&["-m", dialect, &protect], &commands).await;
            assert!(tree(&back) == wanted, "{dialect}, {protection}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_found_in_any_case_and_stay_as_they_were_written() {
    let Some(site) = Site::new().await else { return };
    let local = site.dir.path().join("one");
    std::fs::write(&local, b"one").unwrap();
    site.run(&[], &format!("mkdir Dir; put {} dir\\Straße.TXT", local.display())).await;
    let listing = site.run(&[], "cd DIR; ls strasse*; ls STRAß*").await;
    assert!(listing.contains("Straße.TXT") && !listing.contains("STRA"), "{listing}");
    let taken = site.smb("root", PASSWORD, &[], "mkdir dIR").await;
    assert!(text_of(&taken).contains("NT_STATUS_OBJECT_NAME_COLLISION"), "{}", text_of(&taken));
    let listing = site.run(&[], "rename dir\\straße.txt DIR\\straße.txt; ls dir\\*").await;
    assert!(listing.contains("straße.txt"), "{listing}");
    let listing = site.run(&[], "del dir\\STRASSE.txt; del dir\\STRAßE.TXT; rmdir dir; ls").await;
    assert!(!listing.contains("Dir"), "{listing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_streams_go_there_and_back_beside_their_file() {
    let Some(site) = Site::new().await else { return };
    let (file, note) = (site.dir.path().join("file"), site.dir.path().join("note"));
    std::fs::write(&file, b"own").unwrap();
    std::fs::write(&note, vec![7; 100_000]).unwrap();
    let back = site.dir.path().join("back");
    let (file, note, back_at) = (file.display(), note.display(), back.display());
    let commands =
        format!("put {file} file; put {note} file:Note; get FILE:note:$DATA {back_at}; allinfo file");
    let told = site.run(&[], &commands).await;
    assert_eq!(std::fs::read(&back).unwrap(), vec![7; 100_000]);
    let streams = ["[::$DATA], 3 bytes", "[:Note:$DATA], 100000 bytes"];
    assert!(streams.iter().all(|stream| told.contains(stream)), "{told}");
    // Nothing but the file is in the directory, and it takes the stream along.
    let told = site.run(&[], "ls; rename file other; allinfo other").await;
    assert!(!told.contains("Note  ") && told.contains(streams[1]), "{told}");
    let gone = site.smb("root", PASSWORD, &[], &format!("del other; get other:Note {back_at}")).await;
    assert!(text_of(&gone).contains("NT_STATUS_OBJECT_NAME_NOT_FOUND"), "{}", text_of(&gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_what_is_what_the_volume_says() {
    let Some(site) = Site::new().await else { return };
    let refused = site.smb("jane", PASSWORD, &[], "mkdir mine").await;
    assert!(text_of(&refused).contains("NT_STATUS_ACCESS_DENIED"), "{}", text_of(&refused));
    let wrong = site.smb("jane", "Wrong-Horse-7", &[], "ls").await;
    assert!(text_of(&wrong).contains("NT_STATUS_LOGON_FAILURE"), "{}", text_of(&wrong));
    let nobody = site.smb("nobody", PASSWORD, &[], "ls").await;
    assert!(text_of(&nobody).contains("NT_STATUS_LOGON_FAILURE"), "{}", text_of(&nobody));
    assert!(site.smb("jane", PASSWORD, &[], "ls").await.status.success());
    // Guessing ends after a while, also for who has it right then.
    for _ in 0..10 {
        site.smb("jane", "Wrong-Horse-8", &[], "ls").await;
    }
    let locked = site.smb("jane", PASSWORD, &[], "ls").await;
    assert!(text_of(&locked).contains("NT_STATUS_ACCOUNT_LOCKED_OUT"), "{}", text_of(&locked));
    assert!(site.smb("root", PASSWORD, &[], "ls").await.status.success());
    // Who can't encrypt stays out where that is required.
    let settings = json!({ "smb_encryption": "required" });
    site.node.api.patch("/vservers/vs", settings).await.unwrap();
    let plain = site.smb("root", PASSWORD, &["-m", "SMB2_10"], "ls").await;
    assert!(text_of(&plain).contains("NT_STATUS_ACCESS_DENIED"), "{}", text_of(&plain));
    let share = json!({ "read_only": true });
    site.node.api.patch("/vservers/vs/shares/data", share).await.unwrap();
    let refused = site.smb("root", PASSWORD, &[], "mkdir mine").await;
    assert!(text_of(&refused).contains("NT_STATUS_ACCESS_DENIED"), "{}", text_of(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_listed_but_those_that_hide() {
    let Some(site) = Site::new().await else { return };
    let hidden = json!({ "name": "Hidden", "path": "/data", "browseable": false });
    site.node.api.post("/vservers/vs/shares", hidden).await.unwrap();
    let login = site.dir.path().join("login");
    std::fs::write(&login, format!("username=root\npassword={PASSWORD}\n")).unwrap();
    let mut command = Command::new("smbclient");
    command.arg("-g").arg("-L").arg(site.address.to_string()).arg("-p").arg(site.smb_port.to_string());
    let output = command.arg("-A").arg(&login).kill_on_drop(true).output().await.unwrap();
    let text = text_of(&output);
    assert!(text.contains("Disk|Data|all there is") && text.contains("IPC|IPC$|"), "{text}");
    assert!(!text.contains("Hidden"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_moves_with_its_users() {
    let Some(site) = Site::new().await else { return };
    let dir = site.dir.path().join("b");
    let other = Node::start(&ferry::binary(), &dir, "b", site.nfs_port, &[]).await.unwrap();
    peer(&site.node.api, &other.api).await.unwrap();
    let local = site.dir.path().join("kept");
    std::fs::write(&local, b"kept").unwrap();
    site.run(&[], &format!("put {} kept", local.display())).await;
    ferry::move_away(&site.node, "b").await;
    let back = site.dir.path().join("back");
    site.run(&[], &format!("get KEPT {}", back.display())).await;
    assert_eq!(std::fs::read(back).unwrap(), b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previous_versions_are_listed_and_read() {
    let Some(site) = Site::new().await else { return };
    let local = site.dir.path().join("version");
    let put = format!("put {} FILE", local.display());
    std::fs::write(&local, b"first").unwrap();
    site.run(&[], &format!("mkdir dir; cd dir; {put}")).await;
    let snapshot = json!({ "name": "before" });
    site.node.api.post("/vservers/vs/volumes/data/snapshots", snapshot).await.unwrap();
    std::fs::write(&local, b"the second").unwrap();
    site.run(&[], &format!("cd dir; {put}")).await;
    let info = site.run(&[], "allinfo dir\\file").await;
    let token = info.lines().find(|line| line.starts_with("@GMT-")).unwrap_or_else(|| panic!("{info}"));
    assert!(info.contains("size: 5"), "{info}");
    let back = site.dir.path().join("back");
    site.run(&[], &format!("get {token}\\dir\\file {}", back.display())).await;
    assert_eq!(std::fs::read(&back).unwrap(), b"first");
    let refused = site.smb("root", PASSWORD, &[], &format!("del {token}\\dir\\file")).await;
    assert!(text_of(&refused).contains("NT_STATUS_MEDIA_WRITE_PROTECTED"), "{}", text_of(&refused));
}

/// Runs smbcacls on a file of the share. It knows no port but 445.
async fn smbcacls(site: &Site, options: &[&str]) -> String {
    let login = site.dir.path().join("login-acl");
    std::fs::write(&login, format!("username=root\npassword={PASSWORD}\n")).unwrap();
    let mut command = Command::new("smbcacls");
    command.arg(format!("//{}/data", site.address)).arg("file").args(options).arg("-A").arg(&login);
    let output = command.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{options:?}: {}", text_of(&output));
    text_of(&output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_are_shown_and_set_by_name() {
    let Some(site) = Site::new().await else { return };
    if let Err(error) = std::net::TcpListener::bind((site.address, 445)) {
        eprintln!("skipped: port 445 can't be had: {error}");
        return;
    }
    let group = json!({ "name": "Staff", "gid": 50 });
    site.node.api.post("/vservers/vs/groups", group).await.unwrap();
    let local = site.dir.path().join("file");
    std::fs::write(&local, b"file").unwrap();
    site.run(&[], &format!("put {} file", local.display())).await;
    let port = json!({ "ports": { "smb": 445 } });
    site.node.api.patch("/vservers/vs/lifs/lif1", port).await.unwrap();
    let shown = smbcacls(&site, &[]).await;
    assert!(shown.contains("OWNER:VS\\root") && shown.contains("ACL:Everyone:ALLOWED"), "{shown}");
    smbcacls(&site, &["-a", "ACL:vs\\jane:ALLOWED/0x0/READ"]).await;
    smbcacls(&site, &["-a", "ACL:staff:ALLOWED/0x0/FULL"]).await;
    smbcacls(&site, &["-C", "jane"]).await;
    let shown = smbcacls(&site, &[]).await;
    for line in ["OWNER:VS\\Jane", "ACL:VS\\Jane:ALLOWED/0x0/READ", "ACL:VS\\Staff:ALLOWED/0x0/FULL"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}
