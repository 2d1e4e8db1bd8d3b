//! Judging a request to join. PROTOCOL section 7.
//!
//! Every path costs the same work (one manifest signature, one HMAC), whether the invite exists or not, so that a
//! stranger learns nothing from timing; the answer names the reason, because a person has to mend it.

use crate::{
    id::{InviteId, PeerKey, SiteId},
    invite::verify_join_proof,
    keys::KeyHistory,
    limits,
    record::View,
    wire,
};

/// What the inviter knows about an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InviteState {
    /// Secret of its ticket.
    pub secret: [u8; 16],
    /// Unix seconds.
    pub expires: u64,
    /// Uses that are left.
    pub uses_left: u32,
    /// Withdrawn by its maker.
    pub revoked: bool,
    /// Nobody needs to confirm.
    pub auto_approve: bool,
}

/// A request that may be let in.
#[derive(Debug, Clone)]
pub struct Knock {
    /// Who.
    pub site: SiteId,
    /// With which invite.
    pub invite: InviteId,
    /// How it calls itself.
    pub name: String,
    /// Its key manifest.
    pub manifest: View,
    /// Its keys.
    pub keys: KeyHistory,
    /// Where it may be reached.
    pub addresses: Vec<String>,
}

/// Why a request is refused: one clear word each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRefusal {
    /// Not decodable, a broken manifest, another site's transport key.
    #[error("the request to join is malformed")]
    Malformed,
    /// No such invite, or its secret is another one.
    #[error("this ticket is not known here; ask for a new one")]
    Unknown,
    /// Too late.
    #[error("this ticket has expired; ask for a new one")]
    Expired,
    /// Others were faster.
    #[error("this ticket has been used up; ask for a new one")]
    UsedUp,
    /// Its maker withdrew it.
    #[error("this ticket has been withdrawn; ask the partner who sent it")]
    Revoked,
    /// A person said no.
    #[error("the partner refused this request")]
    Refused,
    /// It was put out of this mesh.
    #[error("this site was removed from the mesh; it may come as a new site, with new keys")]
    Removed,
    /// Too many tries from there, or too many wait.
    #[error("too many requests to join at the moment; try again in a minute")]
    Busy,
}
impl JoinRefusal {
    /// Machine word for the wire.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown-ticket",
            Self::Expired => "expired",
            Self::UsedUp => "used-up",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Removed => "removed",
            Self::Busy => "busy",
        }
    }
    /// As an answer on the wire.
    #[must_use]
    pub fn answer(self) -> wire::JoinAnswer {
        wire::JoinAnswer {
            what: Some(wire::join_answer::What::Refused(wire::Refusal {
                code: self.code().into(),
                text: self.to_string(),
            })),
        }
    }
}

/// The id of the invite that a request names, to look it up.
#[must_use]
pub fn named_invite(request: &wire::JoinRequest) -> Option<InviteId> {
    InviteId::from_slice(&request.invite)
}

/// Judges a request that came over a connection whose other end proved `joiner`. `already_in`: this site has used this invite before (asking
/// again is how a joiner hears of its approval, and costs no further use).
pub fn judge(
    invite: Option<&InviteState>,
    request: &wire::JoinRequest,
    inviter: &PeerKey,
    joiner: &PeerKey,
    already_in: impl Fn(&SiteId) -> bool,
    now: u64,
) -> Result<Knock, JoinRefusal> {
    let id = named_invite(request).ok_or(JoinRefusal::Malformed)?;
    let manifest = View::decode(&request.manifest).map_err(|_| JoinRefusal::Malformed)?;
    let (keys, _) = KeyHistory::from_manifest(&manifest).map_err(|_| JoinRefusal::Malformed)?;
    let secret = invite.map_or([0; 16], |invite| invite.secret);
    let proven = verify_join_proof(&secret, inviter, joiner, &manifest, &request.proof);
    let name = request.name.trim().to_owned();
    let fits = !name.is_empty()
        && name.chars().count() <= limits::NAME_CHARS_MAX
        && !name.chars().any(char::is_control)
        && request.address.len() <= limits::ADDRESSES_MAX
        && request
            .address
            .iter()
            .all(|a| a.len() <= limits::ADDRESS_BYTES_MAX)
        && keys.current().transport == *joiner;
    if !fits {
        return Err(JoinRefusal::Malformed);
    }
    let invite = invite.filter(|_| proven).ok_or(JoinRefusal::Unknown)?;
    let site = keys.site();
    if invite.revoked {
        return Err(JoinRefusal::Revoked);
    }
    if !already_in(&site) {
        if now >= invite.expires {
            return Err(JoinRefusal::Expired);
        }
        if invite.uses_left == 0 {
            return Err(JoinRefusal::UsedUp);
        }
    }
    Ok(Knock {
        site,
        invite: id,
        name,
        manifest,
        keys,
        addresses: request.address.clone(),
    })
}
