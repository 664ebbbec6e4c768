//! A span of time as people write it: 90s, 30m, 2h, 1h30m.
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units with their seconds, the longest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A span of whole seconds, at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "String")]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// How long it is.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeSpan, String> {
        let seconds = seconds(text).ok_or(
            "must be a time of whole numbers and units, the longest first, such as 90s, 30m, 2h, 1h30m or 2d",
        )?;
        match seconds {
            0 => Err("must be at least 1s".to_string()),
            seconds => Ok(TimeSpan(Duration::from_secs(seconds))),
        }
    }
}

/// The seconds that a text says: numbers, each with a unit shorter than the one before it.
fn seconds(text: &str) -> Option<u64> {
    let mut units = UNITS.iter();
    let mut sum: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, with_unit) = rest.split_at(digits);
        let unit = with_unit.chars().next()?;
        let (_, seconds) = units.find(|(name, _)| *name == unit)?;
        let number: u64 = number.parse().ok()?;
        sum = sum.checked_add(number.checked_mul(*seconds)?)?;
        rest = &with_unit[unit.len_utf8()..];
    }
    (!text.is_empty()).then_some(sum)
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut left = self.0.as_secs();
        for (unit, seconds) in UNITS {
            if left >= seconds {
                write!(f, "{}{unit}", left / seconds)?;
                left %= seconds;
            }
        }
        Ok(())
    }
}

impl From<TimeSpan> for String {
    fn from(span: TimeSpan) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, written) in [
            ("90s", 90, "1m30s"),
            ("30m", 1_800, "30m"),
            ("2h", 7_200, "2h"),
            ("1h30m", 5_400, "1h30m"),
            ("2d1s", 172_801, "2d1s"),
        ] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span.duration(), Duration::from_secs(seconds));
            assert_eq!(span.to_string(), written);
            assert_eq!(written.parse(), Ok(span));
        }
        for text in [
            "",
            "2",
            "h",
            "1.5h",
            "30m1h",
            "1h1h",
            "2 h",
            "-1h",
            "2H",
            "1ä",
            "99999999999999999d",
            "20000000000000000000s",
        ] {
            let why = text.parse::<TimeSpan>().unwrap_err();
            assert!(why.contains("1h30m"), "{text}: {why}");
        }
        assert_eq!(
            "0s".parse::<TimeSpan>(),
            Err("must be at least 1s".to_string())
        );
    }
}
