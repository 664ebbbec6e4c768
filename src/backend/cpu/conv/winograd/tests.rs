//! Both tiles against the definition in double precision, at sizes that leave tiles and blocks of channels half empty.
use super::Tile;
use crate::backend::cpu::conv::correlate::Correlate;
use crate::backend::cpu::conv::grad_weight::grad_weight_by;
use crate::backend::cpu::conv::{Epilogue, Geometry};
use crate::graph::Shape;
use crate::ops::{Norm, Window};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An image `[n, h, w, c_in]`, output channels, and padding.
const CASES: [([usize; 4], usize, usize); 7] = [
    ([3, 6, 6, 32], 32, 1),
    ([1, 7, 4, 31], 7, 1),
    ([2, 3, 3, 63], 33, 1),
    ([9, 5, 8, 32], 8, 0),
    ([2, 4, 10, 31], 70, 2),
    ([70, 2, 3, 31], 4, 1),
    ([1, 5, 210, 31], 5, 1),
];

fn geometry([n, h, w, c_in]: [usize; 4], c_out: usize, pad: usize) -> Geometry {
    let window = Window {
        kernel: 3,
        stride: 1,
        pad,
    };
    Geometry {
        x: Shape([n, h, w, c_in]),
        w: Shape([3, 3, c_in, c_out]),
        y: Shape([n, h + 2 * pad - 2, w + 2 * pad - 2, c_out]),
        window,
    }
}

/// Calls `visit` with the elements of x, w and y of every product.
fn products(g: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
    let ([n, h, w, c_in], [_, h_out, w_out, c_out]) = (g.x.0, g.y.0);
    let pad = g.window.pad;
    for (n, oy, ox) in
        (0..n).flat_map(|n| (0..h_out).flat_map(move |oy| (0..w_out).map(move |ox| (n, oy, ox))))
    {
        for tap in 0..9 {
            let (iy, ix) = (oy + tap / 3, ox + tap % 3);
            if iy < pad || iy >= h + pad || ix < pad || ix >= w + pad {
                continue;
            }
            let pixel = (n * h + iy - pad) * w + ix - pad;
            for ci in 0..c_in {
                for co in 0..c_out {
                    let y = ((n * h_out + oy) * w_out + ox) * c_out + co;
                    visit(pixel * c_in + ci, (tap * c_in + ci) * c_out + co, y);
                }
            }
        }
    }
}

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A tile of three is off by 8e-7 of a sum's standard deviation in the root mean square, and by eight times that in the
/// worst of 100,000 sums. The factors here, up to 1 and up to 2, give a sum of K products one of at most 0.58·√K.
fn assert_near(got: &[f32], want: &[f64], products: usize, what: &str) {
    let bound = 8.0 * 8e-7 * 0.58 * (products as f64).sqrt();
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= bound, "{what}: element {i} is {got}, not {want}");
    }
}

#[test]
fn tiles_agree_with_the_definition() {
    for (x_shape, c_out, pad) in CASES {
        let g = geometry(x_shape, c_out, pad);
        let (x, w) = (random(g.x.len(), 1), random(g.w.len(), 2));
        let dy = random(g.y.len(), 3);
        let norm = random(4 * g.x.c(), 4);
        let norm: Vec<&[f32]> = norm.chunks(g.x.c()).collect();
        let norm = Norm {
            scale: norm[0],
            shift: norm[1],
            mean: norm[2],
            rstd: norm[3],
        };
        let activated: Vec<f64> = (x.iter().enumerate())
            .map(|(i, &x)| {
                let channel = i % g.x.c();
                let z = f64::from(x) * f64::from(norm.scale[channel]);
                (z + f64::from(norm.shift[channel])).max(0.0)
            })
            .collect();
        let mut y = vec![0.0; g.y.len()];
        let mut dx = vec![0.0; g.x.len()];
        let mut dw = vec![0.0; g.w.len()];
        products(&g, |i, k, o| {
            y[o] += activated[i] * f64::from(w[k]);
            dx[i] += f64::from(dy[o]) * f64::from(w[k]);
            dw[k] += activated[i] * f64::from(dy[o]);
        });
        for tile in [Tile::Two, Tile::Three] {
            let what = |pass: &str| format!("{pass} by {tile:?} of {g:?}");
            let mut forward = Correlate::forward(&g);
            assert!(forward.patches.is_none(), "{g:?} is for tiles");
            forward.winograd = Some(tile);
            let mut got = vec![f32::NAN; y.len()];
            forward.run(&x, Some(norm), &w, &Epilogue::default(), None, &mut got);
            assert_near(&got, &y, 9 * g.x.c(), &what("y"));
            let mut grad_input = Correlate::grad_input(&g);
            grad_input.winograd = Some(tile);
            let mut got = vec![f32::NAN; dx.len()];
            grad_input.run(&dy, None, &w, &Epilogue::default(), None, &mut got);
            assert_near(&got, &dx, 9 * c_out, &what("dx"));
            let mut got = vec![f32::NAN; dw.len()];
            grad_weight_by(&forward, &g, &x, Some(norm), &dy, g.x.n(), &mut got);
            assert_near(&got, &dw, g.y.rows(), &what("dw"));
        }
    }
}

#[test]
fn threads_that_share_an_image_change_no_bit() {
    for (x_shape, c_out, pad) in CASES {
        let g = geometry(x_shape, c_out, pad);
        let (x, w) = (random(g.x.len(), 1), random(g.w.len(), 2));
        for tile in [None, Some(Tile::Two), Some(Tile::Three)] {
            let on = |threads| -> Vec<u32> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let mut y = vec![f32::NAN; g.y.len()];
                let mut forward = Correlate::forward(&g);
                forward.winograd = tile;
                let run = || forward.run(&x, None, &w, &Epilogue::default(), None, &mut y);
                pool.build().unwrap().install(run);
                y.into_iter().map(f32::to_bits).collect()
            };
            let one = on(1);
            for threads in [2, 7] {
                assert!(on(threads) == one, "{threads} threads, {tile:?}, {g:?}");
            }
        }
    }
}

#[test]
fn a_nan_goes_through_the_activation() {
    let g = geometry([1, 6, 6, 32], 16, 1);
    let (mut x, w) = (vec![0.5; g.x.len()], vec![0.5; g.w.len()]);
    x[0] = f32::NAN;
    let ones = vec![1.0; g.x.c()];
    let norm = Norm {
        scale: &ones,
        shift: &ones,
        mean: &ones,
        rstd: &ones,
    };
    for tile in [Tile::Two, Tile::Three] {
        let mut forward = Correlate::forward(&g);
        forward.winograd = Some(tile);
        let mut y = vec![0.0; g.y.len()];
        forward.run(&x, Some(norm), &w, &Epilogue::default(), None, &mut y);
        assert!(y[0].is_nan() && y.last().is_some_and(|y| y.is_finite()));
    }
}

#[test]
fn tiles_are_chosen_by_their_products() {
    let choice = |n: usize, size: usize| {
        let g = geometry([n, size, size, 64], 64, 1);
        Correlate::forward(&g).winograd
    };
    // Maps of ResNet-18 for images of 96 pixels, and of 28; a small batch does not pay for the weight's transform.
    for size in [24, 12, 6, 3] {
        assert_eq!(choice(256, size), Some(Tile::Three), "{size}");
    }
    assert_eq!(choice(256, 4), Some(Tile::Two));
    assert_eq!(choice(256, 1), None);
    assert_eq!(choice(4, 3), None);
}
