//! How near a result is to the wanted one, and whether that is near enough.
use crate::tensor::DType;
use serde::Serialize;

/// The unit roundoff: the relative error of a number rounded to the nearest, half of the last of 24, 11 or 8 digits;
/// nothing of whole numbers.
pub fn roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 0.5_f64.powi(24),
        DType::F16 => 0.5_f64.powi(11),
        DType::Bf16 => 0.5_f64.powi(8),
        DType::U8 | DType::U32 => 0.0,
    }
}

/// The same numbers in f64.
pub fn widen<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// What decides whether a tensor passes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rule {
    /// The largest absolute error is at most this.
    MaxAbs(f64),
    /// The relative L2 error is at most this.
    RelL2(f64),
}

/// One tensor compared with the wanted one.
#[derive(Clone, PartialEq, Debug)]
pub struct Check {
    /// The tensor's name.
    pub tensor: String,
    /// `max|got − want|`; NaN where anything is NaN.
    pub max_abs: f64,
    /// `‖got − want‖ / ‖want‖`, or `‖got − want‖` where the wanted tensor is all zeros.
    pub rel_l2: f64,
    /// What decides.
    pub rule: Rule,
}

/// A case's verdict.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Case {
    /// The case's name in the manifest.
    pub name: String,
    /// The op, `network` or `resize`.
    pub op: String,
    /// Whether every tensor was near enough.
    pub passed: bool,
    /// The largest absolute error of any tensor; null where nothing could be compared.
    pub max_abs: Option<f64>,
    /// The largest relative L2 error of any tensor; null where nothing could be compared.
    pub rel_l2: Option<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A remark of a case that did run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Every tensor that was compared.
    #[serde(skip)]
    pub checks: Vec<Check>,
}

impl Check {
    /// Compares in double precision. A NaN or an infinity that is not wanted makes both errors NaN.
    ///
    /// # Panics
    /// When the lengths differ: that is to be reported before.
    pub fn new(tensor: impl Into<String>, got: &[f64], want: &[f64], rule: Rule) -> Check {
        assert_eq!(got.len(), want.len(), "compared tensors have one size");
        let (mut max_abs, mut error, mut norm) = (0.0_f64, 0.0, 0.0_f64);
        for (&got, &want) in got.iter().zip(want) {
            // Equal infinities do not differ, though their difference is NaN.
            let difference = if got == want { 0.0 } else { (got - want).abs() };
            max_abs = max_abs.max(difference);
            error += difference * difference;
            norm += want * want;
        }
        let scale = if norm > 0.0 { norm.sqrt() } else { 1.0 };
        let mut rel_l2 = error.sqrt() / scale;
        // `max` skips a NaN, but the sum keeps it.
        if !error.is_finite() {
            (max_abs, rel_l2) = (f64::NAN, f64::NAN);
        }
        Check {
            tensor: tensor.into(),
            max_abs,
            rel_l2,
            rule,
        }
    }

    /// Whether the error is within the bound; NaN never is.
    pub fn passed(&self) -> bool {
        match self.rule {
            Rule::MaxAbs(bound) => self.max_abs <= bound,
            Rule::RelL2(bound) => self.rel_l2 <= bound,
        }
    }
}

impl Case {
    /// The verdict over some tensors; no tensor at all is a failure too.
    pub fn judged(name: &str, op: &str, checks: Vec<Check>) -> Case {
        let failed: Vec<String> = checks.iter().filter(|c| !c.passed()).map(reason).collect();
        let reason = if checks.is_empty() {
            Some("the case wants nothing that could be compared".to_string())
        } else if failed.is_empty() {
            None
        } else {
            Some(shorten(&failed))
        };
        Case {
            name: name.to_string(),
            op: op.to_string(),
            passed: reason.is_none(),
            max_abs: largest(checks.iter().map(|c| c.max_abs)),
            rel_l2: largest(checks.iter().map(|c| c.rel_l2)),
            reason,
            note: None,
            checks,
        }
    }

    /// A case that could not be replayed.
    pub fn refused(name: &str, op: &str, why: &anyhow::Error) -> Case {
        Case {
            name: name.to_string(),
            op: op.to_string(),
            passed: false,
            max_abs: None,
            rel_l2: None,
            reason: Some(format!("{why:#}")),
            note: None,
            checks: Vec::new(),
        }
    }
}

/// The check that `figure` is largest of, a NaN being larger than anything.
pub fn worst(checks: &[Check], figure: impl Fn(&Check) -> Option<f64>) -> Option<&Check> {
    let rank = |c: &&Check| figure(c).map(|f| if f.is_nan() { f64::INFINITY } else { f });
    checks
        .iter()
        .filter(|c| rank(c).is_some())
        .max_by(|a, b| rank(a).partial_cmp(&rank(b)).expect("no NaN is left"))
}

fn largest(figures: impl Iterator<Item = f64>) -> Option<f64> {
    figures.reduce(|a, b| if a >= b || a.is_nan() { a } else { b })
}

fn reason(check: &Check) -> String {
    let Check {
        tensor,
        max_abs,
        rel_l2,
        rule,
    } = check;
    if max_abs.is_nan() {
        return format!("{tensor} is not finite");
    }
    match rule {
        Rule::MaxAbs(bound) => format!("{tensor} is off by {max_abs:.2e}, allowed {bound:.2e}"),
        Rule::RelL2(bound) => {
            format!("{tensor} is off by {rel_l2:.2e} in relative L2, allowed {bound:.2e}")
        }
    }
}

/// The first reasons, and how many more there are.
fn shorten(reasons: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = reasons[..reasons.len().min(SHOWN)].join("; ");
    if reasons.len() > SHOWN {
        text += &format!("; {} more tensors", reasons.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_never_passes() {
        for rule in [Rule::MaxAbs(f64::MAX), Rule::RelL2(f64::MAX)] {
            assert!(Check::new("y", &[1.0, 5.0], &[1.0, 2.0], rule).passed());
            for wrong in [f64::NAN, f64::INFINITY] {
                for got in [[wrong, 2.0], [1.0, wrong]] {
                    let check = Check::new("y", &got, &[1.0, 2.0], rule);
                    assert!(!check.passed() && check.max_abs.is_nan());
                    let case = Case::judged("case", "relu", vec![check]);
                    assert_eq!(case.reason.as_deref(), Some("y is not finite"));
                }
            }
        }
    }

    #[test]
    fn errors_are_measured_against_the_wanted_values() {
        let check = Check::new("y", &[3.0, 4.5], &[3.0, 4.0], Rule::MaxAbs(0.5));
        assert_eq!((check.max_abs, check.rel_l2), (0.5, 0.1));
        assert!(check.passed());
        assert!(!Case::judged("case", "relu", Vec::new()).passed);
    }
}
