//! A histogram of latencies. The width of a bucket is at most 1/32 of its value.

use std::time::Duration;

/// Each value below this has its own bucket. Above, each power of two has half as many buckets.
const FINE: u64 = 64;
const FINE_BITS: u32 = FINE.ilog2();

/// Counts nanoseconds with an error of at most 3 %, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, value: Duration) {
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let at = bucket_of(nanoseconds);
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
    }

    /// The quantile in per mille, rounded down to the lowest value of its bucket; zero if there are no values.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let mut left = (self.count * per_mille).div_ceil(1000);
        for (at, count) in self.buckets.iter().enumerate() {
            if *count >= left {
                return Duration::from_nanos(lowest_of(at));
            }
            left -= count;
        }
        Duration::ZERO
    }
}

fn bucket_of(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(FINE_BITS);
    let bucket = u64::from(shift) * (FINE / 2) + (value >> shift);
    usize::try_from(bucket).expect("there are some two thousand buckets")
}

fn lowest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < FINE {
        return bucket;
    }
    let shift = bucket / (FINE / 2) - 1;
    (bucket - shift * (FINE / 2)) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_lowest_value_and_is_at_most_a_thirtysecond_wide() {
        for bits in 0..63 {
            for value in [1_u64 << bits, (1 << bits) + 1, (1 << bits) * 2 - 1] {
                let lowest = lowest_of(bucket_of(value));
                assert!(lowest <= value, "{value} is in the bucket from {lowest}");
                assert!(value - lowest <= value / 32, "{value}: {lowest}");
                assert_eq!(bucket_of(lowest), bucket_of(value));
            }
        }
    }

    #[test]
    fn quantiles_of_small_values_are_exact() {
        let mut histogram = Histogram::default();
        for value in 1..=60 {
            histogram.record(Duration::from_nanos(value));
        }
        assert_eq!(histogram.quantile(500), Duration::from_nanos(30));
        assert_eq!(histogram.quantile(1000), Duration::from_nanos(60));
        assert_eq!(Histogram::default().quantile(500), Duration::ZERO);
    }
}
