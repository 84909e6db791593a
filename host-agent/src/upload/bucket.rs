//! The bandwidth cap: a token bucket that all uploads share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets so many bytes a second pass, with bursts of at most a quarter of a second.
#[derive(Clone, Debug)]
pub(super) struct Bucket(Option<Arc<Mutex<Inner>>>);

#[derive(Debug)]
struct Inner {
    rate: f64,
    /// Bytes that may pass at once; below zero, they are owed.
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Option<u64>) -> Bucket {
        let inner = |rate: u64| Inner { rate: (rate.max(1)) as f64, left: 0.0, at: Instant::now() };
        Bucket(rate.map(|rate| Arc::new(Mutex::new(inner(rate)))))
    }

    /// Waits until `bytes` may pass.
    pub(super) async fn take(&self, bytes: usize) {
        let wait = self.reserve(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Bytes a second, where there is a cap.
    pub(super) fn rate(&self) -> Option<u64> {
        let inner = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(inner.rate as u64)
    }

    fn reserve(&self, bytes: usize) -> Duration {
        let Some(inner) = &self.0 else { return Duration::ZERO };
        let mut it = inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.saturating_duration_since(it.at).as_secs_f64() * it.rate;
        it.at = now;
        it.left = (it.left + gained).min(it.rate / 4.0) - bytes as f64;
        Duration::from_secs_f64((-it.left / it.rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_seconds_of_bytes_take_ten_seconds_whatever_their_pieces() {
        let bucket = Bucket::new(Some(10_000));
        let began = Instant::now();
        for piece in [1usize, 9_999, 16_384, 3_616, 70_000] {
            bucket.take(piece).await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.7..=10.1).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_hour_saves_up_no_more_than_a_quarter_of_a_second() {
        let bucket = Bucket::new(Some(1000));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let began = Instant::now();
        bucket.take(1250).await;
        assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
        Bucket::new(None).take(usize::MAX).await;
    }
}
