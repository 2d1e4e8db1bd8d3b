//! The four acts and their bodies, which everybody in the mesh reads.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Role;
use crate::{
    id::{SiteId, from_hex, to_hex},
    kinds::Kind,
    limits::{NAME_CHARS_MAX, TEXT_CHARS_MAX, TREE_SIZE_MAX},
    record::{Fields, RecordError, Verified, View},
};

/// One act, as its record's body says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Begins the mesh.
    Found {
        /// Together with the author's SiteId it hashes to the MeshId.
        nonce: [u8; 16],
        /// Name of the founder.
        name: String,
    },
    /// Lets a site in.
    Admit {
        /// The site.
        site: SiteId,
        /// What it called itself when joining.
        name: String,
        /// Its role.
        role: Role,
        /// Its key manifest.
        manifest: View,
    },
    /// Puts a site out.
    Remove {
        /// The site.
        site: SiteId,
        /// Size of its log up to which its acts count.
        last_good: u64,
        /// Why.
        reason: Option<String>,
    },
    /// Changes a role.
    Role {
        /// The site.
        site: SiteId,
        /// Its new role.
        role: Role,
        /// Index in the site's own log from which on the role counts: normally the size that the author knows. What an admin
        /// did before it is made a member stays good.
        from: u64,
    },
}

/// How bodies are written.
#[derive(Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "lowercase")]
enum Body {
    Found {
        nonce: String,
        name: String,
    },
    Admit {
        site: SiteId,
        name: String,
        role: Role,
        manifest: String,
    },
    Remove {
        site: SiteId,
        last_good: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Role {
        site: SiteId,
        role: Role,
        from: u64,
    },
}

impl Act {
    /// Reads a body. Members of a newer version are ignored. The manifest of an `admit` must be the named site's by its form; its
    /// signature is checked where its keys are taken.
    pub fn read(body: &Fields) -> Result<Self, RecordError> {
        let object = Value::Object(body.clone().into_iter().collect());
        let body: Body = serde_json::from_value(object).map_err(|error| rule(error.to_string()))?;
        Ok(match body {
            Body::Found { nonce, name } => {
                let nonce = from_hex(&nonce).and_then(|bytes| bytes.try_into().ok());
                let nonce = nonce.ok_or_else(|| rule("nonce is not 32 lower-case hex digits"))?;
                Self::Found {
                    nonce,
                    name: line("name", name, NAME_CHARS_MAX)?,
                }
            }
            Body::Admit {
                site,
                name,
                role,
                manifest,
            } => {
                let manifest = View::decode(manifest.as_bytes())?;
                let parsed = manifest.clone().parse()?;
                let claims = parsed.claims();
                if (&claims.kind, claims.iss, claims.seq) != (&Kind::Keys, site, 0) {
                    return Err(rule(
                        "manifest is not the first key manifest of the admitted site",
                    ));
                }
                Self::Admit {
                    site,
                    name: line("name", name, NAME_CHARS_MAX)?,
                    role,
                    manifest,
                }
            }
            Body::Remove {
                site,
                last_good,
                reason,
            } => {
                let reason = reason
                    .map(|reason| line("reason", reason, TEXT_CHARS_MAX))
                    .transpose()?;
                Self::Remove {
                    site,
                    last_good: index("last_good", last_good)?,
                    reason,
                }
            }
            Body::Role { site, role, from } => Self::Role {
                site,
                role,
                from: index("from", from)?,
            },
        })
    }

    /// Reads the body of a verified record.
    pub fn of(record: &Verified) -> Result<Self, RecordError> {
        let known = |(name, value): (&String, &Option<Value>)| Some((name.clone(), value.clone()?));
        Self::read(&record.fields().iter().filter_map(known).collect())
    }

    /// Writes a body, for signing.
    #[must_use]
    pub fn write(&self) -> Fields {
        let body = match self.clone() {
            Self::Found { nonce, name } => Body::Found {
                nonce: to_hex(&nonce),
                name,
            },
            Self::Admit {
                site,
                name,
                role,
                manifest,
            } => Body::Admit {
                site,
                name,
                role,
                manifest: manifest.encode(),
            },
            Self::Remove {
                site,
                last_good,
                reason,
            } => Body::Remove {
                site,
                last_good,
                reason,
            },
            Self::Role { site, role, from } => Body::Role { site, role, from },
        };
        match serde_json::to_value(body) {
            Ok(Value::Object(members)) => members.into_iter().collect(),
            other => unreachable!("a body is an object of strings and numbers, not {other:?}"),
        }
    }
}

pub(super) fn rule(what: impl Into<String>) -> RecordError {
    RecordError::Rule {
        kind: Kind::Membership.to_string(),
        what: what.into(),
    }
}

/// Text that is shown in one line: no control characters, so that it cannot move a terminal's cursor.
fn line(what: &str, text: String, chars_max: usize) -> Result<String, RecordError> {
    if text.trim().is_empty()
        || text.chars().count() > chars_max
        || text.chars().any(char::is_control)
    {
        return Err(rule(format!(
            "{what} is empty, longer than {chars_max} characters, or not one line"
        )));
    }
    Ok(text)
}

fn index(what: &str, value: u64) -> Result<u64, RecordError> {
    if value > TREE_SIZE_MAX {
        return Err(rule(format!("{what} is beyond any log")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
