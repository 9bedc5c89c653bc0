//! An outside client: libnfs' command line tools. And how fast the server is, for the eye.

use super::*;
use std::time::Instant;
use tokio::process::Command;

async fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's libnfs-utils"]
async fn libnfs_lists_copies_and_reads() {
    let (fixture, served, client, root) = all().await;
    client.setattr(&root, mode(0o777), None).await.unwrap();
    let port = served.address.port();
    // libnfs splits a URL at its last slash into mount path and file, and takes no empty mount path.
    let url = |path: &str| format!("nfs://127.0.0.1{path}?version=3&nfsport={port}&mountport={port}");
    let local = fixture.dir.path().join("local");
    let data: Vec<u8> = (0..3_000_001u32).map(|at| at.to_le_bytes()[usize::from(at % 7 == 0)]).collect();
    std::fs::write(&local, &data).unwrap();
    run("nfs-cp", &[local.to_str().unwrap(), &url("//copied")]).await;
    run("nfs-cp", &[local.to_str().unwrap(), &url("/sub/below")]).await;
    assert_eq!(run("nfs-cat", &[&url("//copied")]).await, data);
    let listed = String::from_utf8(run("nfs-ls", &[&url("/")]).await).unwrap();
    assert!(listed.contains("copied") && listed.contains("3000001"), "{listed}");
    let listed = String::from_utf8(run("nfs-ls", &[&url("/sub")]).await).unwrap();
    assert!(listed.contains("below"), "{listed}");
}

/// Calls per second of `calls` calls, `width` at a time.
async fn rate<F: Future<Output = ()>>(calls: u32, width: usize, call: impl Fn(u32) -> F) -> f64 {
    use futures_util::stream::{StreamExt, iter};
    let start = Instant::now();
    iter(0..calls).map(call).buffer_unordered(width).collect::<()>().await;
    f64::from(calls) / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rates() {
    let dir = TempDir::new_in(".").unwrap();
    let vserver = Vserver::new("vs1", Uuid::new_v4(), HandleKey::generate(), *b"verifier");
    let fixture = Fixture { dir, vserver };
    let root_volume = mounted(volume(fixture.dir.path(), "root", 2048), "/", "default");
    fixture.vserver.set_namespace(Namespace::build(vec![root_volume], Time { secs: 2, nanos: 0 }).unwrap());
    fixture.export(vec![rule("127.0.0.0/8", true, Squash::None)]);
    let served = fixture.serve().await;
    let client = served.client();
    let root = client.mount("/").await.unwrap();
    let file = make(&client, &root, "a").await;
    let (client, root, file) = (&client, &root, &file);
    for width in [1, 32] {
        let calls = rate(20_000, width, |_| async move { _ = client.getattr(file).await.unwrap() }).await;
        println!("GETATTR x{width}: {calls:.0}/s");
        let calls =
            rate(10_000, width, |_| async move { drop(client.lookup(root, "a").await.unwrap()) }).await;
        println!("LOOKUP x{width}: {calls:.0}/s");
        let small = Bytes::from(vec![1; 4096]);
        let small = &small;
        let calls = rate(2000, width, |n| async move {
            client.write(file, u64::from(n) * 4096, small.clone(), StableHow::FileSync).await.unwrap();
        });
        println!("WRITE 4 KiB FILE_SYNC x{width}: {:.0}/s", calls.await);
    }
    let large = Bytes::from(vec![1; 1 << 20]);
    let large = &large;
    for width in [1, 8] {
        let start = Instant::now();
        rate(512, width, |n| async move {
            client.write(file, u64::from(n) << 20, large.clone(), StableHow::Unstable).await.unwrap();
        })
        .await;
        client.commit(file, 0, 0).await.unwrap();
        println!(
            "WRITE 1 MiB UNSTABLE x{width} + COMMIT: {:.0} MiB/s",
            512.0 / start.elapsed().as_secs_f64()
        );
        let reads = rate(512, width, |n| async move {
            assert_eq!(client.read(file, u64::from(n) << 20, 1 << 20).await.unwrap().count, 1 << 20);
        });
        println!("READ 1 MiB x{width}: {:.0} MiB/s", reads.await);
    }
    let calls = rate(2000, 16, |n| async move { drop(make(client, root, &format!("f{n}")).await) }).await;
    println!("CREATE x16: {calls:.0}/s");
}
