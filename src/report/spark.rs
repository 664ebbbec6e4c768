//! A curve in a line of text.

/// Letters from the lowest to the highest.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Letters of a curve at most.
const MOST: usize = 16;

/// The curve of all values so far, each letter the mean of as many of them.
#[derive(Clone, Debug)]
pub struct Spark {
    /// Sums of the values of each letter but the last, which may not have all yet.
    sums: Vec<f64>,
    /// Values of a letter.
    each: usize,
    /// Values of the last letter.
    last: usize,
}

impl Default for Spark {
    fn default() -> Spark {
        Spark {
            sums: Vec::new(),
            each: 1,
            last: 1,
        }
    }
}

impl Spark {
    /// Adds a value. Once there is no room for it, every two letters become one.
    pub fn push(&mut self, value: f64) {
        if self.last < self.each {
            self.last += 1;
            if let Some(sum) = self.sums.last_mut() {
                *sum += value;
            }
            return;
        }
        if self.sums.len() == MOST {
            self.sums = self.sums.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.each *= 2;
        }
        self.sums.push(value);
        self.last = 1;
    }

    /// The curve, its lowest letter at its least value.
    pub fn text(&self) -> String {
        let of = |i: usize| {
            if i + 1 == self.sums.len() {
                self.last
            } else {
                self.each
            }
        };
        let means = self.sums.iter().enumerate();
        let means: Vec<f64> = means.map(|(i, sum)| sum / of(i) as f64).collect();
        let least = means.iter().copied().fold(f64::INFINITY, f64::min);
        let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let letter = |mean: &f64| {
            let part = (mean - least) / (most - least).max(f64::MIN_POSITIVE);
            LEVELS[(part * 7.0).round().clamp(0.0, 7.0) as usize]
        };
        means.iter().map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_its_form_however_long_it_is() {
        let mut spark = Spark::default();
        assert_eq!(spark.text(), "");
        for value in [3.0, 2.0, 1.0] {
            spark.push(value);
        }
        assert_eq!(spark.text(), "█▅▁");
        let mut spark = Spark::default();
        for i in 0..10_000 {
            spark.push(f64::from(10_000 - i));
            assert!(spark.text().chars().count() <= MOST);
        }
        let text: Vec<char> = spark.text().chars().collect();
        assert!(text.len() > MOST / 2, "{text:?}");
        assert!(text.windows(2).all(|pair| pair[1] <= pair[0]), "{text:?}");
        assert_eq!((text[0], text[text.len() - 1]), ('█', '▁'));
    }
}
