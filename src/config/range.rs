//! The ranges of settings, as parsers of their values.
use crate::model::MOST_BLOCKS;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Whole numbers within bounds that have their reasons.
#[derive(Clone, Debug)]
pub struct Whole {
    range: RangeInclusive<u64>,
    least_why: &'static str,
    most_why: &'static str,
}

/// Threads of the CPU device.
pub const THREADS: Whole = Whole::up_to(
    1024,
    ", since threads beyond the cores only wait for each other",
);
/// Sides of images, in pixels.
pub const IMAGE_SIZE: Whole = Whole::up_to(
    4096,
    ", whose first convolution alone takes 1 GiB for each image",
);
/// Pixels that may be none.
pub const PIXELS: Whole = Whole::up_to(4096, ", since no image is larger").from(0, "");
/// Examples of a batch.
pub const BATCH: Whole = Whole::up_to(1 << 20, ", more than any device holds");
/// Examples of a micro-batch.
pub const MICRO_BATCH: Whole =
    BATCH.from(2, ", since BatchNorm needs the variance of a micro-batch");
/// Channels of a stage.
pub const COUNT: Whole = Whole::up_to(1 << 14, ", several times what any published network has");
/// Blocks of a stage.
pub const BLOCKS: Whole = Whole::up_to(
    MOST_BLOCKS as u64,
    ", the most that all stages of a network may have together",
);
/// Classes of a network.
pub const CLASSES: Whole = Whole::up_to(1 << 16, ", three times what any published network has");
/// Passes over the data.
pub const EPOCHS: Whole = Whole::up_to(
    1_000_000,
    ", since metrics.csv has a row for each of them and is written anew after each",
);
/// Steps and batches of a run.
pub const STEPS: Whole = Whole::up_to(u32::MAX as u64, ", more than any run has");
/// Steps of a range test.
pub const LR_STEPS: Whole = Whole::up_to(1_000_000, ", since all of its losses are kept")
    .from(10, ", since the first tenth of them is left out");
/// Steps that may be none.
pub const STEPS_OR_NONE: Whole = STEPS.from(0, "");
/// Images of a data set.
pub const IMAGES: Whole = Whole::up_to(u32::MAX as u64, ", since images are numbered in 32 bits");
/// Files that may be none.
pub const FILES: Whole = IMAGES.from(0, "");
/// Steps that are timed.
pub const TIMED_STEPS: Whole = Whole::up_to(1_000_000, ", since the time of each is kept");
/// Seeds.
pub const SEED: Whole = Whole {
    range: 0..=i64::MAX as u64,
    least_why: "",
    most_why: ", since files of settings have no larger numbers",
};

impl Whole {
    /// From 1 to `most`, and why there is no larger one.
    const fn up_to(most: u64, why: &'static str) -> Whole {
        Whole {
            range: 1..=most,
            least_why: "",
            most_why: why,
        }
    }

    /// The same from `least` on, and why.
    const fn from(self, least: u64, why: &'static str) -> Whole {
        Whole {
            range: least..=*self.range.end(),
            least_why: why,
            most_why: self.most_why,
        }
    }

    /// The number that a text says.
    pub fn parse(&self, text: &str) -> Result<u64, String> {
        let (least, most) = (self.range.start(), self.range.end());
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("must be a whole number from {least} to {most}"));
        }
        let negative = text.starts_with('-');
        match digits.parse().unwrap_or(u64::MAX) {
            value if value < *least || (negative && value > 0) => {
                Err(format!("must be at least {least}{}", self.least_why))
            }
            value if value > *most => Err(format!("must be at most {most}{}", self.most_why)),
            value => Ok(value),
        }
    }

    /// A parser of texts, for numbers of any type that holds the range.
    pub fn parser<T: TryFrom<u64>>(
        self,
    ) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
        move |text| {
            let value = self.parse(text)?;
            T::try_from(value).map_err(|_| "is too large for this machine".to_string())
        }
    }
}

/// A number of threads.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let count: usize = THREADS.parser()(text)?;
    NonZeroUsize::new(count).ok_or_else(|| "must be at least 1".to_string())
}

/// A finite number above zero.
pub fn above_zero<T: Real>(text: &str) -> Result<T, String> {
    number(text, "a positive number", |value| value > 0.0)
}

/// A finite number from zero on.
pub fn finite_from_zero(text: &str) -> Result<f32, String> {
    number(text, "zero or more", |value| value >= 0.0)
}

/// A number from 0 to below 1.
pub fn share<T: Real>(text: &str) -> Result<T, String> {
    number(text, "from 0 to below 1", |value| {
        (0.0..1.0).contains(&value)
    })
}

/// A probability.
pub fn probability(text: &str) -> Result<f32, String> {
    number(text, "from 0 to 1", |value| (0.0..=1.0).contains(&value))
}

/// An angle to both sides.
pub fn degrees(text: &str) -> Result<f32, String> {
    number(text, "from 0 to 180", |value| {
        (0.0..=180.0).contains(&value)
    })
}

/// A text that is not empty.
pub fn named(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("must not be empty".to_string()),
        false => Ok(text.to_string()),
    }
}

/// A name that a folder can have on every system, and that no shell takes for a flag.
pub fn folder_name(text: &str) -> Result<String, String> {
    let refused = |c: char| c.is_control() || "/\\<>:\"|?*".contains(c);
    let ends = |c: char| c.is_whitespace() || c == '.' || c == '-';
    if text.is_empty() || text.len() > 100 {
        return Err("must have from 1 to 100 bytes".to_string());
    }
    if let Some(c) = text.chars().find(|&c| refused(c)) {
        return Err(format!(
            "must not have {c:?}, since it is the name of a folder in runs; --out DIR is for another place"
        ));
    }
    match text.starts_with(ends) || text.ends_with(ends) {
        true => Err("must not begin or end with a dot, a hyphen or a space".to_string()),
        false => Ok(text.to_string()),
    }
}

/// A type of numbers that are not whole.
pub trait Real: FromStr + Into<f64> + Copy {
    /// Which numbers it has.
    const HAS: &'static str;
}

impl Real for f32 {
    const HAS: &'static str = "of the numbers above zero, f32 has those from 1.4e-45 to 3.4e38";
}

impl Real for f64 {
    const HAS: &'static str = "of the numbers above zero, f64 has those from 4.9e-324 to 1.8e308";
}

fn number<T: Real>(text: &str, range: &str, within: impl Fn(f64) -> bool) -> Result<T, String> {
    let refusal = || format!("must be {range}");
    let value: T = text.parse().map_err(|_| refusal())?;
    let value_f64: f64 = value.into();
    if value_f64.is_finite() && within(value_f64) {
        return Ok(value);
    }
    // What was written may lie within the range although its nearest neighbour in the type does not.
    let digits = text.split(['e', 'E']).next().unwrap_or(text);
    let says_zero = !digits.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let says_number = text.bytes().any(|b| b.is_ascii_digit()) && !text.starts_with('-');
    let rounded = (value_f64 == 0.0 && !says_zero)
        || value_f64.is_infinite()
        || text.parse().is_ok_and(&within);
    match says_number && rounded {
        true => Err(format!(
            "{}, but rounds to {value_f64}; {}",
            refusal(),
            T::HAS
        )),
        false => Err(refusal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_around_powers_of_two_are_taken_or_refused_with_a_reason() {
        let all = [
            THREADS,
            IMAGE_SIZE,
            PIXELS,
            BATCH,
            MICRO_BATCH,
            COUNT,
            BLOCKS,
            EPOCHS,
            STEPS,
            LR_STEPS,
            STEPS_OR_NONE,
            IMAGES,
            TIMED_STEPS,
            SEED,
        ];
        for range in all {
            let most = *range.range.end();
            for power in [31, 32, 53, 63, 64, 65, 127] {
                for value in [(1u128 << power) - 1, 1 << power, (1 << power) + 1] {
                    let text = value.to_string();
                    match range.parse(&text) {
                        Ok(parsed) => assert_eq!(u128::from(parsed), value),
                        Err(why) => {
                            assert!(value > u128::from(most), "{value}: {why}");
                            assert!(
                                why.starts_with(&format!("must be at most {most}, ")),
                                "{why}"
                            );
                        }
                    }
                    let negative = range.parse(&format!("-{text}")).unwrap_err();
                    assert!(negative.starts_with("must be at least"), "{negative}");
                }
            }
            for text in ["", "ten", "1.5", "1e3", "0x10", "+", "-", "１"] {
                let why = range.parse(text).unwrap_err();
                assert!(why.starts_with("must be a whole number"), "{text}: {why}");
            }
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_said() {
        for text in [
            "1e-300",
            "0.000000000000000000000000000000000000000000000001",
            "1e39",
        ] {
            let why = above_zero::<f32>(text).unwrap_err();
            assert!(
                why.contains("rounds to") && why.contains("1.4e-45 to 3.4e38"),
                "{why}"
            );
        }
        let why = share::<f32>("0.99999999999").unwrap_err();
        assert!(why.contains("below 1, but rounds to 1"), "{why}");
        for text in ["0", "-1", "-1e-300", "nan", "inf", "0e5", "much"] {
            assert_eq!(
                above_zero::<f32>(text).unwrap_err(),
                "must be a positive number"
            );
        }
        assert_eq!(above_zero::<f32>("1e-45"), Ok(1e-45));
        assert_eq!(above_zero::<f64>("1e-300"), Ok(1e-300));
    }
}
