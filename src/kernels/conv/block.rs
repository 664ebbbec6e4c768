//! The blocks that all products are made of.

/// Channels per block of the packed layout: two vectors of AVX-512.
pub const BLOCK: usize = 32;

/// Elements of a block of the weight, 32 × 32.
pub const SQUARE: usize = BLOCK * BLOCK;

/// Rows of x and of dy that stay in the L1 cache while all their products are made: 8 KB per block of each.
pub const DEPTH: usize = 96;

/// Pairs of a matrix with rows of 32, so many elements apart, and a square packed as
/// `[16-column half][pair of rows][column][2]`, whose products are summed.
pub type Bf16Pairs<'a> = [(&'a [u16], &'a [u16])];
