//! The gradient of the weight by tiles.
use super::tile::{WinogradTile, stride};
use super::tiles::{Line, TileSource, transform_gradient, transform_input};
use crate::kernels::conv::block::{BLOCK, DEPTH, SQUARE};
use crate::kernels::conv::micro_f32::multiply_transposed;
use crate::kernels::conv::scratch::{PRODUCTS, lend};
use fearless_simd::prelude::*;
use std::ops::Range;

/// Sums up, `[block of c_out][point][block of c_in][32][32]`, the products of the tiles of some images, `at_once` images
/// at a time.
pub fn grad_weight<S: Simd>(
    s: S,
    tile: WinogradTile,
    x: &TileSource,
    dy: &TileSource,
    images: Range<usize>,
    at_once: usize,
    sums: &mut [f32],
) {
    match tile {
        WinogradTile::Two => add::<S, 2, 4>(s, x, dy, images, at_once, sums),
        WinogradTile::Three => add::<S, 3, 5>(s, x, dy, images, at_once, sums),
    }
}

fn add<S: Simd, const M: usize, const P: usize>(
    s: S,
    x: &TileSource,
    dy: &TileSource,
    images: Range<usize>,
    at_once: usize,
    sums: &mut [f32],
) {
    let [_, h, w, _] = dy.shape.0;
    let (sources, targets) = (x.blocks.len(), dy.blocks.len());
    let used = [x.used(), dy.used()];
    let across = w.div_ceil(M);
    let tiles = across.min(DEPTH);
    let most = at_once * tiles;
    let of_input = P * P * stride(sources, most);
    let len = of_input + P * P * stride(targets, most);
    lend(&PRODUCTS, len, |scratch| {
        let (v, m) = scratch.split_at_mut(of_input);
        let mut begun = false;
        for first in images.clone().step_by(at_once) {
            for y in (0..h).step_by(M) {
                for tile in (0..across).step_by(tiles) {
                    let line = Line {
                        images: first..images.end.min(first + at_once),
                        y,
                        tiles: tile..across.min(tile + tiles),
                    };
                    let matrix = line.rows() * BLOCK;
                    let [v_apart, m_apart] = [sources, targets].map(|b| stride(b, line.rows()));
                    s.vectorize(
                        #[inline(always)]
                        || {
                            transform_input::<S, M, P>(s, x, &line, v, v_apart);
                            transform_gradient::<S, M, P>(s, dy, &line, m, m_apart);
                        },
                    );
                    for point in 0..P * P {
                        let v = &v[point * v_apart..][..sources * matrix];
                        let m = &m[point * m_apart..][..targets * matrix];
                        for (target, b) in m.chunks_exact(matrix).enumerate() {
                            let to = &mut sums[(target * P * P + point) * sources * SQUARE..];
                            for (a, sum) in v.chunks_exact(matrix).zip(to.chunks_exact_mut(SQUARE))
                            {
                                multiply_transposed(s, [a, b], used, sum, begun);
                            }
                        }
                    }
                    begun = true;
                }
            }
        }
    });
}
