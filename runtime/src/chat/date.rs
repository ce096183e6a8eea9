//! The date, for templates that tell the model which day it is (`strftime_now`).

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From the first day of 1970 on.
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// The time now, in UTC, as `format` says in the way of C's strftime. Letters without a meaning here stay as they are.
pub(super) fn now(format: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    at(since.map_or(0, |since| since.as_secs()), format)
}

fn at(seconds: u64, format: &str) -> String {
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = civil(days);
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(character) = chars.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let Some(letter) = chars.next() else {
            text.push('%');
            break;
        };
        text += &match letter {
            'Y' => year.to_string(),
            'y' => format!("{:02}", year % 100),
            'm' => format!("{:02}", month + 1),
            'B' => MONTHS[month].to_owned(),
            'b' | 'h' => MONTHS[month][..3].to_owned(),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'A' => DAYS[(days % 7) as usize].to_owned(),
            'a' => DAYS[(days % 7) as usize][..3].to_owned(),
            'H' => format!("{:02}", second / 3600),
            'I' => format!("{:02}", (second / 3600 + 11) % 12 + 1),
            'p' => if second < 43200 { "AM" } else { "PM" }.to_owned(),
            'M' => format!("{:02}", second / 60 % 60),
            'S' => format!("{:02}", second % 60),
            'F' => at(seconds, "%Y-%m-%d"),
            'T' => at(seconds, "%H:%M:%S"),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        };
    }
    text
}

/// Year, month from 0 and day from 1 of a day since 1970, by counting in the Gregorian calendar's cycles of 400 years that begin in March.
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year + era * 400 + u64::from(month < 2);
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's `datetime` writes them.
    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(
            at(0, "%A %d %b %Y %H:%M:%S"),
            "Thursday 01 Jan 1970 00:00:00"
        );
        assert_eq!(at(1_709_210_096, "%F %T %a"), "2024-02-29 12:34:56 Thu");
        assert_eq!(
            at(4_107_542_400, "%d %B %Y, %I %p %y"),
            "01 March 2100, 12 AM 00"
        );
        assert_eq!(at(951_782_400, "%e. %q %"), "29. %q %");
    }
}
