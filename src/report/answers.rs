//! What logits say of an image: probabilities, the predicted class, and how far down the true one is.

/// The probability of each class.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|l| f64::from(l - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The class with the largest logit, of equals the first.
pub fn predicted(logits: &[f32]) -> usize {
    let mut largest = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[largest] {
            largest = class;
        }
    }
    largest
}

/// How many classes come before this one: those with a larger logit, and of equals the first.
pub fn rank(logits: &[f32], class: usize) -> usize {
    let own = logits[class];
    let before = |(other, &logit): (usize, &f32)| logit > own || (logit == own && other < class);
    logits
        .iter()
        .enumerate()
        .filter(|&other| before(other))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_predicted_and_ranks_first() {
        let logits = [1.0, 3.0, 3.0, 2.0];
        assert_eq!(predicted(&logits), 1);
        let ranks: Vec<usize> = (0..4).map(|class| rank(&logits, class)).collect();
        assert_eq!(ranks, [3, 0, 1, 2]);
        let probabilities = softmax(&[0.0, 3f32.ln()]);
        assert!((probabilities[1] - 0.75).abs() < 1e-7);
        assert_eq!(softmax(&[1e30, 0.0]), [1.0, 0.0]);
    }
}
