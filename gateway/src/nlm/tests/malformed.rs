//! Calls that make no sense: refused, and the next one is answered.

use super::*;

const GARBAGE_ARGS: Refused = ReplyStatus::NotRun(4);
const PROC_UNAVAIL: Refused = ReplyStatus::NotRun(3);

#[tokio::test]
async fn versions_and_procedures_that_are_not_here() {
    let fixture = Fixture::new(60).await;
    let mut a = fixture.client(1).await;
    for version in [1, 2, 3, 5] {
        let refused = a.raw(NLM_PROGRAM, version, p::NULL, Bytes::new()).await;
        assert_eq!(refused, Err(ReplyStatus::NotRun(2)), "version {version}");
    }
    assert_eq!(a.raw(NLM_PROGRAM, NLM_V4, p::NULL, Bytes::new()).await, Ok(Bytes::new()));
    for proc in [16, 17, 18, 19, 24, u32::MAX] {
        assert_eq!(a.raw(NLM_PROGRAM, NLM_V4, proc, Bytes::new()).await, Err(PROC_UNAVAIL), "{proc}");
    }
}

#[tokio::test]
async fn arguments_that_are_cut_short_or_too_long() {
    let fixture = Fixture::new(61).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    let args = encode(&lock(&file, "a", 1, 0, 1));
    for len in (0..args.len()).step_by(4) {
        let cut = args.slice(..len);
        assert_eq!(a.raw(NLM_PROGRAM, NLM_V4, p::LOCK, cut.clone()).await, Err(GARBAGE_ARGS), "{len}");
        assert!(a.raw(NLM_PROGRAM, NLM_V4, p::UNLOCK, cut).await.is_err());
    }
    let mut long = args.to_vec();
    long.extend([0; 4]);
    assert_eq!(a.raw(NLM_PROGRAM, NLM_V4, p::LOCK, long.into()).await, Err(GARBAGE_ARGS));
    let mut lies = args.to_vec();
    lies[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(a.raw(NLM_PROGRAM, NLM_V4, p::LOCK, lies.into()).await, Err(GARBAGE_ARGS));
    let notify = Bytes::from_static(&[0xff; 8]);
    assert_eq!(a.raw(NSM_PROGRAM, NSM_V1, p::SM_NOTIFY, notify).await, Err(GARBAGE_ARGS));
    assert_eq!(a.lock(&lock(&file, "a", 1, 0, 1)).await, Nlm4Stat::Granted);
}

#[tokio::test]
async fn random_bytes_change_nothing() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::UNIX_EPOCH.elapsed().map_or(1, |since| u64::try_from(since.as_nanos() >> 8).unwrap_or(1))
    });
    println!("SEED={seed}");
    let fixture = Fixture::new(62).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    let good = encode(&lock(&file, "a", 1, 0, 1));
    let mut state = seed;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for _ in 0..2000 {
        let mut bytes = good.to_vec();
        for _ in 0..=random(6) {
            let at = usize::try_from(random(bytes.len() as u64)).unwrap();
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        let (program, version) = if random(8) == 0 { (NSM_PROGRAM, NSM_V1) } else { (NLM_PROGRAM, NLM_V4) };
        let proc = u32::try_from(random(25)).unwrap();
        let _ = a.raw(program, version, proc, bytes.into()).await;
    }
    a.call::<()>(p::FREE_ALL, &Nlm4Notify { name: name_of("a"), state: 0 }).await;
    fixture.vserver.locks.release(|_| true, None);
    assert_eq!(fixture.vserver.locks.counts(), crate::openstate::Counts::default());
}
