//! How far apart two sites are, along the surface of the earth.
//!
//! The earth is taken as a sphere of its mean radius, which is right within half a percent: enough to rank
//! factories, not to plan a road. The trigonometry is done in `f64`; this is the one place where that is fine,
//! because nothing signed depends on the result, and it leaves as whole metres.

use crate::kinds::{Degrees, Location, Slot};

/// A point on the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Latitude, north positive.
    pub lat: Degrees,
    /// Longitude, east positive.
    pub lon: Degrees,
}
impl Position {
    /// Where a site says it is; `None` if the location is withheld, unknown or without coordinates.
    #[must_use]
    pub fn of(location: &Slot<Location>) -> Option<Self> {
        let location = location.known()?;
        Some(Self {
            lat: location.lat?,
            lon: location.lon?,
        })
    }
    /// Great-circle distance (haversine) in whole metres, rounded.
    #[must_use]
    pub fn metres_to(self, other: Self) -> u32 {
        let radians = |degrees: Degrees| (f64::from(degrees.0) / 1e6).to_radians();
        let (lat_a, lat_b) = (radians(self.lat), radians(other.lat));
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (radians(other.lon) - radians(self.lon)) / 2.0;
        let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        // Rounding errors can push `h` out of 0..=1, where asin has no answer.
        let metres = 2.0 * EARTH_RADIUS_METRES * h.clamp(0.0, 1.0).sqrt().asin();
        // Between 0 and 20,015,114, so the conversion loses only the decimals.
        metres.round() as u32
    }
}

/// Mean radius of the WGS 84 ellipsoid (IUGG).
const EARTH_RADIUS_METRES: f64 = 6_371_008.8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lat: i32, lon: i32) -> Position {
        Position {
            lat: Degrees(lat),
            lon: Degrees(lon),
        }
    }

    #[test]
    fn known_distances() {
        // Quarter and half of the circumference of a sphere with that radius: pi * r / 2, pi * r.
        let cases = [
            (at(0, 0), at(0, 0), 0),
            (at(0, 0), at(0, 90_000_000), 10_007_557),
            (at(0, 0), at(90_000_000, 0), 10_007_557),
            (at(90_000_000, 5), at(-90_000_000, 7), 20_015_114),
            (at(0, -180_000_000), at(0, 180_000_000), 0),
            (at(0, 179_500_000), at(0, -179_500_000), 111_195),
        ];
        for (from, to, metres) in cases {
            assert_eq!(from.metres_to(to), metres, "{from:?} {to:?}");
        }
        // Linz to Vienna: published as about 155 km.
        let linz_vienna = at(48_306_940, 14_285_830).metres_to(at(48_208_490, 16_372_080));
        assert!((154_000..156_000).contains(&linz_vienna), "{linz_vienna}");
    }

    #[test]
    fn a_place_needs_both_coordinates() {
        let location = |lat, lon| Location {
            country: "AT".to_owned(),
            region: None,
            locality: None,
            lat,
            lon,
        };
        let (lat, lon) = (Degrees(48_306_940), Degrees(14_285_830));
        assert_eq!(
            Position::of(&Slot::Known(location(Some(lat), Some(lon)))),
            Some(Position { lat, lon })
        );
        assert_eq!(Position::of(&Slot::Known(location(None, None))), None);
        assert_eq!(Position::of(&Slot::Withheld), None);
        assert_eq!(Position::of(&Slot::Unknown), None);
    }

    proptest! {
        #[test]
        fn any_numbers_give_a_distance_on_earth(a: (i32, i32), b: (i32, i32)) {
            let (a, b) = (at(a.0, a.1), at(b.0, b.1));
            prop_assert!(a.metres_to(b) <= 20_015_114);
            prop_assert!(a.metres_to(b).abs_diff(b.metres_to(a)) <= 1);
            prop_assert_eq!(a.metres_to(a), 0);
        }
    }
}
