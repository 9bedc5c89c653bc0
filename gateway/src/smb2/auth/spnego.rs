//! SPNEGO tokens (RFC 4178 §4.2, MS-SPNG §2.2): what the server offers, what clients send, what is answered.

use super::AuthError;
use super::der::{
    ENUMERATED, INITIAL_CONTEXT_TOKEN, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, context, element,
};

/// NTLM, 1.3.6.1.4.1.311.2.2.10 (MS-SPNG §1.9), as the contents of an OBJECT IDENTIFIER.
pub const NTLMSSP: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10];
/// Kerberos 5, 1.2.840.113554.1.2.2 (RFC 4121 §1).
pub const KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];
/// Kerberos 5 with the number that Windows 2000 made of it, 1.2.840.48018.1.2.2 (MS-SPNG §1.9).
pub const MS_KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2];

/// SPNEGO itself, 1.3.6.1.5.5.2.
const SPNEGO: &[u8] = &[0x2b, 6, 1, 5, 5, 2];
/// The mechanisms of all clients together need less than a hundred bytes.
const MECH_TYPES_MAX: usize = 1024;

/// The NegTokenInit2 with which a server opens, for the NEGOTIATE response (MS-SPNG §2.2.1): the mechanisms it serves,
/// the one it likes best first.
#[must_use]
pub fn offer(mechanisms: &[&[u8]]) -> Vec<u8> {
    let types: Vec<u8> = mechanisms.iter().flat_map(|oid| element(OBJECT_IDENTIFIER, &[oid])).collect();
    let mech_types = element(context(0), &[&element(SEQUENCE, &[&types])]);
    let init = element(context(0), &[&element(SEQUENCE, &[&mech_types])]);
    element(INITIAL_CONTEXT_TOKEN, &[&element(OBJECT_IDENTIFIER, &[SPNEGO]), &init])
}

/// The answer that ends a negotiation without success, where a caller wants to send one with its error.
#[must_use]
pub fn reject() -> Vec<u8> {
    NegTokenResp { state: Some(NegState::Reject), ..NegTokenResp::default() }.encode()
}

/// What a client opens with: NegTokenInit, RFC 4178 §4.2.1.
pub(super) struct NegTokenInit<'a> {
    /// MechTypeList as it came, with tag and length: what mechListMIC is computed over.
    pub(super) mech_types: Vec<u8>,
    /// The first token of the first mechanism.
    pub(super) mech_token: Option<&'a [u8]>,
}

impl<'a> NegTokenInit<'a> {
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, AuthError> {
        let mut framed = Reader::new(Reader::new(token).take(INITIAL_CONTEXT_TOKEN)?);
        if framed.take(OBJECT_IDENTIFIER)? != SPNEGO {
            return Err(AuthError::Unsupported);
        }
        let mut fields = Reader::new(Reader::new(framed.take(context(0))?).take(SEQUENCE)?);
        let mech_types = fields.take(context(0))?;
        if mech_types.len() > MECH_TYPES_MAX {
            return Err(AuthError::Malformed);
        }
        fields.optional(context(1))?; // reqFlags: not to be heeded
        let mech_token = fields.optional_within(2, OCTET_STRING)?;
        Ok(Self { mech_types: mech_types.to_vec(), mech_token })
    }

    /// The place of a mechanism in the client's order; 0 is the one it likes best.
    pub(super) fn position(&self, mechanism: &[u8]) -> Result<Option<usize>, AuthError> {
        let mut types = Reader::new(Reader::new(&self.mech_types).take(SEQUENCE)?);
        for position in 0.. {
            match types.optional(OBJECT_IDENTIFIER)? {
                Some(oid) if oid == mechanism => return Ok(Some(position)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }
}

/// RFC 4178 §4.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NegState {
    AcceptCompleted = 0,
    AcceptIncomplete = 1,
    Reject = 2,
    RequestMic = 3,
}

/// Every further token of both sides: NegTokenResp, RFC 4178 §4.2.2.
#[derive(Default)]
pub(super) struct NegTokenResp<'a> {
    /// Ours only: what a client says here decides nothing.
    pub(super) state: Option<NegState>,
    pub(super) supported_mech: Option<&'a [u8]>,
    pub(super) response_token: Option<&'a [u8]>,
    pub(super) mech_list_mic: Option<&'a [u8]>,
}

impl<'a> NegTokenResp<'a> {
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, AuthError> {
        let mut fields = Reader::new(Reader::new(Reader::new(token).take(context(1))?).take(SEQUENCE)?);
        fields.optional_within(0, ENUMERATED)?;
        Ok(Self {
            state: None,
            supported_mech: fields.optional_within(1, OBJECT_IDENTIFIER)?,
            response_token: fields.optional_within(2, OCTET_STRING)?,
            mech_list_mic: fields.optional_within(3, OCTET_STRING)?,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some(state) = self.state {
            fields.extend(element(context(0), &[&element(ENUMERATED, &[&[state as u8]])]));
        }
        let others = [
            (1, OBJECT_IDENTIFIER, self.supported_mech),
            (2, OCTET_STRING, self.response_token),
            (3, OCTET_STRING, self.mech_list_mic),
        ];
        for (number, tag, contents) in others {
            if let Some(contents) = contents {
                fields.extend(element(context(number), &[&element(tag, &[contents])]));
            }
        }
        element(context(1), &[&element(SEQUENCE, &[&fields])])
    }
}
