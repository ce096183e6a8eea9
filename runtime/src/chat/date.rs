//! The date, for templates that tell the model which day it is (`strftime_now`).

use time::OffsetDateTime;

/// The time now, in UTC, as `format` says in the way of C's strftime. Letters without a meaning here stay as they are.
pub(super) fn now(format: &str) -> String {
    at(OffsetDateTime::now_utc(), format)
}

fn at(moment: OffsetDateTime, format: &str) -> String {
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
            'Y' => moment.year().to_string(),
            'y' => format!("{:02}", moment.year() % 100),
            'm' => format!("{:02}", u8::from(moment.month())),
            'B' => moment.month().to_string(),
            'b' | 'h' => moment.month().to_string()[..3].to_owned(),
            'd' => format!("{:02}", moment.day()),
            'e' => format!("{:2}", moment.day()),
            'A' => moment.weekday().to_string(),
            'a' => moment.weekday().to_string()[..3].to_owned(),
            'H' => format!("{:02}", moment.hour()),
            'I' => format!("{:02}", (moment.hour() + 11) % 12 + 1),
            'p' => if moment.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => format!("{:02}", moment.minute()),
            'S' => format!("{:02}", moment.second()),
            'F' => at(moment, "%Y-%m-%d"),
            'T' => at(moment, "%H:%M:%S"),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's `datetime` writes them.
    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: i64, format: &str| {
            let moment = OffsetDateTime::from_unix_timestamp(seconds);
            super::at(moment.unwrap(), format)
        };
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
