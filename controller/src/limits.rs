//! How many requests a peer may make: a token bucket for each, in a map that cannot grow without end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most peers that are told apart; the rest share one bucket.
const PEERS: usize = 4096;

/// Who is counted as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Whoever has this token.
    Token(String),
    /// An IPv4 address, or the /64 of an IPv6 address, which one machine may fill.
    Address(u64),
    /// All that found no place in the map.
    Others,
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Peer {
        Peer::Address(match address.to_canonical() {
            IpAddr::V4(it) => u64::from(u32::from(it)),
            // The upper half of no real address is below 2^32.
            IpAddr::V6(it) => u64::try_from(u128::from(it) >> 64).unwrap_or(u64::MAX),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// All buckets.
#[derive(Debug)]
pub struct Buckets {
    rate: f64,
    burst: f64,
    peers: Mutex<HashMap<Peer, Bucket>>,
}

impl Buckets {
    /// With `rate` requests a second, and `burst` of them at once.
    pub fn new(rate: u32, burst: u32) -> Buckets {
        Buckets { rate: f64::from(rate), burst: f64::from(burst), peers: Mutex::new(HashMap::new()) }
    }

    /// Takes `cost` requests from a peer's bucket; gives how long to wait where there are too few.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&self, peer: &Peer, cost: u32, now: Instant) -> Result<(), Duration> {
        let cost = f64::from(cost).min(self.burst);
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS && !peers.contains_key(peer) {
            // One that is full again is as good as none.
            peers.retain(|_, it| self.filled(it, now) < self.burst);
        }
        let peer = if peers.len() >= PEERS && !peers.contains_key(peer) { &Peer::Others } else { peer };
        let bucket = peers.entry(peer.clone()).or_insert(Bucket { left: self.burst, at: now });
        let left = self.filled(bucket, now);
        *bucket = Bucket { left, at: now };
        if left >= cost {
            bucket.left -= cost;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((cost - left) / self.rate))
        }
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + passed * self.rate).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(n: u32) -> Peer {
        IpAddr::from(Ipv4Addr::from(n)).into()
    }

    #[test]
    fn a_peer_that_asks_too_often_is_told_how_long_to_wait_and_delays_no_other() {
        let (buckets, start) = (Buckets::new(10, 20), Instant::now());
        for _ in 0..20 {
            assert_eq!(buckets.take(&peer(1), 1, start), Ok(()));
        }
        let wait = buckets.take(&peer(1), 1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(buckets.take(&peer(2), 1, start), Ok(()));
        assert_eq!(buckets.take(&peer(1), 1, start + wait), Ok(()));
    }

    #[test]
    fn the_map_does_not_grow_without_end() {
        let (buckets, start) = (Buckets::new(1, 2), Instant::now());
        for n in 0..20_000 {
            let _ = buckets.take(&peer(n), 1, start);
        }
        assert!(buckets.peers.lock().unwrap().len() <= PEERS + 1);
        let later = start + Duration::from_secs(10);
        assert_eq!(buckets.take(&peer(30_000), 1, later), Ok(()));
        assert_eq!(buckets.peers.lock().unwrap().len(), 1, "the full ones were let go");
    }

    #[test]
    fn one_machine_cannot_be_many_peers() {
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let other: IpAddr = "2001:db8::ffff".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(Peer::from(one), Peer::from(other));
        assert_eq!(Peer::from(mapped), Peer::from("192.0.2.1".parse::<IpAddr>().unwrap()));
    }
}
