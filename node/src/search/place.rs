//! Places and how far apart they are.
//!
//! Distances help a buyer to choose; they are measured on a sphere, which is within 0.6 % of the ellipsoid, and decide only
//! whether a factory is within so many kilometres. Coordinates stay integers; floats are inside this file only.

use fmesh_proto::kinds::{Degrees, Location};

/// Mean radius of the earth in metres.
const RADIUS_M: f64 = 6_371_008.8;

/// A point on the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// North of the equator.
    pub lat: Degrees,
    /// East of Greenwich.
    pub lon: Degrees,
}

impl Place {
    /// Where a site says that it is, if it says.
    #[must_use]
    pub fn of(location: &Location) -> Option<Self> {
        Some(Self {
            lat: location.lat?,
            lon: location.lon?,
        })
    }

    /// Great-circle distance in whole metres (haversine).
    #[must_use]
    pub fn metres_to(self, other: Self) -> u32 {
        let radians = |degrees: Degrees| (f64::from(degrees.0) / 1e6).to_radians();
        let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
        let (lat, other_lat) = (radians(self.lat), radians(other.lat));
        let chord = half(lat, other_lat)
            + lat.cos() * other_lat.cos() * half(radians(self.lon), radians(other.lon));
        let metres = 2.0 * RADIUS_M * chord.clamp(0.0, 1.0).sqrt().asin();
        // At most half the circumference, about 20 million metres.
        metres.round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lat: &str, lon: &str) -> Place {
        Place {
            lat: lat.parse().expect("degrees"),
            lon: lon.parse().expect("degrees"),
        }
    }

    #[test]
    fn known_distances() {
        let linz = place("48.303056", "14.290556");
        let vienna = place("48.208333", "16.372500");
        let paris = place("48.856667", "2.351944");
        for (from, to, km) in [
            (linz, linz, 0),
            (linz, vienna, 154),
            (vienna, linz, 154),
            (vienna, paris, 1_033),
            (place("0", "179.5"), place("0", "-179.5"), 111),
            (place("90", "0"), place("-90", "77"), 20_015),
            (place("89", "0"), place("89", "180"), 222),
        ] {
            assert_eq!((from.metres_to(to) + 500) / 1000, km, "{from:?} {to:?}");
        }
    }
}
