//! What the tuner asks the system apart from the CPU's identity: free memory and the date.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Assumed free where the system does not say how much memory there is.
const UNKNOWN_AVAILABLE: usize = 2 << 30;

/// The share of the available memory that measurements may take: the rest is left to the system and to others.
const SHARE: f64 = 0.5;

/// Bytes that a measurement may allocate: half of what is available, and of what the container allows.
pub(crate) fn memory_allowance() -> usize {
    let available = tern_kernels::available_memory().unwrap_or(UNKNOWN_AVAILABLE);
    (available as f64 * SHARE) as usize
}

/// The present moment in UTC, as RFC 3339 writes it: `2026-11-20T10:15:00Z`.
pub fn now_utc() -> String {
    rfc3339(unix_seconds())
}

/// The present moment in seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The machine's name, where the system tells it.
pub(crate) fn name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_string()
}

fn rfc3339(unix_seconds: u64) -> String {
    let moment = i64::try_from(unix_seconds).map(OffsetDateTime::from_unix_timestamp);
    // A clock beyond the year 9999 is not set.
    let moment = match moment {
        Ok(Ok(moment)) => moment,
        _ => OffsetDateTime::UNIX_EPOCH,
    };
    let (date, time) = (moment.date(), moment.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_169_700), "2026-11-20T10:15:00Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_allowance_is_some_memory() {
        assert!(memory_allowance() > 1 << 20);
    }
}
