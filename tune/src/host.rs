//! What the tuner asks the system apart from the CPU's identity: free memory and the date.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// Days to civil date by the algorithm of Howard Hinnant ("chrono-compatible low-level date algorithms"): years start
/// in March, so that the leap day is a year's last day.
fn rfc3339(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        second % 60
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
