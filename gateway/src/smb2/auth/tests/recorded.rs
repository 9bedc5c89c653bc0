//! Logins of Samba's smbclient 4.17, recorded: its tokens fit these challenges and no others.

use super::super::{Acceptor, AuthError, NtHash, Step, TargetNames, nt_hash};
use super::unhex;

/// The first token of each.
const INIT: &str = "
    604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa22a04284e544c4d5353500001000000
    1582086200000000280000000000000028000000060100000000000f";

/// The second one of `bob` with `Secret-1`, at 0x01dd7b72a0d2a4ab.
const BOB: &str = "
    a182019630820192a282017a048201764e544c4d53535000030000001800180058000000da00da0070000000120012004a
    010000060006005c0100000400040062010000100010006601000015820862060100000000000f2dbd29c05959e08c05fe
    0a3a8ff19fc30000000000000000000000000000000000000000000000001bb51680173cd50e845772ffbe61cfce010100
    0000000000aba4d2a0727bdd01580dbaace700ebad0000000002000a004600450052005200590001000a00460045005200
    520059000400000003000a006600650072007200790007000800aba4d2a0727bdd01060004000200000008003000300000
    000000000000000000000000009bbb8fb6dde811d94d13cc46e4ff5a84649d57509f12d7828f0704b7e3834ae90a001000
    0000000000000000000000000000000009001c0063006900660073002f003100320037002e0030002e0030002e00310000
    00000057004f0052004b00470052004f005500500062006f00620056004d00396564fec8f04a238f6cbb975b4fd855a312
    04100100000013ab1e77553ef2a500000000";

/// The second one with no user (`-U %`), at 0x01dd7b73010ece76. It has no session security, and no mechListMIC.
const ANONYMOUS: &str = "
    a1723070a26e046c4e544c4d535350000300000000000000580000000000000058000000000000005800000000000000
    580000000400040058000000100010005c000000158a0062060100000000000f42f49c78d298b2592f1c726c6ded2b20
    56004d00b4e76ff3e105bc02e3617241f2450df6";

/// The second one of a user for whom it has no password (`-N`), at 0x01dd7b72a07f9752. If that is refused as a failed
/// logon it comes again without the user.
const NO_PASSWORD: &str = "
    a181a33081a0a281890481864e544c4d535350000300000000000000580000000000000058000000120012005800000008
    0008006a0000000400040072000000100010007600000015820062060100000000000f8f9206b54cdff2022e602c16e881
    77f357004f0052004b00470052004f005500500072006f006f00740056004d00246042681b2e5029b14a08e3b8475ed8a3
    120410010000004d9bd0788476df6f7ab43267";

fn login(now_filetime: u64, second: &str) -> Result<Step, AuthError> {
    let names = TargetNames {
        netbios_computer: "FERRY".into(),
        netbios_domain: "FERRY".into(),
        dns_computer: "ferry".into(),
        dns_domain: String::new(),
    };
    let mut acceptor = Acceptor::new(names, [1, 2, 3, 4, 5, 6, 7, 8], now_filetime);
    let users = |user: &str, _: &str| -> Option<NtHash> { (user == "bob").then(|| nt_hash("Secret-1")) };
    assert!(matches!(acceptor.step(&unhex(INIT), &users), Ok(Step::Continue(_))));
    acceptor.step(&unhex(second), &users)
}

#[test]
fn smbclient_logs_in() {
    let step = login(0x01dd_7b72_a0d2_a4ab, BOB);
    let Ok(Step::Done { user, domain, token, .. }) = step else { panic!("{step:?}") };
    assert_eq!((user.as_str(), domain.as_str()), ("bob", "WORKGROUP"));
    assert_eq!(token, unhex("a11b3019a0030a0100a3120410010000008d4912ad001416ba00000000"), "as it took it");
    assert_eq!(
        login(0x01dd_7b72_a0d2_a4ac, BOB).unwrap_err(),
        AuthError::LogonFailure,
        "MIC of another challenge"
    );
}

#[test]
fn smbclient_comes_without_a_name() {
    let step = login(0x01dd_7b73_010e_ce76, ANONYMOUS);
    let Ok(Step::Anonymous { token, .. }) = step else { panic!("{step:?}") };
    assert_eq!(token, unhex("a1073005a0030a0100"));
    assert_eq!(login(0x01dd_7b72_a07f_9752, NO_PASSWORD).unwrap_err(), AuthError::LogonFailure);
}
