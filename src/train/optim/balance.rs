//! How much each class counts in the loss, so that rare ones count as much as frequent ones.

/// The weights of the classes whose images these are: `n / (k · n_c)`, of `n` images of `k` classes, as scikit-learn's
/// `balanced`. Their mean over the images is 1. A class without images weighs nothing.
pub fn class_weights(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut counts = vec![0_u64; classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    let there = counts.iter().filter(|count| **count > 0).count();
    let weight = |count: &u64| match count {
        0 => 0.0,
        count => (labels.len() as f64 / (there as f64 * *count as f64)) as f32,
    };
    counts.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `sklearn.utils.class_weight.compute_class_weight("balanced", …)`.
    #[test]
    fn a_class_weighs_inversely_to_its_images() {
        let labels = [0, 0, 0, 1, 2, 2];
        assert_eq!(class_weights(&labels, 3), [2.0 / 3.0, 2.0, 1.0]);
        // Of a class without images nothing is said.
        assert_eq!(class_weights(&labels, 4), [2.0 / 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(class_weights(&[1, 0], 2), [1.0, 1.0]);
        let weights = class_weights(&labels, 3);
        let sum: f32 = labels.iter().map(|label| weights[*label as usize]).sum();
        assert!((sum - labels.len() as f32).abs() < 1e-6);
    }
}
