//! NTLM's three messages (MS-NLMP §2.2.1) and the NTLMv2 response (§2.2.2.8), between bytes and structs.

use super::AuthError;
use super::keys::utf16;

/// The first bytes of every NTLM message.
pub(super) const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// Longest user or domain name in bytes; Windows ends at 256 characters.
const NAME_BYTES_MAX: usize = 512;
/// Where AUTHENTICATE_MESSAGE has its MIC (MS-NLMP §2.2.1.3).
const MIC: std::ops::Range<usize> = 72..88;

/// Bytes of NTLMv2_CLIENT_CHALLENGE before its AV_PAIRs (MS-NLMP §2.2.2.7).
const CLIENT_CHALLENGE_FIXED: usize = 28;

/// NEGOTIATE flags, MS-NLMP §2.2.2.5, without the prefix NTLMSSP_NEGOTIATE_.
pub(super) mod flags {
    pub(in super::super) const UNICODE: u32 = 0x0000_0001;
    pub(in super::super) const REQUEST_TARGET: u32 = 0x0000_0004;
    pub(in super::super) const SIGN: u32 = 0x0000_0010;
    pub(in super::super) const SEAL: u32 = 0x0000_0020;
    pub(in super::super) const NTLM: u32 = 0x0000_0200;
    pub(in super::super) const ALWAYS_SIGN: u32 = 0x0000_8000;
    pub(in super::super) const TARGET_TYPE_SERVER: u32 = 0x0002_0000;
    pub(in super::super) const EXTENDED_SESSIONSECURITY: u32 = 0x0008_0000;
    pub(in super::super) const TARGET_INFO: u32 = 0x0080_0000;
    pub(in super::super) const VERSION: u32 = 0x0200_0000;
    pub(in super::super) const STRONG_128: u32 = 0x2000_0000;
    pub(in super::super) const KEY_EXCH: u32 = 0x4000_0000;
    pub(in super::super) const STRONG_56: u32 = 0x8000_0000;
}

/// Ids of AV_PAIR, MS-NLMP §2.2.2.1, without the prefix MsvAv.
mod av {
    pub(super) const EOL: u16 = 0;
    pub(super) const NB_COMPUTER_NAME: u16 = 1;
    pub(super) const NB_DOMAIN_NAME: u16 = 2;
    pub(super) const DNS_COMPUTER_NAME: u16 = 3;
    pub(super) const DNS_DOMAIN_NAME: u16 = 4;
    pub(super) const FLAGS: u16 = 6;
    pub(super) const TIMESTAMP: u16 = 7;
}

/// What the server calls itself in its challenge. Names longer than 255 UTF-16 units are cut there.
#[derive(Clone, Debug, Default)]
pub struct TargetNames {
    /// Shown as the target: the vserver's name in capitals, 15 characters by NetBIOS's rule.
    pub netbios_computer: String,
    /// The workgroup or domain; of a server that is in no domain the computer's name again.
    pub netbios_domain: String,
    /// Fully qualified where there is a domain.
    pub dns_computer: String,
    /// Empty where there is none.
    pub dns_domain: String,
}

/// NEGOTIATE_MESSAGE, MS-NLMP §2.2.1.1: of all its fields only the flags say anything.
pub(super) fn parse_negotiate(bytes: &[u8]) -> Result<u32, AuthError> {
    check_type(bytes, 1)?;
    u32_at(bytes, 12)
}

/// CHALLENGE_MESSAGE, MS-NLMP §2.2.1.2.
pub(super) fn encode_challenge(
    flags: u32,
    server_challenge: [u8; 8],
    names: &TargetNames,
    now_filetime: u64,
) -> Vec<u8> {
    const HEADER: u32 = 56;
    let target = name(&names.netbios_computer);
    let info = target_info(names, now_filetime);
    let mut bytes = Vec::with_capacity(HEADER as usize + target.len() + info.len());
    bytes.extend(SIGNATURE);
    bytes.extend(2u32.to_le_bytes());
    let info_at = field(&mut bytes, &target, HEADER);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(server_challenge);
    bytes.extend([0; 8]);
    field(&mut bytes, &info, info_at);
    bytes.extend([6, 1, 0, 0, 0, 0, 0, 15]); // VERSION §2.2.2.10: 6.1, NTLMSSP_REVISION_W2K3
    bytes.extend(target);
    bytes.extend(info);
    bytes
}

/// The length, maximum and place of a payload; gives where the next one begins.
fn field(bytes: &mut Vec<u8>, payload: &[u8], at: u32) -> u32 {
    let length = u16::try_from(payload.len()).expect("five cut names are below 64 KiB");
    bytes.extend(length.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(at.to_le_bytes());
    at + u32::from(length)
}

fn name(text: &str) -> Vec<u8> {
    let mut units = utf16(text);
    units.truncate(NAME_BYTES_MAX - 2);
    units
}

fn target_info(names: &TargetNames, now_filetime: u64) -> Vec<u8> {
    let pairs = [
        (av::NB_DOMAIN_NAME, name(&names.netbios_domain)),
        (av::NB_COMPUTER_NAME, name(&names.netbios_computer)),
        (av::DNS_DOMAIN_NAME, name(&names.dns_domain)),
        (av::DNS_COMPUTER_NAME, name(&names.dns_computer)),
        (av::TIMESTAMP, now_filetime.to_le_bytes().to_vec()),
        (av::EOL, Vec::new()),
    ];
    let mut bytes = Vec::new();
    for (id, value) in pairs {
        bytes.extend(id.to_le_bytes());
        bytes.extend(u16::try_from(value.len()).expect("a cut name").to_le_bytes());
        bytes.extend(value);
    }
    bytes
}

/// AUTHENTICATE_MESSAGE, MS-NLMP §2.2.1.3.
pub(super) struct Authenticate<'a> {
    pub(super) user: String,
    pub(super) domain: String,
    pub(super) nt_response: &'a [u8],
    pub(super) encrypted_session_key: &'a [u8],
    pub(super) flags: u32,
    lm_response: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Authenticate<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, AuthError> {
        check_type(bytes, 3)?;
        Ok(Self {
            lm_response: payload(bytes, 12)?,
            nt_response: payload(bytes, 20)?,
            domain: text(payload(bytes, 28)?)?,
            user: text(payload(bytes, 36)?)?,
            encrypted_session_key: payload(bytes, 52)?,
            flags: u32_at(bytes, 60)?,
            whole: bytes,
        })
    }

    /// A client that does not say who it is (MS-NLMP §3.2.5.1.2).
    pub(super) fn is_anonymous(&self) -> bool {
        self.user.is_empty() && self.nt_response.is_empty() && matches!(self.lm_response, [] | [0])
    }

    /// The MIC, and the message around it: what comes before and after is signed, with zeros in between.
    pub(super) fn mic(&self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        Some((self.whole.get(..MIC.start)?, self.whole.get(MIC)?, self.whole.get(MIC.end..)?))
    }
}

/// NTLMv2_RESPONSE, MS-NLMP §2.2.2.8.
pub(super) struct NtlmV2Response<'a> {
    /// NTProofStr.
    pub(super) proof: &'a [u8],
    /// NTLMv2_CLIENT_CHALLENGE (§2.2.2.7) as it came: the proof is over it.
    pub(super) client_challenge: &'a [u8],
}

impl<'a> NtlmV2Response<'a> {
    /// `None` if these bytes are something else, such as the 24 bytes of an NTLMv1 response.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (proof, client_challenge) = bytes.split_at_checked(16)?;
        (client_challenge.len() >= CLIENT_CHALLENGE_FIXED).then_some(Self { proof, client_challenge })
    }

    /// Whether MsvAvFlags says that the AUTHENTICATE_MESSAGE has a MIC. The proof covers this: nobody can take it away.
    pub(super) fn says_mic(&self) -> Result<bool, AuthError> {
        const MIC_PRESENT: u32 = 2;
        let mut pairs = self.client_challenge.get(CLIENT_CHALLENGE_FIXED..).unwrap_or_default();
        while let Some((head, rest)) = pairs.split_first_chunk::<4>() {
            let id = u16::from_le_bytes([head[0], head[1]]);
            let Some((value, rest)) = rest.split_at_checked(u16::from_le_bytes([head[2], head[3]]).into())
            else {
                return Err(AuthError::Malformed);
            };
            match id {
                av::EOL => return Ok(false),
                av::FLAGS if u32_at(value, 0).is_ok_and(|flags| flags & MIC_PRESENT != 0) => return Ok(true),
                _ => pairs = rest,
            }
        }
        Ok(false)
    }
}

fn check_type(bytes: &[u8], kind: u32) -> Result<(), AuthError> {
    let ours = bytes.starts_with(SIGNATURE) && u32_at(bytes, 8)? == kind;
    if ours { Ok(()) } else { Err(AuthError::Malformed) }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, AuthError> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk);
    four.map(|four| u32::from_le_bytes(*four)).ok_or(AuthError::Malformed)
}

/// What the length and place at `at` name; the place of nothing is not looked at.
fn payload(bytes: &[u8], at: usize) -> Result<&[u8], AuthError> {
    let length = usize::try_from(u32_at(bytes, at)? & 0xffff).map_err(|_| AuthError::Malformed)?;
    let start = usize::try_from(u32_at(bytes, at + 4)?).map_err(|_| AuthError::Malformed)?;
    if length == 0 {
        return Ok(&[]);
    }
    let end = start.checked_add(length).ok_or(AuthError::Malformed)?;
    bytes.get(start..end).ok_or(AuthError::Malformed)
}

fn text(bytes: &[u8]) -> Result<String, AuthError> {
    let (units, odd) = bytes.as_chunks::<2>();
    if bytes.len() > NAME_BYTES_MAX || !odd.is_empty() {
        return Err(AuthError::Malformed);
    }
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| AuthError::Malformed)
}
