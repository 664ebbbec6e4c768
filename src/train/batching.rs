//! How the examples of an epoch are cut into batches.

/// The batches of an epoch, or of an evaluation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batching {
    /// Examples of a batch; the last one has the rest.
    pub size: usize,
    /// The most batches.
    pub limit: Option<usize>,
    /// Whether a rest of one example joins the batch before it: where BatchNorm would get one value per channel of it.
    pub joins: bool,
}

impl Batching {
    /// The examples of each batch of so many in all.
    pub fn sizes(self, count: usize) -> Vec<usize> {
        let all = count.div_ceil(self.size);
        let taken = all.min(self.limit.unwrap_or(usize::MAX));
        let mut sizes = vec![self.size; taken];
        if taken == all
            && let (rest @ 1.., Some(last)) = (count % self.size, sizes.last_mut())
        {
            *last = rest;
            if rest == 1 && self.joins && all > 1 {
                sizes.pop();
                sizes[all - 2] += 1;
            }
        }
        sizes
    }

    /// How many batches there are of so many examples.
    pub fn steps(self, count: usize) -> usize {
        self.sizes(count).len()
    }

    /// The examples of each batch.
    pub fn of(self, order: &[u32]) -> impl Iterator<Item = &[u32]> {
        let mut rest = order;
        self.sizes(order.len()).into_iter().map(move |size| {
            let (batch, after) = rest.split_at(size);
            rest = after;
            batch
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_example_is_left_or_joins_the_batch_before() {
        let sizes = |count, limit, joins| {
            Batching {
                size: 4,
                limit,
                joins,
            }
            .sizes(count)
        };
        for joins in [false, true] {
            assert_eq!(sizes(8, None, joins), [4, 4]);
            assert_eq!(sizes(10, None, joins), [4, 4, 2]);
            assert_eq!(sizes(3, None, joins), [3]);
            assert_eq!(sizes(1, None, joins), [1]);
            assert_eq!(sizes(0, None, joins), [0; 0]);
            // The rest is not reached.
            assert_eq!(sizes(9, Some(2), joins), [4, 4]);
        }
        assert_eq!(sizes(9, None, false), [4, 4, 1]);
        assert_eq!(sizes(9, None, true), [4, 5]);
        assert_eq!(sizes(5, Some(3), true), [5]);
    }

    #[test]
    fn batches_keep_the_order_of_the_examples() {
        let order: Vec<u32> = (0..9).rev().collect();
        let batching = Batching {
            size: 4,
            limit: None,
            joins: true,
        };
        let batches: Vec<&[u32]> = batching.of(&order).collect();
        assert_eq!(batches, [&order[..4], &order[4..]]);
    }
}
