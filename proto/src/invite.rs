//! Getting in: the ticket and the proof that its holder joins. PROTOCOL section 7.
//!
//! A ticket is one pasteable line: the message `Ticket` of the schema in bech32m (BIP 350) under the
//! prefix `fmesh`. Its checksum finds every typing mistake of up to four characters, and it has one
//! form: what does not encode to itself is refused. Holding a ticket is not enough to get in; who
//! counts uses, watches the expiry and asks a person is the inviter, not this module.
//!
//! The joiner proves that it holds the secret without sending it: an HMAC over both transport keys,
//! which Noise has authenticated, and its own key manifest. So the proof is of no use on another connection
//! or for another site.

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use hmac::{Hmac, KeyInit as _, Mac as _};
use prost::Message as _;
use sha2::Sha256;

use crate::{
    id::{InviteId, MeshId, PeerKey, SiteId},
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, PROTOCOL_VERSION},
    record::View,
    wire,
};

/// One pasteable line, `fmesh1...`, bech32m with checksum.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the schema's Ticket")]
pub struct Ticket {
    pub mesh: MeshId,
    pub site: SiteId,
    pub transport: PeerKey,
    pub addresses: Vec<String>,
    pub invite: InviteId,
    pub secret: [u8; 16],
    pub expires: u64,
}
impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({}, to {})", self.invite, self.site)
    }
}

/// Why a line is not a ticket: each has its own words, because people paste half of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Does not start with `fmesh1`.
    #[error("this is not an fmesh ticket: it does not begin with fmesh1")]
    NotATicket,
    /// Checksum: a letter is wrong or the end is missing.
    #[error("the ticket is damaged (checksum): a character is wrong or missing")]
    Checksum,
    /// A version this program does not know.
    #[error("the ticket is of version {0}, this program knows version 1")]
    Version(u32),
    /// Decodes, but the content is impossible.
    #[error("the ticket is malformed: {0}")]
    Malformed(String),
}

impl Ticket {
    /// The line. A bech32m line ends at 1,023 characters, which leaves about 480 bytes for addresses: the
    /// first that are well-formed and fit go in, at most [`ADDRESSES_MAX`]; put the best first. At least one of full length always fits.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut message = wire::Ticket {
            version: PROTOCOL_VERSION,
            mesh: self.mesh.0.to_vec(),
            site: self.site.0.to_vec(),
            transport: self.transport.0.to_vec(),
            address: Vec::new(),
            invite: self.invite.0.to_vec(),
            secret: self.secret.to_vec(),
            expires: self.expires,
        };
        for address in self.addresses.iter().filter(|address| is_address(address)) {
            message.address.push(address.clone());
            if message.encoded_len() > PAYLOAD_BYTES_MAX || message.address.len() > ADDRESSES_MAX {
                message.address.pop();
            }
        }
        bech32::encode::<Bech32m>(PREFIX, &message.encode_to_vec())
            .expect("the payload fits the longest line")
    }

    /// Reads a line; blanks and line breaks that a mail program inserted are ignored. All upper case is read as well,
    /// as bech32 says.
    pub fn decode(text: &str) -> Result<Self, TicketError> {
        let line: String = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .take(LINE_CHARS_MAX + 1)
            .collect();
        if !line
            .get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("fmesh1"))
        {
            return Err(TicketError::NotATicket);
        }
        if line.len() > LINE_CHARS_MAX {
            return malformed("longer than any ticket; paste the ticket alone");
        }
        let lower = line.to_ascii_lowercase();
        if line != lower && line != line.to_ascii_uppercase() {
            return malformed("upper and lower case are mixed; paste it as it was shown");
        }
        let checked =
            CheckedHrpstring::new::<Bech32m>(&lower).map_err(|_| TicketError::Checksum)?;
        let payload: Vec<u8> = checked.byte_iter().collect();
        let Ok(message) = wire::Ticket::decode(payload.as_slice()) else {
            return malformed("its content cannot be read");
        };
        if message.version != PROTOCOL_VERSION {
            return Err(TicketError::Version(message.version));
        }
        let ticket = Self::read(message)?;
        // Covers what a second spelling could hide: unknown fields, their order, left-over bits.
        if ticket.encode() != lower {
            return malformed("it is not written in the one way that tickets are");
        }
        Ok(ticket)
    }

    fn read(message: wire::Ticket) -> Result<Self, TicketError> {
        if message.address.len() > ADDRESSES_MAX {
            return malformed(format!("more than {ADDRESSES_MAX} addresses"));
        }
        if let Some(bad) = message.address.iter().find(|address| !is_address(address)) {
            return malformed(format!(
                "{bad:?} is not an address like /ip4/192.0.2.1/tcp/4001"
            ));
        }
        let short = |what: &str| TicketError::Malformed(format!("the {what} has the wrong length"));
        Ok(Self {
            mesh: MeshId::from_slice(&message.mesh).ok_or_else(|| short("mesh id"))?,
            site: SiteId::from_slice(&message.site).ok_or_else(|| short("site id"))?,
            transport: PeerKey::from_slice(&message.transport)
                .ok_or_else(|| short("transport key"))?,
            addresses: message.address,
            invite: InviteId::from_slice(&message.invite).ok_or_else(|| short("invite id"))?,
            secret: message.secret.try_into().map_err(|_| short("secret"))?,
            expires: message.expires,
        })
    }
}

/// HMAC-SHA256 under the ticket's secret over both transport keys and the joiner's manifest core.
#[must_use]
pub fn join_proof(
    secret: &[u8; 16],
    inviter: &PeerKey,
    joiner: &PeerKey,
    manifest: &View,
) -> [u8; 32] {
    mac(secret, inviter, joiner, manifest)
        .finalize()
        .into_bytes()
        .into()
}

/// Constant-time check.
#[must_use]
pub fn verify_join_proof(
    secret: &[u8; 16],
    inviter: &PeerKey,
    joiner: &PeerKey,
    manifest: &View,
    proof: &[u8],
) -> bool {
    mac(secret, inviter, joiner, manifest)
        .verify_slice(proof)
        .is_ok()
}

/// Label, both keys at their fixed length, and last what has no fixed length.
fn mac(secret: &[u8; 16], inviter: &PeerKey, joiner: &PeerKey, manifest: &View) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in [
        b"fmesh/join/v1\n",
        &inviter.0[..],
        &joiner.0,
        manifest.core().as_bytes(),
    ] {
        mac.update(part);
    }
    mac
}

fn malformed<T>(what: impl Into<String>) -> Result<T, TicketError> {
    Err(TicketError::Malformed(what.into()))
}

/// The text form of a multiaddr, as far as a ticket is concerned.
fn is_address(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= ADDRESS_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic())
}

const PREFIX: Hrp = Hrp::parse_unchecked("fmesh");
/// Where the code of bech32m ends.
const LINE_CHARS_MAX: usize = 1023;
/// Bytes in five-bit characters, between `fmesh1` and a checksum of six characters.
const PAYLOAD_BYTES_MAX: usize = (LINE_CHARS_MAX - 12) * 5 / 8;

#[cfg(test)]
mod tests;
