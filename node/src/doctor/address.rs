//! What an address text says by itself: how far it reaches, and which name must resolve.

use std::net::IpAddr;

/// Who can reach an address at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// The same network, or networks that route to it.
    Private,
    /// Anybody.
    Public,
    /// A name stands for it, or it cannot be read.
    Named,
    /// Through another member.
    Relayed,
}

/// How far an address reaches.
#[must_use]
pub fn scope(address: &str) -> Scope {
    if address.contains("/p2p-circuit") {
        return Scope::Relayed;
    }
    match address.split('/').nth(2).and_then(|host| host.parse().ok()) {
        Some(IpAddr::V4(ip)) if ip.is_loopback() => Scope::Loopback,
        Some(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            // 100.64.0.0/10 is what providers put between themselves and their customers.
            let carrier = a == 100 && (64..128).contains(&b);
            match ip.is_private() || ip.is_link_local() || carrier {
                true => Scope::Private,
                false => Scope::Public,
            }
        }
        Some(IpAddr::V6(ip)) if ip.is_loopback() => Scope::Loopback,
        Some(IpAddr::V6(ip)) => match ip.is_unique_local() || ip.is_unicast_link_local() {
            true => Scope::Private,
            false => Scope::Public,
        },
        None => Scope::Named,
    }
}

/// The name that must resolve before the address can be dialled.
#[must_use]
pub fn host_name(address: &str) -> Option<&str> {
    let mut parts = address.split('/').skip(1);
    let named = matches!(parts.next()?, "dns" | "dns4" | "dns6");
    parts.next().filter(|_| named)
}
