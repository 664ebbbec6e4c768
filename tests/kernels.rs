//! `cargo bench`: the CPU's convolutions in floating-point operations per second (shown as elements), taps on padding
//! not counted, after the peak of fused multiply-adds that the same thread reaches.
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fearless_simd::prelude::*;
use resnet::kernels::Window;
use resnet::kernels::conv::{Epilogue, Geometry, forward, grad_input, grad_weight};
use resnet::kernels::floats::{Floats, FloatsMut};
use resnet::kernels::precision::Matmul;
use resnet::kernels::simd;
use resnet::ops::Conv2dGradWeight;
use resnet::tensor::Shape;

/// Images of a batch.
const N: usize = 64;

/// Independent chains of multiply-adds, enough to hide their latency.
const CHAINS: usize = 16;
const LINKS: usize = 100_000;

fn peak(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    let lanes = fearless_simd::dispatch!(simd::level(), s => lanes(s));
    group.throughput(Throughput::Elements((2 * lanes * CHAINS * LINKS) as u64));
    group.bench_function(simd::name(), |b| {
        b.iter(|| fearless_simd::dispatch!(simd::level(), s => multiply_add(s)));
    });
}

#[inline(always)]
fn lanes<S: Simd>(_: S) -> usize {
    S::f32s::LEN
}

#[inline(always)]
fn multiply_add<S: Simd>(s: S) -> f32 {
    s.vectorize(
        #[inline(always)]
        || {
            let mut sums = [S::f32s::splat(s, 0.5); CHAINS];
            let (scale, shift) = (S::f32s::splat(s, 0.999), S::f32s::splat(s, 0.001));
            for _ in 0..LINKS {
                sums = sums.map(|sum| sum.mul_add(scale, shift));
            }
            sums.iter().map(|sum| sum.as_slice()[0]).sum()
        },
    )
}

fn convolutions(c: &mut Criterion) {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one = one.expect("a thread");
    let window = |kernel, stride, pad| Window {
        kernel,
        stride,
        pad,
    };
    let layers = [
        ("1→64 at 96, 7×7 stride 2", 96, 1, 64, window(7, 2, 3)),
        ("64→64 at 24, 3×3", 24, 64, 64, window(3, 1, 1)),
        ("64→128 at 24, 3×3 stride 2", 24, 64, 128, window(3, 2, 1)),
        ("128→128 at 12, 3×3", 12, 128, 128, window(3, 1, 1)),
        ("256→256 at 6, 3×3", 6, 256, 256, window(3, 1, 1)),
        ("512→512 at 3, 3×3", 3, 512, 512, window(3, 1, 1)),
    ];
    for (name, size, c_in, c_out, window) in layers {
        let out = window.out(size).expect("the window fits");
        let g = Geometry {
            matmul: Matmul::F32,
            batch: N,
            x: Shape([N, size, size, c_in]),
            w: Shape([window.kernel, window.kernel, c_in, c_out]),
            y: Shape([N, out, out, c_out]),
            window,
        };
        let taps: usize = (0..out)
            .map(|o| {
                (0..window.kernel)
                    .filter(|&k| window.tap(o, k, size).is_some())
                    .count()
            })
            .sum();
        let flops = 2 * taps * taps * N * c_in * c_out;
        let [x, w, dy] = [g.x, g.w, g.y].map(noise);
        let (mut y, mut dx) = (vec![0.0; g.y.len()], vec![0.0; g.x.len()]);
        let split = Conv2dGradWeight::new(window, g.x, g.w).images_per_split;
        let mut dw = vec![0.0; g.w.len() * N.div_ceil(split)];
        let epilogue = Epilogue::default();
        let (of_x, of_dy) = (Floats::F32(&x), Floats::F32(&dy));

        let mut group = c.benchmark_group(name);
        group.sample_size(20);
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(BenchmarkId::from_parameter("forward"), |b| {
            b.iter(|| {
                let y = FloatsMut::F32(&mut y);
                one.install(|| forward(&g, of_x, None, &w, &epilogue, None, y));
            });
        });
        group.bench_function(BenchmarkId::from_parameter("dgrad"), |b| {
            b.iter(|| {
                let dx = FloatsMut::F32(&mut dx);
                one.install(|| grad_input(&g, of_dy, &w, &epilogue, None, dx));
            });
        });
        group.bench_function(BenchmarkId::from_parameter("wgrad"), |b| {
            b.iter(|| one.install(|| grad_weight(&g, of_x, None, of_dy, split, &mut dw)));
        });
    }
}

/// Numbers from −0.5 to 0.5 without a pattern.
fn noise(shape: Shape) -> Vec<f32> {
    let number = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
    (0..shape.len()).map(number).collect()
}

criterion_group!(benches, peak, convolutions);
criterion_main!(benches);
