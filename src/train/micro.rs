//! How the examples of a step are cut into micro-batches.

/// The examples of each pass of a step on `batch` examples: `micro` in all but the last, which has the rest.
/// A rest of one goes to the pass before it, since BatchNorm needs at least two values.
pub fn sizes(batch: usize, micro: Option<usize>) -> Vec<usize> {
    let micro = micro.unwrap_or(batch).max(1);
    let mut sizes = vec![micro; batch / micro];
    match (batch % micro, sizes.last_mut()) {
        (0, _) => {}
        (1, Some(last)) => *last += 1,
        (rest, _) => sizes.push(rest),
    }
    sizes
}

/// Passes of steps on so many examples each.
pub fn passes_of(steps: &[usize], micro: Option<usize>) -> u64 {
    let passes = |examples: &usize| sizes(*examples, micro).len() as u64;
    steps.iter().map(passes).sum()
}

/// The examples of a step, pass by pass.
pub fn passes(examples: &[u32], micro: Option<usize>) -> Vec<&[u32]> {
    let mut rest = examples;
    let cut = |size| {
        let (pass, after) = rest.split_at(size);
        rest = after;
        pass
    };
    sizes(examples.len(), micro).into_iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pass_of_a_step_has_a_single_example() {
        assert_eq!(sizes(256, None), [256]);
        assert_eq!(sizes(256, Some(256)), [256]);
        assert_eq!(sizes(96, Some(128)), [96]);
        assert_eq!(sizes(256, Some(64)), [64; 4]);
        assert_eq!(sizes(10, Some(4)), [4, 4, 2]);
        assert_eq!(sizes(9, Some(4)), [4, 5]);
        assert_eq!(sizes(3, Some(2)), [3]);
        for batch in 2..50 {
            for micro in 2..50 {
                let sizes = sizes(batch, Some(micro));
                assert_eq!(sizes.iter().sum::<usize>(), batch);
                assert!(sizes.iter().all(|size| (2..=micro + 1).contains(size)));
            }
        }
    }

    #[test]
    fn passes_keep_the_order_of_the_examples() {
        let examples: Vec<u32> = (0..9).collect();
        assert_eq!(passes(&examples, Some(4)), [&examples[..4], &examples[4..]]);
        assert!(passes(&[], Some(4)).is_empty());
    }
}
