//! Both tiles against the definition in double precision, at sizes that leave tiles and blocks of channels half empty.
use super::WinogradTile;
use crate::kernels::bf16::{round, widen};
use crate::kernels::conv::grad_weight::grad_weight_by;
use crate::kernels::conv::plan::ConvPlan;
use crate::kernels::conv::run;
use crate::kernels::conv::{Epilogue, Geometry, MaskInputs, Partials};
use crate::kernels::floats::{Floats, FloatsMut};
use crate::kernels::precision::Matmul;
use crate::kernels::{MOMENTS, Norm, Window};
use crate::tensor::Shape;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An image `[n, h, w, c_in]`, output channels, and padding.
const CASES: [([usize; 4], usize, usize); 8] = [
    ([3, 6, 6, 32], 32, 1),
    ([3, 7, 7, 16], 16, 1),
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
        matmul: Matmul::F32,
        batch: n,
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

/// The norm whose rows these are, one after another.
fn rows(norm: &[f32]) -> Norm<'_> {
    let (affine, moments) = norm.split_at(norm.len() / 2);
    let (scale, shift) = affine.split_at(affine.len() / 2);
    let (mean, rstd) = moments.split_at(moments.len() / 2);
    Norm {
        scale,
        shift,
        mean,
        rstd,
    }
}

#[test]
fn tiles_agree_with_the_definition() {
    for (x_shape, c_out, pad) in CASES {
        let g = geometry(x_shape, c_out, pad);
        let (x, w) = (random(g.x.len(), 1), random(g.w.len(), 2));
        let dy = random(g.y.len(), 3);
        let norm = random(4 * g.x.c(), 4);
        let norm = rows(&norm);
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
        for tile in [WinogradTile::Two, WinogradTile::Three] {
            let what = |pass: &str| format!("{pass} by {tile:?} of {g:?}");
            let mut forward = ConvPlan::forward(&g);
            assert!(forward.patches.is_none(), "{g:?} is for tiles");
            forward.winograd = Some(tile);
            let mut got = vec![f32::NAN; y.len()];
            let (from, to) = (Floats::F32(&x), FloatsMut::F32(&mut got));
            run::run(
                &forward,
                from,
                Some(norm),
                &w,
                &Epilogue::default(),
                None,
                to,
            );
            assert_near(&got, &y, 9 * g.x.c(), &what("y"));
            let mut grad_input = ConvPlan::grad_input(&g);
            grad_input.winograd = Some(tile);
            let mut got = vec![f32::NAN; dx.len()];
            let (from, to) = (Floats::F32(&dy), FloatsMut::F32(&mut got));
            run::run(&grad_input, from, None, &w, &Epilogue::default(), None, to);
            assert_near(&got, &dx, 9 * c_out, &what("dx"));
            let mut got = vec![f32::NAN; dw.len()];
            let (x, dy) = (Floats::F32(&x), Floats::F32(&dy));
            grad_weight_by(&forward, &g, x, Some(norm), dy, g.x.n(), &mut got);
            assert_near(&got, &dw, g.y.rows(), &what("dw"));
        }
    }
}

#[test]
fn threads_that_share_an_image_change_no_bit() {
    for (x_shape, c_out, pad) in CASES {
        let g = geometry(x_shape, c_out, pad);
        let (x, w) = (random(g.x.len(), 1), random(g.w.len(), 2));
        for tile in [None, Some(WinogradTile::Two), Some(WinogradTile::Three)] {
            let on = |threads| -> Vec<u32> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let mut y = vec![f32::NAN; g.y.len()];
                let mut forward = ConvPlan::forward(&g);
                forward.winograd = tile;
                let run = || {
                    run::run(
                        &forward,
                        Floats::F32(&x),
                        None,
                        &w,
                        &Epilogue::default(),
                        None,
                        FloatsMut::F32(&mut y),
                    )
                };
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
    for tile in [WinogradTile::Two, WinogradTile::Three] {
        let mut forward = ConvPlan::forward(&g);
        forward.winograd = Some(tile);
        let mut y = vec![0.0; g.y.len()];
        let (from, to) = (Floats::F32(&x), FloatsMut::F32(&mut y));
        run::run(
            &forward,
            from,
            Some(norm),
            &w,
            &Epilogue::default(),
            None,
            to,
        );
        assert!(y[0].is_nan() && y.last().is_some_and(|y| y.is_finite()));
    }
}

fn by_image(data: &mut [f32]) -> Partials<'_> {
    Partials {
        data,
        images_per_unit: 1,
        blocks_per_unit: 1,
    }
}

/// What is computed from bfloat16 is what is computed from the same numbers in f32, rounded where it is stored; the sums
/// over it are of what was not rounded yet.
#[test]
fn images_of_bf16_give_what_their_f32_gives() {
    let halves = |len: usize, seed: u64| -> (Vec<u16>, Vec<f32>) {
        let halves: Vec<u16> = random(len, seed).into_iter().map(round).collect();
        let wide = halves.iter().map(|&h| widen(h)).collect();
        (halves, wide)
    };
    for (x_shape, c_out, pad) in CASES {
        let g = geometry(x_shape, c_out, pad);
        let (x16, x) = halves(g.x.len(), 1);
        let (dy16, dy) = halves(g.y.len(), 2);
        let (skip16, skip) = halves(g.x.len(), 3);
        let (out16, out) = halves(g.x.len(), 4);
        let w = random(g.w.len(), 5);
        let norm = random(4 * g.x.c(), 6);
        let norm = rows(&norm);
        let epilogue = |skip, pre, out| Epilogue {
            bias: None,
            skip: Some(skip),
            mask: Some(MaskInputs {
                pre,
                norm,
                out: Some(out),
            }),
        };
        let (n, c_in) = (g.x.n(), g.x.c());
        for tile in [Some(WinogradTile::Two), Some(WinogradTile::Three), None] {
            let what = |pass: &str| format!("{pass} by {tile:?} of {g:?}");
            let mut forward = ConvPlan::forward(&g);
            forward.winograd = tile;
            let run = |x: Floats, y: FloatsMut, sums: &mut [f32]| {
                let plain = Epilogue::default();
                run::run(&forward, x, Some(norm), &w, &plain, Some(by_image(sums)), y);
            };
            let (mut y, mut y16) = (vec![0.0; g.y.len()], vec![0; g.y.len()]);
            let mut sums = [
                vec![0.0; n * MOMENTS * c_out],
                vec![1.0; n * MOMENTS * c_out],
            ];
            run(Floats::F32(&x), FloatsMut::F32(&mut y), &mut sums[0]);
            run(Floats::Bf16(&x16), FloatsMut::Bf16(&mut y16), &mut sums[1]);
            assert!(y.into_iter().map(round).eq(y16), "{}", what("y"));
            assert!(sums[0] == sums[1], "{}", what("the moments of y"));

            let mut grad_input = ConvPlan::grad_input(&g);
            grad_input.winograd = tile;
            let run = |dy: Floats, epilogue: &Epilogue, dx: FloatsMut, sums: &mut [f32]| {
                run::run(
                    &grad_input,
                    dy,
                    None,
                    &w,
                    epilogue,
                    Some(by_image(sums)),
                    dx,
                );
            };
            let (mut dx, mut dx16) = (vec![0.0; g.x.len()], vec![0; g.x.len()]);
            let mut sums = [vec![0.0; n * 2 * c_in], vec![1.0; n * 2 * c_in]];
            let of = epilogue(Floats::F32(&skip), Floats::F32(&x), Floats::F32(&out));
            run(Floats::F32(&dy), &of, FloatsMut::F32(&mut dx), &mut sums[0]);
            let of = epilogue(
                Floats::Bf16(&skip16),
                Floats::Bf16(&x16),
                Floats::Bf16(&out16),
            );
            let to = FloatsMut::Bf16(&mut dx16);
            run(Floats::Bf16(&dy16), &of, to, &mut sums[1]);
            assert!(dx.into_iter().map(round).eq(dx16), "{}", what("dx"));
            assert!(sums[0] == sums[1], "{}", what("the sums over dx"));

            let mut dw = [vec![0.0; g.w.len()], vec![1.0; g.w.len()]];
            let (of_x, of_dy) = (Floats::F32(&x), Floats::F32(&dy));
            grad_weight_by(&forward, &g, of_x, Some(norm), of_dy, n, &mut dw[0]);
            let (of_x, of_dy) = (Floats::Bf16(&x16), Floats::Bf16(&dy16));
            grad_weight_by(&forward, &g, of_x, Some(norm), of_dy, n, &mut dw[1]);
            assert!(dw[0] == dw[1], "{}", what("dw"));
        }
    }
}

#[test]
fn tiles_are_chosen_by_their_products() {
    let choice = |n: usize, size: usize| {
        let g = geometry([n, size, size, 64], 64, 1);
        ConvPlan::forward(&g).winograd
    };
    // Maps of ResNet-18 for images of 96 pixels, and of 28; a small batch does not pay for the weight's transform.
    for size in [24, 12, 6, 3] {
        assert_eq!(choice(256, size), Some(WinogradTile::Three), "{size}");
    }
    assert_eq!(choice(256, 4), Some(WinogradTile::Two));
    assert_eq!(choice(256, 1), None);
    assert_eq!(choice(4, 3), None);
}
